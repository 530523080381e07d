//! A live ROS graph of its own: the node as a process, and rclpy peers that a test drives.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::domain::Domain;

/// How long anything may take before a test gives up; generous, since the machine may be loaded.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A ROS graph that no other test sees; its processes end with it.
pub(crate) struct Graph {
    domain: Domain,
    home: tempfile::TempDir,
}

impl Graph {
    /// Returns an empty graph: a domain of its own on this machine alone, and a home.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            domain: Domain::hold()?,
            home: tempfile::tempdir()?,
        })
    }

    /// Returns a folder that ends with the graph.
    pub(crate) fn folder(&self) -> &Path {
        self.home.path()
    }

    /// Starts a node on made weights at a small network size, with further ROS arguments.
    pub(crate) fn node(&self, ros_arguments: &[&str]) -> Result<Node> {
        let mut command = self.node_command(ros_arguments)?;
        Node::start(&mut command)
    }

    /// Starts a node as [`Graph::node`] does, and waits until it spins.
    pub(crate) fn running_node(&self, ros_arguments: &[&str]) -> Result<Node> {
        let node = self.node(ros_arguments)?;
        node.wait_for_line("outputs: ")?;
        Ok(node)
    }

    /// Returns the command of [`Graph::node`].
    pub(crate) fn node_command(&self, ros_arguments: &[&str]) -> Result<Command> {
        let weights = super::weights::made_weights(self.folder())?;
        let weights = format!("weights:={}", weights.display());
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_ecmnet_node")));
        command
            .args(["--ros-args", "-p", &weights, "-p", "network_size:=64x96"])
            .args(["-p", "device:=cpu", "-p", "threads:=1"])
            .args(ros_arguments);
        Ok(command)
    }

    /// Returns a command in this graph.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("ROS_DOMAIN_ID", self.domain.id.to_string())
            .env("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
            .env("HOME", self.folder())
            .env("FASTRTPS_DEFAULT_PROFILES_FILE", large_images_profile())
            .env_remove("ROS_LOG_DIR")
            .env_remove("ROS_HOME");
        command
    }

    /// Starts an rclpy peer.
    pub(crate) fn peer(&self, name: &str) -> Result<Peer> {
        self.peer_of("graph_peer.py", name)
    }

    /// Starts a peer that manages the node `/ecmnet` as Nav2's lifecycle manager does.
    pub(crate) fn manager(&self) -> Result<Peer> {
        let mut manager = self.peer_of("lifecycle_manager.py", "lifecycle_manager")?;
        manager.ask("manage", json!({"node": "/ecmnet"}))?;
        Ok(manager)
    }

    /// Starts a peer of `tests/peers/` by its program.
    pub(crate) fn peer_of(&self, program: &str, name: &str) -> Result<Peer> {
        let mut command = self.command(&repository().join("scripts/ros_python"));
        command.arg(repository().join("tests/peers").join(program));
        Peer::start(command.arg(name))
    }
}

/// Returns the repository's root.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the DDS profile that the launch file uses.
pub(crate) fn large_images_profile() -> PathBuf {
    repository().join("config/fastdds_large_images.xml")
}

/// Waits until `probe` gives a value; errs with `what` after [`DEADLINE`].
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        ensure!(
            start.elapsed() < DEADLINE,
            "{what}: not within {DEADLINE:?}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// The node as a process, with the lines that it writes.
pub(crate) struct Node {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Node {
    /// Starts a command that is a node.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let stderr = child.stderr.take().context("stderr is a pipe")?;
        let kept = Arc::clone(&lines);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        Ok(Self { child, lines })
    }

    /// Returns the process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns everything that it has written.
    pub(crate) fn written(&self) -> String {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .join("\n")
    }

    /// Waits until it has written a line that holds `text`; errs if it ends before.
    pub(crate) fn wait_for_line(&self, text: &str) -> Result<()> {
        wait_for(
            &format!("the line '{text}' in:\n{}", self.written()),
            || Ok(self.written().contains(text).then_some(())),
        )
        .with_context(|| self.written())
    }

    /// Sends a signal by its name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        signal(self.pid(), name)
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        wait_for("the node's end", || Ok(self.child.try_wait()?))
    }

    /// Returns whether it runs.
    pub(crate) fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}

impl Drop for Node {
    /// A killed node leaves its shared-memory segment of 64 MB behind: it is asked to end first.
    fn drop(&mut self) {
        if !ended_by_itself(&mut self.child, |child| {
            let _gone = signal(child.id(), "TERM");
        }) {
            let _gone = self.child.kill();
            let _gone = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("the node wrote:\n{}", self.written());
        }
    }
}

/// Asks a process to end, and returns whether it did within five seconds.
fn ended_by_itself(child: &mut Child, ask: impl FnOnce(&Child)) -> bool {
    if !matches!(child.try_wait(), Ok(Some(_))) {
        ask(child);
    }
    (0..100).any(|_| {
        let ended = matches!(child.try_wait(), Ok(Some(_)));
        if !ended {
            thread::sleep(Duration::from_millis(50));
        }
        ended
    })
}

/// Sends a signal to a process that the test started.
pub(crate) fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status()?;
    ensure!(status.success(), "kill -{name} {pid}");
    Ok(())
}

/// An rclpy process; see `tests/peers/graph_peer.py` for its commands.
pub(crate) struct Peer {
    child: Child,
    commands: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Peer {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{command:?}; scripts/setup_ros makes what it needs"))?;
        let commands = child.stdin.take().context("stdin is a pipe")?;
        let output = child.stdout.take().context("stdout is a pipe")?;
        let (answer, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if answer.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            commands: Some(commands),
            answers,
        })
    }

    /// Gives a command and returns its answer.
    pub(crate) fn ask(&mut self, name: &str, mut arguments: Value) -> Result<Value> {
        arguments["do"] = json!(name);
        let commands = self
            .commands
            .as_mut()
            .context("commands end with the peer")?;
        writeln!(commands, "{arguments}")?;
        let answer = self
            .answers
            .recv_timeout(2 * DEADLINE)
            .with_context(|| format!("no answer to {name}"))?;
        let mut answer: Value = serde_json::from_str(&answer)?;
        if let Some(error) = answer.get("error") {
            bail!("{name}: {error}");
        }
        Ok(answer["ok"].take())
    }

    /// Returns the process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Advertises images and waits until the node reads them.
    pub(crate) fn advertise_images(&mut self, topic: &str, reliable: bool) -> Result<()> {
        self.advertise(topic, "sensor_msgs/msg/Image", reliable)
    }

    /// Advertises a topic of the node's and waits until the node reads it.
    pub(crate) fn advertise(&mut self, topic: &str, type_name: &str, reliable: bool) -> Result<()> {
        let arguments = json!({"topic": topic, "type": type_name, "reliable": reliable});
        self.ask("advertise", arguments)?;
        self.wait_until_read(topic, reliable)
    }

    /// Waits until every reader of this peer's topic is matched, one of them as reliable as it.
    ///
    /// A node that guessed before it saw the publisher subscribes again; what is published in
    /// between would be lost.
    pub(crate) fn wait_until_read(&mut self, topic: &str, reliable: bool) -> Result<()> {
        wait_for(&format!("a reader of {topic}"), || {
            let endpoints = self.ask("endpoints", json!({ "topic": topic }))?;
            let readers = endpoints["subscriptions"].as_array().context("a list")?;
            let alike = readers.iter().any(|reader| reader["reliable"] == reliable);
            let matched = self.ask("matched", json!({ "topic": topic }))?;
            // Reliable readers do not match a best-effort publisher.
            let all = !reliable || matched == json!(readers.len());
            Ok((alike && all && matched != json!(0)).then_some(()))
        })
    }

    /// Subscribes to an image output of the node, and waits until its publisher is there.
    pub(crate) fn subscribe_images(&mut self, topic: &str) -> Result<()> {
        self.subscribe(topic, "sensor_msgs/msg/Image")
    }

    /// Subscribes to a topic, reliably, and waits until its publisher is there.
    pub(crate) fn subscribe(&mut self, topic: &str, type_name: &str) -> Result<()> {
        self.ask("subscribe", json!({"topic": topic, "type": type_name}))?;
        wait_for(&format!("a publisher of {topic}"), || {
            let endpoints = self.ask("endpoints", json!({ "topic": topic }))?;
            let none = endpoints["publishers"].as_array().is_none_or(Vec::is_empty);
            Ok((!none).then_some(()))
        })
    }

    /// Publishes a message of nested fields.
    pub(crate) fn publish(&mut self, topic: &str, message: &Value) -> Result<()> {
        self.ask("publish", json!({"topic": topic, "message": message}))?;
        Ok(())
    }

    /// Returns the next message of a subscription; errs if none comes.
    pub(crate) fn take(&mut self, topic: &str) -> Result<Value> {
        let arguments = json!({"topic": topic, "timeout_s": DEADLINE.as_secs_f64()});
        let message = self.ask("take", arguments)?;
        ensure!(
            !message.is_null(),
            "nothing came on {topic} within {DEADLINE:?}"
        );
        Ok(message)
    }

    /// Returns whether nothing comes on a subscription for a while.
    pub(crate) fn is_silent(&mut self, topic: &str, seconds: f64) -> Result<bool> {
        let arguments = json!({"topic": topic, "timeout_s": seconds});
        Ok(self.ask("take", arguments)?.is_null())
    }

    /// Publishes a message again and again until one that `fits` comes on `output`.
    ///
    /// A best-effort reader that has just been matched may miss the first ones, and masks of
    /// earlier images may still be on their way.
    pub(crate) fn publish_until(
        &mut self,
        topic: &str,
        message: &Value,
        output: &str,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        wait_for(&format!("a message on {output}"), || {
            self.publish(topic, message)?;
            let arguments = json!({"topic": output, "timeout_s": 2.0});
            let answer = self.ask("take", arguments)?;
            Ok((!answer.is_null() && fits(&answer)).then_some(answer))
        })
    }

    /// Publishes an image until its mask comes, known by its width.
    pub(crate) fn mask_of(&mut self, topic: &str, image: &Value, mask: &str) -> Result<Value> {
        let width = image["width"].clone();
        self.publish_until(topic, image, mask, |mask| mask["width"] == width)
    }
}

impl Drop for Peer {
    /// A peer that ends in order leaves the graph at once; a killed one stays in it for DDS's
    /// lease of 20 s.
    fn drop(&mut self) {
        self.commands.take();
        if !ended_by_itself(&mut self.child, |_| {}) {
            let _gone = self.child.kill();
            let _gone = self.child.wait();
        }
    }
}
