//! What this machine, and the limits that were put on this process, allow: memory and threads. Imports no other room.

pub mod allocator;
mod cgroup;
mod memory;
pub mod threads;

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

/// Too few files may be open at once.
#[derive(Debug, thiserror::Error)]
#[error("{0} files may be open at once (ulimit -n), and up to {FILES} are: raise the limit")]
pub struct TooFewFiles(u64);

/// Makes sure that enough files may be open, raising the limit as far as this process may.
///
/// # Errors
/// The limit, where it cannot be raised.
pub fn require_files() -> Result<(), TooFewFiles> {
    #[cfg(unix)]
    {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: fills a struct of plain data, and reads one.
        if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 || limit.rlim_cur >= FILES {
            return Ok(());
        }
        let found = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max.min(FILES);
        let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } == 0;
        if !raised || limit.rlim_cur < FILES {
            return Err(TooFewFiles(if raised { limit.rlim_cur } else { found }));
        }
    }
    Ok(())
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
