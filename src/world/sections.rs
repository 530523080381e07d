//! The sections of a loop with their side roads and crossings, drawn from the seed.

use super::layout::{Boundary, Frontage, Section, Side, SideRoad};
use super::random::Draws;

/// The sections of a loop of a length, metres.
pub(super) fn sections(length: f32, seed: u64) -> Vec<Section> {
    let mut draws = Draws::new(seed, 2);
    let mut sections: Vec<Section> = Vec::new();
    let mut start = 0.0;
    while start < length {
        let mut end = start + draws.between(45.0, 110.0);
        if length - end < 45.0 {
            end = length;
        }
        let sides = [side(&mut draws), side(&mut draws)];
        sections.push(Section {
            start_m: start,
            end_m: end,
            sides,
            yellow_lines: draws.chance(0.4),
            tarmac: draws.between(0.055, 0.125),
        });
        start = end;
    }
    sections
}

fn side(draws: &mut Draws) -> Side {
    use Frontage::*;
    let frontage = draws.pick(&[
        Terrace, Terrace, Terrace, Shops, Shops, Shops, Suburb, Suburb, Offices, Offices, Green,
    ]);
    let boundary = match frontage {
        Terrace => draws.pick(&[
            Boundary::Open,
            Boundary::Open,
            Boundary::Wall,
            Boundary::Railing,
        ]),
        Shops => Boundary::Open,
        Suburb => draws.pick(&[
            Boundary::Wall,
            Boundary::Hedge,
            Boundary::Hedge,
            Boundary::Panels,
            Boundary::Panels,
        ]),
        Offices => draws.pick(&[
            Boundary::Railing,
            Boundary::Railing,
            Boundary::Wall,
            Boundary::Open,
        ]),
        Green | Retail => draws.pick(&[
            Boundary::Railing,
            Boundary::Panels,
            Boundary::Open,
            Boundary::Wall,
        ]),
    };
    let setback_m = match (frontage, boundary) {
        (Terrace, Boundary::Open) | (Shops, _) => draws.between(0.0, 0.6),
        (Terrace, _) => draws.between(2.0, 3.5),
        (Suburb, _) => draws.between(5.0, 10.0),
        (Offices, _) => draws.between(2.5, 7.0),
        (Green | Retail, _) => draws.between(25.0, 38.0),
    };
    let parking = draws.chance(0.4);
    Side {
        frontage,
        boundary,
        parking,
        shoulder_m: if parking || draws.chance(0.5) {
            0.0
        } else {
            draws.between(0.4, 3.2)
        },
        verge_m: if frontage != Shops && draws.chance(0.3) {
            draws.between(1.2, 2.5)
        } else {
            0.0
        },
        pavement_m: draws.between(1.7, 3.4),
        setback_m,
        paving: draws.index(3) as u8,
        trees: draws.chance(match frontage {
            Shops => 0.25,
            Terrace => 0.4,
            _ => 0.85,
        }),
        leafy: draws.unit(),
    }
}

/// The side roads and the zebra crossings of the sections.
pub(super) fn junctions(sections: &[Section], seed: u64) -> (Vec<SideRoad>, Vec<f32>) {
    let mut draws = Draws::new(seed, 3);
    let (mut side_roads, mut crossings) = (Vec::new(), Vec::new());
    for section in sections {
        let room = section.end_m - section.start_m;
        if room > 60.0 && draws.chance(0.6) {
            side_roads.push(SideRoad {
                s_m: section.start_m + draws.between(0.35, 0.65) * room,
                side: draws.index(2),
                half_width_m: draws.between(2.8, 3.6),
            });
        } else if draws.chance(0.4) {
            crossings.push(section.start_m + draws.between(0.4, 0.6) * room);
        }
    }
    (side_roads, crossings)
}
