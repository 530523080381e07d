//! Which image topic the node subscribes to, as what type and with which QoS: what the live
//! publisher offers, unless a parameter says otherwise.

use std::fmt;

use r2r::QosProfile;
use r2r::qos::{DurabilityPolicy, ReliabilityPolicy};

use super::params::Settings;
use crate::msg::{CompressedImage, Image, Message};

/// Frames that DDS may hold while the spin thread is busy for a moment; it empties them into the
/// newest-frame cell, so they never grow old.
const DEPTH: usize = 10;

/// The form in which images come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ImageKind {
    /// `sensor_msgs/Image`
    Raw,
    /// `sensor_msgs/CompressedImage`
    Compressed,
}

impl ImageKind {
    /// Returns the message type's name.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Raw => Image::TYPE,
            Self::Compressed => CompressedImage::TYPE,
        }
    }

    fn from_type_name(name: &str) -> Option<Self> {
        [Self::Raw, Self::Compressed]
            .into_iter()
            .find(|kind| kind.type_name() == name)
    }
}

/// A subscription to images; `Display` says it to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Intake {
    /// The topic's fully qualified name.
    pub topic: String,
    /// The type that is subscribed.
    pub kind: ImageKind,
    /// Whether lost messages are sent again.
    pub reliable: bool,
    /// Whether the last message from before the subscription is sent.
    pub transient_local: bool,
    /// Whether a live publisher was followed, rather than none seen yet.
    pub followed: bool,
}

impl Intake {
    /// Returns the topic of the images as the camera's driver names it, without the transport's name
    /// behind it.
    pub(super) fn camera_topic(&self) -> &str {
        match self.kind {
            ImageKind::Raw => &self.topic,
            ImageKind::Compressed => {
                let bare = self.topic.strip_suffix("/compressed");
                bare.unwrap_or(&self.topic)
            }
        }
    }

    /// Returns the topic of the camera's calibration: `camera_info` beside the images.
    pub(super) fn camera_info_topic(&self) -> String {
        let camera = self.camera_topic();
        let beside = camera.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{beside}/camera_info")
    }

    /// Returns whether the topic's last name says that its images are rectified.
    pub(super) fn is_rectified(&self) -> bool {
        let name = self.camera_topic().rsplit('/').next();
        name.is_some_and(|name| name.contains("rect"))
    }

    /// Returns the QoS profile of the subscription.
    pub(super) fn qos(&self) -> QosProfile {
        let qos = QosProfile::default().keep_last(if self.followed { DEPTH } else { 1 });
        let qos = if self.reliable {
            qos.reliable()
        } else {
            qos.best_effort()
        };
        if self.transient_local {
            qos.transient_local()
        } else {
            qos.volatile()
        }
    }
}

impl fmt::Display for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reliability = if self.reliable {
            "reliable"
        } else {
            "best effort"
        };
        let durability = if self.transient_local {
            "transient local"
        } else {
            "volatile"
        };
        let depth = self.qos().depth;
        write!(
            f,
            "{} ({}, {reliability}, {durability}, keep last {depth})",
            self.topic,
            self.kind.type_name(),
        )
    }
}

/// A live publisher on a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImagePublisher {
    /// The topic's fully qualified name.
    pub topic: String,
    /// The type that it publishes.
    pub kind: ImageKind,
    /// Whether it can send lost messages again.
    pub reliable: bool,
    /// Whether it keeps its last messages for late subscribers.
    pub transient_local: bool,
}

/// Returns the live publishers of images on `topic`; those of other types are left out.
pub(super) fn publishers_on(node: &r2r::Node, topic: &str) -> r2r::Result<Vec<ImagePublisher>> {
    let endpoints = node.get_publishers_info_by_topic(topic, false)?;
    let publisher = |endpoint: &r2r::QosProfile, kind| ImagePublisher {
        topic: topic.to_owned(),
        kind,
        reliable: endpoint.reliability == ReliabilityPolicy::Reliable,
        transient_local: endpoint.durability == DurabilityPolicy::TransientLocal,
    };
    Ok(endpoints
        .iter()
        .filter_map(|endpoint| {
            let kind = ImageKind::from_type_name(&endpoint.topic_type)?;
            Some(publisher(&endpoint.qos_profile, kind))
        })
        .collect())
}

/// Returns the topics that may carry the images of `topic`: itself, and where compressed images
/// are asked for, image_transport's topic beside it.
pub(super) fn candidate_topics(topic: &str, settings: &Settings) -> Vec<String> {
    let mut topics = vec![topic.to_owned()];
    if settings.image_transport == "compressed" && !topic.ends_with("/compressed") {
        topics.push(format!("{topic}/compressed"));
    }
    topics
}

/// Returns the subscription that fits the live `publishers` (of all candidate topics, in their
/// order); `current` is kept where there are none.
///
/// Of two types on one topic the current one wins. A subscription asks for no more than every
/// publisher of its type offers, so that all of them match.
pub(super) fn choose(
    topic: &str,
    current: Option<&Intake>,
    publishers: &[ImagePublisher],
    settings: &Settings,
) -> Intake {
    let forced = match settings.image_transport.as_str() {
        "raw" => Some(ImageKind::Raw),
        "compressed" => Some(ImageKind::Compressed),
        _ => None,
    };
    let fits = |publisher: &&ImagePublisher| forced.is_none_or(|kind| publisher.kind == kind);
    let is_current = |publisher: &&ImagePublisher| {
        current.is_some_and(|now| now.topic == publisher.topic && now.kind == publisher.kind)
    };
    let fitting = || publishers.iter().filter(fits);
    let Some(followed) = fitting().find(is_current).or_else(|| fitting().next()) else {
        let guess = Intake {
            topic: topic.to_owned(),
            kind: forced.unwrap_or(ImageKind::Raw),
            reliable: settings.image_qos == "reliable",
            transient_local: false,
            followed: false,
        };
        let kept = current.filter(|now| forced.is_none_or(|kind| now.kind == kind));
        return kept.cloned().unwrap_or(guess);
    };
    let (topic, kind) = (followed.topic.clone(), followed.kind);
    let mut alike = fitting().filter(|other| other.topic == topic && other.kind == kind);
    let every = |offers: fn(&ImagePublisher) -> bool| alike.clone().all(offers);
    let reliable = match settings.image_qos.as_str() {
        "reliable" => true,
        "best_effort" => false,
        _ => every(|publisher| publisher.reliable),
    };
    let transient_local = every(|publisher| publisher.transient_local);
    Intake {
        followed: alike.next().is_some(),
        topic,
        kind,
        reliable,
        transient_local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publisher(topic: &str, kind: ImageKind, reliable: bool) -> ImagePublisher {
        ImagePublisher {
            topic: topic.into(),
            kind,
            reliable,
            transient_local: false,
        }
    }

    fn settings(image_transport: &str, image_qos: &str) -> Settings {
        Settings {
            image_transport: image_transport.into(),
            image_qos: image_qos.into(),
            ..Default::default()
        }
    }

    #[test]
    fn the_calibration_lies_beside_the_images_whatever_their_transport() {
        let intake = |topic: &str, kind| Intake {
            topic: topic.to_owned(),
            kind,
            reliable: true,
            transient_local: false,
            followed: true,
        };
        for (topic, kind, info, is_rectified) in [
            ("/image", ImageKind::Raw, "/camera_info", false),
            (
                "/front/image_raw",
                ImageKind::Raw,
                "/front/camera_info",
                false,
            ),
            (
                "/front/image_rect_color/compressed",
                ImageKind::Compressed,
                "/front/camera_info",
                true,
            ),
            (
                "/rect/image",
                ImageKind::Compressed,
                "/rect/camera_info",
                false,
            ),
        ] {
            let intake = intake(topic, kind);
            assert_eq!(intake.camera_info_topic(), info, "{topic}");
            assert_eq!(intake.is_rectified(), is_rectified, "{topic}");
        }
    }

    #[test]
    fn until_a_publisher_is_seen_best_effort_keep_last_1() {
        let guess = choose("/image", None, &[], &settings("auto", "auto"));
        assert_eq!(
            guess.qos(),
            QosProfile::default().best_effort().keep_last(1)
        );
        let shown = "/image (sensor_msgs/msg/Image, best effort, volatile, keep last 1)";
        assert_eq!(guess.to_string(), shown);
    }

    #[test]
    fn type_and_reliability_follow_the_live_publisher() {
        let auto = settings("auto", "auto");
        let camera = publisher("/image", ImageKind::Compressed, true);
        let first = choose("/image", None, std::slice::from_ref(&camera), &auto);
        assert!(first.kind == ImageKind::Compressed && first.reliable && first.followed);
        let gone = choose("/image", Some(&first), &[], &auto);
        assert_eq!(gone, first);
        let worse = publisher("/image", ImageKind::Compressed, false);
        let both = choose("/image", Some(&first), &[camera, worse], &auto);
        assert!(!both.reliable);
        let raw = publisher("/image", ImageKind::Raw, true);
        assert_eq!(
            choose("/image", Some(&first), &[raw], &auto).kind,
            ImageKind::Raw
        );
    }

    #[test]
    fn parameters_force_type_topic_and_reliability() {
        let raw = publisher("/image", ImageKind::Raw, true);
        let compressed = publisher("/image/compressed", ImageKind::Compressed, true);
        let forced = settings("compressed", "best_effort");
        let topics = ["/image", "/image/compressed"];
        assert_eq!(candidate_topics("/image", &forced), topics);
        let now = choose(
            "/image",
            None,
            std::slice::from_ref(&raw),
            &settings("raw", "reliable"),
        );
        assert!(now.reliable && now.kind == ImageKind::Raw);
        let chosen = choose("/image", Some(&now), &[raw, compressed], &forced);
        assert_eq!(
            (chosen.topic.as_str(), chosen.reliable),
            ("/image/compressed", false)
        );
    }

    #[test]
    fn of_two_types_on_one_topic_the_current_stays() {
        let auto = settings("auto", "auto");
        let raw = publisher("/image", ImageKind::Raw, true);
        let compressed = publisher("/image", ImageKind::Compressed, true);
        let now = choose("/image", None, std::slice::from_ref(&compressed), &auto);
        assert_eq!(choose("/image", Some(&now), &[raw, compressed], &auto), now);
    }
}
