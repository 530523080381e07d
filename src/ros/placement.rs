//! What ROS tells of the cameras and their places: each one's `camera_info` and the transforms, from
//! the spin thread to the one that lays masks on the ground.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::cameras::{CameraId, CameraName, PerCamera};
use super::params::AreaSettings;
use super::rejection::Rejection;
use crate::cdr::CdrError;
use crate::drivable::ground::optical_in_base;
use crate::msg::{CameraInfo, Message, TfMessage};
use crate::pose::Pose;
use crate::transform::{LookupError, TransformBuffer, TransformError, TransformLimits};

/// How often a frame that waits for its pose looks for it.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What is known of the cameras and their places; shared by two threads.
#[derive(Debug)]
pub(super) struct Placement {
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    calibrations: PerCamera<Option<Arc<CameraInfo>>>,
    transforms: TransformBuffer,
}

/// Where vehicle and camera were at a frame's stamp, in the grid's frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FramePoses {
    /// The vehicle's frame.
    pub base: Pose,
    /// The camera's optical frame.
    pub optical: Pose,
}

impl Placement {
    /// Returns what is known of the cameras at first: nothing.
    pub(super) fn new(cameras: &PerCamera<CameraName>) -> Self {
        let known = Known {
            calibrations: cameras.map(|_| None),
            transforms: TransformBuffer::default(),
        };
        Self {
            known: Mutex::new(known),
        }
    }

    /// Takes in a camera's serialised `sensor_msgs/CameraInfo`, in place of the one before; errs if
    /// torn.
    pub(super) fn take_camera_info(
        &self,
        camera: CameraId,
        message: &[u8],
    ) -> Result<(), CdrError> {
        let info = CameraInfo::from_cdr(message)?;
        self.hold().calibrations[camera] = Some(Arc::new(info));
        Ok(())
    }

    /// Takes in a serialised `tf2_msgs/TFMessage`; errs with the faults of the edges that are none,
    /// after the good ones are taken.
    pub(super) fn take_transforms(
        &self,
        message: &[u8],
        is_static: bool,
    ) -> Result<Vec<TransformError>, CdrError> {
        let message = TfMessage::from_cdr(message)?;
        let mut known = self.hold();
        let faults = message.transforms.iter().filter_map(|edge| {
            let (parent, child) = (&edge.header.frame_id, &edge.child_frame_id);
            let (t, r) = (edge.transform.translation, edge.transform.rotation);
            let pose = Pose::from_quaternion([t.x, t.y, t.z], [r.x, r.y, r.z, r.w]);
            let taken = if is_static {
                known.transforms.insert_static(parent, child, pose)
            } else {
                let stamp_ns = edge.header.stamp.as_ns();
                known.transforms.insert(parent, child, stamp_ns, pose)
            };
            taken.err()
        });
        Ok(faults.collect())
    }

    /// Returns a camera's newest calibration.
    pub(super) fn calibration(&self, camera: CameraId) -> Option<Arc<CameraInfo>> {
        self.hold().calibrations[camera].clone()
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        let mut known = self.hold();
        known.calibrations.each_mut().for_each(|one| *one = None);
        known.transforms = TransformBuffer::default();
    }

    /// Forgets the transforms that have a stamp: time was set.
    pub(super) fn forget_moving(&self) {
        self.hold().transforms.forget_moving();
    }

    /// Returns where vehicle and camera were at a stamp. Waits for a pose that is still to come
    /// where poses have come until just now.
    pub(super) fn poses(
        &self,
        optical_frame: &str,
        stamp_ns: i64,
        settings: &AreaSettings,
    ) -> Result<FramePoses, LookupError> {
        let limits = TransformLimits {
            max_age_ns: settings.transform_max_age_ms.saturating_mul(1_000_000),
            ..TransformLimits::default()
        };
        let wait_ms = u64::try_from(settings.transform_wait_ms).unwrap_or(0);
        let until = Instant::now() + Duration::from_millis(wait_ms);
        loop {
            let (found, is_on_its_way) = {
                let mut known = self.hold();
                known.transforms.set_limits(limits);
                let known_until = known.known_until(optical_frame, settings);
                let late_ns = known_until.map(|known_ns| stamp_ns.saturating_sub(known_ns));
                let is_on_its_way = late_ns.is_some_and(|ns| 0 < ns && ns <= limits.max_age_ns);
                (
                    known.poses(optical_frame, stamp_ns, settings),
                    is_on_its_way,
                )
            };
            if !is_on_its_way || Instant::now() >= until {
                return found;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Locks what is known. A poisoned lock is as good as any: its maps are whole at every step.
    fn hold(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn poses(
        &self,
        optical_frame: &str,
        stamp_ns: i64,
        settings: &AreaSettings,
    ) -> Result<FramePoses, LookupError> {
        let AreaSettings {
            grid_frame,
            base_frame,
            ..
        } = settings;
        let base = self.transforms.lookup(grid_frame, base_frame, stamp_ns)?;
        let optical = if settings.camera_height_m > 0.0 {
            base.then(&optical_in_base(
                [settings.camera_x_m, settings.camera_y_m],
                settings.camera_height_m,
                settings.camera_pitch_deg.to_radians(),
                settings.camera_roll_deg.to_radians(),
            ))
        } else {
            (self.transforms).lookup(grid_frame, optical_frame, stamp_ns)?
        };
        Ok(FramePoses { base, optical })
    }

    /// The stamp up to which all poses of a frame are known without holding the last.
    fn known_until(&self, optical_frame: &str, settings: &AreaSettings) -> Option<i64> {
        let of_base = (self.transforms).known_until(&settings.grid_frame, &settings.base_frame)?;
        if settings.camera_height_m > 0.0 {
            return Some(of_base);
        }
        let of_camera = (self.transforms).known_until(&settings.grid_frame, optical_frame)?;
        Some(of_base.min(of_camera))
    }
}

impl From<LookupError> for Rejection {
    fn from(error: LookupError) -> Self {
        Self::of(error.reason(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msg::{Header, Quaternion, Stamp, Transform, TransformStamped, Vector3};
    use anyhow::{Context, Result, ensure};

    const MS: i64 = 1_000_000;

    fn edge(parent: &str, child: &str, stamp_ms: i64, x: f64) -> Vec<u8> {
        let edge = TransformStamped {
            header: Header {
                stamp: Stamp::from_ns(stamp_ms * MS),
                frame_id: parent.into(),
            },
            child_frame_id: child.into(),
            transform: Transform {
                translation: Vector3 {
                    x,
                    ..Vector3::default()
                },
                rotation: Quaternion::default(),
            },
        };
        let transforms = vec![edge];
        TfMessage { transforms }.to_cdr()
    }

    fn placement() -> Placement {
        Placement::new(&PerCamera::named(&[]))
    }

    fn patient(wait_ms: i64) -> AreaSettings {
        AreaSettings {
            transform_wait_ms: wait_ms,
            ..AreaSettings::default()
        }
    }

    #[test]
    fn a_frame_waits_for_the_pose_of_its_stamp_and_not_for_ever() -> Result<()> {
        let placement = placement();
        placement.take_transforms(&edge("base_link", "camera", 0, 1.5), true)?;
        placement.take_transforms(&edge("odom", "base_link", 1000, 10.0), false)?;
        let start = Instant::now();
        let held = placement.poses("camera", 1100 * MS, &patient(50))?;
        ensure!(held.optical.translation[0] == 11.5, "the last pose holds");
        ensure!(start.elapsed() >= Duration::from_millis(50));
        let found = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| placement.poses("camera", 1100 * MS, &patient(10_000)));
            let told = placement.take_transforms(&edge("odom", "base_link", 1200, 12.0), false);
            told.map(|_| waiting.join())
        })?;
        let found = found.ok().context("the thread's end")??;
        ensure!((found.base.translation[0] - 11.0).abs() < 1e-9);
        Ok(())
    }

    #[test]
    fn a_frame_without_any_pose_does_not_wait() -> Result<()> {
        let placement = placement();
        let start = Instant::now();
        let error = placement.poses("camera", 0, &patient(1000)).err();
        let sentence = error.context("no pose")?.to_string();
        ensure!(sentence.contains("odom") && sentence.contains("base_link"));
        ensure!(start.elapsed() < Duration::from_millis(900));
        Ok(())
    }

    #[test]
    fn the_cameras_place_may_be_told_instead_of_transforms() -> Result<()> {
        let settings = AreaSettings {
            grid_frame: "base_link".into(),
            camera_height_m: 1.2,
            camera_x_m: 0.4,
            ..AreaSettings::default()
        };
        let poses = placement().poses("camera", 7, &settings)?;
        ensure!(poses.base == Pose::IDENTITY);
        ensure!(poses.optical.translation == [0.4, 0.0, 1.2]);
        Ok(())
    }

    #[test]
    fn an_edge_that_is_none_is_told_of_and_the_others_hold() -> Result<()> {
        let placement = placement();
        let faults = placement.take_transforms(&edge("odom", "odom", 0, 1.0), false)?;
        ensure!(faults.len() == 1);
        ensure!(placement.take_transforms(&[0, 1, 0, 0, 9], false).is_err());
        Ok(())
    }
}
