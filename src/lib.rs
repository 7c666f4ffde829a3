//! Cliffline maps where the shared embedding geometry of tiny multimodal contrastive models degrades and collapses.

pub mod aligner;
pub mod engine;
pub mod metric;
pub mod numerics;
pub mod spec;
pub mod store;
pub mod world;
