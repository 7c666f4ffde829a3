//! How far apart two levels of an axis are.

use super::params::{Kind, param_at};

/// The scale on which the levels of a numeric axis are compared, interpolated and bisected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// By their differences.
    Linear,
    /// By their ratios: of parameters that are positive, such as temperatures, learning rates and widths.
    Log,
}

/// Parameters whose values are compared by ratios though 0 is allowed, as a control.
const RATIOS_BESIDE_ZERO: [&str; 1] = ["train.learning_rate"];

impl Scale {
    /// The scale of an axis with these levels: ratios for a parameter that can only be positive, and for a learning rate
    /// where all levels are. None where values are not numbers, or name something and measure nothing, as seeds do.
    pub fn of(path: &str, levels: impl IntoIterator<Item = f64>) -> Option<Self> {
        let positive = match param_at(path)?.kind {
            _ if path == "seed" => return None,
            Kind::Float { min, .. } => min > 0.0 || RATIOS_BESIDE_ZERO.contains(&path),
            Kind::Int { min, .. } => min > 0,
            Kind::Bool | Kind::Choice(_) => return None,
        };
        let by_ratio = positive && levels.into_iter().all(|level| level > 0.0);
        Some(if by_ratio { Self::Log } else { Self::Linear })
    }

    /// Where a level lies: its natural logarithm, or itself.
    pub fn coordinate(self, level: f64) -> f64 {
        match self {
            Self::Linear => level,
            Self::Log => libm::log(level),
        }
    }

    /// The level at a coordinate.
    pub fn level(self, coordinate: f64) -> f64 {
        match self {
            Self::Linear => coordinate,
            Self::Log => libm::exp(coordinate),
        }
    }

    /// The word of tables and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Log => "log",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_can_only_be_positive_are_compared_by_ratios() {
        for (path, scale) in [
            ("train.temperature", Some(Scale::Log)),
            ("train.learning_rate", Some(Scale::Log)),
            ("train.batch_size", Some(Scale::Log)),
            ("image.gain", Some(Scale::Linear)),
            ("image.noise", Some(Scale::Linear)),
            ("pairing.rate", Some(Scale::Linear)),
            ("train.weight_decay", Some(Scale::Linear)),
            ("pairing.kind", None),
            ("stop.freeze", None),
            ("seed", None),
            ("no.such", None),
        ] {
            assert_eq!(Scale::of(path, [0.5, 1.0]), scale, "{path}");
        }
        assert_eq!(Scale::of("train.learning_rate", [0.0, 0.1]), Some(Scale::Linear));
        for level in [1e-3, 0.5, 7.0] {
            let back = Scale::Log.level(Scale::Log.coordinate(level));
            assert!((back / level - 1.0).abs() < 1e-15, "{level} {back}");
        }
    }
}
