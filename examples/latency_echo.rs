//! Answers every image with a mask of zeros of its size, as a node with no network would: beside the
//! node, `scripts/bench_latency.py` tells by it what of a mask's way is DDS.
//!
//! ```text
//! latency_echo [--ros-args -r /image:=/camera/image_raw]
//! ```

use std::time::Duration;

use anyhow::Result;
use ecmnet_ros::msg::{Image, Message};
use futures::{FutureExt, StreamExt};
use r2r::QosProfile;

/// Longest turn of the loop that waits for ROS.
const TURN: Duration = Duration::from_millis(20);

fn main() -> Result<()> {
    let context = r2r::Context::create()?;
    let mut node = r2r::Node::create(context, "latency_echo", "")?;
    // What the node itself offers and follows: reliable.
    let qos = QosProfile::default().reliable().keep_last(10);
    let mut images = node.subscribe_raw("/image", Image::TYPE, qos.clone())?;
    let masks = node.create_publisher_untyped("~/label_mask", Image::TYPE, qos)?;
    let mut zeros = Vec::new();
    loop {
        node.spin_once(TURN);
        while let Some(Some(message)) = images.next().now_or_never() {
            let image = Image::from_cdr(&message)?;
            zeros.resize(image.width as usize * image.height as usize, 0);
            let mask = Image {
                header: image.header,
                height: image.height,
                width: image.width,
                encoding: "mono8",
                is_bigendian: 0,
                step: image.width,
                data: &zeros,
            };
            masks.publish_raw(&mask.to_cdr())?;
        }
    }
}
