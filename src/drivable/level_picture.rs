//! The picture that a camera would take if it were turned level, as far as the transforms tell.

use super::camera::Camera;
use crate::pose::Pose;

/// A camera turned about its own place until it looks level, without pitch, roll and distortion.
///
/// Its image plane is one ahead of the eye: x to the right, y down, both tangents of angles; the horizon is
/// y = 0 where the transforms are right.
#[derive(Clone, Copy, Debug)]
pub(super) struct LevelPicture<'a> {
    camera: &'a Camera,
    /// The level axes in the optical frame.
    right: [f64; 3],
    down: [f64; 3],
    ahead: [f64; 3],
}

impl<'a> LevelPicture<'a> {
    /// Returns the level picture of a camera whose optical frame has this pose in a frame in which `up`, a
    /// unit vector, is upward; None where the camera looks straight up or down, or a number is not finite.
    pub(super) fn new(camera: &'a Camera, optical: &Pose, up: [f64; 3]) -> Option<Self> {
        let up = optical.inverse().rotate(up);
        let down = up.map(|value| -value);
        // The optical axis, less its part along the normal.
        let along = [0, 1, 2].map(|i| f64::from(u8::from(i == 2)) - up[2] * up[i]);
        let length = dot(along, along).sqrt();
        let ahead = along.map(|value| value / length);
        let right = [0, 1, 2].map(|i| {
            let (j, k) = ((i + 1) % 3, (i + 2) % 3);
            down[j] * ahead[k] - down[k] * ahead[j]
        });
        // NaN fails, too.
        (length > 0.1).then_some(Self {
            camera,
            right,
            down,
            ahead,
        })
    }

    /// Returns the pixel, in the image or not, of the point of the horizon that is straight ahead.
    pub(super) fn horizon_pixel(&self) -> Option<[f64; 2]> {
        self.camera.pixel_from_ray(self.ahead)
    }

    /// Returns where in the level picture a pixel's ray lies; None where it is not ahead.
    pub(super) fn point_from_pixel(&self, pixel: [f64; 2]) -> Option<[f64; 2]> {
        let ray = self.camera.ray_from_pixel(pixel)?;
        let depth = dot(ray, self.ahead);
        (depth > 0.1).then(|| [dot(ray, self.right) / depth, dot(ray, self.down) / depth])
    }
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|i| a[i] * b[i]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivable::drawn_road::camera;
    use crate::drivable::ground::optical_in_base;
    use anyhow::{Context, Result, ensure};

    const UP: [f64; 3] = [0.0, 0.0, 1.0];

    #[test]
    fn pitch_roll_and_lens_leave_a_far_point_where_it_is() -> Result<()> {
        let camera = camera()?;
        for (pitch_rad, roll_rad) in [(0.0, 0.0), (0.1, 0.0), (-0.05, 0.1), (0.3, -0.2)] {
            let optical = optical_in_base([0.0; 2], 0.0, pitch_rad, roll_rad);
            let level = LevelPicture::new(&camera, &optical, UP).context("no picture")?;
            let horizon = level.horizon_pixel().context("no horizon")?;
            let ahead = level.point_from_pixel(horizon).context("not ahead")?;
            ensure!(ahead.iter().all(|at| at.abs() < 1e-9), "{ahead:?}");
            // 10 m ahead, 2 m to the left, 1.5 m down.
            let ray = optical.inverse().rotate([10.0, 2.0, -1.5]);
            let pixel = camera.pixel_from_ray(ray).context("no pixel")?;
            let [x, y] = level.point_from_pixel(pixel).context("not ahead")?;
            // Newton's tolerance.
            ensure!(
                (x + 0.2).abs() < 1e-9 && (y - 0.15).abs() < 1e-9,
                "{x} {y} for pitch {pitch_rad}, roll {roll_rad}"
            );
        }
        Ok(())
    }

    #[test]
    fn a_camera_that_looks_straight_down_or_nowhere_has_no_level_picture() -> Result<()> {
        let camera = camera()?;
        let down = optical_in_base([0.0; 2], 1.5, std::f64::consts::FRAC_PI_2, 0.0);
        ensure!(LevelPicture::new(&camera, &down, UP).is_none());
        let mut lost = optical_in_base([0.0; 2], 1.5, 0.0, 0.0);
        lost.rotation[1] = [f64::NAN; 3];
        ensure!(LevelPicture::new(&camera, &lost, UP).is_none());
        Ok(())
    }
}
