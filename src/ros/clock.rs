//! The ROS clock: system time, or `/clock` while `use_sim_time` is set.
//!
//! r2r 0.9.7 has a clock that follows `/clock`, too, but leaves it out of a build whose message
//! bindings an earlier one of the same target folder made, as happens where two ROS environments
//! take turns in a workspace.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use r2r::builtin_interfaces::msg::Time;

use crate::msg::Stamp;

/// A stamp further from the ROS clock than this was taken by another clock.
const FOREIGN_NS: u64 = 60_000_000_000;

/// A node's clock; clones tell the same time. System time unless it is told otherwise.
#[derive(Clone, Debug, Default)]
pub(super) struct RosClock {
    source: Arc<Mutex<Source>>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Source {
    #[default]
    System,
    /// The newest message of `/clock`; zero before the first.
    Simulated(Stamp),
}

impl RosClock {
    /// Returns the time; `None` while simulated time has not begun.
    pub(super) fn now(&self) -> Option<Stamp> {
        let now = match *self.hold() {
            Source::System => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                Stamp::from_ns(i64::try_from(since.ok()?.as_nanos()).ok()?)
            }
            Source::Simulated(now) => now,
        };
        (now != Stamp::default()).then_some(now)
    }

    /// Follows system time, or the times it will be told.
    pub(super) fn simulate(&self, is_simulated: bool) {
        let mut source = self.hold();
        *source = match (is_simulated, *source) {
            (false, _) => Source::System,
            (true, Source::System) => Source::Simulated(Stamp::default()),
            (true, simulated) => simulated,
        };
    }

    /// Takes the time from `/clock`, where time is simulated.
    pub(super) fn tick(&self, now: Stamp) {
        if let Source::Simulated(newest) = &mut *self.hold() {
            *newest = now;
        }
    }

    /// Returns the age of a stamp; `None` while there is no time.
    pub(super) fn age(&self, stamp: Stamp) -> Option<Age> {
        Some(Age::between(stamp, self.now()?))
    }

    fn hold(&self) -> MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns r2r's time as a stamp.
pub(super) fn stamp_from_time(time: &Time) -> Stamp {
    Stamp {
        sec: time.sec,
        nanosec: time.nanosec,
    }
}

/// Returns a stamp as r2r has it.
pub(super) fn time_from_stamp(stamp: Stamp) -> Time {
    Time {
        sec: stamp.sec,
        nanosec: stamp.nanosec,
    }
}

/// How old a stamp is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Age {
    /// Milliseconds by the ROS clock; negative for a stamp ahead of it.
    Known {
        /// The age.
        ms: f64,
    },
    /// Another clock took the stamp: it says nothing about age.
    Foreign {
        /// How far the clocks are apart, seconds; positive where the stamp is behind.
        seconds: f64,
    },
}

impl Age {
    /// Returns the age of `stamp` at `now`.
    pub(super) fn between(stamp: Stamp, now: Stamp) -> Self {
        let ns = now.as_ns().saturating_sub(stamp.as_ns());
        if ns.unsigned_abs() > FOREIGN_NS {
            Self::Foreign {
                seconds: ns as f64 / 1e9,
            }
        } else {
            Self::Known {
                ms: ns as f64 / 1e6,
            }
        }
    }

    /// Returns how far the stamp is behind the ROS clock, seconds; negative where it is ahead.
    pub(super) fn seconds(self) -> f64 {
        match self {
            Self::Known { ms } => ms * 1e-3,
            Self::Foreign { seconds } => seconds,
        }
    }

    /// Returns the age in milliseconds, where it is known.
    pub(super) fn ms(self) -> Option<f64> {
        match self {
            Self::Known { ms } => Some(ms),
            Self::Foreign { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_time_begins_with_the_first_tick_and_ends_with_the_simulation() {
        let stamp = Stamp {
            sec: 7,
            nanosec: 500,
        };
        let clock = RosClock::default();
        let told = clock.clone();
        told.tick(stamp);
        assert!(clock.now().is_some_and(|now| now.sec > 1_700_000_000));
        told.simulate(true);
        assert_eq!(clock.now(), None);
        told.tick(stamp);
        assert_eq!(clock.now(), Some(stamp));
        told.simulate(true);
        assert_eq!(clock.now(), Some(stamp), "it goes on");
        told.simulate(false);
        assert!(clock.now().is_some_and(|now| now > stamp));
    }

    #[test]
    fn stamps_a_minute_off_are_another_clocks() {
        let age = |stamp_s: i64| {
            Age::between(
                Stamp::from_ns(stamp_s * 1_000_000_000),
                Stamp::from_ns(100_000_000_000),
            )
        };
        assert_eq!(age(99), Age::Known { ms: 1000.0 });
        assert_eq!(age(160).ms(), Some(-60_000.0));
        assert_eq!(age(161), Age::Foreign { seconds: -61.0 });
        assert_eq!(age(0).ms(), None);
    }
}
