//! What somebody probably meant by a value that a parameter does not take.

use super::params::{Kind, Param};
use super::tree::Node;

/// What to write instead of a value, where that is clear and `param` takes it.
pub(super) fn instead(param: &Param, node: &Node) -> Option<String> {
    let number = || match node {
        Node::Float(value) => Some(*value),
        Node::Text(text) => number(text),
        _ => None,
    };
    match param.kind {
        Kind::Float { min, max } => {
            let value = number()?;
            let fits = (min..=max).contains(&value) && !Kind::is_too_small(value);
            // Debug keeps the exponent of large and small numbers, as TOML writes them.
            fits.then(|| format!("{:?}", value + 0.0))
        }
        Kind::Int { min, max } => {
            let value = number().filter(|value| value.fract() == 0.0 && (0.0..EXACT).contains(value))? as u64;
            (min..=max).contains(&value).then(|| value.to_string())
        }
        Kind::Bool => match node {
            Node::Int(1) => Some("true".to_string()),
            Node::Int(0) => Some("false".to_string()),
            Node::Text(text) => truth(text).map(|truth| truth.to_string()),
            _ => None,
        },
        // The nearest is named anyway.
        Kind::Choice(_) => None,
    }
}

/// Below this every whole number is a floating-point number.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Some(true),
        "false" | "no" | "off" | "n" => Some(false),
        _ => None,
    }
}

/// A number as TOML writes it. A whole one has no point, so that a parameter of either kind takes it.
pub(super) fn written(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < EXACT {
        return (value as i64).to_string();
    }
    // Debug keeps the exponent of large and small numbers.
    format!("{value:?}")
}

/// A number without what parts its digits into thousands: `1 000`, `12'000.5`. None where they are parted otherwise: `5
/// 5` may be two numbers, or a slip.
fn ungrouped(text: &str) -> Option<String> {
    let parts = |c: char| c.is_whitespace() || ['_', '\''].contains(&c);
    let text = text.trim();
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text).trim_start();
    let sign = if text.starts_with('-') { "-" } else { "" };
    let (whole, rest) = unsigned.split_at(unsigned.find(['.', 'e', 'E']).unwrap_or(unsigned.len()));
    let groups: Vec<&str> = whole.split(parts).collect();
    let digits = |group: &&str| group.chars().all(|c| c.is_ascii_digit());
    let sound = match groups.as_slice() {
        [first, others @ ..] if !others.is_empty() => {
            (1..=3).contains(&first.len()) && others.iter().all(|group| group.len() == 3) && groups.iter().all(digits)
        }
        _ => true,
    };
    (sound && !rest.contains(parts)).then(|| format!("{sign}{}{rest}", groups.concat()))
}

/// A number as people and other programs write it: `.05`, `5.`, `1 000`, `5%`, `1/3`, `0,05`, `10^-3`.
pub(super) fn number(text: &str) -> Option<f64> {
    let text = text.trim().replace(['\u{2212}', '\u{2013}'], "-");
    let parse = |text: &str| ungrouped(text)?.parse::<f64>().ok();
    let value = if let Some(percent) = text.strip_suffix('%') {
        // Divided, and not multiplied, so that 5% is 0.05.
        parse(percent)? / 100.0
    } else if let Some((above, below)) = text.split_once('/') {
        parse(above)? / parse(below)?
    } else if let Some((base, exponent)) = text.split_once('^').or_else(|| text.split_once("**")) {
        parse(base)?.powf(parse(exponent)?)
    } else if text.starts_with("0,") {
        // Other commas may separate levels, or thousands.
        parse(&text.replacen(',', ".", 1))?
    } else {
        parse(&text)?
    };
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::super::params::param_at;
    use super::*;

    fn meant(path: &str, node: Node) -> Option<String> {
        instead(param_at(path).expect("a parameter"), &node)
    }

    fn text(text: &str) -> Node {
        Node::Text(text.to_string())
    }

    #[test]
    fn numbers_written_otherwise_are_recognised_where_the_parameter_takes_them() {
        let cases = [
            ("train.temperature", ".07", Some("0.07")),
            ("train.temperature", "7.", Some("7.0")),
            ("train.temperature", "+.5", Some("0.5")),
            ("train.temperature", "0,25", Some("0.25")),
            ("train.temperature", "5%", Some("0.05")),
            ("train.temperature", "1/4", Some("0.25")),
            ("train.temperature", "10^-2", Some("0.01")),
            ("train.temperature", "0.1", Some("0.1")),
            ("train.temperature", "1,2", None),
            ("train.temperature", ".00001", None),
            ("train.temperature", "nan", None),
            ("train.temperature", "1/0", None),
            ("train.temperature", "warm", None),
            ("train.temperature", "", None),
            ("train.steps", "3e2", Some("300")),
            ("train.steps", "12 000", Some("12000")),
            ("train.steps", "12'000", Some("12000")),
            ("train.steps", "1 200 000", Some("1200000")),
            ("train.steps", "5 5", None),
            ("train.steps", "12 00", None),
            ("train.steps", "1000 000", None),
            ("train.temperature", "0.0 5", None),
            ("train.temperature", "5 %", Some("0.05")),
            ("train.temperature", "1 / 4", Some("0.25")),
            ("train.temperature", "10 ^ -2", Some("0.01")),
            ("train.steps", "2^5", Some("32")),
            ("train.steps", "1.5", None),
            ("train.steps", "-3", None),
            ("train.steps", "1e30", None),
            ("stop.freeze", "Yes", Some("true")),
            ("stop.freeze", "OFF", Some("false")),
            ("stop.freeze", "maybe", None),
        ];
        for (path, written, expected) in cases {
            assert_eq!(meant(path, text(written)).as_deref(), expected, "{path} = {written}");
        }
        assert_eq!(meant("train.steps", Node::Float(700.0)).as_deref(), Some("700"));
        assert_eq!(meant("train.steps", Node::Float(0.5)), None);
        assert_eq!(meant("stop.freeze", Node::Int(0)).as_deref(), Some("false"));
        assert_eq!(meant("pairing.kind", text("SWAP")), None);
    }
}
