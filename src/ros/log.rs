//! Log lines to the console and `/rosout`, from any thread, with a throttle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use r2r::rcl_interfaces::msg::Log as LogMessage;
use r2r::{Publisher, QosProfile};

use super::cameras::CameraName;
use super::clock::{RosClock, time_from_stamp};
use super::error::NodeError;

/// Least time between two lines of one throttled subject.
const THROTTLE: Duration = Duration::from_secs(5);

/// `/rosout` as rcl's own publishers have it.
const ROSOUT_QOS: QosProfile = QosProfile::default()
    .keep_last(1000)
    .transient_local()
    .lifespan(Duration::from_secs(10));

/// Writes a node's log.
#[derive(Clone, Debug)]
pub(super) struct Log {
    name: Arc<str>,
    /// The camera that it is about; without a name where it is about the whole node.
    camera: CameraName,
    rosout: Arc<Mutex<Option<Rosout>>>,
    subjects: Arc<Mutex<HashMap<&'static str, Subject>>>,
}

#[derive(Debug)]
struct Subject {
    last: Instant,
    unsaid: u64,
}

/// The publisher of `/rosout`.
#[derive(Debug)]
struct Rosout {
    publisher: Publisher<LogMessage>,
    clock: RosClock,
}

impl Log {
    /// Returns a log under the node's logger name, to the console alone as yet.
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            camera: CameraName::default(),
            rosout: Arc::default(),
            subjects: Arc::default(),
        }
    }

    /// Returns a log whose lines name a camera, and whose throttled subjects are its own.
    pub(super) fn about(&self, camera: &CameraName) -> Self {
        Self {
            camera: camera.clone(),
            subjects: Arc::default(),
            ..self.clone()
        }
    }

    /// Writes to `/rosout` through `node` from now on.
    ///
    /// Up to Iron rcl makes this publisher with the node; from Jazzy on it leaves it to the
    /// client library, and r2r 0.9.7 makes none.
    pub(super) fn follow(&self, node: &mut r2r::Node, clock: RosClock) -> Result<(), NodeError> {
        if !matches!(r2r::ROS_DISTRO, "foxy" | "galactic" | "humble" | "iron") {
            let publisher = node
                .create_publisher("/rosout", ROSOUT_QOS)
                .map_err(NodeError::ros("create the publisher of /rosout"))?;
            *self.hold_rosout() = Some(Rosout { publisher, clock });
        }
        Ok(())
    }

    /// Writes an INFO line.
    pub(super) fn info(&self, text: &str) {
        let text = self.line(text);
        r2r::log_info!(&self.name, "{text}");
        self.publish(LogMessage::INFO as u8, text);
    }

    /// Writes a WARN line.
    pub(super) fn warn(&self, text: &str) {
        let text = self.line(text);
        r2r::log_warn!(&self.name, "{text}");
        self.publish(LogMessage::WARN as u8, text);
    }

    /// Writes an ERROR line.
    pub(super) fn error(&self, text: &str) {
        let text = self.line(text);
        r2r::log_error!(&self.name, "{text}");
        self.publish(LogMessage::ERROR as u8, text);
    }

    fn line(&self, text: &str) -> String {
        printable(&self.camera.said(text))
    }

    /// A line that cannot be published is on the console all the same.
    fn publish(&self, level: u8, msg: String) {
        if let Some(rosout) = &*self.hold_rosout() {
            let stamp = rosout.clock.now().unwrap_or_default();
            let _unsent = rosout.publisher.publish(&LogMessage {
                stamp: time_from_stamp(stamp),
                level,
                name: self.name.to_string(),
                msg,
                ..Default::default()
            });
        }
    }

    fn hold_rosout(&self) -> MutexGuard<'_, Option<Rosout>> {
        self.rosout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a WARN line, unless one of the same subject was written within five seconds; the
    /// next one then says how many were left out.
    pub(super) fn warn_throttled(&self, subject: &'static str, text: &str) {
        if let Some(unsaid) = self.admit(subject, Instant::now()) {
            match unsaid {
                0 => self.warn(text),
                _ => self.warn(&format!("{text} (and {unsaid} more of this kind before)")),
            }
        }
    }

    /// Returns the lines left out since the last one, or `None` if this one must be, too.
    fn admit(&self, subject: &'static str, now: Instant) -> Option<u64> {
        let mut subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        match subjects.get_mut(subject) {
            Some(known) if now.saturating_duration_since(known.last) < THROTTLE => {
                known.unsaid += 1;
                None
            }
            known => {
                let unsaid = known.map_or(0, |known| known.unsaid);
                let last = now;
                subjects.insert(subject, Subject { last, unsaid: 0 });
                Some(unsaid)
            }
        }
    }
}

/// Message data may bring a NUL into a text, on which r2r's logging panics.
fn printable(text: &str) -> String {
    text.replace('\0', "\\0")
}

#[cfg(test)]
mod tests {
    use super::super::cameras::PerCamera;
    use super::*;

    #[test]
    fn a_flood_of_one_subject_is_one_line_and_a_count() {
        let log = Log::new("test");
        let start = Instant::now();
        assert_eq!(log.admit("step", start), Some(0));
        for _ in 0..41 {
            assert_eq!(log.admit("step", start + THROTTLE / 2), None);
        }
        assert_eq!(log.admit("cdr", start + THROTTLE / 2), Some(0));
        assert_eq!(log.admit("step", start + THROTTLE), Some(41));
        assert_eq!(log.admit("step", start + 2 * THROTTLE), Some(0));
    }

    #[test]
    fn cameras_have_lines_and_throttles_of_their_own() {
        let log = Log::new("test");
        let now = Instant::now();
        let [front, left] = ["front", "left"].map(|name| {
            let names = PerCamera::named(&[name.to_owned()]);
            names.map(|name| log.about(name))
        });
        for camera in [front, left] {
            assert!(camera.each().all(|log| log.admit("cdr", now) == Some(0)));
            assert!(camera.each().all(|log| log.admit("cdr", now).is_none()));
            assert!(
                camera
                    .each()
                    .all(|log| log.line("torn").ends_with("t: torn"))
            );
        }
        assert_eq!(log.line("torn"), "torn");
    }

    #[test]
    fn a_nul_in_message_data_is_made_visible() {
        assert_eq!(printable("rgb8\0x"), "rgb8\\0x");
    }
}
