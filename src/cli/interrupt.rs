//! Signals that ask a process to stop, and limits that say so by a signal.
//!
//! | signal | while cells train | else |
//! |---|---|---|
//! | `HUP`, `INT`, `TERM` | the run ends: packs in flight are abandoned, tables are written, code 130 | ends at once, code 130 |
//! | `USR1`, `USR2`, sent ahead of a time limit by Slurm and others; `XCPU`, of `ulimit -t` | the same | the same |
//! | `XFSZ` from elsewhere | the same | the same |
//! | `XFSZ` of a write beyond `ulimit -f` | nothing: the write is refused, an error like that of a full disk | the same |
//!
//! After training, while tables and the report are written, the first of these signals changes nothing: the run ends as
//! it would have, with its own code.
//!
//! Once a run ends, `INT` or `TERM` ends it at once, except within [`SAME_MS`]: `timeout` sends its signal twice. What else
//! comes then changes nothing, since `XCPU` comes every second and a terminal that closes sends several. A signal that was
//! ignored when the process started (`nohup`, or a shell's `trap ''`) stays ignored. All others do what they do in any
//! program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::time::Instant;

use super::exit;
use crate::engine::Control;
use crate::machine;

/// Signals this close, in milliseconds, ask for the same thing.
const SAME_MS: u64 = 500;

/// The flag that abandons what is being trained; null while nothing is. What it points at is never freed.
static AT_WORK: AtomicPtr<AtomicBool> = AtomicPtr::new(std::ptr::null_mut());

/// Whether training is over and what is finished is written.
static WRITES: AtomicBool = AtomicBool::new(false);

/// When the process was first told to stop, in milliseconds since [`heed`] and one more; 0 before.
static TOLD_AT: AtomicU64 = AtomicU64::new(0);

static STARTED: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();

/// What a signal asks for.
struct Signal {
    #[cfg(unix)]
    number: libc::c_int,
    /// Its name, and why it came where that is known.
    says: &'static str,
    /// Whether a second one ends at once.
    insists: bool,
}

#[cfg(unix)]
static SIGNALS: [Signal; 7] = [
    Signal { number: libc::SIGINT, says: "interrupted", insists: true },
    Signal { number: libc::SIGTERM, says: "SIGTERM", insists: true },
    Signal { number: libc::SIGHUP, says: "SIGHUP, the terminal is gone", insists: false },
    Signal { number: libc::SIGUSR1, says: "SIGUSR1", insists: false },
    Signal { number: libc::SIGUSR2, says: "SIGUSR2", insists: false },
    Signal {
        number: libc::SIGXCPU,
        says: "SIGXCPU, the limit on processor time (ulimit -t) is reached",
        insists: false,
    },
    Signal { number: libc::SIGXFSZ, says: "SIGXFSZ", insists: false },
];

/// From now on signals are heeded as this file says. Called once, before there are other threads.
pub(super) fn heed() {
    STARTED.get_or_init(Instant::now);
    #[cfg(unix)]
    SIGNALS.iter().for_each(|signal| install(signal.number));
    #[cfg(not(unix))]
    if let Err(error) = ctrlc::set_handler(|| told(&Signal { says: "interrupted", insists: true })) {
        super::output::note(&format!("cannot watch for interrupts ({error}): they end the process at once"));
    }
}

/// Has a signal stop what `control` controls from now on. A process may train several times: once told to stop, it stops
/// in all.
pub(super) fn watch(control: &Arc<Control>) {
    // SAFETY: leaked on purpose, since a signal may come at any time; so it is never freed.
    let control: &'static Control = unsafe { &*Arc::into_raw(control.clone()) };
    WRITES.store(false, Ordering::SeqCst);
    AT_WORK.store(std::ptr::from_ref(&control.cancel).cast_mut(), Ordering::SeqCst);
    if TOLD_AT.load(Ordering::SeqCst) > 0 {
        control.cancel.store(true, Ordering::SeqCst);
    }
}

/// Training is over, and what is finished is written.
pub(super) fn writes() {
    WRITES.store(true, Ordering::SeqCst);
}

#[cfg(unix)]
type Handler = extern "C" fn(libc::c_int, *const libc::siginfo_t, *const libc::c_void);

/// Installs the handler, unless the signal is ignored.
#[cfg(unix)]
fn install(number: libc::c_int) {
    // SAFETY: both structs are plain data that sigaction fills or reads; the handler does what handlers may.
    unsafe {
        let mut found: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(number, std::ptr::null(), &mut found) != 0 || found.sa_sigaction == libc::SIG_IGN {
            return;
        }
        let mut ours: libc::sigaction = std::mem::zeroed();
        ours.sa_sigaction = on_signal as Handler as libc::sighandler_t;
        ours.sa_flags = libc::SA_RESTART | libc::SA_SIGINFO;
        libc::sigfillset(&mut ours.sa_mask);
        libc::sigaction(number, &ours, std::ptr::null_mut());
    }
}

/// Atomics, the clock, `write` and `_exit` alone: on whatever thread, in the middle of whatever it does.
#[cfg(unix)]
extern "C" fn on_signal(number: libc::c_int, info: *const libc::siginfo_t, _: *const libc::c_void) {
    if number == libc::SIGXFSZ && is_our_own(info) {
        return;
    }
    let errno = errno();
    // SAFETY: this thread's own.
    let before = unsafe { errno.as_ref().copied() };
    if let Some(signal) = SIGNALS.iter().find(|signal| signal.number == number) {
        told(signal);
    }
    if let Some(before) = before {
        unsafe { *errno = before };
    }
}

/// Whether a signal is not from another process: that of a write which is too large is said to be from the writer.
#[cfg(unix)]
fn is_our_own(info: *const libc::siginfo_t) -> bool {
    #[cfg(target_os = "linux")]
    // SAFETY: what the system handed over, or null.
    return unsafe { info.as_ref().is_none_or(|info| i64::from(info.si_pid()) == i64::from(std::process::id())) };
    #[cfg(not(target_os = "linux"))]
    return true;
}

/// Where this thread's error number is; null where that is not known.
#[cfg(unix)]
fn errno() -> *mut libc::c_int {
    #[cfg(any(target_os = "linux", target_os = "emscripten"))]
    return unsafe { libc::__errno_location() };
    #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
    return unsafe { libc::__error() };
    #[cfg(not(any(target_os = "linux", target_os = "emscripten", target_vendor = "apple", target_os = "freebsd")))]
    return std::ptr::null_mut();
}

/// What a signal to stop leads to.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// What trains stops, and what is finished is written.
    Stops,
    EndsAtOnce,
    /// It stops already, or there is nothing to stop.
    Nothing,
}

/// `told_ms` ago it was told first; none when this is the first time.
fn answer(signal: &Signal, at_work: bool, told_ms: Option<u64>) -> Answer {
    match (at_work, told_ms) {
        (false, _) => Answer::EndsAtOnce,
        (true, None) => Answer::Stops,
        (true, Some(ago)) if signal.insists && ago > SAME_MS => Answer::EndsAtOnce,
        (true, Some(_)) => Answer::Nothing,
    }
}

fn told(signal: &Signal) {
    // SAFETY: null, or a flag that lives as long as the process.
    let at_work = unsafe { AT_WORK.load(Ordering::SeqCst).as_ref() };
    let now = STARTED.get().map_or(0, |started| started.elapsed().as_millis() as u64) + 1;
    let first = TOLD_AT.compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
    let answer = answer(signal, at_work.is_some(), first.err().map(|first| now.saturating_sub(first)));
    let says = match answer {
        Answer::Nothing => return,
        Answer::Stops if WRITES.load(Ordering::SeqCst) => {
            ": all cells are trained, and what is finished is being written (interrupt once more to stop at once)\n"
        }
        Answer::Stops => {
            ": stopping; packs in flight are abandoned, what is finished is written (interrupt once more to stop at once)\n"
        }
        Answer::EndsAtOnce => ": stopped\n",
    };
    for part in [signal.says, says] {
        machine::say(part.as_bytes());
    }
    match at_work {
        Some(cancel) if answer == Answer::Stops => cancel.store(true, Ordering::SeqCst),
        _ => machine::end(i32::from(exit::INTERRUPTED)),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_stops_what_trains_and_only_interrupts_insist() {
        for heeded in &SIGNALS {
            assert_eq!(answer(heeded, true, None), Answer::Stops, "{}", heeded.says);
            assert_eq!(answer(heeded, true, Some(SAME_MS)), Answer::Nothing, "{} sent twice", heeded.says);
            let insists = [libc::SIGINT, libc::SIGTERM].contains(&heeded.number);
            let second = if insists { Answer::EndsAtOnce } else { Answer::Nothing };
            assert_eq!(answer(heeded, true, Some(SAME_MS + 1)), second, "{}", heeded.says);
        }
    }

    #[test]
    fn what_trains_nothing_ends_at_once() {
        for heeded in &SIGNALS {
            assert_eq!(answer(heeded, false, None), Answer::EndsAtOnce, "{}", heeded.says);
        }
    }
}
