//! Camera images in, label masks out.

use anyhow::Result;
use image::ImageFormat;
use serde_json::{Value, json};

use super::graph::Graph;
use super::pictures::{self, bytes_from_base64, compressed_image, gradient, rgb_image};
use super::weights::CLASSES;

const MASK: &str = "/ecmnet/label_mask";

#[test]
fn a_mask_has_the_images_size_and_its_stamp_and_frame_bit_for_bit() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&[])?;
    let mut camera = graph.peer("camera")?;
    camera.subscribe_images(MASK)?;
    camera.advertise_images("/image", true)?;
    // Another clock's stamp, with nanoseconds that no f64 of seconds can hold.
    let stamp = json!({"sec": 1_160_000_000, "nanosec": 33_333_337});
    let mut picture = rgb_image(101, 67);
    picture["header"]["stamp"] = stamp.clone();
    let mask = camera.mask_of("/image", &picture, MASK)?;
    assert_eq!(mask["header"]["stamp"], stamp);
    assert_eq!(mask["header"]["frame_id"], "camera_optical_frame");
    assert_eq!((&mask["width"], &mask["height"]), (&json!(101), &json!(67)));
    assert_eq!(
        (&mask["encoding"], &mask["step"]),
        (&json!("mono8"), &json!(101))
    );
    let ids = bytes_from_base64(mask["data"].as_str().unwrap_or_default());
    assert_eq!(ids.len(), 101 * 67);
    assert!(ids.iter().all(|id| usize::from(*id) < CLASSES));
    Ok(())
}

#[test]
fn size_and_encoding_may_change_while_running() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&[])?;
    let mut camera = graph.peer("camera")?;
    camera.subscribe_images(MASK)?;
    camera.advertise_images("/image", true)?;
    let bytes = gradient(128, 128);
    camera.mask_of("/image", &rgb_image(64, 48), MASK)?;
    for (width, height, encoding, step) in [
        (63, 48, "bgr8", 63 * 3 + 5),
        (37, 51, "mono8", 40),
        (96, 64, "rgba8", 96 * 4),
        (95, 64, "bgra8", 95 * 4),
        (32, 40, "nv12", 32),
        (34, 40, "nv21", 48),
        (31, 41, "nv24", 31),
        (64, 32, "yuv422", 128),
        (66, 32, "yuv422_yuy2", 140),
        (65, 33, "bayer_rggb8", 65),
    ] {
        let rows = match encoding {
            "nv12" | "nv21" => height * 3 / 2,
            "nv24" => height * 3,
            _ => height,
        };
        let picture = pictures::image(width, height, encoding, step, &bytes[..rows * step]);
        let mask = camera.mask_of("/image", &picture, MASK)?;
        let size = (&mask["width"], &mask["height"], &mask["step"]);
        assert_eq!(
            size,
            (&json!(width), &json!(height), &json!(width)),
            "{encoding}"
        );
    }
    Ok(())
}

#[test]
fn the_live_topics_type_decides_and_may_change_while_running() -> Result<()> {
    let graph = Graph::new()?;
    let node = graph.running_node(&[])?;
    node.wait_for_line("subscribed to /image (sensor_msgs/msg/Image, best effort")?;
    for (width, format) in [(80, ImageFormat::Png), (84, ImageFormat::Jpeg)] {
        // DDS allows a process one type a topic, so each type has a camera of its own.
        let mut compressed = graph.peer("compressed_camera")?;
        compressed.subscribe_images(MASK)?;
        compressed.advertise("/image", "sensor_msgs/msg/CompressedImage", true)?;
        let picture = compressed_image("rgb8; compressed", &encoded(width, 60, format)?);
        let fits = |mask: &Value| mask["width"] == width && mask["height"] == 60;
        compressed.publish_until("/image", &picture, MASK, fits)?;
        drop(compressed);
        let mut raw = graph.peer("raw_camera")?;
        raw.subscribe_images(MASK)?;
        raw.advertise_images("/image", true)?;
        raw.mask_of("/image", &rgb_image(width + 1, 32), MASK)?;
    }
    Ok(())
}

#[test]
fn reliability_follows_the_live_publisher() -> Result<()> {
    let graph = Graph::new()?;
    let node = graph.running_node(&[])?;
    let mut camera = graph.peer("camera")?;
    camera.subscribe_images(MASK)?;
    for (reliable, said) in [
        (true, "reliable, volatile, keep last 10"),
        (false, "best effort, volatile, keep last 10"),
    ] {
        camera.advertise_images("/image", reliable)?;
        node.wait_for_line(said)?;
        camera.mask_of("/image", &rgb_image(48, 32), MASK)?;
        camera.ask("withdraw", json!({"topic": "/image"}))?;
    }
    Ok(())
}

#[test]
fn the_compressed_transport_takes_the_topic_beside_the_raw_one() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&[
        "-p",
        "image_transport:=compressed",
        "-r",
        "image:=/cam/image",
    ])?;
    let mut camera = graph.peer("camera")?;
    camera.subscribe_images(MASK)?;
    camera.ask(
        "advertise",
        json!({"topic": "/cam/image", "type": "sensor_msgs/msg/Image"}),
    )?;
    let beside = "/cam/image/compressed";
    camera.advertise(beside, "sensor_msgs/msg/CompressedImage", false)?;
    let file = encoded(50, 40, ImageFormat::Png)?;
    let mask = camera.publish_until(beside, &compressed_image("png", &file), MASK, |_| true)?;
    assert_eq!(mask["width"], 50);
    Ok(())
}

fn encoded(width: usize, height: usize, format: ImageFormat) -> Result<Vec<u8>> {
    let pixels = image::RgbImage::from_raw(width as u32, height as u32, gradient(width, height));
    let pixels = pixels.ok_or_else(|| anyhow::anyhow!("a gradient of another size"))?;
    let mut file = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut file, format)?;
    Ok(file.into_inner())
}
