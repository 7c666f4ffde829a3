//! The code that is running, for manifests.

use std::collections::BTreeMap;

use crate::store::Code;

/// Crates whose versions numbers may depend on.
const RECORDED: [&str; 14] = [
    "burn",
    "burn-flex",
    "burn-ndarray",
    "burn-wgpu",
    "chacha20",
    "cubecl",
    "cubek-matmul",
    "faer",
    "gemm",
    "libm",
    "matrixmultiply",
    "ndarray",
    "polars-parquet",
    "wgpu",
];

/// Version, commit and crate versions of this program.
pub fn code() -> Code {
    let commit = option_env!("CLIFFLINE_GIT_COMMIT").filter(|c| !c.is_empty());
    Code {
        version: env!("CARGO_PKG_VERSION").to_string(),
        git_commit: commit.map(str::to_string),
        git_dirty: commit.and(option_env!("CLIFFLINE_GIT_DIRTY")).map(|d| d == "true"),
        crates: crate_versions(include_str!("../../Cargo.lock")),
    }
}

/// The program and the machine that make a cell, in one line: version, commit, processor.
pub fn made_by(code: &Code, cpu: Option<&str>) -> String {
    let commit = code.git_commit.as_deref().map_or("unknown commit", |c| &c[..c.len().min(12)]);
    let dirty = if code.git_dirty == Some(true) { ", changed since" } else { "" };
    format!("cliffline {} ({commit}{dirty}) on {}", code.version, cpu.unwrap_or("an unknown processor"))
}

/// Versions of the recorded crates in a lock file; several versions of one crate are joined.
fn crate_versions(lock: &str) -> BTreeMap<String, String> {
    let parsed: toml::Table = lock.parse().unwrap_or_default();
    let mut versions: BTreeMap<String, String> = BTreeMap::new();
    for package in parsed.get("package").and_then(toml::Value::as_array).into_iter().flatten() {
        let text = |key: &str| package.get(key).and_then(toml::Value::as_str).unwrap_or_default();
        if RECORDED.contains(&text("name")) {
            let entry = versions.entry(text("name").to_string()).or_default();
            let separator = if entry.is_empty() { "" } else { ", " };
            *entry = format!("{entry}{separator}{}", text("version"));
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_crate_is_in_the_lock_file() {
        let found = code().crates;
        for name in RECORDED {
            assert!(found.get(name).is_some_and(|v| !v.is_empty()), "{name}");
        }
    }
}
