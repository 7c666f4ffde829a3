//! One value against what its parameter accepts, and the nearest valid name for a wrong one.

use std::cmp::Ordering;

use serde_json::Value;

use super::diagnostic::{Diagnostic, Site};
use super::meant::instead;
use super::params::{Kind, LEAST, PARAMS, Param};
use super::tree::{At, Node};

impl Kind {
    /// What the parameter accepts, as a phrase.
    pub fn describe(&self) -> String {
        match self {
            Self::Float { min, max } if *min == LEAST => format!("a number from {min:e} to {max}"),
            Self::Float { min, max } => format!("a number from {min} to {max}"),
            Self::Int { min, max } => format!("a whole number from {min} to {max}"),
            Self::Bool => "true or false".to_string(),
            Self::Choice(names) => format!("one of {}", quoted(names)),
        }
    }
}

/// The canonical form of a value: an integer given for a real number becomes one, and -0.0 becomes 0.0, so that equal
/// settings give equal cell ids.
///
/// # Errors
/// Wrong type, out of range, not finite, or an unknown choice.
pub(super) fn check(param: &Param, at: &At<Node>) -> Result<Value, Diagnostic> {
    let path = param.path;
    let number = match (param.kind, &at.value) {
        (Kind::Float { .. }, Node::Int(value)) => Ok(*value as f64),
        (Kind::Float { .. }, Node::Float(value)) => Ok(*value),
        (Kind::Int { min, max }, Node::Int(value)) => {
            return match u64::try_from(*value) {
                Ok(value) if (min..=max).contains(&value) => Ok(Value::from(value)),
                _ => Err(out_of_range(param, at)),
            };
        }
        (Kind::Bool, Node::Bool(value)) => return Ok(Value::from(*value)),
        (Kind::Choice(names), Node::Text(value)) => {
            if names.contains(&value.as_str()) {
                return Ok(Value::from(value.as_str()));
            }
            let message = format!("`{path}` has no choice {value:?}");
            let mut problem = Diagnostic::new(&at.site, message, accepts(param));
            problem.label = format!("the nearest is {:?}", nearest(value, names.iter().copied()));
            return Err(problem);
        }
        _ => Err(()),
    };
    match (number, param.kind) {
        (Ok(value), _) if !value.is_finite() => {
            let message = format!("`{path}` must be finite, not {}", at.value.describe());
            Err(Diagnostic::new(&at.site, message, accepts(param)))
        }
        (Ok(value), Kind::Float { min, max }) if (min..=max).contains(&value) => {
            // Adding zero turns -0.0 into 0.0 and leaves every other number alone.
            if Kind::is_too_small(value) {
                Err(too_small(param, &at.site, value))
            } else {
                Ok(Value::from(value + 0.0))
            }
        }
        (Ok(_), Kind::Float { .. }) => Err(out_of_range(param, at)),
        _ => {
            let message = format!("`{path}` takes {}, not {}", type_name(param.kind), at.value.describe());
            let mut problem = Diagnostic::new(&at.site, message, accepts(param));
            problem.label = instead(param, &at.value).map_or(String::new(), |instead| format!("write {instead}"));
            Err(problem)
        }
    }
}

fn out_of_range(param: &Param, at: &At<Node>) -> Diagnostic {
    Diagnostic::new(&at.site, format!("`{}` cannot be {}", param.path, at.value.describe()), accepts(param))
}

/// What is wrong with a number within the range of its parameter that is too near to 0, and is not 0.
pub(super) fn too_small(param: &Param, site: &Site, value: f64) -> Diagnostic {
    let message = format!("`{}` cannot be {value:e}, which is too near to 0", param.path);
    Diagnostic::new(site, message, format!("write 0, or a number at least {LEAST:e} away from it; {}", accepts(param)))
}

fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Float { .. } => "a number",
        Kind::Int { .. } => "a whole number",
        Kind::Bool => "true or false",
        Kind::Choice(_) => "one of its named choices, as text",
    }
}

/// What to write instead, from the registry.
pub(super) fn accepts(param: &Param) -> String {
    format!("`{}` ({}) takes {}", param.path, param.doc, param.kind.describe())
}

/// The order of two canonical values of `param`: numbers by size, choices as the registry lists them, false first.
pub(super) fn compare(param: &Param, a: &Value, b: &Value) -> Ordering {
    match param.kind {
        Kind::Float { .. } => a.as_f64().unwrap_or(f64::NAN).total_cmp(&b.as_f64().unwrap_or(f64::NAN)),
        Kind::Int { .. } => a.as_u64().cmp(&b.as_u64()),
        Kind::Bool => a.as_bool().cmp(&b.as_bool()),
        Kind::Choice(names) => {
            let rank = |value: &Value| names.iter().position(|name| Some(*name) == value.as_str());
            rank(a).cmp(&rank(b))
        }
    }
}

/// The order of two numbers by size. Whole ones are compared as such: they have digits that a double has not. None for
/// what is no number.
pub fn by_size(a: &Value, b: &Value) -> Option<Ordering> {
    let whole = |value: &Value| value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// The sections of a configuration, in the order of the registry.
pub(super) fn sections() -> Vec<&'static str> {
    let mut found: Vec<&'static str> = PARAMS.iter().filter_map(|p| p.path.split_once('.').map(|(s, _)| s)).collect();
    found.dedup();
    found
}

/// The candidate most like `name`. A candidate whose last part is `name` wins: `temperature` means
/// `train.temperature`. Ties go to the first; empty only when there is no candidate.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> &'a str {
    let mut best = ("", f64::NEG_INFINITY);
    for candidate in candidates {
        let last = candidate.rsplit('.').next().unwrap_or(candidate);
        let whole = strsim::normalized_damerau_levenshtein(name, candidate);
        let likeness =
            if name.contains('.') { whole } else { whole.max(strsim::normalized_damerau_levenshtein(name, last)) };
        if likeness > best.1 {
            best = (candidate, likeness);
        }
    }
    best.0
}

/// `"a", "b", "c"`.
pub(super) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::params::param_at;
    use super::*;

    fn checked(path: &str, node: Node) -> Result<Value, String> {
        let site = Site { source: 0, start: 0, end: 0 };
        check(param_at(path).expect("a parameter"), &At { value: node, site }).map_err(|problem| problem.message)
    }

    #[test]
    fn values_become_canonical() {
        assert_eq!(checked("train.temperature", Node::Int(1)), Ok(Value::from(1.0)));
        assert_eq!(checked("image.noise", Node::Float(-0.0)).map(|v| v.to_string()), Ok("0.0".to_string()));
        assert_eq!(checked("train.steps", Node::Int(0)), Ok(Value::from(0u64)));
        assert_eq!(checked("pairing.kind", Node::Text("block".to_string())), Ok(Value::from("block")));
        assert_eq!(checked("stop.freeze", Node::Bool(false)), Ok(Value::from(false)));
    }

    #[test]
    fn range_ends_are_inside() {
        assert!(checked("train.temperature", Node::Float(1e-3)).is_ok());
        assert!(checked("train.temperature", Node::Float(0.999e-3)).is_err());
        assert!(checked("train.epsilon", Node::Float(0.0)).is_err());
        assert!(checked("train.epsilon", Node::Float(1.0)).is_ok());
        assert!(checked("seed", Node::Int(i128::from(i64::MAX))).is_ok());
        assert!(checked("seed", Node::Int(i128::from(i64::MAX) + 1)).is_err());
        assert!(checked("seed", Node::Int(-1)).is_err());
    }

    #[test]
    fn what_is_too_near_to_zero_is_refused_for_every_number_and_zero_is_not() {
        let floats = PARAMS.iter().filter_map(|param| match param.kind {
            Kind::Float { min, max } => Some((param, min, max)),
            _ => None,
        });
        for (param, min, max) in floats {
            let ends =
                [f64::from_bits(1), f64::MIN_POSITIVE, f64::from(f32::from_bits(1)), f64::from(f32::MIN_POSITIVE)];
            for value in ends.into_iter().flat_map(|x| [x, -x]).filter(|x| (min..=max).contains(x)) {
                let refused = checked(param.path, Node::Float(value)).expect_err("too small");
                assert!(refused.contains("too near to 0") && refused.contains(param.path), "{refused}");
            }
            assert_eq!(checked(param.path, Node::Float(0.0)).is_ok(), min <= 0.0, "{}", param.path);
            assert!(checked(param.path, Node::Float(LEAST)).is_ok() || min > LEAST, "{}", param.path);
            // What is taken is a normal number of the arithmetic that trains.
            assert!((min.max(LEAST) as f32).is_normal() && (max as f32).is_normal());
        }
    }

    #[test]
    fn wrong_types_and_non_finite_numbers_are_refused() {
        for (path, node) in [
            ("train.steps", Node::Float(600.0)),
            ("train.temperature", Node::Text("0.1".to_string())),
            ("train.temperature", Node::Float(f64::NAN)),
            ("train.learning_rate", Node::Float(f64::INFINITY)),
            ("stop.freeze", Node::Int(1)),
            ("pairing.kind", Node::Text("swop".to_string())),
            ("pairing.kind", Node::Bool(true)),
        ] {
            assert!(checked(path, node.clone()).is_err(), "{path} took {node:?}");
        }
    }

    #[test]
    fn nearest_prefers_a_matching_last_part() {
        let paths = || PARAMS.iter().map(|p| p.path);
        assert_eq!(nearest("temperature", paths()), "train.temperature");
        assert_eq!(nearest("train.temprature", paths()), "train.temperature");
        assert_eq!(nearest("learning_rte", paths()), "train.learning_rate");
        assert_eq!(nearest("trian", sections()), "train");
        assert_eq!(nearest("anything", []), "");
    }

    #[test]
    fn numbers_are_ordered_by_size_and_whole_ones_by_all_their_digits() {
        let (low, high) = (Value::from(u64::MAX - 1), Value::from(u64::MAX));
        assert_eq!([by_size(&low, &high), by_size(&high, &low)], [Some(Ordering::Less), Some(Ordering::Greater)]);
        assert_eq!(by_size(&Value::from(-3), &high), Some(Ordering::Less));
        assert_eq!(by_size(&Value::from(0.5), &Value::from(1)), Some(Ordering::Less));
        assert_eq!(by_size(&Value::from("swap"), &low), None);
    }

    #[test]
    fn order_follows_size_and_registry() {
        let kind = param_at("pairing.kind").expect("a parameter");
        assert_eq!(compare(kind, &Value::from("swap"), &Value::from("block")), Ordering::Less);
        let rate = param_at("pairing.rate").expect("a parameter");
        assert_eq!(compare(rate, &Value::from(0.05), &Value::from(0.1)), Ordering::Less);
    }
}
