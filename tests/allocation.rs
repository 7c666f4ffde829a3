//! The native program allocates nothing per step: its buffers are made once.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use cliffline::aligner::native::cell::{Model, Workspace};
use cliffline::aligner::native::info_nce::LossSettings;
use cliffline::aligner::parameters::{MODALITIES, Widths, xavier};
use cliffline::spec::config::{Optimiser, TrainConfig};

/// Counts allocations.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_step_allocates_nothing_once_its_buffers_are_there() {
    let widths = [(40, 20), (19, 12)].map(|(inputs, hidden)| Widths { inputs, hidden, embedding: 7 });
    let host = [0, 1].map(|m| xavier(0, MODALITIES[m], widths[m]));
    let rules = [(Optimiser::Sgd, 0.0, 0.0), (Optimiser::Sgd, 0.9, 0.5), (Optimiser::Adamw, 0.0, 0.0)];
    // Every way of shifting the exponentials, and every rule of updating.
    for (temperature, (optimiser, momentum, clip_norm)) in [1.0, 0.01, 1e-3].into_iter().zip(rules) {
        let train = TrainConfig { temperature, optimiser, momentum, clip_norm, ..TrainConfig::default() };
        let mut workspace = Workspace::new(24, widths);
        for (m, modality) in workspace.modalities.iter_mut().enumerate() {
            for row in 0..24 {
                let values = modality.x.row_mut(row).iter_mut().take(widths[m].inputs).enumerate();
                values.for_each(|(i, v)| *v = ((row * 31 + i * 7 + m) as f32).sin());
            }
        }
        let mut model = Model::new(host.each_ref(), widths, &train);
        let settings = LossSettings::of(&train);
        workspace.step(&mut model, &train, settings, 1, true, None);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for step in 2..12 {
            workspace.step(&mut model, &train, settings, step, step % 3 == 0, None);
        }
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before, "at temperature {temperature} with {optimiser:?}");
    }
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0, "the counter counts");
}
