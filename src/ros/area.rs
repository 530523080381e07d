//! The drivable area of a frame: calibration, poses and mask to messages.

mod ego;
mod layers;

use std::sync::Arc;

use super::inference::Choices;
use super::outputs::{Messages, Wanted};
use super::params::AreaSettings;
use super::placement::{FramePoses, Placement};
use super::rejection::Rejection;
use crate::drivable::camera::{CalibratedImage, Camera, CameraError, RayTable};
use crate::drivable::config::DrivableConfig;
use crate::drivable::grid::RollingGrid;
use crate::drivable::ground::{GroundAttitude, GroundPlane, GroundView};
use crate::drivable::observe::{Observer, Scene};
use crate::drivable::pitch::{PitchFrame, PitchTracker, pitched_down};
use crate::drivable::surface::SurfaceTable;
use crate::image::ImageView;
use crate::labels::{ClassTable, LabelMask};
use crate::msg::{CameraInfo, Header};
use crate::segmenter::Segmentation;

use ego::EgoMask;
use layers::Layers;

/// A pose farther from the origin is none, metres.
const FARTHEST_M: f64 = 5e7;

/// What is kept of the ground from frame to frame.
#[derive(Debug, Default)]
pub(super) struct Area {
    prepared: Option<Prepared>,
    calibrated: Option<Calibrated>,
    ego: EgoMask,
    tracker: PitchTracker,
    observer: Observer,
}

/// What the network gave for an image, to be laid on the ground.
#[derive(Clone, Copy)]
pub(super) struct AreaFrame<'a> {
    /// The image's header.
    pub header: &'a Header,
    /// The image.
    pub image: &'a ImageView<'a>,
    /// Whether its topic says that it is rectified.
    pub is_rectified: bool,
    /// Its mask; its confidence where [`needs_confidence`] says so.
    pub segmentation: &'a Segmentation,
    /// The outputs to be made.
    pub wanted: Wanted,
    /// What the thread works by.
    pub choices: &'a Choices,
}

/// What settings and classes make.
#[derive(Debug)]
struct Prepared {
    settings: AreaSettings,
    classes: Arc<ClassTable>,
    config: DrivableConfig,
    grid: RollingGrid,
    surfaces: SurfaceTable,
}

/// A camera whose calibration fits its images.
#[derive(Debug)]
struct Calibrated {
    info: Arc<CameraInfo>,
    frame_id: String,
    is_rectified: bool,
    camera: Camera,
    rays: RayTable,
}

/// Returns whether the outputs need to know how sure the network is of each pixel.
pub(super) fn needs_confidence(wanted: Wanted, settings: &AreaSettings) -> bool {
    wanted.costmap_confidence || (wanted.has_area() && settings.min_confidence > 0.0)
}

impl Area {
    /// Forgets all frames: the clock was set.
    pub(super) fn reset(&mut self) {
        if let Some(prepared) = &mut self.prepared {
            prepared.grid.clear();
        }
        self.tracker.reset();
    }

    /// Lays a frame on the ground and returns the messages that are wanted of it; errs, with nothing
    /// taken in, where calibration or poses are missing or do not fit.
    pub(super) fn messages(
        &mut self,
        frame: &AreaFrame<'_>,
        placement: &Placement,
    ) -> Result<Messages, Rejection> {
        let settings = &frame.choices.settings.area;
        self.calibrate(frame, placement.calibration())?;
        self.prepare(frame.choices)?;
        let (Some(calibrated), Some(prepared)) = (&self.calibrated, &mut self.prepared) else {
            return Ok(Messages::default());
        };
        let camera = &calibrated.camera;
        let stamp_ns = frame.header.stamp.as_ns();
        let mut poses = placement.poses(&frame.header.frame_id, stamp_ns, settings)?;
        if !(poses.base.translation.iter()).all(|metres| metres.abs() < FARTHEST_M) {
            let sentence =
                "the vehicle's pose is farther from the grid frame's origin than any road on earth";
            return Err(Rejection::of("pose_out_of_range", sentence));
        }
        let attitude = match settings.attitude.as_str() {
            "base" => GroundAttitude::Base,
            _ => GroundAttitude::Level,
        };
        let plane = GroundPlane::under(&poses.base, attitude);
        if settings.pitch_correction == "image" {
            let pitch_rad = untold_pitch_rad(&mut self.tracker, frame, camera, &poses, plane);
            poses.optical = pitched_down(&poses.optical, pitch_rad);
        }
        let view = GroundView::new(camera, &poses.optical, plane).ok_or_else(|| {
            let sentence =
                "the camera is not above the ground: see its transform or camera.height_m";
            Rejection::of("camera_below_ground", sentence)
        })?;
        let ego_mask = (self.ego).of(&settings.ego_mask, camera.size(), frame.choices)?;
        let mask = sure_mask(frame, settings.min_confidence);
        let scene = Scene {
            view: &view,
            rays: &calibrated.rays,
            mask: mask.as_ref().unwrap_or(&frame.segmentation.mask),
            surfaces: &prepared.surfaces,
            ego_mask,
            horizon_m: prepared.config.horizon_m,
        };
        if settings.moves_with_vehicle() {
            prepared.grid.clear();
        }
        prepared.grid.follow(&poses.base);
        let lattice = prepared.grid.lattice();
        let evidence = self.observer.observe(&scene, &lattice);
        (prepared.grid.fuse(stamp_ns, evidence)).map_err(|error| Rejection::of("grid", error))?;
        let layers = Layers {
            header: frame.header,
            settings,
            config: &prepared.config,
            grid: &prepared.grid,
            lattice,
            base: poses.base,
            evidence: self.observer.evidence(),
        };
        let mut messages = layers.messages(frame.wanted);
        layers::add_costmap(
            &mut messages,
            frame,
            &scene,
            self.observer.feet(),
            settings.costmap_width,
        );
        Ok(messages)
    }

    /// Makes the camera of a calibration, unless it is the one in use.
    fn calibrate(
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

    /// Makes what settings and classes say, where they are others than before; the grid goes on where
    /// its own settings are the same.
    fn prepare(&mut self, choices: &Choices) -> Result<(), Rejection> {
        let (settings, classes) = (&choices.settings.area, &choices.classes);
        let fits = |known: &Prepared| known.settings == *settings && known.classes == *classes;
        if self.prepared.as_ref().is_some_and(fits) {
            return Ok(());
        }
        let unusable = |error: String| Rejection::of("drivable_settings", error);
        let config = settings.config().map_err(unusable)?;
        let (grid, surfaces) = (config.prepared(classes)).map_err(|e| unusable(e.to_string()))?;
        let before = self.prepared.take();
        let alike = |known: &Prepared| {
            let AreaSettings {
                grid_frame,
                base_frame,
                ..
            } = &known.settings;
            known.config.grid == config.grid
                && (grid_frame, base_frame) == (&settings.grid_frame, &settings.base_frame)
        };
        let kept = before.filter(alike).map(|known| known.grid);
        self.prepared = Some(Prepared {
            settings: settings.clone(),
            classes: Arc::clone(classes),
            grid: kept.unwrap_or(grid),
            config,
            surfaces,
        });
        Ok(())
    }
}

/// Whether two calibrations say the same; their stamps may differ.
fn is_alike(a: &CameraInfo, b: &CameraInfo) -> bool {
    let mut a = a.clone();
    a.header.stamp = b.header.stamp;
    a == *b
}

/// The mask without the pixels that the network is not sure of; `None` where all count.
fn sure_mask(frame: &AreaFrame<'_>, min_confidence: f64) -> Option<LabelMask> {
    let confidence = frame.segmentation.confidence.as_ref()?;
    let least = (min_confidence * 255.0).round() as u8;
    (least > 0).then(|| {
        let mask = &frame.segmentation.mask;
        let pixels = mask.ids.iter().zip(&confidence.values);
        LabelMask {
            width: mask.width,
            height: mask.height,
            // No class: it says nothing of the ground.
            ids: (pixels.map(|(id, sure)| if *sure < least { u8::MAX } else { *id })).collect(),
        }
    })
}

fn untold_pitch_rad(
    tracker: &mut PitchTracker,
    frame: &AreaFrame<'_>,
    camera: &Camera,
    poses: &FramePoses,
    plane: GroundPlane,
) -> f64 {
    let width = frame.image.width();
    let pixels = frame.image.to_rgb8();
    tracker.pitch_rad(&PitchFrame {
        stamp_ns: frame.header.stamp.as_ns(),
        camera,
        optical_in_fixed: poses.optical,
        up: plane.normal,
        luma: |row: usize, column: usize| {
            pixels.get(row * width + column).map_or(0, |pixel| pixel[1])
        },
    })
}

impl From<CameraError> for Rejection {
    fn from(error: CameraError) -> Self {
        Self::of(error.reason(), error)
    }
}
