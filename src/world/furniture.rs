//! Street furniture: lamp posts, signs, traffic lights, bollards.

use super::geometry::{Vec3, vec3};
use super::random::Draws;
use super::scene::{Class, Contact, Footprint, Part, PartList, Stand, Thing};
use super::surface::{SIGN_BACK, SignFace, Surface};

// Beyond these distances a pole or sign is some three pixels of a 480-wide image: noise to label.
pub(super) const POLE_REACH_M: f32 = 36.0;
pub(super) const SIGN_REACH_M: f32 = 33.0;
/// Radiance of a traffic light's red, amber and green when lit.
pub(super) const SIGNAL_GLOW: [Vec3; 3] = [
    vec3(1.6, 0.12, 0.08),
    vec3(1.5, 0.7, 0.05),
    vec3(0.1, 1.4, 0.75),
];

/// A lamp post at a stand whose x axis points over the road.
pub(crate) fn lamp_post(on: &Stand, lit: bool, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::Pole);
    let height = draws.between(6.0, 8.5);
    let tone = draws.pick(&[0.05f32, 0.12, 0.2, 0.28]);
    let metal = Surface::Metal(vec3(tone, tone, tone * 1.05));
    list.limb(
        on.at(0.0, 0.0, -0.05),
        on.at(0.0, 0.0, 1.3),
        0.17,
        0.16,
        metal,
    );
    list.limb(
        on.at(0.0, 0.0, 1.2),
        on.at(0.0, 0.0, height),
        0.125,
        0.105,
        metal,
    );
    let arm = draws.between(0.8, 1.8);
    let tip = on.at(arm, 0.0, height + 0.35);
    list.limb(on.at(0.0, 0.0, height - 0.1), tip, 0.085, 0.075, metal);
    let glow = if lit {
        vec3(1.3, 0.85, 0.35)
    } else {
        vec3(0.25, 0.25, 0.25)
    };
    let head = Stand { origin: tip, ..*on };
    list.block(&head, [-0.15, -0.14, -0.1], [0.55, 0.14, 0.06], metal);
    list.quad(
        [
            head.at(-0.1, -0.12, -0.11),
            head.at(0.5, -0.12, -0.11),
            head.at(0.5, 0.12, -0.11),
            head.at(-0.1, 0.12, -0.11),
        ],
        Surface::Lamp(glow),
    );
    standing(list.parts, on.origin, 0.17, POLE_REACH_M)
}

/// A wooden pole with a cross-arm.
pub(crate) fn telegraph_pole(on: &Stand, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::Pole);
    let wood = Surface::Bark(vec3(0.11, 0.085, 0.065), draws.bits() as u32);
    let height = draws.between(7.0, 9.0);
    list.limb(
        on.at(0.0, 0.0, -0.05),
        on.at(0.0, 0.0, height),
        0.16,
        0.13,
        wood,
    );
    list.limb(
        on.at(-0.7, 0.0, height - 0.5),
        on.at(0.7, 0.0, height - 0.5),
        0.09,
        0.09,
        wood,
    );
    standing(list.parts, on.origin, 0.16, POLE_REACH_M)
}

/// A post with one or two signs that face along -x of the stand.
pub(crate) fn sign_post(on: &Stand, back: bool, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::Pole);
    let metal = Surface::Metal(vec3(0.17, 0.17, 0.175));
    let foot = draws.between(2.0, 2.4);
    let size = draws.between(0.36, 0.48);
    let face = draws.pick(&[
        SignFace::Limit,
        SignFace::Limit,
        SignFace::Warning,
        SignFace::Warning,
        SignFace::Mandatory,
        SignFace::Mandatory,
        SignFace::GiveWay,
        SignFace::Plate,
    ]);
    let plate = draws.chance(0.35);
    let top = foot + size * 2.0 + if plate { 0.5 } else { 0.0 };
    list.limb(
        on.at(0.04, 0.0, -0.05),
        on.at(0.04, 0.0, top),
        0.08,
        0.08,
        metal,
    );
    list.class = Class::SignSymbol;
    let seed = draws.bits() as u32;
    let mut height = foot;
    if plate {
        sign(
            &mut list,
            on,
            -0.05,
            0.4,
            height,
            0.42,
            SignFace::Plate,
            seed,
            back,
        );
        height += 0.5;
    }
    sign(
        &mut list,
        on,
        -0.05,
        size,
        height,
        size * 2.0,
        face,
        seed,
        back,
    );
    standing(list.parts, on.origin, 0.06, SIGN_REACH_M)
}

/// A big board on two posts.
pub(crate) fn direction_board(on: &Stand, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::Pole);
    let metal = Surface::Metal(vec3(0.17, 0.17, 0.175));
    let (half, low, high) = (draws.between(0.8, 1.2), 1.5, draws.between(2.6, 3.1));
    for y in [-half * 0.7, half * 0.7] {
        list.limb(
            on.at(0.06, y, -0.05),
            on.at(0.06, y, high),
            0.08,
            0.08,
            metal,
        );
    }
    list.class = Class::SignSymbol;
    let seed = draws.bits() as u32;
    sign(
        &mut list,
        on,
        -0.04,
        half,
        low,
        high - low,
        SignFace::Plate,
        seed,
        false,
    );
    let footprint = on.rectangle(-0.1, 0.15, -half, half);
    let mut thing = Thing::new(list.parts, footprint, SIGN_REACH_M + 14.0);
    thing.contact = Some(spot(on.origin, 0.2));
    thing
}

/// A board that stands out from a shop front; `on` is at the wall, x along the road, y off it.
pub(crate) fn hanging_sign(on: &Stand, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::SignSymbol);
    let (low, size) = (draws.between(2.9, 3.4), draws.between(0.7, 1.1));
    let seed = draws.bits() as u32;
    let p = |y: f32, z: f32| on.at(0.0, y, z);
    let face = Surface::Sign(SignFace::Plate, seed & !SIGN_BACK);
    list.face(
        [
            p(0.15, low),
            p(0.15 + size, low),
            p(0.15 + size, low + size),
            p(0.15, low + size),
        ],
        face,
    );
    Thing::new(list.parts, Footprint::Nothing, SIGN_REACH_M)
}

/// Traffic lights that face along -x of the stand; `state` 0 red, 1 amber, 2 green.
pub(crate) fn traffic_light(on: &Stand, state: usize) -> Thing {
    let mut list = PartList::new(Class::Pole);
    let metal = Surface::Metal(vec3(0.05, 0.05, 0.05));
    list.limb(
        on.at(0.1, 0.0, -0.05),
        on.at(0.1, 0.0, 3.4),
        0.1,
        0.095,
        metal,
    );
    list.class = Class::SignSymbol;
    let black = Surface::Matte(vec3(0.012, 0.012, 0.013));
    list.block(on, [-0.12, -0.17, 2.3], [0.1, 0.17, 3.35], black);
    list.quad(
        [
            on.at(-0.02, -0.3, 2.15),
            on.at(-0.02, 0.3, 2.15),
            on.at(-0.02, 0.3, 3.5),
            on.at(-0.02, -0.3, 3.5),
        ],
        black,
    );
    for (k, colour) in SIGNAL_GLOW.into_iter().enumerate() {
        let on_now = k == state;
        let lamp = if on_now { colour } else { colour * 0.03 };
        let z = 3.15 - 0.33 * k as f32;
        list.ball(on.at(-0.16, 0.0, z), 0.11, 0.11, Surface::Lamp(lamp));
    }
    standing(list.parts, on.origin, 0.12, SIGN_REACH_M + 6.0)
}

/// A bollard.
pub(crate) fn bollard(foot: Vec3, pale: bool) -> Thing {
    let mut list = PartList::new(Class::Pole);
    let dark = Surface::Metal(vec3(0.03, 0.03, 0.03));
    list.limb(
        foot - vec3(0.0, 0.0, 0.05),
        foot + vec3(0.0, 0.0, 0.95),
        0.12,
        0.105,
        dark,
    );
    if pale {
        let band = Surface::Metal(vec3(0.6, 0.6, 0.58));
        list.limb(
            foot + vec3(0.0, 0.0, 0.72),
            foot + vec3(0.0, 0.0, 0.82),
            0.125,
            0.125,
            band,
        );
    }
    standing(list.parts, foot, 0.12, 22.0)
}

#[allow(
    clippy::too_many_arguments,
    reason = "one plate is all of these numbers"
)]
pub(super) fn sign(
    list: &mut PartList,
    on: &Stand,
    x: f32,
    half: f32,
    low: f32,
    height: f32,
    face: SignFace,
    seed: u32,
    back: bool,
) {
    let high = low + height;
    let corners = |x: f32| {
        [
            on.at(x, half, low),
            on.at(x, -half, low),
            on.at(x, -half, high),
            on.at(x, half, high),
        ]
    };
    let seed = if back {
        seed | SIGN_BACK
    } else {
        seed & !SIGN_BACK
    };
    list.face(corners(x), Surface::Sign(face, seed));
}

pub(super) fn standing(parts: Vec<Part>, foot: Vec3, radius: f32, reach_m: f32) -> Thing {
    let mut thing = Thing::new(parts, Footprint::Disc([foot.x, foot.y], radius), reach_m);
    thing.contact = Some(spot(foot, radius));
    thing
}

fn spot(foot: Vec3, radius: f32) -> Contact {
    Contact {
        centre: foot,
        half_length_m: radius,
        half_width_m: radius,
        axis: [1.0, 0.0],
        depth: 0.35,
    }
}
