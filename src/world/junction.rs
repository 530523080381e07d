//! Where side roads leave and people cross: what closes a side road, who waits there, and lights.

use super::barrier::{BarrierStyle, across};
use super::building::{BuildingShape, building};
use super::facade::FacadeKind;
use super::furniture::traffic_light;
use super::layout::{Boundary, Frontage, KERB_HEIGHT_M, SIDE_ROAD_LENGTH_M, SideRoad};
use super::mast::{beacon, signal_mast};
use super::random::{Draws, hash};
use super::scenery::{Planter, sign_of};
use super::vehicle::vehicle;
use super::vehicle_body::VehicleKind;

impl Planter<'_> {
    /// Side roads: what closes them, and lights at some mouths and crossings.
    pub(super) fn junctions(&mut self, seed: u64) {
        for (number, road) in self.layout.side_roads.iter().enumerate() {
            let mut draws = Draws::new(hash(seed, 700), number as u64);
            let sign = sign_of(road.side);
            let kerb = self.layout.kerb_at(road.s_m, road.side);
            let end = sign * (kerb + SIDE_ROAD_LENGTH_M);
            let (a, b) = (
                self.spot(road.s_m - 16.0, end),
                self.spot(road.s_m + 16.0, end),
            );
            let heading = self.course.heading_at(road.s_m as f64);
            let back = [-heading.sin() as f32 * sign, heading.cos() as f32 * sign];
            let (style, storey_m, roof) = self.style(FacadeKind::House, &mut draws);
            let shape = BuildingShape {
                height_m: 2.0 * storey_m + 0.4,
                depth_m: 8.0,
                roof_m: 3.0,
                chimneys: true,
                style,
                roof,
                seed: draws.bits() as u32,
                base_z: 0.0,
            };
            self.out
                .things
                .push(building(a, b, back, &shape, &mut draws));
            // Waiting or parked in the side road.
            if draws.chance(0.5) {
                let out = kerb + draws.between(3.5, 6.0);
                // Traffic keeps left: towards the main road it is on the s-side that faces it.
                let s = road.s_m - sign * 1.5;
                let turn = -sign as f64 * std::f64::consts::FRAC_PI_2;
                let on = self.stand(s, sign * out, 0.0, turn);
                let (kind, figure) = self.coachwork(VehicleKind::drawn(&mut draws));
                self.out
                    .things
                    .push(vehicle(&on, kind, self.lit, false, figure, &mut draws));
            }
            // Walls close the corners of the side road.
            let style = BarrierStyle::new(Boundary::Wall, &mut draws);
            for edge in [-1.0f32, 1.0] {
                let s = road.s_m + edge * (road.half_width_m + 1.95);
                let end = self.terrace(road, edge).unwrap_or(kerb + 40.0);
                self.out.things.push(across(
                    self.course,
                    s as f64,
                    sign * (kerb + 5.5),
                    sign * end,
                    &style,
                ));
            }
            if draws.chance(0.5) {
                self.lights(road.s_m - road.half_width_m - 4.0, &mut draws);
            }
        }
        for (number, &crossing) in self.layout.crossings.iter().enumerate() {
            let mut draws = Draws::new(hash(seed, 701), number as u64);
            if draws.chance(0.5) {
                self.lights(crossing - 2.5, &mut draws);
            } else if self.varied.is_some() {
                for (s, side) in [(crossing - 2.0, 0), (crossing + 2.0, 1)] {
                    let d = sign_of(side) * (self.layout.kerb_at(s.max(0.0), side) + 0.35);
                    let on = self.stand(s, d, KERB_HEIGHT_M, 0.0);
                    self.out.things.push(beacon(&on));
                }
            }
        }
    }

    /// In a varied world, houses along one edge of a side road; returns where they begin.
    fn terrace(&mut self, road: &SideRoad, edge: f32) -> Option<f32> {
        let mut draws = Draws::new(self.varied.as_mut()?.bits(), 1);
        if draws.chance(0.35) {
            return None;
        }
        let s = road.s_m + edge * (road.half_width_m + 2.0);
        let profile = &self.layout.section_at(s.max(0.0)).sides[road.side];
        if profile.frontage == Frontage::Retail {
            return None;
        }
        // Behind the houses of the street, which are up to 11 m deep.
        let begin = profile.building_line_m().min(profile.back_m() + 12.0) + 11.5;
        let end = self.layout.kerb_at(road.s_m, road.side) + SIDE_ROAD_LENGTH_M - 1.0;
        let kind = draws.pick(&[FacadeKind::House, FacadeKind::House, FacadeKind::Shop]);
        let sign = sign_of(road.side);
        let heading = self.course.heading_at(road.s_m as f64);
        let back = [heading.cos() as f32 * edge, heading.sin() as f32 * edge];
        let storeys = 2 + draws.index(2);
        let mut from = begin;
        while from + 4.0 < end {
            let to = (from + draws.between(4.5, 9.0)).min(end);
            let (style, storey_m, roof) = self.style(kind, &mut draws);
            let shape = BuildingShape {
                height_m: storeys as f32 * storey_m + draws.between(0.2, 0.6),
                depth_m: draws.between(7.0, 9.0),
                roof_m: draws.between(2.2, 3.4),
                chimneys: true,
                style,
                roof,
                seed: draws.bits() as u32,
                base_z: KERB_HEIGHT_M - 0.05,
            };
            let (a, b) = (self.spot(s, sign * from), self.spot(s, sign * to));
            self.out
                .things
                .push(building(a, b, back, &shape, &mut draws));
            from = to;
        }
        (from > begin).then_some(begin)
    }

    fn lights(&mut self, s: f32, draws: &mut Draws) {
        let state = draws.index(3);
        for side in 0..2 {
            if self.free(s, side, 0.3) {
                let d = sign_of(side) * (self.layout.kerb_at(s.max(0.0), side) + 0.5);
                let on = self.stand(s, d, KERB_HEIGHT_M, 0.0);
                let thing = match &mut self.varied {
                    Some(draws) => signal_mast(&on, state, -sign_of(side), draws),
                    None => traffic_light(&on, state),
                };
                self.out.things.push(thing);
            }
        }
    }
}
