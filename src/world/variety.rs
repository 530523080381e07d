//! What a varied world's layout has beside that of every world: stores behind car parks, fences of
//! several builds, building sites and islands in the middle of the road. Drawn from streams of its
//! own, so that nothing else of a seed changes.

use super::fence::FenceBuild;
use super::layout::{Boundary, Frontage, Section, Side, SideRoad};
use super::random::{Draws, hash};

/// Width of a parking bay along the road, metres.
pub(crate) const BAY_WIDTH_M: f32 = 2.5;
/// Depth of a parking bay, metres.
pub(crate) const BAY_DEPTH_M: f32 = 4.9;
/// Pavement in front of a store, metres.
pub(crate) const APRON_M: f32 = 3.0;
/// A lane between two rows of bays, metres.
const AISLE_M: f32 = 5.6;

impl Side {
    /// Returns whether there is a pavement; without one a car park opens onto the lane.
    pub(crate) fn has_pavement(&self) -> bool {
        self.pavement_m > 0.0
    }
}

/// Rows of bays between a pavement and a store, as distances beyond the pavement, metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CarPark {
    /// From the back of the pavement to the apron.
    pub(crate) depth_m: f32,
    /// Whether a second row stands along the apron.
    pub(crate) second_row: bool,
}

impl CarPark {
    /// The car park of a side, or None where there is no store.
    #[inline]
    pub(crate) fn of(side: &Side) -> Option<Self> {
        (side.frontage == Frontage::Retail).then(|| {
            let depth_m = side.setback_m - APRON_M;
            Self {
                depth_m,
                second_row: depth_m > 2.0 * BAY_DEPTH_M + AISLE_M,
            }
        })
    }

    /// Returns whether a point so far beyond the pavement lies in a row of bays.
    #[inline]
    pub(crate) fn in_bays(&self, beyond_m: f32) -> bool {
        beyond_m < BAY_DEPTH_M || self.second_row && beyond_m > self.depth_m - BAY_DEPTH_M
    }
}

/// A raised strip in the middle of the road with round ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Island {
    pub(crate) start_m: f32,
    pub(crate) end_m: f32,
    pub(crate) half_width_m: f32,
}

impl Island {
    /// Distance from its edge, metres, positive inside.
    #[inline]
    pub(crate) fn inside_m(&self, s: f32, d: f32) -> f32 {
        let past = (self.start_m - s).max(s - self.end_m).max(0.0);
        self.half_width_m - (past * past + d * d).sqrt()
    }
}

/// Turns some sides into stores and building sites, and rebuilds fences.
pub(crate) fn vary_sides(sections: &mut [Section], seed: u64) {
    for (number, section) in sections.iter_mut().enumerate() {
        for (index, side) in section.sides.iter_mut().enumerate() {
            let mut draws = Draws::new(hash(seed, 1600 + number as u64), index as u64);
            let roll = draws.unit();
            if roll < 0.2 {
                store(side, &mut draws);
            } else if roll < 0.22 {
                side.frontage = Frontage::Green;
                side.boundary = Boundary::Fence(FenceBuild::Hoarding);
                side.setback_m = draws.between(25.0, 38.0);
            } else {
                rebuild(side, &mut draws);
            }
            if draws.chance(0.5) {
                side.paving = 3 + draws.index(3) as u8;
            }
        }
    }
}

fn store(side: &mut Side, draws: &mut Draws) {
    side.frontage = Frontage::Retail;
    side.boundary = draws.pick(&[
        Boundary::Open,
        Boundary::Open,
        Boundary::Open,
        Boundary::Hedge,
        Boundary::Hedge,
        Boundary::Railing,
        Boundary::Fence(FenceBuild::Rails),
        Boundary::Fence(FenceBuild::Mesh),
    ]);
    side.setback_m = draws.between(9.0, 24.0);
    side.parking = false;
    side.trees = draws.chance(0.6);
    if draws.chance(0.4) {
        // The lane itself runs through the car park.
        side.boundary = Boundary::Open;
        side.verge_m = 0.0;
        side.pavement_m = 0.0;
        side.trees = false;
    }
}

fn rebuild(side: &mut Side, draws: &mut Draws) {
    use FenceBuild::*;
    if matches!(side.boundary, Boundary::Railing | Boundary::Panels) && draws.chance(0.5) {
        // Turned cameras see more of fences than a drive does.
        side.boundary = draws.pick(&[Boundary::Wall, Boundary::Hedge, Boundary::Open]);
        return;
    }
    let share = match (side.frontage, side.boundary) {
        (Frontage::Shops, _) | (Frontage::Terrace, Boundary::Open) => 0.0,
        (_, Boundary::Hedge) => 0.2,
        _ => 0.3,
    };
    if !draws.chance(share) {
        return;
    }
    let builds: &[FenceBuild] = match side.frontage {
        Frontage::Terrace => &[Plinth, Plinth, Pickets],
        Frontage::Offices => &[Plinth, Plinth, Plinth, Mesh, Rails],
        Frontage::Green => &[Plinth, Plinth, Rails, Rails, Mesh, Boards],
        _ => &[Plinth, Rails, Pickets, Boards, Boards, Mesh],
    };
    side.boundary = Boundary::Fence(draws.pick(builds));
}

/// Islands of the loop, clear of crossings and side roads.
pub(crate) fn islands(
    sections: &[Section],
    side_roads: &[SideRoad],
    crossings: &[f32],
    seed: u64,
) -> Vec<Island> {
    let mut islands = Vec::new();
    for (number, section) in sections.iter().enumerate() {
        let mut draws = Draws::new(hash(seed, 1590), number as u64);
        let room = section.end_m - section.start_m;
        let start_m = section.start_m + draws.between(0.1, 0.7) * room;
        let end_m = (start_m + draws.between(3.0, 14.0)).min(section.end_m - 1.0);
        let half_width_m = draws.between(0.45, 0.58);
        let clear = |s: f32, margin: f32| s < start_m - margin || s > end_m + margin;
        let free = crossings.iter().all(|&s| clear(s, 4.0))
            && side_roads.iter().all(|road| clear(road.s_m, 9.0));
        if draws.chance(0.45) && free && end_m > start_m {
            islands.push(Island {
                start_m,
                end_m,
                half_width_m,
            });
        }
    }
    islands
}

#[cfg(test)]
mod tests {
    use super::super::course::Course;
    use super::super::layout::{Ground, LANE_WIDTH_M, Layout, Place};
    use super::super::scenery::scenery;
    use super::*;

    #[test]
    fn variety_adds_stores_and_islands_and_moves_no_side_road_or_crossing() {
        let (mut stores, mut islands) = (0, 0);
        for seed in 0..8 {
            let course = Course::new(seed);
            let (plain, varied) = (
                Layout::new(&course, seed, false),
                Layout::new(&course, seed, true),
            );
            assert!(plain.islands.is_empty());
            assert_eq!(plain.crossings, varied.crossings);
            let mouths = |layout: &Layout| -> Vec<(f32, usize)> {
                let roads = layout.side_roads.iter();
                roads.map(|road| (road.s_m, road.side)).collect()
            };
            assert_eq!(mouths(&plain), mouths(&varied));
            islands += varied.islands.len();
            let sides = varied.sections.iter().flat_map(|section| section.sides);
            stores += sides.filter(|side| CarPark::of(side).is_some()).count();
        }
        assert!(stores > 20 && islands > 20, "{stores} {islands}");
    }

    #[test]
    fn a_car_park_is_road_up_to_its_apron_and_an_island_is_pavement() {
        let course = Course::new(1);
        let layout = Layout::new(&course, 1, true);
        for section in &layout.sections {
            let s = section.start_m + 5.0;
            for (index, side) in section.sides.iter().enumerate() {
                let Some(park) = CarPark::of(side).filter(|_| !layout.is_open_at(s, index, 5.0))
                else {
                    continue;
                };
                let sign = if index == 0 { 1.0 } else { -1.0 };
                let at = |beyond: f32| layout.ground_at(s, sign * (side.back_m() + beyond));
                assert_eq!(at(park.depth_m * 0.5).place, Place::CarPark);
                assert_eq!(at(park.depth_m * 0.5).ground, Ground::Road);
                assert_eq!(at(park.depth_m + 1.0).ground, Ground::Pavement);
            }
        }
        for island in &layout.islands {
            let middle = (island.start_m + island.end_m) * 0.5;
            assert_eq!(layout.ground_at(middle, 0.1).ground, Ground::Pavement);
            let beside = island.half_width_m + 0.1;
            assert_eq!(layout.ground_at(middle, beside).ground, Ground::Road);
        }
    }

    #[test]
    fn nothing_of_a_varied_world_stands_in_the_lanes() {
        for seed in 0..4 {
            let course = Course::new(seed);
            let layout = Layout::new(&course, seed, true);
            let things = scenery(&course, &layout, seed, false, true).things;
            let mut s = 0.0;
            while s < course.length() {
                // What a car needs about the middle of its lane.
                for d in [-0.85, 0.0, 0.85].map(|off| off + LANE_WIDTH_M as f64 * 0.5) {
                    for d in [d, -d] {
                        let p = course.point(s, d).map(|v| v as f32);
                        let met = things.iter().find(|thing| thing.footprint.covers(p, 0.0));
                        assert!(met.is_none(), "seed {seed}: at {s} m, {d} m stands {met:?}");
                    }
                }
                s += 0.5;
            }
        }
    }
}
