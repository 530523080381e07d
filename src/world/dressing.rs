//! What a varied world sets up beside the scenery of every world: signs, masts, plants behind
//! fences, car parks, and what stands on islands.

use std::f64::consts::{FRAC_PI_2, PI};

use super::bare_tree::bare_tree;
use super::barrier::{BarrierStyle, barrier};
use super::church::{Masonry, church};
use super::clutter::{bin, cabinet, parked_bicycle, phone_box, shelter};
use super::coachwork::Figure;
use super::facade::{FacadeKind, FacadeStyle};
use super::furniture::bollard;
use super::geometry::vec3;
use super::layout::{Boundary, Frontage, KERB_HEIGHT_M, Section, Side};
use super::mast::lamp_mast;
use super::random::{Draws, hash};
use super::scenery::{Planter, sign_of};
use super::signboard::{banner, keep_left, notice_board, projecting_board, stacked_plates, totem};
use super::thicket::{conifer, thicket};
use super::tree::{bush, tree};
use super::variety::{BAY_DEPTH_M, BAY_WIDTH_M, CarPark};
use super::vehicle::vehicle;
use super::vehicle_body::VehicleKind;

impl Planter<'_> {
    /// Sets up the further things of a varied world.
    pub(super) fn dress(&mut self, seed: u64) {
        let layout = self.layout;
        for (number, section) in layout.sections.iter().enumerate() {
            for (index, side) in section.sides.iter().enumerate() {
                let mut draws = Draws::new(hash(seed, 1650 + number as u64), index as u64);
                self.kerbside(section, side, index, &mut draws);
                self.clutter(section, side, index, &mut draws);
                self.planting(section, side, index, &mut draws);
                self.backdrop(section, side, index, &mut draws);
                self.boards(section, side, index, &mut draws);
                self.churches(section, side, index, &mut draws);
                if let Some(park) = CarPark::of(side) {
                    self.car_park(section, side, index, park, &mut draws);
                }
            }
        }
        self.islands(seed);
    }

    /// Plates, masts and boards on the pavement.
    fn kerbside(&mut self, section: &Section, side: &Side, index: usize, draws: &mut Draws) {
        if !side.has_pavement() {
            return;
        }
        let sign = sign_of(index);
        let mut s = section.start_m + draws.between(1.0, 20.0);
        while s < section.end_m - 1.0 {
            let kerb = self.layout.kerb_at(s, index);
            let back = side.back_m();
            let turn = draws.between(-0.25, 0.25) as f64;
            let roll = draws.unit();
            if self.free(s, index, 0.8) {
                let near = sign * (kerb + draws.between(0.4, 0.7));
                let far = sign * (back - draws.between(0.2, 0.5));
                let thing = if roll < 0.45 {
                    let on = self.stand(s, near, KERB_HEIGHT_M, turn);
                    stacked_plates(&on, draws)
                } else if roll < 0.55 {
                    let inward = -sign as f64 * FRAC_PI_2;
                    let on = self.stand(s, near, KERB_HEIGHT_M, inward);
                    lamp_mast(&on, self.lit, draws)
                } else if roll < 0.72 {
                    let along = if draws.chance(0.5) { FRAC_PI_2 } else { 0.0 };
                    let on = self.stand(s, far, KERB_HEIGHT_M, turn + along);
                    notice_board(&on, draws)
                } else {
                    let on = self.stand(s, far, KERB_HEIGHT_M, turn);
                    totem(&on, draws)
                };
                self.out.things.push(thing);
            }
            s += draws.between(16.0, 48.0);
        }
    }

    /// Bicycles at the back of the pavement, bins and cabinets, a box or a shelter.
    fn clutter(&mut self, section: &Section, side: &Side, index: usize, draws: &mut Draws) {
        if !side.has_pavement() {
            return;
        }
        let (sign, z) = (sign_of(index), KERB_HEIGHT_M);
        let back = side.back_m();
        let onward = if index == 0 { 0.0 } else { PI };
        let mut s = section.start_m + draws.between(2.0, 40.0);
        while s < section.end_m - 6.0 {
            if self.free(s, index, 2.0) && self.free(s + 4.0, index, 1.0) {
                let lean = draws.between(-0.15, 0.15) as f64;
                match draws.index(8) {
                    0..=2 => {
                        let (count, gap) = (1 + draws.index(6), draws.between(0.5, 1.6));
                        let parallel = draws.chance(0.6);
                        for number in 0..count {
                            let turn = if parallel { lean } else { 1.2 + lean };
                            let at = s + number as f32 * gap;
                            let d = sign * (back - if parallel { 0.3 } else { 0.8 });
                            let on = self.stand(at, d, z, onward + turn);
                            self.out.things.push(parked_bicycle(&on, draws));
                        }
                        s += count as f32 * gap;
                    }
                    3 | 4 => {
                        let d = sign * (self.layout.kerb_at(s, index) + side.verge_m + 0.6);
                        let on = self.stand(s, d, z, lean);
                        self.out.things.push(bin(&on, draws));
                    }
                    5 => {
                        let on = self.stand(s, sign * (back - 0.3), z, lean * 0.2);
                        self.out.things.push(cabinet(&on, draws));
                    }
                    6 => {
                        let on = self.stand(s, sign * (back - 0.55), z, lean * 0.3);
                        self.out.things.push(phone_box(&on, draws));
                    }
                    _ if side.pavement_m > 2.2 && side.verge_m == 0.0 => {
                        let d = sign * (back - 1.4);
                        let on = self.stand(s + 2.0, d, z, onward);
                        self.out.things.push(shelter(&on, draws));
                    }
                    _ => {}
                }
            }
            s += draws.between(12.0, 50.0);
        }
    }

    /// Bushes and trees close behind what fences a side off.
    fn planting(&mut self, section: &Section, side: &Side, index: usize, draws: &mut Draws) {
        let fenced = matches!(side.boundary, Boundary::Fence(_) | Boundary::Railing);
        let dense = draws.chance(0.75);
        if !fenced || !dense || side.setback_m < 2.0 || side.frontage == Frontage::Retail {
            return;
        }
        let room = (side.setback_m - 0.5).min(3.0);
        if draws.chance(0.4) {
            // Ivy and hedges grow against it.
            let style = BarrierStyle::new(Boundary::Hedge, draws);
            let mut s = section.start_m + 1.0;
            while s + 6.0 < section.end_m {
                let to = s + draws.between(3.0, 12.0);
                if self.free(s, index, 3.0) && self.free(to, index, 3.0) {
                    let d = sign_of(index) * (side.back_m() + 0.3);
                    let things = &mut self.out.things;
                    barrier(self.course, s as f64, to as f64, d, &style, things);
                }
                s = to + draws.between(0.0, 6.0);
            }
        }
        let mut s = section.start_m + 1.0;
        while s < section.end_m - 1.0 {
            if self.free(s, index, 2.5) {
                let offset = side.back_m() + draws.between(0.8, room.max(1.0));
                let [x, y] = self.spot(s, sign_of(index) * offset);
                let foot = vec3(x, y, KERB_HEIGHT_M);
                let thing = match draws.index(10) {
                    0 if room > 2.0 => tree(foot, draws.between(3.5, 9.0), side.leafy, draws),
                    1 if room > 2.0 => bare_tree(foot, draws.between(4.0, 12.0), draws),
                    2 if room > 1.5 => conifer(foot, draws.between(4.0, 11.0), draws),
                    3..=5 => thicket(foot, draws.between(0.7, 1.6), draws),
                    _ => bush(foot, draws.between(0.5, 1.5), draws),
                };
                self.out.things.push(thing);
            }
            s += draws.between(1.2, 4.5);
        }
    }

    /// Single conifers and thickets further back, where others have lawns.
    fn backdrop(&mut self, section: &Section, side: &Side, index: usize, draws: &mut Draws) {
        if side.setback_m < 4.0 || side.frontage == Frontage::Retail {
            return;
        }
        let mut s = section.start_m + draws.between(0.0, 15.0);
        while s < section.end_m {
            let beyond = draws.between(1.5, side.setback_m * 0.8);
            let [x, y] = self.spot(s, sign_of(index) * (side.back_m() + beyond));
            let foot = vec3(x, y, KERB_HEIGHT_M);
            if self.free(s, index, 4.0) {
                self.out.things.push(if draws.chance(0.5) {
                    conifer(foot, draws.between(3.0, 14.0), draws)
                } else {
                    thicket(foot, draws.between(1.0, 2.8), draws)
                });
            }
            s += draws.between(6.0, 26.0);
        }
    }

    /// Boards that stand out from the fronts at the pavement.
    fn boards(&mut self, section: &Section, side: &Side, index: usize, draws: &mut Draws) {
        if side.setback_m > 1.0 {
            return;
        }
        let every = if side.frontage == Frontage::Shops {
            13.0
        } else {
            30.0
        };
        let turn = if index == 0 { PI } else { 0.0 };
        let mut s = section.start_m + draws.between(2.0, every);
        while s < section.end_m - 2.0 {
            if self.free(s, index, 3.0) {
                let d = sign_of(index) * side.building_line_m();
                let on = self.stand(s, d, 0.0, turn);
                self.out.things.push(projecting_board(&on, draws));
            }
            s += draws.between(0.4, 1.6) * every;
        }
    }

    /// A church on open ground, or one whose tower looks over the houses.
    fn churches(&mut self, section: &Section, side: &Side, index: usize, draws: &mut Draws) {
        let s = section.start_m + draws.between(0.2, 0.6) * (section.end_m - section.start_m);
        let share = if side.frontage == Frontage::Green {
            0.35
        } else {
            0.12
        };
        if !draws.chance(share) || !self.free(s + 16.0, index, 22.0) {
            return;
        }
        let beyond = match side.frontage {
            Frontage::Green => draws.between(9.0, 15.0),
            _ => side.setback_m + draws.between(17.0, 26.0),
        };
        let d = sign_of(index) * (side.back_m() + beyond);
        let away = sign_of(index) as f64 * FRAC_PI_2;
        let turn = if side.frontage == Frontage::Green && draws.chance(0.5) {
            0.0
        } else {
            away
        };
        let style = FacadeStyle::new(FacadeKind::House, draws).in_stone(draws);
        let number = self.out.styles.len() as u16;
        self.out.styles.extend([style, style.blank()]);
        let masonry = Masonry {
            style: number,
            roof: style.roof,
            seed: draws.bits() as u32,
        };
        let on = self.stand(s, d, KERB_HEIGHT_M - 0.05, turn);
        self.out.things.extend(church(&on, masonry, draws));
    }

    fn car_park(
        &mut self,
        section: &Section,
        side: &Side,
        index: usize,
        park: CarPark,
        draws: &mut Draws,
    ) {
        let sign = sign_of(index);
        let full = draws.between(0.25, 0.85);
        let first = (section.start_m / BAY_WIDTH_M).ceil() as i32;
        let last = ((section.end_m - BAY_WIDTH_M) / BAY_WIDTH_M) as i32;
        for bay in first..last {
            let s = (bay as f32 + 0.5) * BAY_WIDTH_M;
            for row in 0..1 + park.second_row as usize {
                let beyond = if row == 0 {
                    BAY_DEPTH_M * 0.5 + 0.1
                } else {
                    park.depth_m - BAY_DEPTH_M * 0.5
                };
                if draws.chance(full) && self.free(s, index, 4.0) {
                    let d = sign * (side.back_m() + beyond + draws.between(-0.2, 0.2));
                    let turn = if draws.chance(0.5) {
                        FRAC_PI_2
                    } else {
                        -FRAC_PI_2
                    };
                    let on = self.stand(s, d, 0.0, turn + draws.between(-0.04, 0.04) as f64);
                    let kind = draws.pick(&[
                        VehicleKind::Hatchback,
                        VehicleKind::Hatchback,
                        VehicleKind::Saloon,
                        VehicleKind::Estate,
                        VehicleKind::Estate,
                    ]);
                    self.out.things.push(vehicle(
                        &on,
                        kind.varied(draws),
                        false,
                        false,
                        Some(Figure::drawn(draws)),
                        draws,
                    ));
                }
            }
        }
        let mut s = section.start_m + draws.between(4.0, 12.0);
        while s < section.end_m - 3.0 {
            if self.free(s, index, 2.0) {
                let front = draws.chance(0.5) && side.has_pavement();
                let beyond = if front { -0.4 } else { park.depth_m + 0.6 };
                let d = sign * (side.back_m() + beyond);
                let turn = draws.pick(&[0.0, 0.0, FRAC_PI_2]) + draws.between(-0.2, 0.2) as f64;
                let on = self.stand(s, d, KERB_HEIGHT_M, turn);
                let thing = match draws.index(5) {
                    0 => banner(&on, draws),
                    1 => lamp_mast(&on, self.lit, draws),
                    2 => notice_board(&on, draws),
                    _ => totem(&on, draws),
                };
                self.out.things.push(thing);
            }
            s += draws.between(7.0, 20.0);
        }
        if draws.chance(0.7) {
            let pale = draws.chance(0.6);
            let mut s = section.start_m + 3.0;
            while s < section.end_m - 3.0 {
                if self.free(s, index, 2.0) {
                    let d = sign * (side.back_m() + park.depth_m + 0.35);
                    let [x, y] = self.spot(s, d);
                    let foot = vec3(x, y, KERB_HEIGHT_M);
                    self.out.things.push(bollard(foot, pale));
                }
                s += 2.4;
            }
        }
    }

    /// Bollards that face the traffic at both ends, and sometimes a mast between them.
    fn islands(&mut self, seed: u64) {
        for (number, island) in self.layout.islands.iter().enumerate() {
            let mut draws = Draws::new(hash(seed, 1591), number as u64);
            let ends = [(island.start_m + 0.1, 0.0), (island.end_m - 0.1, PI)];
            for (s, turn) in ends {
                let on = self.stand(s, 0.0, KERB_HEIGHT_M, turn);
                self.out.things.push(keep_left(&on, &mut draws));
            }
            if draws.chance(0.5) && island.end_m - island.start_m > 4.0 {
                let middle = (island.start_m + island.end_m) * 0.5;
                let on = self.stand(middle, 0.0, KERB_HEIGHT_M, FRAC_PI_2);
                self.out.things.push(lamp_mast(&on, self.lit, &mut draws));
            }
        }
    }
}
