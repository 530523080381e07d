//! People of a varied world: coats of several lengths, skirts, hoods and hats, bags, umbrellas,
//! children, and trolleys of shops.

use super::geometry::{Vec3, vec3};
use super::person::PERSON_REACH_M;
use super::random::Draws;
use super::scene::{Class, Contact, Footprint, PartList, Stand, Thing};
use super::surface::Surface;

/// What somebody pushes along.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pushing {
    Nothing,
    /// A shop's wire trolley: no class of its own.
    Trolley,
}

struct Look {
    coat: Surface,
    hem_m: f32,
    legs: Surface,
    skin: Surface,
    hair: Surface,
    shoes: Surface,
    /// Of the height of a grown man.
    size: f32,
    girth: f32,
}

impl Look {
    fn new(draws: &mut Draws) -> Self {
        let dark = [
            vec3(0.012, 0.012, 0.014),
            vec3(0.02, 0.022, 0.03),
            vec3(0.02, 0.028, 0.06),
            vec3(0.045, 0.04, 0.036),
            vec3(0.03, 0.04, 0.025),
            vec3(0.075, 0.075, 0.08),
        ];
        let bright = [
            vec3(0.36, 0.02, 0.025),
            vec3(0.45, 0.44, 0.42),
            vec3(0.02, 0.07, 0.22),
            vec3(0.30, 0.23, 0.15),
            vec3(0.03, 0.12, 0.10),
            vec3(0.35, 0.16, 0.20),
            vec3(0.55, 0.55, 0.06),
            vec3(0.16, 0.15, 0.15),
            vec3(0.10, 0.17, 0.30),
        ];
        let mut tone = |pale: f32| {
            let tone = if draws.chance(pale) {
                draws.pick(&bright)
            } else {
                draws.pick(&dark)
            };
            Surface::Cloth(tone * draws.between(0.7, 1.3), draws.bits() as u32)
        };
        let (coat, legs, shoes) = (tone(0.45), tone(0.25), tone(0.15));
        let jeans = Surface::Cloth(vec3(0.04, 0.06, 0.12), draws.bits() as u32);
        let skin = draws.pick(&[
            vec3(0.38, 0.23, 0.17),
            vec3(0.30, 0.17, 0.11),
            vec3(0.16, 0.09, 0.06),
            vec3(0.08, 0.045, 0.03),
        ]);
        let hair = draws.pick(&[
            vec3(0.012, 0.01, 0.009),
            vec3(0.045, 0.028, 0.016),
            vec3(0.18, 0.12, 0.055),
            vec3(0.25, 0.25, 0.25),
            vec3(0.12, 0.04, 0.015),
        ]);
        let skin = Surface::Cloth(skin, 0);
        let legs = match draws.index(6) {
            0 | 1 => jeans,
            2 if draws.chance(0.3) => skin,
            _ => legs,
        };
        Self {
            coat,
            // At the waist, at the hip or at the knee.
            hem_m: draws.pick(&[0.92, 0.86, 0.8, 0.72, 0.5]),
            legs,
            skin,
            hair: Surface::Cloth(hair, 0),
            shoes,
            size: if draws.chance(0.12) {
                draws.between(0.58, 0.8)
            } else {
                draws.between(0.9, 1.07)
            },
            girth: draws.between(0.85, 1.3),
        }
    }
}

/// Somebody at a stand, facing along its x axis; `stride` is the phase of the step in turns, None
/// for standing still.
pub(crate) fn walker(
    on: &Stand,
    stride: Option<f32>,
    pushing: Pushing,
    draws: &mut Draws,
) -> Thing {
    let look = Look::new(draws);
    let (k, g) = (look.size, look.girth);
    let at = |x: f32, y: f32, z: f32| on.at(x * k, y * k, z * k);
    let mut list = PartList::new(Class::Pedestrian);
    let swing = stride.map_or(0.03, |turns| 0.55 * (turns * std::f32::consts::TAU).sin());
    let lean = draws.between(-0.02, 0.07);
    for sign in [1.0f32, -1.0] {
        leg(&mut list, &at, sign, swing * sign, &look);
    }
    trunk(&mut list, &at, lean, &look);
    let umbrella = draws.chance(0.06);
    for sign in [1.0f32, -1.0] {
        let shoulder = at(lean, 0.2 * g * sign, 1.4);
        // Swinging, in the pocket, at the ear, on the handle, or holding the umbrella.
        let (elbow, hand) = match draws.index(5) {
            _ if pushing != Pushing::Nothing => ([0.12, 0.25, 1.12], [0.42, 0.2, 1.02]),
            _ if umbrella && sign > 0.0 => ([0.12, 0.24, 1.16], [0.25, 0.16, 1.32]),
            0 => ([-0.05, 0.32, 1.12], [0.08, 0.2, 0.95]),
            1 if sign > 0.0 => ([0.15, 0.27, 1.22], [0.1, 0.14, 1.58]),
            _ => {
                let back = -swing * sign;
                ([back * 0.3, 0.27, 1.12], [back * 0.5 + 0.08, 0.25, 0.86])
            }
        };
        let joint = |p: [f32; 3]| at(p[0] + lean, p[1] * g * sign, p[2]);
        let (elbow, hand) = (joint(elbow), joint(hand));
        list.limb(shoulder, elbow, 0.065 * g * k, 0.055 * k, look.coat);
        list.limb(elbow, hand, 0.052 * k, 0.042 * k, look.coat);
        list.ball(hand, 0.048 * k, 0.055 * k, look.skin);
    }
    head(&mut list, &at, lean, &look, draws);
    bags(&mut list, &at, lean, k, draws);
    if umbrella {
        canopy(&mut list, &at, k, draws);
    }
    if pushing == Pushing::Trolley {
        trolley(&mut list, on);
    }
    let footprint = Footprint::Disc([on.origin.x, on.origin.y], 0.28);
    let mut thing = Thing::new(list.parts, footprint, PERSON_REACH_M + 8.0);
    thing.contact = Some(Contact {
        centre: on.origin,
        half_length_m: 0.22,
        half_width_m: 0.22,
        axis: [on.cos, on.sin],
        depth: 0.6,
    });
    thing
}

fn leg(
    list: &mut PartList,
    at: &impl Fn(f32, f32, f32) -> Vec3,
    sign: f32,
    reach: f32,
    look: &Look,
) {
    let (k, g) = (look.size, look.girth);
    let side = 0.09 * g * sign;
    let lift = (-reach).max(0.0) * 0.2;
    let (hip, knee) = (at(0.0, side, 0.9), at(reach * 0.45 + 0.04, side, 0.49));
    let heel = at(reach * 0.72, side, 0.08 + lift);
    list.limb(hip, knee, 0.092 * g * k, 0.068 * g * k, look.legs);
    list.limb(knee, heel, 0.066 * g * k, 0.05 * k, look.legs);
    let toe = at(reach * 0.72 + 0.16, side, 0.05 + lift);
    list.limb(heel, toe, 0.052 * k, 0.042 * k, look.shoes);
}

fn trunk(list: &mut PartList, at: &impl Fn(f32, f32, f32) -> Vec3, lean: f32, look: &Look) {
    let (k, g) = (look.size, look.girth);
    // Two columns beside each other: a body is wider than it is deep.
    for sign in [0.07f32, -0.07] {
        let y = sign * g;
        let flare = if look.hem_m < 0.7 { 0.15 } else { 0.125 };
        list.limb(
            at(0.0, y, look.hem_m + 0.1),
            at(lean * 0.6, y, 1.15),
            flare * g * k,
            0.115 * g * k,
            look.coat,
        );
        list.limb(
            at(lean * 0.6, y, 1.1),
            at(lean, y * 1.15, 1.36),
            0.115 * g * k,
            0.12 * g * k,
            look.coat,
        );
    }
    let shoulders = 0.16 * g;
    list.limb(
        at(lean, -shoulders, 1.4),
        at(lean, shoulders, 1.4),
        0.078 * k,
        0.078 * k,
        look.coat,
    );
}

fn head(
    list: &mut PartList,
    at: &impl Fn(f32, f32, f32) -> Vec3,
    lean: f32,
    look: &Look,
    draws: &mut Draws,
) {
    let k = look.size;
    // A child's head is large for its body.
    let h = if k < 0.85 { k * 1.2 } else { k };
    let x = lean + 0.03;
    list.limb(
        at(x - 0.02, 0.0, 1.42),
        at(x, 0.0, 1.54),
        0.055 * k,
        0.055 * k,
        look.skin,
    );
    list.ball(at(x, 0.0, 1.63), 0.092 * h, 0.122 * h, look.skin);
    match draws.index(6) {
        // A hood or a woollen hat.
        0 => list.ball(at(x - 0.03, 0.0, 1.65), 0.115 * h, 0.14 * h, look.coat),
        1 => {
            let wool = Surface::Cloth(vec3(0.06, 0.03, 0.03) * draws.between(0.2, 3.0), 5);
            list.ball(at(x - 0.01, 0.0, 1.7), 0.105 * h, 0.09 * h, wool);
        }
        // Hair to the shoulders.
        2 | 3 => {
            list.ball(at(x - 0.035, 0.0, 1.665), 0.1 * h, 0.115 * h, look.hair);
            list.limb(
                at(x - 0.06, 0.0, 1.62),
                at(x - 0.07, 0.0, 1.45),
                0.09 * h,
                0.07 * h,
                look.hair,
            );
        }
        4 => {}
        _ => list.ball(at(x - 0.035, 0.0, 1.665), 0.1 * h, 0.115 * h, look.hair),
    }
}

fn bags(
    list: &mut PartList,
    at: &impl Fn(f32, f32, f32) -> Vec3,
    lean: f32,
    k: f32,
    draws: &mut Draws,
) {
    let tone = draws.pick(&[
        vec3(0.015, 0.015, 0.017),
        vec3(0.02, 0.04, 0.14),
        vec3(0.25, 0.02, 0.02),
        vec3(0.14, 0.08, 0.04),
        vec3(0.5, 0.5, 0.48),
        vec3(0.5, 0.25, 0.03),
    ]);
    let cloth = Surface::Cloth(tone, 6);
    match draws.index(6) {
        0 => list.limb(
            at(lean - 0.19, 0.0, 1.05),
            at(lean - 0.18, 0.0, 1.3),
            0.14 * k,
            0.12 * k,
            cloth,
        ),
        1 => {
            list.limb(
                at(0.0, 0.3, 0.78),
                at(0.0, 0.3, 0.95),
                0.13 * k,
                0.11 * k,
                cloth,
            );
            list.limb(
                at(0.0, 0.27, 1.0),
                at(lean, 0.05, 1.42),
                0.025 * k,
                0.025 * k,
                cloth,
            );
        }
        2 => {
            for sign in [1.0f32, -1.0] {
                if sign > 0.0 || draws.chance(0.4) {
                    let y = 0.29 * sign;
                    list.limb(
                        at(0.08, y, 0.45),
                        at(0.08, y, 0.7),
                        0.13 * k,
                        0.07 * k,
                        cloth,
                    );
                }
            }
        }
        _ => {}
    }
}

fn canopy(list: &mut PartList, at: &impl Fn(f32, f32, f32) -> Vec3, k: f32, draws: &mut Draws) {
    let cloth = Surface::Cloth(
        draws.pick(&[
            vec3(0.015, 0.015, 0.017),
            vec3(0.03, 0.05, 0.2),
            vec3(0.3, 0.02, 0.03),
            vec3(0.1, 0.25, 0.3),
        ]),
        7,
    );
    let tip = at(0.2, 0.1, 2.15);
    list.limb(at(0.25, 0.14, 1.3), tip, 0.012 * k, 0.012 * k, cloth);
    let rim = |n: i32| {
        let (sin, cos) = (std::f32::consts::TAU * n as f32 / 8.0).sin_cos();
        at(0.2 + 0.52 * cos, 0.1 + 0.52 * sin, 1.92)
    };
    for n in 0..8 {
        list.triangle([rim(n), rim(n + 1), tip], cloth);
    }
}

fn trolley(list: &mut PartList, on: &Stand) {
    list.class = Class::Unlabelled;
    let wire = Surface::Railing(vec3(0.25, 0.25, 0.26), 0.06);
    let steel = Surface::Metal(vec3(0.25, 0.25, 0.26));
    let (near, far, half) = (0.45, 1.3, 0.26);
    let p = |x: f32, y: f32, z: f32| on.at(x, y, z);
    for y in [-half, half] {
        list.quad(
            [
                p(near, y, 0.5),
                p(far, y, 0.6),
                p(far, y, 0.95),
                p(near, y, 1.0),
            ],
            wire,
        );
        list.limb(p(near, y, 1.02), p(far, y * 0.8, 0.2), 0.015, 0.015, steel);
        list.limb(p(near, y, 0.12), p(far, y * 0.8, 0.12), 0.02, 0.02, steel);
        for x in [near, far] {
            list.ball(
                p(x, y, 0.07),
                0.06,
                0.07,
                Surface::Cloth(vec3(0.02, 0.02, 0.02), 0),
            );
        }
    }
    for x in [near, far] {
        list.quad(
            [
                p(x, -half, 0.5),
                p(x, half, 0.5),
                p(x, half, 0.97),
                p(x, -half, 0.97),
            ],
            wire,
        );
    }
    let grip = Surface::Cloth(vec3(0.3, 0.02, 0.02), 0);
    list.limb(
        p(near, -half, 1.02),
        p(near, half, 1.02),
        0.025,
        0.025,
        grip,
    );
}
