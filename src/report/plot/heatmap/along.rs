//! An axis of a heatmap: from levels to places between 0 and 1.

use serde_json::Value;

use crate::numerics::shown::Levels;
use crate::spec::{Axis, Scale};

/// Levels lie in proportion where no tile is narrower than this share of the mean width, and at equal distances
/// otherwise: narrower ones cannot be read.
const NARROWEST: f64 = 0.3;

/// The drawn levels of one axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Along {
    pub path: String,
    /// None where levels are not numbers.
    pub scale: Option<Scale>,
    /// Whether distances are those of the scale; else levels are equally far apart.
    pub to_scale: bool,
    pub labels: Vec<String>,
    /// Where each level lies.
    pub places: Vec<f64>,
    /// On the scale; empty without one.
    coordinates: Vec<f64>,
}

impl Along {
    /// The axis with `levels`, of the grid, two or more, written as `shown`.
    pub fn new(axis: &Axis, levels: &[Value], shown: Levels) -> Self {
        let numbers: Option<Vec<f64>> = levels.iter().map(Value::as_f64).collect();
        let scale = numbers.as_ref().and_then(|numbers| Scale::of(&axis.path, numbers.iter().copied()));
        let coordinates: Vec<f64> = match (scale, numbers) {
            (Some(scale), Some(numbers)) => numbers.into_iter().map(|level| scale.coordinate(level)).collect(),
            _ => Vec::new(),
        };
        let n = levels.len();
        let equal: Vec<f64> = (0..n).map(|i| (i as f64 + 0.5) / n as f64).collect();
        let proportional = in_proportion(&coordinates).filter(|places| {
            let edges = edges(places);
            edges.iter().all(|(low, high)| high - low >= NARROWEST / n as f64)
        });
        Self {
            path: axis.path.clone(),
            scale,
            to_scale: proportional.is_some(),
            labels: levels.iter().map(|level| shown.text(level)).collect(),
            places: proportional.unwrap_or(equal),
            coordinates,
        }
    }

    /// The place of a level that need not be drawn; none where levels are not numbers.
    pub fn place_of(&self, level: f64) -> Option<f64> {
        let at = self.scale?.coordinate(level);
        let c = &self.coordinates;
        // The piece that it lies on; the first and last go on beyond the ends.
        let above = c.partition_point(|known| *known < at).clamp(1, c.len().checked_sub(1)?.max(1));
        let (low, high) = (*c.get(above - 1)?, *c.get(above)?);
        let share = (at - low) / (high - low);
        let place = self.places[above - 1] + share * (self.places[above] - self.places[above - 1]);
        place.is_finite().then_some(place)
    }

    /// What the axis is called, with its scale.
    pub fn title(&self) -> String {
        match self.scale {
            Some(scale) if self.to_scale => format!("{} ({} scale)", self.path, scale.name()),
            Some(_) => format!("{} (levels, not to scale)", self.path),
            None => self.path.clone(),
        }
    }
}

/// The tile around each of some ascending places: it ends midway to its neighbours, and as far on the other side at the
/// ends, within 0 and 1.
pub fn edges(places: &[f64]) -> Vec<(f64, f64)> {
    let last = places.len().saturating_sub(1);
    let middle = |i: usize| (places[i] + places[i + 1]) / 2.0;
    let tile = |i: usize| {
        if last == 0 {
            return (0.0, 1.0);
        }
        let low = if i == 0 { 2.0 * places[0] - middle(0) } else { middle(i - 1) };
        let high = if i == last { 2.0 * places[last] - middle(last - 1) } else { middle(i) };
        (low.clamp(0.0, 1.0), high.clamp(0.0, 1.0))
    };
    (0..places.len()).map(tile).collect()
}

/// Places in proportion to coordinates, with half a gap beside the first and the last.
fn in_proportion(coordinates: &[f64]) -> Option<Vec<f64>> {
    let [first, second, ..] = coordinates else { return None };
    let [.., before, last] = coordinates else { return None };
    let (low, high) = (first - (second - first) / 2.0, last + (last - before) / 2.0);
    (high > low).then(|| coordinates.iter().map(|c| (c - low) / (high - low)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn any_two_levels_have_places(low: u64, away in 1u64..100, ratio: bool) {
            let low = low % (f64::MAX.to_bits() - 100);
            let levels = [0, away].map(|away| json!(f64::from_bits(low + away)));
            let along = along(if ratio { "train.learning_rate" } else { "image.noise" }, &levels);
            prop_assert!(0.0 <= along.places[0] && along.places[0] < along.places[1] && along.places[1] <= 1.0);
            prop_assert_ne!(&along.labels[0], &along.labels[1]);
            let tiles = edges(&along.places);
            prop_assert!(tiles.iter().all(|(low, high)| low < high), "{:?}", tiles);
        }
    }

    fn along(path: &str, levels: &[Value]) -> Along {
        Along::new(&Axis { path: path.to_string(), levels: levels.to_vec() }, levels, Levels::of(levels))
    }

    #[test]
    fn levels_lie_in_proportion_unless_that_cannot_be_read() {
        let even = along("train.temperature", &[json!(0.01), json!(0.1), json!(1.0)]);
        assert!(even.to_scale);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        even.places.iter().zip([1.0 / 6.0, 0.5, 5.0 / 6.0]).for_each(|(a, b)| close(*a, b));
        close(even.place_of(10f64.powf(-1.5)).unwrap(), 1.0 / 3.0);
        close(even.place_of(0.001).unwrap(), -1.0 / 6.0);
        assert_eq!(edges(&[0.25, 0.5]), [(0.125, 0.375), (0.375, 0.625)]);
        // From 0 on there is no logarithm, and on a linear scale the first levels would be slivers.
        let slivers = along("train.weight_decay", &[json!(0.0), json!(0.0001), json!(0.001), json!(0.1)]);
        assert!(!slivers.to_scale);
        assert_eq!(slivers.places, [0.125, 0.375, 0.625, 0.875]);
        close(slivers.place_of(0.0505).unwrap(), 0.75);
        let kinds = along("pairing.kind", &[json!("swap"), json!("offset")]);
        assert_eq!((kinds.scale, kinds.place_of(1.0)), (None, None));
    }
}
