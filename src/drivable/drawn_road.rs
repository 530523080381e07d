//! A drawn road under a far landscape, for the tests of what is made of a picture's lines.

use anyhow::Result;

use super::camera::{Camera, RayTable};
use super::ground::optical_in_base;
use super::pitch::PitchFrame;
use super::surface::SurfaceTable;
use crate::labels::{ClassTable, LabelMask};
use crate::msg::CameraInfo;
use crate::pose::Pose;

/// Lines along the road to the left of the camera, metres, and half their width.
const LINES_M: [f64; 5] = [-7.0, -3.4, 0.4, 3.6, 5.5];
const HALF_WIDTH_M: f64 = 0.08;
const EYE_M: f64 = 1.5;

/// What is drawn, and the camera that sees it: 1280x720, 70 degrees wide.
pub(super) struct DrawnRoad {
    pub(super) camera: Camera,
    /// All of it ground, or none.
    pub(super) mask: LabelMask,
    rays: RayTable,
    surfaces: SurfaceTable,
    /// Change of the road's heading along its way, radians a metre; to the left.
    bend: f64,
    /// How bright the lines are beside the road, none for a road without.
    contrast: f64,
}

impl DrawnRoad {
    pub(super) fn new(bend: f64, contrast: f64) -> Result<Self> {
        let classes = ClassTable {
            names: vec!["Road".to_owned(), "Sky".to_owned()],
            palette: vec![[0; 3]; 2],
            drivable: vec![true, false],
            ignore_id: 255,
        };
        let camera = camera()?;
        Ok(Self {
            rays: RayTable::new(&camera),
            camera,
            mask: LabelMask {
                width: 1280,
                height: 720,
                ids: vec![0; 1280 * 720],
            },
            surfaces: SurfaceTable::new(&classes),
            bend,
            contrast,
        })
    }

    /// Makes no pixel ground.
    pub(super) fn hide_ground(&mut self) {
        self.mask.ids.fill(1);
    }

    /// Gives the frame of a camera that looks from `real` while the transforms tell `told`.
    pub(super) fn with_frame<T>(
        &self,
        stamp_ns: i64,
        real: &Pose,
        told: Pose,
        of: impl FnOnce(&PitchFrame<'_>) -> T,
    ) -> T {
        let luma_row = |row: usize, luma: &mut [u8]| {
            for (column, value) in luma.iter_mut().enumerate() {
                let ray = self.rays.ray(row, column);
                let brightness = ray.map_or(0.0, |ray| self.brightness(real.rotate(ray)));
                *value = brightness.clamp(0.0, 255.0) as u8;
            }
        };
        of(&PitchFrame {
            stamp_ns,
            camera: &self.camera,
            optical_in_fixed: told,
            up: [0.0, 0.0, 1.0],
            luma_row: &luma_row,
            mask: &self.mask,
            surfaces: &self.surfaces,
        })
    }

    /// Brightness in a direction: x ahead, y to the left, z up.
    fn brightness(&self, [x, y, z]: [f64; 3]) -> f64 {
        let (up, aside) = (z / x, y / x);
        if up > -0.03 {
            return landscape(up, aside);
        }
        let ahead_m = EYE_M / -up;
        let left_m = aside * ahead_m - 0.5 * self.bend * ahead_m * ahead_m;
        // An edge is as soft as a pixel is wide.
        let pixel_m = ahead_m / 914.0;
        let share = |line: &f64| {
            let inside_m = HALF_WIDTH_M - (left_m - line).abs();
            (inside_m / pixel_m + 0.5).clamp(0.0, 1.0)
        };
        90.0 + self.contrast * LINES_M.iter().map(share).sum::<f64>()
    }
}

/// A camera of 1280x720, 70 degrees wide.
pub(super) fn camera() -> Result<Camera> {
    let info = CameraInfo {
        width: 1280,
        height: 720,
        distortion_model: "plumb_bob".into(),
        d: vec![-0.08, 0.02, 0.0004, -0.0003, 0.0],
        k: [914.0, 0.0, 639.5, 0.0, 914.0, 359.5, 0.0, 0.0, 1.0],
        ..CameraInfo::default()
    };
    Ok(Camera::of_own_images(&info)?)
}

/// The pose of a camera that looks as far down as told, from the height at which the road is drawn.
pub(super) fn looking_down(pitch_rad: f64, roll_rad: f64) -> Pose {
    optical_in_base([0.0; 2], EYE_M, pitch_rad, roll_rad)
}

/// A far landscape, smooth and without end.
fn landscape(up: f64, aside: f64) -> f64 {
    128.0 + 40.0 * (up * 90.0 + (aside * 7.0).sin()).sin() + 30.0 * (up * 37.0 + aside * 3.0).cos()
}
