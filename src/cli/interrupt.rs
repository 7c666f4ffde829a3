//! Ctrl-C while cells train.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;

use super::{exit, output};
use crate::engine::Control;

/// What a process is training, and whether it was told to stop.
static AT_WORK: Mutex<Option<Arc<Control>>> = Mutex::new(None);

/// Ctrl-C stops cleanly; a second one at once. A process may train several times: once told to stop, it stops in all.
pub(super) fn watch(control: &Arc<Control>) -> anyhow::Result<()> {
    let before = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner).replace(control.clone());
    if let Some(before) = before {
        control.cancel.fetch_or(before.is_cancelled(), Ordering::Relaxed);
        return Ok(());
    }
    ctrlc::set_handler(|| {
        let at_work = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if at_work.is_none_or(|control| control.cancel.swap(true, Ordering::Relaxed)) {
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
        output::note("stopping; packs in flight are abandoned (once more to stop at once)");
    })
    .context("cannot watch for interrupts")
}
