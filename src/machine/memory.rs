//! How much memory this process may still take: of the machine, and within the limits that were put on it.

use std::path::Path;

/// Memory taken to be available where the system does not say: that of a small laptop.
const FALLBACK: u64 = 8 << 30;

/// Address space that any command takes beyond the program.
const FLOOR: u64 = 64 << 20;

/// Memory that is left, and of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    pub bytes: u64,
    /// The limit itself; none for what is free on the machine.
    pub limit: Option<u64>,
    /// What sets the limit, as a user would look for it.
    pub of: String,
    /// Whether it counts what is mapped, touched or not: stacks of threads, for instance.
    pub mapped: bool,
}

/// Everything that limits the memory of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rooms(Vec<Room>);

impl Rooms {
    /// The tightest, for `touched` bytes of memory that is used and `mapped` bytes of address space, where that has no room
    /// for it.
    pub fn refuses(&self, touched: u64, mapped: u64) -> Option<&Room> {
        let wanted = |room: &Room| if room.mapped { mapped } else { touched };
        self.0.iter().filter(|room| wanted(room) > room.bytes).min_by_key(|room| room.bytes)
    }

    /// Whether address space is limited.
    pub fn limit_mapped(&self) -> bool {
        self.0.iter().any(|room| room.mapped)
    }

    fn least(&self) -> u64 {
        self.0.iter().map(|room| room.bytes).min().unwrap_or(FALLBACK)
    }
}

/// Everything that limits the memory of this process now.
pub fn rooms() -> Rooms {
    rooms_in(Path::new("/"))
}

/// Bytes that can still be had without swapping and within every limit, where the system says (Linux); else 8 GiB.
pub fn memory_available() -> u64 {
    rooms().least()
}

/// Too little for any command.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} MiB are left under the limit of {of}: every command takes {} MiB or more, and a run says how much it takes",
    .left >> 20, FLOOR >> 20
)]
pub struct TooLittle {
    left: u64,
    of: String,
}

/// Refuses to work where no command can, before memory runs out at an arbitrary place.
///
/// # Errors
/// The limit that leaves too little.
pub fn require_floor() -> Result<(), TooLittle> {
    let rooms = rooms();
    rooms.refuses(0, FLOOR).map_or(Ok(()), |room| Err(TooLittle { left: room.bytes, of: room.of.clone() }))
}

fn rooms_in(root: &Path) -> Rooms {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let (limits, status) = (read("proc/self/limits"), read("proc/self/status"));
    let free = kilobytes(&read("proc/meminfo"), "MemAvailable:");
    let mut rooms: Vec<Room> = free
        .map(|bytes| Room { bytes, limit: None, of: "the machine".to_string(), mapped: false })
        .into_iter()
        .collect();
    for (limit, used, of) in LIMITS {
        let Some(limit) = soft_limit(&limits, limit) else { continue };
        let bytes = limit.saturating_sub(kilobytes(&status, used).unwrap_or(0));
        rooms.push(Room { bytes, limit: Some(limit), of: of.to_string(), mapped: true });
    }
    rooms.extend(super::cgroup::rooms(root));
    Rooms(rooms)
}

/// Limits of a process: their names in `limits`, what counts towards them in `status`, and what to call them.
const LIMITS: [(&str, &str, &str); 2] = [
    ("Max address space", "VmSize:", "the address space (ulimit -v)"),
    ("Max data size", "VmData:", "data (ulimit -d)"),
];

/// A line of `meminfo` or `status`: `NAME:   123 kB`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A line of `limits`: `NAME   SOFT   HARD   bytes`; none where there is no limit.
fn soft_limit(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
        Max data size             unlimited            unlimited            bytes     \n\
        Max address space         1048576              unlimited            bytes     \n";

    fn machine(limits: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(root.path().join("proc/self")).expect("a folder");
        let write = |path: &str, text: &str| std::fs::write(root.path().join(path), text).expect("a file");
        write("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:    2048 kB\n");
        write("proc/self/status", "Name:\tx\nVmSize:\t     256 kB\nVmData:\t      64 kB\n");
        write("proc/self/limits", limits);
        root
    }

    #[test]
    fn the_tightest_of_all_limits_decides_and_what_is_only_mapped_counts_where_it_does() {
        let root = machine(LIMITS);
        let rooms = rooms_in(root.path());
        assert_eq!(rooms.least(), 768 << 10);
        assert!(rooms.limit_mapped());
        assert_eq!(rooms.refuses(768 << 10, 768 << 10), None);
        let refuses =
            |touched: u64, mapped: u64| rooms.refuses(touched << 10, mapped << 10).map(|room| room.of.as_str());
        assert_eq!(refuses(1, 769), Some("the address space (ulimit -v)"));
        assert_eq!(refuses(2049, 1), Some("the machine"));
        assert_eq!(refuses(2049, 2049), Some("the address space (ulimit -v)"), "the least is named");

        let both =
            LIMITS.replace("unlimited            unlimited            bytes     \nMax", "65537 unlimited bytes\nMax");
        let root = machine(&both);
        assert_eq!(rooms_in(root.path()).least(), 1, "data of 64 KiB under a limit of one byte more");
    }

    #[test]
    fn without_limits_the_machine_decides_and_without_a_word_a_small_one_is_assumed() {
        let root = machine("");
        let rooms = rooms_in(root.path());
        assert_eq!((rooms.least(), rooms.limit_mapped()), (2 << 20, false));
        let nothing = tempfile::tempdir().expect("a folder");
        assert_eq!(rooms_in(nothing.path()).least(), FALLBACK);
        assert_eq!(rooms_in(nothing.path()).refuses(u64::MAX, u64::MAX), None);
    }
}
