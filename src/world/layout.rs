//! What lies where along the road: kerbs, pavements, verges, side roads, and the kind of frontage
//! on each side.

use super::course::Course;
use super::fence::FenceBuild;
use super::sections::{junctions, sections};
use super::variety::{APRON_M, CarPark, Island, islands, vary_sides};

/// Height of pavements and verges above the road, metres.
pub(crate) const KERB_HEIGHT_M: f32 = 0.12;
/// Half of the two driving lanes, metres.
pub(crate) const LANE_WIDTH_M: f32 = 3.2;
/// Width of a row of parked cars, metres.
pub(crate) const PARKING_WIDTH_M: f32 = 2.1;
/// Zigzag lines run this far from a crossing, metres.
pub(crate) const CROSSING_REACH_M: f32 = 18.0;
/// Hatching leads to an island from this far, metres.
pub(crate) const ISLAND_REACH_M: f32 = 14.0;
const SIDE_ROAD_RADIUS_M: f32 = 4.0;
const SIDE_ROAD_PAVEMENT_M: f32 = 1.8;

/// What stands behind a stretch of pavement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Frontage {
    /// Brick houses wall to wall.
    Terrace,
    /// Shops with flats above.
    Shops,
    /// Detached houses behind hedges and walls.
    Suburb,
    /// Large blocks with railings.
    Offices,
    /// Grass and trees.
    Green,
    /// A store behind a car park; in varied worlds alone.
    Retail,
}

/// What marks the back edge of the pavement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Boundary {
    /// Nothing.
    Open,
    /// A low brick wall.
    Wall,
    /// A hedge.
    Hedge,
    /// Metal railings.
    Railing,
    /// Wooden panels.
    Panels,
    /// One of the builds of varied worlds.
    Fence(FenceBuild),
}

/// One side of the road along one section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    pub(crate) frontage: Frontage,
    pub(crate) boundary: Boundary,
    pub(crate) parking: bool,
    /// Tarmac beyond the lane and the parking row, metres: hatching, a bus or cycle lane.
    pub(crate) shoulder_m: f32,
    /// Grass between kerb and pavement, metres; 0 for none.
    pub(crate) verge_m: f32,
    pub(crate) pavement_m: f32,
    /// From the back of the pavement to the building line, metres.
    pub(crate) setback_m: f32,
    /// Look of the pavement: 0 slabs, 1 asphalt, 2 bricks; in varied worlds also 3 the road's own
    /// asphalt, 4 pale concrete, 5 setts.
    pub(crate) paving: u8,
    pub(crate) trees: bool,
    pub(crate) leafy: f32,
}

impl Side {
    /// Offset of the kerb where the section is at its full width, metres.
    pub(crate) fn kerb_m(&self) -> f32 {
        LANE_WIDTH_M + self.shoulder_m + if self.parking { PARKING_WIDTH_M } else { 0.0 }
    }

    /// Offset of the back of the pavement, metres.
    pub(crate) fn back_m(&self) -> f32 {
        self.kerb_m() + self.verge_m + self.pavement_m
    }

    /// Offset of the building line, metres.
    pub(crate) fn building_line_m(&self) -> f32 {
        self.back_m() + self.setback_m
    }
}

/// A stretch of road with one character.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    pub(crate) start_m: f32,
    pub(crate) end_m: f32,
    /// Left then right.
    pub(crate) sides: [Side; 2],
    /// Marking at the edges: double yellow lines.
    pub(crate) yellow_lines: bool,
    /// Tarmac tone, an albedo.
    pub(crate) tarmac: f32,
}

/// A road that leaves at a right angle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SideRoad {
    pub(crate) s_m: f32,
    /// 0 left, 1 right.
    pub(crate) side: usize,
    pub(crate) half_width_m: f32,
}

/// What a ground point is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ground {
    /// Tarmac that a vehicle may use.
    Road,
    /// Raised walkway.
    Pavement,
    /// Verges, lawns, parks.
    Grass,
}

/// Which ground of several it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// The street and what lies along it.
    Street,
    /// Inside a side road's mouth or length.
    SideRoad,
    /// Between a pavement and a store.
    CarPark,
    /// A raised strip in the middle of the road.
    Island,
}

/// A ground point with the distances that its texture needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroundPoint {
    pub(crate) ground: Ground,
    /// Distance from the kerb line, metres: positive on the pavement side.
    pub(crate) beyond_kerb_m: f32,
    pub(crate) place: Place,
    pub(crate) paving: u8,
}

/// The whole loop's cross-sections.
pub(crate) struct Layout {
    pub(crate) sections: Vec<Section>,
    pub(crate) side_roads: Vec<SideRoad>,
    /// Zebra crossings, by s.
    pub(crate) crossings: Vec<f32>,
    /// Raised strips in the middle of the road; in varied worlds alone.
    pub(crate) islands: Vec<Island>,
    pub(crate) varied: bool,
    metres: Vec<Metre>,
}

/// One metre of the loop.
#[derive(Clone, Copy, Default)]
struct Metre {
    section: u16,
    kerb_m: [f32; 2],
    side_road: [Option<u16>; 2],
    crossing: Option<u16>,
    island: Option<u16>,
    island_ahead: Option<u16>,
}

impl Layout {
    pub(crate) fn new(course: &Course, seed: u64, varied: bool) -> Self {
        let length = course.length() as f32;
        let mut sections = sections(length, seed);
        let (side_roads, crossings) = junctions(&sections, seed);
        let islands = if varied {
            vary_sides(&mut sections, seed);
            islands(&sections, &side_roads, &crossings, seed)
        } else {
            Vec::new()
        };
        let mut metres = metres(length, &sections, &side_roads, &crossings);
        for (index, island) in islands.iter().enumerate() {
            let last = metres.len() - 1;
            let from = (island.start_m - 1.0).max(0.0) as usize;
            for metre in &mut metres[from..=(island.end_m as usize + 1).min(last)] {
                metre.island = Some(index as u16);
            }
            let from = (island.start_m - ISLAND_REACH_M).max(0.0) as usize;
            let to = ((island.end_m + ISLAND_REACH_M) as usize).min(last);
            for metre in &mut metres[from.min(to)..=to] {
                metre.island_ahead = Some(index as u16);
            }
        }
        Self {
            sections,
            side_roads,
            crossings,
            islands,
            varied,
            metres,
        }
    }

    /// The section at `s` (0 <= s < length).
    #[inline]
    pub(crate) fn section_at(&self, s: f32) -> &Section {
        &self.sections[self.metres[(s as usize).min(self.metres.len() - 1)].section as usize]
    }

    /// Distance of the kerb from the centre line at `s` on a side, metres.
    #[inline]
    pub(crate) fn kerb_at(&self, s: f32, side: usize) -> f32 {
        let i = (s as usize).min(self.metres.len() - 1);
        let j = if i + 1 == self.metres.len() { 0 } else { i + 1 };
        let f = s - i as f32;
        self.metres[i].kerb_m[side] * (1.0 - f) + self.metres[j].kerb_m[side] * f
    }

    /// The ground at road coordinates.
    #[inline]
    pub(crate) fn ground_at(&self, s: f32, d: f32) -> GroundPoint {
        let side = (d < 0.0) as usize;
        let offset = d.abs();
        let kerb = self.kerb_at(s, side);
        let metre = &self.metres[(s as usize).min(self.metres.len() - 1)];
        let profile = &self.sections[metre.section as usize].sides[side];
        let beyond = offset - kerb;
        if let Some(index) = metre.island {
            let inside = self.islands[index as usize].inside_m(s, d);
            if inside > 0.0 {
                return GroundPoint {
                    ground: Ground::Pavement,
                    beyond_kerb_m: inside,
                    place: Place::Island,
                    paving: profile.paving,
                };
            }
        }
        if beyond < 0.0 {
            return GroundPoint {
                ground: Ground::Road,
                beyond_kerb_m: beyond,
                place: Place::Street,
                paving: profile.paving,
            };
        }
        if let Some(index) = metre.side_road[side] {
            let road = &self.side_roads[index as usize];
            let along = (s - road.s_m).abs();
            let edge = road.half_width_m + flare(beyond);
            if along < edge + SIDE_ROAD_PAVEMENT_M && beyond < SIDE_ROAD_LENGTH_M {
                let past = along - edge;
                // Inside the mouth's curve the nearest kerb is whichever of the two is nearer.
                let beyond_kerb_m = if past < 0.0 {
                    past
                } else {
                    past.min(beyond.max(0.0))
                };
                return GroundPoint {
                    ground: if past < 0.0 {
                        Ground::Road
                    } else {
                        Ground::Pavement
                    },
                    beyond_kerb_m,
                    place: Place::SideRoad,
                    paving: profile.paving,
                };
            }
        }
        let verge = beyond < profile.verge_m;
        let walkway = beyond - profile.verge_m < profile.pavement_m;
        let before_store = profile.building_line_m() - offset;
        if CarPark::of(profile).is_some() && offset > profile.back_m() && before_store > APRON_M {
            return GroundPoint {
                ground: Ground::Road,
                // Far from any kerb: no gutter.
                beyond_kerb_m: -1.0,
                place: Place::CarPark,
                paving: profile.paving,
            };
        }
        let paved_front = matches!(
            profile.frontage,
            Frontage::Shops | Frontage::Offices | Frontage::Retail
        ) && offset < profile.building_line_m() + 1.0;
        let ground = if verge && beyond > 0.15 {
            Ground::Grass
        } else if walkway || paved_front || beyond <= 0.15 {
            Ground::Pavement
        } else {
            Ground::Grass
        };
        GroundPoint {
            ground,
            beyond_kerb_m: beyond,
            place: Place::Street,
            paving: profile.paving,
        }
    }

    /// The zebra crossing within `CROSSING_REACH_M` of `s`, if any.
    #[inline]
    pub(crate) fn crossing_near(&self, s: f32) -> Option<f32> {
        let metre = &self.metres[(s as usize).min(self.metres.len() - 1)];
        metre.crossing.map(|index| self.crossings[index as usize])
    }

    /// The side road whose mouth is at `s`, on either side, if any.
    #[inline]
    pub(crate) fn mouth_near(&self, s: f32) -> Option<&SideRoad> {
        let [left, right] = self.metres[(s as usize).min(self.metres.len() - 1)].side_road;
        left.or(right).map(|index| &self.side_roads[index as usize])
    }

    /// The island within `ISLAND_REACH_M` of `s`, if any.
    #[inline]
    pub(crate) fn island_near(&self, s: f32) -> Option<&Island> {
        let metre = &self.metres[(s as usize).min(self.metres.len() - 1)];
        metre
            .island_ahead
            .map(|index| &self.islands[index as usize])
    }

    /// Whether a side road, with its pavements, opens within `margin_m` of `s` on a side.
    pub(crate) fn is_open_at(&self, s: f32, side: usize, margin_m: f32) -> bool {
        let length = self.metres.len() as f32;
        self.side_roads.iter().any(|road| {
            let apart = (road.s_m - s).abs();
            let apart = apart.min(length - apart);
            road.side == side && apart < road.half_width_m + SIDE_ROAD_PAVEMENT_M + margin_m
        })
    }
}

/// How far a side road runs, metres from the kerb.
pub(crate) const SIDE_ROAD_LENGTH_M: f32 = 45.0;

/// Extra half width of a side road's mouth: quarter circles at the corners.
#[inline]
fn flare(beyond: f32) -> f32 {
    if beyond >= SIDE_ROAD_RADIUS_M {
        return 0.0;
    }
    let x = SIDE_ROAD_RADIUS_M - beyond;
    SIDE_ROAD_RADIUS_M
        - (SIDE_ROAD_RADIUS_M * SIDE_ROAD_RADIUS_M - x * x)
            .max(0.0)
            .sqrt()
}

fn metres(
    length: f32,
    sections: &[Section],
    side_roads: &[SideRoad],
    crossings: &[f32],
) -> Vec<Metre> {
    let count = length.ceil() as usize;
    let mut metres = vec![Metre::default(); count];
    let mut section = 0;
    for (i, metre) in metres.iter_mut().enumerate() {
        while i as f32 >= sections[section].end_m && section + 1 < sections.len() {
            section += 1;
        }
        metre.section = section as u16;
        metre.kerb_m = sections[section].sides.map(|side| side.kerb_m());
    }
    // Parking bays taper over six metres.
    for side in 0..2 {
        for _ in 0..2 {
            let old: Vec<f32> = metres.iter().map(|m| m.kerb_m[side]).collect();
            for (i, metre) in metres.iter_mut().enumerate() {
                let around = |k: isize| old[(i as isize + k).rem_euclid(count as isize) as usize];
                metre.kerb_m[side] = (around(-1) + around(0) + around(1)) / 3.0;
            }
        }
    }
    for (index, road) in side_roads.iter().enumerate() {
        let reach = road.half_width_m + SIDE_ROAD_RADIUS_M + SIDE_ROAD_PAVEMENT_M + 1.0;
        let from = (road.s_m - reach).max(0.0) as usize;
        let to = ((road.s_m + reach) as usize).min(count - 1);
        for metre in &mut metres[from..=to] {
            metre.side_road[road.side] = Some(index as u16);
        }
    }
    for (index, &crossing) in crossings.iter().enumerate() {
        let from = (crossing - CROSSING_REACH_M).max(0.0) as usize;
        let to = ((crossing + CROSSING_REACH_M) as usize).min(count - 1);
        for metre in &mut metres[from..=to] {
            metre.crossing = Some(index as u16);
        }
    }
    metres
}
