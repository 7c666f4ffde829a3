//! Threads: that as many as a run needs can be had, before it begins.

use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};

/// Why threads cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot start {wanted} threads: {started} were, and the next was refused ({source}). See `ulimit -u`, \
     `ulimit -v`, and pids.max of the control group: raise the limit, or ask for fewer, with --threads where the command has it, else with \
     RAYON_NUM_THREADS"
)]
pub struct TooFewThreads {
    wanted: usize,
    started: usize,
    source: std::io::Error,
}

/// Makes sure that `wanted` threads can run at once, beside those that do: starts them, and ends them again.
///
/// # Errors
/// The first that cannot be started.
pub fn require(wanted: usize) -> Result<(), TooFewThreads> {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let wait = |gate: Arc<(Mutex<bool>, Condvar)>| {
        move || {
            let mut open = gate.0.lock().unwrap_or_else(PoisonError::into_inner);
            while !*open {
                open = gate.1.wait(open).unwrap_or_else(PoisonError::into_inner);
            }
        }
    };
    let mut started = Vec::with_capacity(wanted);
    let mut refused = None;
    while started.len() < wanted {
        match std::thread::Builder::new().spawn(wait(gate.clone())) {
            Ok(thread) => started.push(thread),
            Err(source) => {
                refused = Some(TooFewThreads { wanted, started: started.len(), source });
                break;
            }
        }
    }
    *gate.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    gate.1.notify_all();
    started.into_iter().for_each(|thread| drop(thread.join()));
    refused.map_or(Ok(()), Err)
}

/// Threads for host work: `threads`, or as many as there are cores or as `RAYON_NUM_THREADS` says.
pub fn wanted(threads: Option<usize>) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let named = || std::env::var("RAYON_NUM_THREADS").ok()?.parse().ok().filter(|threads| *threads > 0);
    threads.or_else(named).unwrap_or(cores).min(cores)
}

/// Starts the pool for host work with `wanted` threads, and returns how many there are. Those that cannot be had are done
/// without. Where none can, the calling thread alone is the pool: what reads and draws takes longer then and makes the
/// same, while other threads could not use it, and must not be started ([`require`]).
pub fn start_pool(wanted: usize) -> usize {
    // A pool whose threads cannot all be started is never there at all. So these are there before it is.
    let (builders, threads) = mpsc::channel::<rayon::ThreadBuilder>();
    let threads = Arc::new(Mutex::new(threads));
    let wait = || {
        let threads = threads.clone();
        move || {
            let next = threads.lock().unwrap_or_else(PoisonError::into_inner).recv();
            if let Ok(builder) = next {
                builder.run();
            }
        }
    };
    let started = (0..wanted).map_while(|_| std::thread::Builder::new().spawn(wait()).ok()).count();
    let pool = rayon::ThreadPoolBuilder::new();
    let hand_over = |builder| builders.send(builder).map_err(|_| std::io::Error::other("a thread of the pool is gone"));
    // A pool that is there already, as in tests, stays.
    let _ = match started {
        0 => pool.num_threads(1).use_current_thread().build_global(),
        _ => pool.num_threads(started).spawn_handler(hand_over).build_global(),
    };
    started
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_can_be_had_are_no_error() {
        require(0).expect("none");
        require(3).expect("a few");
    }
}
