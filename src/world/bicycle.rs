//! A bicycle: two wheels, tubes and a handlebar.

use super::geometry::vec3;
use super::random::Draws;
use super::scene::{PartList, Stand};
use super::surface::Surface;

/// The crank's place in a bicycle's own plane, x and z, metres.
pub(super) const CRANK_M: [f32; 2] = [-0.05, 0.3];

/// Adds a bicycle that faces along the stand's x axis, of the list's class.
pub(super) fn bicycle(list: &mut PartList, on: &Stand, draws: &mut Draws) {
    let at = |x: f32, y: f32, z: f32| on.at(x, y, z);
    let r = 0.34;
    let tyre = Surface::Cloth(vec3(0.014, 0.014, 0.014), 0);
    for x in [-0.52, 0.54] {
        list.face(
            [
                at(x - r, 0.0, 0.0),
                at(x + r, 0.0, 0.0),
                at(x + r, 0.0, 2.0 * r),
                at(x - r, 0.0, 2.0 * r),
            ],
            Surface::Spokes,
        );
        // Seen end-on a wheel is its tyre.
        list.limb(
            at(x, 0.0, 0.03),
            at(x, 0.0, 2.0 * r - 0.03),
            0.028,
            0.028,
            tyre,
        );
    }
    let tone = draws.pick(&[
        vec3(0.02, 0.02, 0.02),
        vec3(0.25, 0.02, 0.02),
        vec3(0.02, 0.05, 0.2),
        vec3(0.3, 0.3, 0.3),
    ]);
    let metal = Surface::Metal(tone);
    let (crank, saddle, steer) = (CRANK_M, [-0.2, 0.92], [0.38, 0.86]);
    let tube = |list: &mut PartList, a: [f32; 2], b: [f32; 2]| {
        list.limb(
            at(a[0], 0.0, a[1]),
            at(b[0], 0.0, b[1]),
            0.024,
            0.024,
            metal,
        );
    };
    tube(list, [-0.52, r], crank);
    tube(list, crank, saddle);
    tube(list, crank, steer);
    tube(list, [-0.18, 0.84], steer);
    tube(list, [-0.52, r], [-0.18, 0.8]);
    tube(list, steer, [0.54, r]);
    tube(list, steer, [0.34, 1.02]);
    list.limb(
        at(0.36, -0.27, 1.03),
        at(0.36, 0.27, 1.03),
        0.022,
        0.022,
        metal,
    );
}
