//! Stains and mottling of a varied world, at every scale: what a pixel shows is never quite of one
//! tone, near or far.

use super::facet::{Facet, Round};
use super::geometry::{UP, Vec3};
use super::ground::GroundSample;
use super::noise::NoiseTiles;
use super::scene::Class;
use super::surface::Surface;

/// Factor on the radiance of a facet's point; `amount` in 0..1.
#[inline]
pub(super) fn grime(
    facet: &Facet,
    [u, v]: [f32; 2],
    p: Vec3,
    pixel_m: f32,
    amount: f32,
    tiles: &NoiseTiles,
) -> f32 {
    let share = match facet.surface {
        Surface::Lamp(_) | Surface::Plate(_) | Surface::Glass => return 1.0,
        Surface::Sign(..) | Surface::Paint(_) => 0.35,
        Surface::Facade(..) => 0.75,
        _ if facet.class == Class::Pedestrian || facet.class == Class::Bicyclist => 1.2,
        _ => 1.0,
    };
    let (a, b) = if facet.round == Round::Flat {
        (u, v)
    } else {
        (u * facet.scale_m * 2.0 + p.x + p.y, p.z)
    };
    let shade = speckle([a, b], pixel_m, tiles);
    // Overhangs and hollows are dark, edges that look up are light.
    let lean = 0.12 * facet.facing.dot(UP);
    (1.0 + amount * (share * shade + lean)).max(0.12)
}

/// What is added to the tone of roads and pavements.
#[inline]
pub(super) fn stains(sample: &GroundSample, tiles: &NoiseTiles, pixel: f32) -> f32 {
    0.22 * speckle([sample.x, sample.y], pixel, tiles)
}

/// Mottling around 0 whose features are a few pixels wide at any distance.
#[inline]
fn speckle([a, b]: [f32; 2], pixel_m: f32, tiles: &NoiseTiles) -> f32 {
    // A power of two, so that the pattern stays where it is over a range of distances.
    let texel_m = f32::from_bits(pixel_m.max(1e-3).to_bits() & 0x7F80_0000);
    let k = 1.0 / texel_m;
    let fine = tiles.fine.at(a * k, b * k, 1.0) - 0.5;
    let broad = tiles.broad.at(a * k * 0.7, b * k * 0.7, 1.0) - 0.5;
    1.3 * fine + 0.8 * broad
}

/// How bright the street is that a polished coat mirrors in a direction, about 1.
#[inline]
pub(super) fn street(direction: Vec3, tiles: &NoiseTiles) -> f32 {
    let across = direction.y.atan2(direction.x) * 40.0;
    let mix = tiles.broad.at(across * 2.0, direction.z * 90.0, 1.0);
    (0.25 + 3.0 * (mix - 0.3)).clamp(0.25, 1.9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mottling_is_as_strong_far_away_as_near_by_and_adds_no_light() {
        let tiles = NoiseTiles::new(4);
        for pixel_m in [0.004, 0.02, 0.1, 0.4] {
            let (mut sum, mut square) = (0.0, 0.0);
            let count = 40_000;
            for at in 0..count {
                // Pixel by pixel.
                let [a, b] = [at % 200, at / 200].map(|k| k as f32 * pixel_m);
                let shade = speckle([a, b], pixel_m, &tiles);
                sum += shade;
                square += shade * shade;
            }
            let mean = sum / count as f32;
            let spread = (square / count as f32 - mean * mean).sqrt();
            assert!(mean.abs() < 0.15, "mean {mean} at {pixel_m} m");
            assert!((0.15..0.5).contains(&spread), "{spread} at {pixel_m} m");
        }
    }
}
