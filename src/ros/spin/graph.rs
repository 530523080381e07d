//! What the spin thread makes of the graph: which images to subscribe to, and who else is there.

use std::time::Duration;

use super::super::cameras::CameraId;
use super::super::error::NodeError;
use super::super::intake::{self, Intake};
use super::super::node::create;
use super::{Images, SpinThread, Wiring};

/// A camera's topic below its name, before remapping.
const IMAGE: &str = "image";

/// How long after the activation a camera that is not seen yet may take before its type is guessed.
const GUESS_AFTER: Duration = Duration::from_secs(1);

impl SpinThread {
    /// Subscribes as the live publishers offer, and notes who else is there.
    pub(super) fn follow_graph(&mut self) -> Result<(), NodeError> {
        let namesakes = self.namesakes()?;
        let keeps_grid = self.parameters.settings().area.enable;
        let mut had = 0;
        self.shared.surroundings.send_modify(|surroundings| {
            had = surroundings.namesakes;
            surroundings.namesakes = namesakes;
            surroundings.keeps_grid = keeps_grid;
        });
        if namesakes > had {
            self.log.warn(&format!(
                "{namesakes} other node(s) are named {}, too: their parameters and outputs mix \
                 with this one's; start one under another name (-r __node:=NAME)",
                self.resolver.node(),
            ));
        }
        // What ROS refuses one camera is no reason to leave the others.
        let mut outcome = Ok(());
        for camera in self.shared.cameras.ids() {
            outcome = outcome.and(self.follow_images(camera));
        }
        if self.management.active_for().is_some() {
            outcome = outcome.and(self.follow_placement());
        }
        outcome
    }

    /// Subscribes to a camera's images as their live publishers offer.
    fn follow_images(&mut self, camera: CameraId) -> Result<(), NodeError> {
        let settings = self.parameters.settings();
        let topic = self.image_topic(camera);
        let mut publishers = Vec::new();
        for topic in intake::candidate_topics(&topic, settings) {
            let of_topic = intake::publishers_on(&self.wiring.node, &topic);
            publishers.extend(of_topic.map_err(NodeError::ros("list the publishers of a topic"))?);
        }
        let images = self.wiring.cameras[camera].images.as_ref();
        let current = images.map(|images| &images.intake);
        let chosen = intake::choose(&topic, current, &publishers, settings);
        self.shared.surroundings.send_modify(|surroundings| {
            let around = &mut surroundings.cameras[camera];
            around.intake = chosen.to_string();
            around.publishers = publishers.len();
        });
        let active_for = self.management.active_for();
        let may_guess = active_for.is_some_and(|time| time >= GUESS_AFTER);
        let is_new = current != Some(&chosen);
        if active_for.is_some() && is_new && (chosen.followed || may_guess) {
            self.subscribe(camera, chosen)?;
        }
        Ok(())
    }

    /// Returns the fully qualified name of a camera's topic.
    fn image_topic(&self, camera: CameraId) -> String {
        self.resolver
            .topic(&self.shared.cameras[camera].input(IMAGE))
    }

    /// Replaces a camera's image subscription.
    ///
    /// r2r frees a dropped subscription only at its next message, and DDS refuses a second type
    /// on a topic within one participant: so a change of type takes a new ROS node, below which the
    /// other cameras are subscribed anew, too.
    fn subscribe(&mut self, camera: CameraId, intake: Intake) -> Result<(), NodeError> {
        let blocks = |had: &Intake| had.topic == intake.topic && had.kind != intake.kind;
        self.wiring.cameras[camera].images = None;
        if self.wiring.subscribed.iter().any(blocks) {
            self.renew_node()?;
        }
        // rcl resolves the name that it is given: one resolved already might be remapped again.
        let is_image = intake.topic == self.image_topic(camera);
        let unresolved = self.shared.cameras[camera].input(IMAGE);
        let name = if is_image { &unresolved } else { &intake.topic };
        let messages = self
            .wiring
            .node
            .subscribe_raw(name, intake.kind.type_name(), intake.qos())
            .map_err(NodeError::ros("subscribe to images"))?;
        self.log.info(&format!("subscribed to {intake}"));
        if !self.wiring.subscribed.contains(&intake) {
            self.wiring.subscribed.push(intake.clone());
        }
        self.wiring.cameras[camera].images = Some(Images {
            intake,
            messages: Box::new(messages),
        });
        Ok(())
    }

    fn renew_node(&mut self) -> Result<(), NodeError> {
        let mut node = create(&self.context)?;
        if self.rosout {
            self.log.follow(&mut node, self.wiring.clock.clone())?;
        }
        let cameras = &self.shared.cameras;
        let clock = self.wiring.clock.clone();
        let (wiring, outputs) = Wiring::create(node, cameras, &self.parameters, clock, &self.log)?;
        if let Some(choices) = &*self.choices.borrow() {
            outputs.publish_classes(choices.segmenter.classes())?;
        }
        self.shared.replace_outputs(outputs);
        self.wiring = wiring;
        self.looked = None;
        Ok(())
    }

    /// Returns the number of other nodes of this node's name: each publishes parameter events.
    fn namesakes(&self) -> Result<usize, NodeError> {
        let topic = self.resolver.topic("/parameter_events");
        let publishers = self
            .wiring
            .node
            .get_publishers_info_by_topic(&topic, false)
            .map_err(NodeError::ros("list the publishers of a topic"))?;
        let alike = publishers.iter().filter(|publisher| {
            let namespace = publisher.node_namespace.trim_end_matches('/');
            format!("{namespace}/{}", publisher.node_name) == self.resolver.node()
        });
        Ok(alike.count().saturating_sub(1))
    }
}
