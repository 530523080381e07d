//! A bond: two sides that tell each other that they live, as bondcpp's state machine has it.
//!
//! The node's side does not break for want of heartbeats, as Nav2's servers have it: the lifecycle
//! manager watches the node and not the other way round.

mod link;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

use super::params::Settings;
pub(super) use link::BondLink;

/// How long a new bond waits for its other side.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long a side that breaks the bond waits for the other to say the same.
const DISCONNECT_WITHIN: Duration = Duration::from_secs(2);

/// How often a side that breaks the bond says so, until the other has.
const DEATH_PERIOD: Duration = Duration::from_millis(50);

/// The times that a bond tells the other side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BondTimes {
    /// Silence after which the other side takes this one for dead.
    pub heartbeat_timeout: Duration,
    /// Time from one heartbeat to the next.
    pub heartbeat_period: Duration,
}

impl Settings {
    /// Returns the times of the node's bond; `None` where it is to have none.
    pub(super) fn bond_times(&self) -> Option<BondTimes> {
        let [timeout, period] = [self.bond_timeout, self.bond_heartbeat_period];
        (timeout > 0.0 && period > 0.0).then(|| BondTimes {
            heartbeat_timeout: Duration::from_secs_f64(timeout),
            heartbeat_period: Duration::from_secs_f64(period),
        })
    }
}

/// One side of a bond, from an activation of the node to the next.
#[derive(Debug)]
pub(super) struct Bond {
    id: String,
    instance_id: String,
    times: BondTimes,
    phase: Phase,
    since: Instant,
    next_beat: Instant,
    sister_died_first: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    WaitingForSister,
    Alive,
    AwaitSisterDeath,
    Dead,
}

/// What `bond/msg/Status` says of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sign<'a> {
    /// The bond that it is of.
    pub id: &'a str,
    /// The side that gives it.
    pub instance_id: &'a str,
    /// Whether that side lives.
    pub active: bool,
}

impl Bond {
    /// Starts a bond with an instance id that no other has; its first heartbeat is due at once.
    pub(super) fn start(id: &str, times: BondTimes, now: Instant) -> Self {
        Self {
            id: id.to_owned(),
            instance_id: fresh_uuid(),
            times,
            phase: Phase::WaitingForSister,
            since: now,
            next_beat: now,
            sister_died_first: false,
        }
    }

    /// Returns the times that it was started with.
    pub(super) fn times(&self) -> BondTimes {
        self.times
    }

    /// Returns the sign of this side, alive or not.
    pub(super) fn sign(&self, active: bool) -> Sign<'_> {
        Sign {
            id: &self.id,
            instance_id: &self.instance_id,
            active,
        }
    }

    /// Takes a sign of any side of any bond, and returns whether to answer that this one is dead.
    #[must_use]
    pub(super) fn hear(&mut self, sign: Sign<'_>, now: Instant) -> bool {
        if sign.id != self.id || sign.instance_id == self.instance_id {
            return false;
        }
        match (self.phase, sign.active) {
            (Phase::WaitingForSister, true) => self.enter(Phase::Alive, now),
            (Phase::WaitingForSister | Phase::Alive, false) => {
                self.sister_died_first = true;
                self.enter(Phase::Dead, now);
            }
            (Phase::AwaitSisterDeath, false) => self.enter(Phase::Dead, now),
            (Phase::Alive | Phase::AwaitSisterDeath, true) | (Phase::Dead, _) => {}
        }
        !sign.active && self.sister_died_first
    }

    /// Returns what to publish at this moment: that this side lives, or that it does not.
    pub(super) fn beat(&mut self, now: Instant) -> Option<bool> {
        let in_phase = now.saturating_duration_since(self.since);
        match self.phase {
            Phase::WaitingForSister if in_phase >= CONNECT_WITHIN => self.enter(Phase::Dead, now),
            Phase::AwaitSisterDeath if in_phase >= DISCONNECT_WITHIN => {
                self.enter(Phase::Dead, now);
            }
            _ => {}
        }
        let (active, period) = match self.phase {
            Phase::WaitingForSister | Phase::Alive => (true, self.times.heartbeat_period),
            Phase::AwaitSisterDeath => (false, DEATH_PERIOD),
            Phase::Dead => return None,
        };
        if now < self.next_beat {
            return None;
        }
        // A beat that comes late does not make the next one late, nor two at once.
        let next = self.next_beat + period;
        self.next_beat = if next > now { next } else { now + period };
        Some(active)
    }

    /// Breaks the bond; returns whether to publish now that this side is dead.
    #[must_use]
    pub(super) fn part(&mut self, now: Instant) -> bool {
        match self.phase {
            Phase::WaitingForSister => self.enter(Phase::Dead, now),
            Phase::Alive => {
                self.enter(Phase::AwaitSisterDeath, now);
                self.next_beat = now + DEATH_PERIOD;
            }
            Phase::AwaitSisterDeath => {}
            Phase::Dead => return false,
        }
        true
    }

    /// Returns whether the bond is broken on this side for good.
    pub(super) fn is_dead(&self) -> bool {
        self.phase == Phase::Dead
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
    }
}

/// Returns a random UUID of version 4; the standard library seeds each hasher's keys at random.
fn fresh_uuid() -> String {
    let bits = || RandomState::new().build_hasher().finish();
    let (high, low) = (bits(), bits());
    let version_4 = (high & 0xffff_ffff_ffff_0fff) | 0x4000;
    let variant_1 = (low & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        version_4 >> 32,
        version_4 >> 16 & 0xffff,
        version_4 & 0xffff,
        variant_1 >> 48,
        variant_1 & 0xffff_ffff_ffff,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: BondTimes = BondTimes {
        heartbeat_timeout: Duration::from_secs(4),
        heartbeat_period: Duration::from_millis(100),
    };

    const MS: Duration = Duration::from_millis(1);

    fn sister(active: bool) -> Sign<'static> {
        Sign {
            id: "node",
            instance_id: "manager",
            active,
        }
    }

    fn formed(now: Instant) -> Bond {
        let mut bond = Bond::start("node", TIMES, now);
        assert!(!bond.hear(sister(true), now));
        bond
    }

    #[test]
    fn a_bond_beats_at_its_period_from_the_start() {
        let start = Instant::now();
        let mut bond = Bond::start("node", TIMES, start);
        let beats = (0..1000)
            .filter_map(|ms| bond.beat(start + ms * MS))
            .count();
        assert_eq!(beats, 10);
    }

    #[test]
    fn a_bond_that_nobody_answers_ends_without_a_word_after_ten_seconds() {
        let start = Instant::now();
        let mut bond = Bond::start("node", TIMES, start);
        assert_eq!(bond.beat(start + 9_999 * MS), Some(true));
        assert_eq!(bond.beat(start + 10_000 * MS), None);
        assert!(bond.is_dead());
        assert!(!bond.part(start + 10_001 * MS));
    }

    #[test]
    fn other_bonds_and_its_own_signs_are_not_heard() {
        let now = Instant::now();
        let mut bond = Bond::start("node", TIMES, now);
        let own = bond.instance_id.clone();
        for (id, instance_id) in [("other", "manager"), ("node", own.as_str())] {
            for active in [true, false] {
                let sign = Sign {
                    id,
                    instance_id,
                    active,
                };
                assert!(!bond.hear(sign, now));
                assert_eq!(bond.phase, Phase::WaitingForSister);
            }
        }
    }

    #[test]
    fn a_manager_that_parts_is_answered_each_time() {
        let now = Instant::now();
        let mut bond = formed(now);
        assert!(bond.hear(sister(false), now));
        assert!(bond.is_dead());
        assert!(
            bond.hear(sister(false), now),
            "its first answer may be lost"
        );
        assert_eq!(bond.beat(now + 200 * MS), None);
    }

    #[test]
    fn a_parting_side_says_so_until_the_other_does() {
        let start = Instant::now();
        let mut bond = formed(start);
        assert!(bond.part(start));
        assert!(!bond.hear(sister(true), start));
        let beats = (1..=200).filter_map(|ms| bond.beat(start + ms * MS));
        assert_eq!(beats.collect::<Vec<_>>(), [false; 4]);
        assert!(
            !bond.hear(sister(false), start + 201 * MS),
            "no answer to an answer"
        );
        assert!(bond.is_dead());
    }

    #[test]
    fn a_parting_side_waits_two_seconds_for_the_other() {
        let start = Instant::now();
        let mut bond = formed(start);
        assert!(bond.part(start));
        assert_eq!(bond.beat(start + 1_999 * MS), Some(false));
        assert_eq!(bond.beat(start + 2_000 * MS), None);
        assert!(bond.is_dead());
    }

    #[test]
    fn every_bond_has_an_instance_id_of_its_own() {
        let ids: std::collections::HashSet<_> = (0..100).map(|_| fresh_uuid()).collect();
        assert_eq!(ids.len(), 100);
        for id in ids {
            let groups: Vec<_> = id.split('-').map(str::len).collect();
            assert_eq!(groups, [8, 4, 4, 4, 12], "{id}");
            assert_eq!(id.as_bytes().get(14), Some(&b'4'), "{id}");
        }
    }
}
