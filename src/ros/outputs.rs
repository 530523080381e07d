//! The node's publishers, and which of them anybody reads.

use r2r::diagnostic_msgs::msg::{DiagnosticArray, DiagnosticStatus};
use r2r::{Publisher, PublisherUntyped, QosProfile, std_msgs};

use super::cameras::{CameraId, CameraName, PerCamera};
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
    /// Those of all cameras together are the same for each.
    images: PerCamera<PerOutput<PublisherUntyped>>,
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

    /// Leaves of the outputs that are of all cameras those alone that are `due`.
    pub(super) fn hold_shared_to(&mut self, due: Self) {
        let shared = Self::of_all_cameras();
        for ((wanted, due), is_of_all) in
            (self.each_mut().into_iter().zip(due.each())).zip(shared.each())
        {
            *wanted &= *due || !*is_of_all;
        }
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
    pub(super) fn create(
        node: &mut r2r::Node,
        cameras: &PerCamera<CameraName>,
        clock: RosClock,
    ) -> Result<Self, NodeError> {
        let latched = NEWEST.transient_local();
        let mut first = None;
        let images = cameras.try_map(|name| {
            let publishers = publishers(node, name, first.as_ref())?;
            first.get_or_insert_with(|| publishers.clone());
            Ok::<_, NodeError>(publishers)
        })?;
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

    /// Returns which outputs of a camera have a subscriber now.
    pub(super) fn read(&self, camera: CameraId) -> Wanted {
        self.images[camera].map(|publisher| readers(publisher) > 0)
    }

    /// Returns the number of subscribers of all image outputs of a camera.
    pub(super) fn subscribers(&self, camera: CameraId) -> usize {
        self.images[camera].each().map(readers).iter().sum()
    }

    /// Publishes the messages of a camera's frame, the mask first; errs at the first that ROS refuses.
    pub(super) fn publish(&self, camera: CameraId, messages: &Messages) -> Result<(), NodeError> {
        let publishers = self.images[camera].each();
        for (publisher, message) in publishers.into_iter().zip(messages.each()) {
            if let Some(message) = message {
                publisher
                    .publish_raw(message)
                    .map_err(NodeError::ros("publish an image"))?;
            }
        }
        Ok(())
    }

    /// Publishes the node's status, one for each camera.
    pub(super) fn publish_status(&self, status: Vec<DiagnosticStatus>) -> Result<(), NodeError> {
        let stamp = self.clock.now().unwrap_or_default();
        let array = DiagnosticArray {
            header: std_msgs::msg::Header {
                stamp: time_from_stamp(stamp),
                frame_id: String::new(),
            },
            status,
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

/// Returns the names of the topics of a camera's outputs, before they are resolved.
pub(super) fn topics(camera: &CameraName) -> PerOutput<String> {
    PerOutput::TOPICS
        .zip(Wanted::of_all_cameras())
        .map(|(topic, is_of_all)| {
            if *is_of_all {
                (*topic).to_owned()
            } else {
                camera.output(topic)
            }
        })
}

/// Returns a publisher for each output of a camera; those of all cameras are taken from the `first`
/// camera's.
fn publishers(
    node: &mut r2r::Node,
    camera: &CameraName,
    first: Option<&PerOutput<PublisherUntyped>>,
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
    // What they keep their last message of for those who come late.
    let latches = PerOutput {
        drivable_area: true,
        ..PerOutput::default()
    };
    let shared = first.map_or_else(PerOutput::default, |first| {
        (first.clone().zip(Wanted::of_all_cameras()))
            .map(|(publisher, is_of_all)| is_of_all.then(|| publisher.clone()))
    });
    let outputs = topics(camera).zip(types).zip(latches).zip(shared);
    outputs.try_map(|(((topic, type_name), latched), shared)| {
        let qos = if *latched {
            NEWEST.transient_local()
        } else {
            NEWEST
        };
        let shared = shared.clone().map(Ok);
        shared.unwrap_or_else(|| publisher(node, topic, type_name, qos))
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
    fn a_topic_of_all_cameras_has_its_rate_and_a_cameras_own_topics_are_not_held() {
        let mut wanted = Wanted {
            label_mask: true,
            costmap_points: true,
            drivable_area: true,
            free_space_scan: true,
            ..Wanted::default()
        };
        wanted.hold_shared_to(Wanted {
            free_space_scan: true,
            obstacle_points: true,
            ..Wanted::default()
        });
        let expected = Wanted {
            label_mask: true,
            costmap_points: true,
            free_space_scan: true,
            ..Wanted::default()
        };
        assert_eq!(wanted, expected);
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
