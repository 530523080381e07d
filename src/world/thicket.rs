//! Plants of a varied world: conifers and bare thickets.

use super::geometry::{Vec3, vec3};
use super::random::Draws;
use super::scene::{Class, Footprint, PartList, Thing};
use super::surface::Surface;

/// A conifer of `height_m`: a slim dark cone to the ground.
pub(crate) fn conifer(foot: Vec3, height_m: f32, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::Tree);
    let tone = draws.pick(&[
        vec3(0.035, 0.055, 0.03),
        vec3(0.05, 0.075, 0.045),
        vec3(0.075, 0.09, 0.035),
    ]) * draws.between(0.7, 1.3);
    let girth = height_m * draws.between(0.1, 0.24);
    let levels = 9;
    for level in 0..levels {
        let f = level as f32 / levels as f32;
        for _ in 0..2 {
            let radius = girth * (1.05 - f) * draws.between(0.8, 1.1);
            let (dx, dy) = (draws.between(-0.4, 0.4), draws.between(-0.4, 0.4));
            let centre = foot + vec3(dx * radius, dy * radius, height_m * (0.07 + 0.9 * f));
            let leaves = Surface::Leaves(tone * draws.between(0.7, 1.2), draws.bits() as u32, 0.7);
            list.ball(centre, radius, height_m * 0.1, leaves);
        }
    }
    let footprint = Footprint::Disc([foot.x, foot.y], girth * 0.6);
    Thing::new(list.parts, footprint, 170.0)
}

/// A leafless shrub of a radius: a haze of brown twigs with a few green spots.
pub(crate) fn thicket(foot: Vec3, radius_m: f32, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::Tree);
    let brown = vec3(0.085, 0.065, 0.048) * draws.between(0.6, 1.3);
    for _ in 0..6 {
        let (dx, dy) = (draws.between(-0.7, 0.7), draws.between(-0.7, 0.7));
        let centre = foot + vec3(dx, dy, draws.between(0.4, 0.95)) * radius_m;
        let twigs = Surface::Twigs(brown, draws.bits() as u32, draws.between(1.5, 3.0));
        list.ball(centre, radius_m * 0.7, radius_m * 0.75, twigs);
    }
    for _ in 0..4 {
        let (dx, dy) = (draws.between(-0.8, 0.8), draws.between(-0.8, 0.8));
        let centre = foot + vec3(dx, dy, draws.between(0.15, 0.5)) * radius_m;
        let tone = vec3(0.06, 0.075, 0.03) * draws.between(0.6, 1.4);
        let leaves = Surface::Leaves(tone, draws.bits() as u32, 0.55);
        list.ball(centre, radius_m * 0.5, radius_m * 0.45, leaves);
    }
    let footprint = Footprint::Disc([foot.x, foot.y], radius_m);
    Thing::new(list.parts, footprint, 100.0)
}
