//! What became of every frame, and how long the masks took: the figures of the diagnostics.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How far back rates and latencies look.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// The running account of a node's frames; `received` equals the sum of all that became of them,
/// but for the frame in the cell and the one in the network.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    received: u64,
    last_received: Option<Instant>,
    segmented: u64,
    unwatched: u64,
    rate_limited: u64,
    late: u64,
    areas: u64,
    area_stops: BTreeMap<&'static str, u64>,
    /// Why the last frame that was to be laid on the ground was not, and when.
    area_stopped: Option<(Instant, &'static str)>,
    recent_areas: VecDeque<(Instant, f64)>,
    pitch_correction_deg: Option<f64>,
    rejected: BTreeMap<&'static str, u64>,
    recent_masks: VecDeque<(Instant, Latency)>,
    recent_rejections: VecDeque<(Instant, &'static str)>,
    image_size: Option<[usize; 2]>,
}

/// How old a mask was when it was published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Latency {
    /// Since the image's stamp, milliseconds by the ROS clock; `None` where the stamp is another
    /// clock's.
    pub stamp_to_publish_ms: Option<f64>,
    /// Since the image reached the node, milliseconds.
    pub receipt_to_publish_ms: f64,
    /// Whether that was later than the deadline.
    pub is_late: bool,
}

impl Latency {
    /// Returns the age of a mask, held against a deadline in milliseconds, which 0 is none.
    ///
    /// An image whose stamp is another clock's has its time from the moment that it came.
    pub(super) fn of(
        stamp_to_publish_ms: Option<f64>,
        receipt_to_publish_ms: f64,
        deadline_ms: i64,
    ) -> Self {
        let age_ms = stamp_to_publish_ms.unwrap_or(receipt_to_publish_ms);
        Self {
            stamp_to_publish_ms,
            receipt_to_publish_ms,
            is_late: deadline_ms > 0 && age_ms > deadline_ms as f64,
        }
    }
}

impl Ledger {
    /// Counts a frame that came.
    pub(super) fn receive(&self) {
        let mut entries = self.hold();
        entries.received += 1;
        entries.last_received = Some(Instant::now());
    }

    /// Counts a frame of `[width, height]` pixels whose outputs were published.
    pub(super) fn segment(&self, latency: Latency, image_size: [usize; 2]) {
        let mut entries = self.hold();
        entries.segmented += 1;
        entries.late += u64::from(latency.is_late);
        entries.image_size = Some(image_size);
        entries.recent_masks.push_back((Instant::now(), latency));
        entries.forget();
    }

    /// Counts a frame that was not segmented because nobody subscribes.
    pub(super) fn leave(&self) {
        self.hold().unwatched += 1;
    }

    /// Counts a frame that was not segmented because every output that is read was published too
    /// short a time ago.
    pub(super) fn limit(&self) {
        self.hold().rate_limited += 1;
    }

    /// Counts a frame that was laid on the ground, in so many milliseconds, looking so much farther down
    /// than the transforms tell.
    pub(super) fn lay(&self, ms: f64, pitch_correction_deg: Option<f64>) {
        let mut entries = self.hold();
        entries.areas += 1;
        entries.area_stopped = None;
        entries.recent_areas.push_back((Instant::now(), ms));
        entries.pitch_correction_deg = pitch_correction_deg;
        entries.forget();
    }

    /// Counts a frame whose masks were published but that could not be laid on the ground.
    pub(super) fn stop_area(&self, reason: &'static str) {
        let mut entries = self.hold();
        *entries.area_stops.entry(reason).or_default() += 1;
        entries.area_stopped = Some((Instant::now(), reason));
    }

    /// Forgets what rates and latencies are told from; the counts stay.
    pub(super) fn begin_anew(&self) {
        let mut entries = self.hold();
        entries.recent_masks.clear();
        entries.recent_rejections.clear();
    }

    /// Counts a frame that was refused, by its reason.
    pub(super) fn reject(&self, reason: &'static str) {
        let mut entries = self.hold();
        *entries.rejected.entry(reason).or_default() += 1;
        entries
            .recent_rejections
            .push_back((Instant::now(), reason));
        entries.forget();
    }

    /// Returns the account as it stands.
    pub(super) fn account(&self) -> Account {
        let mut entries = self.hold();
        entries.forget();
        let of = |latency: fn(&Latency) -> Option<f64>| {
            Percentiles::of(entries.recent_masks.iter().filter_map(|(_, l)| latency(l)))
        };
        Account {
            received: entries.received,
            since_received: entries.last_received.map(|at| at.elapsed()),
            segmented: entries.segmented,
            unwatched: entries.unwatched,
            rate_limited: entries.rate_limited,
            late: entries.late,
            areas: entries.areas,
            area_stops: entries.area_stops.clone(),
            area_ms: Percentiles::of(entries.recent_areas.iter().map(|(_, ms)| *ms)),
            pitch_correction_deg: entries.pitch_correction_deg,
            area_stopped: (entries.area_stopped)
                .filter(|(at, _)| at.elapsed() <= WINDOW)
                .map(|(_, reason)| reason),
            recent_late: (entries.recent_masks.iter())
                .filter(|(_, latency)| latency.is_late)
                .count(),
            rejected: entries.rejected.clone(),
            recent_masks: entries.recent_masks.len(),
            recent_rejections: entries.recent_rejections.iter().map(|(_, r)| *r).collect(),
            rate_hz: rate(&entries.recent_masks),
            stamp_to_publish_ms: of(|latency| latency.stamp_to_publish_ms),
            receipt_to_publish_ms: of(|latency| Some(latency.receipt_to_publish_ms)),
            image_size: entries.image_size,
        }
    }

    /// Locks the entries. A poisoned lock is as good as any: no code that can panic runs under it.
    fn hold(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn forget(&mut self) {
        let old = |at: &Instant| at.elapsed() > WINDOW;
        while self.recent_masks.front().is_some_and(|(at, _)| old(at)) {
            self.recent_masks.pop_front();
        }
        while self.recent_areas.front().is_some_and(|(at, _)| old(at)) {
            self.recent_areas.pop_front();
        }
        while self
            .recent_rejections
            .front()
            .is_some_and(|(at, _)| old(at))
        {
            self.recent_rejections.pop_front();
        }
    }
}

/// A [`Ledger`] at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Account {
    /// Frames that came.
    pub received: u64,
    /// How long ago the last frame came.
    pub since_received: Option<Duration>,
    /// Frames whose outputs were published.
    pub segmented: u64,
    /// Frames that came while nobody subscribed.
    pub unwatched: u64,
    /// Frames that came while no output was due.
    pub rate_limited: u64,
    /// Masks that were later than the deadline.
    pub late: u64,
    /// Those of them within the window.
    pub recent_late: usize,
    /// Frames that were laid on the ground.
    pub areas: u64,
    /// Frames whose masks were published and that could not be, by reason.
    pub area_stops: BTreeMap<&'static str, u64>,
    /// How long laying a frame on the ground took, within the window.
    pub area_ms: Option<Percentiles>,
    /// How far the last one looked down beyond what the transforms tell, degrees; None where that is not
    /// corrected.
    pub pitch_correction_deg: Option<f64>,
    /// Why the last one could not be, where that was within the window.
    pub area_stopped: Option<&'static str>,
    /// Frames refused, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Masks within the window.
    pub recent_masks: usize,
    /// Reasons of the refusals within the window, oldest first.
    pub recent_rejections: Vec<&'static str>,
    /// Masks a second within the window.
    pub rate_hz: f64,
    /// Stamp to publish, within the window.
    pub stamp_to_publish_ms: Option<Percentiles>,
    /// Receipt to publish, within the window.
    pub receipt_to_publish_ms: Option<Percentiles>,
    /// `[width, height]` of the last image that was segmented.
    pub image_size: Option<[usize; 2]>,
}

/// Percentiles by nearest rank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Percentiles {
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
}

impl Percentiles {
    /// Returns the percentiles of the values, or `None` of none.
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<_> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).copied()
        };
        Some(Self {
            p50: at(50)?,
            p95: at(95)?,
            p99: at(99)?,
        })
    }
}

/// Masks a second from the first to the last of the window; none from fewer than two.
fn rate(masks: &VecDeque<(Instant, Latency)>) -> f64 {
    match (masks.front(), masks.back()) {
        (Some((first, _)), Some((last, _))) if masks.len() > 1 => {
            let span = last.duration_since(*first).as_secs_f64();
            (masks.len() - 1) as f64 / span.max(f64::EPSILON)
        }
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let hundred = Percentiles::of((1..=100).rev().map(f64::from));
        let expected = Percentiles {
            p50: 50.0,
            p95: 95.0,
            p99: 99.0,
        };
        assert_eq!(hundred, Some(expected));
        let one = Percentiles::of([7.0].into_iter());
        assert!(one.is_some_and(|p| [p.p50, p.p95, p.p99] == [7.0; 3]));
        assert_eq!(Percentiles::of(std::iter::empty()), None);
    }

    #[test]
    fn a_mask_is_late_by_its_stamp_and_by_its_receipt_where_another_clock_stamped_it() {
        let is_late = |stamp_ms, receipt_ms, deadline_ms| {
            Latency::of(stamp_ms, receipt_ms, deadline_ms).is_late
        };
        assert!(is_late(Some(51.0), 10.0, 50));
        assert!(!is_late(Some(50.0), 60.0, 50));
        assert!(is_late(None, 51.0, 50));
        assert!(!is_late(Some(1e6), 1e6, 0));
    }

    #[test]
    fn every_frame_has_its_place_in_the_account() {
        let ledger = Ledger::default();
        for _ in 0..5 {
            ledger.receive();
        }
        ledger.segment(Latency::of(None, 3.0, 2), [4, 2]);
        ledger.limit();
        ledger.leave();
        ledger.reject("cdr");
        ledger.reject("cdr");
        let account = ledger.account();
        let places = account.segmented + account.unwatched + account.rate_limited;
        assert_eq!(account.received, places + account.rejected["cdr"]);
        assert_eq!((account.received, account.late), (5, 1));
        assert_eq!(account.stamp_to_publish_ms, None);
        assert!(account.receipt_to_publish_ms.is_some_and(|p| p.p99 == 3.0));
        assert_eq!(account.recent_rejections, ["cdr", "cdr"]);
    }
}
