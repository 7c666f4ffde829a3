//! The geometry of chosen cells: what `exemplars.parquet` has of the baseline, the worst and one at a boundary.

pub mod hubs;
pub mod norms;
pub mod pca;
pub mod similarity;
pub mod spectra;

use std::collections::HashMap;

use polars_core::prelude::{DataFrame, PolarsError, PolarsResult};

use super::super::colour::GROUPS;
use super::super::figure::Figure;
use super::super::run_data::{ReportError, RunData};
use crate::analysis::line::value_at;
use crate::numerics::linalg::{dot, normalised};
use crate::numerics::shown::exact;
use crate::spec::Sweep;
use crate::store::{CELLS_TABLE, EXEMPLARS_TABLE, metric_column, param_column};

/// Factors on the whole circle, in radians, and those on an interval, as the table names them.
const ANGLES: [&str; 2] = ["orientation", "phase"];
const INTERVALS: [&str; 2] = ["frequency", "thickness"];

/// Image, text.
const MODALITIES: [&str; 2] = ["image", "text"];

/// Recorded metrics that pictures quote: of image and text, or from image to text and back.
const RECORDED: [[&str; 2]; 2] = [["effective_rank_img", "effective_rank_txt"], ["hub_gini_i2t", "hub_gini_t2i"]];

/// A chosen cell, with its test split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exemplar {
    /// `baseline`, `worst` or `boundary`.
    pub role: String,
    pub cell_id: String,
    /// Path of every axis with the cell's level.
    pub levels: Vec<(String, String)>,
    /// Samples.
    pub n: usize,
    /// Dimensions.
    pub d: usize,
    pub shape: Vec<String>,
    /// [`ANGLES`], then [`INTERVALS`]; of the image.
    pub factors: [Vec<f64>; 4],
    /// For each row that whose factors its text describes: another than its own where pairs are corrupted.
    pub described: Vec<usize>,
    /// Labels that image and text carry, of a run with a confounder.
    pub confounder: Option<[Vec<Option<u32>>; 2]>,
    /// Before normalisation, `[n, d]` each.
    pub raw: [Vec<f64>; 2],
    /// As [`RECORDED`]; none where the run has no value.
    pub recorded: [[Option<f64>; 2]; 2],
}

impl Exemplar {
    /// Lengths of the embeddings of a modality, `[n]`.
    pub fn norms(&self, modality: usize) -> Vec<f64> {
        self.raw[modality].chunks_exact(self.d).map(|row| libm::sqrt(dot(row, row))).collect()
    }

    /// Embeddings of a modality at length 1, `[n, d]`: those that metrics are computed from, to the bit.
    pub fn z(&self, modality: usize) -> Vec<f64> {
        self.raw[modality].chunks_exact(self.d).flat_map(|row| normalised(row).0).collect()
    }

    /// `seed 0, train.temperature 0.1`.
    fn at(&self) -> String {
        let levels = self.levels.iter().map(|(path, level)| format!("{path} {level}"));
        levels.collect::<Vec<_>>().join(", ")
    }

    /// As much of the id as tells cells apart.
    fn short_id(&self) -> &str {
        self.cell_id.get(..12).unwrap_or(&self.cell_id)
    }
}

/// The pictures of the chosen cells; none of a run without `exemplars.parquet`.
///
/// # Errors
/// A table that cannot be read.
pub fn figures(run: &RunData) -> Result<Vec<Figure>, ReportError> {
    let exemplars = exemplars(run)?;
    let mut figures: Vec<Figure> =
        exemplars.iter().filter_map(|exemplar| pca::info(exemplar).map(|info| pca::draw(&info))).collect();
    figures.extend(similarity::info(&exemplars).map(|info| similarity::draw(&info)));
    figures.extend(spectra::info(&exemplars).map(|info| spectra::draw(&info)));
    figures.extend(hubs::info(&exemplars).map(|info| hubs::draw(&info)));
    figures.extend(norms::info(&exemplars).map(|info| norms::draw(&info)));
    Ok(figures)
}

/// The chosen cells of a run, in the order of their table.
///
/// # Errors
/// A table that cannot be read or lacks a column.
pub fn exemplars(run: &RunData) -> Result<Vec<Exemplar>, ReportError> {
    let Some(table) = run.table(EXEMPLARS_TABLE)? else { return Ok(Vec::new()) };
    let failed = |file: &str| {
        let path = run.dir.join(file);
        move |source: PolarsError| ReportError::Table { path, source }
    };
    let mut exemplars = split(&table).map_err(failed(EXEMPLARS_TABLE))?;
    let params: Vec<(String, String)> =
        run.sweep.axes.iter().map(|axis| (axis.path.clone(), param_column(&axis.path))).collect();
    let metrics = RECORDED.map(|pair| pair.map(metric_column));
    let mut names: Vec<&str> = vec!["cell_id"];
    names.extend(metrics.iter().flatten().map(String::as_str));
    names.extend(params.iter().map(|(_, column)| column.as_str()));
    if let Some(cells) = run.columns(CELLS_TABLE, &names)? {
        describe(&run.sweep, &mut exemplars, &cells, &params, &metrics).map_err(failed(CELLS_TABLE))?;
    }
    Ok(exemplars)
}

/// Takes levels and recorded metrics from the table of cells.
fn describe(
    sweep: &Sweep,
    exemplars: &mut [Exemplar],
    cells: &DataFrame,
    params: &[(String, String)],
    metrics: &[[String; 2]; 2],
) -> PolarsResult<()> {
    let ids = cells.column("cell_id")?.str()?;
    let rows: HashMap<&str, usize> = ids.iter().enumerate().filter_map(|(row, id)| Some((id?, row))).collect();
    for exemplar in exemplars {
        let Some(&row) = rows.get(exemplar.cell_id.as_str()) else { continue };
        for (path, column) in params {
            let Ok(column) = cells.column(column) else { continue };
            let level = value_at(column, row)?;
            exemplar.levels.push((path.clone(), sweep.shown(path).text(&level)));
        }
        for (values, names) in exemplar.recorded.iter_mut().zip(metrics) {
            for (value, name) in values.iter_mut().zip(names) {
                *value = cells.column(name).ok().and_then(|column| value_at(column, row).ok()?.as_f64());
            }
        }
    }
    Ok(())
}

/// The cells of a table like `exemplars.parquet`, without what the table of cells says of them.
fn split(table: &DataFrame) -> PolarsResult<Vec<Exemplar>> {
    let text = |name: &str| PolarsResult::Ok(table.column(name)?.str()?.clone());
    let ids = |name: &str| PolarsResult::Ok(table.column(name)?.u32()?.clone());
    let number = |name: &str| PolarsResult::Ok(table.column(name)?.f64()?.clone());
    let (roles, cells, shape) = (text("role")?, text("cell_id")?, text("shape")?);
    let (index, index_txt) = (ids("index")?, ids("index_txt")?);
    let factors = [ANGLES, INTERVALS].concat().into_iter().map(number).collect::<PolarsResult<Vec<_>>>()?;
    let raw = ["raw_img", "raw_txt"].map(|name| PolarsResult::Ok(table.column(name)?.list()?.clone()));
    let [raw_img, raw_txt] = raw;
    let raw = [raw_img?, raw_txt?];
    let labels = [ids("confounder_img").ok(), ids("confounder_txt").ok()];
    let mut exemplars: Vec<Exemplar> = Vec::new();
    let mut places: HashMap<u32, usize> = HashMap::new();
    let starts: Vec<usize> =
        (0..table.height()).filter(|row| *row == 0 || cells.get(*row) != cells.get(row - 1)).collect();
    for (i, &start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).copied().unwrap_or(table.height());
        let mut of = Exemplar {
            role: roles.get(start).unwrap_or_default().to_string(),
            cell_id: cells.get(start).unwrap_or_default().to_string(),
            n: end - start,
            ..Exemplar::default()
        };
        places.clear();
        places.extend((start..end).filter_map(|row| Some((index.get(row)?, row - start))));
        for row in start..end {
            of.shape.push(shape.get(row).unwrap_or_default().to_string());
            for (values, column) in of.factors.iter_mut().zip(&factors) {
                values.push(column.get(row).unwrap_or(f64::NAN));
            }
            let own = row - start;
            of.described.push(index_txt.get(row).and_then(|text| places.get(&text).copied()).unwrap_or(own));
            for (values, column) in of.raw.iter_mut().zip(&raw) {
                let list = column.get_as_series(row).unwrap_or_default();
                values.extend(list.f32()?.iter().map(|x| x.map_or(f64::NAN, f64::from)));
            }
        }
        if let [Some(img), Some(txt)] = &labels {
            let of_rows =
                |column: &polars_core::prelude::UInt32Chunked| (start..end).map(|row| column.get(row)).collect();
            let labels: [Vec<Option<u32>>; 2] = [of_rows(img), of_rows(txt)];
            of.confounder = labels.iter().flatten().any(Option::is_some).then_some(labels);
        }
        of.d = of.raw[0].len() / of.n.max(1);
        exemplars.push(of);
    }
    Ok(exemplars)
}

/// The colour of the chosen cell at a place of their list.
fn colour_of(place: usize) -> &'static str {
    // Blue, orange, purple: far apart in lightness as well.
    [GROUPS[0], GROUPS[1], GROUPS[3]][place % 3]
}

/// With all digits, for data tables; empty for what is no number.
fn cell(value: f64) -> String {
    if value.is_finite() { exact(value) } else { String::new() }
}

#[cfg(test)]
mod fixture;

#[cfg(test)]
mod tests {
    use super::fixture::exemplar;
    use crate::metric::{Evaluation, Modality};

    #[test]
    fn embeddings_are_those_that_metrics_are_computed_from() {
        let mut cell = exemplar("baseline", 6, 3);
        // Two rows that the guard shortens, and one without a direction.
        cell.raw[0][..9].copy_from_slice(&[1e-3, 2e-3, 0.0, 1e-6, 0.0, 1e-6, 0.0, 0.0, 0.0]);
        for raw in cell.raw.iter_mut().flatten() {
            *raw = f64::from(*raw as f32);
        }
        let raw = [0, 1].map(|modality| cell.raw[modality].iter().map(|x| *x as f32).collect::<Vec<f32>>());
        let evaluation = Evaluation::new(&raw[0], &raw[1], 3, 0.1).expect("embeddings");
        assert_eq!(cell.z(0), evaluation.z(Modality::Img));
        assert_eq!(cell.z(1), evaluation.z(Modality::Txt));
    }
}
