//! Paint and surfacing of a varied world's roads: hatching, yellow boxes, bus stops, arrows and
//! crossed bays in car parks, coloured lanes and strips of other tarmac.

use super::geometry::{Vec3, vec3};
use super::ground::{GroundSample, dash, line, mean_pixel};
use super::layout::{ISLAND_REACH_M, LANE_WIDTH_M, Layout, Place, Section};
use super::random::{floor, unit_at};
use super::variety::{BAY_DEPTH_M, BAY_WIDTH_M, CarPark, Island};

const WHITE: Vec3 = vec3(0.5, 0.5, 0.48);
const YELLOW: Vec3 = vec3(0.42, 0.29, 0.05);
const CYCLE_LANE_M: f32 = 1.5;

/// Tint of the tarmac, 1 for none.
pub(super) fn surfacing(layout: &Layout, sample: &GroundSample, seed: u32) -> Vec3 {
    let GroundSample { s, d, .. } = *sample;
    let section = layout.section_at(s);
    let roll = |k: i32| unit_at(seed ^ 171, section.start_m as i32, k);
    let none = vec3(1.0, 1.0, 1.0);
    match sample.point.place {
        Place::Street => {
            let kerb = -sample.point.beyond_kerb_m;
            let coloured = kerb < CYCLE_LANE_M && has_cycle_lane(section, d, seed);
            if coloured && roll(2) < 0.6 {
                return if roll(3) < 0.75 {
                    vec3(1.5, 0.72, 0.62)
                } else {
                    vec3(0.75, 1.2, 0.8)
                };
            }
            // One lane, or a trench along it, was laid anew.
            let strip = d - (roll(4) * 6.0 - 3.0);
            if roll(5) < 0.3 && strip.abs() < 0.4 {
                none * (0.55 + 0.9 * roll(6))
            } else if roll(7) < 0.25 && (d > 0.0) == (roll(8) < 0.5) {
                none * (0.7 + 0.6 * roll(9))
            } else {
                none
            }
        }
        Place::SideRoad => none * (0.7 + 0.7 * roll(10)),
        Place::CarPark => {
            let side = &section.sides[(d < 0.0) as usize];
            let bay = floor(s / BAY_WIDTH_M);
            let marked = unit_at(seed ^ 172, bay / 2, 1) < 0.06;
            match CarPark::of(side) {
                Some(park) if marked && park.in_bays(d.abs() - side.back_m()) => {
                    vec3(0.4, 0.9, 1.9)
                }
                _ => none * (0.75 + 0.5 * roll(11)),
            }
        }
        Place::Island => none,
    }
}

/// Paint that only varied worlds have: its amount in 0..1 and albedo; None where there is none.
pub(super) fn painted(layout: &Layout, sample: &GroundSample, seed: u32) -> Option<(f32, Vec3)> {
    let GroundSample { s, d, .. } = *sample;
    let pixel = mean_pixel(sample);
    match sample.point.place {
        Place::CarPark => parking(layout, sample, seed).map(|amount| (amount, WHITE)),
        Place::Street => {
            if layout.crossing_near(s).is_some() {
                return None;
            }
            if let Some(road) = layout.mouth_near(s) {
                let along = s - road.s_m;
                let boxed = unit_at(seed ^ 173, road.s_m as i32, 0) < 0.35;
                if boxed && along.abs() < road.half_width_m + 1.5 {
                    let rim = road.half_width_m + 1.5 - along.abs() < 0.2;
                    let bar = |x: f32| (x / 1.9 - floor(x / 1.9 + 0.5) as f32).abs() * 1.9;
                    let cross = line(bar(along + d).min(bar(along - d)), 0.1, pixel);
                    return Some((if rim { 1.0 } else { cross }, YELLOW));
                }
            }
            if let Some(amount) = layout
                .island_near(s)
                .and_then(|island| nose(island, sample))
            {
                return Some((amount, WHITE));
            }
            let section = layout.section_at(s);
            edge(section, sample, seed)
        }
        Place::SideRoad | Place::Island => None,
    }
}

fn has_cycle_lane(section: &Section, d: f32, seed: u32) -> bool {
    let side = &section.sides[(d < 0.0) as usize];
    let roll = unit_at(seed ^ 174, section.start_m as i32, (d < 0.0) as i32);
    !side.parking && side.has_pavement() && side.shoulder_m < 2.3 && roll < 0.45
}

/// What runs along the kerb: cycle lanes, hatched shoulders, bus stops.
fn edge(section: &Section, sample: &GroundSample, seed: u32) -> Option<(f32, Vec3)> {
    let GroundSample { s, d, pixel_m, .. } = *sample;
    let side = &section.sides[(d < 0.0) as usize];
    let from_kerb = -sample.point.beyond_kerb_m;
    if has_cycle_lane(section, d, seed) {
        let amount = line((from_kerb - CYCLE_LANE_M).abs(), 0.06, pixel_m)
            * dash(s, 4.0, 2.6, sample.stretch_m);
        return (amount > 0.0).then_some((amount, WHITE));
    }
    let roll = unit_at(seed ^ 175, section.start_m as i32, (d < 0.0) as i32);
    if side.parking || from_kerb > 2.6 {
        return None;
    }
    if side.shoulder_m > 0.8 && roll < 0.35 {
        let beyond_lane = d.abs() - LANE_WIDTH_M;
        let stripe = (s + beyond_lane) / 2.4;
        let bar = (stripe - floor(stripe) as f32) * 2.4 < 0.32 && beyond_lane > 0.1;
        let amount = line(beyond_lane.abs(), 0.06, pixel_m).max(if bar { 0.9 } else { 0.0 });
        return Some((amount, WHITE));
    }
    let stop_m = section.start_m + 0.5 * (section.end_m - section.start_m);
    let along = (s - stop_m).abs();
    if roll > 0.85 && along < 9.0 {
        // A bus stop's box, broken lines of yellow, and its letters.
        let long = line((from_kerb - 2.4).abs(), 0.07, pixel_m) * dash(s, 1.2, 0.8, pixel_m);
        let ends = along > 8.7 && dash(d.abs(), 0.9, 0.6, pixel_m) > 0.5;
        let letter = floor((s - stop_m + 4.0) / 1.1);
        let within = s - stop_m + 4.0 - letter as f32 * 1.1;
        let stroke = unit_at(seed ^ 176, letter, floor(from_kerb / 0.4)) < 0.6 && within < 0.8;
        let word = along < 4.0 && (0.7..1.9).contains(&from_kerb) && stroke;
        let amount = if ends || word { 0.9 } else { long };
        return Some((amount, YELLOW));
    }
    None
}

/// Chevrons that lead round an island.
fn nose(island: &Island, sample: &GroundSample) -> Option<f32> {
    let GroundSample { s, d, .. } = *sample;
    let past = (island.start_m - s).max(s - island.end_m);
    let width = (island.half_width_m + 0.15) * (1.0 - past / ISLAND_REACH_M);
    if past < 0.0 || d.abs() > width + 0.2 {
        return None;
    }
    let rim = line((d.abs() - width).abs(), 0.06, sample.pixel_m);
    let stripe = (past + d.abs() * 1.5) / 1.6;
    let bar = (stripe - floor(stripe) as f32) < 0.28 && d.abs() < width;
    Some(rim.max(if bar { 0.9 } else { 0.0 }))
}

/// Arrows along the aisle, and crossed bays where nobody may stand.
fn parking(layout: &Layout, sample: &GroundSample, seed: u32) -> Option<f32> {
    let GroundSample { s, d, .. } = *sample;
    let side = &layout.section_at(s).sides[(d < 0.0) as usize];
    let park = CarPark::of(side)?;
    let beyond = d.abs() - side.back_m();
    if park.in_bays(beyond) {
        let bay = floor(s / BAY_WIDTH_M);
        let row = (beyond > BAY_DEPTH_M) as i32;
        let stripe = (s + beyond) / 0.9;
        let crossed = unit_at(seed ^ 177, bay, row) < 0.1;
        return (crossed && (stripe - floor(stripe) as f32) < 0.18).then_some(1.0);
    }
    let cell = floor(s / 13.0);
    let roll = unit_at(seed ^ 178, cell, 0);
    let way = if roll < 0.3 { 1.0 } else { -1.0 };
    let along = (s - (cell as f32 + 0.5) * 13.0) * way;
    let across = (beyond - BAY_DEPTH_M - 1.6).abs();
    let head = (0.5..1.7).contains(&along) && across < (1.7 - along) * 0.42;
    let shaft = (-1.7..=0.5).contains(&along) && across < 0.12;
    // Give-way lines across the aisle.
    let bars = (3.0..3.25).contains(&along) && dash(beyond, 0.9, 0.6, 0.02) > 0.5;
    (roll < 0.6 && (head || shaft) || roll > 0.8 && bars).then_some(1.0)
}

#[cfg(test)]
mod tests {
    use super::super::course::Course;
    use super::*;

    #[test]
    fn paint_is_on_the_carriageway_alone_and_all_of_it_is_met() {
        let course = Course::new(2);
        let layout = Layout::new(&course, 2, true);
        let (mut white, mut yellow, mut bays) = (0, 0, 0);
        for metre in 0..course.length() as usize * 4 {
            for step in -60..60 {
                let (s, d) = (metre as f32 * 0.25, step as f32 * 0.25 + 0.01);
                let sample = GroundSample {
                    point: layout.ground_at(s, d),
                    s,
                    d,
                    x: 0.0,
                    y: 0.0,
                    pixel_m: 0.01,
                    stretch_m: 0.02,
                    kerb_face: false,
                };
                let Some((amount, tone)) = painted(&layout, &sample, 2) else {
                    continue;
                };
                assert!((0.0..=1.0).contains(&amount), "{amount} at {s}, {d}");
                let place = sample.point.place;
                assert!(matches!(place, Place::Street | Place::CarPark), "{place:?}");
                if amount > 0.5 {
                    white += (tone == WHITE && place == Place::Street) as usize;
                    yellow += (tone == YELLOW) as usize;
                    bays += (place == Place::CarPark) as usize;
                }
            }
        }
        assert!(
            white > 100 && yellow > 100 && bays > 100,
            "{white} {yellow} {bays}"
        );
    }
}
