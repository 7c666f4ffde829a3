//! What the tables' columns are, from the registries.

use std::path::Path;

use crate::aligner::balance::WEIGHT_NAMES;
use crate::aligner::regulariser::REGULARISERS;
use crate::aligner::step::GRADIENT_NORM_NAMES;
use crate::metric;
use crate::spec::{PARAMS, Sweep};
use crate::store::{MetricColumn, ParamColumn, RunReader, RunTables, StoreError, TableSpec, write_run_tables_to};

/// Writes the tables of a run's records into `dir`, with rows for those of `cell_ids` that are finished.
pub fn write_run_tables(
    reader: &RunReader,
    dir: &Path,
    sweep: &Sweep,
    cell_ids: &[&str],
) -> Result<RunTables, StoreError> {
    let axes: Vec<String> = sweep.axes.iter().map(|axis| axis.path.clone()).collect();
    let (params, metrics, series) = (params(), metrics(), series());
    let spec = TableSpec { cell_ids, axes: &axes, params: &params, metrics: &metrics, series: &series };
    write_run_tables_to(dir, reader, &spec)
}

/// Every parameter, in registry order.
pub fn params() -> Vec<ParamColumn> {
    PARAMS.iter().map(|p| ParamColumn { path: p.path.to_string(), description: p.doc.to_string() }).collect()
}

/// Every metric, in registry order.
pub fn metrics() -> Vec<MetricColumn> {
    let fast: Vec<&str> = metric::descriptors_of(metric::Panel::Fast).map(|d| d.name).collect();
    let column = |d: &metric::Descriptor| {
        let column = metric_column(d);
        let of_full = if fast.contains(&d.name) { "" } else { "; measured where param_panel is full" };
        MetricColumn { summary: format!("{}{of_full}", column.summary), ..column }
    };
    metric::descriptors().map(column).collect()
}

fn metric_column(d: &metric::Descriptor) -> MetricColumn {
    let bound = |x: f64| x.is_finite().then_some(x);
    MetricColumn {
        name: d.name.to_string(),
        unit: d.unit.to_string(),
        range: [bound(d.range.0), bound(d.range.1)],
        summary: d.summary.to_string(),
    }
}

/// Descriptions of the curves' columns.
pub fn series() -> Vec<MetricColumn> {
    let plain = |name: &str, unit: &str, summary: &str| MetricColumn {
        name: name.to_string(),
        unit: unit.to_string(),
        range: [None, None],
        summary: summary.to_string(),
    };
    let mut columns = vec![
        plain(
            "loss",
            "nats",
            "weighted symmetric InfoNCE of the minibatch and the terms added to it, before the step's update; a loss of 0 can come out below it by rounding, up to about 1e-7 over the temperature",
        ),
        plain("loss_i2t", "nats", "image-to-text InfoNCE of the minibatch"),
        plain("loss_t2i", "nats", "text-to-image InfoNCE of the minibatch"),
    ];
    columns.extend(REGULARISERS.iter().map(|r| plain(r.series, "1", r.summary)));
    columns.extend(
        WEIGHT_NAMES.map(|name| plain(name, "1", "weight of the direction in use, where it follows gradients")),
    );
    for name in GRADIENT_NORM_NAMES {
        columns.push(plain(name, "1", "Euclidean norm of the gradient before clipping, weights and biases together"));
    }
    columns.extend(metric::descriptors().map(|d| {
        let column = metric_column(d);
        let summary = format!("on the validation split: {}", column.summary);
        MetricColumn { name: format!("validation_{}", column.name), summary, ..column }
    }));
    columns
}
