//! The node's state in one `diagnostic_msgs/DiagnosticStatus`: a level, a sentence, the figures.

use std::time::Duration;

use r2r::diagnostic_msgs::msg::{DiagnosticStatus, KeyValue};

use super::cameras::{CameraId, CameraName, PerCamera};
use super::ledger::{Account, Percentiles, WINDOW};
use super::lifecycle::State;
use super::start_block::BUILD;

/// A camera that is silent for longer counts as stopped.
const SILENCE: Duration = Duration::from_secs(3);

/// How bad things are; the values are those of `diagnostic_msgs/DiagnosticStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// All is as it should be.
    Ok = 0,
    /// Something is odd, and masks still come.
    Warn = 1,
    /// No masks come though images do.
    Error = 2,
    /// Images have stopped coming.
    Stale = 3,
}

/// What does not change while the node runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    /// The node's fully qualified name.
    pub node: String,
    /// Process and host, which tell two nodes of one name apart.
    pub hardware_id: String,
}

/// The network that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NetworkIdentity {
    /// Where it runs, and why `auto` took no GPU.
    pub device: String,
    /// The number type that it computes in.
    pub dtype: &'static str,
    /// SHA-256 of the weights file.
    pub weights_sha256: String,
    /// Licence of the weights.
    pub weights_licence: String,
}

/// What the graph looks like around a camera.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CameraSurroundings {
    /// The image topic and how it is subscribed.
    pub intake: String,
    /// The topic of the camera's calibration; empty while nobody reads what needs it.
    pub camera_info: String,
    /// Publishers on the image topic.
    pub publishers: usize,
}

/// The node's state, and what the graph looks like around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// The cameras in it.
    pub cameras: PerCamera<CameraSurroundings>,
    /// Whether the drivable area is kept while nobody reads it.
    pub keeps_grid: bool,
    /// Other nodes of this node's name.
    pub namesakes: usize,
    /// The node's state.
    pub state: State,
    /// What the last transition failed for.
    pub fault: Option<String>,
    /// The network, where one is loaded.
    pub network: Option<NetworkIdentity>,
}

impl Surroundings {
    /// Returns those of a node that has looked at nothing yet.
    pub(super) fn new(cameras: &PerCamera<CameraName>) -> Self {
        Self {
            cameras: cameras.map(|_| CameraSurroundings::default()),
            ..Self::default()
        }
    }
}

/// A camera's figures.
#[derive(Clone, Debug)]
pub(super) struct CameraFigures<'a> {
    /// Which camera.
    pub id: CameraId,
    /// Its name.
    pub name: &'a CameraName,
    /// What became of its frames.
    pub account: Account,
    /// Frames of it that gave way to newer ones.
    pub dropped: u64,
    /// Who reads its outputs.
    pub subscribers: usize,
}

/// Returns the status of a camera.
pub(super) fn status(
    identity: &Identity,
    surroundings: &Surroundings,
    camera: &CameraFigures<'_>,
) -> DiagnosticStatus {
    let CameraFigures {
        account,
        dropped,
        subscribers,
        ..
    } = camera;
    let around = &surroundings.cameras[camera.id];
    let (level, message) = verdict(identity, surroundings, camera);
    let mut values = vec![
        pair("rate_hz", format!("{:.2}", account.rate_hz)),
        pair("received", account.received),
        pair("segmented", account.segmented),
        pair("dropped", dropped),
        pair("unwatched", account.unwatched),
        pair("rate_limited", account.rate_limited),
        pair("late", account.late),
        pair("rejected", account.rejected.values().sum::<u64>()),
    ];
    for (reason, count) in &account.rejected {
        values.push(pair(&format!("rejected.{reason}"), count));
    }
    values.push(pair("drivable_area", account.areas));
    for (reason, count) in &account.area_stops {
        values.push(pair(&format!("drivable_area.{reason}"), count));
    }
    values.extend(latencies("drivable_area_ms", account.area_ms));
    let pitch_deg = account.pitch_correction_deg;
    let pitch_deg = pitch_deg.map_or_else(none, |pitch_deg| format!("{pitch_deg:.2}"));
    values.push(pair("pitch_correction_deg", pitch_deg));
    values.extend(latencies(
        "stamp_to_publish_ms",
        account.stamp_to_publish_ms,
    ));
    values.extend(latencies(
        "receipt_to_publish_ms",
        account.receipt_to_publish_ms,
    ));
    let size = account
        .image_size
        .map(|[width, height]| format!("{width}x{height}"));
    let network = |of: fn(&NetworkIdentity) -> &str| {
        let known = surroundings.network.as_ref();
        known.map_or_else(none, |network| of(network).to_owned())
    };
    values.extend([
        pair("state", surroundings.state.label()),
        pair("image", &around.intake),
        pair("image_size", size.unwrap_or_else(none)),
        pair("camera_info", &around.camera_info),
        pair("image_publishers", around.publishers),
        pair("subscribers", subscribers),
        pair("device", network(|network| &network.device)),
        pair("dtype", network(|network| network.dtype)),
        pair("weights_sha256", network(|network| &network.weights_sha256)),
        pair(
            "weights_licence",
            network(|network| &network.weights_licence),
        ),
        pair("build", BUILD),
    ]);
    let namesake = if surroundings.namesakes > 0 {
        format!(" ({})", identity.hardware_id)
    } else {
        String::new()
    };
    DiagnosticStatus {
        level: level as u8,
        name: format!(
            "{}: {}{namesake}",
            identity.node,
            camera.name.said("segmentation"),
        ),
        message,
        hardware_id: identity.hardware_id.clone(),
        values,
    }
}

fn verdict(
    identity: &Identity,
    surroundings: &Surroundings,
    camera: &CameraFigures<'_>,
) -> (Level, String) {
    let namesakes = &surroundings.namesakes;
    let CameraSurroundings {
        intake, publishers, ..
    } = &surroundings.cameras[camera.id];
    let account = &camera.account;
    if *namesakes > 0 {
        let others = if *namesakes == 1 {
            "another node is".to_owned()
        } else {
            format!("{namesakes} other nodes are")
        };
        let message = format!("{others} named {}: rename one", identity.node);
        return (Level::Warn, message);
    }
    if let Some(fault) = &surroundings.fault {
        return (Level::Error, fault.clone());
    }
    if surroundings.state != State::Active {
        return (
            Level::Ok,
            format!("{}: no masks", surroundings.state.label()),
        );
    }
    if camera.subscribers == 0 && !surroundings.keeps_grid {
        return (Level::Ok, "idle: nobody subscribes to an output".into());
    }
    match account.since_received {
        None => {
            let message = format!("no image yet on {intake} ({publishers} publishers)");
            return (Level::Warn, message);
        }
        Some(silence) if silence > SILENCE => {
            let seconds = silence.as_secs_f64();
            let message =
                format!("no image for {seconds:.0} s on {intake} ({publishers} publishers)");
            return (Level::Stale, message);
        }
        Some(_) => {}
    }
    let rejections = account.recent_rejections.len();
    let seconds = WINDOW.as_secs();
    match (account.recent_masks, account.recent_rejections.last()) {
        (0, Some(reason)) => (
            Level::Error,
            format!("no mask in {seconds} s: {rejections} images rejected, the last for {reason}"),
        ),
        (0, None) => (Level::Warn, format!("no mask in {seconds} s")),
        (_, Some(reason)) => (
            Level::Warn,
            format!("{rejections} images rejected in {seconds} s, the last for {reason}"),
        ),
        (masks, None) if account.recent_late > 0 => (
            Level::Warn,
            format!(
                "{} of {masks} masks in {seconds} s were later than deadline_ms",
                account.recent_late
            ),
        ),
        (_, None) if account.area_stopped.is_some() => {
            let reason = account.area_stopped.unwrap_or_default();
            (
                Level::Warn,
                format!(
                    "{:.1} masks a second, but no drivable area: {reason}",
                    account.rate_hz
                ),
            )
        }
        (_, None) => (Level::Ok, format!("{:.1} masks a second", account.rate_hz)),
    }
}

fn latencies(name: &str, percentiles: Option<Percentiles>) -> [KeyValue; 3] {
    let value = |of: fn(Percentiles) -> f64| {
        percentiles.map_or_else(none, |percentiles| format!("{:.1}", of(percentiles)))
    };
    [
        pair(&format!("{name}.p50"), value(|p| p.p50)),
        pair(&format!("{name}.p95"), value(|p| p.p95)),
        pair(&format!("{name}.p99"), value(|p| p.p99)),
    ]
}

fn pair(key: &str, value: impl ToString) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: value.to_string(),
    }
}

fn none() -> String {
    "none".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Account {
        Account {
            received: 9,
            since_received: Some(Duration::from_millis(40)),
            recent_masks: 8,
            rate_hz: 15.04,
            ..Default::default()
        }
    }

    /// Runs `of` with the only camera of a node and its surroundings.
    fn with_camera<T>(
        account: &Account,
        subscribers: usize,
        of: impl Fn(Surroundings, &CameraFigures<'_>) -> T,
    ) -> Option<T> {
        let cameras = PerCamera::named(&[]);
        let id = cameras.ids().next()?;
        let camera = CameraFigures {
            id,
            name: &cameras[id],
            account: account.clone(),
            dropped: 0,
            subscribers,
        };
        let mut surroundings = Surroundings::new(&cameras);
        surroundings.cameras[id].intake = "/image".into();
        surroundings.cameras[id].publishers = 1;
        Some(of(surroundings, &camera))
    }

    fn verdict_of(account: &Account, namesakes: usize, subscribers: usize) -> (Level, String) {
        let verdict = with_camera(account, subscribers, |surroundings, camera| {
            let surroundings = Surroundings {
                namesakes,
                state: State::Active,
                ..surroundings
            };
            verdict(&Identity::default(), &surroundings, camera)
        });
        verdict.unwrap_or((Level::Error, "no camera".into()))
    }

    #[test]
    fn a_node_that_nobody_reads_is_idle_whatever_the_camera_does() {
        for account in [Account::default(), seen()] {
            let (level, message) = verdict_of(&account, 0, 0);
            assert_eq!(level, Level::Ok);
            assert!(message.starts_with("idle"));
        }
    }

    #[test]
    fn masks_without_the_drivable_area_that_is_read_are_a_warning_that_says_why() {
        let stopped = Account {
            area_stopped: Some("camera_info_size"),
            ..seen()
        };
        let (level, message) = verdict_of(&stopped, 0, 1);
        assert_eq!(level, Level::Warn);
        assert!(message.ends_with("no drivable area: camera_info_size"));
    }

    #[test]
    fn a_stopped_camera_is_stale_and_one_that_never_came_a_warning() {
        let stopped = Account {
            since_received: Some(Duration::from_secs(4)),
            ..seen()
        };
        assert_eq!(verdict_of(&stopped, 0, 1).0, Level::Stale);
        assert_eq!(verdict_of(&Account::default(), 0, 1).0, Level::Warn);
        let (level, message) = verdict_of(&seen(), 0, 1);
        assert_eq!(
            (level, message.as_str()),
            (Level::Ok, "15.0 masks a second")
        );
    }

    #[test]
    fn rejections_warn_and_nothing_but_rejections_is_an_error() {
        let some = Account {
            recent_rejections: vec!["cdr"],
            ..seen()
        };
        assert_eq!(verdict_of(&some, 0, 1).0, Level::Warn);
        let all = Account {
            recent_masks: 0,
            ..some
        };
        let (level, message) = verdict_of(&all, 0, 1);
        assert_eq!(level, Level::Error);
        assert!(message.ends_with("the last for cdr"), "{message}");
    }

    #[test]
    fn a_missed_deadline_warns() {
        let late = Account {
            recent_late: 2,
            ..seen()
        };
        let (level, message) = verdict_of(&late, 0, 1);
        let expected = "2 of 8 masks in 10 s were later than deadline_ms";
        assert_eq!((level, message.as_str()), (Level::Warn, expected));
    }

    #[test]
    fn a_node_that_is_not_active_is_ok_unless_its_last_transition_failed() {
        let told = with_camera(&seen(), 1, |mut surroundings, camera| {
            let identity = Identity::default();
            let before = verdict(&identity, &surroundings, camera);
            surroundings.fault = Some("no such file".into());
            [before, verdict(&identity, &surroundings, camera)]
        });
        let expected = [
            (Level::Ok, "unconfigured: no masks".to_owned()),
            (Level::Error, "no such file".to_owned()),
        ];
        assert_eq!(told, Some(expected));
    }

    #[test]
    fn namesakes_warn_and_are_told_apart() {
        let identity = |hardware_id: &str| Identity {
            node: "/ecmnet".into(),
            hardware_id: hardware_id.into(),
        };
        let pair = with_camera(&seen(), 1, |mut surroundings, camera| {
            surroundings.namesakes = 1;
            ["pid 1", "pid 2"]
                .map(|hardware_id| status(&identity(hardware_id), &surroundings, camera))
        });
        let [one, two] = pair.unwrap_or_default();
        assert_eq!(one.level, Level::Warn as u8);
        assert_ne!((one.name, one.hardware_id), (two.name, two.hardware_id));
    }
}
