//! The rays of all pixels, so that a frame looks them up.

use rayon::prelude::*;

use super::camera::Camera;

/// The rays of a camera's pixels, made once for a calibration.
#[derive(Clone, Debug, PartialEq)]
pub struct RayTable {
    width: usize,
    /// Unit rays in the optical frame, row by row; NaN where a pixel has none.
    rays: Vec<[f32; 3]>,
}

impl RayTable {
    /// Returns the rays of every pixel of `camera`; on all threads of the current pool.
    pub fn new(camera: &Camera) -> Self {
        let width = camera.size()[0] as usize;
        let mut rays = vec![[f32::NAN; 3]; width * camera.size()[1] as usize];
        rays.par_chunks_mut(width.max(1))
            .enumerate()
            .for_each(|(row, rays)| {
                for (column, ray) in rays.iter_mut().enumerate() {
                    if let Some(exact) = camera.ray_from_pixel([column as f64, row as f64]) {
                        *ray = exact.map(|v| v as f32);
                    }
                }
            });
        Self { width, rays }
    }

    /// Returns the unit ray of a pixel in the optical frame; None outside the image or where the
    /// pixel has no ray.
    #[inline]
    pub fn ray(&self, row: usize, column: usize) -> Option<[f64; 3]> {
        if column >= self.width {
            return None;
        }
        let ray = self.rays.get(row * self.width + column)?.map(f64::from);
        ray[0].is_finite().then_some(ray)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msg::CameraInfo;
    use anyhow::{Context, Result, ensure};

    #[test]
    fn the_table_holds_every_pixels_ray_and_none_where_the_lens_has_none() -> Result<()> {
        let info = CameraInfo {
            width: 1280,
            height: 720,
            distortion_model: "plumb_bob".into(),
            d: vec![-0.9, 0.0, 0.0, 0.0, 0.0],
            k: [910.0, 0.0, 640.0, 0.0, 700.0, 350.0, 0.0, 0.0, 1.0],
            ..CameraInfo::default()
        };
        let camera = Camera::of_own_images(&info)?;
        let table = RayTable::new(&camera);
        let exact = camera.ray_from_pixel([700.0, 400.0]).context("no ray")?;
        let held = table.ray(400, 700).context("no ray in the table")?;
        // Rounding to f32.
        ensure!((0..3).all(|i| (exact[i] - held[i]).abs() < 1e-7));
        ensure!(camera.ray_from_pixel([0.0, 0.0]).is_none() && table.ray(0, 0).is_none());
        ensure!(table.ray(0, 1280).is_none() && table.ray(720, 0).is_none());
        Ok(())
    }
}
