//! Limits of memory that control groups put on a process: version 1 and 2, in its own group and in every one above.

use std::path::{Path, PathBuf};

use super::memory::Room;

/// How a version of control groups names things. Version 1 says "no limit" with a number beyond any memory.
struct Version {
    /// File system type in `mountinfo`.
    kind: &'static str,
    limits: &'static [&'static str],
    usage: &'static str,
    /// Lines of `memory.stat` with what is kept of files, which the system gives back before it kills.
    files: [&'static str; 2],
}

const VERSIONS: [Version; 2] = [
    Version {
        kind: "cgroup2",
        limits: &["memory.max", "memory.high"],
        usage: "memory.current",
        files: ["inactive_file", "active_file"],
    },
    Version {
        kind: "cgroup",
        limits: &["memory.limit_in_bytes"],
        usage: "memory.usage_in_bytes",
        files: ["total_inactive_file", "total_active_file"],
    },
];

/// What is left under each limit. `root` is where `/proc` and the mounts are: `/`, but in tests.
pub(super) fn rooms(root: &Path) -> Vec<Room> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let (groups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let mut rooms = Vec::new();
    for version in &VERSIONS {
        let Some(group) = group_of(&groups, version) else { continue };
        let Some(mount) = mounts.lines().find_map(|line| Mount::of(line, version)) else { continue };
        for dir in mount.directories(group) {
            rooms.extend(limits_of(root, &dir, version));
        }
    }
    rooms
}

/// The path of this process's group: `0::/a/b` in version 2, `4:memory:/a/b` in version 1.
fn group_of<'a>(groups: &'a str, version: &Version) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let ours = match version.kind {
            "cgroup2" => controllers.is_empty(),
            _ => controllers.split(',').any(|name| name == "memory"),
        };
        ours.then_some(path)
    })
}

/// Where a hierarchy of groups can be seen.
struct Mount<'a> {
    /// The group that is at its top.
    top: &'a str,
    /// The directory of that.
    at: &'a str,
}

impl<'a> Mount<'a> {
    /// A line of `mountinfo`: `35 31 0:32 TOP AT rw,relatime - KIND SOURCE OPTIONS`.
    fn of(line: &'a str, version: &Version) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (top, at) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1).unwrap_or_default());
        let ours = kind == version.kind && (kind == "cgroup2" || options.split(',').any(|name| name == "memory"));
        ours.then_some(Self { top, at })
    }

    /// Directories of a group and of those above it, as far as they can be seen. In a container the group's path may be
    /// that of the host: then all that can be seen is the top, which is the container's own.
    fn directories(&self, group: &str) -> Vec<PathBuf> {
        let below = group.strip_prefix(self.top.trim_end_matches('/')).unwrap_or_default();
        let below = Path::new(below.trim_start_matches('/'));
        below.ancestors().map(|part| Path::new(self.at.trim_start_matches('/')).join(part)).collect()
    }
}

fn limits_of(root: &Path, dir: &Path, version: &Version) -> Vec<Room> {
    let read = |file: &str| std::fs::read_to_string(root.join(dir).join(file)).unwrap_or_default();
    let number = |file: &str| read(file).trim().parse::<u64>().ok();
    let Some(usage) = number(version.usage) else { return Vec::new() };
    let stat = read("memory.stat");
    let files = version.files.iter().filter_map(|name| {
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse::<u64>().ok();
        stat.lines().find_map(value)
    });
    let taken = usage.saturating_sub(files.sum());
    let room = |file: &&str| {
        let limit = number(file).filter(|limit| *limit < u64::MAX / 4)?;
        let group = Path::new("/").join(dir).join(file);
        Some(Room {
            bytes: limit.saturating_sub(taken),
            limit: Some(limit),
            of: group.display().to_string(),
            mapped: false,
        })
    };
    version.limits.iter().filter_map(room).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with these files.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        root
    }

    fn found(files: &[(&str, &str)]) -> Vec<(u64, String)> {
        let root = machine(files);
        rooms(root.path()).into_iter().map(|room| (room.bytes, room.of)).collect()
    }

    const UNIFIED: (&str, &str) =
        ("proc/self/mountinfo", "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n");

    #[test]
    fn every_limit_above_a_process_counts_and_what_is_kept_of_files_is_free() {
        let rooms = found(&[
            ("proc/self/cgroup", "0::/slurm/job_7/step_0\n"),
            UNIFIED,
            ("sys/fs/cgroup/slurm/memory.max", "max\n"),
            ("sys/fs/cgroup/slurm/memory.current", "9000\n"),
            ("sys/fs/cgroup/slurm/job_7/memory.max", "1000\n"),
            ("sys/fs/cgroup/slurm/job_7/memory.high", "800\n"),
            ("sys/fs/cgroup/slurm/job_7/memory.current", "500\n"),
            ("sys/fs/cgroup/slurm/job_7/memory.stat", "anon 1\ninactive_file 150\nactive_file 50\n"),
            ("sys/fs/cgroup/slurm/job_7/step_0/memory.max", "5000\n"),
            ("sys/fs/cgroup/slurm/job_7/step_0/memory.current", "6000\n"),
        ]);
        let job = "/sys/fs/cgroup/slurm/job_7/memory";
        let expected = [
            (0, "/sys/fs/cgroup/slurm/job_7/step_0/memory.max".to_string()),
            (700, format!("{job}.max")),
            (500, format!("{job}.high")),
        ];
        assert_eq!(rooms, expected);
    }

    #[test]
    fn version_1_is_read_where_its_memory_controller_is_and_no_limit_is_none() {
        let mounts =
            "35 31 0:32 / /cg/mem rw - cgroup cgroup rw,memory\n36 31 0:33 / /cg/cpu rw - cgroup cgroup rw,cpu\n";
        let rooms = found(&[
            ("proc/self/cgroup", "3:cpu:/other\n4:hugetlb,memory:/a/b\n0::/\n"),
            ("proc/self/mountinfo", mounts),
            ("cg/mem/a/b/memory.limit_in_bytes", "4096\n"),
            ("cg/mem/a/b/memory.usage_in_bytes", "1024\n"),
            ("cg/mem/a/memory.limit_in_bytes", "9223372036854771712\n"),
            ("cg/mem/a/memory.usage_in_bytes", "1024\n"),
            ("cg/cpu/other/memory.limit_in_bytes", "1\n"),
            ("cg/cpu/other/memory.usage_in_bytes", "1\n"),
        ]);
        assert_eq!(rooms, [(3072, "/cg/mem/a/b/memory.limit_in_bytes".to_string())]);
    }

    #[test]
    fn a_container_sees_its_own_group_at_the_top() {
        let own = ("sys/fs/cgroup/memory.max", "100\n");
        let usage = ("sys/fs/cgroup/memory.current", "10\n");
        // The host's path in a name space of the host; the top of the mount is the container's own group.
        let mount = "29 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let of_host = found(&[("proc/self/cgroup", "0::/docker/abc\n"), ("proc/self/mountinfo", mount), own, usage]);
        let hidden = found(&[("proc/self/cgroup", "0::/docker/abc\n"), UNIFIED, own, usage]);
        let expected = [(90, "/sys/fs/cgroup/memory.max".to_string())];
        assert_eq!((of_host.as_slice(), hidden.as_slice()), (expected.as_slice(), expected.as_slice()));
        assert!(found(&[]).is_empty());
        assert!(found(&[("proc/self/cgroup", "nonsense"), ("proc/self/mountinfo", "- - - a")]).is_empty());
    }
}
