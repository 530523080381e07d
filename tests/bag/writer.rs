//! Bags that this project writes, read back by the `mcap` crate and as text.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use ecmnet_ros::bag::{BagWriter, Qos};
use ecmnet_ros::msg::{CameraInfo, Header, Image, Message, OccupancyGrid, Stamp, TfMessage};

const START_NS: i64 = 1_700_000_000_000_000_000;

fn image(pixels: &[u8], stamp: Stamp) -> Image<'_> {
    let header = Header {
        stamp,
        frame_id: "camera_optical_frame".into(),
    };
    Image {
        header,
        height: 40,
        width: 60,
        encoding: "rgb8",
        is_bigendian: 0,
        step: 180,
        data: pixels,
    }
}

fn write_drive(folder: &Path, finish: bool) -> Result<()> {
    let mut bag = BagWriter::create(folder)?;
    let images = bag.add_topic::<Image>("/camera/image_raw", Qos::SENSOR_DATA)?;
    let infos = bag.add_topic::<CameraInfo>("/camera/camera_info", Qos::DEFAULT)?;
    let tf = bag.add_topic::<TfMessage>("/tf_static", Qos::LATCHED)?;
    bag.add_topic::<OccupancyGrid>("/truth/grid \"quoted\"", Qos::DEFAULT)?;
    bag.write(tf, START_NS, &TfMessage::default())?;
    for frame in 0..3_u8 {
        let stamp = Stamp::from_ns(START_NS + i64::from(frame) * 66_666_667);
        let pixels: Vec<u8> = (0..7200).map(|i| (i % 251) as u8 ^ frame).collect();
        bag.write(images, stamp.as_ns(), &image(&pixels, stamp))?;
        bag.write(infos, stamp.as_ns(), &CameraInfo::default())?;
    }
    if finish {
        bag.finish()?;
    }
    Ok(())
}

fn read_mcap(folder: &Path) -> Result<Vec<(String, u64, Vec<u8>)>> {
    let name = folder.file_name().context("a name")?.to_string_lossy();
    let bytes = fs::read(folder.join(format!("{name}_0.mcap")))?;
    mcap::MessageStream::new(&bytes)?
        .map(|message| {
            let message = message?;
            let schema = message.channel.schema.as_ref().context("a schema")?;
            assert_eq!(schema.encoding, "ros2msg");
            assert_eq!(message.channel.message_encoding, "cdr");
            let topic = message.channel.topic.clone();
            Ok((topic, message.log_time, message.data.into_owned()))
        })
        .collect()
}

#[test]
fn the_mcap_crate_reads_back_every_message() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let bag = folder.path().join("made/up/drive");
    write_drive(&bag, true)?;
    let messages = read_mcap(&bag)?;
    assert_eq!(messages.len(), 7);
    let (topic, time, data) = &messages[3];
    assert_eq!(topic, "/camera/image_raw");
    assert_eq!(*time, 1_700_000_000_066_666_667);
    let read = Image::from_cdr(data)?;
    assert_eq!((read.header.stamp.nanosec, read.data[2]), (66_666_667, 3));
    let bytes = fs::read(bag.join("drive_0.mcap"))?;
    let summary = mcap::Summary::read(&bytes)?.context("a summary")?;
    let statistics = summary.stats.context("statistics")?;
    assert_eq!((statistics.message_count, statistics.channel_count), (7, 4));
    let yaml = fs::read_to_string(bag.join("metadata.yaml"))?;
    for line in [
        "  version: 9",
        "  message_count: 7",
        "    nanoseconds: 133333334",
        "        name: \"/truth/grid \\\"quoted\\\"\"",
        "          durability: transient_local",
    ] {
        assert!(yaml.lines().any(|got| got == line), "{line} in\n{yaml}");
    }
    Ok(())
}

#[test]
fn the_same_calls_write_the_same_bytes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for parent in ["a", "b"] {
        write_drive(&folder.path().join(parent).join("drive"), true)?;
    }
    for file in ["drive/drive_0.mcap", "drive/metadata.yaml"] {
        let [a, b] = ["a", "b"].map(|parent| fs::read(folder.path().join(parent).join(file)));
        assert_eq!(a?, b?, "{file}");
    }
    Ok(())
}

#[test]
fn a_writer_that_is_dropped_unfinished_leaves_a_whole_bag() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [finished, dropped] = ["finished", "dropped"].map(|name| folder.path().join(name));
    write_drive(&finished, true)?;
    write_drive(&dropped, false)?;
    assert_eq!(read_mcap(&finished)?, read_mcap(&dropped)?);
    assert!(dropped.join("metadata.yaml").exists());
    Ok(())
}

#[test]
fn nothing_is_ever_overwritten() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let error = BagWriter::create(folder.path())
        .err()
        .context("it exists")?;
    assert!(error.to_string().contains("exists already"), "{error}");
    Ok(())
}

#[test]
fn a_time_before_1970_is_refused_by_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut bag = BagWriter::create(&folder.path().join("old"))?;
    let topic = bag.add_topic::<TfMessage>("/tf", Qos::DEFAULT)?;
    let error = bag
        .write(topic, -1, &TfMessage::default())
        .err()
        .context("1969")?;
    assert!(error.to_string().contains("/tf"), "{error}");
    Ok(())
}
