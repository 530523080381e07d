//! Where a picture is taken from: the drive's own pose, or, for stills of varied worlds, a stop at
//! a junction, in a side road, in a car park or at the kerb, with the camera turned.

use std::f64::consts::{FRAC_PI_2, PI};

use super::course::Course;
use super::layout::{Ground, LANE_WIDTH_M, Layout, SIDE_ROAD_LENGTH_M};
use super::motion::Twist;
use super::random::Draws;
use super::scene::Thing;
use super::scenery::sign_of;
use super::variety::{BAY_DEPTH_M, CarPark};
use crate::pose::Pose;

/// Things keep this far from a standing camera, metres.
const ROOM_M: f32 = 1.5;
/// Places drawn before a still gives up and is taken from the drive.
const TRIES: usize = 12;

/// A vehicle's pose with the moment that it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stance {
    /// base_link in the world.
    pub(crate) base: Pose,
    pub(crate) twist: Twist,
    /// Of the drive; places what moves.
    pub(crate) seconds: f64,
    /// Distance along the loop that traffic keeps clear of and ahead of, metres.
    pub(crate) ego_m: f64,
    /// How far the camera looks down beyond its mount, radians.
    pub(crate) nod_rad: f64,
}

/// A place in road coordinates with a heading relative to the road's.
#[derive(Clone, Copy, Debug)]
struct Spot {
    s: f64,
    d: f64,
    turn: f64,
}

impl Stance {
    /// The drive's stance leaned and turned a little, as mounts and drivers are.
    pub(crate) fn jolted(mut self, draws: &mut Draws) -> Self {
        let aside_m = draws.between(-0.5, 0.5) as f64;
        let mut lean = |degrees: f32| draws.between(-degrees, degrees).to_radians() as f64;
        let jolt = Pose::from_euler([0.0, aside_m, 0.0], lean(2.0), lean(1.5), lean(9.0));
        self.base = self.base.then(&jolt);
        self
    }

    /// A stop off the drive with room around it among `things`, or None where none was found.
    pub(crate) fn stopped(
        course: &Course,
        layout: &Layout,
        things: &[Thing],
        seconds: f64,
        draws: &mut Draws,
    ) -> Option<Self> {
        for _ in 0..TRIES {
            let Some(spot) = Spot::drawn(course, layout, draws) else {
                continue;
            };
            if !spot.is_free(course, layout, things) {
                continue;
            }
            let [x, y] = course.point(spot.s, spot.d);
            let heading = course.heading_at(spot.s) + spot.turn;
            let mut lean = |degrees: f32| draws.between(-degrees, degrees).to_radians() as f64;
            let (roll, pitch) = (lean(2.0), lean(2.0));
            return Some(Self {
                base: Pose::from_euler([x, y, 0.0], roll, pitch, heading),
                twist: Twist {
                    linear: [0.0; 3],
                    angular: [0.0; 3],
                },
                seconds,
                // Traffic comes from behind this point: on both sides of the camera.
                ego_m: (spot.s - draws.between(20.0, 70.0) as f64).rem_euclid(course.length()),
                nod_rad: 0.0,
            });
        }
        None
    }

    /// Returns whether a thing would stand in the camera or the vehicle.
    pub(crate) fn is_blocked_by(&self, thing: &Thing) -> bool {
        let [x, y, _] = self.base.translation.map(|v| v as f32);
        let (dx, dy) = (thing.centre.x - x, thing.centre.y - y);
        (dx * dx + dy * dy).sqrt() < thing.radius_m + ROOM_M
    }
}

impl Spot {
    fn drawn(course: &Course, layout: &Layout, draws: &mut Draws) -> Option<Self> {
        let kind = draws.index(10);
        match kind {
            0..=2 => Self::in_side_road(layout, draws),
            3 | 4 => Self::at_junction(layout, draws),
            5..=7 => Self::in_car_park(layout, draws),
            _ => Some(Self::at_kerb(course, layout, draws)),
        }
    }

    /// In the left lane of a side road, facing the street or away from it.
    fn in_side_road(layout: &Layout, draws: &mut Draws) -> Option<Self> {
        let road = picked(&layout.side_roads, draws)?;
        let sign = sign_of(road.side);
        let out = layout.kerb_at(road.s_m, road.side) + draws.between(1.0, 20.0);
        let facing_street = draws.chance(0.85);
        let lane = if facing_street { -sign } else { sign } * road.half_width_m * 0.5;
        let away = sign as f64 * FRAC_PI_2;
        let turn = if facing_street { -away } else { away };
        Some(Self {
            s: (road.s_m + lane) as f64,
            d: (sign * out.min(SIDE_ROAD_LENGTH_M)) as f64,
            turn: turn + draws.between(-0.6, 0.6) as f64,
        })
    }

    /// On the street before a side road's mouth, turning.
    fn at_junction(layout: &Layout, draws: &mut Draws) -> Option<Self> {
        let road = picked(&layout.side_roads, draws)?;
        let sign = sign_of(road.side) as f64;
        let back = if draws.chance(0.5) { 0.0 } else { PI };
        // Towards the mouth, seen from either lane.
        let way = if back == 0.0 { sign } else { -sign };
        Some(Self {
            s: (road.s_m + draws.between(-6.0, 6.0)) as f64,
            d: draws.between(-2.6, 2.6) as f64,
            turn: back + way * draws.between(0.3, 1.25) as f64,
        })
    }

    /// Between the rows of a car park: along them, at the store or out to the street.
    fn in_car_park(layout: &Layout, draws: &mut Draws) -> Option<Self> {
        let sections = layout.sections.iter();
        let parks: Vec<_> = sections
            .flat_map(|section| {
                let sides = section.sides.iter().enumerate();
                sides.filter_map(move |(index, side)| {
                    CarPark::of(side).map(|park| (*section, index, *side, park))
                })
            })
            .collect();
        let (section, index, side, park) = *picked(&parks, draws)?;
        let far = park.depth_m - if park.second_row { BAY_DEPTH_M } else { 0.0 };
        let beyond = draws.between(BAY_DEPTH_M + 0.8, far.max(BAY_DEPTH_M + 0.9));
        let sign = sign_of(index) as f64;
        let turn = match draws.index(4) {
            0 => 0.0,
            1 => PI,
            2 => -sign * FRAC_PI_2,
            _ => sign * FRAC_PI_2,
        };
        Some(Self {
            s: draws.between(section.start_m + 4.0, section.end_m - 4.0) as f64,
            d: sign * (side.back_m() + beyond) as f64,
            turn: turn + draws.between(-0.6, 0.6) as f64,
        })
    }

    /// In a lane or at its kerb, either way, looking to a side.
    fn at_kerb(course: &Course, layout: &Layout, draws: &mut Draws) -> Self {
        let s = draws.between(0.0, course.length() as f32);
        let index = draws.index(2);
        let lane = LANE_WIDTH_M * 0.5;
        let kerb = (layout.kerb_at(s, index) - 1.2).max(lane);
        let onward = if index == 0 { 0.0 } else { PI };
        Self {
            s: s as f64,
            d: (sign_of(index) * draws.between(lane, kerb)) as f64,
            turn: onward + draws.between(-1.2, 1.2) as f64,
        }
    }

    /// Returns whether the vehicle stands on the road and sees further than a few metres.
    fn is_free(&self, course: &Course, layout: &Layout, things: &[Thing]) -> bool {
        let s = self.s.rem_euclid(course.length()) as f32;
        if layout.ground_at(s, self.d as f32).ground != Ground::Road {
            return false;
        }
        let [x, y] = course.point(self.s, self.d).map(|v| v as f32);
        let (sin, cos) = (course.heading_at(self.s) + self.turn).sin_cos();
        // Where the camera is and what is before it.
        [0.0f32, 1.3, 2.8, 4.5, 6.5].iter().all(|ahead| {
            let p = [x + ahead * cos as f32, y + ahead * sin as f32];
            things.iter().all(|thing| {
                let (dx, dy) = (thing.centre.x - p[0], thing.centre.y - p[1]);
                let near = dx * dx + dy * dy < (thing.radius_m + ROOM_M).powi(2);
                !(near && thing.footprint.covers(p, ROOM_M * 0.6))
            })
        })
    }
}

fn picked<'a, T>(choices: &'a [T], draws: &mut Draws) -> Option<&'a T> {
    choices.get(draws.index(choices.len().max(1)))
}

#[cfg(test)]
mod tests {
    use super::super::scenery::scenery;
    use super::*;

    #[test]
    fn a_stop_is_on_the_road_and_in_nothing_that_stands() {
        let (mut found, mut turned) = (0, 0);
        for seed in 0..3 {
            let course = Course::new(seed);
            let layout = Layout::new(&course, seed, true);
            let things = scenery(&course, &layout, seed, false, true).things;
            for number in 0..40 {
                let mut draws = Draws::new(seed, number);
                let Some(stance) = Stance::stopped(&course, &layout, &things, 0.0, &mut draws)
                else {
                    continue;
                };
                found += 1;
                let [x, y, _] = stance.base.translation.map(|v| v as f32);
                let met = things
                    .iter()
                    .find(|thing| thing.footprint.covers([x, y], 0.5));
                assert!(met.is_none(), "seed {seed}, {number}: in {met:?}");
                if let Some(road) = course.locate(x, y) {
                    let ground = layout.ground_at(road.s, road.d).ground;
                    assert_eq!(ground, Ground::Road, "seed {seed}, {number}");
                    let rotation = &stance.base.rotation;
                    let heading = rotation[1][0].atan2(rotation[0][0]);
                    let apart = heading - course.heading_at(road.s as f64);
                    turned += (apart.cos().abs() < 0.9) as usize;
                }
            }
        }
        assert!(found > 100, "{found} of 120 stills found a place");
        assert!(turned * 2 > found, "{turned} of {found} look aside");
    }
}
