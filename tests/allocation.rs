//! The native program allocates nothing per step: its buffers are made once.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use cliffline::aligner::native::cell::{Model, Settings, Workspace};
use cliffline::aligner::parameters::{MODALITIES, Widths, xavier};
use cliffline::spec::config::{Optimiser, TrainConfig};

/// Counts allocations.
struct Counting;

thread_local! {
    /// Of this thread alone: the harness has one of its own, which allocates when it likes.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: hands everything to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
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
    let every = TrainConfig {
        warmup_steps: 5,
        embedding_l2: 0.1,
        variance_weight: 1.0,
        covariance_weight: 0.1,
        redundancy_weight: 0.1,
        balance: 0.1,
        ..TrainConfig::default()
    };
    // Every way of shifting the exponentials, and every rule of updating, without and with options.
    let settings = [1.0, 0.01, 1e-3].into_iter().zip(rules);
    for ((temperature, (optimiser, momentum, clip_norm)), options) in
        settings.flat_map(|s| [(s, TrainConfig::default()), (s, every.clone())])
    {
        let train = TrainConfig { temperature, optimiser, momentum, clip_norm, ..options };
        let mut workspace = Workspace::new(24, widths);
        for (m, modality) in workspace.modalities.iter_mut().enumerate() {
            for row in 0..24 {
                let values = modality.x.row_mut(row).iter_mut().take(widths[m].inputs).enumerate();
                values.for_each(|(i, v)| *v = ((row * 31 + i * 7 + m) as f32).sin());
            }
        }
        let mut model = Model::new(host.each_ref(), widths, &train);
        let settings = Settings::new(&train, [2.0, 0.5]);
        workspace.step(&mut model, settings, 1, true, None);
        let before = ALLOCATIONS.get();
        for step in 2..12 {
            workspace.step(&mut model, settings, step, step % 3 == 0, None);
        }
        assert_eq!(ALLOCATIONS.get(), before, "at temperature {temperature} with {optimiser:?}");
    }
    assert!(ALLOCATIONS.get() > 0, "the counter counts");
}
