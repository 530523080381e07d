//! One slot a camera between cameras that never wait and a network that is slower: the newest frame of
//! each wins, every frame that it pushes out is counted, and the camera that has waited longest is next.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::cameras::{CameraId, CameraName, PerCamera};

/// The newest value of each camera that was put and not yet taken.
#[derive(Debug)]
pub(super) struct LatestCells<T> {
    cells: Mutex<Cells<T>>,
    changed: Condvar,
    dropped: PerCamera<AtomicU64>,
}

#[derive(Debug)]
struct Cells<T> {
    slots: PerCamera<Slot<T>>,
    /// Values taken so far.
    taken: u64,
    closed: bool,
}

#[derive(Debug)]
struct Slot<T> {
    newest: Option<T>,
    /// How many values had been taken when one of this camera was, last.
    last_taken: u64,
}

impl<T> LatestCells<T> {
    /// Returns an empty slot for each camera.
    pub(super) fn new(cameras: &PerCamera<CameraName>) -> Self {
        let slots = cameras.map(|_| Slot {
            newest: None,
            last_taken: 0,
        });
        Self {
            cells: Mutex::new(Cells {
                slots,
                taken: 0,
                closed: false,
            }),
            changed: Condvar::new(),
            dropped: cameras.map(|_| AtomicU64::new(0)),
        }
    }

    /// Puts a camera's value; its one before that nobody took is dropped and counted.
    pub(super) fn put(&self, camera: CameraId, value: T) {
        let mut cells = self.hold();
        if cells.slots[camera].newest.replace(value).is_some() {
            self.count_dropped(camera);
        }
        drop(cells);
        self.changed.notify_one();
    }

    /// Waits for a value and takes that of the camera whose last was taken longest ago; `None` once
    /// the cells are closed, whatever they hold.
    pub(super) fn take(&self) -> Option<T> {
        let mut cells = self.hold();
        loop {
            if cells.closed {
                return None;
            }
            if let Some(value) = cells.take() {
                return Some(value);
            }
            cells = self
                .changed
                .wait(cells)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Drops what they hold, and counts it.
    pub(super) fn clear(&self) {
        let mut cells = self.hold();
        for camera in self.dropped.ids() {
            if cells.slots[camera].newest.take().is_some() {
                self.count_dropped(camera);
            }
        }
    }

    /// Counts a camera's value as dropped that was taken before.
    pub(super) fn count_dropped(&self, camera: CameraId) {
        self.dropped[camera].fetch_add(1, Ordering::Relaxed);
    }

    /// Ends every present and future [`LatestCells::take`].
    pub(super) fn close(&self) {
        self.hold().closed = true;
        self.changed.notify_all();
    }

    /// Returns how many of a camera's values newer ones have pushed out, or were dropped by hand.
    pub(super) fn dropped(&self, camera: CameraId) -> u64 {
        self.dropped[camera].load(Ordering::Relaxed)
    }

    /// Locks the cells. A poisoned lock is as good as any: no code that can panic runs under it.
    fn hold(&self) -> MutexGuard<'_, Cells<T>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Cells<T> {
    fn take(&mut self) -> Option<T> {
        let holds = |slot: &&mut Slot<T>| slot.newest.is_some();
        let waiting = self.slots.each_mut().filter(holds);
        let slot = waiting.min_by_key(|slot| slot.last_taken)?;
        self.taken += 1;
        slot.last_taken = self.taken;
        slot.newest.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn cameras<const N: usize>(names: [&str; N]) -> (PerCamera<CameraName>, [CameraId; N]) {
        let cameras = PerCamera::named(&names.map(str::to_owned));
        let mut ids = cameras.ids();
        let ids = names.map(|_| ids.next().unwrap_or_else(|| unreachable!("an id a name")));
        (cameras, ids)
    }

    #[test]
    fn newest_frame_wins_when_the_network_is_slow() {
        let (names, [one]) = cameras(["one"]);
        let cells = LatestCells::new(&names);
        for frame in 0..5 {
            cells.put(one, frame);
        }
        assert_eq!((cells.take(), cells.dropped(one)), (Some(4), 4));
        cells.put(one, 5);
        assert_eq!((cells.take(), cells.dropped(one)), (Some(5), 4));
    }

    #[test]
    fn the_camera_that_waited_longest_is_next_however_fast_the_others_are() {
        let (names, [fast, slow, third]) = cameras(["fast", "slow", "third"]);
        let cells = LatestCells::new(&names);
        cells.put(fast, "fast 0");
        assert_eq!(cells.take(), Some("fast 0"));
        cells.put(slow, "slow 0");
        for frame in ["fast 1", "fast 2", "fast 3"] {
            cells.put(fast, frame);
        }
        cells.put(third, "third 0");
        let taken = [cells.take(), cells.take(), cells.take()].map(Option::unwrap_or_default);
        assert_eq!(taken, ["slow 0", "third 0", "fast 3"]);
        assert_eq!(
            [fast, slow, third].map(|camera| cells.dropped(camera)),
            [2, 0, 0]
        );
        // One that was away for long has no more than its turn.
        for _ in 0..5 {
            cells.put(fast, "fast");
            cells.take();
        }
        let mut order = Vec::new();
        for _ in 0..3 {
            cells.put(slow, "slow");
            cells.put(fast, "fast");
            order.extend(cells.take());
        }
        assert_eq!(order, ["slow", "fast", "slow"]);
    }

    #[test]
    fn clearing_drops_and_counts_the_frame_of_each_camera() {
        let (names, [one, two]) = cameras(["one", "two"]);
        let cells = LatestCells::new(&names);
        cells.put(one, 1);
        cells.put(two, 2);
        cells.clear();
        assert_eq!((cells.dropped(one), cells.dropped(two)), (1, 1));
        cells.put(two, 3);
        assert_eq!(cells.take(), Some(3));
    }

    #[test]
    fn every_frame_is_taken_or_counted_as_dropped() {
        let (names, [one, two]) = cameras(["one", "two"]);
        let cells = LatestCells::new(&names);
        let last = 9_999;
        let taken = thread::scope(|scope| {
            let taken = scope.spawn(|| {
                let mut newest = [None, None];
                let mut count = 0;
                while let Some((camera, frame)) = cells.take() {
                    let before: &mut Option<u64> = &mut newest[camera];
                    assert!(*before < Some(frame), "{frame} came after {before:?}");
                    *before = Some(frame);
                    count += 1;
                    if newest == [Some(last); 2] {
                        break;
                    }
                }
                count
            });
            for frame in 0..=last {
                cells.put(one, (0, frame));
                cells.put(two, (1, frame));
            }
            taken.join().unwrap_or(0)
        });
        assert_eq!(taken + cells.dropped(one) + cells.dropped(two), 20_000);
    }

    #[test]
    fn closing_wakes_a_waiting_taker_and_keeps_the_rest_untaken() {
        let (names, [one]) = cameras(["one"]);
        let cells = LatestCells::<u8>::new(&names);
        thread::scope(|scope| {
            let taker = scope.spawn(|| cells.take());
            cells.close();
            assert!(matches!(taker.join(), Ok(None)));
        });
        cells.put(one, 1);
        assert_eq!(cells.take(), None);
    }
}
