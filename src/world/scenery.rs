//! What stands along the road, placed once for the whole loop.

use super::bare_tree::bare_tree;
use super::barrier::{BarrierStyle, barrier};
use super::building::{BuildingShape, building};
use super::coachwork::Figure;
use super::course::Course;
use super::facade::{FacadeKind, FacadeStyle};
use super::furniture::{
    bollard, direction_board, hanging_sign, lamp_post, sign_post, telegraph_pole,
};
use super::geometry::vec3;
use super::layout::{Boundary, Frontage, KERB_HEIGHT_M, Layout, Section, Side};
use super::mast::{lamp_mast, slender};
use super::random::{Draws, hash};
use super::relief::{Front, canopy, relief};
use super::scene::{Stand, Thing};
use super::tree::{bush, tree};
use super::vehicle::vehicle;
use super::vehicle_body::VehicleKind;

/// All standing things, and the facade styles that they refer to.
pub(crate) struct Scenery {
    pub(crate) things: Vec<Thing>,
    pub(crate) styles: Vec<FacadeStyle>,
}

/// Places the scenery of `seed`; `lit` is for lamps after sunset.
pub(crate) fn scenery(
    course: &Course,
    layout: &Layout,
    seed: u64,
    lit: bool,
    varied: bool,
) -> Scenery {
    let mut planter = Planter {
        course,
        layout,
        lit,
        varied: varied.then(|| Draws::new(seed, 1640)),
        out: Scenery {
            things: Vec::new(),
            styles: Vec::new(),
        },
    };
    for (number, section) in layout.sections.iter().enumerate() {
        for (index, side) in section.sides.iter().enumerate() {
            let mut draws = Draws::new(hash(seed, 600 + number as u64), index as u64);
            planter.buildings(section, side, index, &mut draws);
            planter.boundary(section, side, index, &mut draws);
            planter.greenery(section, side, index, &mut draws);
            planter.furniture(section, side, index, &mut draws);
            planter.parked(section, side, index, &mut draws);
        }
    }
    planter.junctions(seed);
    if varied {
        planter.dress(seed);
    }
    planter.out
}

/// Places things along the course, side by side of each section.
pub(super) struct Planter<'a> {
    pub(super) course: &'a Course,
    pub(super) layout: &'a Layout,
    pub(super) lit: bool,
    /// The stream of what only varied worlds have.
    pub(super) varied: Option<Draws>,
    pub(super) out: Scenery,
}

/// 1 on the left side, -1 on the right.
pub(super) fn sign_of(side: usize) -> f32 {
    if side == 0 { 1.0 } else { -1.0 }
}

impl Planter<'_> {
    pub(super) fn spot(&self, s: f32, d: f32) -> [f32; 2] {
        self.course.point(s as f64, d as f64).map(|v| v as f32)
    }

    /// A stand at road coordinates; x points along the road (`turn` radians to the left of it).
    pub(super) fn stand(&self, s: f32, d: f32, z: f32, turn: f64) -> Stand {
        let [x, y] = self.course.point(s as f64, d as f64);
        Stand::new(x, y, z, self.course.heading_at(s as f64) + turn)
    }

    pub(super) fn free(&self, s: f32, side: usize, margin_m: f32) -> bool {
        !self.layout.is_open_at(s, side, margin_m)
    }

    /// The kind of a vehicle and the figure of its body, both varied in a varied world.
    pub(super) fn coachwork(&mut self, kind: VehicleKind) -> (VehicleKind, Option<Figure>) {
        match &mut self.varied {
            Some(draws) => (kind.varied(draws), Some(Figure::drawn(draws))),
            None => (kind, None),
        }
    }

    pub(super) fn style(
        &mut self,
        kind: FacadeKind,
        draws: &mut Draws,
    ) -> (u16, f32, super::geometry::Vec3) {
        let style = FacadeStyle::new(kind, draws);
        let style = match &mut self.varied {
            Some(varied) if kind != FacadeKind::Glazed => style.ordered(varied),
            _ => style,
        };
        let index = self.out.styles.len() as u16;
        self.out.styles.push(style);
        self.out.styles.push(style.blank());
        (index, style.storey_m, style.roof)
    }

    fn buildings(&mut self, section: &Section, side: &Side, index: usize, draws: &mut Draws) {
        let kind = match side.frontage {
            Frontage::Terrace | Frontage::Suburb => FacadeKind::House,
            Frontage::Shops => FacadeKind::Shop,
            Frontage::Offices => FacadeKind::Office,
            Frontage::Retail => FacadeKind::Glazed,
            Frontage::Green => {
                return;
            }
        };
        let glass = |draws: &mut Draws| kind == FacadeKind::Office && draws.chance(0.4);
        let kind = if self.varied.as_mut().is_some_and(glass) {
            FacadeKind::Glazed
        } else {
            kind
        };
        let row = self.style(kind, draws);
        let row_storeys = 2 + draws.index(2);
        // Streets of towns are closer than those of villages.
        let more = self
            .varied
            .as_mut()
            .map_or(0, |varied| varied.chance(0.35) as usize);
        let row_storeys = row_storeys + more;
        let mut s = section.start_m + draws.between(0.0, 1.0);
        while s < section.end_m - 3.0 {
            let (width, gap, own_style, storeys, flat) = match side.frontage {
                Frontage::Terrace => (
                    draws.between(4.4, 5.6),
                    0.0,
                    draws.chance(0.15),
                    row_storeys,
                    false,
                ),
                Frontage::Shops => (
                    draws.between(5.5, 13.0),
                    0.0,
                    true,
                    2 + draws.index(2) + more,
                    draws.chance(0.25),
                ),
                Frontage::Suburb => (
                    draws.between(8.0, 13.0),
                    draws.between(2.5, 5.0),
                    draws.chance(0.5),
                    2,
                    false,
                ),
                Frontage::Retail => (
                    draws.between(22.0, 45.0),
                    draws.between(1.0, 9.0),
                    true,
                    2,
                    true,
                ),
                _ => (
                    draws.between(16.0, 32.0),
                    draws.between(0.0, 9.0),
                    true,
                    2 + draws.index(3),
                    draws.chance(0.8),
                ),
            };
            let (from, to) = (s, (s + width).min(section.end_m + 1.0));
            s = to + gap;
            if !(self.free(from, index, 1.0)
                && self.free(to, index, 1.0)
                && self.free((from + to) * 0.5, index, 1.0))
            {
                continue;
            }
            let (style, storey_m, roof) = if own_style {
                self.style(kind, draws)
            } else {
                row
            };
            let seed = draws.bits() as u32;
            let line = side.building_line_m() + draws.between(0.0, 0.15);
            let d = sign_of(index) * line;
            let (a, b) = (self.spot(from, d), self.spot(to, d));
            let heading = self.course.heading_at(((from + to) * 0.5) as f64);
            let back = [
                -heading.sin() as f32 * sign_of(index),
                heading.cos() as f32 * sign_of(index),
            ];
            let depth_m = draws.between(8.0, 11.0);
            let shape = BuildingShape {
                height_m: storeys as f32 * storey_m + draws.between(0.2, 0.6),
                depth_m,
                roof_m: if flat {
                    0.0
                } else {
                    depth_m * draws.between(0.3, 0.42)
                },
                chimneys: kind != FacadeKind::Office && draws.chance(0.7),
                style,
                roof,
                seed,
                base_z: KERB_HEIGHT_M - 0.05,
            };
            self.out.things.push(building(a, b, back, &shape, draws));
            let front = Front {
                a,
                b,
                back,
                height_m: shape.height_m,
                base_z: shape.base_z,
            };
            self.stand_out(&front, side.frontage);
            if side.frontage == Frontage::Shops && draws.chance(0.6) {
                let turn = if index == 0 {
                    std::f64::consts::PI
                } else {
                    0.0
                };
                let on = self.stand(draws.between(from + 1.0, to), d, 0.0, turn);
                self.out.things.push(hanging_sign(&on, draws));
            }
        }
    }

    /// What a varied world's front has before its wall.
    fn stand_out(&mut self, front: &Front, frontage: Frontage) {
        let Some(draws) = &mut self.varied else {
            return;
        };
        let thing = match frontage {
            Frontage::Retail => canopy(front, draws),
            _ => relief(front, frontage == Frontage::Shops, draws),
        };
        self.out.things.push(thing);
    }

    fn boundary(&mut self, section: &Section, side: &Side, index: usize, draws: &mut Draws) {
        let style = BarrierStyle::new(side.boundary, draws);
        let gates = side.frontage == Frontage::Suburb || side.frontage == Frontage::Terrace;
        let d = sign_of(index) * side.back_m();
        if side.boundary != Boundary::Open {
            let mut s = section.start_m + 0.5;
            while s < section.end_m - 2.0 {
                let run = if gates { draws.between(4.0, 9.0) } else { 5.0 };
                let to = (s + run).min(section.end_m - 0.5);
                if self.free(s, index, 0.5) && self.free(to, index, 0.5) && to - s > 1.0 {
                    barrier(
                        self.course,
                        s as f64,
                        to as f64,
                        d,
                        &style,
                        &mut self.out.things,
                    );
                }
                s = to + if gates { draws.between(1.0, 3.2) } else { 0.0 };
            }
        }
        if !side.parking && side.verge_m == 0.0 && side.has_pavement() && draws.chance(0.45) {
            let rail = BarrierStyle::guard_rail(draws);
            let d = sign_of(index) * (side.kerb_m() + 0.35);
            let from = section.start_m + 8.0;
            let to = (from + draws.between(15.0, 40.0)).min(section.end_m - 8.0);
            let mut s = from;
            while s + 2.5 < to {
                let clear_of_crossing = self
                    .layout
                    .crossings
                    .iter()
                    .all(|&crossing| (crossing - s - 1.25).abs() > 5.0);
                if self.free(s, index, 4.0) && self.free(s + 2.5, index, 4.0) && clear_of_crossing {
                    barrier(
                        self.course,
                        s as f64,
                        (s + 2.5) as f64,
                        d,
                        &rail,
                        &mut self.out.things,
                    );
                }
                s += 2.5;
            }
        }
    }

    fn greenery(&mut self, section: &Section, side: &Side, index: usize, draws: &mut Draws) {
        let sign = sign_of(index);
        let z = KERB_HEIGHT_M;
        let plant = |planter: &mut Self, s: f32, offset: f32, height: f32, draws: &mut Draws| {
            if planter.free(s, index, 1.5) {
                let [x, y] = planter.spot(s, sign * offset);
                let foot = vec3(x, y, z);
                let bare = planter.varied.as_mut().and_then(|varied| {
                    let grown = height * varied.between(0.8, 1.4);
                    (!varied.chance(side.leafy * 0.5)).then_some(grown)
                });
                let thing = match bare {
                    Some(grown) => bare_tree(foot, grown, draws),
                    None => tree(foot, height, side.leafy, draws),
                };
                planter.out.things.push(thing);
            }
        };
        if side.trees {
            let offset = if side.verge_m > 0.0 {
                side.kerb_m() + side.verge_m * 0.5
            } else if side.frontage == Frontage::Retail {
                side.back_m() - 0.4
            } else if side.setback_m > 4.0 {
                side.back_m() + draws.between(1.2, 2.5)
            } else {
                side.kerb_m() + 0.6
            };
            let mut s = section.start_m + draws.between(3.0, 9.0);
            while s < section.end_m - 3.0 {
                let height = draws.between(5.5, 11.5);
                plant(self, s, offset, height, draws);
                s += draws.between(8.0, 19.0);
            }
        }
        // A belt of trees closes open ground and the gaps between houses.
        if matches!(
            side.frontage,
            Frontage::Green | Frontage::Suburb | Frontage::Retail
        ) {
            let mut s = section.start_m + draws.between(0.0, 4.0);
            while s < section.end_m {
                let beyond = match side.frontage {
                    Frontage::Green => draws.between(3.0, side.setback_m),
                    _ => side.setback_m + draws.between(11.0, 16.0),
                };
                let height = draws.between(6.0, 13.0);
                plant(self, s, side.back_m() + beyond, height, draws);
                s += draws.between(3.5, 8.0);
            }
        }
        if side.frontage == Frontage::Green {
            let mut s = section.start_m + 2.0;
            while s < section.end_m {
                let offset = side.back_m() + side.setback_m + draws.between(-2.0, 4.0);
                if self.free(s, index, 3.0) {
                    let [x, y] = self.spot(s, sign * offset);
                    let radius = draws.between(1.6, 3.4);
                    self.out.things.push(bush(vec3(x, y, z), radius, draws));
                }
                s += draws.between(2.5, 5.0);
            }
        }
        if side.frontage == Frontage::Suburb {
            let mut s = section.start_m + 3.0;
            while s < section.end_m {
                if self.free(s, index, 3.0) {
                    let [x, y] = self.spot(s, sign * (side.back_m() + draws.between(1.6, 3.5)));
                    let radius = draws.between(0.6, 1.3);
                    self.out.things.push(bush(vec3(x, y, z), radius, draws));
                }
                s += draws.between(6.0, 15.0);
            }
        }
    }

    fn furniture(&mut self, section: &Section, side: &Side, index: usize, draws: &mut Draws) {
        if !side.has_pavement() {
            return;
        }
        let sign = sign_of(index);
        let z = KERB_HEIGHT_M;
        let inward = -sign as f64 * std::f64::consts::FRAC_PI_2;
        let wooden = draws.chance(0.15);
        let mut s = section.start_m + draws.between(4.0, 16.0);
        while s < section.end_m {
            let offset = self.layout.kerb_at(s, index) + 0.45;
            if self.free(s, index, 0.5) {
                let on = self.stand(s, sign * offset, z, inward);
                let thing = match &mut self.varied {
                    Some(varied) if !wooden => lamp_mast(&on, self.lit, varied),
                    Some(_) => slender(telegraph_pole(&on, draws)),
                    _ if wooden => telegraph_pole(&on, draws),
                    _ => lamp_post(&on, self.lit, draws),
                };
                self.out.things.push(thing);
            }
            s += draws.between(17.0, 28.0);
        }
        let mut s = section.start_m + draws.between(2.0, 14.0);
        while s < section.end_m - 2.0 {
            if self.free(s, index, 0.5) {
                let d = sign * (self.layout.kerb_at(s, index) + draws.between(0.5, 0.8));
                let toward_ego = index == 0 || draws.chance(0.6);
                let on = self.stand(s, d, z, draws.between(-0.15, 0.15) as f64);
                let board = draws.chance(0.12) && side.pavement_m > 2.0;
                let thing = if board {
                    direction_board(&on, draws)
                } else {
                    sign_post(&on, !toward_ego, draws)
                };
                let thing = match &mut self.varied {
                    // Every second place stays empty: the dressing has signs of its own.
                    Some(varied) => varied.chance(0.5).then(|| slender(thing)),
                    None => Some(thing),
                };
                self.out.things.extend(thing);
            }
            s += draws.between(9.0, 24.0);
        }
        if draws.chance(0.3) {
            let pale = draws.chance(0.5);
            let from = draws.between(section.start_m, section.end_m - 12.0);
            for k in 0..5 {
                let s = from + 1.8 * k as f32;
                if self.free(s, index, 0.5) {
                    let [x, y] = self.spot(s, sign * (self.layout.kerb_at(s, index) + 0.4));
                    self.out.things.push(bollard(vec3(x, y, z), pale));
                }
            }
        }
    }

    fn parked(&mut self, section: &Section, side: &Side, index: usize, draws: &mut Draws) {
        if !side.parking {
            return;
        }
        let sign = sign_of(index);
        let mut s = section.start_m + 5.5;
        while s < section.end_m - 5.5 {
            let kind = match draws.index(12) {
                0 => VehicleKind::Van,
                1..=3 => VehicleKind::Saloon,
                4..=6 => VehicleKind::Estate,
                _ => VehicleKind::Hatchback,
            };
            let clear = self
                .layout
                .crossings
                .iter()
                .all(|&crossing| (crossing - s).abs() > 8.0);
            if clear && self.free(s, index, 6.5) && draws.chance(0.8) {
                let turn = if draws.chance(0.8) == (index == 0) {
                    0.0
                } else {
                    std::f64::consts::PI
                };
                let turn = turn + draws.between(-0.03, 0.03) as f64;
                let d = sign * (side.kerb_m() - 1.05 + draws.between(-0.12, 0.08));
                let on = self.stand(s, d, 0.0, turn);
                let (kind, figure) = self.coachwork(kind);
                self.out
                    .things
                    .push(vehicle(&on, kind, false, false, figure, draws));
            }
            s += draws.between(5.2, 6.6);
        }
    }
}
