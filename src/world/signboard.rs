//! Signs of a varied world: totems, notice boards, banners, stacked plates, boards on house fronts
//! and keep-left bollards.

use super::furniture::{SIGN_REACH_M, sign, standing};
use super::geometry::{Vec3, vec3};
use super::mast::MAST_REACH_M;
use super::random::{Draws, floor, unit_at};
use super::scene::{Class, Footprint, PartList, Stand, Thing};
use super::surface::{SIGN_BACK, SignFace, Surface};

const INKS: [Vec3; 8] = [
    vec3(0.012, 0.05, 0.26),
    vec3(0.42, 0.025, 0.025),
    vec3(0.55, 0.16, 0.02),
    vec3(0.6, 0.6, 0.58),
    vec3(0.02, 0.14, 0.06),
    vec3(0.58, 0.42, 0.03),
    vec3(0.015, 0.015, 0.017),
    vec3(0.3, 0.42, 0.06),
];

/// A board that stands on the ground across the stand's x axis, taller than wide as often as not.
pub(crate) fn totem(on: &Stand, draws: &mut Draws) -> Thing {
    let tall = draws.chance(0.6);
    let (half, high) = if tall {
        (draws.between(0.22, 0.6), draws.between(1.9, 4.6))
    } else {
        (draws.between(0.6, 1.5), draws.between(1.2, 2.6))
    };
    let low = if tall { 0.0 } else { draws.between(0.0, 0.7) };
    let seed = panel_seed(draws);
    let mut list = PartList::new(Class::SignSymbol);
    let edge = Surface::Matte(INKS[(seed % 8) as usize] * 0.8);
    list.block(on, [-0.07, -half, low], [0.07, half, high], edge);
    for x in [-0.075, 0.075] {
        panel(&mut list, on, x, [half, low, high], seed);
    }
    if low > 0.2 {
        list.class = Class::Pole;
        let metal = Surface::Metal(vec3(0.1, 0.1, 0.1));
        for y in [-half * 0.8, half * 0.8] {
            list.limb(on.at(0.0, y, -0.05), on.at(0.0, y, low), 0.06, 0.06, metal);
        }
    }
    let footprint = on.rectangle(-0.1, 0.1, -half, half);
    Thing::new(list.parts, footprint, MAST_REACH_M)
}

/// A notice board between two posts under a round or flat head.
pub(crate) fn notice_board(on: &Stand, draws: &mut Draws) -> Thing {
    let (half, high) = (draws.between(0.35, 0.75), draws.between(1.9, 2.5));
    let seed = panel_seed(draws);
    let frame = Surface::Metal(draws.pick(&[INKS[0], INKS[6], INKS[4]]));
    let mut list = PartList::new(Class::SignSymbol);
    for y in [-half, half] {
        list.limb(on.at(0.0, y, -0.05), on.at(0.0, y, high), 0.05, 0.05, frame);
    }
    if draws.chance(0.5) {
        for k in 0..6 {
            let at = |k: i32| {
                let (sin, cos) = (std::f32::consts::PI * k as f32 / 6.0).sin_cos();
                on.at(0.0, half * cos, high + half * 0.8 * sin)
            };
            list.limb(at(k), at(k + 1), 0.05, 0.05, frame);
            list.triangle([at(k), at(k + 1), on.at(0.0, 0.0, high)], frame);
        }
    } else {
        list.limb(
            on.at(0.0, -half, high),
            on.at(0.0, half, high),
            0.06,
            0.06,
            frame,
        );
    }
    panel(&mut list, on, 0.0, [half, 0.55, high], seed);
    let footprint = on.rectangle(-0.06, 0.06, -half, half);
    Thing::new(list.parts, footprint, MAST_REACH_M)
}

/// A mast with an upright banner.
pub(crate) fn banner(on: &Stand, draws: &mut Draws) -> Thing {
    let high = draws.between(5.0, 8.0);
    let (width, drop) = (draws.between(0.7, 1.2), draws.between(1.8, 3.2));
    let seed = panel_seed(draws);
    let metal = Surface::Metal(vec3(0.4, 0.4, 0.4));
    let mut list = PartList::new(Class::Pole);
    list.limb(
        on.at(0.0, 0.0, -0.05),
        on.at(0.0, 0.0, high),
        0.09,
        0.06,
        metal,
    );
    list.class = Class::SignSymbol;
    let corners = [
        on.at(0.0, 0.1, high - drop),
        on.at(0.0, 0.1 + width, high - drop),
        on.at(0.0, 0.1 + width, high),
        on.at(0.0, 0.1, high),
    ];
    list.face(corners, Surface::Sign(SignFace::Panel, seed));
    standing(list.parts, on.origin, 0.09, MAST_REACH_M)
}

/// A post with two to four plates of different widths, one over the other.
pub(crate) fn stacked_plates(on: &Stand, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::Pole);
    let tone = draws.pick(&[0.04f32, 0.17, 0.3]);
    let thick = draws.between(0.035, 0.055);
    let metal = Surface::Metal(vec3(tone, tone, tone));
    let back = draws.chance(0.25);
    let mut height = draws.between(1.7, 2.6);
    let count = 2 + draws.index(3);
    let mut plates = Vec::new();
    for _ in 0..count {
        let size = draws.between(0.2, 0.42);
        let (face, half, high) = match draws.index(8) {
            0 => (SignFace::Limit, size, size * 2.0),
            1 => (SignFace::Mandatory, size, size * 2.0),
            2 => (SignFace::Warning, size, size * 1.9),
            _ => (SignFace::Panel, size * draws.between(0.7, 1.8), size),
        };
        plates.push((face, half, height, high, panel_seed(draws)));
        height += high + 0.05;
    }
    let top = on.at(0.06, 0.0, height + 0.1);
    list.limb(on.at(0.06, 0.0, -0.05), top, thick, thick, metal);
    list.class = Class::SignSymbol;
    for (face, half, low, high, seed) in plates {
        sign(&mut list, on, -0.04, half, low, high, face, seed, back);
    }
    standing(list.parts, on.origin, thick, MAST_REACH_M)
}

/// A lit bollard with a blue disc, or a post with one: at the ends of islands.
pub(crate) fn keep_left(on: &Stand, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::SignSymbol);
    if draws.chance(0.6) {
        let shell = Surface::Matte(draws.pick(&[vec3(0.6, 0.6, 0.56), vec3(0.6, 0.45, 0.05)]));
        let high = draws.between(0.95, 1.25);
        list.block(on, [-0.14, -0.2, 0.0], [0.14, 0.2, high], shell);
        sign(
            &mut list,
            on,
            -0.15,
            0.17,
            high - 0.45,
            0.34,
            SignFace::Mandatory,
            1,
            false,
        );
    } else {
        list.class = Class::Pole;
        let metal = Surface::Metal(vec3(0.5, 0.5, 0.5));
        list.limb(
            on.at(0.05, 0.0, -0.05),
            on.at(0.05, 0.0, 1.7),
            0.06,
            0.06,
            metal,
        );
        list.class = Class::SignSymbol;
        sign(
            &mut list,
            on,
            -0.04,
            0.33,
            0.95,
            0.66,
            SignFace::Mandatory,
            1,
            false,
        );
        let lower = Surface::Matte(vec3(0.6, 0.45, 0.05));
        list.block(on, [-0.1, -0.16, 0.0], [0.12, 0.16, 0.85], lower);
    }
    standing(list.parts, on.origin, 0.2, MAST_REACH_M)
}

/// A board that stands out from a house front: `on` is at the wall, y off it.
pub(crate) fn projecting_board(on: &Stand, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::SignSymbol);
    let (width, high) = (draws.between(0.35, 1.1), draws.between(0.5, 1.3));
    let low = draws.between(2.6, 5.2);
    let seed = panel_seed(draws);
    let round = draws.chance(0.15);
    let p = |y: f32, z: f32| on.at(0.0, y, z);
    let corners = [
        p(0.2, low),
        p(0.2 + width, low),
        p(0.2 + width, low + high),
        p(0.2, low + high),
    ];
    let face = if round {
        SignFace::Limit
    } else {
        SignFace::Panel
    };
    list.face(corners, Surface::Sign(face, seed));
    list.class = Class::Building;
    let iron = Surface::Metal(vec3(0.02, 0.02, 0.02));
    list.limb(
        p(0.0, low + high),
        p(0.2 + width, low + high),
        0.025,
        0.02,
        iron,
    );
    Thing::new(list.parts, Footprint::Nothing, SIGN_REACH_M + 20.0)
}

/// Colour of a panel at u, v in -1..1: a field, often a band at one end, and lines of writing.
pub(crate) fn panel_albedo(seed: u32, u: f32, v: f32) -> Vec3 {
    let ink = |k: u32| INKS[((seed >> (3 * k)) % 8) as usize];
    let (field, band) = (ink(0), ink(1));
    let pale = field.y > 0.2;
    let writing = if pale {
        vec3(0.02, 0.02, 0.03)
    } else {
        vec3(0.6, 0.6, 0.57)
    };
    let end = 0.35 + 0.5 * unit_at(seed, 1, 0);
    let banded = match (seed >> 9) % 4 {
        0 => v > end,
        1 => v < -end,
        2 => v.abs() > 0.8,
        _ => false,
    };
    if banded {
        return band;
    }
    let rows = 3.0 + ((seed >> 11) % 5) as f32;
    let row = floor((v + 1.0) * rows) as f32;
    let within = (v + 1.0) * rows - row;
    let length = 0.3 + 0.6 * unit_at(seed, row as i32, 2);
    let used = unit_at(seed, row as i32, 3) > 0.35;
    let letter = unit_at(seed, floor(u * 10.0), row as i32) > 0.25;
    if used && (0.25..0.75).contains(&within) && u.abs() < length && letter {
        writing
    } else {
        field
    }
}

fn panel_seed(draws: &mut Draws) -> u32 {
    draws.bits() as u32 & !SIGN_BACK
}

fn panel(list: &mut PartList, on: &Stand, x: f32, [half, low, high]: [f32; 3], seed: u32) {
    let face = SignFace::Panel;
    sign(list, on, x, half, low, high - low, face, seed, false);
}
