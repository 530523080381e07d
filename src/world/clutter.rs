//! What stands about on a varied world's pavements: bicycles without riders, bins, cabinets, bus
//! shelters and telephone boxes. All but the boxes are without a class, as people label them.

use super::bicycle::bicycle;
use super::geometry::{Vec3, vec3};
use super::random::Draws;
use super::scene::{Class, Contact, Footprint, PartList, Stand, Thing};
use super::surface::Surface;

const REACH_M: f32 = 60.0;

/// A bicycle that leans against something to its left.
pub(crate) fn parked_bicycle(on: &Stand, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::Unlabelled);
    bicycle(&mut list, on, draws);
    finished(list, on, [0.85, 0.15], 0.3)
}

/// A litter bin, a wheeled bin or a grit box.
pub(crate) fn bin(on: &Stand, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::Unlabelled);
    let tone = draws.pick(&[
        vec3(0.012, 0.012, 0.013),
        vec3(0.02, 0.06, 0.03),
        vec3(0.5, 0.36, 0.03),
        vec3(0.1, 0.1, 0.105),
        vec3(0.03, 0.035, 0.05),
    ]);
    let paint = Surface::Matte(tone);
    let half = if draws.chance(0.5) {
        let (radius, high) = (draws.between(0.2, 0.32), draws.between(0.8, 1.25));
        list.limb(
            on.at(0.0, 0.0, radius),
            on.at(0.0, 0.0, high),
            radius,
            radius,
            paint,
        );
        list.limb(
            on.at(0.0, 0.0, 0.0),
            on.at(0.0, 0.0, radius),
            radius,
            radius,
            paint,
        );
        [radius, radius]
    } else {
        let half = [draws.between(0.25, 0.6), draws.between(0.25, 0.4)];
        let high = draws.between(0.8, 1.2);
        list.block(
            on,
            [-half[0], -half[1], 0.0],
            [half[0], half[1], high],
            paint,
        );
        half
    };
    finished(list, on, half, 0.7)
}

/// A roadside cabinet.
pub(crate) fn cabinet(on: &Stand, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::Unlabelled);
    let tone = draws.pick(&[
        vec3(0.03, 0.05, 0.035),
        vec3(0.2, 0.205, 0.2),
        vec3(0.1, 0.12, 0.1),
    ]);
    let half = [draws.between(0.25, 0.7), draws.between(0.16, 0.3)];
    let high = draws.between(0.9, 1.5);
    let paint = Surface::Metal(tone);
    list.block(
        on,
        [-half[0], -half[1], 0.0],
        [half[0], half[1], high],
        paint,
    );
    finished(list, on, half, 0.7)
}

/// A red or glazed telephone box: a small building.
pub(crate) fn phone_box(on: &Stand, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::Building);
    let red = draws.chance(0.7);
    let frame = Surface::Matte(if red {
        vec3(0.3, 0.012, 0.012)
    } else {
        vec3(0.03, 0.03, 0.032)
    });
    let (half, high) = (0.45, 2.35);
    list.block(on, [-half, -half, 0.0], [half, half, 0.5], frame);
    list.block(on, [-half, -half, 2.0], [half, half, high], frame);
    list.block(on, [-0.42, -0.42, 0.5], [0.42, 0.42, 2.0], Surface::Glass);
    for x in [-half, half] {
        for y in [-half, half] {
            list.limb(on.at(x, y, 0.4), on.at(x, y, 2.1), 0.06, 0.06, frame);
        }
        for z in [0.8, 1.1, 1.4, 1.7] {
            list.limb(on.at(x, -half, z), on.at(x, half, z), 0.025, 0.025, frame);
            list.limb(on.at(-half, x, z), on.at(half, x, z), 0.025, 0.025, frame);
        }
    }
    finished(list, on, [half, half], 0.7)
}

/// A bus shelter along the stand's x axis, open to its right.
pub(crate) fn shelter(on: &Stand, draws: &mut Draws) -> Thing {
    let mut list = PartList::new(Class::Unlabelled);
    let (half, deep, high) = (draws.between(1.4, 2.6), 1.3, draws.between(2.3, 2.6));
    let steel = Surface::Metal(draws.pick(&[
        vec3(0.02, 0.02, 0.022),
        vec3(0.25, 0.02, 0.02),
        vec3(0.25, 0.25, 0.26),
    ]));
    list.block(
        on,
        [-half - 0.1, -0.1, high],
        [half + 0.1, deep, high + 0.14],
        steel,
    );
    let pane = Surface::Railing(vec3(0.06, 0.06, 0.06), 0.9);
    let wall = |a: [f32; 2], b: [f32; 2]| -> [Vec3; 4] {
        [
            on.at(a[0], a[1], 0.15),
            on.at(b[0], b[1], 0.15),
            on.at(b[0], b[1], high),
            on.at(a[0], a[1], high),
        ]
    };
    list.quad(wall([-half, deep], [half, deep]), pane);
    // A poster closes the far end.
    let poster = vec3(0.4, 0.3, 0.25).times(vec3(draws.unit(), draws.unit(), draws.unit()));
    list.quad(wall([half, 0.2], [half, deep]), Surface::Matte(poster));
    list.quad(wall([-half, 0.5], [-half, deep]), pane);
    for x in [-half, half] {
        for y in [0.05, deep] {
            list.limb(on.at(x, y, 0.0), on.at(x, y, high), 0.045, 0.045, steel);
        }
    }
    list.block(
        on,
        [-half * 0.7, deep - 0.35, 0.45],
        [half * 0.7, deep - 0.1, 0.55],
        steel,
    );
    let footprint = on.rectangle(-half, half, -0.05, deep);
    Thing::new(list.parts, footprint, REACH_M)
}

fn finished(list: PartList, on: &Stand, half_m: [f32; 2], depth: f32) -> Thing {
    let [along, across] = half_m;
    let footprint: Footprint = on.rectangle(-along, along, -across, across);
    let mut thing = Thing::new(list.parts, footprint, REACH_M);
    thing.contact = Some(Contact {
        centre: on.origin,
        half_length_m: along,
        half_width_m: across,
        axis: [on.cos, on.sin],
        depth,
    });
    thing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bicycle_without_a_rider_is_of_no_class() {
        let on = Stand::new(0.0, 0.0, 0.0, 0.3);
        let mut draws = Draws::new(1, 1);
        for thing in [
            parked_bicycle(&on, &mut draws),
            bin(&on, &mut draws),
            cabinet(&on, &mut draws),
            shelter(&on, &mut draws),
        ] {
            assert!(
                thing
                    .parts
                    .iter()
                    .all(|part| part.class == Class::Unlabelled)
            );
        }
        let phone = phone_box(&on, &mut draws);
        assert!(phone.parts.iter().all(|part| part.class == Class::Building));
    }
}
