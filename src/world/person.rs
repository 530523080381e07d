//! People on foot and on bicycles.

use super::bicycle::{CRANK_M, bicycle};
use super::geometry::{Vec3, vec3};
use super::random::Draws;
use super::scene::{Class, Contact, Footprint, PartList, Stand, Thing};
use super::surface::Surface;

pub(super) const PERSON_REACH_M: f32 = 36.0;
const CYCLIST_REACH_M: f32 = 38.0;

struct Outfit {
    coat: Surface,
    trousers: Surface,
    skin: Surface,
    hair: Surface,
    shoes: Surface,
}

impl Outfit {
    fn new(draws: &mut Draws) -> Self {
        let tones = [
            vec3(0.015, 0.015, 0.018),
            vec3(0.02, 0.02, 0.022),
            vec3(0.02, 0.025, 0.05),
            vec3(0.03, 0.035, 0.07),
            vec3(0.07, 0.07, 0.075),
            vec3(0.09, 0.065, 0.04),
            vec3(0.035, 0.045, 0.025),
            vec3(0.16, 0.02, 0.02),
            vec3(0.38, 0.37, 0.35),
            vec3(0.02, 0.06, 0.16),
            vec3(0.30, 0.22, 0.14),
        ];
        let coat = draws.pick(&tones);
        let trousers = draws.pick(&tones[..6]);
        let skin = draws.pick(&[
            vec3(0.36, 0.21, 0.15),
            vec3(0.30, 0.17, 0.11),
            vec3(0.10, 0.055, 0.035),
        ]);
        let hair = draws.pick(&[
            vec3(0.015, 0.012, 0.01),
            vec3(0.05, 0.03, 0.018),
            vec3(0.16, 0.11, 0.05),
            vec3(0.2, 0.2, 0.2),
        ]);
        let seed = draws.bits() as u32;
        Self {
            coat: Surface::Cloth(coat, seed),
            trousers: Surface::Cloth(trousers, seed ^ 3),
            skin: Surface::Cloth(skin, 0),
            hair: Surface::Cloth(hair, 0),
            shoes: Surface::Cloth(vec3(0.012, 0.011, 0.01), 0),
        }
    }
}

/// Somebody at a stand, facing along its x axis; `stride` is the phase of the step in turns, None
/// for standing still.
pub(crate) fn pedestrian(on: &Stand, stride: Option<f32>, draws: &mut Draws) -> Thing {
    let outfit = Outfit::new(draws);
    let k = draws.between(0.9, 1.07);
    let broad = draws.between(0.95, 1.2);
    let mut list = PartList::new(Class::Pedestrian);
    let at = |x: f32, y: f32, z: f32| on.at(x * k, y * k, z * k);
    let swing = stride.map_or(0.04, |turns| 0.5 * (turns * std::f32::consts::TAU).sin());
    let skirt = draws.chance(0.25);
    for (side, sign) in [(0.1f32, 1.0f32), (-0.1, -1.0)] {
        let reach = swing * sign;
        let hip = at(0.0, side, 0.88);
        let knee = at(reach * 0.42 + 0.04, side, 0.48);
        let lift = (-reach).max(0.0) * 0.16;
        let heel = at(reach * 0.72, side, 0.08 + lift);
        let thigh = if skirt { outfit.coat } else { outfit.trousers };
        list.limb(hip, knee, 0.095 * broad * k, 0.07 * k, thigh);
        list.limb(knee, heel, 0.068 * k, 0.05 * k, outfit.trousers);
        list.limb(
            heel,
            at(reach * 0.72 + 0.15, side, 0.055 + lift),
            0.05,
            0.04,
            outfit.shoes,
        );
        let shoulder = at(0.0, side * 2.1 * broad, 1.38);
        let elbow = at(-reach * 0.25, side * 2.5 * broad, 1.1);
        let hand = at(-reach * 0.4 + 0.1, side * 2.4 * broad, 0.86);
        list.limb(shoulder, elbow, 0.062 * k, 0.055 * k, outfit.coat);
        list.limb(elbow, hand, 0.052 * k, 0.042 * k, outfit.coat);
        list.ball(hand, 0.05, 0.06, outfit.skin);
    }
    let hem = if skirt { 0.6 } else { 0.86 };
    list.limb(
        at(0.0, 0.0, hem),
        at(0.0, 0.0, 1.2),
        0.17 * broad * k,
        0.165 * k,
        outfit.coat,
    );
    list.limb(
        at(0.0, 0.0, 1.1),
        at(0.01, 0.0, 1.34),
        0.165 * k,
        0.17 * broad * k,
        outfit.coat,
    );
    list.limb(
        at(0.0, -0.15 * broad, 1.38),
        at(0.0, 0.15 * broad, 1.38),
        0.085 * k,
        0.085 * k,
        outfit.coat,
    );
    head(&mut list, &|x, y, z| at(x, y, z), [0.02, 1.62], k, &outfit);
    if draws.chance(0.35) {
        let side = if draws.chance(0.5) { 0.3 } else { -0.3 };
        let tone = draws.pick(&[
            vec3(0.02, 0.02, 0.02),
            vec3(0.12, 0.05, 0.03),
            vec3(0.4, 0.4, 0.38),
        ]);
        list.limb(
            at(0.0, side, 0.62),
            at(0.0, side, 0.82),
            0.13,
            0.11,
            Surface::Cloth(tone, 4),
        );
    }
    let footprint = Footprint::Disc([on.origin.x, on.origin.y], 0.28);
    body(list, on, footprint, 0.22, 0.22, PERSON_REACH_M)
}

/// A cyclist at a stand, riding along its x axis; `turns` is the phase of the pedals, `coat` an
/// albedo in place of one of the usual.
pub(crate) fn cyclist(on: &Stand, turns: f32, coat: Option<Vec3>, draws: &mut Draws) -> Thing {
    let mut outfit = Outfit::new(draws);
    if let Some(coat) = coat {
        outfit.coat = Surface::Cloth(coat, 3);
    }
    let mut list = PartList::new(Class::Bicyclist);
    let at = |x: f32, y: f32, z: f32| on.at(x, y, z);
    bicycle(&mut list, on, draws);
    let crank = CRANK_M;
    let angle = turns * std::f32::consts::TAU;
    for (side, phase) in [(0.11f32, 0.0f32), (-0.11, std::f32::consts::PI)] {
        let (sin, cos) = (angle + phase).sin_cos();
        let foot = at(crank[0] + 0.17 * cos, side, crank[1] + 0.17 * sin);
        let knee = at(0.2 + 0.06 * cos, side * 1.2, 0.72 + 0.12 * sin);
        let hip = at(-0.2, side, 0.97);
        list.limb(hip, knee, 0.1, 0.075, outfit.trousers);
        list.limb(knee, foot, 0.07, 0.05, outfit.trousers);
        list.limb(
            foot,
            at(crank[0] + 0.17 * cos + 0.13, side, crank[1] + 0.17 * sin),
            0.045,
            0.035,
            outfit.shoes,
        );
        let shoulder = at(0.06, side * 1.8, 1.42);
        let hand = at(0.37, side * 2.1, 1.06);
        list.limb(shoulder, hand, 0.062, 0.042, outfit.coat);
        list.ball(hand, 0.05, 0.05, outfit.skin);
    }
    list.limb(
        at(-0.18, 0.0, 1.0),
        at(0.05, 0.0, 1.36),
        0.17,
        0.18,
        outfit.coat,
    );
    list.limb(
        at(0.06, -0.16, 1.42),
        at(0.06, 0.16, 1.42),
        0.085,
        0.085,
        outfit.coat,
    );
    head(
        &mut list,
        &|x, y, z| at(x, y, z),
        [0.16, 1.62],
        1.0,
        &outfit,
    );
    if draws.chance(0.5) {
        let tone = draws.pick(&[
            vec3(0.5, 0.5, 0.5),
            vec3(0.4, 0.02, 0.02),
            vec3(0.02, 0.02, 0.02),
        ]);
        list.ball(at(0.15, 0.0, 1.72), 0.13, 0.09, Surface::Cloth(tone, 2));
    }
    let footprint = on.rectangle(-0.86, 0.88, -0.3, 0.3);
    body(list, on, footprint, 0.75, 0.12, CYCLIST_REACH_M)
}

fn head(
    list: &mut PartList,
    at: &impl Fn(f32, f32, f32) -> Vec3,
    place: [f32; 2],
    k: f32,
    outfit: &Outfit,
) {
    let [x, z] = place;
    list.limb(
        at(x - 0.02, 0.0, z - 0.2),
        at(x, 0.0, z - 0.08),
        0.055 * k,
        0.055 * k,
        outfit.skin,
    );
    list.ball(at(x, 0.0, z), 0.095 * k, 0.125 * k, outfit.skin);
    list.ball(
        at(x - 0.035, 0.0, z + 0.035),
        0.1 * k,
        0.115 * k,
        outfit.hair,
    );
}

fn body(
    list: PartList,
    on: &Stand,
    footprint: Footprint,
    half_length_m: f32,
    half_width_m: f32,
    reach_m: f32,
) -> Thing {
    let mut thing = Thing::new(list.parts, footprint, reach_m);
    thing.contact = Some(Contact {
        centre: on.origin,
        half_length_m,
        half_width_m,
        axis: [on.cos, on.sin],
        depth: 0.6,
    });
    thing
}
