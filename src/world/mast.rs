//! Lamps and traffic lights of a varied world: slender masts, double arms, lanterns, lights with
//! several heads and arms over the road.

use super::furniture::{SIGNAL_GLOW, standing};
use super::geometry::{Vec3, vec3};
use super::random::Draws;
use super::scene::{Class, PartList, Shape, Stand, Thing};
use super::surface::{SignFace, Surface};

/// Street furniture is labelled this far, metres: a mast is two pixels of a 480-wide image there.
pub(crate) const MAST_REACH_M: f32 = 70.0;

/// The same thing with posts as thin as real ones, drawn as far as they are labelled.
pub(crate) fn slender(mut thing: Thing) -> Thing {
    for part in &mut thing.parts {
        if let Shape::Limb(_, _, ra, rb) = &mut part.shape
            && part.class == Class::Pole
        {
            *ra *= 0.55;
            *rb *= 0.55;
        }
    }
    thing.reach_m = thing.reach_m.max(MAST_REACH_M);
    thing
}

/// A lamp on a stand whose x axis points over the road.
pub(crate) fn lamp_mast(on: &Stand, lit: bool, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::Pole);
    let tone = draws.pick(&[0.03f32, 0.1, 0.2, 0.32]);
    let metal = Surface::Metal(vec3(tone, tone * 1.02, tone * 1.06));
    let glow = if lit {
        vec3(1.3, 0.85, 0.35)
    } else {
        vec3(0.22, 0.22, 0.22)
    };
    let lantern = draws.chance(0.2);
    let high = if lantern {
        draws.between(3.2, 4.6)
    } else {
        draws.between(6.0, 11.0)
    };
    let thick = draws.between(0.045, 0.08);
    list.limb(
        on.at(0.0, 0.0, -0.05),
        on.at(0.0, 0.0, 1.4),
        thick * 1.5,
        thick * 1.4,
        metal,
    );
    list.limb(
        on.at(0.0, 0.0, 1.3),
        on.at(0.0, 0.0, high),
        thick,
        thick * 0.7,
        metal,
    );
    if lantern {
        list.block(
            on,
            [-0.18, -0.18, high],
            [0.18, 0.18, high + 0.4],
            Surface::Lamp(glow * 0.6),
        );
        let iron = Surface::Metal(vec3(0.02, 0.02, 0.02));
        list.limb(
            on.at(0.0, 0.0, high + 0.4),
            on.at(0.0, 0.0, high + 0.6),
            0.2,
            0.05,
            iron,
        );
    } else {
        let arm = draws.between(0.5, 2.4);
        let rise = draws.between(0.0, 0.5);
        let both = draws.chance(0.35);
        for way in [1.0f32, -1.0] {
            if way < 0.0 && !both {
                continue;
            }
            let tip = on.at(way * arm, 0.0, high + rise);
            list.limb(
                on.at(0.0, 0.0, high - 0.1),
                tip,
                thick * 0.6,
                thick * 0.5,
                metal,
            );
            let head = Stand { origin: tip, ..*on };
            let ends = if way > 0.0 {
                [-0.1, 0.65]
            } else {
                [-0.65, 0.1]
            };
            list.block(&head, [ends[0], -0.13, -0.08], [ends[1], 0.13, 0.06], metal);
            let under = |x: f32, y: f32| head.at(x, y, -0.09);
            list.quad(
                [
                    under(ends[0], -0.11),
                    under(ends[1], -0.11),
                    under(ends[1], 0.11),
                    under(ends[0], 0.11),
                ],
                Surface::Lamp(glow),
            );
        }
    }
    if draws.chance(0.35) {
        plate_on_mast(&mut list, on, thick, draws);
    }
    standing(list.parts, on.origin, thick * 1.5, MAST_REACH_M)
}

/// Traffic lights that face along -x of the stand; `state` 0 red, 1 amber, 2 green; the road is at
/// the y of `inward`'s sign.
pub(crate) fn signal_mast(on: &Stand, state: usize, inward: f32, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::Pole);
    let tone = draws.pick(&[0.03f32, 0.12, 0.3]);
    let metal = Surface::Metal(vec3(tone, tone, tone));
    let reach = if draws.chance(0.3) {
        draws.between(2.0, 3.5)
    } else {
        0.0
    };
    let high = if reach > 0.0 {
        5.6
    } else {
        draws.between(3.2, 3.9)
    };
    list.limb(
        on.at(0.1, 0.0, -0.05),
        on.at(0.1, 0.0, high),
        0.07,
        0.06,
        metal,
    );
    let board = draws.chance(0.7);
    head(&mut list, on, [0.0, 0.0, 3.3], state, board);
    if reach > 0.0 {
        list.class = Class::Pole;
        list.limb(
            on.at(0.1, 0.0, high),
            on.at(0.1, inward * reach, high + 0.2),
            0.06,
            0.05,
            metal,
        );
        head(
            &mut list,
            on,
            [0.0, inward * reach, high + 0.1],
            state,
            board,
        );
    }
    if draws.chance(0.5) {
        // The light for the other way shows its dark back.
        list.class = Class::SignSymbol;
        let black = Surface::Matte(vec3(0.012, 0.012, 0.013));
        list.block(on, [0.14, 0.16, 2.3], [0.34, 0.46, 3.2], black);
    }
    if draws.chance(0.5) {
        list.class = Class::SignSymbol;
        let black = Surface::Matte(vec3(0.015, 0.015, 0.016));
        list.block(on, [-0.2, -0.42, 2.0], [0.05, -0.14, 2.65], black);
        let man = if state == 0 {
            vec3(0.1, 1.2, 0.6)
        } else {
            vec3(1.4, 0.1, 0.06)
        };
        list.ball(
            on.at(-0.21, -0.28, 2.45),
            0.08,
            0.08,
            Surface::Lamp(man * 0.8),
        );
    }
    standing(list.parts, on.origin, 0.12, MAST_REACH_M)
}

/// A beacon at a zebra crossing: a post in bands of black and white under an amber globe.
pub(crate) fn beacon(on: &Stand) -> Thing {
    let mut list = PartList::new(Class::Pole);
    for band in 0..9 {
        let tone = if band % 2 == 0 { 0.6 } else { 0.012 };
        let low = band as f32 * 0.28 - 0.05;
        let paint = Surface::Matte(vec3(tone, tone, tone));
        list.limb(
            on.at(0.0, 0.0, low),
            on.at(0.0, 0.0, low + 0.25),
            0.055,
            0.055,
            paint,
        );
    }
    let amber = Surface::Lamp(vec3(0.55, 0.3, 0.02));
    list.ball(on.at(0.0, 0.0, 2.62), 0.16, 0.16, amber);
    standing(list.parts, on.origin, 0.07, MAST_REACH_M)
}

fn head(list: &mut PartList, on: &Stand, [x, y, top]: [f32; 3], state: usize, board: bool) {
    list.class = Class::SignSymbol;
    let black = Surface::Matte(vec3(0.012, 0.012, 0.013));
    list.block(
        on,
        [x - 0.14, y - 0.16, top - 1.0],
        [x + 0.06, y + 0.16, top],
        black,
    );
    if board {
        let p = |a: f32, z: f32| on.at(x - 0.05, y + a, z);
        let (low, high) = (top - 1.12, top + 0.12);
        list.quad(
            [p(-0.27, low), p(0.27, low), p(0.27, high), p(-0.27, high)],
            black,
        );
    }
    for (k, colour) in SIGNAL_GLOW.into_iter().enumerate() {
        let lamp = if k == state { colour } else { colour * 0.03 };
        let z = top - 0.19 - 0.31 * k as f32;
        list.ball(on.at(x - 0.16, y, z), 0.1, 0.1, Surface::Lamp(lamp));
    }
}

fn plate_on_mast(list: &mut PartList, on: &Stand, thick: f32, draws: &mut Draws) {
    list.class = Class::SignSymbol;
    let low = draws.between(2.1, 3.0);
    let half = draws.between(0.2, 0.4);
    let (face, high) = match draws.index(4) {
        0 => (SignFace::Limit, half * 2.0),
        1 => (SignFace::Mandatory, half * 2.0),
        _ => (SignFace::Panel, half * draws.between(0.8, 2.8)),
    };
    let seed = draws.bits() as u32 & !super::surface::SIGN_BACK;
    // Across the road's direction, which is the stand's y axis.
    for y in [-thick - 0.03, thick + 0.03] {
        let p = |x: f32, z: f32| -> Vec3 { on.at(x, y, z) };
        let corners = [
            p(-half, low),
            p(half, low),
            p(half, low + high),
            p(-half, low + high),
        ];
        list.face(corners, Surface::Sign(face, seed));
    }
}
