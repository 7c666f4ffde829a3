//! The aligner: two-layer tanh encoders per modality, symmetric InfoNCE, analytic gradients and the training loop,
//! as Burn tensors with a leading cell axis.
//!
//! Shapes: `C` cells in a pack, `B` minibatch, `N` samples, `P` input features, `H` hidden units, `D` embedding.
//! Every operation keeps cells apart: lane `c` of each tensor depends on lane `c` of its inputs alone. That is what
//! makes a cell's result independent of its pack, and `tests/pack_invariance.rs` holds it to the bit.

pub mod agree;
pub mod backend;
pub mod balance;
pub mod batches;
pub mod data;
pub mod dual;
pub mod embed;
pub mod encoder;
pub mod fault;
pub mod gradcheck;
pub mod held;
pub mod info_nce;
pub mod kernel;
pub mod native;
pub mod objective;
pub mod optimiser;
pub mod parameters;
pub mod program;
pub mod reference;
pub mod regulariser;
pub mod step;
pub mod tensor_program;
pub mod train;
