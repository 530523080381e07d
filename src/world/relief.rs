//! What stands out from house fronts: drainpipes, pilasters, awnings, the canopies and columns of
//! stores, iron gates before passages, and railings before basements.

use super::geometry::{Vec3, vec3};
use super::random::Draws;
use super::scene::{Class, Footprint, PartList, Stand, Thing};
use super::surface::Surface;

/// The front of a building from corner to corner.
#[derive(Clone, Copy)]
pub(crate) struct Front {
    pub(crate) a: [f32; 2],
    pub(crate) b: [f32; 2],
    /// Unit direction away from the road.
    pub(crate) back: [f32; 2],
    pub(crate) height_m: f32,
    pub(crate) base_z: f32,
}

impl Front {
    /// A point `along_m` from the first corner, `out_m` before the wall and `up_m` over its foot.
    fn at(&self, along_m: f32, out_m: f32, up_m: f32) -> Vec3 {
        let (dx, dy) = (self.b[0] - self.a[0], self.b[1] - self.a[1]);
        let f = along_m / self.length_m();
        vec3(
            self.a[0] + dx * f - self.back[0] * out_m,
            self.a[1] + dy * f - self.back[1] * out_m,
            self.base_z + up_m,
        )
    }

    fn length_m(&self) -> f32 {
        let (dx, dy) = (self.b[0] - self.a[0], self.b[1] - self.a[1]);
        (dx * dx + dy * dy).sqrt().max(0.1)
    }

    /// A box against the wall.
    fn block(
        &self,
        list: &mut PartList,
        [x0, x1]: [f32; 2],
        out: f32,
        [z0, z1]: [f32; 2],
        of: Surface,
    ) {
        let heading = (self.b[1] - self.a[1]).atan2(self.b[0] - self.a[0]) as f64;
        let on = Stand {
            origin: vec3(self.a[0], self.a[1], self.base_z),
            ..Stand::new(0.0, 0.0, 0.0, heading)
        };
        // y of the stand that points to the road.
        let left = -on.sin * self.back[0] + on.cos * self.back[1];
        let y = if left < 0.0 { out } else { -out };
        list.block(&on, [x0, y.min(0.0), z0], [x1, y.max(0.0), z1], of);
    }
}

/// Drainpipes and, on some fronts, pilasters or awnings.
pub(crate) fn relief(front: &Front, shops: bool, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::Building);
    let length = front.length_m();
    let pipe = Surface::Metal(draws.pick(&[
        vec3(0.015, 0.015, 0.016),
        vec3(0.4, 0.4, 0.38),
        vec3(0.12, 0.12, 0.12),
    ]));
    let mut x = draws.between(0.15, 2.5);
    while x < length {
        let bend = draws.between(0.0, 0.4);
        list.limb(
            front.at(x, 0.09, 0.0),
            front.at(x, 0.09, front.height_m - 0.5),
            0.055,
            0.055,
            pipe,
        );
        list.limb(
            front.at(x, 0.09, front.height_m - 0.5),
            front.at(x + bend, 0.2, front.height_m),
            0.055,
            0.055,
            pipe,
        );
        x += draws.between(4.5, 11.0);
    }
    if draws.chance(0.35) {
        let tone = vec3(0.45, 0.43, 0.38) * draws.between(0.4, 1.2);
        let (step, half) = (draws.between(2.2, 4.5), draws.between(0.14, 0.3));
        let top = front.height_m * draws.pick(&[0.45, 0.95]);
        let mut x = draws.between(0.3, 1.5);
        while x + half < length {
            front.block(
                &mut list,
                [x - half, x + half],
                0.14,
                [0.0, top],
                Surface::Matte(tone),
            );
            x += step;
        }
    }
    if draws.chance(0.12) {
        gate(&mut list, front, length, draws);
    }
    if draws.chance(0.1) {
        area_railing(&mut list, front, length, draws);
    }
    list.class = Class::Building;
    if shops && draws.chance(0.35) {
        awning(&mut list, front, length, draws);
    }
    Thing::new(list.parts, Footprint::Nothing, 90.0)
}

/// Bars of iron before a dark passage.
fn gate(list: &mut PartList, front: &Front, length: f32, draws: &mut Draws) {
    let wide = draws.between(1.0, 3.2);
    if length < wide + 0.6 {
        return;
    }
    let x0 = draws.between(0.3, length - wide - 0.3);
    let (x1, high) = (x0 + wide, draws.between(2.0, 3.3));
    let face = |out: f32| {
        [
            front.at(x0, out, 0.0),
            front.at(x1, out, 0.0),
            front.at(x1, out, high),
            front.at(x0, out, high),
        ]
    };
    list.class = Class::Building;
    list.quad(
        face(0.03),
        Surface::Matte(vec3(0.012, 0.012, 0.013) * draws.between(0.5, 5.0)),
    );
    list.class = Class::Fence;
    let iron = draws.pick(&[vec3(0.012, 0.012, 0.013), vec3(0.03, 0.035, 0.035)]);
    list.quad(face(0.08), Surface::Railing(iron, draws.between(0.1, 0.16)));
}

/// Railings a step before the wall, closed at both ends.
fn area_railing(list: &mut PartList, front: &Front, length: f32, draws: &mut Draws) {
    let (x0, x1) = (
        length * draws.between(0.05, 0.4),
        length * draws.between(0.6, 0.95),
    );
    let (out, high) = (draws.between(0.5, 1.1), draws.between(0.9, 1.4));
    let iron = Surface::Railing(vec3(0.014, 0.014, 0.015), 0.12);
    list.class = Class::Fence;
    let corners = [[x0, 0.0], [x0, out], [x1, out], [x1, 0.0]];
    for pair in corners.windows(2) {
        let p = |[x, out]: [f32; 2], z: f32| front.at(x, out, z);
        list.quad(
            [
                p(pair[0], 0.0),
                p(pair[1], 0.0),
                p(pair[1], high),
                p(pair[0], high),
            ],
            iron,
        );
    }
}

fn awning(list: &mut PartList, front: &Front, length: f32, draws: &mut Draws) {
    let tones = [
        vec3(0.3, 0.03, 0.03),
        vec3(0.03, 0.1, 0.05),
        vec3(0.5, 0.48, 0.42),
        vec3(0.04, 0.05, 0.16),
    ];
    let cloth = Surface::Cloth(draws.pick(&tones), 8);
    let (from, to) = (length * 0.15, length * draws.between(0.5, 0.9));
    let (high, out) = (draws.between(2.7, 3.1), draws.between(0.8, 1.4));
    let low = high - 0.55;
    list.quad(
        [
            front.at(from, out, low),
            front.at(to, out, low),
            front.at(to, 0.02, high),
            front.at(from, 0.02, high),
        ],
        cloth,
    );
    list.quad(
        [
            front.at(from, out, low - 0.2),
            front.at(to, out, low - 0.2),
            front.at(to, out, low),
            front.at(from, out, low),
        ],
        cloth,
    );
}

/// A store's canopy on columns.
pub(crate) fn canopy(front: &Front, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::Building);
    let length = front.length_m();
    let out = draws.between(1.2, 2.6);
    let high = draws.between(3.1, front.height_m.max(3.6) - 0.4);
    let thick = draws.between(0.25, 0.7);
    let pale = Surface::Matte(vec3(0.5, 0.5, 0.49) * draws.between(0.5, 1.2));
    front.block(&mut list, [0.0, length], out, [high, high + thick], pale);
    // The underside, which a box lacks.
    let under = Surface::Matte(vec3(0.12, 0.12, 0.125));
    list.quad(
        [
            front.at(0.0, 0.0, high),
            front.at(length, 0.0, high),
            front.at(length, out, high),
            front.at(0.0, out, high),
        ],
        under,
    );
    let column = draws.pick(&[
        vec3(0.55, 0.55, 0.54),
        vec3(0.2, 0.2, 0.21),
        vec3(0.03, 0.06, 0.2),
    ]);
    let column = Surface::Metal(column);
    let radius = draws.between(0.09, 0.19);
    let step = draws.between(3.5, 7.5);
    let mut x = draws.between(0.3, 2.0);
    while x < length {
        list.limb(
            front.at(x, out - 0.3, -0.02),
            front.at(x, out - 0.3, high),
            radius,
            radius,
            column,
        );
        x += step;
    }
    Thing::new(list.parts, Footprint::Nothing, 110.0)
}
