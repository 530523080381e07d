//! Subscriptions to what tells of the cameras and their places, while somebody reads what needs it.

use r2r::QosProfile;

use super::super::cameras::CameraId;
use super::super::error::NodeError;
use super::{Messages, SpinThread, Wiring, next};
use crate::msg::{CameraInfo, Message, TfMessage};

/// The calibration's topic, where a remap rule names it; else it is the one beside the images.
const CAMERA_INFO: &str = "camera_info";

/// A calibration changes seldom: the newest is all that counts, from any publisher.
const CAMERA_INFO_QOS: QosProfile = QosProfile::default().keep_last(1).best_effort();

/// As tf2's own listeners have it.
const TF_QOS: QosProfile = QosProfile::default().keep_last(100);

/// The subscription to a camera's calibration.
pub(super) struct CalibrationIntake {
    topic: String,
    messages: Messages,
}

/// The subscriptions to transforms, which are of all cameras.
pub(in super::super) struct TransformIntake {
    tf: Messages,
    tf_static: Messages,
}

impl SpinThread {
    /// Subscribes once somebody reads what needs the cameras' places; until the node is deactivated,
    /// since a subscription that comes and goes would miss the poses in between.
    pub(super) fn follow_placement(&mut self) -> Result<(), NodeError> {
        let outputs = self.shared.outputs();
        for camera in self.shared.cameras.ids() {
            if outputs.read(camera).has_area() || self.parameters.settings().area.enable {
                self.follow_calibration(camera)?;
            }
        }
        Ok(())
    }

    fn follow_calibration(&mut self, camera: CameraId) -> Result<(), NodeError> {
        let intake = &self.wiring.cameras[camera];
        let Some(images) = &intake.images else {
            return Ok(());
        };
        let unresolved = self.shared.cameras[camera].input(CAMERA_INFO);
        let remapped = self.resolver.remapped(&unresolved);
        let beside = images.intake.camera_info_topic();
        let topic = remapped.clone().unwrap_or_else(|| beside.clone());
        if (intake.calibration.as_ref()).is_some_and(|known| known.topic == topic) {
            return Ok(());
        }
        // rcl resolves the name that it is given: one resolved already might be remapped again.
        let name = remapped.map_or(beside, |_| unresolved);
        let wiring = &mut self.wiring;
        let messages = wiring.listen(&name, CameraInfo::TYPE, CAMERA_INFO_QOS)?;
        if wiring.transforms.is_none() {
            let latched = TF_QOS.transient_local();
            wiring.transforms = Some(TransformIntake {
                tf: wiring.listen("/tf", TfMessage::TYPE, TF_QOS)?,
                tf_static: wiring.listen("/tf_static", TfMessage::TYPE, latched)?,
            });
        }
        self.log.info(&format!(
            "the drivable area is read: subscribed to {topic}, /tf and /tf_static"
        ));
        (self.shared.surroundings)
            .send_modify(|around| around.cameras[camera].camera_info.clone_from(&topic));
        wiring.cameras[camera].calibration = Some(CalibrationIntake { topic, messages });
        Ok(())
    }

    /// Moves what r2r has queued of calibrations and transforms to the inference thread's reach; what
    /// is no message is told of.
    pub(super) fn receive_placement(&mut self) {
        let placement = &self.shared.placement;
        let torn = |topic: &str, error: &dyn std::fmt::Display| {
            (self.log).warn_throttled("placement", &format!("{topic}: {error}"));
        };
        for camera in self.shared.cameras.ids() {
            let Some(intake) = &mut self.wiring.cameras[camera].calibration else {
                continue;
            };
            while let Some(message) = next(&mut intake.messages) {
                if let Err(error) = placement.take_camera_info(camera, &message) {
                    torn(&intake.topic, &error);
                }
            }
        }
        let Some(TransformIntake { tf, tf_static }) = &mut self.wiring.transforms else {
            return;
        };
        for (messages, topic) in [(tf_static, "/tf_static"), (tf, "/tf")] {
            while let Some(message) = next(messages) {
                match placement.take_transforms(&message, topic == "/tf_static") {
                    Ok(faults) => faults.iter().for_each(|fault| torn(topic, fault)),
                    Err(error) => torn(topic, &error),
                }
            }
        }
    }
}

impl Wiring {
    fn listen(
        &mut self,
        topic: &str,
        type_name: &str,
        qos: QosProfile,
    ) -> Result<Messages, NodeError> {
        let messages = (self.node.subscribe_raw(topic, type_name, qos))
            .map_err(NodeError::ros("subscribe to the camera's place"))?;
        Ok(Box::new(messages))
    }
}
