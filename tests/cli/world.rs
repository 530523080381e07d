//! `ecmnet world`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use ecmnet_ros::bag::Bag;
use ecmnet_ros::msg::{Image, Message};

use crate::program::Bench;

#[test]
fn a_made_drive_is_a_bag_of_the_same_bytes_for_any_number_of_threads() -> Result<()> {
    let bench = Bench::new()?;
    for threads in ["1", "3"] {
        let options = [
            "--frames", "3", "--seed", "5", "--size", "96x72", "--rate", "10",
        ];
        let out = format!("{threads}/drive");
        let said = bench.ecmnet(
            &[
                &["world", "--out", &out, "--threads", threads],
                &options[..],
            ]
            .concat(),
        )?;
        assert_eq!(said.status, Some(0), "{}", said.err);
    }
    for file in ["drive/drive_0.mcap", "drive/metadata.yaml"] {
        let [one, three] = ["1", "3"].map(|out| fs::read(bench.path(out).join(file)));
        assert!(one? == three?, "{file} differs");
    }
    let bag = Bag::open(&bench.path("1/drive"))?;
    let topics = [
        "/camera/image_raw",
        "/ground_truth/labels",
        "/ground_truth/drivable_area",
    ];
    let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
    let mut stamps = Vec::new();
    for message in bag.messages(&topics)? {
        *counts.entry(message.topic).or_default() += 1;
        if message.topic < 2 {
            let image = Image::from_cdr(&message.data)?;
            assert_eq!((image.width, image.height), (96, 72));
            stamps.push(image.header.stamp.as_ns());
        }
    }
    assert_eq!(counts, BTreeMap::from([(0, 3), (1, 3), (2, 3)]));
    let period_ns = stamps.last().context("frames")? - stamps.first().context("frames")?;
    assert_eq!(period_ns, 200_000_000);
    let said = bench.network(
        "eval 1/drive --image-topic /camera/image_raw --labels-topic /ground_truth/labels",
    )?;
    assert_eq!(said.status, Some(0), "{}", said.err);
    Ok(())
}

#[test]
fn a_world_that_cannot_be_rendered_is_an_error_that_says_what_can() -> Result<()> {
    let bench = Bench::new()?;
    let said = bench.ecmnet(&["world", "--out", "w", "--frames", "1", "--hfov", "400"])?;
    assert_eq!(said.status, Some(1));
    assert!(said.err.contains("hfov"), "{}", said.err);
    assert!(!bench.path("w").exists());
    Ok(())
}
