//! The node from its start to its end: context, parameters, threads, signals.

use std::sync::Arc;
use std::time::Duration;
use std::{fs, thread};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use super::arguments::RosArguments;
use super::cameras::PerCamera;
use super::clock::RosClock;
use super::context;
use super::diagnostics::{self, CameraFigures, Identity, Level};
use super::error::NodeError;
use super::inference::Inference;
use super::log::Log;
use super::param_services::value_from_override;
use super::params::Parameters;
use super::resolve::Resolver;
use super::shared::Shared;
use super::spin::{Management, SpinThread, Wiring};

/// The node's name unless a rule changes it.
const NAME: &str = "ecmnet";

/// How often diagnostics are published.
const DIAGNOSTICS_EVERY: Duration = Duration::from_secs(1);

/// How long a stop waits for the threads. A frame in the network may take longer: it is given
/// up with the process, after everything else has ended in order.
const STOP_WITHIN: Duration = Duration::from_millis(300);

/// Runs the node of a process with these arguments until SIGINT or SIGTERM.
///
/// Errs with one sentence if it cannot start: arguments that rcl refuses, parameters without a
/// usable value; and where it is to start by itself, weights or a device that cannot be used. Errs,
/// too, if the GPU is lost or a thread ends by a fault.
pub fn run(arguments: &RosArguments) -> Result<(), NodeError> {
    let context = context::create(arguments)?;
    let mut node = create(&context)?;
    let resolver = resolver(&node, arguments)?;
    let log = Log::new(node.logger());
    let clock = RosClock::default();
    let rosout = !arguments.rosout_disabled;
    if rosout {
        log.follow(&mut node, clock.clone())?;
    }
    let parameters = Parameters::from_overrides(overrides(&node))?;
    let identity = identity(&resolver);
    let cameras = PerCamera::named(&parameters.settings().cameras);
    let (wiring, outputs) = Wiring::create(node, &cameras, &parameters, clock, &log)?;
    let shared = Arc::new(Shared::new(cameras, outputs));
    let (choices_sender, choices) = watch::channel(None);
    let inference = Inference::new(choices, Arc::clone(&shared), &log);
    let spin = SpinThread {
        context,
        wiring,
        resolver,
        rosout,
        management: Management::new(parameters.settings().autostart),
        parameters,
        swap: None,
        retired: Vec::new(),
        looked: None,
        last_time: None,
        choices: choices_sender,
        shared: Arc::clone(&shared),
        log,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(NodeError::system("start tokio"))?;
    runtime.block_on(supervise(spin, inference, &shared, &identity))
}

/// Creates the ROS node; the arguments' rules name it.
pub(super) fn create(context: &r2r::Context) -> Result<r2r::Node, NodeError> {
    r2r::Node::create(context.clone(), NAME, "").map_err(NodeError::ros("create the node"))
}

/// Starts the threads, publishes diagnostics, and ends all in order.
async fn supervise(
    spin: SpinThread,
    inference: Inference,
    shared: &Shared,
    identity: &Identity,
) -> Result<(), NodeError> {
    let listen = |kind| signal(kind).map_err(NodeError::system("listen for signals"));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut spin = start("ros", move || spin.run())?;
    let mut inference = start("inference", move || inference.run())?;
    let mut tick = tokio::time::interval(DIAGNOSTICS_EVERY);
    let fault = |thread| NodeError::Thread { thread };
    let end = loop {
        tokio::select! {
            _ = interrupt.recv() => break Ok(()),
            _ = terminate.recv() => break Ok(()),
            ended = &mut spin => break ended.unwrap_or(Err(fault("ros"))),
            ended = &mut inference => {
                break ended.unwrap_or(Ok(())).and(Err(fault("inference")));
            }
            _ = tick.tick() => publish_diagnostics(shared, identity, None),
        }
    };
    let fault = end.as_ref().err();
    if fault.is_some() {
        publish_diagnostics(shared, identity, fault);
    }
    shared.stop();
    match fault {
        None => {
            let both = async { (spin.await, inference.await) };
            let _unfinished = tokio::time::timeout(STOP_WITHIN, both).await;
        }
        // The last status reaches its readers while the ROS node still spins down in order.
        Some(NodeError::GpuLost { .. }) => {
            let _unfinished = tokio::time::timeout(STOP_WITHIN, spin).await;
        }
        Some(_) => {}
    }
    end
}

/// Starts a thread; the receiver errs where it ends by a panic.
fn start<T: Send + 'static>(
    name: &'static str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, NodeError> {
    let (ended, end) = oneshot::channel();
    thread::Builder::new()
        .name(name.into())
        .spawn(move || ended.send(body()))
        .map_err(NodeError::system("start a thread"))?;
    Ok(end)
}

/// Publishes the status, which `fault` overrides where the node ends by one.
///
/// A status that cannot be sent belongs to a node that is being renewed: the next second's can.
fn publish_diagnostics(shared: &Shared, identity: &Identity, fault: Option<&NodeError>) {
    let outputs = shared.outputs();
    let surroundings = shared.surroundings.borrow().clone();
    let status = shared.cameras.ids().map(|id| {
        let figures = CameraFigures {
            id,
            name: &shared.cameras[id],
            account: shared.ledgers[id].account(),
            dropped: shared.frames.dropped(id),
            subscribers: outputs.subscribers(id),
        };
        let mut status = diagnostics::status(identity, &surroundings, &figures);
        if let Some(fault) = fault {
            status.level = Level::Error as u8;
            status.message = fault.to_string();
        }
        status
    });
    let status = status.collect();
    let _unsent = outputs.publish_status(status);
}

fn resolver(node: &r2r::Node, arguments: &RosArguments) -> Result<Resolver, NodeError> {
    let unnamed = NodeError::ros("name the node");
    let name = node.name().map_err(&unnamed)?;
    let namespace = node.namespace().map_err(&unnamed)?;
    Ok(Resolver::new(&name, &namespace, &arguments.rules))
}

fn overrides(node: &r2r::Node) -> Vec<(String, super::params::Value)> {
    let parameters = node
        .params
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    parameters
        .iter()
        .map(|(name, parameter)| (name.clone(), value_from_override(&parameter.value)))
        .collect()
}

fn identity(resolver: &Resolver) -> Identity {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Identity {
        node: resolver.node(),
        hardware_id: format!("pid {} on {}", std::process::id(), host.trim()),
    }
}
