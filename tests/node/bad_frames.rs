//! Frames that are not what they claim: dropped, counted by reason, warned of, and survived.

use anyhow::Result;
use ecmnet_ros::msg::{Header, Image, Message};
use serde_json::{Value, json};

use super::diagnostics::{status_that, value, watch};
use super::graph::{Graph, Node, Peer};
use super::pictures::{base64, compressed_image, image, rgb_image};

const MASK: &str = "/ecmnet/label_mask";

/// A node, and a camera that has seen it give a mask.
struct Bench {
    node: Node,
    camera: Peer,
    /// Last, so that its domain is given up after the processes in it.
    _graph: Graph,
}

impl Bench {
    fn new() -> Result<Self> {
        Self::with("sensor_msgs/msg/Image", &rgb_image(48, 32))
    }

    fn with(type_name: &str, good: &Value) -> Result<Self> {
        let graph = Graph::new()?;
        let node = graph.running_node(&[])?;
        let mut camera = graph.peer("camera")?;
        watch(&mut camera)?;
        camera.subscribe_images(MASK)?;
        camera.advertise("/image", type_name, true)?;
        camera.publish_until("/image", good, MASK, |_| true)?;
        Ok(Self {
            node,
            camera,
            _graph: graph,
        })
    }

    /// Checks that `count` frames are counted under `reason`, and one is logged with `said`.
    fn assert_rejected(&mut self, reason: &str, said: &str, count: usize) -> Result<()> {
        self.node
            .wait_for_line(&format!("image dropped ({reason})"))?;
        assert!(
            self.node.written().contains(said),
            "{}",
            self.node.written()
        );
        let key = format!("rejected.{reason}");
        status_that(&mut self.camera, &key, |status| {
            value(status, &key) == count.to_string()
        })?;
        Ok(())
    }

    fn publish_serialized(&mut self, message: &[u8]) -> Result<()> {
        let arguments = json!({"topic": "/image", "bytes": base64(message)});
        self.camera.ask("publish_serialized", arguments)?;
        Ok(())
    }

    fn assert_next_image_gives_a_mask(&mut self, width: usize) -> Result<()> {
        self.camera.mask_of("/image", &rgb_image(width, 32), MASK)?;
        Ok(())
    }
}

#[test]
fn images_that_contradict_their_headers_are_dropped_and_counted() -> Result<()> {
    let mut bench = Bench::new()?;
    let cases: [(Value, &str, &str); 6] = [
        (
            image(0, 0, "rgb8", 0, &[]),
            "empty",
            "the image is empty (0x0)",
        ),
        (
            image(48, 32, "rgb8", 100, &[0; 3200]),
            "step",
            "step is 100 bytes, but a row of 48",
        ),
        (
            image(48, 32, "rgb8", 144, &[0; 4000]),
            "short_data",
            "data has 4000 bytes",
        ),
        (
            image(8, 8, "16UC1", 16, &[0; 128]),
            "encoding",
            "accepted: rgb8, bgr8",
        ),
        (
            image(10_000, 10_000, "rgb8", 30_000, &[0; 900]),
            "too_large",
            "max_pixels allows",
        ),
        (
            image(31, 33, "nv12", 31, &[0; 2000]),
            "odd_size",
            "needs an even size",
        ),
    ];
    for (place, (frame, reason, said)) in cases.iter().enumerate() {
        bench.camera.publish("/image", frame)?;
        bench.assert_rejected(reason, said, 1)?;
        bench.assert_next_image_gives_a_mask(49 + place)?;
    }
    Ok(())
}

#[test]
fn messages_that_are_cut_are_dropped_and_counted() -> Result<()> {
    let mut bench = Bench::new()?;
    // An encapsulation header, a stamp, and a frame_id that claims 200 bytes of which 3 follow.
    let cut = [
        0, 1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 200, 0, 0, 0, b'c', b'a', b'm',
    ];
    for (count, message) in (1..).zip([&cut[..], &cut[..4], &[0, 1, 0, 0, 9]]) {
        bench.publish_serialized(message)?;
        bench.assert_rejected("cdr", "the message is cut", count)?;
    }
    bench.assert_next_image_gives_a_mask(50)
}

#[test]
fn a_nul_inside_a_string_is_not_the_end_of_the_node() -> Result<()> {
    let mut bench = Bench::new()?;
    let message = Image {
        header: Header::default(),
        height: 1,
        width: 1,
        encoding: "rgb8\0x",
        is_bigendian: 0,
        step: 3,
        data: &[1, 2, 3],
    };
    bench.publish_serialized(&message.to_cdr())?;
    bench.assert_rejected("encoding", "encoding 'rgb8\\0x' is not accepted", 1)?;
    bench.assert_next_image_gives_a_mask(50)
}

#[test]
fn compressed_files_that_are_broken_or_bombs_are_dropped_and_counted() -> Result<()> {
    let pixels = image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8, y as u8, 9]));
    let encoded = |format| -> Result<Vec<u8>> {
        let mut file = std::io::Cursor::new(Vec::new());
        pixels.write_to(&mut file, format)?;
        Ok(file.into_inner())
    };
    let jpeg = encoded(image::ImageFormat::Jpeg)?;
    let png = encoded(image::ImageFormat::Png)?;
    let good = compressed_image("png", &png);
    let mut bench = Bench::with("sensor_msgs/msg/CompressedImage", &good)?;
    for (file, reason) in [
        (&jpeg[..jpeg.len() / 20], "broken_file"),
        (&bomb(&png)[..], "too_large"),
        (b"GIF89a", "codec"),
    ] {
        bench
            .camera
            .publish("/image", &compressed_image("jpeg", file))?;
        bench.assert_rejected(reason, reason, 1)?;
    }
    while !bench.camera.is_silent(MASK, 0.5)? {}
    bench
        .camera
        .publish_until("/image", &good, MASK, |mask| mask["width"] == 64)?;
    Ok(())
}

#[test]
fn images_older_than_max_age_are_dropped_and_foreign_stamps_are_not() -> Result<()> {
    let mut bench = Bench::new()?;
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    let stamped = |age_s: u64, width| {
        let mut frame = rgb_image(width, 32);
        frame["header"]["stamp"] = json!({"sec": seconds - age_s, "nanosec": 0});
        frame
    };
    bench.camera.publish("/image", &stamped(10, 50))?;
    bench.assert_rejected("too_old", "max_age_ms is 1000", 1)?;
    bench.camera.mask_of("/image", &stamped(3600, 51), MASK)?;
    bench.node.wait_for_line("another clock took them")?;
    bench.assert_next_image_gives_a_mask(52)
}

/// Returns a PNG whose header claims 65,535 pixels a side; its checksum agrees.
fn bomb(png: &[u8]) -> Vec<u8> {
    let mut bomb = png.to_vec();
    bomb[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    let crc = !bomb[12..29].iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
        })
    });
    bomb[29..33].copy_from_slice(&crc.to_be_bytes());
    bomb
}
