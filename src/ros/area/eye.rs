//! One camera over the ground: its calibration, its own parts in view, its nod.

use std::sync::Arc;

use super::super::placement::FramePoses;
use super::super::rejection::Rejection;
use super::AreaFrame;
use super::ego::EgoMask;
use crate::drivable::camera::{CalibratedImage, Camera, CameraError, RayTable};
use crate::drivable::ground::GroundPlane;
use crate::drivable::pitch::{PitchFrame, PitchTracker, PitchZero};
use crate::drivable::surface::SurfaceTable;
use crate::msg::CameraInfo;

/// What is kept of a camera from frame to frame.
#[derive(Debug, Default)]
pub(super) struct Eye {
    /// Where its calibration fits its images.
    pub(super) calibrated: Option<Calibrated>,
    /// What it sees of the vehicle.
    pub(super) ego: EgoMask,
    /// Its pitch beyond what its poses tell.
    pub(super) tracker: PitchTracker,
    /// That pitch in its last frame that was laid on the ground, radians; None where it is not corrected.
    pub(super) pitch_rad: Option<f64>,
    /// The stamp of its last frame that was laid on the ground.
    pub(super) stamp_ns: Option<i64>,
}

/// A camera whose calibration fits its images.
#[derive(Debug)]
pub(super) struct Calibrated {
    info: Arc<CameraInfo>,
    frame_id: String,
    is_rectified: bool,
    /// The camera.
    pub(super) camera: Camera,
    /// Its rays.
    pub(super) rays: RayTable,
}

impl Eye {
    /// Makes the camera of a calibration, unless it is the one in use.
    pub(super) fn calibrate(
        &mut self,
        frame: &AreaFrame<'_>,
        info: Option<Arc<CameraInfo>>,
    ) -> Result<(), Rejection> {
        let info = info.ok_or_else(|| {
            let sentence = "no camera_info has come; without it there is no geometry";
            Rejection::of("no_camera_info", sentence)
        })?;
        let is_rectified = match frame.choices.settings.area.rectified.as_str() {
            "yes" => true,
            "no" => false,
            _ => frame.is_rectified,
        };
        let size = [frame.image.width() as u32, frame.image.height() as u32];
        let fits = |known: &Calibrated| {
            known.camera.size() == size
                && known.frame_id == frame.header.frame_id
                && known.is_rectified == is_rectified
                && (Arc::ptr_eq(&known.info, &info) || is_alike(&known.info, &info))
        };
        if self.calibrated.as_ref().is_some_and(fits) {
            return Ok(());
        }
        self.calibrated = None;
        self.tracker.reset();
        let image = CalibratedImage {
            frame_id: &frame.header.frame_id,
            width: size[0],
            height: size[1],
            rectified: is_rectified,
        };
        let camera = Camera::new(&info, image)?;
        self.calibrated = Some(Calibrated {
            rays: RayTable::new(&camera),
            frame_id: frame.header.frame_id.clone(),
            is_rectified,
            camera,
            info,
        });
        Ok(())
    }
}

/// What tells of the pitch in a frame beside its image.
pub(super) struct PitchScene<'a> {
    /// The camera.
    pub(super) camera: &'a Camera,
    /// As the transforms tell.
    pub(super) poses: &'a FramePoses,
    /// The ground.
    pub(super) plane: GroundPlane,
    /// What the mask's classes are.
    pub(super) surfaces: &'a SurfaceTable,
}

/// Returns the pitch that the frame's image tells, and its poses do not, radians.
pub(super) fn untold_pitch_rad(
    tracker: &mut PitchTracker,
    frame: &AreaFrame<'_>,
    scene: &PitchScene<'_>,
    zero: PitchZero,
) -> f64 {
    let luma_row = frame.image.green_rows();
    let pitch_frame = PitchFrame {
        stamp_ns: frame.header.stamp.as_ns(),
        camera: scene.camera,
        optical_in_fixed: scene.poses.optical,
        up: scene.plane.normal,
        luma_row: &luma_row,
        mask: &frame.segmentation.mask,
        surfaces: scene.surfaces,
    };
    tracker.pitch_rad(&pitch_frame, zero)
}

/// Whether two calibrations say the same; their stamps may differ.
fn is_alike(a: &CameraInfo, b: &CameraInfo) -> bool {
    let mut a = a.clone();
    a.header.stamp = b.header.stamp;
    a == *b
}

impl From<CameraError> for Rejection {
    fn from(error: CameraError) -> Self {
        Self::of(error.reason(), error)
    }
}
