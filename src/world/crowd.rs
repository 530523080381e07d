//! Where the people of a varied world are beside those of every world: in groups on pavements, on
//! the carriageway and among parked cars.

use super::course::Course;
use super::layout::{Frontage, Ground, KERB_HEIGHT_M, LANE_WIDTH_M, Layout};
use super::random::{Draws, hash};
use super::scene::{Stand, Thing};
use super::walker::{Pushing, walker};

const GROUP_GAP_M: f64 = 48.0;
const CROSSING_GAP_M: f64 = 30.0;
const SHOPPER_GAP_M: f64 = 11.0;
/// People are drawn this far ahead, metres.
const SIGHT_M: f64 = 62.0;

/// The people of one varied world.
pub(crate) struct Crowd<'a> {
    pub(crate) course: &'a Course,
    pub(crate) layout: &'a Layout,
    pub(crate) seed: u64,
}

impl Crowd<'_> {
    /// Everybody near `ego_m` (distance along the loop) at a time.
    pub(crate) fn at(&self, seconds: f64, ego_m: f64) -> Vec<Thing> {
        let mut things = Vec::new();
        self.groups(seconds, ego_m, &mut things);
        self.road_users(ego_m, &mut things);
        self.shoppers(seconds, ego_m, &mut things);
        things
    }

    /// Two to four beside each other, at one pace.
    fn groups(&self, seconds: f64, ego_m: f64, out: &mut Vec<Thing>) {
        let length = self.course.length();
        let count = (length / GROUP_GAP_M) as usize;
        for group in 0..count * 2 {
            let mut draws = Draws::new(hash(self.seed, 1700), group as u64);
            let side = group / count;
            let start = ((group % count) as f64 + draws.unit() as f64) * length / count as f64;
            let standing = draws.chance(0.35);
            let pace = draws.between(0.8, 1.4) as f64;
            let way = if draws.chance(0.5) { 1.0 } else { -1.0 };
            let s = if standing {
                start
            } else {
                (start + way * pace * seconds).rem_euclid(length)
            };
            if !(-5.0..SIGHT_M).contains(&self.course.gap(ego_m, s)) {
                continue;
            }
            let profile = &self.layout.section_at(s as f32).sides[side];
            if !profile.has_pavement() {
                continue;
            }
            let kerb = self.layout.kerb_at(s as f32, side) + profile.verge_m;
            for member in 0..2 + draws.index(3) {
                let room = (profile.pavement_m - 0.4).max(0.8);
                let across = (0.45 + 0.62 * member as f32).min(room);
                let s = s + draws.between(-0.5, 0.5) as f64 * (1.0 + member as f64);
                let d = (kerb + across) as f64 * if side == 0 { 1.0 } else { -1.0 };
                let turn = if standing {
                    draws.between(0.0, std::f32::consts::TAU) as f64
                } else if way < 0.0 {
                    std::f64::consts::PI
                } else {
                    0.0
                };
                let phase = draws.unit() as f64;
                let stride = (!standing).then(|| (seconds * 0.9 + phase).fract() as f32);
                let mut look = Draws::new(self.seed, draws.bits());
                out.push(self.person([s, d], turn, stride, Pushing::Nothing, &mut look));
            }
        }
    }

    /// People who cross anywhere, and are over before the vehicle arrives, or who walk along the
    /// kerb and wait at parked cars.
    fn road_users(&self, ego_m: f64, out: &mut Vec<Thing>) {
        let length = self.course.length();
        let count = (length / CROSSING_GAP_M) as usize;
        for walker in 0..count {
            let mut draws = Draws::new(hash(self.seed, 1701), walker as u64);
            let s = (walker as f64 + draws.unit() as f64) * length / count as f64;
            let gap = self.course.gap(ego_m, s);
            if !(6.0..SIGHT_M).contains(&gap) {
                continue;
            }
            let side = draws.index(2);
            let sign = if side == 0 { 1.0 } else { -1.0 };
            let mut look = Draws::new(self.seed, draws.bits());
            if draws.chance(0.5) {
                let from = draws.between(30.0, 60.0) as f64;
                let progress = (from - gap) / draws.between(14.0, 22.0) as f64;
                if !(-0.05..1.05).contains(&progress) {
                    continue;
                }
                let d = (progress * 2.0 - 1.0) * 6.5 * sign;
                let turn = 0.5 * std::f64::consts::PI * sign + draws.between(-0.4, 0.4) as f64;
                let stride = (progress * 7.0).rem_euclid(1.0) as f32;
                out.push(self.person([s, d], turn, Some(stride), Pushing::Nothing, &mut look));
            } else {
                let kerb = self.layout.kerb_at(s as f32, side);
                // The ego lane's outer edge stays free for the vehicle.
                let d = (kerb - draws.between(0.1, 0.5)).max(LANE_WIDTH_M - 0.15) as f64;
                let turn = draws.between(0.0, std::f32::consts::TAU) as f64;
                let stride = draws.chance(0.5).then(|| draws.unit());
                out.push(self.person([s, d * sign], turn, stride, Pushing::Nothing, &mut look));
            }
        }
    }

    /// People between the rows of a car park and in front of its store, some with a trolley.
    fn shoppers(&self, seconds: f64, ego_m: f64, out: &mut Vec<Thing>) {
        let length = self.course.length();
        let count = (length / SHOPPER_GAP_M) as usize;
        for shopper in 0..count * 2 {
            let mut draws = Draws::new(hash(self.seed, 1702), shopper as u64);
            let side = shopper / count;
            let s = (shopper % count) as f64 * length / count as f64;
            if !(-5.0..SIGHT_M).contains(&self.course.gap(ego_m, s)) {
                continue;
            }
            let profile = &self.layout.section_at(s as f32).sides[side];
            if profile.frontage != Frontage::Retail {
                continue;
            }
            let lane = draws.between(0.45, 0.98) * profile.setback_m;
            let stroll = 4.0 * (seconds * 0.25 + draws.unit() as f64).sin();
            let d = (profile.back_m() + lane) as f64 * if side == 0 { 1.0 } else { -1.0 };
            let turn = draws.between(0.0, std::f32::consts::TAU) as f64;
            let trolley = draws.chance(0.35);
            let pushing = if trolley {
                Pushing::Trolley
            } else {
                Pushing::Nothing
            };
            let stride = Some((seconds * 0.9 + draws.unit() as f64).fract() as f32);
            let mut look = Draws::new(self.seed, draws.bits());
            out.push(self.person([s + stroll, d], turn, stride, pushing, &mut look));
        }
    }

    fn person(
        &self,
        [s, d]: [f64; 2],
        turn: f64,
        stride: Option<f32>,
        pushing: Pushing,
        look: &mut Draws,
    ) -> Thing {
        let length = self.course.length();
        let s = s.rem_euclid(length);
        let ground = self.layout.ground_at(s as f32, d as f32).ground;
        let z = if ground == Ground::Road {
            0.0
        } else {
            KERB_HEIGHT_M
        };
        let [x, y] = self.course.point(s, d);
        let on = Stand::new(x, y, z, self.course.heading_at(s) + turn);
        walker(&on, stride, pushing, look)
    }
}
