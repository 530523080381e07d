//! Subscriptions to what tells of the camera and its place, while somebody reads what needs it.

use futures::{FutureExt, Stream, StreamExt};
use r2r::QosProfile;

use super::super::error::NodeError;
use super::super::log::Log;
use super::super::placement::Placement;
use super::{SpinThread, Wiring};
use crate::msg::{CameraInfo, Message, TfMessage};

/// The calibration's topic, where a remap rule names it; else it is the one beside the images.
const CAMERA_INFO: &str = "camera_info";

/// A calibration changes seldom: the newest is all that counts, from any publisher.
const CAMERA_INFO_QOS: QosProfile = QosProfile::default().keep_last(1).best_effort();

/// As tf2's own listeners have it.
const TF_QOS: QosProfile = QosProfile::default().keep_last(100);

type Messages = Box<dyn Stream<Item = Vec<u8>> + Send + Unpin>;

/// The subscriptions.
pub(in super::super) struct PlacementIntake {
    camera_info_topic: String,
    camera_info: Messages,
    tf: Messages,
    tf_static: Messages,
}

impl PlacementIntake {
    /// Moves what has come to where the inference thread finds it; what is no message is told of.
    fn receive(&mut self, placement: &Placement, log: &Log) {
        let torn = |topic: &str, error: String| {
            log.warn_throttled("placement", &format!("{topic}: {error}"));
        };
        while let Some(message) = next(&mut self.camera_info) {
            if let Err(error) = placement.take_camera_info(&message) {
                torn(&self.camera_info_topic, error.to_string());
            }
        }
        for (messages, topic) in [(&mut self.tf_static, "/tf_static"), (&mut self.tf, "/tf")] {
            while let Some(message) = next(messages) {
                match placement.take_transforms(&message, topic == "/tf_static") {
                    Ok(faults) => {
                        for fault in faults {
                            torn(topic, fault.to_string());
                        }
                    }
                    Err(error) => torn(topic, error.to_string()),
                }
            }
        }
    }
}

impl SpinThread {
    /// Subscribes once somebody reads what needs the camera's place; until the node is deactivated,
    /// since a subscription that comes and goes would miss the poses in between.
    pub(super) fn follow_placement(&mut self) -> Result<(), NodeError> {
        let is_read = self.shared.outputs().read().has_area();
        if !(is_read || self.parameters.settings().area.enable) {
            return Ok(());
        }
        let Some(images) = &self.wiring.images else {
            return Ok(());
        };
        let remapped = self.resolver.remapped(CAMERA_INFO);
        let beside = images.intake.camera_info_topic();
        let topic = remapped.clone().unwrap_or_else(|| beside.clone());
        let current = self.wiring.placement.as_ref();
        if current.is_some_and(|intake| intake.camera_info_topic == topic) {
            return Ok(());
        }
        // rcl resolves the name that it is given: one resolved already might be remapped again.
        let name = remapped.map_or(beside, |_| CAMERA_INFO.to_owned());
        let wiring = &mut self.wiring;
        let camera_info = wiring.listen(&name, CameraInfo::TYPE, CAMERA_INFO_QOS)?;
        wiring.placement = Some(match wiring.placement.take() {
            Some(intake) => PlacementIntake {
                camera_info,
                camera_info_topic: topic.clone(),
                ..intake
            },
            None => PlacementIntake {
                camera_info,
                camera_info_topic: topic.clone(),
                tf: wiring.listen("/tf", TfMessage::TYPE, TF_QOS)?,
                tf_static: wiring.listen(
                    "/tf_static",
                    TfMessage::TYPE,
                    TF_QOS.transient_local(),
                )?,
            },
        });
        self.log.info(&format!(
            "the drivable area is read: subscribed to {topic}, /tf and /tf_static"
        ));
        self.shared
            .surroundings
            .send_modify(|surroundings| surroundings.camera_info = topic);
        Ok(())
    }

    /// Moves what r2r has queued of calibration and transforms to the inference thread's reach.
    pub(super) fn receive_placement(&mut self) {
        if let Some(intake) = &mut self.wiring.placement {
            intake.receive(&self.shared.placement, &self.log);
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

fn next(messages: &mut Messages) -> Option<Vec<u8>> {
    messages.next().now_or_never().flatten()
}
