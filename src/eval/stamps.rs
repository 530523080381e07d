//! Which image goes with which label: by stamps, which both messages' headers carry.

use std::collections::{BTreeMap, BTreeSet};

use crate::bag::{Bag, BagError, BagMessage, Messages};
use crate::cdr::CdrReader;
use crate::msg::{Header, Stamp};

/// Returns the header that a stamped message starts with; `None` where it is torn.
pub(super) fn header_of(message: &[u8]) -> Option<Header> {
    let mut reader = CdrReader::new(message).ok()?;
    Header::read(&mut reader).ok()
}

/// Returns a stamp as seconds with nine decimals, as messages and errors name frames.
pub(super) fn name_of(stamp: Stamp) -> String {
    format!("{}.{:09}", stamp.sec, stamp.nanosec)
}

/// The messages of one topic, taken by their stamps.
pub(super) struct StampedTopic<'a> {
    messages: Messages<'a>,
    wanted: BTreeSet<Stamp>,
    /// Messages that came before they were asked for.
    held: BTreeMap<Stamp, BagMessage>,
}

impl<'a> StampedTopic<'a> {
    /// Reads `topic` of `bag`, of which only the stamps in `wanted` will be taken.
    pub(super) fn new(
        bag: &'a Bag,
        topic: &str,
        wanted: BTreeSet<Stamp>,
    ) -> Result<Self, BagError> {
        Ok(Self {
            messages: bag.messages(&[topic])?,
            wanted,
            held: BTreeMap::new(),
        })
    }

    /// Returns the first message of that stamp, with its header; reads on until it comes.
    pub(super) fn take(&mut self, stamp: Stamp) -> Option<BagMessage> {
        while !self.held.contains_key(&stamp) {
            let message = self.messages.next()?;
            if let Some(header) = header_of(&message.data)
                && self.wanted.remove(&header.stamp)
            {
                self.held.insert(header.stamp, message);
            }
        }
        self.held.remove(&stamp)
    }
}

/// Returns for each image the label that belongs to it.
///
/// Without a tolerance that is the label of the same stamp. With one it is the nearest label
/// that has no nearer image, at most `tolerance_ns` away.
pub(super) fn labels_of_images(
    images: &BTreeSet<Stamp>,
    labels: &BTreeSet<Stamp>,
    tolerance_ns: Option<i64>,
) -> BTreeMap<Stamp, Stamp> {
    images
        .iter()
        .filter_map(|image| {
            let label = match tolerance_ns {
                None => labels.get(image).copied(),
                Some(tolerance_ns) => nearest(labels, *image)
                    .filter(|label| distance_ns(*label, *image) <= tolerance_ns)
                    .filter(|label| nearest(images, *label) == Some(*image)),
            };
            Some((*image, label?))
        })
        .collect()
}

/// Returns the least distance between any image and any label, nanoseconds.
pub(super) fn least_distance_ns(images: &BTreeSet<Stamp>, labels: &BTreeSet<Stamp>) -> Option<i64> {
    images
        .iter()
        .filter_map(|image| Some(distance_ns(nearest(labels, *image)?, *image)))
        .min()
}

/// Returns the stamp nearest to `to`; of two at the same distance, the earlier one.
fn nearest(stamps: &BTreeSet<Stamp>, to: Stamp) -> Option<Stamp> {
    let before = stamps.range(..=to).next_back();
    let after = stamps.range(to..).next();
    before
        .into_iter()
        .chain(after)
        .min_by_key(|stamp| distance_ns(**stamp, to))
        .copied()
}

fn distance_ns(a: Stamp, b: Stamp) -> i64 {
    (a.as_ns() - b.as_ns()).abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(ms: &[i64]) -> BTreeSet<Stamp> {
        ms.iter().map(|ms| Stamp::from_ns(ms * 1_000_000)).collect()
    }

    fn pairs(images: &[i64], labels: &[i64], tolerance_ms: Option<i64>) -> Vec<(i64, i64)> {
        let tolerance_ns = tolerance_ms.map(|ms| ms * 1_000_000);
        labels_of_images(&stamps(images), &stamps(labels), tolerance_ns)
            .into_iter()
            .map(|(image, label)| (image.as_ns() / 1_000_000, label.as_ns() / 1_000_000))
            .collect()
    }

    #[test]
    fn only_equal_stamps_match_without_a_tolerance() {
        assert_eq!(pairs(&[0, 10, 20], &[10, 21], None), [(10, 10)]);
    }

    #[test]
    fn a_tolerance_pairs_each_label_with_its_nearest_image_alone() {
        assert_eq!(
            pairs(&[0, 33, 66, 100], &[2, 70], Some(20)),
            [(0, 2), (66, 70)]
        );
        assert_eq!(pairs(&[0, 33], &[16], Some(20)), [(0, 16)]);
        assert_eq!(pairs(&[0, 33], &[16], Some(15)), []);
        assert_eq!(pairs(&[0], &[], Some(15)), []);
    }

    #[test]
    fn the_least_distance_says_what_tolerance_would_help() {
        let least = least_distance_ns(&stamps(&[0, 100]), &stamps(&[40, 93]));
        assert_eq!(least, Some(7_000_000));
        assert_eq!(least_distance_ns(&stamps(&[0]), &stamps(&[])), None);
    }
}
