//! Parts turned into flat facets: rods and balls become pieces of paper that face the viewer and
//! are shaded as if round.

use super::geometry::{UP, Vec3, vec3};
use super::scene::{Class, Part, Shape};
use super::surface::Surface;

/// Where a scene is looked at from.
#[derive(Clone, Copy)]
pub(crate) enum Viewer {
    /// An eye at a point.
    Eye(Vec3),
    /// From infinity: the unit direction towards the viewer.
    Direction(Vec3),
}

impl Viewer {
    fn direction_from(&self, p: Vec3) -> Vec3 {
        match *self {
            Viewer::Eye(eye) => (eye - p).unit(),
            Viewer::Direction(direction) => direction,
        }
    }
}

/// How the normal varies over a facet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Round {
    Flat,
    /// Bends across u.
    Rod,
    /// Bends across u and v.
    Ball,
}

/// A flat convex piece in world coordinates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facet {
    pub(crate) corners: [Vec3; 4],
    /// 3 or 4 corners in use.
    pub(crate) count: usize,
    pub(crate) uv: [[f32; 2]; 4],
    pub(crate) round: Round,
    pub(crate) side: Vec3,
    pub(crate) upward: Vec3,
    /// Towards the viewer.
    pub(crate) facing: Vec3,
    /// Length of a rod over its radius, for its rounded ends; 0 elsewhere.
    pub(crate) slenderness: f32,
    /// Metres per unit of u.
    pub(crate) scale_m: f32,
    pub(crate) surface: Surface,
    pub(crate) class: Class,
    /// Index of the thing in the frame.
    pub(crate) thing: u32,
}

impl Facet {
    /// The facet of `part` as `viewer` sees it.
    pub(crate) fn from_part(part: &Part, thing: u32, viewer: &Viewer) -> Facet {
        let blank = Facet {
            corners: [Vec3::default(); 4],
            count: 4,
            uv: [[0.0; 2]; 4],
            round: Round::Flat,
            side: vec3(1.0, 0.0, 0.0),
            upward: UP,
            facing: UP,
            slenderness: 0.0,
            scale_m: 1.0,
            surface: part.surface,
            class: part.class,
            thing,
        };
        match part.shape {
            Shape::Quad(corners, uv) => {
                let normal = (corners[1] - corners[0])
                    .cross(corners[3] - corners[0])
                    .unit();
                let facing = towards(normal, viewer.direction_from(corners[0]));
                Facet {
                    corners,
                    uv,
                    facing,
                    ..blank
                }
            }
            Shape::Triangle([a, b, c], [p, q, r]) => {
                let normal = (b - a).cross(c - a).unit();
                let facing = towards(normal, viewer.direction_from(a));
                Facet {
                    corners: [a, b, c, c],
                    count: 3,
                    uv: [p, q, r, r],
                    facing,
                    ..blank
                }
            }
            Shape::Limb(a, b, ra, rb) => {
                let middle = a.mix(b, 0.5);
                let axis = (b - a).unit();
                let side = axis.cross(viewer.direction_from(middle)).unit();
                let facing = side.cross(axis);
                let (a, b) = (a - axis * ra, b + axis * rb);
                let length = (b - a).length() / ra.max(rb).max(1e-4);
                Facet {
                    corners: [a - side * ra, a + side * ra, b + side * rb, b - side * rb],
                    uv: [[-1.0, 0.0], [1.0, 0.0], [1.0, length], [-1.0, length]],
                    round: Round::Rod,
                    side,
                    upward: axis,
                    facing,
                    slenderness: length,
                    scale_m: ra.max(rb),
                    ..blank
                }
            }
            Shape::Ball(centre, across, upward_m) => {
                let facing = viewer.direction_from(centre);
                let side = UP.cross(facing).unit();
                let upward = facing.cross(side);
                let (u, v) = (side * across, upward * upward_m);
                Facet {
                    corners: [
                        centre - u - v,
                        centre + u - v,
                        centre + u + v,
                        centre - u + v,
                    ],
                    uv: [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]],
                    round: Round::Ball,
                    side,
                    upward,
                    facing,
                    scale_m: across,
                    ..blank
                }
            }
        }
    }

    /// Unit normal at (u, v), towards the viewer.
    #[inline]
    pub(crate) fn normal_at(&self, u: f32, v: f32) -> Vec3 {
        match self.round {
            Round::Flat => self.facing,
            Round::Rod => self.side * u + self.facing * (1.0 - u * u).max(0.02).sqrt(),
            Round::Ball => {
                let out = (1.0 - u * u - v * v).max(0.02).sqrt();
                (self.side * u + self.upward * v + self.facing * out).unit()
            }
        }
    }
}

fn towards(normal: Vec3, direction: Vec3) -> Vec3 {
    if normal.dot(direction) < 0.0 {
        -normal
    } else {
        normal
    }
}
