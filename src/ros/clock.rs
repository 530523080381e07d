//! The ROS clock: system time, or `/clock` while `use_sim_time` is set.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use r2r::builtin_interfaces::msg::Time;

use crate::msg::Stamp;

/// A stamp further from the ROS clock than this was taken by another clock.
const FOREIGN_NS: u64 = 60_000_000_000;

/// A node's clock.
#[derive(Clone)]
pub(super) struct RosClock {
    clock: Arc<Mutex<r2r::Clock>>,
}

impl RosClock {
    /// Returns the clock of `node`.
    pub(super) fn of(node: &r2r::Node) -> Self {
        Self {
            clock: node.get_ros_clock(),
        }
    }

    /// Returns the time; `None` while simulated time has not begun.
    pub(super) fn now(&self) -> Option<Stamp> {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ns = i64::try_from(clock.get_now().ok()?.as_nanos()).ok()?;
        (now_ns != 0).then(|| Stamp::from_ns(now_ns))
    }

    /// Returns the age of a stamp; `None` while there is no time.
    pub(super) fn age(&self, stamp: Stamp) -> Option<Age> {
        Some(Age::between(stamp, self.now()?))
    }
}

/// Returns a stamp as r2r has it.
pub(super) fn time_from_stamp(stamp: Stamp) -> Time {
    Time {
        sec: stamp.sec,
        nanosec: stamp.nanosec,
    }
}

impl fmt::Debug for RosClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RosClock").finish_non_exhaustive()
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
