//! What the node's threads share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::cameras::{CameraName, PerCamera};
use super::diagnostics::Surroundings;
use super::inference::Frame;
use super::latest::LatestCells;
use super::ledger::Ledger;
use super::outputs::Outputs;
use super::placement::Placement;

/// Shared by the spin thread, the inference thread and the diagnostics.
#[derive(Debug)]
pub(super) struct Shared {
    /// The cameras.
    pub cameras: PerCamera<CameraName>,
    /// From the spin thread to the inference thread.
    pub frames: LatestCells<Frame>,
    /// What became of every frame.
    pub ledgers: PerCamera<Ledger>,
    /// The cameras and their places, as ROS tells of them.
    pub placement: Placement,
    /// The graph and the node's state as the spin thread saw them last.
    pub surroundings: watch::Sender<Surroundings>,
    outputs: Mutex<Outputs>,
    /// Frames that came before this moment are not published; none are without one.
    open_since: Mutex<Option<Instant>>,
    /// When the clock was last seen to have jumped back.
    jumped: Mutex<Option<Instant>>,
    stopping: AtomicBool,
}

impl Shared {
    /// Returns the state before the first frame, with the outputs closed.
    pub(super) fn new(cameras: PerCamera<CameraName>, outputs: Outputs) -> Self {
        Self {
            frames: LatestCells::new(&cameras),
            ledgers: cameras.map(|_| Ledger::default()),
            placement: Placement::new(&cameras),
            surroundings: watch::Sender::new(Surroundings::new(&cameras)),
            cameras,
            outputs: Mutex::new(outputs),
            open_since: Mutex::default(),
            jumped: Mutex::default(),
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

    /// Lets frames that come from now on be published.
    pub(super) fn open(&self) {
        *self.hold_gate() = Some(Instant::now());
        self.frames.clear();
    }

    /// Keeps all frames back; what is being published is waited for.
    pub(super) fn close(&self) {
        *self.hold_gate() = None;
        self.frames.clear();
    }

    /// Forgets every frame that came before this moment, the one in the network too: the clock has
    /// jumped back, and what came with the old time is not to be mixed with what comes.
    pub(super) fn jump(&self) {
        let now = Instant::now();
        *self.jumped.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        if let Some(since) = &mut *self.hold_gate() {
            *since = now;
        }
        self.frames.clear();
        self.placement.forget_moving();
        for ledger in self.ledgers.each() {
            ledger.begin_anew();
        }
    }

    /// Returns when the clock was last seen to have jumped back. Whoever keeps what has a stamp
    /// empties it when this changes.
    pub(super) fn last_jump(&self) -> Option<Instant> {
        *self.jumped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes what a frame gave that came at `received`; `None` where the outputs are closed, or
    /// were when it came.
    pub(super) fn publish<T>(&self, received: Instant, publish: impl FnOnce() -> T) -> Option<T> {
        let gate = self.hold_gate();
        let is_open = gate.is_some_and(|since| received >= since);
        (is_open && !self.is_stopping()).then(publish)
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

    /// Locks the gate. A poisoned lock is as good as any: what it guards is one word.
    fn hold_gate(&self) -> MutexGuard<'_, Option<Instant>> {
        self.open_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
