//! What moves: cars ahead and oncoming, cyclists, people; where each is at a time, from the seed.

use super::coachwork::Figure;
use super::course::Course;
use super::crowd::Crowd;
use super::geometry::{Vec3, vec3};
use super::layout::{Ground, KERB_HEIGHT_M, LANE_WIDTH_M, Layout};
use super::person::{cyclist, pedestrian};
use super::random::{Draws, hash, smooth_noise};
use super::scene::{Stand, Thing};
use super::vehicle::vehicle;
use super::vehicle_body::VehicleKind;
use super::walker::{Pushing, walker};

const HORIZON_M: f64 = 180.0;
const ONCOMING_GAP_M: f64 = 62.0;
const CYCLIST_GAP_M: f64 = 42.0;
const PEOPLE_GAP_M: f64 = 7.0;

/// The traffic of one world.
pub(crate) struct Traffic<'a> {
    pub(crate) course: &'a Course,
    pub(crate) layout: &'a Layout,
    pub(crate) seed: u64,
    pub(crate) lit: bool,
    pub(crate) varied: bool,
}

impl Traffic<'_> {
    /// Everything that moves near `ego_m` (distance along the loop) at a time.
    pub(crate) fn at(&self, seconds: f64, ego_m: f64) -> Vec<Thing> {
        let mut things = Vec::new();
        self.ahead(seconds, ego_m, &mut things);
        self.oncoming(seconds, ego_m, &mut things);
        self.cyclists(seconds, ego_m, &mut things);
        self.people(seconds, ego_m, &mut things);
        self.crossing(ego_m, &mut things);
        if self.varied {
            let crowd = Crowd {
                course: self.course,
                layout: self.layout,
                seed: self.seed,
            };
            things.extend(crowd.at(seconds, ego_m));
        }
        things
    }

    fn stand(&self, s: f64, d: f64, z: f32, turn: f64) -> Stand {
        let [x, y] = self.course.point(s, d);
        Stand::new(x, y, z, self.course.heading_at(s) + turn)
    }

    /// A vehicle's kind and the figure of its body, by its own number; varied in a varied world.
    fn coachwork(&self, kind: VehicleKind, own: u64) -> (VehicleKind, Option<Figure>) {
        if !self.varied {
            return (kind, None);
        }
        let mut draws = Draws::new(own, 803);
        (kind.varied(&mut draws), Some(Figure::drawn(&mut draws)))
    }

    fn ahead(&self, seconds: f64, ego_m: f64, out: &mut Vec<Thing>) {
        let mut draws = Draws::new(self.seed, 801);
        let mut gap = draws.between(16.0, 42.0) as f64;
        for car in 0..3u64 {
            let swell = 8.0 * smooth_noise(hash(self.seed, 810 + car), seconds / 7.0);
            let own = self.seed.wrapping_add(car);
            // Queues form and dissolve: a car turns off, another comes out of a side road.
            let here = smooth_noise(hash(own, 820), seconds / 11.0) > -0.15;
            let (kind, figure) = self.coachwork(VehicleKind::drawn(&mut draws), own);
            let s = ego_m + gap + swell + kind.half_length_m() as f64;
            let mut look = Draws::new(own, 802);
            let braking = smooth_noise(hash(own, 830), seconds / 2.0) > 0.3;
            let d = LANE_WIDTH_M as f64 * 0.5 + 0.2 * smooth_noise(hash(own, 840), s / 30.0);
            if here {
                out.push(vehicle(
                    &self.stand(s, d, 0.0, 0.0),
                    kind,
                    self.lit,
                    braking,
                    figure,
                    &mut look,
                ));
            }
            gap += draws.between(20.0, 45.0) as f64;
        }
    }

    fn oncoming(&self, seconds: f64, ego_m: f64, out: &mut Vec<Thing>) {
        let length = self.course.length();
        let count = (length / ONCOMING_GAP_M) as usize;
        let mut draws = Draws::new(self.seed, 850);
        let speed = draws.between(7.0, 11.0) as f64;
        for car in 0..count {
            let mut look = Draws::new(self.seed, 900 + car as u64);
            if look.chance(0.25) {
                continue;
            }
            let start = (car as f64 + 0.55 * look.unit() as f64) * length / count as f64;
            let s = (start - speed * seconds).rem_euclid(length);
            let gap = self.course.gap(ego_m, s);
            let own = hash(self.seed, car as u64);
            let (kind, figure) = self.coachwork(VehicleKind::drawn(&mut look), own);
            if !(-20.0..HORIZON_M).contains(&gap) {
                continue;
            }
            let d = -(LANE_WIDTH_M as f64) * 0.5 - 0.1 + look.between(-0.15, 0.15) as f64;
            let on = self.stand(s, d, 0.0, std::f64::consts::PI);
            out.push(vehicle(
                &on,
                kind,
                self.lit || look.chance(0.2),
                false,
                figure,
                &mut look,
            ));
        }
    }

    fn cyclists(&self, seconds: f64, ego_m: f64, out: &mut Vec<Thing>) {
        let length = self.course.length();
        let count = (length / CYCLIST_GAP_M) as usize;
        for rider in 0..count * 2 {
            let mut look = Draws::new(self.seed, 2000 + rider as u64);
            let oncoming = rider >= count;
            let speed = 4.3;
            let start = ((rider % count) as f64 + 0.7 * look.unit() as f64) * length / count as f64;
            let way = if oncoming { -speed } else { speed };
            let s = (start + way * seconds).rem_euclid(length);
            let gap = self.course.gap(ego_m, s);
            if !(-5.0..70.0).contains(&gap) {
                continue;
            }
            let wobble = 0.1 * smooth_noise(hash(self.seed, rider as u64 + 77), seconds);
            let offset = 2.78 + look.between(-0.1, 0.12) as f64 + wobble;
            let (d, turn) = if oncoming {
                (-offset, std::f64::consts::PI)
            } else {
                (offset, 0.0)
            };
            if self.varied && rider % 5 == 0 {
                continue;
            }
            let pedals = (seconds * 1.1 + look.unit() as f64).fract() as f32;
            let coat = self.varied.then(|| vivid(rider as u64)).flatten();
            let on = self.stand(s, d, 0.0, turn);
            out.push(cyclist(&on, pedals, coat, &mut look));
        }
    }

    fn people(&self, seconds: f64, ego_m: f64, out: &mut Vec<Thing>) {
        let length = self.course.length();
        let count = (length / PEOPLE_GAP_M) as usize;
        for walker in 0..count * 2 {
            // A varied world's crowd comes beside every third of them.
            if self.varied && walker % 3 != 0 {
                continue;
            }
            let mut look = Draws::new(self.seed, 5000 + walker as u64);
            let side = walker / count;
            let start = ((walker % count) as f64 + look.unit() as f64) * length / count as f64;
            let pace = if look.chance(0.2) {
                0.0
            } else {
                look.between(0.9, 1.6) as f64
            };
            let way = if look.chance(0.5) { pace } else { -pace };
            let s = (start + way * seconds).rem_euclid(length);
            if !(-5.0..62.0).contains(&self.course.gap(ego_m, s)) {
                continue;
            }
            let profile = &self.layout.section_at(s as f32).sides[side];
            if !profile.has_pavement() {
                continue;
            }
            let kerb = self.layout.kerb_at(s as f32, side);
            let across = look.between(0.55, (profile.pavement_m - 0.35).max(0.7));
            let offset = (kerb + profile.verge_m + across) as f64;
            let d = if side == 0 { offset } else { -offset };
            let turn = if pace == 0.0 {
                look.between(0.0, std::f32::consts::TAU) as f64
            } else if way < 0.0 {
                std::f64::consts::PI
            } else {
                0.0
            };
            let stride = (pace > 0.0).then(|| (seconds * 0.9 + look.unit() as f64).fract() as f32);
            let ground = self.layout.ground_at(s as f32, d as f32).ground;
            let z = if ground == Ground::Road {
                0.0
            } else {
                KERB_HEIGHT_M
            };
            out.push(self.on_foot(&self.stand(s, d, z, turn), stride, &mut look));
        }
    }

    fn on_foot(&self, on: &Stand, stride: Option<f32>, look: &mut Draws) -> Thing {
        if self.varied {
            walker(on, stride, Pushing::Nothing, look)
        } else {
            pedestrian(on, stride, look)
        }
    }

    /// People on zebra crossings, who are over before the vehicle arrives.
    fn crossing(&self, ego_m: f64, out: &mut Vec<Thing>) {
        for (number, &crossing) in self.layout.crossings.iter().enumerate() {
            let gap = self.course.gap(ego_m, crossing as f64);
            if !(10.0..75.0).contains(&gap) {
                continue;
            }
            let mut draws = Draws::new(self.seed, 9000 + number as u64);
            for _ in 0..3 {
                let from = draws.between(40.0, 75.0) as f64;
                let to = from - draws.between(18.0, 26.0) as f64;
                let progress = (from - gap) / (from - to);
                let leftward = draws.chance(0.5);
                let along = draws.between(-1.1, 1.1) as f64;
                let mut look = Draws::new(self.seed, draws.bits());
                if !(-0.05..1.05).contains(&progress) {
                    continue;
                }
                let reach = 6.0;
                let d = (progress * 2.0 - 1.0) * if leftward { reach } else { -reach };
                let turn = if leftward { 0.5 } else { -0.5 } * std::f64::consts::PI;
                let s = crossing as f64 + along;
                let ground = self.layout.ground_at(s as f32, d as f32).ground;
                let z = if ground == Ground::Road {
                    0.0
                } else {
                    KERB_HEIGHT_M
                };
                let stride = (progress * 6.0).rem_euclid(1.0) as f32;
                let on = self.stand(s, d, z, turn);
                out.push(self.on_foot(&on, Some(stride), &mut look));
            }
        }
    }
}

/// The bright coat that every other rider of a varied world wears.
fn vivid(rider: u64) -> Option<Vec3> {
    let mut draws = Draws::new(rider, 804);
    let coat = draws.pick(&[
        vec3(0.55, 0.6, 0.05),
        vec3(0.5, 0.55, 0.08),
        vec3(0.6, 0.2, 0.03),
        vec3(0.35, 0.02, 0.03),
        vec3(0.5, 0.5, 0.48),
        vec3(0.05, 0.25, 0.45),
    ]);
    draws.chance(0.5).then_some(coat)
}
