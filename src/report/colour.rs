//! Colour maps that are perceptually uniform and safe for colour-blind readers.

/// Equally spaced colours of viridis, from dark to bright.
///
/// **Source** van der Walt and Smith 2015, matplotlib's default map; public domain (CC0).
const VIRIDIS: [[u8; 3]; 10] = [
    [0x44, 0x01, 0x54],
    [0x48, 0x28, 0x78],
    [0x3e, 0x49, 0x89],
    [0x31, 0x68, 0x8e],
    [0x26, 0x82, 0x8e],
    [0x1f, 0x9e, 0x89],
    [0x35, 0xb7, 0x79],
    [0x6e, 0xce, 0x58],
    [0xb5, 0xde, 0x2b],
    [0xfd, 0xe7, 0x25],
];

/// Blue through near-white to orange-red: equal steps of lightness away from the middle.
const DIVERGING: [[u8; 3]; 7] = [
    [0x21, 0x66, 0xac],
    [0x67, 0xa9, 0xcf],
    [0xd1, 0xe5, 0xf0],
    [0xf7, 0xf7, 0xf7],
    [0xfd, 0xdb, 0xc7],
    [0xef, 0x8a, 0x62],
    [0xb2, 0x18, 0x2b],
];

/// Equally spaced colours of romaO, whose end is its beginning.
///
/// **Source** Crameri 2018, Scientific colour maps; MIT licence.
const CYCLIC: [[u8; 3]; 13] = [
    [0x73, 0x39, 0x57],
    [0x82, 0x3c, 0x3d],
    [0x94, 0x51, 0x2d],
    [0xaa, 0x75, 0x2f],
    [0xc3, 0xa3, 0x4b],
    [0xd5, 0xd0, 0x83],
    [0xcb, 0xe1, 0xb3],
    [0xa4, 0xd8, 0xcb],
    [0x72, 0xb9, 0xcd],
    [0x53, 0x93, 0xbf],
    [0x51, 0x6b, 0xa4],
    [0x63, 0x48, 0x7b],
    [0x73, 0x39, 0x57],
];

/// Colours of groups that colour-blind readers tell apart, for lines and points on white and on black.
///
/// **Source** Okabe and Ito 2008, without black and yellow, which one of the two backgrounds swallows.
pub const GROUPS: [&str; 6] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"];

fn between(map: &[[u8; 3]], share: f64) -> [u8; 3] {
    let at = share.clamp(0.0, 1.0) * (map.len() - 1) as f64;
    let low = (at as usize).min(map.len() - 2);
    let part = at - low as f64;
    let mix = |i: usize| (f64::from(map[low][i]) * (1.0 - part) + f64::from(map[low + 1][i]) * part).round() as u8;
    [mix(0), mix(1), mix(2)]
}

fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// The colour of a share from 0 to 1; what is beyond takes the end.
pub fn sequential(share: f64) -> String {
    hex(between(&VIRIDIS, share))
}

/// The colour of a share of a turn, such as an angle over 2 pi: whole turns make no difference.
pub fn cyclic(share: f64) -> String {
    hex(between(&CYCLIC, share.rem_euclid(1.0)))
}

/// The colour of a value from -1 through 0, near white, to 1.
pub fn diverging(value: f64) -> String {
    hex(between(&DIVERGING, (value + 1.0) / 2.0))
}

/// The equally spaced colours between which [`sequential`] goes.
pub fn sequential_stops() -> Vec<String> {
    VIRIDIS.into_iter().map(hex).collect()
}

/// The equally spaced colours between which [`diverging`] goes.
pub fn diverging_stops() -> Vec<String> {
    DIVERGING.into_iter().map(hex).collect()
}

/// Black or white, whichever is read better on the colour of a share of the sequential map.
pub fn ink_on(share: f64) -> &'static str {
    ink_on_rgb(between(&VIRIDIS, share))
}

/// As [`ink_on`], of the diverging map.
pub fn ink_on_diverging(value: f64) -> &'static str {
    ink_on_rgb(between(&DIVERGING, (value + 1.0) / 2.0))
}

/// By relative luminance, as in WCAG 2: above 0.179 black has the greater contrast.
fn ink_on_rgb(rgb: [u8; 3]) -> &'static str {
    let linear = |c: u8| {
        let c = f64::from(c) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { libm::pow((c + 0.055) / 1.055, 2.4) }
    };
    let luminance = 0.2126 * linear(rgb[0]) + 0.7152 * linear(rgb[1]) + 0.0722 * linear(rgb[2]);
    if luminance > 0.179 { "#000000" } else { "#ffffff" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_meet_their_ends_and_stay_within() {
        assert_eq!((sequential(0.0), sequential(1.0)), ("#440154".into(), "#fde725".into()));
        assert_eq!((sequential(-3.0), sequential(7.0)), (sequential(0.0), sequential(1.0)));
        assert_eq!((cyclic(0.0), cyclic(1.0), cyclic(-0.25)), (cyclic(3.0), "#733957".into(), cyclic(0.75)));
        assert_eq!(diverging(0.0), "#f7f7f7");
        assert_eq!((ink_on(0.0), ink_on(1.0)), ("#ffffff", "#000000"));
    }
}
