//! The ground plane, and how a camera sees it.

use super::camera::Camera;
use crate::pose::Pose;

/// Rays flatter than this above the plane never reach it: 1 m of height seen 1 km away.
const FLATTEST: f64 = 1e-3;

/// Which way is up on the ground under the vehicle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroundAttitude {
    /// The grid frame's z axis: the ground stays level while the body pitches and rolls over it.
    /// For a fixed frame that TF tells the body's attitude in.
    #[default]
    Level,
    /// The base frame's z axis: the ground tilts with the vehicle. For planar odometry, or hills.
    Base,
}

/// A plane, in the frame of the grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroundPlane {
    /// A point of it, metres.
    pub point: [f64; 3],
    /// Unit normal, upward.
    pub normal: [f64; 3],
}

impl GroundPlane {
    /// Returns the ground on which base_link stands: through its origin, as steep as `attitude`.
    pub fn under(base_in_grid: &Pose, attitude: GroundAttitude) -> Self {
        let up = [0.0, 0.0, 1.0];
        Self {
            point: base_in_grid.translation,
            normal: match attitude {
                GroundAttitude::Level => up,
                GroundAttitude::Base => base_in_grid.rotate(up),
            },
        }
    }
}

/// Returns the optical frame (z forward, x right, y down) of a camera that looks along the base
/// frame's x axis from `height_m` over `[x, y]`, `pitch_rad` down and `roll_rad` to its right.
///
/// For vehicles whose TF does not tell where the camera is.
pub fn optical_in_base(xy_m: [f64; 2], height_m: f64, pitch_rad: f64, roll_rad: f64) -> Pose {
    let link = Pose::from_euler([xy_m[0], xy_m[1], height_m], roll_rad, pitch_rad, 0.0);
    link.then(&Pose {
        rotation: [[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]],
        translation: [0.0; 3],
    })
}

/// A camera over a ground plane: ground points to pixels, rays to ground points.
///
/// Ground points are the x and y of the grid's frame, metres.
#[derive(Clone, Debug)]
pub struct GroundView<'a> {
    camera: &'a Camera,
    optical_in_grid: Pose,
    plane: GroundPlane,
    /// Optical coordinates of a ground point `[x, y, 1]`, row-major.
    optical_from_ground: [[f64; 3]; 3],
    /// Optical coordinates of one metre along the plane's normal.
    optical_up: [f64; 3],
    height_m: f64,
}

impl<'a> GroundView<'a> {
    /// Returns the view of `plane`; None where the camera is not above it, the plane stands, or a number
    /// of the pose or the plane is not finite.
    pub fn new(camera: &'a Camera, optical_in_grid: &Pose, plane: GroundPlane) -> Option<Self> {
        let [a, b, c] = plane.normal;
        let eye = optical_in_grid.translation;
        let height_m = (0..3)
            .map(|i| plane.normal[i] * (eye[i] - plane.point[i]))
            .sum::<f64>();
        // Steeper than 60 degrees is no ground; NaN fails both.
        let usable = height_m > 0.05 && c > 0.5;
        if !usable {
            return None;
        }
        let grid_in_optical = optical_in_grid.inverse();
        let [px, py, pz] = plane.point;
        let columns = [
            grid_in_optical.rotate([1.0, 0.0, -a / c]),
            grid_in_optical.rotate([0.0, 1.0, -b / c]),
            grid_in_optical.apply([0.0, 0.0, pz + (a * px + b * py) / c]),
        ];
        let optical_up = grid_in_optical.rotate(plane.normal);
        let mut numbers = columns.iter().chain([&optical_up]).flatten();
        numbers.all(|value| value.is_finite()).then(|| Self {
            camera,
            optical_in_grid: *optical_in_grid,
            plane,
            optical_from_ground: [0, 1, 2].map(|i| columns.map(|column| column[i])),
            optical_up,
            height_m,
        })
    }

    /// Returns the camera.
    pub fn camera(&self) -> &'a Camera {
        self.camera
    }

    /// Returns the camera's height over the plane, metres.
    pub fn height_m(&self) -> f64 {
        self.height_m
    }

    /// Returns the ground point straight under the camera.
    pub fn foot_m(&self) -> [f64; 2] {
        let eye = self.optical_in_grid.translation;
        [0, 1].map(|i| eye[i] - self.height_m * self.plane.normal[i])
    }

    /// Returns the optical coordinates of a ground point, metres.
    #[inline]
    pub fn optical_from_ground(&self, [x, y]: [f64; 2]) -> [f64; 3] {
        self.optical_from_ground
            .map(|row| row[0] * x + row[1] * y + row[2])
    }

    /// Returns what `optical_from_ground` takes `[x, y, 1]` times, row by row.
    pub(super) fn optical_rows(&self) -> [[f64; 3]; 3] {
        self.optical_from_ground
    }

    /// Returns the optical coordinates of one metre upward from the ground.
    pub fn optical_up(&self) -> [f64; 3] {
        self.optical_up
    }

    /// Returns the image point of a ground point, inside the image or not; None where the lens has
    /// none.
    pub fn pixel_from_ground(&self, ground_m: [f64; 2]) -> Option<[f64; 2]> {
        self.camera
            .pixel_from_ray(self.optical_from_ground(ground_m))
    }

    /// Returns the point, in the grid's frame, where a ray of the optical frame meets the plane;
    /// None where it points at the sky or all but along the ground.
    #[inline]
    pub fn point_from_ray(&self, ray: [f64; 3]) -> Option<[f64; 3]> {
        let direction = self.optical_in_grid.rotate(ray);
        let down = -(0..3)
            .map(|i| direction[i] * self.plane.normal[i])
            .sum::<f64>();
        let length = (0..3).map(|i| ray[i] * ray[i]).sum::<f64>().sqrt();
        let steps = self.height_m / down;
        let eye = self.optical_in_grid.translation;
        (down > FLATTEST * length).then(|| [0, 1, 2].map(|i| eye[i] + steps * direction[i]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivable::drawn_road::camera;
    use anyhow::{Context, Result, ensure};

    #[test]
    fn a_ground_point_is_where_its_pixels_ray_meets_the_plane() -> Result<()> {
        let camera = camera()?;
        let base = Pose::from_euler([30.0, -12.0, 0.4], 0.02, -0.03, 1.1);
        let optical = base.then(&optical_in_base([1.3, 0.1], 1.5, 0.05, -0.01));
        for attitude in [GroundAttitude::Level, GroundAttitude::Base] {
            let plane = GroundPlane::under(&base, attitude);
            let view = GroundView::new(&camera, &optical, plane).context("no view")?;
            for (ahead, left) in [(4.0, 0.0), (9.0, -3.0), (18.0, 6.0), (35.0, -12.0)] {
                let [x, y, _] = base.apply([ahead, left, 0.0]);
                let pixel = view.pixel_from_ground([x, y]).context("no pixel")?;
                let ray = camera.ray_from_pixel(pixel).context("no ray")?;
                let point = view.point_from_ray(ray).context("no point")?;
                // Newton's tolerance, stretched by the flat ray to 35 m.
                ensure!((point[0] - x).abs() < 1e-6 && (point[1] - y).abs() < 1e-6);
                let off = (0..3)
                    .map(|i| plane.normal[i] * (point[i] - plane.point[i]))
                    .sum::<f64>();
                ensure!(off.abs() < 1e-9, "the point is {off} m off the plane");
            }
        }
        Ok(())
    }

    #[test]
    fn height_pitch_and_roll_place_the_horizon() -> Result<()> {
        let camera = camera()?;
        let plane = GroundPlane::under(&Pose::IDENTITY, GroundAttitude::Level);
        let optical = optical_in_base([1.0, 0.0], 1.5, 0.1, 0.0);
        let view = GroundView::new(&camera, &optical, plane).context("no view")?;
        // Looking 0.1 rad down from 1.5 m, the axis meets the ground 1.5 / tan 0.1 m ahead.
        let axis = view.point_from_ray([0.0, 0.0, 1.0]).context("no point")?;
        ensure!((axis[0] - (1.0 + 1.5 / 0.1f64.tan())).abs() < 1e-9 && axis[1].abs() < 1e-9);
        ensure!((view.height_m() - 1.5).abs() < 1e-12 && view.foot_m() == [1.0, 0.0]);
        let horizon = [0.0, -0.1f64.tan(), 1.0];
        ensure!(view.point_from_ray(horizon).is_none());
        let rolled = optical_in_base([0.0; 2], 1.5, 0.0, 0.1);
        let right = rolled.rotate([1.0, 0.0, 0.0]);
        ensure!(
            right[2] < -0.09,
            "rolled right, the right side is low: {right:?}"
        );
        Ok(())
    }

    #[test]
    fn a_camera_under_the_ground_or_a_standing_plane_has_no_view() -> Result<()> {
        let camera = camera()?;
        let plane = GroundPlane::under(&Pose::IDENTITY, GroundAttitude::Level);
        let below = optical_in_base([0.0; 2], -0.2, 0.0, 0.0);
        ensure!(GroundView::new(&camera, &below, plane).is_none());
        let wall = GroundPlane {
            point: [0.0; 3],
            normal: [-1.0, 0.0, 0.0],
        };
        let before = optical_in_base([-2.0, 0.0], 1.5, 0.0, 0.0);
        ensure!(GroundView::new(&camera, &before, wall).is_none());
        Ok(())
    }
}
