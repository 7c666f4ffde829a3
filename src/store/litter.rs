//! What file managers, editors and file systems leave beside files by themselves: nobody put it there, and it says nothing
//! about a run. It is never sealed, bundled or removed.

/// Names, and patterns with one `*` for any text.
const LITTER: [&str; 39] = [
    // macOS and its copies on other disks
    ".DS_Store",
    "._*",
    ".AppleDouble",
    ".LSOverride",
    ".localized",
    ".Spotlight-V100",
    "Icon\r",
    ".Trashes",
    ".fseventsd",
    ".TemporaryItems",
    ".DocumentRevisions-V100",
    // Windows
    "Thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "$RECYCLE.BIN",
    "System Volume Information",
    // Desktops on Linux
    ".directory",
    ".Trash-*",
    ".fuse_hidden*",
    ".goutputstream-*",
    // File systems and network disks
    "lost+found",
    ".nfs*",
    ".snapshot",
    "@eaDir",
    ".stfolder",
    ".syncthing.*",
    // Editors: backups, unsaved text, locks
    "*~",
    "*.bak",
    "*.orig",
    ".*.kate-swp",
    "4913",
    "#*#",
    ".#*",
    "~$*",
    ".~lock.*",
    ".*.swp",
    ".*.swo",
    ".*.swx",
    ".ipynb_checkpoints",
];

/// Whether `name` fits a pattern with at most one `*`.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, end)) => name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end),
    }
}

/// Whether a file or folder of this name is litter. Some systems write these names in other case.
pub(crate) fn is_litter(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    LITTER.iter().any(|pattern| fits(&pattern.to_ascii_lowercase(), &name))
}

/// Whether a path with `/` between folders is litter, or lies in a folder that is.
pub(crate) fn lies_in_litter(path: &str) -> bool {
    path.split('/').any(is_litter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn litter_is_known_by_name_and_nothing_of_a_run_is_taken_for_it() {
        for name in [
            ".DS_Store",
            "._cells.parquet",
            "THUMBS.DB",
            "Desktop.ini",
            "report.html~",
            "#spec.toml#",
            ".#spec.toml",
            ".spec.toml.swp",
            ".spec.toml.kate-swp",
            "spec.toml.bak",
            "report.html.orig",
            "Icon\r",
            ".nfs000000000123",
            ".fuse_hidden0000",
            "lost+found",
            "~$notes.docx",
            ".~lock.a.ods#",
        ] {
            assert!(is_litter(name), "{name}");
        }
        for name in [
            "notes.txt",
            "report.html",
            ".lock",
            "cliffline.json",
            "key.pem",
            ".env",
            "#",
            "spec.toml",
            ".swp",
            "0123456789abcdef.part",
            ".cliffline-x.tmp",
            "nfs",
            "a.swp",
        ] {
            assert!(!is_litter(name), "{name}");
        }
        assert!(lies_in_litter("plots/._a.svg") && lies_in_litter(".Trashes/501/notes.txt"));
        assert!(!lies_in_litter("plots/a.svg"));
    }
}
