//! Cliffline maps where the shared embedding geometry of tiny multimodal contrastive models degrades and collapses.
//!
//! A **spec** describes a **sweep**; a sweep has **axes**; an axis has **levels**; one level per axis, the seed
//! included, is a **cell**; a **pack** is a set of cells trained together as one batched tensor program.
//!
//! # The map
//!
//! Data flows down this list once per run, and imports point only towards the bottom of it.
//!
//! | room | owns | imports |
//! |---|---|---|
//! | [`cli`] | arguments, wiring, exit codes; one file per command | everything |
//! | [`report`] | the pictures of a run as one HTML page and as SVG files; `plot/`, one file per picture: `info` (data), then `draw`; `lab/`, the page of a laboratory | tables of the store, the sweep, descriptors of metrics, what came of a laboratory; never Burn |
//! | [`lab`] | the laboratories: families of sweeps, what a source expects of them as tests that can come out either way, attribution of mechanism | tables of the store, the sweep, statistics |
//! | [`audit`] | the risk log and the strict report of a run: which controls are on, which facts stand where | `analysis`, tables and manifests of the store, the sweep |
//! | [`analysis`] | pure functions of a run's tables, or of two runs': the summary, surfaces, margins, boundaries, refinement, gates, comparison | tables of the store, the sweep, the limits of the engine |
//! | [`store`] | Parquet tables, parts, resume, reuse, manifests; ledger, bundle and proofs | outcomes of the engine |
//! | [`engine`] | plan, packs, scheduler, the trainer | everything below |
//! | [`metric`] | the measurement panel, one file per family, and its registry; host f64 | `numerics` |
//! | [`aligner`] | encoders, InfoNCE, gradients, optimisers, training, as Burn tensors with a leading cell axis; `kernel/` holds what is fused for GPUs, beside the plain program that defines it; `native/` is the whole step as fused loops on the CPU | `spec`'s configuration, `numerics` |
//! | [`world`] | latents, operators, confounders, perturbations, pairing, splits, checks | `spec`'s configuration, `numerics` |
//! | [`spec`] | the configuration and its registry; TOML to a checked sweep; cell ids | `numerics`; names and ranges of `metric`, which gates bound |
//! | [`numerics`] | seeded streams, linear algebra, statistics | nothing |
//! | [`machine`] | what the machine and the limits of the process allow: memory, threads, files; every room may ask it | nothing |
//!
//! Burn appears in `aligner` only (the engine hands its devices around without looking inside).
//!
//! # Where a change goes
//!
//! To add a metric: a file in `metric` and a line in [`metric::METRICS`]. A perturbation: a file in
//! `world/perturbation` and a line in [`world::perturbation::PERTURBATIONS`]. A confounder: a file in
//! `world/confounder` and a line in [`world::confounder::CONFOUNDERS`], and its name among those of `confounder.kind`. A
//! term of the loss: a file in `aligner/regulariser` and a line in [`aligner::regulariser::REGULARISERS`]. A stop rule, a
//! warning or a floor: a line in [`engine::LIMITS`]. A sentence that a laboratory tests: an entry of its list in `lab`. A parameter: a field and a line of [`spec::PARAMS`]. A picture of the
//! report: a file in `report/plot` and a line in [`report::plot::PLOTS`]. A risk: a line of [`audit::RISKS`]; a control: a
//! line of [`audit::CONTROLS`]. Columns, checks,
//! help and ids follow.

pub mod aligner;
pub mod analysis;
pub mod audit;
pub mod cli;
pub mod engine;
pub mod lab;
pub mod machine;
pub mod metric;
pub mod numerics;
pub mod report;
pub mod spec;
pub mod store;
pub mod world;
