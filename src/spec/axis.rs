//! The ways to write an axis, and the levels they make.
//!
//! | written | levels |
//! |---|---|
//! | `[0.1, 0.2]` | these |
//! | `{ linear = [lo, hi], n = N }` | N levels, equally spaced, both ends included |
//! | `{ log = [lo, hi], n = N }` | N levels in equal ratios, both ends included |
//! | `{ seeds = N, first = K }` | K, K + 1, ... K + N - 1; `first` defaults to 0; for `seed` only |
//!
//! The ends of a range are exact. Levels between them are rounded, to [`DIGITS`] significant digits or to the nearest
//! integer, and must stay strictly between their neighbours.

use serde_json::Value;

use super::diagnostic::{Diagnostic, Site};
use super::params::{Kind, Param};
use super::scalar::{accepts, check, nearest, too_small};
use super::tree::{At, Node, Table};

/// Significant digits of the levels between the ends of a range: few enough that a decade prints as 0.1 and not as
/// 0.09999999999999998, and that the last-place errors of a logarithm cannot change a cell id.
const DIGITS: usize = 12;

const KEYS: [&str; 5] = ["linear", "log", "n", "seeds", "first"];
const FORMS: &str = "write a list of values, { linear = [lo, hi], n = N }, { log = [lo, hi], n = N } or, for `seed`, \
                     { seeds = N }";

/// An axis before its levels exist, so that the grid can be counted first.
#[derive(Clone, Debug)]
pub(super) struct DraftAxis {
    pub param: &'static Param,
    /// The axis's key.
    pub site: Site,
    /// The axis's value.
    pub levels: At<Levels>,
    /// Whether `--axis` wrote it.
    pub from_flag: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Levels {
    List(Vec<At<Value>>),
    Range { lo: Value, hi: Value, n: u64, log: bool },
    Seeds { first: u64, n: u64 },
}

/// Whether a table under `[axes]` describes levels, and is not a section with axes in it.
pub(super) fn describes_levels(table: &Table) -> bool {
    table.iter().any(|(key, _)| KEYS.contains(&key.value.as_str()))
}

/// Reads the value of an axis over `param`.
///
/// # Errors
/// Each level that `param` does not accept; a form that does not fit; no levels.
pub(super) fn read(param: &'static Param, node: &At<Node>) -> Result<Levels, Vec<Diagnostic>> {
    match &node.value {
        Node::List(items) if items.is_empty() => Err(vec![empty(param, &node.site)]),
        Node::List(items) => {
            let (levels, problems): (Vec<_>, Vec<_>) = items
                .iter()
                .map(|item| check(param, item).map(|value| At { value, site: item.site.clone() }))
                .partition(Result::is_ok);
            if problems.is_empty() {
                Ok(Levels::List(levels.into_iter().flatten().collect()))
            } else {
                Err(problems.into_iter().filter_map(Result::err).collect())
            }
        }
        Node::Table(table) => read_form(param, table, &node.site).map_err(|problem| vec![problem]),
        other => {
            let message = format!("the axis `{}` has no levels: {} is a single value", param.path, other.describe());
            Err(vec![Diagnostic::new(&node.site, message, FORMS)])
        }
    }
}

fn empty(param: &Param, site: &Site) -> Diagnostic {
    let help = "give it at least one level, or remove the axis to keep the base value";
    Diagnostic::new(site, format!("the axis `{}` is empty", param.path), help)
}

fn read_form(param: &Param, table: &Table, site: &Site) -> Result<Levels, Diagnostic> {
    let get = |name: &str| table.iter().find(|(key, _)| key.value == name).map(|(_, node)| node);
    if let Some((key, _)) = table.iter().find(|(key, _)| !KEYS.contains(&key.value.as_str())) {
        let mut problem = Diagnostic::new(&key.site, format!("an axis has no key `{}`", key.value), FORMS);
        problem.label = format!("the nearest is `{}`", nearest(&key.value, KEYS));
        return Err(problem);
    }
    let unfit = |why: &str| Err(Diagnostic::new(site, format!("the axis `{}` {why}", param.path), FORMS));
    match (get("linear"), get("log"), get("seeds")) {
        (Some(ends), None, None) => match (get("n"), get("first")) {
            (Some(n), None) => read_range(param, ends, n, false),
            _ => unfit("is linear: it takes the two ends and `n`, nothing else"),
        },
        (None, Some(ends), None) => match (get("n"), get("first")) {
            (Some(n), None) => read_range(param, ends, n, true),
            _ => unfit("is logarithmic: it takes the two ends and `n`, nothing else"),
        },
        (None, None, Some(n)) if get("n").is_none() => read_seeds(param, n, get("first"), site),
        _ => unfit("takes exactly one of `linear` with `n`, `log` with `n`, and `seeds`"),
    }
}

fn read_range(param: &Param, ends: &At<Node>, n: &At<Node>, log: bool) -> Result<Levels, Diagnostic> {
    let (lo, hi) = match &ends.value {
        Node::List(items) => match items.as_slice() {
            [lo, hi] => (lo, hi),
            _ => return Err(Diagnostic::new(&ends.site, "a range takes two ends: [lo, hi]", FORMS)),
        },
        _ => return Err(Diagnostic::new(&ends.site, "a range takes two ends: [lo, hi]", FORMS)),
    };
    if !matches!(param.kind, Kind::Float { .. } | Kind::Int { .. }) {
        let message = format!("`{}` is not a number: it has no range", param.path);
        return Err(Diagnostic::new(&ends.site, message, accepts(param)));
    }
    for end in [lo, hi] {
        let positive = match end.value {
            Node::Int(value) => value > 0,
            Node::Float(value) => value > 0.0,
            _ => true,
        };
        if log && !positive {
            let message = format!("a logarithmic axis cannot reach {}", end.value.describe());
            return Err(Diagnostic::new(&end.site, message, "give two positive ends, or use `linear`"));
        }
    }
    let n = count(param, n)?;
    let (lo, hi) = (check(param, lo)?, check(param, hi)?);
    if n == 1 || lo == hi {
        let message = format!("the axis `{}` needs two different ends and n >= 2", param.path);
        return Err(Diagnostic::new(&ends.site, message, "for a single level write a list, [x]"));
    }
    Ok(Levels::Range { lo, hi, n, log })
}

fn read_seeds(param: &Param, n: &At<Node>, first: Option<&At<Node>>, site: &Site) -> Result<Levels, Diagnostic> {
    if param.path != "seed" {
        let message = format!("`seeds` makes levels of `seed`, not of `{}`", param.path);
        return Err(Diagnostic::new(site, message, FORMS));
    }
    let count = count(param, n)?;
    let first = first.map_or(Ok(Value::from(0)), |node| check(param, node))?.as_u64().unwrap_or(0);
    let last = first.checked_add(count - 1);
    match (param.kind, last) {
        (Kind::Int { max, .. }, Some(last)) if last <= max => Ok(Levels::Seeds { first, n: count }),
        _ => Err(Diagnostic::new(&n.site, format!("{count} seeds from {first} pass the largest seed"), accepts(param))),
    }
}

/// A number of levels, at least 1.
fn count(param: &Param, node: &At<Node>) -> Result<u64, Diagnostic> {
    match node.value {
        Node::Int(0) => Err(empty(param, &node.site)),
        Node::Int(value) if value > 0 => match u64::try_from(value) {
            Ok(value) => Ok(value),
            Err(_) => Err(Diagnostic::new(&node.site, format!("{value} is too many levels"), "ask for fewer")),
        },
        _ => {
            let message = format!("a number of levels is a whole number, not {}", node.value.describe());
            Err(Diagnostic::new(&node.site, message, "write at least 1"))
        }
    }
}

impl DraftAxis {
    /// Number of levels, without making them.
    pub fn len(&self) -> u64 {
        match &self.levels.value {
            Levels::List(values) => values.len() as u64,
            Levels::Range { n, .. } | Levels::Seeds { n, .. } => *n,
        }
    }

    /// The levels, as written. A list may repeat a value; a range or seeds cannot.
    ///
    /// # Errors
    /// A range whose levels, once rounded, run into each other, or of which one is too near to 0.
    pub fn values(&self) -> Result<Vec<At<Value>>, Diagnostic> {
        let here = |value| At { value, site: self.levels.site.clone() };
        match &self.levels.value {
            Levels::List(values) => Ok(values.clone()),
            Levels::Seeds { first, n } => Ok((0..*n).map(|i| here(Value::from(first + i))).collect()),
            Levels::Range { lo, hi, n, log } => match range(lo, hi, *n, *log) {
                // The ends are checked; what lies between them can only be too near to 0.
                Some(values) => {
                    match values.iter().filter_map(Value::as_f64).find(|value| Kind::is_too_small(*value)) {
                        Some(value) => Err(too_small(self.param, &self.levels.site, value)),
                        None => Ok(values.into_iter().map(here).collect()),
                    }
                }
                None => {
                    let message =
                        format!("{n} levels of `{}` from {lo} to {hi} are not all different", self.param.path);
                    let help = "ask for fewer levels, or move the ends apart";
                    Err(Diagnostic::new(&self.levels.site, message, help))
                }
            },
        }
    }
}

/// `n >= 2` levels from `lo` to `hi`, strictly monotone; none when rounding makes neighbours meet.
fn range(lo: &Value, hi: &Value, n: u64, log: bool) -> Option<Vec<Value>> {
    let (from, to) = (lo.as_f64()?, hi.as_f64()?);
    let integers = lo.as_u64().zip(hi.as_u64());
    let last = n - 1;
    let inner = |i: u64| -> Value {
        let share = i as f64 / last as f64;
        match integers {
            // Exact: a seed has more bits than a double.
            Some((a, b)) if !log => {
                let (a, b, i, last) = (i128::from(a), i128::from(b), i128::from(i), i128::from(last));
                let doubled = 2 * (a * (last - i) + b * i) + last;
                Value::from(doubled.div_euclid(2 * last) as u64)
            }
            Some(_) => Value::from((from * libm::pow(to / from, share)).round() as u64),
            None if log => Value::from(rounded(from * libm::pow(to / from, share))),
            None => Value::from(rounded((from * (last - i) as f64 + to * i as f64) / last as f64)),
        }
    };
    let mut values = Vec::with_capacity(usize::try_from(n).ok()?);
    values.push(lo.clone());
    values.extend((1..last).map(inner));
    values.push(hi.clone());
    let less = |a: &Value, b: &Value| match (a.as_u64(), b.as_u64()) {
        (Some(a), Some(b)) => a < b,
        _ => a.as_f64() < b.as_f64(),
    };
    let rising = less(lo, hi);
    let apart = values.windows(2).all(|pair| if rising { less(&pair[0], &pair[1]) } else { less(&pair[1], &pair[0]) });
    apart.then_some(values)
}

fn rounded(value: f64) -> f64 {
    // The shortest decimal of DIGITS digits that a double can hold; formatting and parsing are correctly rounded.
    let digits = DIGITS - 1;
    format!("{value:.digits$e}").parse().unwrap_or(value) + 0.0
}

#[cfg(test)]
mod tests {
    use super::super::params::param_at;
    use super::super::tree::parse_value;
    use super::*;

    fn levels(path: &str, text: &str) -> Result<Vec<Value>, String> {
        let param = param_at(path).expect("a parameter");
        let site = Site { source: 0, start: 0, end: 0 };
        let node = At { value: parse_value(text), site: site.clone() };
        let levels = read(param, &node).map_err(|problems| problems[0].message.clone())?;
        let axis = DraftAxis { param, site: site.clone(), levels: At { value: levels, site }, from_flag: false };
        let values: Vec<Value> =
            axis.values().map_err(|problem| problem.message)?.into_iter().map(|at| at.value).collect();
        assert_eq!(values.len() as u64, axis.len());
        Ok(values)
    }

    fn floats(values: &[f64]) -> Vec<Value> {
        values.iter().map(|value| Value::from(*value)).collect()
    }

    #[test]
    fn ranges_are_exact_at_the_ends_and_round_between() {
        let log = levels("train.temperature", "{ log = [0.001, 10.0], n = 5 }").expect("levels");
        assert_eq!(log, floats(&[0.001, 0.01, 0.1, 1.0, 10.0]));
        let linear = levels("image.noise", "{ linear = [0, 1], n = 11 }").expect("levels");
        assert_eq!(linear, floats(&[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]));
        let near = levels("image.noise", "{ linear = [0, 1e-37], n = 11 }").expect_err("a tenth of it is too small");
        assert_eq!(near, "`image.noise` cannot be 1e-38, which is too near to 0");
        let falling = levels("stop.mean_cosine_above", "{ linear = [1.0, -1.0], n = 3 }").expect("levels");
        assert_eq!(falling, floats(&[1.0, 0.0, -1.0]));
        // Unrounded, a third of 0.3 is 0.09999999999999999.
        assert_eq!(levels("image.noise", "{ linear = [0, 0.3], n = 4 }"), Ok(floats(&[0.0, 0.1, 0.2, 0.3])));
        // The middle one of three from 0.02 to 0.5 is their geometric mean.
        assert_eq!(levels("train.temperature", "{ log = [0.02, 0.5], n = 3 }"), Ok(floats(&[0.02, 0.1, 0.5])));
    }

    #[test]
    fn integer_ranges_give_integers() {
        let ints = |values: &[u64]| Ok(values.iter().map(|value| Value::from(*value)).collect::<Vec<_>>());
        assert_eq!(levels("train.batch_size", "{ linear = [32, 128], n = 4 }"), ints(&[32, 64, 96, 128]));
        assert_eq!(levels("model.hidden_img", "{ log = [8, 64], n = 4 }"), ints(&[8, 16, 32, 64]));
        let top = i64::MAX as u64;
        assert_eq!(
            levels("seed", &format!("{{ linear = [{}, {top}], n = 3 }}", top - 2)),
            ints(&[top - 2, top - 1, top])
        );
        assert_eq!(levels("seed", "{ seeds = 3, first = 10 }"), ints(&[10, 11, 12]));
        assert!(levels("model.embedding", "{ linear = [2, 4], n = 9 }").is_err());
    }

    #[test]
    fn forms_that_do_not_fit_are_refused() {
        for (path, text) in [
            ("train.temperature", "[]"),
            ("train.temperature", "0.1"),
            ("train.temperature", "{ linear = [0.1, 0.2], n = 0 }"),
            ("train.temperature", "{ linear = [0.1, 0.2], n = 1 }"),
            ("train.temperature", "{ linear = [0.1, 0.1], n = 3 }"),
            ("train.temperature", "{ linear = [0.1, 0.2] }"),
            ("train.temperature", "{ linear = [0.1, 0.2, 0.3], n = 3 }"),
            ("train.temperature", "{ linear = 0.1, n = 3 }"),
            ("train.temperature", "{ linear = [0.1, 0.2], n = 2.0 }"),
            ("train.temperature", "{ linear = [0.1, 0.2], log = [0.1, 0.2], n = 2 }"),
            ("train.temperature", "{ linear = [0.1, nan], n = 3 }"),
            ("train.temperature", "{ seeds = 3 }"),
            ("image.noise", "{ log = [0.0, 1.0], n = 3 }"),
            ("image.noise", "{ log = [-1, 1.0], n = 3 }"),
            ("pairing.kind", "{ linear = [0, 1], n = 2 }"),
            ("seed", "{ seeds = 3, n = 3 }"),
            ("seed", "{ seeds = 2, first = 9223372036854775807 }"),
            ("seed", "{ seeds = -1 }"),
            ("seed", "{ seeds = 99999999999999999999999 }"),
            ("seed", "{ first = 1 }"),
            ("seed", "{ n = 1 }"),
        ] {
            assert!(levels(path, text).is_err(), "{path} = {text} was taken");
        }
    }
}
