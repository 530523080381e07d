//! An image's way into pinned memory: two threads copy it where the machine has cores to spare.

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::driver::copy_past_caches;

/// Bytes that a thread takes at a time.
const STEP_BYTES: usize = 64 << 10;

/// Bytes that are handed on at a time, which the device fetches while the next are copied: half of what is
/// left within these bounds, since each part costs a call, and the last is waited for.
const PART_BYTES: [usize; 2] = [128 << 10, 512 << 10];

/// Fewest bytes that the second thread is woken for: until it comes, half a megabyte is copied.
const SHARED_BYTES: usize = 1 << 20;

/// Fewest cores for a second thread; with fewer it would wait for other work, and the first for it.
const SHARED_CORES: usize = 4;

/// Copies images on the calling thread, from their front, and on a thread of its own, from their end.
pub(crate) struct Stager {
    shared: Arc<Shared>,
    helper: Option<JoinHandle<()>>,
}

struct Shared {
    work: Mutex<Work>,
    is_offered: Condvar,
}

/// One copy under way.
struct Work {
    to: *mut u8,
    from: *const u8,
    /// What neither thread has taken yet.
    open: Range<usize>,
    /// Where what the helper has copied begins.
    helped_from: usize,
    is_helping: bool,
    is_ended: bool,
}

// SAFETY: the addresses are used only for what was taken from `open`, while `Offer` keeps both memories.
unsafe impl Send for Work {}

impl Stager {
    /// Starts the second thread where the process may use enough cores.
    pub(crate) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::with_helper(cores >= SHARED_CORES)
    }

    /// Works alone, too, where no thread can be started.
    fn with_helper(is_helped: bool) -> Self {
        let shared = Arc::new(Shared {
            work: Mutex::new(Work {
                to: std::ptr::null_mut(),
                from: std::ptr::null(),
                open: 0..0,
                helped_from: 0,
                is_helping: false,
                is_ended: false,
            }),
            is_offered: Condvar::new(),
        });
        let helper = is_helped.then(|| {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name("ecmnet-staging".to_owned())
                .spawn(move || shared.help())
        });
        Self {
            shared,
            helper: helper.and_then(Result::ok),
        }
    }

    /// Copies `from` to `to`, and calls `on_part` with each part of it that is there, until all is.
    ///
    /// Ends with the first error of `on_part`; no thread touches either memory after the return.
    ///
    /// # Safety
    ///
    /// `to` is valid for writes of as many bytes as `from` has, and nobody else touches a byte of it
    /// before `on_part` was called with it.
    pub(crate) unsafe fn copy<E>(
        &mut self,
        to: *mut u8,
        from: &[u8],
        mut on_part: impl FnMut(Range<usize>) -> Result<(), E>,
    ) -> Result<(), E> {
        let offer = Offer::new(&self.shared, to, from);
        if self.helper.is_some() && from.len() >= SHARED_BYTES {
            self.shared.is_offered.notify_one();
        }
        let mut left = 0..from.len();
        while let Some((step, helped_from)) = offer.take_first() {
            let copied_to = step.end;
            // SAFETY: the caller's promise; the step was open, so it is this thread's alone.
            unsafe { copy_step(to, from.as_ptr(), step) };
            let part = (left.len() / 2).clamp(PART_BYTES[0], PART_BYTES[1]);
            if copied_to - left.start >= part {
                on_part(left.start..copied_to)?;
                left.start = copied_to;
            }
            if left.end - helped_from >= part {
                on_part(helped_from..left.end)?;
                left.end = helped_from;
            }
        }
        drop(offer);
        if left.is_empty() {
            return Ok(());
        }
        on_part(left)
    }
}

impl Drop for Stager {
    fn drop(&mut self) {
        self.shared.lock().is_ended = true;
        self.shared.is_offered.notify_one();
        if let Some(helper) = self.helper.take() {
            // Its only error is a panic, and copying bytes does not panic.
            let _ = helper.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes steps from the end of what is offered, until the stager ends.
    fn help(&self) {
        let mut work = self.lock();
        while !work.is_ended {
            let open = work.open.clone();
            if open.is_empty() {
                work = self
                    .is_offered
                    .wait(work)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let step = open.end.saturating_sub(STEP_BYTES).max(open.start)..open.end;
            work.open.end = step.start;
            work.is_helping = true;
            let (to, from) = (work.to, work.from);
            drop(work);
            // SAFETY: the step was open, so it is this thread's alone; `Offer` keeps both memories
            // while `is_helping`.
            unsafe { copy_step(to, from, step.clone()) };
            work = self.lock();
            work.is_helping = false;
            work.helped_from = step.start;
        }
    }
}

/// A copy's time in [`Shared`]; once dropped, the helper is done with both memories.
struct Offer<'a> {
    shared: &'a Shared,
}

impl<'a> Offer<'a> {
    fn new(shared: &'a Shared, to: *mut u8, from: &'a [u8]) -> Self {
        let mut work = shared.lock();
        work.to = to;
        work.from = from.as_ptr();
        work.open = 0..from.len();
        work.helped_from = from.len();
        drop(work);
        Self { shared }
    }

    /// Takes a step from the front of what is open; returns also where the helper's part begins.
    fn take_first(&self) -> Option<(Range<usize>, usize)> {
        let mut work = self.shared.lock();
        let open = work.open.clone();
        if open.is_empty() {
            return None;
        }
        let step = open.start..open.end.min(open.start + STEP_BYTES);
        work.open.start = step.end;
        Some((step, work.helped_from))
    }
}

impl Drop for Offer<'_> {
    fn drop(&mut self) {
        let mut work = self.shared.lock();
        work.open = 0..0;
        // A step takes some microseconds, less than a thread takes to sleep and wake.
        while work.is_helping {
            drop(work);
            thread::yield_now();
            work = self.shared.lock();
        }
    }
}

/// # Safety
///
/// The step lies within both memories, and nobody else touches its bytes of `to`.
unsafe fn copy_step(to: *mut u8, from: *const u8, step: Range<usize>) {
    // SAFETY: as this function's.
    let (to, from) = unsafe {
        (
            std::slice::from_raw_parts_mut(to.add(step.start), step.len()),
            std::slice::from_raw_parts(from.add(step.start), step.len()),
        )
    };
    copy_past_caches(to, from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// Far above what a thread takes to come, far below what a person waits for.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn bytes_of(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7919 % 251 + 1) as u8).collect()
    }

    /// Copies and returns the parts, each of which is there when it is told of.
    fn parts_of(stager: &mut Stager, from: &[u8]) -> Vec<Range<usize>> {
        let mut to = vec![0; from.len()];
        let (at, mut parts) = (to.as_mut_ptr(), Vec::new());
        // SAFETY: `to` is as long as `from`, and looked at only where it was told of.
        let copied: Result<(), ()> = unsafe {
            stager.copy(at, from, |part| {
                let there = std::slice::from_raw_parts(at.add(part.start), part.len());
                assert_eq!(there, &from[part.clone()]);
                parts.push(part);
                Ok(())
            })
        };
        assert!(copied.is_ok());
        assert_eq!(to, from);
        parts
    }

    #[test]
    fn each_byte_is_copied_and_told_of_once() {
        for is_helped in [false, true] {
            let mut stager = Stager::with_helper(is_helped);
            assert_eq!(stager.helper.is_some(), is_helped);
            for len in [0, 1, STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, 518_400]
                .into_iter()
                .chain([1 << 20, 3 * 512 * 1024, 3 * 640 * 848 + 13].repeat(20))
            {
                let mut parts = parts_of(&mut stager, &bytes_of(len));
                if !is_helped {
                    assert!(parts.is_sorted_by_key(|part| part.start), "{parts:?}");
                }
                parts.sort_by_key(|part| part.start);
                let ends: Vec<usize> = parts.iter().map(|part| part.end).collect();
                let starts: Vec<usize> = parts.iter().map(|part| part.start).collect();
                assert!(parts.iter().all(|part| !part.is_empty()));
                assert_eq!(
                    starts.get(1..).unwrap_or(&[]),
                    &ends[..ends.len().saturating_sub(1)]
                );
                assert_eq!(starts.first().copied().unwrap_or(0), 0);
                assert_eq!(ends.last().copied().unwrap_or(0), len);
            }
        }
    }

    #[test]
    fn the_second_thread_copies_from_the_end() {
        let mut stager = Stager::with_helper(true);
        let shared = Arc::clone(&stager.shared);
        let from = bytes_of(4 << 20);
        let mut to = vec![0; from.len()];
        let start = Instant::now();
        // SAFETY: `to` is as long as `from`, and looked at only afterwards.
        let copied: Result<(), ()> = unsafe {
            stager.copy(to.as_mut_ptr(), &from, |_| {
                while !shared.lock().open.is_empty() && start.elapsed() < PATIENCE {
                    thread::yield_now();
                }
                Ok(())
            })
        };
        assert!(copied.is_ok());
        assert_eq!(to, from);
        // While the caller lingered over its first part, the other thread took all the rest.
        let helped_from = shared.lock().helped_from;
        assert!(helped_from <= PART_BYTES[1], "{helped_from}");
    }

    #[test]
    fn an_error_ends_the_copy_and_not_the_stager() {
        let mut stager = Stager::with_helper(true);
        let from = bytes_of(4 << 20);
        for _ in 0..20 {
            let mut to = vec![0; from.len()];
            let mut calls = 0;
            // SAFETY: `to` is as long as `from`, and looked at only afterwards.
            let copied = unsafe {
                stager.copy(to.as_mut_ptr(), &from, |_| {
                    calls += 1;
                    Err("full")
                })
            };
            assert_eq!((copied, calls), (Err("full"), 1));
            let before = to.clone();
            thread::sleep(Duration::from_millis(1));
            assert_eq!(to, before);
        }
        parts_of(&mut stager, &from);
    }
}
