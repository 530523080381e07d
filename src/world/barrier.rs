//! Things that run along the road: walls, hedges, railings and panel fences.

use super::building::counter_clockwise;
use super::course::Course;
use super::fence::fence_run;
use super::geometry::{Vec3, vec3};
use super::layout::{Boundary, KERB_HEIGHT_M};
use super::random::Draws;
use super::scene::{Class, PartList, Thing};
use super::surface::Surface;

const CHUNK_M: f64 = 5.0;

/// What a run of barrier looks like.
#[derive(Clone, Copy)]
pub(crate) struct BarrierStyle {
    boundary: Boundary,
    height_m: f32,
    tone: Vec3,
    seed: u32,
}

impl BarrierStyle {
    pub(crate) fn new(boundary: Boundary, draws: &mut Draws) -> Self {
        let (height_m, tone) = match boundary {
            Boundary::Wall => (
                draws.between(0.8, 2.0),
                draws.pick(&[
                    vec3(0.26, 0.2, 0.13),
                    vec3(0.2, 0.1, 0.07),
                    vec3(0.17, 0.14, 0.11),
                ]),
            ),
            Boundary::Hedge => (
                draws.between(1.2, 2.3),
                vec3(0.05, 0.072, 0.026) * draws.between(0.7, 1.5),
            ),
            Boundary::Railing => (
                draws.between(1.1, 1.6),
                draws.pick(&[
                    vec3(0.015, 0.015, 0.017),
                    vec3(0.02, 0.03, 0.025),
                    vec3(0.2, 0.2, 0.2),
                ]),
            ),
            Boundary::Fence(build) => build.look(draws),
            Boundary::Panels | Boundary::Open => (
                draws.between(1.5, 1.9),
                draws.pick(&[
                    vec3(0.19, 0.125, 0.07),
                    vec3(0.12, 0.085, 0.06),
                    vec3(0.16, 0.14, 0.12),
                ]),
            ),
        };
        Self {
            boundary,
            height_m,
            tone,
            seed: draws.bits() as u32,
        }
    }

    /// Waist-high steel railing at the kerb.
    pub(crate) fn guard_rail(draws: &mut Draws) -> Self {
        let tone = draws.pick(&[
            vec3(0.22, 0.22, 0.225),
            vec3(0.03, 0.03, 0.03),
            vec3(0.05, 0.07, 0.06),
        ]);
        Self {
            boundary: Boundary::Railing,
            height_m: 1.1,
            tone,
            seed: draws.bits() as u32,
        }
    }
}

/// The barrier from `from_m` to `to_m` along the course at offset `d_m`, in chunks.
pub(crate) fn barrier(
    course: &Course,
    from_m: f64,
    to_m: f64,
    d_m: f32,
    style: &BarrierStyle,
    out: &mut Vec<Thing>,
) {
    let count = ((to_m - from_m) / CHUNK_M).ceil().max(1.0) as usize;
    let step = (to_m - from_m) / count as f64;
    for k in 0..count {
        let s = from_m + step * k as f64;
        out.push(chunk(course, s, s + step, d_m, style));
    }
}

/// A wall at `s_m` that runs away from the road, from one offset to another.
pub(crate) fn across(
    course: &Course,
    s_m: f64,
    from_d_m: f32,
    to_d_m: f32,
    style: &BarrierStyle,
) -> Thing {
    let at = |d: f32, along: f64, z: f32| {
        let [x, y] = course.point(s_m + along, d as f64);
        vec3(x as f32, y as f32, z)
    };
    let (z0, z1) = (0.0, KERB_HEIGHT_M + style.height_m);
    let mut list = PartList::new(Class::Building);
    let brick = Surface::Brick(style.tone);
    for along in [0.0, 0.24] {
        let a = [
            at(from_d_m, along, z0),
            at(to_d_m, along, z0),
            at(to_d_m, along, z1),
            at(from_d_m, along, z1),
        ];
        list.quad(a, brick);
    }
    let end = [
        at(from_d_m, 0.0, z0),
        at(from_d_m, 0.24, z0),
        at(from_d_m, 0.24, z1),
        at(from_d_m, 0.0, z1),
    ];
    list.quad(end, brick);
    let flat = |p: Vec3| [p.x, p.y];
    let ring = [
        flat(at(from_d_m, 0.0, 0.0)),
        flat(at(to_d_m, 0.0, 0.0)),
        flat(at(to_d_m, 0.24, 0.0)),
        flat(at(from_d_m, 0.24, 0.0)),
    ];
    Thing::new(list.parts, counter_clockwise(ring), 160.0)
}

fn chunk(course: &Course, from: f64, to: f64, d: f32, style: &BarrierStyle) -> Thing {
    if let Boundary::Fence(build) = style.boundary {
        let look = (build, style.height_m, style.tone, style.seed);
        return fence_run(course, [from, to], d, look);
    }
    let (z0, z1) = (KERB_HEIGHT_M - 0.03, KERB_HEIGHT_M + style.height_m);
    let p = |s: f64, out: f32, z: f32| {
        let [x, y] = course.point(s, (d + out * d.signum()) as f64);
        vec3(x as f32, y as f32, z)
    };
    let thick = match style.boundary {
        Boundary::Wall => 0.24,
        Boundary::Hedge => 0.8,
        _ => 0.06,
    };
    let (class, surface) = match style.boundary {
        Boundary::Wall => (Class::Building, Surface::Brick(style.tone)),
        Boundary::Hedge => (Class::Tree, Surface::Hedge(style.tone, style.seed)),
        Boundary::Railing => (Class::Fence, Surface::Railing(style.tone, 0.12)),
        Boundary::Panels | Boundary::Open | Boundary::Fence(_) => {
            (Class::Fence, Surface::Panels(style.tone, style.seed))
        }
    };
    let mut list = PartList::new(class);
    let front = [
        p(from, 0.0, z0),
        p(to, 0.0, z0),
        p(to, 0.0, z1),
        p(from, 0.0, z1),
    ];
    // The texture runs on from chunk to chunk.
    let (u0, u1) = (from as f32, to as f32);
    let uv = [
        [u0, 0.0],
        [u1, 0.0],
        [u1, style.height_m + 0.03],
        [u0, style.height_m + 0.03],
    ];
    list.add(super::scene::Shape::Quad(front, uv), surface);
    match style.boundary {
        Boundary::Wall => {
            let cap = Surface::Matte(vec3(0.24, 0.22, 0.2));
            let low = z1 - 0.07;
            list.quad(
                [
                    p(from, -0.04, low),
                    p(to, -0.04, low),
                    p(to, -0.04, z1),
                    p(from, -0.04, z1),
                ],
                cap,
            );
            list.quad(
                [
                    p(from, -0.04, z1),
                    p(to, -0.04, z1),
                    p(to, thick, z1),
                    p(from, thick, z1),
                ],
                cap,
            );
        }
        Boundary::Hedge => {
            let top = z1 - 0.2;
            let leaves = Surface::Hedge(style.tone * 1.25, style.seed);
            let lid = [
                p(from, 0.05, top),
                p(to, 0.05, top),
                p(to, thick, top),
                p(from, thick, top),
            ];
            // v stays far from the ragged edge on the flat top.
            let uv = [[u0, 0.0], [u1, 0.0], [u1, thick], [u0, thick]];
            let uv = uv.map(|[u, v]| [u, v * 0.5]);
            list.add(super::scene::Shape::Quad(lid, uv), leaves);
        }
        _ => {}
    }
    let flat = |q: Vec3| [q.x, q.y];
    let ring = [
        flat(p(from, 0.0, 0.0)),
        flat(p(to, 0.0, 0.0)),
        flat(p(to, thick, 0.0)),
        flat(p(from, thick, 0.0)),
    ];
    let reach = if class == Class::Fence { 48.0 } else { 160.0 };
    Thing::new(list.parts, counter_clockwise(ring), reach)
}
