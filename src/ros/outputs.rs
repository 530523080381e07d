//! The node's publishers, and which of them anybody reads.

use r2r::diagnostic_msgs::msg::{DiagnosticArray, DiagnosticStatus};
use r2r::{Publisher, PublisherUntyped, QosProfile, std_msgs};

use super::clock::{RosClock, time_from_stamp};
use super::error::NodeError;
use super::per_output::PerOutput;
use crate::labels::ClassTable;
use crate::msg::{
    Header, Image, LabelInfo, LaserScan, Message, OccupancyGrid, PointCloud2, PolygonStamped,
    VisionClass,
};

/// Queue of one: a reader gets the newest mask or none.
const NEWEST: QosProfile = QosProfile::default().keep_last(1);

/// The publishers of one node, and its clock; clones publish through the same node.
#[derive(Clone, Debug)]
pub(super) struct Outputs {
    images: PerOutput<PublisherUntyped>,
    label_info: PublisherUntyped,
    diagnostics: Publisher<DiagnosticArray>,
    /// The node's clock.
    pub clock: RosClock,
}

/// Which outputs are to be made.
pub(super) type Wanted = PerOutput<bool>;

impl Wanted {
    /// Returns whether there is none.
    pub(super) fn is_nothing(self) -> bool {
        self == Self::default()
    }

    /// Where one of the costmap's outputs is due, the others that are read come of the same frame.
    pub(super) fn keep_costmap_whole(&mut self, read: Self) {
        if self.costmap_label_mask || self.costmap_confidence || self.costmap_points {
            self.costmap_label_mask = read.costmap_label_mask;
            self.costmap_confidence = read.costmap_confidence;
            self.costmap_points = read.costmap_points;
        }
    }

    /// Returns whether one of them lies on the ground.
    pub(super) fn has_area(self) -> bool {
        !self.of_area().is_nothing()
    }
}

/// What the network gave for one image, ready to be sent; `None` where it is not wanted.
pub(super) type Messages = PerOutput<Option<Vec<u8>>>;

impl Outputs {
    /// Creates the publishers.
    pub(super) fn create(node: &mut r2r::Node) -> Result<Self, NodeError> {
        let clock = RosClock::of(node);
        let latched = NEWEST.transient_local();
        let latches = PerOutput {
            drivable_area: true,
            ..PerOutput::default()
        };
        let images = publishers(node, &latches)?;
        Ok(Self {
            images,
            label_info: publisher(node, "~/label_info", LabelInfo::TYPE, latched)?,
            diagnostics: node
                .create_publisher("/diagnostics", NEWEST)
                .map_err(NodeError::ros("create the publisher of /diagnostics"))?,
            clock,
        })
    }

    /// Latches `~/label_info`.
    pub(super) fn publish_classes(&self, classes: &ClassTable) -> Result<(), NodeError> {
        self.label_info
            .publish_raw(&label_info_from_classes(classes, &self.clock).to_cdr())
            .map_err(NodeError::ros("publish label_info"))
    }

    /// Returns which outputs have a subscriber now.
    pub(super) fn read(&self) -> Wanted {
        self.images.map(|publisher| readers(publisher) > 0)
    }

    /// Returns the number of subscribers of all image outputs.
    pub(super) fn subscribers(&self) -> usize {
        self.images.each().map(readers).iter().sum()
    }

    /// Publishes the messages, the mask first; errs at the first that ROS refuses.
    pub(super) fn publish(&self, messages: &Messages) -> Result<(), NodeError> {
        for (publisher, message) in self.images.each().into_iter().zip(messages.each()) {
            if let Some(message) = message {
                publisher
                    .publish_raw(message)
                    .map_err(NodeError::ros("publish an image"))?;
            }
        }
        Ok(())
    }

    /// Publishes the node's status.
    pub(super) fn publish_status(&self, status: DiagnosticStatus) -> Result<(), NodeError> {
        let stamp = self.clock.now().unwrap_or_default();
        let array = DiagnosticArray {
            header: std_msgs::msg::Header {
                stamp: time_from_stamp(stamp),
                frame_id: String::new(),
            },
            status: vec![status],
        };
        self.diagnostics
            .publish(&array)
            .map_err(NodeError::ros("publish diagnostics"))
    }
}

/// Returns the serialised image of packed rows, `[height, width, channels]`.
pub(super) fn image_message(
    header: &Header,
    [width, height]: [usize; 2],
    encoding: &str,
    rows: &[u8],
) -> Vec<u8> {
    Image {
        header: header.clone(),
        height: height as u32,
        width: width as u32,
        encoding,
        is_bigendian: 0,
        step: (rows.len() / height.max(1)) as u32,
        data: rows,
    }
    .to_cdr()
}

/// Returns a publisher for each output; `latches` tells which keep their last message for those who
/// come late.
fn publishers(
    node: &mut r2r::Node,
    latches: &PerOutput<bool>,
) -> Result<PerOutput<PublisherUntyped>, NodeError> {
    let types = PerOutput {
        drivable_area: OccupancyGrid::TYPE,
        obstacle_points: PointCloud2::TYPE,
        drivable_points: PointCloud2::TYPE,
        costmap_points: PointCloud2::TYPE,
        drivable_boundary: PolygonStamped::TYPE,
        free_space_scan: LaserScan::TYPE,
        ..PerOutput::TOPICS.map(|_| Image::TYPE)
    };
    let mut rest = types.each().into_iter().zip(latches.each());
    PerOutput::TOPICS.try_map(|topic| {
        let (type_name, latched) = rest.next().unwrap_or((&Image::TYPE, &false));
        let qos = if *latched {
            NEWEST.transient_local()
        } else {
            NEWEST
        };
        publisher(node, topic, type_name, qos)
    })
}

fn publisher(
    node: &mut r2r::Node,
    topic: &str,
    type_name: &str,
    qos: QosProfile,
) -> Result<PublisherUntyped, NodeError> {
    node.create_publisher_untyped(topic, type_name, qos)
        .map_err(NodeError::ros("create a publisher"))
}

fn label_info_from_classes(classes: &ClassTable, clock: &RosClock) -> LabelInfo {
    let stamp = clock.now().unwrap_or_default();
    let frame_id = String::new();
    LabelInfo {
        header: Header { stamp, frame_id },
        class_map: (0..)
            .zip(&classes.names)
            .map(|(class_id, name)| VisionClass {
                class_id,
                class_name: name.clone(),
            })
            .collect(),
        threshold: 0.0,
    }
}

/// Returns the number of subscribers; a publisher whose node is gone has none.
fn readers(publisher: &PublisherUntyped) -> usize {
    publisher
        .get_inter_process_subscription_count()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_costmap_reads_together_comes_of_one_frame() {
        let read = Wanted {
            costmap_label_mask: true,
            costmap_points: true,
            overlay: true,
            ..Wanted::default()
        };
        // The points were asked for later than the mask, so that they are due at other frames.
        let mut due = Wanted {
            costmap_points: true,
            ..Wanted::default()
        };
        due.keep_costmap_whole(read);
        assert!(due.costmap_label_mask && due.costmap_points && due.has_area());
        assert!(!due.costmap_confidence && !due.overlay);
        let mut none = Wanted::default();
        none.keep_costmap_whole(read);
        assert!(none.is_nothing());
    }

    #[test]
    fn output_images_have_packed_rows_and_the_cameras_header() -> anyhow::Result<()> {
        let header = Header {
            stamp: crate::msg::Stamp {
                sec: -3,
                nanosec: 4_000_000_000,
            },
            frame_id: "camera_optical_frame".into(),
        };
        let message = image_message(&header, [3, 2], "rgb8", &[7; 18]);
        let image = Image::from_cdr(&message)?;
        assert_eq!(image.header, header);
        assert_eq!((image.width, image.height, image.step), (3, 2, 9));
        assert_eq!(image.view()?.width(), 3);
        Ok(())
    }
}
