//! Frames of a bag: images with the labels, and recorded masks, of their stamps.

use std::collections::{BTreeMap, BTreeSet};

use super::frame::{MAX_PIXELS, reason_from_error};
use super::stamps::{StampedTopic, header_of, labels_of_images, least_distance_ns, name_of};
use super::{EvalError, Frame, LabelImage, Picture, Step};
use crate::bag::{Bag, Damage, Messages};
use crate::msg::{CompressedImage, Image, Message, Stamp};

/// Where the parts of a frame come from.
#[derive(Clone, Copy, Debug)]
pub struct BagSources<'a> {
    /// The bag of images and labels.
    pub bag: &'a Bag,
    /// The images' topic.
    pub image_topic: &'a str,
    /// The labels' topic; `None` to score nothing.
    pub labels_topic: Option<&'a str>,
    /// A bag of masks that a node has published, and their topic; `None` to run the network.
    pub masks: Option<(&'a Bag, &'a str)>,
}

/// Which of the frames are used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Selection {
    /// Largest distance of an image's stamp and its label's, milliseconds; `None` for equal ones.
    pub tolerance_ms: Option<f64>,
    /// Images from this many seconds after the first image's stamp on.
    pub from_s: f64,
    /// Images up to this many seconds after the first image's stamp.
    pub to_s: f64,
    /// Of the images with all their parts, every this-manyth, the first included; at least 1.
    pub every: usize,
}

impl Default for Selection {
    /// Returns all frames, matched by equal stamps.
    fn default() -> Self {
        Self {
            tolerance_ms: None,
            from_s: 0.0,
            to_s: f64::INFINITY,
            every: 1,
        }
    }
}

/// Iterates the frames of a bag in the order of recording.
pub struct BagFrames<'a> {
    images: Messages<'a>,
    image_type: &'a str,
    labels: Option<(StampedTopic<'a>, &'a str)>,
    masks: Option<(StampedTopic<'a>, &'a str)>,
    /// Images to use, with the stamp of their label (their own where nothing is scored).
    chosen: BTreeMap<Stamp, Stamp>,
    /// Images within the selection, with why they are left out.
    left_out: BTreeMap<Stamp, Missing>,
    met: BTreeSet<Stamp>,
    unmatched_labels: u64,
    damage: Vec<Damage>,
}

#[derive(Clone, Copy, Debug)]
enum Missing {
    Label,
    Mask,
}

impl<'a> BagFrames<'a> {
    /// Reads all stamps once and chooses the frames.
    ///
    /// Errs if a topic is missing or holds no images, or if not one frame has all its parts.
    pub fn new(sources: &BagSources<'a>, selection: &Selection) -> Result<Self, EvalError> {
        let BagSources {
            bag,
            image_topic,
            labels_topic,
            masks,
        } = *sources;
        let image_type = image_type_of(bag, image_topic)?;
        let label_type = labels_topic
            .map(|topic| image_type_of(bag, topic))
            .transpose()?;
        let topics: Vec<&str> = [Some(image_topic), labels_topic]
            .into_iter()
            .flatten()
            .collect();
        let mut messages = bag.messages(&topics)?;
        let mut stamps = [BTreeSet::new(), BTreeSet::new()];
        for message in messages.by_ref() {
            if let (Some(header), Some(stamps)) =
                (header_of(&message.data), stamps.get_mut(message.topic))
            {
                stamps.insert(header.stamp);
            }
        }
        let mut damage = messages.damage().to_vec();
        let [images, labels] = stamps;
        let mask_stamps = match masks {
            Some((bag, topic)) => {
                image_type_of(bag, topic)?;
                let mut messages = bag.messages(&[topic])?;
                let stamps: BTreeSet<Stamp> = messages
                    .by_ref()
                    .filter_map(|message| Some(header_of(&message.data)?.stamp))
                    .collect();
                damage.extend(messages.damage().iter().cloned());
                Some(stamps)
            }
            None => None,
        };

        let selected = selected(&images, selection);
        let tolerance_ns = selection.tolerance_ms.map(|ms| (ms * 1e6).round() as i64);
        let matched = match labels_topic {
            Some(_) => labels_of_images(&images, &labels, tolerance_ns),
            None => images.iter().map(|stamp| (*stamp, *stamp)).collect(),
        };
        let mut chosen = BTreeMap::new();
        let mut left_out = BTreeMap::new();
        let mut complete = 0;
        for image in &selected {
            let has_mask = mask_stamps
                .as_ref()
                .is_none_or(|masks| masks.contains(image));
            match matched.get(image) {
                None => {
                    left_out.insert(*image, Missing::Label);
                }
                Some(_) if !has_mask => {
                    left_out.insert(*image, Missing::Mask);
                }
                Some(label) => {
                    if complete % selection.every.max(1) == 0 {
                        chosen.insert(*image, *label);
                    }
                    complete += 1;
                }
            }
        }
        if chosen.is_empty() {
            let mut why = why_nothing(sources, [&images, &selected, &labels], mask_stamps.as_ref());
            // Its frames may be in the part that cannot be read.
            for damage in &damage {
                why += &format!("; {damage}");
            }
            return Err(EvalError::NothingToScore { why });
        }
        let used: BTreeSet<Stamp> = matched.values().copied().collect();
        let unmatched_labels = labels.difference(&used).count() as u64;
        let labels = match (labels_topic, label_type) {
            (Some(topic), Some(type_name)) => {
                let wanted = chosen.values().copied().collect();
                Some((StampedTopic::new(bag, topic, wanted)?, type_name))
            }
            _ => None,
        };
        let masks = match masks {
            Some((bag, topic)) => {
                let wanted = chosen.keys().copied().collect();
                let type_name = image_type_of(bag, topic)?;
                Some((StampedTopic::new(bag, topic, wanted)?, type_name))
            }
            None => None,
        };
        Ok(Self {
            images: bag.messages(&[image_topic])?,
            image_type,
            labels,
            masks,
            chosen,
            left_out,
            met: BTreeSet::new(),
            unmatched_labels,
            damage,
        })
    }

    /// Returns how many frames will be used, fewer where images turn out to be broken.
    pub fn planned(&self) -> usize {
        self.chosen.len()
    }

    /// Returns how many labels belong to no image.
    pub fn unmatched_labels(&self) -> u64 {
        self.unmatched_labels
    }

    /// Returns what of the bags could not be read.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    fn step(&mut self, message: Vec<u8>) -> Option<Result<Step, EvalError>> {
        let skipped =
            |frame: String, reason, why: String| Some(Ok(Step::Skipped { frame, reason, why }));
        let Some(header) = header_of(&message) else {
            let why = "the image message is torn".to_owned();
            return skipped("without a stamp".to_owned(), "torn_message", why);
        };
        let stamp = header.stamp;
        let name = name_of(stamp);
        if let Some(missing) = self.left_out.get(&stamp) {
            let (reason, why) = match missing {
                Missing::Label => ("no_label", "no label has its stamp"),
                Missing::Mask => ("no_mask", "no mask has its stamp"),
            };
            return skipped(name, reason, why.to_owned());
        }
        let label_stamp = *self.chosen.get(&stamp)?;
        if !self.met.insert(stamp) {
            let why = "another image has the same stamp".to_owned();
            return skipped(name, "duplicate_stamp", why);
        }
        let picture = match Picture::from_message(self.image_type, message) {
            Ok(picture) => picture,
            Err(error) => return skipped(name, reason_from_error(&error), error.to_string()),
        };
        let [truth, recorded] =
            [(&mut self.labels, label_stamp), (&mut self.masks, stamp)].map(|(source, stamp)| {
                let (topic, type_name) = source.as_mut()?;
                let message = topic.take(stamp)?.data;
                let label = LabelImage::from_message(type_name, &message, MAX_PIXELS);
                Some(label.map_err(|source| EvalError::label(&name, source)))
            });
        let (truth, recorded) = match (truth.transpose(), recorded.transpose()) {
            (Ok(truth), Ok(recorded)) => (truth, recorded),
            (Err(error), _) | (_, Err(error)) => return Some(Err(error)),
        };
        // The stamps were there when they were read first, so the file has changed or failed.
        if self.labels.is_some() != truth.is_some() || self.masks.is_some() != recorded.is_some() {
            let why = "its label or mask could not be read again".to_owned();
            return skipped(name, "unreadable", why);
        }
        Some(Ok(Step::Frame(Box::new(Frame {
            name,
            header,
            picture,
            truth,
            recorded,
        }))))
    }
}

impl Iterator for BagFrames<'_> {
    type Item = Result<Step, EvalError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let message = self.images.next()?;
            if let Some(step) = self.step(message.data) {
                return Some(step);
            }
        }
    }
}

fn image_type_of<'a>(bag: &'a Bag, topic: &str) -> Result<&'a str, EvalError> {
    let topic = bag.topic(topic)?;
    match topic.type_name.as_str() {
        type_name @ (Image::TYPE | CompressedImage::TYPE) => Ok(type_name),
        got => Err(EvalError::TopicType {
            topic: topic.name.clone(),
            got: got.to_owned(),
        }),
    }
}

fn selected(images: &BTreeSet<Stamp>, selection: &Selection) -> BTreeSet<Stamp> {
    let start_ns = images.first().map_or(0, |stamp| stamp.as_ns());
    images
        .iter()
        .filter(|stamp| {
            let seconds = (stamp.as_ns() - start_ns) as f64 / 1e9;
            (selection.from_s..=selection.to_s).contains(&seconds)
        })
        .copied()
        .collect()
}

fn why_nothing(
    sources: &BagSources<'_>,
    [images, selected, labels]: [&BTreeSet<Stamp>; 3],
    masks: Option<&BTreeSet<Stamp>>,
) -> String {
    let image_topic = sources.image_topic;
    if images.is_empty() {
        return format!("topic {image_topic} holds no images");
    }
    if selected.is_empty() {
        return format!(
            "none of the {} images on {image_topic} lies between --from and --to",
            images.len()
        );
    }
    let (topic, others, option) = match (sources.labels_topic, sources.masks, masks) {
        (_, Some((_, topic)), Some(masks)) if masks.is_disjoint(selected) => (topic, masks, ""),
        (Some(topic), ..) => (topic, labels, "; --tolerance-ms allows for that"),
        _ => (image_topic, images, ""),
    };
    match least_distance_ns(selected, others) {
        None => format!("topic {topic} holds no images"),
        Some(ns) => format!(
            "no image on {image_topic} has the stamp of one on {topic}: the nearest are {:.3} ms \
             apart{option}",
            ns as f64 / 1e6
        ),
    }
}
