//! The camera: pinhole with plumb_bob distortion, any pixel aspect, and its table of view rays.

use crate::pose::Pose;

/// Intrinsics and distortion as in sensor_msgs/CameraInfo (REP-104), pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Intrinsics {
    /// Image width, pixels.
    pub width: u32,
    /// Image height, pixels.
    pub height: u32,
    /// Focal length along rows, pixels.
    pub fx: f64,
    /// Focal length along columns, pixels; differs from `fx` for anamorphic pixels.
    pub fy: f64,
    /// Principal point, pixels; pixel centres are at whole numbers.
    pub cx: f64,
    /// Principal point, pixels.
    pub cy: f64,
    /// plumb_bob: k1, k2, p1, p2, k3.
    pub distortion: [f64; 5],
}

impl Intrinsics {
    /// Row-major 3x3 K.
    pub fn k(&self) -> [f64; 9] {
        [self.fx, 0.0, self.cx, 0.0, self.fy, self.cy, 0.0, 0.0, 1.0]
    }

    /// Row-major 3x4 P of a monocular camera: K with a zero column.
    pub fn p(&self) -> [f64; 12] {
        [
            self.fx, 0.0, self.cx, 0.0, 0.0, self.fy, self.cy, 0.0, 0.0, 0.0, 1.0, 0.0,
        ]
    }

    /// The distorted pixel of the ideal image-plane point (x/z, y/z).
    pub fn pixel_from_plane(&self, x: f64, y: f64) -> [f64; 2] {
        let [k1, k2, p1, p2, k3] = self.distortion;
        let r2 = x * x + y * y;
        let radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3));
        let xd = x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x);
        let yd = y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y;
        [self.fx * xd + self.cx, self.fy * yd + self.cy]
    }

    /// The ideal image-plane point (x/z, y/z) seen by a distorted pixel: fixed-point iteration,
    /// exact to 1e-9 for the mild lenses made here.
    pub fn plane_from_pixel(&self, u: f64, v: f64) -> [f64; 2] {
        let [k1, k2, p1, p2, k3] = self.distortion;
        let (xd, yd) = ((u - self.cx) / self.fx, (v - self.cy) / self.fy);
        let (mut x, mut y) = (xd, yd);
        for _ in 0..60 {
            let before = [x, y];
            let r2 = x * x + y * y;
            let radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3));
            let dx = 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x);
            let dy = p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y;
            x = (xd - dx) / radial;
            y = (yd - dy) / radial;
            if (x - before[0]).abs() + (y - before[1]).abs() < 1e-10 {
                break;
            }
        }
        [x, y]
    }

    /// The pixel of a point of the optical frame (z forward), or None behind the camera or
    /// outside the image.
    pub fn pixel_from_point(&self, p: [f64; 3]) -> Option<[f64; 2]> {
        if p[2] < 0.05 {
            return None;
        }
        let (x, y) = (p[0] / p[2], p[1] / p[2]);
        // Far outside the view the distortion polynomial folds back into the image.
        if x.abs() > 2.0 * self.cx / self.fx || y.abs() > 2.0 * self.cy / self.fy {
            return None;
        }
        let [u, v] = self.pixel_from_plane(x, y);
        let inside = (-0.5..self.width as f64 - 0.5).contains(&u)
            && (-0.5..self.height as f64 - 0.5).contains(&v);
        inside.then_some([u, v])
    }
}

/// Rotation of an optical frame (z forward, x right, y down) in its camera link (x forward).
pub fn optical_in_link() -> Pose {
    Pose {
        rotation: [[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]],
        translation: [0.0; 3],
    }
}

/// Undistorted ray (x/z, y/z) of every pixel, row-major, and the view's bounds.
pub(crate) struct RayTable {
    pub(crate) x: Vec<f32>,
    pub(crate) y: Vec<f32>,
    /// Largest |x/z| and |y/z| of any pixel, with a margin.
    pub(crate) reach: [f32; 2],
}

impl RayTable {
    pub(crate) fn new(camera: &Intrinsics) -> Self {
        let (w, h) = (camera.width as usize, camera.height as usize);
        let mut x = Vec::with_capacity(w * h);
        let mut y = Vec::with_capacity(w * h);
        let mut reach = [0.0f32; 2];
        for v in 0..h {
            for u in 0..w {
                let [a, b] = camera.plane_from_pixel(u as f64, v as f64);
                x.push(a as f32);
                y.push(b as f32);
                reach = [reach[0].max(a.abs() as f32), reach[1].max(b.abs() as f32)];
            }
        }
        Self {
            x,
            y,
            reach: reach.map(|r| r * 1.03),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undistorting_a_pixel_and_distorting_it_again_gives_the_pixel() {
        let camera = Intrinsics {
            width: 960,
            height: 720,
            fx: 866.0,
            fy: 1154.0,
            cx: 479.5,
            cy: 359.5,
            distortion: [-0.09, 0.03, 0.0006, -0.0004, 0.0],
        };
        for v in (0..720).step_by(71) {
            for u in (0..960).step_by(53) {
                let [x, y] = camera.plane_from_pixel(u as f64, v as f64);
                let [a, b] = camera.pixel_from_plane(x, y);
                assert!((a - u as f64).abs() < 1e-6 && (b - v as f64).abs() < 1e-6);
            }
        }
    }
}
