//! Churches of a varied world: a nave of stone with tall windows and a tower, with or without a
//! spire, that stands over the roofs.

use super::building::{BuildingShape, building, counter_clockwise};
use super::geometry::{Vec3, vec3};
use super::random::Draws;
use super::scene::{Class, PartList, Stand, Thing};
use super::surface::Surface;

/// The look of a church's walls and roof.
#[derive(Clone, Copy)]
pub(crate) struct Masonry {
    /// Facade style of its walls; the next one is the same without openings.
    pub(crate) style: u16,
    pub(crate) roof: Vec3,
    pub(crate) seed: u32,
}

/// A church whose tower stands at the stand's origin and whose nave runs along its x axis.
pub(crate) fn church(on: &Stand, masonry: Masonry, draws: &mut Draws) -> [Thing; 2] {
    let half = draws.between(2.2, 3.6);
    let shape = BuildingShape {
        height_m: draws.between(7.0, 11.0),
        depth_m: draws.between(8.0, 11.0),
        roof_m: draws.between(4.0, 6.5),
        chimneys: false,
        style: masonry.style,
        roof: masonry.roof,
        seed: masonry.seed,
        base_z: on.origin.z,
    };
    let flat = |x: f32, y: f32| {
        let p = on.at(x, y, 0.0);
        [p.x, p.y]
    };
    let long = draws.between(16.0, 30.0);
    let near = -shape.depth_m * 0.5;
    let (a, b) = (flat(half - 0.2, near), flat(half + long, near));
    let nave = building(a, b, [-on.sin, on.cos], &shape, draws);
    [tower(on, half, masonry, draws), nave]
}

fn tower(on: &Stand, half: f32, masonry: Masonry, draws: &mut Draws) -> Thing {
    let high = draws.between(15.0, 26.0);
    let mut list = PartList::new(Class::Building);
    let wall = Surface::Facade(masonry.style, masonry.seed ^ 2);
    let corners = [[-half, -half], [half, -half], [half, half], [-half, half]];
    let p = |[x, y]: [f32; 2], z: f32| on.at(x, y, z);
    for k in 0..4 {
        let (a, b) = (corners[k], corners[(k + 1) % 4]);
        list.quad([p(a, 0.0), p(b, 0.0), p(b, high), p(a, high)], wall);
    }
    let stone = Surface::Matte(vec3(0.2, 0.18, 0.14) * draws.between(0.4, 1.3));
    for corner in corners {
        // Buttresses with pinnacles.
        list.limb(p(corner, 0.0), p(corner, high + 0.5), 0.5, 0.4, stone);
        list.limb(
            p(corner, high + 0.5),
            p(corner, high + 2.8),
            0.4,
            0.02,
            stone,
        );
    }
    if draws.chance(0.45) {
        let tip = on.at(0.0, 0.0, high + draws.between(8.0, 18.0));
        let tiles = Surface::Roof(masonry.roof, masonry.seed);
        for k in 0..4 {
            let (a, b) = (corners[k], corners[(k + 1) % 4]);
            list.triangle([p(a, high), p(b, high), tip], tiles);
        }
    }
    let ring = corners.map(|corner| {
        let foot = p(corner, 0.0);
        [foot.x, foot.y]
    });
    Thing::new(list.parts, counter_clockwise(ring), 400.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_church_is_a_building_whose_tower_looks_over_its_nave() {
        for seed in 0..10 {
            let on = Stand::new(3.0, 4.0, 0.0, 1.1);
            let masonry = Masonry {
                style: 0,
                roof: vec3(0.1, 0.1, 0.1),
                seed: 5,
            };
            let [tower, nave] = church(&on, masonry, &mut Draws::new(seed, 1));
            let top = |thing: &Thing| thing.centre.z + thing.radius_m;
            assert!(top(&tower) > 14.0 && tower.centre.z > nave.centre.z);
            for part in tower.parts.iter().chain(&nave.parts) {
                assert_eq!(part.class, Class::Building);
            }
            assert!(tower.footprint.covers([3.0, 4.0], 0.0));
            assert!(!nave.footprint.covers([3.0, 4.0], 0.0));
        }
    }
}
