//! What a scene is made of: parts (flat pieces, limbs and balls with a surface), and things (parts
//! that belong together, with a class, a footprint and a place along the road).

use super::geometry::{Vec3, vec3};
use super::surface::Surface;

/// CamVid's classes in SegNet's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the dataset's own")]
pub enum Class {
    Sky = 0,
    Building = 1,
    Pole = 2,
    Road = 3,
    Pavement = 4,
    Tree = 5,
    SignSymbol = 6,
    Fence = 7,
    Car = 8,
    Pedestrian = 9,
    Bicyclist = 10,
    Unlabelled = 11,
}

/// The form of a part, in world coordinates, metres.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// A planar quadrilateral, corners in order, with texture coordinates.
    Quad([Vec3; 4], [[f32; 2]; 4]),
    /// A triangle with texture coordinates.
    Triangle([Vec3; 3], [[f32; 2]; 3]),
    /// A round, tapering rod with rounded ends: two points and the radius at each.
    Limb(Vec3, Vec3, f32, f32),
    /// An ellipsoid of a horizontal and a vertical radius.
    Ball(Vec3, f32, f32),
}

/// One piece of a thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) shape: Shape,
    pub(crate) surface: Surface,
    pub(crate) class: Class,
}

/// The ground that a thing stands on, metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Footprint {
    /// Overhead or flush: does not stand in the way.
    Nothing,
    /// A convex quadrilateral, counter-clockwise.
    Quad([[f32; 2]; 4]),
    /// A disc: centre and radius.
    Disc([f32; 2], f32),
}

impl Footprint {
    /// Returns whether the point is within `margin` metres of the footprint; corners are not rounded.
    pub fn covers(&self, p: [f32; 2], margin: f32) -> bool {
        match self {
            Footprint::Nothing => false,
            Footprint::Disc(centre, radius) => {
                let (dx, dy) = (p[0] - centre[0], p[1] - centre[1]);
                dx * dx + dy * dy <= (radius + margin) * (radius + margin)
            }
            Footprint::Quad(corners) => (0..4).all(|i| {
                let (a, b) = (corners[i], corners[(i + 1) % 4]);
                let (ex, ey) = (b[0] - a[0], b[1] - a[1]);
                let inward = ex * (p[1] - a[1]) - ey * (p[0] - a[0]);
                inward >= -margin * (ex * ex + ey * ey).sqrt()
            }),
        }
    }
}

impl Footprint {
    /// Returns the footprint with each of its points moved by `place`.
    pub(crate) fn moved(&self, place: impl Fn([f32; 2]) -> [f32; 2]) -> Self {
        match *self {
            Footprint::Nothing => Footprint::Nothing,
            Footprint::Quad(corners) => Footprint::Quad(corners.map(place)),
            Footprint::Disc(centre, radius_m) => Footprint::Disc(place(centre), radius_m),
        }
    }
}

/// Parts that belong together.
#[derive(Clone, Debug)]
pub(crate) struct Thing {
    pub(crate) parts: Vec<Part>,
    pub(crate) footprint: Footprint,
    /// Middle and radius of a sphere around all parts.
    pub(crate) centre: Vec3,
    pub(crate) radius_m: f32,
    /// Left out when farther from the camera than this, metres.
    pub(crate) reach_m: f32,
    /// Soft dark patch under it: half length, half width and heading; zero for none.
    pub(crate) contact: Option<Contact>,
}

/// The darkening where a thing meets the ground.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contact {
    pub(crate) centre: Vec3,
    pub(crate) half_length_m: f32,
    pub(crate) half_width_m: f32,
    /// Cosine and sine of the long axis.
    pub(crate) axis: [f32; 2],
    /// 0 none, 1 black in the middle.
    pub(crate) depth: f32,
}

impl Thing {
    /// A thing of `parts` around `centre`; its bounding sphere is found from the parts.
    pub(crate) fn new(parts: Vec<Part>, footprint: Footprint, reach_m: f32) -> Self {
        let mut low = vec3(f32::MAX, f32::MAX, f32::MAX);
        let mut high = -low;
        let mut take = |p: Vec3, r: f32| {
            low = vec3(low.x.min(p.x - r), low.y.min(p.y - r), low.z.min(p.z - r));
            high = vec3(
                high.x.max(p.x + r),
                high.y.max(p.y + r),
                high.z.max(p.z + r),
            );
        };
        for part in &parts {
            match part.shape {
                Shape::Quad(corners, _) => corners.iter().for_each(|&p| take(p, 0.0)),
                Shape::Triangle(corners, _) => corners.iter().for_each(|&p| take(p, 0.0)),
                Shape::Limb(a, b, ra, rb) => {
                    take(a, ra);
                    take(b, rb);
                }
                Shape::Ball(centre, across, upward) => take(centre, across.max(upward)),
            }
        }
        let centre = low.mix(high, 0.5);
        let radius_m = (high - centre).length();
        Self {
            parts,
            footprint,
            centre,
            radius_m,
            reach_m,
            contact: None,
        }
    }
}

/// A local frame on the ground: x along a heading, y to its left, z up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stand {
    pub(crate) origin: Vec3,
    pub(crate) cos: f32,
    pub(crate) sin: f32,
}

impl Stand {
    pub(crate) fn new(x: f64, y: f64, z: f32, heading: f64) -> Self {
        let (sin, cos) = heading.sin_cos();
        Self {
            origin: vec3(x as f32, y as f32, z),
            cos: cos as f32,
            sin: sin as f32,
        }
    }

    /// World position of a local point.
    pub(crate) fn at(&self, x: f32, y: f32, z: f32) -> Vec3 {
        self.origin + vec3(x * self.cos - y * self.sin, x * self.sin + y * self.cos, z)
    }

    /// World footprint of a local rectangle.
    pub(crate) fn rectangle(&self, x0: f32, x1: f32, y0: f32, y1: f32) -> Footprint {
        let corner = |x, y| {
            let p = self.at(x, y, 0.0);
            [p.x, p.y]
        };
        Footprint::Quad([
            corner(x0, y0),
            corner(x1, y0),
            corner(x1, y1),
            corner(x0, y1),
        ])
    }
}

/// Collects parts of one class and surface after another.
pub(crate) struct PartList {
    pub(crate) parts: Vec<Part>,
    pub(crate) class: Class,
}

impl PartList {
    pub(crate) fn new(class: Class) -> Self {
        Self {
            parts: Vec::new(),
            class,
        }
    }

    pub(crate) fn add(&mut self, shape: Shape, surface: Surface) {
        self.parts.push(Part {
            shape,
            surface,
            class: self.class,
        });
    }

    /// A planar quad whose texture runs in metres: u along the first edge, v along the last.
    pub(crate) fn quad(&mut self, corners: [Vec3; 4], surface: Surface) {
        let u = (corners[1] - corners[0]).length();
        let v = (corners[3] - corners[0]).length();
        self.add(
            Shape::Quad(corners, [[0.0, 0.0], [u, 0.0], [u, v], [0.0, v]]),
            surface,
        );
    }

    /// A planar quad whose texture runs from -1 to 1 both ways.
    pub(crate) fn face(&mut self, corners: [Vec3; 4], surface: Surface) {
        let uv = [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]];
        self.add(Shape::Quad(corners, uv), surface);
    }

    pub(crate) fn triangle(&mut self, corners: [Vec3; 3], surface: Surface) {
        let [a, b, c] = corners;
        let along = (b - a).unit();
        let uv = [a, b, c].map(|p| [(p - a).dot(along), p.z - a.z]);
        self.add(Shape::Triangle(corners, uv), surface);
    }

    pub(crate) fn limb(&mut self, a: Vec3, b: Vec3, ra: f32, rb: f32, surface: Surface) {
        self.add(Shape::Limb(a, b, ra, rb), surface);
    }

    pub(crate) fn ball(&mut self, centre: Vec3, across: f32, upward: f32, surface: Surface) {
        self.add(Shape::Ball(centre, across, upward), surface);
    }

    /// An upright box in a local frame, without its underside.
    pub(crate) fn block(&mut self, on: &Stand, low: [f32; 3], high: [f32; 3], surface: Surface) {
        let [x0, y0, z0] = low;
        let [x1, y1, z1] = high;
        let p = |x, y, z| on.at(x, y, z);
        self.quad(
            [p(x1, y0, z0), p(x0, y0, z0), p(x0, y0, z1), p(x1, y0, z1)],
            surface,
        );
        self.quad(
            [p(x0, y1, z0), p(x1, y1, z0), p(x1, y1, z1), p(x0, y1, z1)],
            surface,
        );
        self.quad(
            [p(x0, y0, z0), p(x0, y1, z0), p(x0, y1, z1), p(x0, y0, z1)],
            surface,
        );
        self.quad(
            [p(x1, y1, z0), p(x1, y0, z0), p(x1, y0, z1), p(x1, y1, z1)],
            surface,
        );
        self.quad(
            [p(x0, y0, z1), p(x0, y1, z1), p(x1, y1, z1), p(x1, y0, z1)],
            surface,
        );
    }
}
