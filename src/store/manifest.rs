//! The run manifest: what ran, where, with which versions and thresholds, and how it stands.
//!
//! # Changelog of [`MANIFEST_VERSION`]
//! - 1: first version.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::atomic::write_atomic;
use super::bundle::promise;
use super::error::StoreError;
use super::plain::{read_file, stored_error};
use super::seal::Seal;
use super::table::TableBytes;

/// Version of [`RunManifest`].
pub const MANIFEST_VERSION: u64 = 1;
/// The statement that every manifest and report carries.
pub const VERIFICATION_STATEMENT: &str = "Not verified for live deployment; human review required.";
/// The manifest's file name in a run directory.
pub const MANIFEST_FILE: &str = "manifest.json";

/// Keys of what a seal adds.
const SEAL_KEYS: [&str; 2] = ["merkle_root", "bundle"];
/// Key of the root over the run's cells.
const CELLS_ROOT: &str = "cells_merkle_root";

/// What a run's manifest is called.
pub(crate) const RUN_FORMAT: &str = "cliffline-run";
/// Most bytes of a manifest: a megabyte per ten thousand levels of a refined run, thirty times over. In memory a JSON
/// value takes up to thirty times its text.
const MOST_MANIFEST_BYTES: usize = 32 << 20;
const RUN_ID_CONTEXT: &str = "cliffline 2026-11 run v1";
const RUN_ID_DIGITS: usize = 16;

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// A process is, or was until it was killed, at work: [`is_live`](super::is_live) tells which.
    Running,
    /// Every planned cell is finished and every table is written.
    Complete,
    /// Stopped by a person; the same command goes on.
    Interrupted,
    /// Stopped with cells missing for another reason, which `notes` gives.
    Incomplete,
}

/// The machine and what computed on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    pub os: String,
    pub arch: String,
    /// As the system names it; `None` where it does not.
    pub cpu: Option<String>,
    /// Logical cores available to the process.
    pub cores: usize,
    pub backend: String,
    /// GPU adapter and its driver; `None` on a CPU backend.
    pub adapter: Option<String>,
    pub driver: Option<String>,
}

impl Environment {
    /// This machine, with the backend that the caller chose on it.
    pub fn detect(backend: &str, adapter: Option<String>, driver: Option<String>) -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| cpu_model(&text));
        Self {
            os: std::env::consts::OS.into(),
            arch: std::env::consts::ARCH.into(),
            cpu,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            backend: backend.into(),
            adapter,
            driver,
        }
    }
}

/// The first `model name` of `/proc/cpuinfo`; ARM kernels give none.
fn cpu_model(cpuinfo: &str) -> Option<String> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_string())
    })
}

/// The code that ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Code {
    pub version: String,
    pub git_commit: Option<String>,
    /// Whether the working tree differed from the commit; `None` when unknown.
    pub git_dirty: Option<bool>,
    /// Versions of the crates that the numbers depend on.
    pub crates: BTreeMap<String, String>,
}

/// Cells of a run by how they stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cells {
    pub planned: u64,
    /// Finished cells by status.
    pub by_status: BTreeMap<String, u64>,
}

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunManifest {
    pub format: String,
    pub version: u64,
    /// 16 hex digits: a hash of the spec hash, the class and `created_utc`. It names this run of the spec in logs and
    /// reports; cells are named by their own ids.
    pub run_id: String,
    pub state: RunState,
    pub sweep: String,
    /// RFC 3339, whole seconds.
    pub created_utc: String,
    pub updated_utc: String,
    /// Hash of the resolved spec's values, 64 hex digits.
    pub spec_blake3: String,
    pub spec: serde_json::Value,
    /// Numerics version, backend and instruction set or adapter: what results may depend on.
    pub class: String,
    pub backend: String,
    pub environment: Environment,
    pub code: Code,
    /// Stop, collapse and gate thresholds by name; a gate is under `gate.<its name>`.
    pub thresholds: BTreeMap<String, serde_json::Value>,
    pub cells: Cells,
    /// `wall_s`, `train_cell_steps_per_s` and others; the name carries the unit.
    pub timings: BTreeMap<String, f64>,
    /// Every table of the run, `gates.json` where there are gates, and the files of a report: bytes and BLAKE3.
    pub tables: BTreeMap<String, TableBytes>,
    pub notes: Vec<String>,
    pub verification_statement: String,
    /// Keys of other writers, kept as they are; among them `merkle_root`, `cells_merkle_root` and `bundle`.
    #[serde(flatten)]
    pub more: BTreeMap<String, serde_json::Value>,
}

impl RunManifest {
    /// The manifest of a run that begins now.
    pub fn begin(
        sweep: &str,
        spec_blake3: &str,
        spec: serde_json::Value,
        class: &str,
        environment: Environment,
        code: Code,
    ) -> Self {
        let now = now_utc();
        Self {
            format: RUN_FORMAT.into(),
            version: MANIFEST_VERSION,
            run_id: run_id(spec_blake3, class, &now),
            state: RunState::Running,
            sweep: sweep.into(),
            created_utc: now.clone(),
            updated_utc: now,
            spec_blake3: spec_blake3.into(),
            spec,
            class: class.into(),
            backend: environment.backend.clone(),
            environment,
            code,
            thresholds: BTreeMap::new(),
            cells: Cells::default(),
            timings: BTreeMap::new(),
            tables: BTreeMap::new(),
            notes: Vec::new(),
            verification_statement: VERIFICATION_STATEMENT.into(),
            more: BTreeMap::new(),
        }
    }

    /// Writes `dir/manifest.json` atomically, with `updated_utc` set to now.
    ///
    /// # Errors
    /// [`StoreError::Io`], also for one that would be larger than [`read`](Self::read) takes; then none is written.
    pub fn write(&mut self, dir: &Path) -> Result<(), StoreError> {
        self.updated_utc = now_utc();
        let path = dir.join(MANIFEST_FILE);
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|e| StoreError::io("encode", &path)(std::io::Error::other(e)))?;
        text.push(b'\n');
        if text.len() > MOST_MANIFEST_BYTES {
            let (bytes, most) = (text.len(), MOST_MANIFEST_BYTES);
            let why = format!(
                "it would have {bytes} bytes, and {most} are read back at most; the spec has too many levels or conditions: \
                 make several sweeps of it"
            );
            return Err(StoreError::io("write", &path)(std::io::Error::other(why)));
        }
        write_atomic(&path, |w| w.write_all(&text))
    }

    /// As [`write`](Self::write), with the seal of the directory in it.
    pub fn write_sealed(&mut self, dir: &Path, seal: &Seal) -> Result<(), StoreError> {
        self.forget_seal();
        self.more.insert("merkle_root".to_string(), seal.merkle_root.clone().into());
        self.more.extend(seal.bundle.map(|parts| ("bundle".to_string(), promise(parts))));
        self.write(dir)
    }

    /// Without a seal: the files that it was of are about to change.
    pub fn forget_seal(&mut self) {
        self.more.retain(|key, _| !SEAL_KEYS.contains(&key.as_str()));
    }

    /// Root over the cells of the run as of its tables, 64 hex digits; none in manifests older than it.
    pub fn cells_root(&self) -> Option<&str> {
        self.more.get(CELLS_ROOT)?.as_str()
    }

    /// Sets the root over the cells; none while they change.
    pub fn set_cells_root(&mut self, root: Option<String>) {
        self.more.remove(CELLS_ROOT);
        self.more.extend(root.map(|root| (CELLS_ROOT.to_string(), root.into())));
    }

    /// Whether there is a bundle, as of the last seal, and whether with parts.
    pub fn bundle(&self) -> Option<bool> {
        self.more.get("bundle").map(|bundle| bundle["parts"] == true)
    }

    /// Reads `dir/manifest.json`; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::Newer`] for a newer program's manifest, [`StoreError::Damaged`] when it is not a manifest.
    pub fn read(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join(MANIFEST_FILE);
        let text = match read_file(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(stored_error("read", &path, e)),
        };
        if text.len() > MOST_MANIFEST_BYTES {
            return Err(StoreError::damaged(&path, format!("it has {} bytes, more than any manifest", text.len())));
        }
        let unreadable = |e: serde_json::Error| StoreError::damaged(&path, e.to_string());
        let loose: serde_json::Value = serde_json::from_slice(&text).map_err(unreadable)?;
        if loose.get("format").and_then(|f| f.as_str()) != Some(RUN_FORMAT) {
            return Err(StoreError::damaged(&path, format!("its format is not `{RUN_FORMAT}`")));
        }
        let found = loose.get("version").and_then(|v| v.as_u64()).unwrap_or(0);
        if found > MANIFEST_VERSION {
            return Err(StoreError::Newer { path, found, supported: MANIFEST_VERSION });
        }
        serde_json::from_value(loose).map(Some).map_err(unreadable)
    }
}

/// The current time, RFC 3339, whole seconds.
pub fn now_utc() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

fn run_id(spec_blake3: &str, class: &str, created_utc: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key(RUN_ID_CONTEXT);
    for text in [spec_blake3, class, created_utc] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize().to_hex()[..RUN_ID_DIGITS].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> RunManifest {
        let environment = Environment::detect("flex", None, None);
        let spec = serde_json::json!({"name": "smoke", "base": {"train": {"steps": 20}}});
        let mut manifest = RunManifest::begin("smoke", &"ab".repeat(32), spec, "n1 flex", environment, Code::default());
        manifest.timings.insert("train_cell_steps_per_s".into(), 12.5);
        manifest.thresholds.insert("effective_rank_img.min".into(), 8.0.into());
        manifest
    }

    #[test]
    fn a_manifest_survives_the_round_trip_with_keys_of_other_writers() {
        let dir = tempfile::tempdir().unwrap();
        assert!(RunManifest::read(dir.path()).unwrap().is_none());
        let mut manifest = sample();
        manifest.more.insert("merkle_root".into(), "00ff".into());
        manifest.write(dir.path()).unwrap();
        assert_eq!(RunManifest::read(dir.path()).unwrap().unwrap(), manifest);
        let text = std::fs::read_to_string(dir.path().join(MANIFEST_FILE)).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["timings"]["train_cell_steps_per_s"], 12.5);
        assert_eq!(value["backend"], "flex");
        assert_eq!(value["state"], "running");
        assert_eq!(value["verification_statement"], VERIFICATION_STATEMENT);
    }

    #[test]
    fn what_could_not_be_read_back_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = sample();
        manifest.more.insert("levels".into(), "x".repeat(MOST_MANIFEST_BYTES).into());
        let error = manifest.write(dir.path()).unwrap_err().to_string();
        assert!(error.contains("manifest.json") && error.contains("make several sweeps"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        // As large as may be.
        manifest.more.insert("levels".into(), "x".repeat(MOST_MANIFEST_BYTES - (1 << 16)).into());
        manifest.write(dir.path()).unwrap();
        assert_eq!(RunManifest::read(dir.path()).unwrap().unwrap(), manifest);
    }

    #[test]
    fn newer_and_foreign_manifests_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(MANIFEST_FILE);
        std::fs::write(&path, r#"{"format":"cliffline-run","version":2,"anything":[]}"#).unwrap();
        let error = RunManifest::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("format version 2") && error.contains("upgrade cliffline"), "{error}");
        std::fs::write(&path, r#"{"name":"theirs"}"#).unwrap();
        assert!(matches!(RunManifest::read(dir.path()), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn the_run_id_follows_each_of_its_parts_and_their_borders() {
        let base = run_id("ab", "c", "t");
        assert_eq!(base.len(), RUN_ID_DIGITS);
        for other in [run_id("a", "bc", "t"), run_id("ab", "ct", ""), run_id("ab", "c", "u")] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_cpu_model_is_found_or_absent() {
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n").as_deref(), Some("Some CPU @ 2 GHz"));
        assert_eq!(cpu_model("processor\t: 0\nBogoMIPS\t: 50\n"), None);
    }
}
