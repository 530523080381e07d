//! One exposure: what every pixel sees, its radiance, class and distance.

use rayon::prelude::*;

use super::geometry::Vec3;
use super::raster::{Eye, NOTHING, Screen, Seen, veil_class};
use super::scene::Class;
use super::shade::Shader;
use super::truth::NO_THING;

/// Rows of a work unit.
const BAND_ROWS: usize = 16;

/// The image before the sensor, row-major.
pub(crate) struct Shot {
    pub(crate) radiance: Vec<Vec3>,
    /// Class ids.
    pub(crate) labels: Vec<u8>,
    /// Along the optical axis, metres; infinite for the backdrop.
    pub(crate) depth: Vec<f32>,
    /// Index of the thing, `NO_THING` for ground and sky.
    pub(crate) thing: Vec<u32>,
}

impl Shot {
    /// The shot of `height` rows from `eye`, in bands on all threads.
    pub(crate) fn new(eye: &Eye, screen: &Screen<'_>, shader: &Shader<'_>, height: usize) -> Self {
        let count = screen.width * height;
        let mut shot = Self {
            radiance: vec![Vec3::default(); count],
            labels: vec![0; count],
            depth: vec![0.0; count],
            thing: vec![0; count],
        };
        let band = BAND_ROWS * screen.width;
        shot.radiance
            .par_chunks_mut(band)
            .zip(shot.labels.par_chunks_mut(band))
            .zip(shot.depth.par_chunks_mut(band))
            .zip(shot.thing.par_chunks_mut(band))
            .enumerate()
            .for_each(|(index, (((radiance, labels), depth), thing))| {
                let first_row = index * BAND_ROWS;
                let mut seen = vec![NOTHING; radiance.len()];
                screen.scan_rows(&mut seen, first_row);
                for (at, seen) in seen.iter().enumerate() {
                    let pixel = first_row * screen.width + at;
                    let ray = [screen.rays.x[pixel], screen.rays.y[pixel]];
                    let sight = sight(shader, screen, eye, seen, ray);
                    let veil = veil_class(seen, 1.0 / sight.depth, screen.facets);
                    radiance[at] = sight.radiance;
                    labels[at] = veil.unwrap_or(sight.class) as u8;
                    depth[at] = sight.depth;
                    thing[at] = sight.thing;
                }
            });
        shot
    }
}

struct Sight {
    radiance: Vec3,
    class: Class,
    depth: f32,
    thing: u32,
}

#[inline]
fn sight(shader: &Shader<'_>, screen: &Screen<'_>, eye: &Eye, seen: &Seen, ray: [f32; 2]) -> Sight {
    let direction = eye.direction(ray[0], ray[1]);
    // A facet that the road plane hides is under ground; the plane's own 1/z is enough to tell.
    let plane = -direction.z / eye.position.z;
    if seen.inverse_z > 0.0 && seen.inverse_z > plane * 0.999 {
        let triangle = &screen.triangles[seen.triangle as usize];
        let facet = &screen.facets[triangle.facet as usize];
        let z = 1.0 / seen.inverse_z;
        let p = eye.position + direction * z;
        let uv = triangle.uv_at(ray[0], ray[1]);
        return Sight {
            radiance: shader.facet_radiance(facet, uv, p, z, direction),
            class: facet.class,
            depth: z,
            thing: facet.thing,
        };
    }
    if let Some(hit) = shader.ground_hit(eye.position, direction) {
        return Sight {
            radiance: shader.ground_radiance(&hit, direction),
            class: hit.class(),
            depth: hit.z,
            thing: NO_THING,
        };
    }
    let (radiance, class) = shader.backdrop(direction);
    Sight {
        radiance,
        class,
        depth: f32::INFINITY,
        thing: NO_THING,
    }
}
