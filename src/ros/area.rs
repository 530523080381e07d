//! The drivable area: calibration, poses and mask of each camera's frames to messages of one ground.

mod ego;
mod eye;
mod layers;

use std::sync::Arc;

use super::cameras::{CameraId, CameraName, PerCamera};
use super::inference::Choices;
use super::outputs::{Messages, Wanted};
use super::params::AreaSettings;
use super::placement::{FramePoses, Placement};
use super::rejection::Rejection;
use crate::drivable::config::DrivableConfig;
use crate::drivable::grid::RollingGrid;
use crate::drivable::ground::{GroundAttitude, GroundPlane, GroundView};
use crate::drivable::ground_mask::FoundGround;
use crate::drivable::observe::{Observer, Scene};
use crate::drivable::pitch::{PitchZero, pitched_down};
use crate::drivable::surface::SurfaceTable;
use crate::drivable::surround::Surround;
use crate::image::ImageView;
use crate::labels::{ClassTable, LabelMask};
use crate::msg::{Header, Stamp};
use crate::pose::Pose;
use crate::segmenter::Segmentation;

use eye::{Eye, PitchScene, untold_pitch_rad};
use layers::Layers;

/// A pose farther from the origin is none, metres.
const FARTHEST_M: f64 = 5e7;

/// What is kept of the ground from frame to frame.
#[derive(Debug)]
pub(super) struct Area {
    cameras: PerCamera<CameraName>,
    eyes: PerCamera<Eye>,
    prepared: Option<Prepared>,
    observer: Observer,
    surround: Surround,
    newest: Option<Moment>,
}

/// The newest frame's stamp, and the vehicle in the grid's frame at it.
#[derive(Clone, Copy, Debug)]
struct Moment {
    stamp: Stamp,
    base: Pose,
}

/// What the network gave for an image, to be laid on the ground.
#[derive(Clone, Copy)]
pub(super) struct AreaFrame<'a> {
    /// Whose it is.
    pub camera: CameraId,
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

/// Returns whether the outputs need to know how sure the network is of each pixel.
pub(super) fn needs_confidence(wanted: Wanted, settings: &AreaSettings) -> bool {
    wanted.costmap_confidence || (wanted.has_area() && settings.min_confidence > 0.0)
}

impl Area {
    /// Returns what is known before the first frame.
    pub(super) fn new(cameras: &PerCamera<CameraName>) -> Self {
        Self {
            cameras: cameras.clone(),
            eyes: cameras.map(|_| Eye::default()),
            prepared: None,
            observer: Observer::default(),
            surround: Surround::new(cameras.count()),
            newest: None,
        }
    }

    /// Forgets all frames: the clock was set.
    pub(super) fn reset(&mut self) {
        self.forget_ground();
        for eye in self.eyes.each_mut() {
            eye.tracker.reset();
        }
    }

    /// Lays a frame on the ground and returns the messages that are wanted of it; errs, with nothing
    /// taken in, where calibration or poses are missing or do not fit.
    ///
    /// A frame is seen from where vehicle and camera were at its own stamp. The messages of all cameras
    /// are as of the newest frame: the others come later by what they took on their way.
    pub(super) fn messages(
        &mut self,
        frame: &AreaFrame<'_>,
        placement: &Placement,
    ) -> Result<Messages, Rejection> {
        let settings = &frame.choices.settings.area;
        if self.cameras.count() > 1 && settings.moves_with_vehicle() {
            let sentence = "grid.frame is base_frame, in which frames are not fused, and several \
                            cameras' are: name a fixed one, such as odom";
            return Err(Rejection::of("grid_frame", sentence));
        }
        self.eyes[frame.camera].calibrate(frame, placement.calibration(frame.camera))?;
        self.prepare(frame.choices)?;
        let poses =
            placement.poses(&frame.header.frame_id, frame.header.stamp.as_ns(), settings)?;
        if !(poses.base.translation.iter()).all(|metres| metres.abs() < FARTHEST_M) {
            let sentence =
                "the vehicle's pose is farther from the grid frame's origin than any road on earth";
            return Err(Rejection::of("pose_out_of_range", sentence));
        }
        let now = self.moment_of(frame.camera, frame.header.stamp, poses.base);
        self.see(frame, poses, now)
    }

    /// Returns how far a camera's last frame was taken to look down beyond what the transforms tell, degrees;
    /// None where that is not corrected.
    pub(super) fn pitch_correction_deg(&self, camera: CameraId) -> Option<f64> {
        self.eyes[camera].pitch_rad.map(f64::to_degrees)
    }

    fn see(
        &mut self,
        frame: &AreaFrame<'_>,
        mut poses: FramePoses,
        now: Moment,
    ) -> Result<Messages, Rejection> {
        let settings = &frame.choices.settings.area;
        let eye = &mut self.eyes[frame.camera];
        let (Some(calibrated), Some(prepared)) = (&eye.calibrated, &mut self.prepared) else {
            return Ok(Messages::default());
        };
        let camera = &calibrated.camera;
        let attitude = match settings.attitude.as_str() {
            "base" => GroundAttitude::Base,
            _ => GroundAttitude::Level,
        };
        let plane = GroundPlane::under(&poses.base, attitude);
        eye.pitch_rad = PitchZero::of_correction(&settings.pitch_correction).map(|zero| {
            let scene = PitchScene {
                camera,
                poses: &poses,
                plane,
                surfaces: &prepared.surfaces,
            };
            untold_pitch_rad(&mut eye.tracker, frame, &scene, zero)
        });
        if let Some(pitch_rad) = eye.pitch_rad {
            poses.optical = pitched_down(&poses.optical, pitch_rad);
        }
        let view = GroundView::new(camera, &poses.optical, plane).ok_or_else(|| {
            let sentence =
                "the camera is not above the ground: see its transform or camera.height_m";
            Rejection::of("camera_below_ground", sentence)
        })?;
        let name = self.cameras[frame.camera].text();
        let ego_path = settings.ego_mask.replace("{camera}", name);
        let ego_mask = (eye.ego).of(&ego_path, camera.size(), frame.choices)?;
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
        prepared.grid.follow(&now.base);
        let lattice = prepared.grid.lattice();
        let evidence = self.observer.observe(&scene, &lattice);
        let stamps_ns = [frame.header.stamp, now.stamp].map(Stamp::as_ns);
        let place = frame.camera.place();
        let seen = (self.surround).take_in(place, stamps_ns, &lattice, evidence);
        (prepared.grid.fuse_among(now.stamp.as_ns(), evidence, seen))
            .map_err(|error| Rejection::of("grid", error))?;
        let layers = Layers {
            stamp: now.stamp,
            settings,
            config: &prepared.config,
            grid: &prepared.grid,
            lattice,
            base: now.base,
            evidence: seen,
        };
        let mut messages = layers.messages(frame.wanted);
        let found = FoundGround {
            feet: self.observer.feet(),
            lattice: &lattice,
            evidence: self.observer.evidence(),
        };
        layers::add_costmap(&mut messages, frame, &scene, &found, settings.costmap_width);
        Ok(messages)
    }

    /// Returns the newest moment with this frame's; a camera whose stamps go back empties the ground.
    fn moment_of(&mut self, camera: CameraId, stamp: Stamp, base: Pose) -> Moment {
        let stamp_ns = stamp.as_ns();
        let before_ns = self.eyes[camera].stamp_ns;
        if before_ns.is_some_and(|before_ns| stamp_ns < before_ns) {
            self.forget_ground();
        }
        self.eyes[camera].stamp_ns = Some(stamp_ns);
        let newer = self.newest.filter(|newest| stamp_ns < newest.stamp.as_ns());
        *self.newest.insert(newer.unwrap_or(Moment { stamp, base }))
    }

    fn forget_ground(&mut self) {
        if let Some(prepared) = &mut self.prepared {
            prepared.grid.clear();
        }
        self.surround.clear();
        self.newest = None;
        for eye in self.eyes.each_mut() {
            eye.stamp_ns = None;
        }
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
        if kept.is_none() {
            // What was seen is of the grid before, and may be in another frame.
            self.forget_ground();
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_of_the_newest_frame_until_a_cameras_own_stamps_go_back() {
        let cameras = PerCamera::named(&["front", "left"].map(str::to_owned));
        let mut area = Area::new(&cameras);
        let mut told = Vec::new();
        for (camera, stamp_ms) in [(0, 100), (1, 60), (1, 130), (0, 120), (0, 40), (1, 50)] {
            let id = cameras.ids().find(|id| id.place() == camera);
            let stamp = Stamp::from_ns(stamp_ms * 1_000_000);
            let base = Pose::from_euler([stamp_ms as f64, 0.0, 0.0], 0.0, 0.0, 0.0);
            let moment = id.map(|id| area.moment_of(id, stamp, base));
            told.extend(moment.map(|now| (now.stamp.as_ns() / 1_000_000, now.base.translation[0])));
        }
        let expected = [100, 100, 130, 130, 40, 50].map(|ms| (ms, ms as f64));
        assert_eq!(told, expected);
    }
}
