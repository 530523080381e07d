//! Buildings: fronts along the building line, sides, pitched roofs and chimneys.

use super::geometry::{Vec3, vec3};
use super::random::Draws;
use super::scene::{Class, Footprint, PartList, Stand, Thing};
use super::surface::Surface;

/// The size of one building.
#[derive(Clone, Copy)]
pub(crate) struct BuildingShape {
    pub(crate) height_m: f32,
    pub(crate) depth_m: f32,
    /// Rise of the ridge over the eaves, metres; 0 for a flat roof.
    pub(crate) roof_m: f32,
    pub(crate) chimneys: bool,
    /// Facade style of the front; the next one is the same without openings.
    pub(crate) style: u16,
    pub(crate) roof: Vec3,
    pub(crate) seed: u32,
    pub(crate) base_z: f32,
}

/// A building whose front runs from `a` to `b`; `back` is the unit direction away from the road.
pub(crate) fn building(
    a: [f32; 2],
    b: [f32; 2],
    back: [f32; 2],
    shape: &BuildingShape,
    draws: &mut Draws,
) -> Thing {
    let BuildingShape {
        height_m,
        depth_m,
        roof_m,
        style,
        seed,
        ..
    } = *shape;
    let z0 = shape.base_z;
    let top = z0 + height_m;
    let at =
        |p: [f32; 2], depth: f32, z: f32| vec3(p[0] + back[0] * depth, p[1] + back[1] * depth, z);
    let mut list = PartList::new(Class::Building);
    let front = Surface::Facade(style, seed);
    let blank = Surface::Facade(style + 1, seed ^ 1);
    list.quad(
        [
            at(a, 0.0, z0),
            at(b, 0.0, z0),
            at(b, 0.0, top),
            at(a, 0.0, top),
        ],
        front,
    );
    for p in [a, b] {
        list.quad(
            [
                at(p, 0.0, z0),
                at(p, depth_m, z0),
                at(p, depth_m, top),
                at(p, 0.0, top),
            ],
            blank,
        );
    }
    list.quad(
        [
            at(a, depth_m, z0),
            at(b, depth_m, z0),
            at(b, depth_m, top),
            at(a, depth_m, top),
        ],
        blank,
    );
    if roof_m > 0.0 {
        let tiles = Surface::Roof(shape.roof, seed);
        let ridge = top + roof_m;
        let middle = depth_m * 0.5;
        // Eaves stand a little over the wall.
        let eave = top - 0.1;
        list.quad(
            [
                at(a, -0.3, eave),
                at(b, -0.3, eave),
                at(b, middle, ridge),
                at(a, middle, ridge),
            ],
            tiles,
        );
        list.quad(
            [
                at(b, depth_m + 0.3, eave),
                at(a, depth_m + 0.3, eave),
                at(a, middle, ridge),
                at(b, middle, ridge),
            ],
            tiles,
        );
        for p in [a, b] {
            list.triangle(
                [at(p, 0.0, top), at(p, depth_m, top), at(p, middle, ridge)],
                blank,
            );
        }
        // A gutter and its shadow line.
        let gutter = Surface::Matte(vec3(0.05, 0.05, 0.05));
        list.quad(
            [
                at(a, -0.3, eave - 0.12),
                at(b, -0.3, eave - 0.12),
                at(b, -0.3, eave),
                at(a, -0.3, eave),
            ],
            gutter,
        );
        if shape.chimneys {
            chimney(&mut list, a, back, middle, ridge, draws);
        }
    } else {
        let cap = Surface::Matte(vec3(0.22, 0.21, 0.2));
        list.quad(
            [
                at(a, -0.12, top - 0.35),
                at(b, -0.12, top - 0.35),
                at(b, -0.12, top),
                at(a, -0.12, top),
            ],
            cap,
        );
    }
    let corner = |p: [f32; 2], depth: f32| [p[0] + back[0] * depth, p[1] + back[1] * depth];
    let ring = [a, b, corner(b, depth_m), corner(a, depth_m)];
    Thing::new(list.parts, counter_clockwise(ring), 320.0)
}

fn chimney(
    list: &mut PartList,
    at: [f32; 2],
    back: [f32; 2],
    middle: f32,
    ridge: f32,
    draws: &mut Draws,
) {
    let heading = (back[1] as f64).atan2(back[0] as f64);
    let (x, y) = (at[0] + back[0] * middle, at[1] + back[1] * middle);
    let stand = Stand::new(x as f64, y as f64, ridge - 0.6, heading);
    let height = draws.between(1.5, 2.2);
    let brick = Surface::Brick(vec3(0.2, 0.13, 0.09));
    list.block(&stand, [-0.75, -0.35, 0.0], [0.75, 0.35, height], brick);
    let pot = Surface::Matte(vec3(0.28, 0.14, 0.08));
    for k in 0..3 {
        let x = -0.5 + 0.5 * k as f32;
        list.limb(
            stand.at(x, 0.0, height),
            stand.at(x, 0.0, height + 0.4),
            0.12,
            0.1,
            pot,
        );
    }
}

/// The quadrilateral with its corners in counter-clockwise order.
pub(crate) fn counter_clockwise(ring: [[f32; 2]; 4]) -> Footprint {
    let area: f32 = (0..4)
        .map(|i| {
            let (p, q) = (ring[i], ring[(i + 1) % 4]);
            p[0] * q[1] - p[1] * q[0]
        })
        .sum();
    let [p, q, r, s] = ring;
    Footprint::Quad(if area < 0.0 { [s, r, q, p] } else { ring })
}
