//! The one thread that talks to r2r: it spins the node, empties the image subscription into the
//! newest-frame cell, answers parameter requests and follows the graph.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::watch;

use super::diagnostics::Surroundings;
use super::error::NodeError;
use super::inference::{Choices, Frame};
use super::intake::{self, Intake};
use super::log::Log;
use super::outputs::Outputs;
use super::param_services::ParameterServices;
use super::params::Parameters;
use super::resolve::Resolver;
use super::shared::Shared;
use crate::labels::ClassTable;

/// The camera's topic before remapping.
const IMAGE: &str = "image";

/// How long a turn waits for ROS; also how late a stop is noticed.
const TURN: Duration = Duration::from_millis(20);

/// How often the graph is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long after the start a camera that is not seen yet may take before its type is guessed.
const GUESS_AFTER: Duration = Duration::from_secs(1);

/// A ROS node and what the spin thread holds of it.
pub(super) struct Wiring {
    node: r2r::Node,
    clock: super::clock::RosClock,
    services: ParameterServices,
    images: Option<Images>,
}

struct Images {
    intake: Intake,
    messages: Box<dyn Stream<Item = Vec<u8>> + Send + Unpin>,
}

impl Wiring {
    /// Creates everything below `node` but the image subscription, which the graph decides.
    pub(super) fn create(
        mut node: r2r::Node,
        classes: &ClassTable,
        parameters: &Parameters,
        log: &Log,
    ) -> Result<(Self, Outputs), NodeError> {
        let outputs = Outputs::create(&mut node, classes)?;
        let stamp = outputs.clock.now().unwrap_or_default();
        let services = ParameterServices::create(&mut node, log.clone(), parameters, stamp)?;
        let mut wiring = Self {
            node,
            clock: outputs.clock.clone(),
            services,
            images: None,
        };
        wiring.follow_time(parameters)?;
        Ok((wiring, outputs))
    }

    fn follow_time(&mut self, parameters: &Parameters) -> Result<(), NodeError> {
        let source = self.node.get_time_source();
        if parameters.settings().use_sim_time {
            source
                .enable_sim_time(&mut self.node)
                .map_err(NodeError::ros("subscribe to /clock"))?;
        } else {
            source.disable_sim_time();
        }
        Ok(())
    }
}

/// The spin thread's own things.
pub(super) struct SpinThread {
    pub(super) context: r2r::Context,
    pub(super) wiring: Wiring,
    pub(super) resolver: Resolver,
    /// Whether the log goes to `/rosout`, too.
    pub(super) rosout: bool,
    pub(super) classes: ClassTable,
    pub(super) parameters: Parameters,
    pub(super) choices: watch::Sender<Choices>,
    pub(super) shared: Arc<Shared>,
    pub(super) log: Log,
}

impl SpinThread {
    /// Spins until told to stop; errs if ROS refuses what the node cannot do without.
    pub(super) fn run(mut self) -> Result<(), NodeError> {
        let started = Instant::now();
        let mut looked = None;
        while !self.shared.is_stopping() {
            self.wiring.node.spin_once(TURN);
            self.receive_images();
            self.serve_parameters()?;
            if looked.is_none_or(|at: Instant| at.elapsed() >= LOOK_EVERY) {
                looked = Some(Instant::now());
                // What ROS refuses now it may grant at the next look.
                if let Err(error) = self.follow_graph(started.elapsed() >= GUESS_AFTER) {
                    self.log.warn_throttled("graph", &error.to_string());
                }
            }
        }
        Ok(())
    }

    /// Moves what r2r has queued into the cell. r2r's queue holds ten messages and drops the
    /// newest when it is full; emptied after every turn it never is.
    fn receive_images(&mut self) {
        let Some(images) = &mut self.wiring.images else {
            return;
        };
        while let Some(Some(message)) = images.messages.next().now_or_never() {
            self.shared.ledger.receive();
            self.shared.frames.put(Frame {
                message,
                kind: images.intake.kind,
                received: Instant::now(),
            });
        }
    }

    fn serve_parameters(&mut self) -> Result<(), NodeError> {
        let stamp = self.wiring.clock.now().unwrap_or_default();
        if self.wiring.services.serve(&mut self.parameters, stamp) {
            self.choices.send_replace(choices(&self.parameters));
            self.wiring.follow_time(&self.parameters)?;
        }
        Ok(())
    }

    /// Subscribes as the live publishers offer, and notes who else is there.
    fn follow_graph(&mut self, may_guess: bool) -> Result<(), NodeError> {
        let query = NodeError::ros("list the publishers of a topic");
        let node = &self.wiring.node;
        let settings = self.parameters.settings();
        let topic = self.resolver.topic(IMAGE);
        let mut publishers = Vec::new();
        for topic in intake::candidate_topics(&topic, settings) {
            publishers.extend(intake::publishers_on(node, &topic).map_err(&query)?);
        }
        let current = self.wiring.images.as_ref().map(|images| &images.intake);
        let chosen = intake::choose(&topic, current, &publishers, settings);
        let namesakes = self.namesakes()?;
        let surroundings = Surroundings {
            intake: chosen.to_string(),
            publishers: publishers.len(),
            namesakes,
        };
        let had = self
            .shared
            .surroundings
            .send_replace(surroundings)
            .namesakes;
        if namesakes > had {
            self.log.warn(&format!(
                "{namesakes} other node(s) are named {}, too: their parameters and outputs mix \
                 with this one's; start one under another name (-r __node:=NAME)",
                self.resolver.node(),
            ));
        }
        if current != Some(&chosen) && (chosen.followed || may_guess) {
            self.subscribe(chosen)?;
        }
        Ok(())
    }

    /// Replaces the image subscription.
    ///
    /// r2r frees a dropped subscription only at its next message, and DDS refuses a second type
    /// on a topic within one participant: so a change of type takes a new ROS node.
    fn subscribe(&mut self, intake: Intake) -> Result<(), NodeError> {
        let blocks = |images: Images| {
            images.intake.topic == intake.topic && images.intake.kind != intake.kind
        };
        if self.wiring.images.take().is_some_and(blocks) {
            self.renew_node()?;
        }
        // rcl resolves the name that it is given: one resolved already might be remapped again.
        let is_image = intake.topic == self.resolver.topic(IMAGE);
        let name = if is_image { IMAGE } else { &intake.topic };
        let messages = self
            .wiring
            .node
            .subscribe_raw(name, intake.kind.type_name(), intake.qos())
            .map_err(NodeError::ros("subscribe to images"))?;
        self.log.info(&format!("subscribed to {intake}"));
        self.wiring.images = Some(Images {
            intake,
            messages: Box::new(messages),
        });
        Ok(())
    }

    fn renew_node(&mut self) -> Result<(), NodeError> {
        let mut node = super::node::create(&self.context)?;
        if self.rosout {
            self.log.follow(&mut node)?;
        }
        let (wiring, outputs) = Wiring::create(node, &self.classes, &self.parameters, &self.log)?;
        self.shared.replace_outputs(outputs);
        self.wiring = wiring;
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

/// Returns what the inference thread works by.
pub(super) fn choices(parameters: &Parameters) -> Choices {
    Choices {
        settings: parameters.settings().clone(),
        drivable: parameters.drivable(),
    }
}
