//! A one-slot cell between a camera that never waits and a network that is slower: the newest
//! frame wins, and every frame that it pushes out is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The newest value that was put and not yet taken.
#[derive(Debug)]
pub(super) struct LatestCell<T> {
    slot: Mutex<Slot<T>>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Slot<T> {
    newest: Option<T>,
    closed: bool,
}

impl<T> Default for LatestCell<T> {
    fn default() -> Self {
        Self {
            slot: Mutex::new(Slot {
                newest: None,
                closed: false,
            }),
            changed: Condvar::new(),
            dropped: AtomicU64::new(0),
        }
    }
}

impl<T> LatestCell<T> {
    /// Puts a value; one that nobody took before is dropped and counted.
    pub(super) fn put(&self, value: T) {
        let mut slot = self.hold();
        if slot.newest.replace(value).is_some() {
            self.count_dropped();
        }
        drop(slot);
        self.changed.notify_one();
    }

    /// Waits for a value and takes it; `None` once the cell is closed, whatever it holds.
    pub(super) fn take(&self) -> Option<T> {
        let mut slot = self.hold();
        loop {
            if slot.closed {
                return None;
            }
            if let Some(value) = slot.newest.take() {
                return Some(value);
            }
            slot = self
                .changed
                .wait(slot)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Drops what it holds, and counts it.
    pub(super) fn clear(&self) {
        if self.hold().newest.take().is_some() {
            self.count_dropped();
        }
    }

    /// Counts a value as dropped that was taken before.
    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends every present and future [`LatestCell::take`].
    pub(super) fn close(&self) {
        self.hold().closed = true;
        self.changed.notify_all();
    }

    /// Returns how many values newer ones have pushed out, or were dropped by hand.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Locks the slot. A poisoned lock is as good as any: no code that can panic runs under it.
    fn hold(&self) -> MutexGuard<'_, Slot<T>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn newest_frame_wins_when_the_network_is_slow() {
        let cell = LatestCell::default();
        for frame in 0..5 {
            cell.put(frame);
        }
        assert_eq!((cell.take(), cell.dropped()), (Some(4), 4));
        cell.put(5);
        assert_eq!((cell.take(), cell.dropped()), (Some(5), 4));
    }

    #[test]
    fn every_frame_is_taken_or_counted_as_dropped() {
        let cell = LatestCell::default();
        let taken = thread::scope(|scope| {
            let taken = scope.spawn(|| {
                let mut last = None;
                let mut count = 0;
                while let Some(frame) = cell.take() {
                    assert!(last < Some(frame), "{frame} came after {last:?}");
                    last = Some(frame);
                    count += 1;
                    if frame == 9_999 {
                        break;
                    }
                }
                count
            });
            for frame in 0..10_000 {
                cell.put(frame);
            }
            taken.join().unwrap_or(0)
        });
        assert_eq!(taken + cell.dropped(), 10_000);
    }

    #[test]
    fn closing_wakes_a_waiting_taker_and_keeps_the_rest_untaken() {
        let cell = LatestCell::<u8>::default();
        thread::scope(|scope| {
            let taker = scope.spawn(|| cell.take());
            cell.close();
            assert!(matches!(taker.join(), Ok(None)));
        });
        cell.put(1);
        assert_eq!(cell.take(), None);
    }
}
