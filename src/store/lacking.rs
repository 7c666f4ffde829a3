//! What a file system or its server does not offer, and what is done without it. None of it is needed for right results:
//! locks keep two processes apart, syncing keeps what a power cut would take. Whoever prints says it, once.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// A service that some file systems lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Locks,
    Syncing,
}

/// What was found to be lacking: the service, what to say of it, and whether that was said.
static LACKING: Mutex<Vec<(Service, String, bool)>> = Mutex::new(Vec::new());

/// Whether an error says that there is no such service, and not that it failed.
#[cfg(unix)]
pub(crate) fn is_lacking(service: Service, error: &io::Error) -> bool {
    let Some(code) = error.raw_os_error() else { return error.kind() == io::ErrorKind::Unsupported };
    // Of both: network and user-space file systems that pass on what they do not know.
    let unknown = [libc::ENOSYS, libc::ENOTSUP, libc::EOPNOTSUPP, libc::EINVAL].contains(&code);
    unknown
        || match service {
            // NFS without its lock service.
            Service::Locks => code == libc::ENOLCK,
            // Some refuse it for folders, and for those who did not make them.
            Service::Syncing => code == libc::EPERM,
        }
}

#[cfg(not(unix))]
pub(crate) fn is_lacking(_: Service, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

/// Notes that `service` was done without in `dir`. Of each service the first place is enough.
pub(crate) fn done_without(service: Service, dir: &Path, error: &io::Error) {
    let what = match service {
        Service::Locks => "the file system has no locks; see to it that no second process writes there meanwhile",
        Service::Syncing => {
            "the file system does not wait for its disk; after a power cut the newest cells may be gone"
        }
    };
    let mut lacking = LACKING.lock().unwrap_or_else(PoisonError::into_inner);
    if lacking.iter().all(|(known, ..)| *known != service) {
        lacking.push((service, format!("{}: {what} ({error})", dir.display()), false));
    }
}

/// What was done without and not said yet, in words.
pub fn take_lacking() -> Vec<String> {
    let mut lacking = LACKING.lock().unwrap_or_else(PoisonError::into_inner);
    let new = lacking.iter_mut().filter_map(|(_, text, said)| (!std::mem::replace(said, true)).then(|| text.clone()));
    new.collect()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn no_such_service_is_told_from_a_service_that_failed() {
        let is = |service, code| is_lacking(service, &io::Error::from_raw_os_error(code));
        for code in [libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOTSUP, libc::EINVAL] {
            assert!(is(Service::Locks, code) && is(Service::Syncing, code), "{code}");
        }
        assert!(is(Service::Locks, libc::ENOLCK) && !is(Service::Syncing, libc::ENOLCK));
        assert!(is(Service::Syncing, libc::EPERM) && !is(Service::Locks, libc::EPERM));
        for code in [libc::EIO, libc::ENOSPC, libc::EDQUOT, libc::EACCES, libc::EROFS, libc::EBADF, libc::EINTR] {
            assert!(!is(Service::Locks, code) && !is(Service::Syncing, code), "{code}");
        }
    }

    #[test]
    fn each_service_is_said_once_whatever_the_places() {
        let error = io::Error::from_raw_os_error(libc::ENOSYS);
        for dir in ["run", "run/parts", "run/plots"] {
            done_without(Service::Syncing, Path::new(dir), &error);
        }
        let said = take_lacking();
        assert_eq!(said.iter().filter(|text| text.contains("does not wait for its disk")).count(), 1, "{said:?}");
        done_without(Service::Syncing, Path::new("run"), &error);
        assert_eq!(take_lacking(), Vec::<String>::new());
    }
}
