//! `cliffline embed`: retrains one cell, holds it to its manifest, and writes its test embeddings.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use polars_core::prelude::{Column, DataFrame, IntoColumn, ListChunked, NamedFrom, Series};
use serde_json::json;

use super::opened::{Opened, Recorded};
use super::{DirArgs, exit, output};
use crate::aligner::train::RawEmbeddings;
use crate::engine::carried;
use crate::metric::{Evaluation, Modality};
use crate::spec::config::{Config, ConfounderConfig};
use crate::spec::{CLEAN, Cell, Condition};
use crate::store::{ColumnInfo, EXEMPLARS_TABLE, TableInfo, write_table};
use crate::world::confounder::labels;
use crate::world::{SplitName, World, partners};

#[derive(Debug, Args)]
pub struct EmbedArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Cell id, or the beginning of one
    cell: String,
    /// Parquet file to write, one row per test sample
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// One of the run's conditions, instead of the one under which the cell was trained
    #[arg(long, value_name = "NAME")]
    condition: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn main(args: &EmbedArgs) -> anyhow::Result<u8> {
    super::checked::require_writable(&args.output, EXEMPLARS_TABLE)?;
    let found = Opened::run(&args.dir.dir)?.cell(&args.cell)?;
    let record = found.record();
    let cell = super::checked::cell(record)?;
    let condition = condition(&cell, args.condition.as_deref())?;
    let trainer = super::checked::trainer_for(&record.class)?;
    super::checked::require_memory(&trainer, record)?;
    let again = super::checked::retrain(&trainer, record)?;
    let differing = match &found {
        Recorded::Whole(record) => crate::store::differences(record, &again.outcome),
        Recorded::Tabled(cell) => super::checked::differences_of_tabled(cell, &again.outcome),
    };
    if !differing.is_empty() {
        output::note(&format!(
            "cell {} came out differently: {}; nothing is written",
            record.cell_id,
            differing.join(", ")
        ));
        return Ok(exit::NO);
    }
    let (config, test) = match condition {
        // The comparison above had it applied.
        Some(condition) => (
            condition.applied(&cell.config).context("the condition is of another version")?,
            trainer.embed_under(&cell, &again, condition)?,
        ),
        None => (cell.config.clone(), again.test),
    };
    let (frame, info) = table(&config, carried(&config, &cell.config), &test)
        .with_context(|| format!("cell {} has no embeddings to write ({})", record.cell_id, record.reason))?;
    let written = write_table(&args.output, &frame, &info)?;
    if args.json {
        output::json(
            &json!({"version": 1, "cell_id": record.cell_id, "file": output::path(&args.output), "rows": written.rows, "blake3": written.blake3}),
        )?;
    } else {
        output::line(&format!(
            "{}: {} rows, cell {} as recorded, condition {}",
            args.output.display(),
            written.rows,
            record.cell_id,
            args.condition.as_deref().unwrap_or(CLEAN)
        ))?;
    }
    Ok(exit::OK)
}

/// The condition of a cell by its name; none for the one under which it was trained.
fn condition<'a>(cell: &'a Cell, name: Option<&str>) -> anyhow::Result<Option<&'a Condition>> {
    let Some(name) = name.filter(|name| *name != CLEAN) else { return Ok(None) };
    let found = cell.conditions.iter().find(|condition| condition.name == name);
    let known = || [CLEAN].into_iter().chain(cell.conditions.iter().map(|c| c.name.as_str()));
    let missing = || format!("the cell has no condition `{name}`; it has {}", known().collect::<Vec<_>>().join(", "));
    found.map(Some).with_context(missing)
}

/// Labels of the confounder, where there is one: what the image carries, and what the text.
pub(super) const CONFOUNDER_COLUMNS: [&str; 2] = ["confounder_img", "confounder_txt"];

/// One row per test sample: index, factors, labels of a confounder, raw and normalised embeddings.
pub(super) fn table(
    config: &Config,
    confounder: &ConfounderConfig,
    test: &RawEmbeddings,
) -> anyhow::Result<(DataFrame, TableInfo)> {
    let d = config.model.embedding as usize;
    let evaluation = Evaluation::new(&test.img, &test.txt, d, config.train.temperature)?;
    let world = World::generate(config.seed, &config.world, config.text.features)?;
    let split = world.split(SplitName::Test);
    let factor = |name: &str, unit: &str, values: Vec<f64>| {
        described(Series::new(name.into(), values).into(), "index", unit, "latent factor")
    };
    let lists = |name: &str, values: &[f32], what: &str| described(list_column(name, values, d), "value", "1", what);
    let f = &split.factors;
    let mut columns = vec![
        described(
            Series::new("index".into(), split.index.clone()).into(),
            "id",
            "",
            "sample index in the cell's world",
        ),
        described(
            Series::new("shape".into(), f.iter().map(|x| x.shape.name()).collect::<Vec<_>>()).into(),
            "index",
            "",
            "latent factor",
        ),
        factor("orientation", "rad", f.iter().map(|x| x.orientation).collect()),
        factor("frequency", "cycles per image side", f.iter().map(|x| x.frequency).collect()),
        factor("phase", "rad", f.iter().map(|x| x.phase).collect()),
        factor("thickness", "image sides", f.iter().map(|x| x.thickness).collect()),
    ];
    let pairing = partners(config.seed, split.name, &config.pairing, f);
    let texts: Vec<u32> = pairing.partner.iter().map(|&i| split.index[i as usize]).collect();
    let text_index = Series::new("index_txt".into(), texts).into();
    columns.push(described(text_index, "id", "", "index of the sample that the paired text describes"));
    if let Some(labels) = labels(split, confounder) {
        let img: Vec<Option<u32>> = labels.img.iter().map(|label| label.map(u32::from)).collect();
        let txt: Vec<Option<u32>> = pairing.partner.iter().map(|&i| labels.txt[i as usize].map(u32::from)).collect();
        let whats = ["label the image carries; null for none", "label the paired text carries; null for none"];
        for ((name, labels), what) in CONFOUNDER_COLUMNS.into_iter().zip([img, txt]).zip(whats) {
            columns.push(described(Series::new(name.into(), labels).into(), "index", "", what));
        }
    }
    columns.extend([
        lists("raw_img", &test.img, "image embedding before normalisation"),
        lists("raw_txt", &test.txt, "embedding before normalisation of the text this image is paired with"),
        lists("z_img", &evaluation.z_f32(Modality::Img), "L2-normalised image embedding"),
        lists("z_txt", &evaluation.z_f32(Modality::Txt), "L2-normalised text embedding"),
    ]);
    let info = TableInfo::new("embeddings", columns.iter().map(|(c, i)| (c.name().to_string(), i.clone())));
    let frame = DataFrame::new_infer_height(columns.into_iter().map(|(c, _)| c).collect())?;
    Ok((frame, info))
}

pub(super) fn described(column: Column, role: &str, unit: &str, what: &str) -> (Column, ColumnInfo) {
    (column, ColumnInfo::new(role, unit, what))
}

/// `[N, width]` row-major values as a column of lists.
pub(super) fn list_column(name: &str, values: &[f32], width: usize) -> Column {
    let rows = values.chunks(width.max(1)).map(|row| Series::new("".into(), row));
    let mut lists: ListChunked = rows.collect();
    lists.rename(name.into());
    lists.into_column()
}
