//! Fences of a varied world: railings on a plinth, timber rails, wire mesh, pickets, boards and
//! hoardings. What is seen between bars and wires belongs to the fence, as people label it.

use super::building::counter_clockwise;
use super::course::Course;
use super::geometry::{Vec3, vec3};
use super::layout::KERB_HEIGHT_M;
use super::noise::NoiseTiles;
use super::random::{Draws, floor, unit_at};
use super::scene::{Class, PartList, Shape, Thing};
use super::surface::{Coverage, Surface};

const FENCE_REACH_M: f32 = 60.0;
const BAR_PITCH_M: f32 = 0.13;

/// How a fence is built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FenceBuild {
    /// Tall bars on a low wall of stone.
    Plinth,
    /// Posts with rails along them.
    Rails,
    /// Wire netting between steel posts.
    Mesh,
    /// Upright laths with gaps.
    Pickets,
    /// Boards that lie along the fence.
    Boards,
    /// Painted sheets, closed.
    Hoarding,
}

impl FenceBuild {
    /// Its height with the plinth, metres, and its colour.
    pub(crate) fn look(self, draws: &mut Draws) -> (f32, Vec3) {
        let iron = [
            vec3(0.012, 0.012, 0.014),
            vec3(0.02, 0.028, 0.022),
            vec3(0.035, 0.035, 0.04),
        ];
        let timber = [
            vec3(0.05, 0.036, 0.026),
            vec3(0.12, 0.085, 0.055),
            vec3(0.2, 0.14, 0.085),
            vec3(0.14, 0.13, 0.115),
        ];
        match self {
            FenceBuild::Plinth => (draws.between(1.5, 2.7), draws.pick(&iron)),
            FenceBuild::Rails => (draws.between(0.9, 1.3), draws.pick(&timber)),
            FenceBuild::Mesh => (
                draws.between(1.2, 2.4),
                draws.pick(&[
                    vec3(0.2, 0.2, 0.205),
                    vec3(0.02, 0.06, 0.035),
                    vec3(0.03, 0.03, 0.032),
                ]),
            ),
            FenceBuild::Pickets => (
                draws.between(0.9, 1.8),
                draws.pick(&[vec3(0.55, 0.55, 0.52), timber[0], timber[1], timber[2]]),
            ),
            FenceBuild::Boards => (draws.between(1.0, 2.0), draws.pick(&timber)),
            FenceBuild::Hoarding => (
                draws.between(1.9, 2.5),
                draws.pick(&[
                    vec3(0.5, 0.5, 0.48),
                    vec3(0.03, 0.07, 0.2),
                    vec3(0.03, 0.12, 0.06),
                    vec3(0.2, 0.2, 0.21),
                    vec3(0.3, 0.17, 0.08),
                ]),
            ),
        }
    }

    fn plinth_m(self, seed: u32) -> f32 {
        match self {
            // Some are walls to the breast with bars on top.
            FenceBuild::Plinth if unit_at(seed, 10, 0) < 0.3 => 0.9 + 0.5 * unit_at(seed, 7, 0),
            FenceBuild::Plinth => 0.3 + 0.5 * unit_at(seed, 7, 0),
            _ => 0.0,
        }
    }
}

/// A fence from `from_m` to `to_m` along the course at offset `d_m`, `height_m` high.
pub(crate) fn fence_run(
    course: &Course,
    [from_m, to_m]: [f64; 2],
    d_m: f32,
    (build, height_m, tone, seed): (FenceBuild, f32, Vec3, u32),
) -> Thing {
    let p = |s: f64, out: f32, z: f32| {
        let [x, y] = course.point(s, (d_m + out * d_m.signum()) as f64);
        vec3(x as f32, y as f32, z)
    };
    let (u0, u1) = (from_m as f32, to_m as f32);
    let (foot, top) = (KERB_HEIGHT_M - 0.03, KERB_HEIGHT_M + height_m);
    let sill = foot + build.plinth_m(seed).min(height_m * 0.6);
    let mut list = PartList::new(Class::Building);
    if sill > foot {
        let stone = vec3(0.2, 0.185, 0.16) * (0.5 + 0.7 * unit_at(seed, 8, 0));
        let wall = [
            p(from_m, -0.08, foot),
            p(to_m, -0.08, foot),
            p(to_m, -0.08, sill),
            p(from_m, -0.08, sill),
        ];
        let uv = [[u0, 0.0], [u1, 0.0], [u1, sill - foot], [u0, sill - foot]];
        let face = if unit_at(seed, 9, 0) < 0.5 {
            Surface::Brick(stone)
        } else {
            Surface::Matte(stone)
        };
        list.add(Shape::Quad(wall, uv), face);
        let lid = [
            p(from_m, -0.1, sill),
            p(to_m, -0.1, sill),
            p(to_m, 0.1, sill),
            p(from_m, 0.1, sill),
        ];
        list.quad(lid, Surface::Matte(stone * 1.2));
    }
    list.class = Class::Fence;
    let face = [
        p(from_m, 0.0, sill),
        p(to_m, 0.0, sill),
        p(to_m, 0.0, top),
        p(from_m, 0.0, top),
    ];
    let uv = [[u0, 0.0], [u1, 0.0], [u1, top - sill], [u0, top - sill]];
    let surface = match build {
        FenceBuild::Plinth => Surface::Railing(tone, BAR_PITCH_M),
        _ => Surface::Fence(build, tone, seed),
    };
    list.add(Shape::Quad(face, uv), surface);
    let flat = |q: Vec3| [q.x, q.y];
    let ring = [
        flat(p(from_m, -0.05, 0.0)),
        flat(p(to_m, -0.05, 0.0)),
        flat(p(to_m, 0.05, 0.0)),
        flat(p(from_m, 0.05, 0.0)),
    ];
    Thing::new(list.parts, counter_clockwise(ring), FENCE_REACH_M)
}

/// Whether the fence is there at `u` along it and `v` above its foot, both metres, of `top`.
#[inline]
pub(crate) fn fence_coverage(
    build: FenceBuild,
    [u, v]: [f32; 2],
    top: f32,
    pixel_m: f32,
) -> Coverage {
    let every = |pitch: f32, x: f32| (x / pitch - (floor(x / pitch) as f32) - 0.5).abs() * pitch;
    let solid = match build {
        FenceBuild::Hoarding | FenceBuild::Plinth => true,
        FenceBuild::Rails => {
            let rail = (1..=3).any(|k| (v - top * (0.32 * k as f32 - 0.02)).abs() < 0.055);
            rail || every(1.8, u) < 0.06
        }
        FenceBuild::Mesh => {
            let half = 0.0035f32.max(pixel_m * 0.09);
            let wire = every(0.08, u + v).min(every(0.08, u - v)) < half;
            wire || every(2.5, u) < 0.03 || v > top - 0.04
        }
        FenceBuild::Pickets => {
            let lath = every(0.15, u) < 0.045 && v < top - 0.06 * (every(0.15, u) / 0.045);
            lath || (v - top * 0.25).abs() < 0.04 || (v - top * 0.75).abs() < 0.04
        }
        FenceBuild::Boards => every(0.17, v) < 0.07 || every(1.8, u) < 0.055,
    };
    if solid {
        Coverage::Solid
    } else {
        Coverage::Veil
    }
}

/// Albedo of a fence at `u` along it and `v` above its foot, metres.
#[inline]
pub(crate) fn fence_albedo(
    (build, tone, seed): (FenceBuild, Vec3, u32),
    [u, v]: [f32; 2],
    pixel_m: f32,
    tiles: &NoiseTiles,
) -> Vec3 {
    match build {
        FenceBuild::Mesh | FenceBuild::Plinth => tone,
        FenceBuild::Hoarding => {
            let sheet = floor(u / 1.22) as f32;
            let joint = u - sheet * 1.22 < 0.03f32.max(pixel_m * 0.5);
            let stain = tiles.broad.at(u * 7.0, v * 5.0, pixel_m * 7.0);
            // Now and then a sheet that carries a poster.
            let poster = unit_at(seed, sheet as i32, 1) < 0.12
                && (0.25..0.97).contains(&(u / 1.22 - sheet))
                && (0.8..1.7).contains(&v);
            let face = if poster {
                vec3(0.35, 0.33, 0.3) * (0.5 + unit_at(seed, floor(u / 0.2), floor(v / 0.15)))
            } else {
                tone * (0.92 + 0.16 * unit_at(seed, sheet as i32, 0))
            };
            face * ((0.72 + 0.5 * stain) * if joint { 0.55 } else { 1.0 })
        }
        FenceBuild::Rails | FenceBuild::Pickets | FenceBuild::Boards => {
            let piece = match build {
                FenceBuild::Pickets => floor(u / 0.15),
                FenceBuild::Boards => floor(v / 0.17) + 64 * floor(u / 1.8),
                _ => floor(v / 0.3),
            };
            let grain = tiles.fine.at(u * 9.0, v * 50.0, pixel_m * 25.0);
            tone * ((0.8 + 0.4 * unit_at(seed, piece, 3)) * (0.75 + 0.5 * grain))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_has_no_hole_that_would_be_labelled_as_what_is_behind() {
        use FenceBuild::*;
        for build in [Plinth, Rails, Mesh, Pickets, Boards, Hoarding] {
            let mut solid = 0;
            for i in 0..200 {
                for j in 0..60 {
                    let uv = [i as f32 * 0.031, j as f32 * 0.02];
                    let coverage = fence_coverage(build, uv, 1.2, 0.02);
                    assert_ne!(coverage, Coverage::Hole, "{build:?} at {uv:?}");
                    solid += (coverage == Coverage::Solid) as usize;
                }
            }
            // All but the closed builds let something through.
            let closed = matches!(build, Plinth | Hoarding);
            assert_eq!(solid == 200 * 60, closed, "{build:?}: {solid}");
        }
    }
}
