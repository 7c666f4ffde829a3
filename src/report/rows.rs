//! The rows of a table as plain values, and where they lie on the axes of their sweep.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use polars_core::prelude::{AnyValue, BooleanChunked, DataFrame, DataType, NewChunkedArray, PolarsError};
use serde_json::Value;

use super::run_data::{ReportError, RunData};
use crate::numerics::shown::{Levels, exact};
use crate::spec::{Scale, Sweep};
use crate::store::param_column;

/// A value of an axis. It is shown as the levels of its list are.
#[derive(Clone, Debug)]
pub enum Level {
    Whole(i64),
    Number(f64, Levels),
    Name(String),
}

impl Level {
    /// As the value of a spec or of a table.
    pub fn of(value: &Value, shown: Levels) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::Number(n) => match (n.as_i64(), n.as_f64()) {
                (Some(whole), _) => Some(Self::Whole(whole)),
                (None, Some(x)) => Some(Self::Number(x, shown)),
                (None, None) => None,
            },
            other => Some(Self::Name(Levels::EXACT.text(other))),
        }
    }

    /// Where it lies on an axis.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Whole(n) => Some(*n as f64),
            Self::Number(x, _) => Some(*x),
            Self::Name(_) => None,
        }
    }

    /// With all digits, for data.
    pub fn exact(&self) -> String {
        match self {
            Self::Number(x, _) => exact(*x),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(n) => n.fmt(f),
            Self::Number(x, shown) => f.write_str(&shown.number(*x)),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Ord for Level {
    fn cmp(&self, other: &Self) -> Ordering {
        // An axis has levels of one type.
        let kind = |level: &Self| match level {
            Self::Whole(_) => 0,
            Self::Number(..) => 1,
            Self::Name(_) => 2,
        };
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => a.cmp(b),
            (Self::Number(a, _), Self::Number(b, _)) => a.total_cmp(b),
            (Self::Name(a), Self::Name(b)) => a.cmp(b),
            _ => kind(self).cmp(&kind(other)),
        }
    }
}

impl PartialOrd for Level {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Level {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Level {}

/// A table.
#[derive(Clone, Debug)]
pub struct Rows {
    frame: DataFrame,
    path: PathBuf,
    /// How the levels of a column are written, where more levels are known than it has.
    shown: BTreeMap<String, Levels>,
}

impl Rows {
    pub fn new(frame: DataFrame, path: &Path) -> Self {
        Self { frame, path: path.to_path_buf(), shown: BTreeMap::new() }
    }

    /// Some columns of a run's table; none where it has no such file. Names that it does not have are left out.
    ///
    /// # Errors
    /// A table that cannot be read.
    pub fn read(run: &RunData, file: &str, names: &[String]) -> Result<Option<Self>, ReportError> {
        let asked: Vec<&str> = names.iter().map(String::as_str).collect();
        let Some(frame) = run.columns(file, &asked)? else { return Ok(None) };
        let axes = run.sweep.axes.iter().map(|axis| (param_column(&axis.path), &axis.path));
        let shown = axes.filter(|(column, _)| names.contains(column)).map(|(c, path)| (c, run.sweep.shown(path)));
        Ok(Some(Self { frame, path: run.dir.join(file), shown: shown.collect() }))
    }

    pub fn len(&self) -> usize {
        self.frame.height()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn has(&self, name: &str) -> bool {
        self.frame.column(name).is_ok()
    }

    fn failed(&self) -> impl Fn(PolarsError) -> ReportError + '_ {
        |source| ReportError::Table { path: self.path.clone(), source }
    }

    /// The rows that are to be kept.
    ///
    /// # Errors
    /// As many answers as rows are needed.
    pub fn keep(&self, keep: impl Iterator<Item = bool>) -> Result<Self, ReportError> {
        let mask = BooleanChunked::from_iter_values("".into(), keep);
        let frame = self.frame.filter(&mask).map_err(self.failed())?;
        Ok(Self { frame, path: self.path.clone(), shown: self.shown.clone() })
    }

    /// A column of text.
    ///
    /// # Errors
    /// No such column, or another type.
    pub fn texts(&self, name: &str) -> Result<Vec<Option<&str>>, ReportError> {
        let column = self.frame.column(name).and_then(|column| column.str());
        Ok(column.map_err(self.failed())?.iter().collect())
    }

    /// A column of numbers; what is not finite is none.
    ///
    /// # Errors
    /// No such column, or no numbers.
    pub fn numbers(&self, name: &str) -> Result<Vec<Option<f64>>, ReportError> {
        let column = self.frame.column(name).map_err(self.failed())?;
        Ok(match column.dtype() {
            DataType::Int64 => {
                column.i64().map_err(self.failed())?.iter().map(|value| value.map(|x| x as f64)).collect()
            }
            _ => column.f64().map_err(self.failed())?.iter().map(|x| x.filter(|x| x.is_finite())).collect(),
        })
    }

    /// A column of whole numbers.
    ///
    /// # Errors
    /// No such column, or another type.
    pub fn counts(&self, name: &str) -> Result<Vec<Option<i64>>, ReportError> {
        let column = self.frame.column(name).and_then(|column| column.i64());
        Ok(column.map_err(self.failed())?.iter().collect())
    }

    /// A column of levels.
    ///
    /// # Errors
    /// No such column.
    pub fn levels(&self, name: &str) -> Result<Vec<Option<Level>>, ReportError> {
        let column = self.frame.column(name).map_err(self.failed())?;
        let of_column = || column.f64().map_or(Levels::EXACT, |numbers| Levels::of_numbers(numbers.iter().flatten()));
        let shown = self.shown.get(name).copied().unwrap_or_else(of_column);
        let level = |row| {
            Ok(match column.get(row).map_err(self.failed())? {
                AnyValue::Int64(value) => Some(Level::Whole(value)),
                AnyValue::Float64(value) => Some(Level::Number(value, shown)),
                AnyValue::Boolean(value) => Some(Level::Name(value.to_string())),
                AnyValue::String(value) => Some(Level::Name(value.to_string())),
                _ => None,
            })
        };
        (0..self.len()).map(level).collect()
    }
}

/// Paths of the axes of a sweep but the seed, those of zips included.
pub fn axis_paths(sweep: &Sweep) -> Vec<String> {
    let own = sweep.axes.iter().map(|axis| axis.path.clone());
    let zipped = sweep.zip.iter().flat_map(|zip| zip.paths.iter().cloned());
    let added = sweep.include.iter().flat_map(|include| include.keys().cloned());
    let mut seen = BTreeSet::new();
    own.chain(zipped).chain(added).filter(|path| path != "seed" && seen.insert(path.clone())).collect()
}

/// Whether two axes advance together.
pub fn are_zipped(sweep: &Sweep, a: &str, b: &str) -> bool {
    let has = |paths: &[String], path: &str| paths.iter().any(|known| known == path);
    sweep.zip.iter().any(|zip| has(&zip.paths, a) && has(&zip.paths, b))
}

/// The scale of an axis with these levels; none where they are no numbers.
pub fn scale_of<'a>(path: &str, levels: impl Iterator<Item = &'a Level>) -> Option<Scale> {
    let numbers: Option<Vec<f64>> = levels.map(Level::number).collect();
    Scale::of(path, numbers?)
}

/// At most `most` of `many` places, evenly, the first and the last among them.
pub fn evenly(many: usize, most: usize) -> Vec<usize> {
    if many <= most || most < 2 {
        return (0..many.min(most.max(1))).collect();
    }
    (0..most).map(|at| at * (many - 1) / (most - 1)).collect()
}

/// The value in the middle of sorted ones, or between the two there.
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = share * last as f64;
    let low = at.floor() as usize;
    let high = (low + 1).min(last);
    Some(sorted[low] + (at - low as f64) * (sorted[high] - sorted[low]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_even_and_keep_both_ends() {
        assert_eq!(evenly(3, 6), [0, 1, 2]);
        assert_eq!(evenly(11, 6), [0, 2, 4, 6, 8, 10]);
        assert_eq!(evenly(8, 6), [0, 1, 2, 4, 5, 7]);
        assert_eq!(evenly(0, 6), Vec::<usize>::new());
    }

    #[test]
    fn quantiles_lie_between_the_nearest_two() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[1.0, 2.0], 0.25), Some(1.25));
    }
}
