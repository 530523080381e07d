//! Trees of a varied world in winter: a trunk, boughs that part three times, and a spray of twigs
//! that the sky shows through. What is seen through a crown belongs to the tree, as people label it.

use super::geometry::{Vec3, vec3};
use super::random::Draws;
use super::scene::{Class, Contact, Footprint, PartList, Thing};
use super::surface::Surface;

/// How a crown grows.
struct Habit {
    /// Half width of the crown over the tree's height.
    spread: f32,
    /// Where the lowest boughs leave, over the height.
    low: f32,
    /// How steeply they rise: 0 level, 2 steep.
    rise: f32,
    boughs: usize,
    /// Share of the outer crown that twigs fill.
    twigs: f32,
}

impl Habit {
    fn drawn(draws: &mut Draws) -> Self {
        let twigs = draws.between(0.35, 1.0);
        match draws.index(4) {
            // Broad, as a plane or an oak.
            0 | 1 => Self {
                spread: draws.between(0.3, 0.48),
                low: draws.between(0.18, 0.34),
                rise: draws.between(0.4, 1.0),
                boughs: 6 + draws.index(4),
                twigs,
            },
            // Upright, as a lime or a young maple.
            2 => Self {
                spread: draws.between(0.2, 0.3),
                low: draws.between(0.22, 0.4),
                rise: draws.between(0.9, 1.8),
                boughs: 8 + draws.index(5),
                twigs,
            },
            // Slim and loose, as a birch.
            _ => Self {
                spread: draws.between(0.14, 0.24),
                low: draws.between(0.15, 0.3),
                rise: draws.between(0.6, 1.2),
                boughs: 9 + draws.index(5),
                twigs: twigs * 0.8,
            },
        }
    }
}

/// A leafless tree of `height_m` at a point on the ground.
pub(crate) fn bare_tree(foot: Vec3, height_m: f32, draws: &mut Draws) -> Thing {
    let habit = Habit::drawn(draws);
    let mut list = PartList::new(Class::Tree);
    let tone = draws.pick(&[
        vec3(0.055, 0.047, 0.04),
        vec3(0.10, 0.085, 0.07),
        vec3(0.17, 0.15, 0.125),
        vec3(0.12, 0.125, 0.085),
    ]) * draws.between(0.7, 1.3);
    let bark = Surface::Bark(tone, draws.bits() as u32);
    let girth = 0.012 * height_m + draws.between(0.02, 0.08);
    let lean = vec3(draws.between(-0.06, 0.06), draws.between(-0.06, 0.06), 1.0);
    let on_trunk = |f: f32| foot + lean * (height_m * f);
    let steps = [-0.01, habit.low, 0.55, 0.8, 0.97];
    let thick = [1.0, 0.75, 0.42, 0.2, 0.06];
    for k in 0..4 {
        list.limb(
            on_trunk(steps[k]),
            on_trunk(steps[k + 1]),
            girth * thick[k],
            girth * thick[k + 1],
            bark,
        );
    }
    let reach = height_m * habit.spread;
    let turn = draws.between(0.0, std::f32::consts::TAU);
    for number in 0..habit.boughs {
        let f = number as f32 / habit.boughs as f32;
        let from = on_trunk(habit.low + (0.86 - habit.low) * f);
        // The golden angle keeps neighbours apart.
        let (sin, cos) = (turn + 2.4 * number as f32 + draws.between(-0.4, 0.4)).sin_cos();
        let way = vec3(cos, sin, habit.rise * draws.between(0.6, 1.3)).unit();
        let length = reach * (1.15 - 0.75 * f) * draws.between(0.8, 1.2);
        let thick = girth * (0.5 - 0.33 * f);
        bough(&mut list, from, way * length, thick, bark, draws);
        spray(
            &mut list,
            from + way * (length * 0.75),
            length,
            tone,
            habit.twigs,
            draws,
        );
    }
    let crown = on_trunk(0.78);
    spray(&mut list, crown, reach * 0.9, tone, habit.twigs, draws);
    if draws.chance(0.15) {
        ivy(
            &mut list,
            foot,
            on_trunk(draws.between(0.3, 0.6)),
            girth,
            draws,
        );
    }
    let mut thing = Thing::new(list.parts, Footprint::Disc([foot.x, foot.y], girth), 190.0);
    thing.contact = Some(Contact {
        centre: foot,
        half_length_m: girth * 2.0,
        half_width_m: girth * 2.0,
        axis: [1.0, 0.0],
        depth: 0.45,
    });
    thing
}

/// A bough along `way` that parts into branches, and those into twigs.
fn bough(list: &mut PartList, from: Vec3, way: Vec3, girth: f32, bark: Surface, draws: &mut Draws) {
    let length = way.length();
    // Bent upwards half way.
    let knee = from + way * 0.5;
    let tip = knee + (way * 0.5 + vec3(0.0, 0.0, 0.14 * length));
    list.limb(from, knee, girth, girth * 0.6, bark);
    list.limb(knee, tip, girth * 0.6, girth * 0.2, bark);
    for k in 0..4 {
        let root = from + (tip - from) * (0.3 + 0.2 * k as f32);
        let aside = sidelong(way, draws);
        let branch = (way.unit() * 0.7 + aside + vec3(0.0, 0.0, 0.25)).unit();
        let branch = branch * (length * draws.between(0.28, 0.5));
        list.limb(root, root + branch, girth * 0.34, girth * 0.12, bark);
        for _ in 0..3 {
            let root = root + branch * draws.between(0.25, 0.95);
            let twig = (branch.unit() + sidelong(branch, draws)).unit();
            let end = root + twig * (length * draws.between(0.14, 0.3));
            list.limb(root, end, girth * 0.14, girth * 0.05, bark);
        }
    }
}

fn spray(
    list: &mut PartList,
    centre: Vec3,
    size_m: f32,
    tone: Vec3,
    density: f32,
    draws: &mut Draws,
) {
    let twigs = Surface::Spray(tone * draws.between(0.8, 1.2), draws.bits() as u32, density);
    let radius = size_m * draws.between(0.45, 0.62);
    list.ball(centre, radius, radius * draws.between(0.9, 1.2), twigs);
}

fn ivy(list: &mut PartList, foot: Vec3, top: Vec3, girth: f32, draws: &mut Draws) {
    let tone = vec3(0.04, 0.06, 0.025) * draws.between(0.7, 1.4);
    for k in 0..7 {
        let leaves = Surface::Leaves(tone, draws.bits() as u32, 0.7);
        let radius = girth * draws.between(1.6, 2.8);
        list.ball(foot.mix(top, k as f32 / 6.0), radius, radius * 1.6, leaves);
    }
}

/// A direction at right angles to `way`, more or less.
fn sidelong(way: Vec3, draws: &mut Draws) -> Vec3 {
    let any = vec3(
        draws.between(-1.0, 1.0),
        draws.between(-1.0, 1.0),
        draws.between(-0.6, 1.0),
    );
    way.cross(any).unit() * draws.between(0.5, 1.1)
}

#[cfg(test)]
mod tests {
    use super::super::facet::{Facet, Viewer};
    use super::super::noise::NoiseTiles;
    use super::super::scene::Shape;
    use super::super::surface::{Coverage, coverage};
    use super::*;

    #[test]
    fn the_sky_shows_through_a_crown_near_and_far_and_is_labelled_as_the_tree() {
        let tiles = NoiseTiles::new(1);
        let tree = bare_tree(Vec3::default(), 9.0, &mut Draws::new(3, 1));
        let viewer = Viewer::Eye(vec3(-30.0, 0.0, 1.4));
        let sprays = tree
            .parts
            .iter()
            .filter(|part| matches!(part.shape, Shape::Ball(..)));
        for part in sprays.filter(|part| matches!(part.surface, Surface::Spray(..))) {
            let facet = Facet::from_part(part, 0, &viewer);
            for pixel_m in [0.005, 0.05, 0.2] {
                let (mut solid, mut veil) = (0, 0);
                for i in 0..60 {
                    for j in 0..60 {
                        // The inner half of the disc.
                        let [u, v] = [i, j].map(|k| (k as f32 / 59.0 - 0.5) * 0.9);
                        match coverage(&facet, u, v, pixel_m, &tiles) {
                            Coverage::Solid => solid += 1,
                            Coverage::Veil => veil += 1,
                            Coverage::Hole => {}
                        }
                    }
                }
                assert!(solid > 100, "{solid} twigs at {pixel_m} m");
                assert!(
                    veil > solid,
                    "{veil} see-through, {solid} twigs at {pixel_m} m"
                );
                assert!(solid + veil > 3400, "{} of 3600 labelled", solid + veil);
            }
        }
        assert!(tree.parts.iter().all(|part| part.class == Class::Tree));
    }
}
