//! The one thread that talks to r2r: it spins the node, follows the lifecycle, empties the image
//! subscriptions into the newest-frame cells, answers parameter requests and follows the graph.

mod graph;
mod network;
mod placement;
mod transitions;

use std::mem;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures::{FutureExt, Stream, StreamExt};
use r2r::QosProfile;
use tokio::sync::watch;

use super::bond::BondLink;
use super::cameras::{CameraName, PerCamera};
use super::clock::{RosClock, stamp_from_time};
use super::error::NodeError;
use super::inference::{Choices, Frame};
use super::intake::Intake;
use super::lifecycle::LifecycleServices;
use super::loading::Loading;
use super::log::Log;
use super::outputs::Outputs;
use super::param_services::ParameterServices;
use super::params::Parameters;
use super::resolve::Resolver;
use super::shared::Shared;
use crate::msg::Stamp;
use crate::segmenter::Segmenter;

pub(super) use transitions::Management;

/// How long a turn waits for ROS; also how late a stop is noticed.
const TURN: Duration = Duration::from_millis(20);

/// As rclcpp's nodes have it.
const CLOCK_QOS: QosProfile = QosProfile::default().keep_last(1).best_effort();

/// How often the graph is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A ROS node and what the spin thread holds of it.
pub(super) struct Wiring {
    node: r2r::Node,
    clock: RosClock,
    /// `/clock`, while time is simulated.
    ticks: Option<Ticks>,
    services: ParameterServices,
    lifecycle: LifecycleServices,
    bond: Option<BondLink>,
    cameras: PerCamera<CameraIntake>,
    transforms: Option<placement::TransformIntake>,
    /// Every subscription to images so far.
    subscribed: Vec<Intake>,
}

/// Messages of `/clock` as they come.
type Ticks = Box<dyn Stream<Item = r2r::rosgraph_msgs::msg::Clock> + Send + Unpin>;

/// Messages as they come.
type Messages = Box<dyn Stream<Item = Vec<u8>> + Send + Unpin>;

/// The subscriptions to one camera.
#[derive(Default)]
struct CameraIntake {
    images: Option<Images>,
    calibration: Option<placement::CalibrationIntake>,
}

struct Images {
    intake: Intake,
    messages: Messages,
}

impl Wiring {
    /// Creates everything below `node` but the image subscriptions, which the graph decides.
    pub(super) fn create(
        mut node: r2r::Node,
        cameras: &PerCamera<CameraName>,
        parameters: &Parameters,
        clock: RosClock,
        log: &Log,
    ) -> Result<(Self, Outputs), NodeError> {
        let outputs = Outputs::create(&mut node, cameras, clock.clone())?;
        let stamp = clock.now().unwrap_or_default();
        let has_bond = parameters.settings().bond_times().is_some();
        let mut wiring = Self {
            services: ParameterServices::create(&mut node, log.clone(), parameters, stamp)?,
            lifecycle: LifecycleServices::create(&mut node, log.clone())?,
            bond: has_bond
                .then(|| BondLink::create(&mut node, clock.clone(), log.clone()))
                .transpose()?,
            cameras: cameras.map(|_| CameraIntake::default()),
            transforms: None,
            subscribed: Vec::new(),
            clock,
            ticks: None,
            node,
        };
        wiring.follow_time(parameters)?;
        Ok((wiring, outputs))
    }

    fn follow_time(&mut self, parameters: &Parameters) -> Result<(), NodeError> {
        let is_simulated = parameters.settings().use_sim_time;
        if !is_simulated {
            self.ticks = None;
        } else if self.ticks.is_none() {
            let ticks = (self.node.subscribe("/clock", CLOCK_QOS))
                .map_err(NodeError::ros("subscribe to /clock"))?;
            self.ticks = Some(Box::new(ticks));
        }
        self.clock.simulate(is_simulated);
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
    pub(super) management: Management,
    pub(super) parameters: Parameters,
    /// The network that is to take the place of the one in use.
    pub(super) swap: Option<Loading>,
    /// Networks whose place others took, while the inference thread may have a frame in them.
    pub(super) retired: Vec<Weak<Segmenter>>,
    /// When the graph was looked at last; `None` where that is to be done at once.
    pub(super) looked: Option<Instant>,
    /// The simulated time of the last turn.
    pub(super) last_time: Option<Stamp>,
    pub(super) choices: watch::Sender<Option<Choices>>,
    pub(super) shared: Arc<Shared>,
    pub(super) log: Log,
}

impl SpinThread {
    /// Spins until told to stop; errs if ROS refuses what the node cannot do without, or if the node
    /// is to start by itself and cannot.
    pub(super) fn run(mut self) -> Result<(), NodeError> {
        if !self.parameters.settings().autostart {
            self.log.info(
                "the node is unconfigured and waits for a lifecycle manager (autostart is false)",
            );
        }
        let end = loop {
            if self.shared.is_stopping() {
                break Ok(());
            }
            self.wiring.node.spin_once(TURN);
            self.watch_time();
            // Before the images, which may need them.
            self.receive_placement();
            self.receive_images();
            if let Err(error) = self.manage().and_then(|()| self.serve_parameters()) {
                break Err(error);
            }
            self.keep_bond();
            if self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
                self.looked = Some(Instant::now());
                // What ROS refuses now it may grant at the next look.
                if let Err(error) = self.follow_graph() {
                    self.log.warn_throttled("graph", &error.to_string());
                }
            }
        };
        self.break_bond();
        end
    }

    /// Takes simulated time, and notices where it jumps back, as it does when a bag starts again.
    fn watch_time(&mut self) {
        if let Some(ticks) = &mut self.wiring.ticks {
            while let Some(Some(tick)) = ticks.next().now_or_never() {
                self.wiring.clock.tick(stamp_from_time(&tick.clock));
            }
        }
        let now = self.wiring.clock.now();
        let is_simulated = self.parameters.settings().use_sim_time;
        let before = mem::replace(&mut self.last_time, now.filter(|_| is_simulated));
        if let (Some(before), Some(now)) = (before, self.last_time)
            && now.as_ns() < before.as_ns()
        {
            self.shared.jump();
            let seconds = (before.as_ns() - now.as_ns()) as f64 * 1e-9;
            let sentence = format!(
                "the clock jumped back by {seconds:.3} s: images from before it are dropped"
            );
            self.log.warn_throttled("time", &sentence);
        }
    }

    /// Moves what r2r has queued into the cells. r2r's queues hold ten messages and drop the
    /// newest when they are full; emptied after every turn they never are.
    fn receive_images(&mut self) {
        for camera in self.shared.cameras.ids() {
            let Some(images) = &mut self.wiring.cameras[camera].images else {
                continue;
            };
            while let Some(message) = next(&mut images.messages) {
                self.shared.ledgers[camera].receive();
                let frame = Frame {
                    camera,
                    message,
                    kind: images.intake.kind,
                    is_rectified: images.intake.is_rectified(),
                    received: Instant::now(),
                };
                self.shared.frames.put(camera, frame);
            }
        }
    }

    /// Tells the inference thread the parameters in force; the network stays.
    fn renew_choices(&self) {
        self.choices.send_modify(|choices| {
            if let Some(choices) = choices {
                *choices = self.choices_of(Arc::clone(&choices.segmenter));
            }
        });
    }

    /// Returns what the inference thread is to work by with this network.
    fn choices_of(&self, segmenter: Arc<Segmenter>) -> Choices {
        let chosen = self.parameters.chosen_classes();
        let classes = chosen.unwrap_or_else(|| segmenter.classes().clone());
        Choices {
            segmenter,
            settings: self.parameters.settings().clone(),
            classes: Arc::new(classes),
        }
    }

    fn keep_bond(&mut self) {
        if let Some(link) = &mut self.wiring.bond {
            link.exchange(self.management.bond.as_mut());
        }
    }

    fn break_bond(&mut self) {
        if let (Some(link), Some(bond)) = (&self.wiring.bond, &mut self.management.bond) {
            link.part(bond);
        }
    }
}

/// Returns the next message, if it is there.
fn next(messages: &mut Messages) -> Option<Vec<u8>> {
    messages.next().now_or_never().flatten()
}
