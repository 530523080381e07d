//! Trees: a trunk with clumps of leaves, or bare branches with a haze of twigs; bushes.

use super::geometry::{Vec3, vec3};
use super::random::Draws;
use super::scene::{Class, Contact, Footprint, PartList, Thing};
use super::surface::Surface;

/// A tree of `height_m` at a point on the ground; `leafy` in 0..1 says how likely it has leaves.
pub(crate) fn tree(foot: Vec3, height_m: f32, leafy: f32, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::Tree);
    let bark = Surface::Bark(
        vec3(0.085, 0.07, 0.055) * draws.between(0.6, 1.2),
        draws.bits() as u32,
    );
    let girth = 0.014 * height_m + draws.between(0.02, 0.07);
    let lean = vec3(draws.between(-0.05, 0.05), draws.between(-0.05, 0.05), 1.0);
    let fork = foot + lean * (height_m * draws.between(0.28, 0.4));
    list.limb(foot - vec3(0.0, 0.0, 0.1), fork, girth, girth * 0.8, bark);
    let crown = foot + lean * (height_m * 0.66);
    let spread = height_m * draws.between(0.24, 0.36);
    let rise = height_m * 0.36;
    if draws.unit() < leafy {
        let tone = draws.pick(&[
            vec3(0.130, 0.175, 0.060),
            vec3(0.170, 0.195, 0.070),
            vec3(0.105, 0.150, 0.065),
            vec3(0.210, 0.185, 0.075),
            vec3(0.065, 0.100, 0.052),
        ]);
        for _ in 0..5 {
            let tip = crown + inside_ball(draws) * (spread * 0.6);
            list.limb(fork, tip, girth * 0.5, girth * 0.15, bark);
        }
        let clumps = 26 + draws.index(14);
        for _ in 0..clumps {
            let q = inside_ball(draws);
            let centre = crown + vec3(q.x * spread, q.y * spread, q.z * rise);
            let radius = spread * draws.between(0.28, 0.5);
            let shade = 0.7 + 0.35 * q.z + draws.between(-0.1, 0.15);
            let leaves = Surface::Leaves(tone * shade.max(0.35), draws.bits() as u32, 0.56);
            list.ball(centre, radius, radius * 0.85, leaves);
        }
    } else {
        let twig = Surface::Twigs(vec3(0.07, 0.058, 0.047), draws.bits() as u32, 1.0);
        for _ in 0..9 {
            let q = inside_ball(draws);
            let centre = crown + vec3(q.x * spread * 0.75, q.y * spread * 0.75, q.z * rise * 0.7);
            list.ball(centre, spread * 0.5, spread * 0.58, twig);
        }
        let boughs = 5 + draws.index(3);
        for _ in 0..boughs {
            bough(
                &mut list,
                fork,
                crown,
                spread,
                rise,
                girth * 0.55,
                bark,
                draws,
            );
        }
    }
    let contact = Contact {
        centre: foot,
        half_length_m: girth * 2.0,
        half_width_m: girth * 2.0,
        axis: [1.0, 0.0],
        depth: 0.45,
    };
    let mut thing = Thing::new(list.parts, Footprint::Disc([foot.x, foot.y], girth), 190.0);
    thing.contact = Some(contact);
    thing
}

/// A round bush of a radius.
pub(crate) fn bush(foot: Vec3, radius_m: f32, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::Tree);
    let tone = vec3(0.10, 0.135, 0.055) * draws.between(0.7, 1.4);
    for k in 0..7 {
        let q = inside_ball(draws);
        let low = if k < 4 { 0.35 } else { 0.8 };
        let centre = foot + vec3(q.x, q.y, low + 0.2 * q.z) * radius_m;
        let leaves = Surface::Leaves(tone * (0.75 + 0.3 * low), draws.bits() as u32, 0.75);
        list.ball(centre, radius_m * 0.75, radius_m * 0.65, leaves);
    }
    Thing::new(
        list.parts,
        Footprint::Disc([foot.x, foot.y], radius_m),
        120.0,
    )
}

#[allow(
    clippy::too_many_arguments,
    reason = "one branch is all of these numbers"
)]
fn bough(
    list: &mut PartList,
    fork: Vec3,
    crown: Vec3,
    spread: f32,
    rise: f32,
    girth: f32,
    bark: Surface,
    draws: &mut Draws,
) {
    let q = inside_ball(draws).unit();
    let tip = crown
        + vec3(
            q.x * spread * 0.7,
            q.y * spread * 0.7,
            q.z.abs() * rise * 0.8,
        );
    list.limb(fork, tip, girth, girth * 0.35, bark);
    for _ in 0..4 {
        let from = fork.mix(tip, draws.between(0.35, 0.95));
        let way = (inside_ball(draws) + q * 0.6 + vec3(0.0, 0.0, 0.5)).unit();
        let end = from + way * (spread * draws.between(0.4, 0.75));
        list.limb(from, end, girth * 0.4, girth * 0.12, bark);
        for _ in 0..3 {
            let from = from.mix(end, draws.between(0.3, 0.95));
            let way = (inside_ball(draws) + way * 0.7 + vec3(0.0, 0.0, 0.3)).unit();
            let end = from + way * (spread * draws.between(0.2, 0.4));
            list.limb(from, end, girth * 0.17, girth * 0.06, bark);
        }
    }
}

fn inside_ball(draws: &mut Draws) -> Vec3 {
    for _ in 0..16 {
        let p = vec3(
            draws.between(-1.0, 1.0),
            draws.between(-1.0, 1.0),
            draws.between(-1.0, 1.0),
        );
        if p.dot(p) <= 1.0 {
            return p;
        }
    }
    Vec3::default()
}
