//! The vehicle's own bonnet at the lower edge of a still. It belongs to no class.

use super::geometry::{Vec3, vec3};
use super::light::Light;
use super::random::Draws;
use super::scene::Class;
use super::shot::Shot;
use super::truth::NO_THING;

/// Nearer than anything else in a picture, metres.
const DISTANCE_M: f32 = 0.9;

/// A bonnet's outline in shares of the picture's height, and its paint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bonnet {
    /// Height of the edge in the middle.
    middle: f32,
    /// Rise from the middle to the right edge.
    slope: f32,
    /// Fall from the middle towards both edges.
    bulge: f32,
    paint: Vec3,
    shine: f32,
}

impl Bonnet {
    pub(crate) fn drawn(draws: &mut Draws) -> Self {
        Self {
            middle: draws.between(-0.01, 0.07),
            slope: draws.between(-0.09, 0.09),
            bulge: draws.between(0.0, 0.06),
            paint: draws.pick(&[
                vec3(0.012, 0.012, 0.013),
                vec3(0.02, 0.025, 0.05),
                vec3(0.25, 0.25, 0.26),
                vec3(0.2, 0.012, 0.014),
                vec3(0.02, 0.05, 0.04),
            ]),
            shine: draws.between(0.15, 0.7),
        }
    }

    /// Height of its edge over the picture's lower edge at `across` in -1..1, a share.
    fn edge_at(&self, across: f32) -> f32 {
        self.middle + self.slope * across - self.bulge * across * across
    }

    /// Covers what it hides in a shot of `width` columns.
    pub(crate) fn cover(&self, shot: &mut Shot, width: usize, light: &Light) {
        let height = shot.labels.len() / width;
        let sky = light.mirrored(vec3(0.0, 0.0, 1.0));
        for column in 0..width {
            let across = 2.0 * (column as f32 + 0.5) / width as f32 - 1.0;
            let edge = self.edge_at(across);
            for row in 0..height {
                let up = 1.0 - (row as f32 + 0.5) / height as f32;
                if up > edge {
                    continue;
                }
                // A bright rim mirrors the horizon; further in, the windscreen's foot is dark.
                let deep = ((edge - up) / 0.02).min(1.0);
                let mirror = self.shine * (1.0 - deep) + 0.08;
                let at = row * width + column;
                shot.radiance[at] = self.paint.times(light.ambient).mix(sky, mirror);
                shot.labels[at] = Class::Unlabelled as u8;
                shot.depth[at] = DISTANCE_M;
                shot.thing[at] = NO_THING;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bonnet_hides_the_lower_edge_alone_and_has_no_class() {
        let (width, height) = (96, 72);
        let light = Light::new(1, None);
        let mut hidden = 0;
        for number in 0..20 {
            let bonnet = Bonnet::drawn(&mut Draws::new(number, 1));
            let count = width * height;
            let mut shot = Shot {
                radiance: vec![Vec3::default(); count],
                labels: vec![Class::Road as u8; count],
                depth: vec![10.0; count],
                thing: vec![NO_THING; count],
            };
            bonnet.cover(&mut shot, width, &light);
            for (at, &label) in shot.labels.iter().enumerate() {
                let up = 1.0 - (at / width) as f32 / height as f32;
                let covered = label == Class::Unlabelled as u8;
                assert!(covered || label == Class::Road as u8);
                assert_eq!(covered, shot.depth[at] < 10.0);
                // 0.07 in the middle and 0.09 more at one edge, and a row.
                assert!(!covered || up < 0.18, "bonnet {number} at {up}");
                hidden += covered as usize;
            }
        }
        assert!(hidden > 20 * width, "{hidden} pixels of 20 bonnets");
    }
}
