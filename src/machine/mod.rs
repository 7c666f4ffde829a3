//! What this machine, and the limits that were put on this process, allow: memory and threads. Imports no other room.

pub mod allocator;
mod caught;
mod cgroup;
mod memory;
pub mod threads;

pub use caught::{caught, message};
pub use memory::{Room, Rooms, TooLittle, memory_available, require_floor, rooms};

/// Has the allocator take no address space ahead for every thread, where that is limited: it would take the most of it.
/// Called once, before there are other threads.
pub fn spare_address_space() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if rooms().limit_mapped() {
        // SAFETY: sets a number of the allocator.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

/// Files that are open at once while tables are made, and some.
const FILES: u64 = 64;

/// Stack of the first thread that any command may take; 256 KiB were enough for all.
const STACK: u64 = 512 << 10;

/// A limit of the process that is too low, and cannot be raised.
#[derive(Debug, thiserror::Error)]
pub enum TooLow {
    #[error("{0} files may be open at once (ulimit -n), and up to {FILES} are: raise the limit")]
    Files(u64),
    #[error("the stack may take {} KiB (ulimit -s), and it takes up to {} KiB: raise the limit", .0 >> 10, STACK >> 10)]
    Stack(u64),
}

/// Makes sure that enough files may be open, raising the limit as far as this process may.
///
/// # Errors
/// The limit, where it cannot be raised.
pub fn require_files() -> Result<(), TooLow> {
    #[cfg(unix)]
    if let Some(limit) = too_low(libc::RLIMIT_NOFILE, FILES) {
        return Err(TooLow::Files(limit));
    }
    Ok(())
}

/// As [`require_files`], of the stack of the first thread, which grows up to its limit.
///
/// # Errors
/// The limit, where it cannot be raised.
pub fn require_stack() -> Result<(), TooLow> {
    #[cfg(unix)]
    if let Some(limit) = too_low(libc::RLIMIT_STACK, STACK) {
        return Err(TooLow::Stack(limit));
    }
    Ok(())
}

#[cfg(all(unix, target_env = "gnu"))]
type Resource = libc::__rlimit_resource_t;
#[cfg(all(unix, not(target_env = "gnu")))]
type Resource = libc::c_int;

/// A limit that is below what is wanted and cannot be raised so far.
#[cfg(unix)]
fn too_low(resource: Resource, wanted: u64) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills a struct of plain data.
    if unsafe { libc::getrlimit(resource, &mut limit) } != 0 || limit.rlim_cur >= wanted {
        return None;
    }
    let found = limit.rlim_cur;
    limit.rlim_cur = wanted;
    // SAFETY: reads a struct of plain data.
    let raised = limit.rlim_max >= wanted && unsafe { libc::setrlimit(resource, &limit) } == 0;
    (!raised).then_some(found)
}

/// Writes to standard error without allocating or locking: for signal handlers, and where there is no memory.
pub fn say(text: &[u8]) {
    #[cfg(unix)]
    // SAFETY: the buffer is whole; that nobody reads it is no matter.
    unsafe {
        libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len());
    }
    #[cfg(not(unix))]
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text);
}

/// Ends the process here and now: nothing of it runs any more.
pub fn end(code: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: takes a number, and does not return.
    unsafe {
        libc::_exit(code)
    }
    #[cfg(not(unix))]
    std::process::exit(code)
}
