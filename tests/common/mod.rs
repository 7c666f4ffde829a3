//! Runs the program in a directory of its own and looks at what it left there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where the owner of a run directory writes its name: the one file that even a run that does nothing rewrites.
const LOCK: &str = ".lock";

/// A temporary directory in which the program runs. Runs of one sandbox are siblings, so they reuse each other's cells;
/// what must be computed anew needs a sandbox of its own.
pub struct Sandbox {
    dir: tempfile::TempDir,
}

/// What one call of the program did.
#[derive(Debug)]
pub struct Ran {
    /// None when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// A path inside.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join(inside)
    }

    /// Writes a file inside.
    pub fn write(&self, inside: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(inside), text).expect("a file in the sandbox");
    }

    /// The program with these arguments, separated by spaces, ready to start.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cliffline"));
        command.args(arguments.split_whitespace()).current_dir(self.dir.path()).env("NO_COLOR", "1");
        for variable in ["CLIFFLINE_BACKEND", "CLIFFLINE_THREADS", "CLIFFLINE_PACK", "GITHUB_STEP_SUMMARY"] {
            command.env_remove(variable);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &str) -> Ran {
        Ran::of(self.command(arguments).output().expect("the program starts"))
    }

    /// Runs the program, which must end with code 0.
    pub fn ok(&self, arguments: &str) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments}: {ran:?}");
        ran
    }

    /// Every file and folder inside with a hash of its content; of lock files only that they are there, of links where they
    /// lead.
    pub fn tree(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        walk(self.dir.path(), self.dir.path(), &mut found);
        found
    }
}

fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.strip_prefix(root).expect("below the root").display().to_string();
        let kind = std::fs::symlink_metadata(&path).expect("an entry").file_type();
        if kind.is_dir() {
            walk(root, &path, found);
            found.insert(name, "folder".to_string());
        } else if kind.is_symlink() {
            found.insert(name, format!("link to {}", std::fs::read_link(&path).expect("a link").display()));
        } else if !kind.is_file() {
            found.insert(name, "no file".to_string());
        } else if path.ends_with(LOCK) {
            found.insert(name, "lock".to_string());
        } else {
            let bytes = std::fs::read(&path).expect("a file");
            found.insert(name, blake3::hash(&bytes).to_hex().to_string());
        }
    }
}

impl Ran {
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Standard output, which must be one JSON document and nothing else.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not one JSON document: {error}: {self:?}"))
    }
}

/// The paths of the parts of a run, sorted.
pub fn parts(run: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(run.join("parts")) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "part"));
    paths.sort();
    paths
}

/// Inverts one byte of a file, counted from its end where `at` is negative.
pub fn flip(path: &Path, at: i64) {
    let mut bytes = std::fs::read(path).expect("a file to damage");
    let index = if at < 0 { bytes.len() as i64 + at } else { at };
    let byte = bytes.get_mut(usize::try_from(index).expect("a place in the file")).expect("a place in the file");
    *byte = !*byte;
    std::fs::write(path, bytes).expect("the damaged file");
}
