//! A rate limit: which frames an output is made of, where not of every one.

use std::time::{Duration, Instant};

use super::outputs::Wanted;
use super::per_output::PerOutput;

/// The share of a period by which a frame may come early: cameras are not exact, and a limit of
/// their own rate, or a whole part of it, must not lose every other frame.
const EARLY: f64 = 0.05;

/// When an output is due again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    next: Option<Instant>,
}

impl Pace {
    /// Returns whether an output of at most `max_rate_hz` (0 for any rate) is due.
    pub(super) fn is_due(&self, now: Instant, max_rate_hz: f64) -> bool {
        match (self.next, period(max_rate_hz)) {
            (Some(next), Some(period)) => now + period.mul_f64(EARLY) >= next,
            _ => true,
        }
    }

    /// Notes that it was published. One that was late does not delay those after it, so that the
    /// rate is the limit on average.
    pub(super) fn advance(&mut self, now: Instant, max_rate_hz: f64) {
        self.next = period(max_rate_hz).map(|period| {
            let planned = self.next.map(|next| next + period);
            planned
                .filter(|planned| *planned > now)
                .unwrap_or(now + period)
        });
    }
}

impl PerOutput<Pace> {
    /// Returns which of the outputs that are asked for are due at their rates, and notes that these
    /// are published.
    pub(super) fn due(
        &mut self,
        mut asked: Wanted,
        now: Instant,
        max_rate_hz: &PerOutput<f64>,
    ) -> Wanted {
        let outputs = asked.each_mut().into_iter().zip(self.each_mut());
        for ((asked, pace), rate) in outputs.zip(max_rate_hz.each()) {
            *asked &= pace.is_due(now, *rate);
            if *asked {
                pace.advance(now, *rate);
            }
        }
        asked
    }
}

fn period(max_rate_hz: f64) -> Option<Duration> {
    (max_rate_hz > 0.0).then(|| Duration::from_secs_f64(1.0 / max_rate_hz))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many frames of a camera, each late by up to 2 ms, are published in ten seconds.
    fn published(camera_hz: f64, max_rate_hz: f64) -> usize {
        let start = Instant::now();
        let mut pace = Pace::default();
        let frames = (10.0 * camera_hz) as u32;
        let taken = (0..frames).filter(|i| {
            let late_ms = f64::from(i * 7 % 3);
            let at = f64::from(*i) / camera_hz + late_ms * 1e-3;
            let now = start + Duration::from_secs_f64(at);
            let due = pace.is_due(now, max_rate_hz);
            if due {
                pace.advance(now, max_rate_hz);
            }
            due
        });
        taken.count()
    }

    #[test]
    fn the_rate_is_the_limit_on_average_whatever_the_camera_has() {
        assert_eq!(published(30.0, 0.0), 300);
        for (camera_hz, limit_hz) in [(30.0, 10.0), (30.0, 15.0), (30.0, 20.0), (25.0, 7.0)] {
            let count = published(camera_hz, limit_hz) as f64;
            // One frame more at the start than there are periods.
            assert!(
                (count - 10.0 * limit_hz).abs() <= 2.0,
                "{camera_hz} at {limit_hz}: {count}"
            );
        }
        assert_eq!(published(30.0, 30.0), 300);
        assert_eq!(published(10.0, 30.0), 100);
    }

    #[test]
    fn an_output_is_held_to_its_own_rate_and_one_that_nobody_reads_waits_for_nothing() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let rates = PerOutput {
            overlay: 10.0,
            confidence: 10.0,
            ..PerOutput::default()
        };
        let asked = Wanted {
            label_mask: true,
            overlay: true,
            ..Wanted::default()
        };
        let mut paces = PerOutput::<Pace>::default();
        assert_eq!(paces.due(asked, at(0), &rates), asked);
        let due = paces.due(asked, at(50), &rates);
        assert!(due.label_mask && !due.overlay);
        let late = Wanted {
            confidence: true,
            ..asked
        };
        let due = paces.due(late, at(60), &rates);
        assert!(due.confidence && !due.overlay);
        assert!(paces.due(asked, at(100), &rates).overlay);
    }

    #[test]
    fn a_camera_that_comes_back_is_not_made_up_for() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.advance(start, 10.0);
        let back = start + Duration::from_secs(60);
        assert!(pace.is_due(back, 10.0));
        pace.advance(back, 10.0);
        assert!(!pace.is_due(back + Duration::from_millis(50), 10.0));
        // A limit that is taken away holds no frame back.
        assert!(pace.is_due(back, 0.0));
    }
}
