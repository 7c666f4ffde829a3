//! Instruction sets: which of this processor's vectors the loops use.

use std::sync::OnceLock;

use pulp::Arch;

/// Environment variable that names narrower vectors than the processor has, for results of another machine's class.
pub const INSTRUCTIONS: &str = "CLIFFLINE_INSTRUCTIONS";

/// Instruction sets by the names that [`INSTRUCTIONS`] and classes know, widest first; those of this processor.
pub fn instruction_sets() -> Vec<(&'static str, Arch)> {
    let mut sets = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        sets.extend(pulp::x86::V4::try_new().map(|v| ("avx512", Arch::V4(v))));
        sets.extend(pulp::x86::V3::try_new().map(|v| ("avx2+fma", Arch::V3(v))));
    }
    #[cfg(target_arch = "aarch64")]
    sets.extend(pulp::aarch64::Neon::try_new().map(|v| ("neon", Arch::Neon(v))));
    sets.push(("scalar", Arch::Scalar));
    sets
}

/// [`INSTRUCTIONS`] names something that this processor does not have.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{INSTRUCTIONS} asks for the instruction set `{wanted}`, which is none of this processor's: {available}")]
pub struct UnknownInstructions {
    wanted: String,
    available: String,
}

/// The widest vectors of this processor, or those that [`INSTRUCTIONS`] names, with the set's name.
pub fn instruction_set() -> Result<(&'static str, Arch), UnknownInstructions> {
    static CHOSEN: OnceLock<Result<(&'static str, Arch), UnknownInstructions>> = OnceLock::new();
    let choose = || {
        let sets = instruction_sets();
        let wanted = std::env::var_os(INSTRUCTIONS).map(|w| w.to_string_lossy().into_owned()).filter(|w| !w.is_empty());
        let found = sets.iter().find(|(name, _)| wanted.as_deref().is_none_or(|w| w == *name)).copied();
        found.ok_or_else(|| UnknownInstructions {
            wanted: wanted.unwrap_or_default(),
            available: sets.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
        })
    };
    CHOSEN.get_or_init(choose).clone()
}

/// The vectors of [`instruction_set`].
///
/// # Panics
/// When there is no such set; opening the backend has said so before.
pub fn arch() -> Arch {
    instruction_set().unwrap_or_else(|error| panic!("{error}")).1
}
