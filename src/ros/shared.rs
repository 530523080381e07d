//! What the node's threads share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::diagnostics::Surroundings;
use super::inference::Frame;
use super::latest::LatestCell;
use super::ledger::Ledger;
use super::outputs::Outputs;

/// Shared by the spin thread, the inference thread and the diagnostics.
#[derive(Debug)]
pub(super) struct Shared {
    /// From the spin thread to the inference thread.
    pub frames: LatestCell<Frame>,
    /// What became of every frame.
    pub ledger: Ledger,
    /// The graph as the spin thread saw it last.
    pub surroundings: watch::Sender<Surroundings>,
    outputs: Mutex<Outputs>,
    stopping: AtomicBool,
}

impl Shared {
    /// Returns the state before the first frame.
    pub(super) fn new(outputs: Outputs) -> Self {
        Self {
            frames: LatestCell::default(),
            ledger: Ledger::default(),
            surroundings: watch::Sender::default(),
            outputs: Mutex::new(outputs),
            stopping: AtomicBool::new(false),
        }
    }

    /// Returns the publishers in force.
    pub(super) fn outputs(&self) -> Outputs {
        let outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        outputs.clone()
    }

    /// Puts the publishers of a new ROS node in the place of the old one's.
    pub(super) fn replace_outputs(&self, outputs: Outputs) {
        *self.outputs.lock().unwrap_or_else(PoisonError::into_inner) = outputs;
    }

    /// Tells all threads to end; nothing is published that was not begun before.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.frames.close();
    }

    /// Returns whether the threads are to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}
