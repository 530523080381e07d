//! Scores on CamVid's val clip, from bags that `make_bag.py` writes and from its list of files.
//!
//! ECMNET_DATA names the folder with `camvid_trainval.tar` and `make_bag.py`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use ecmnet_ros::bag::Bag;
use ecmnet_ros::msg::{Image, Message};
use tempfile::TempDir;

/// Frames of the clip that are used; the CPU takes a third of a second for each.
const FRAMES: usize = 24;
const CLASSES: usize = 11;
const VOID: u8 = 11;

struct CamVid {
    folder: TempDir,
    make_bag: PathBuf,
}

impl CamVid {
    fn unpack() -> Result<Self> {
        let data = env::var_os("ECMNET_DATA").context("ECMNET_DATA is not set")?;
        let data = PathBuf::from(data);
        let folder = tempfile::tempdir()?;
        let archive = data.join("camvid_trainval.tar");
        let mut tar = Command::new("tar");
        tar.arg("xf").arg(archive).arg("-C").arg(folder.path());
        succeed(tar.args([
            "train",
            "trainannot",
            "train.txt",
            "val",
            "valannot",
            "val.txt",
        ]))?;
        let make_bag = data.join("make_bag.py");
        Ok(Self { folder, make_bag })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_bag(&self, name: &str, options: &str) -> Result<()> {
        let mut python = Command::new(source("scripts/ros_python"));
        python
            .arg(&self.make_bag)
            .arg("--root")
            .arg(self.folder.path());
        python.args(["--split", "val", "--seq", "0016E5", "--frames"]);
        python.arg(FRAMES.to_string()).args(options.split(' '));
        succeed(python.arg("--out").arg(self.path(name)))
    }

    /// Runs `ecmnet eval` with the weights that the package brings and returns the scores.
    fn eval(&self, arguments: &str) -> Result<serde_json::Value> {
        let mut program = Command::new(env!("CARGO_BIN_EXE_ecmnet"));
        program.current_dir(self.folder.path()).arg("eval");
        program.args(arguments.split_whitespace());
        succeed(program.args(["--device", "cpu", "--json", "scores.json"]))?;
        Ok(serde_json::from_slice(&fs::read(
            self.path("scores.json"),
        )?)?)
    }

    fn eval_bag(&self, bag: &str, masks: &str) -> Result<serde_json::Value> {
        self.eval(&format!(
            "{bag} --image-topic /camera/image_raw --labels-topic /ground_truth/labels \
             --out-bag {masks}"
        ))
    }

    fn pixels(&self, bag: &str, topic: &str) -> Result<Vec<(i64, Vec<u8>)>> {
        let bag = Bag::open(&self.path(bag))?;
        bag.messages(&[topic])?
            .map(|message| {
                let image = Image::from_cdr(&message.data)?;
                Ok((image.header.stamp.as_ns(), image.data.to_vec()))
            })
            .collect()
    }
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[test]
fn a_bag_and_a_list_of_the_same_pixels_score_the_same_and_as_counted_here() -> Result<()> {
    let camvid = CamVid::unpack()?;
    camvid.write_bag("clip", "--compress storage")?;
    let from_bag = camvid.eval_bag("clip", "masks")?;
    // Two JPEG decoders differ by a level here and there, so the list is of the bag's own pixels.
    let list = fs::read_to_string(camvid.path("val.txt"))?;
    let labels = list.lines().filter_map(|line| line.split(' ').nth(1));
    let images = camvid.pixels("clip", "/camera/image_raw")?;
    let mut lines = String::new();
    for (i, ((_, rgb), label)) in images.into_iter().zip(labels).enumerate() {
        let image = image::RgbImage::from_raw(480, 360, rgb).context("an image")?;
        image.save(camvid.path(&format!("{i}.png")))?;
        lines += &format!("{i}.png {label}\n");
    }
    fs::write(camvid.path("list.txt"), lines)?;
    let from_list = camvid.eval("--list list.txt --root .")?;
    for key in [
        "frames",
        "miou",
        "iou",
        "pixel_accuracy",
        "skipped",
        "network_size",
    ] {
        assert_eq!(from_bag[key], from_list[key], "{key}");
    }

    let truth = camvid.pixels("clip", "/ground_truth/labels")?;
    let masks = camvid.pixels("masks", "/ecmnet/label_mask")?;
    assert_eq!(
        (from_bag["frames"].as_u64(), masks.len()),
        (Some(FRAMES as u64), FRAMES)
    );
    let mut hits = [0_u64; CLASSES];
    let mut union = [0_u64; CLASSES];
    for ((truth_ns, truth), (mask_ns, mask)) in truth.iter().zip(&masks) {
        assert_eq!(truth_ns, mask_ns, "masks carry the stamps of their images");
        for (truth, mask) in truth.iter().zip(mask).filter(|(truth, _)| **truth != VOID) {
            if truth == mask {
                hits[usize::from(*truth)] += 1;
                union[usize::from(*truth)] += 1;
            } else {
                union[usize::from(*truth)] += 1;
                union[usize::from(*mask)] += 1;
            }
        }
    }
    let present = || hits.iter().zip(&union).filter(|(_, union)| **union > 0);
    let iou: f64 = present()
        .map(|(hits, union)| *hits as f64 / *union as f64)
        .sum();
    let miou = iou / present().count() as f64;
    let told = from_bag["miou"].as_f64().context("a score")?;
    // Both sum eleven fractions, in an order of their own.
    assert!((miou - told).abs() < 1e-12, "{miou} {told}");
    // The weights were trained on this clip: less would mean a wrong colour order or size.
    let road = from_bag["iou"]["Road"].as_f64().context("a road")?;
    assert!(told > 0.6 && road > 0.9, "mIoU {told}, road {road}");
    Ok(())
}

#[test]
fn every_storage_of_the_clip_gives_the_same_masks() -> Result<()> {
    let camvid = CamVid::unpack()?;
    let mut first = None;
    for (name, options) in [
        ("mcap", "--storage mcap --compress storage"),
        ("sqlite", "--storage sqlite3"),
        ("message", "--storage sqlite3 --compress message"),
    ] {
        camvid.write_bag(name, options)?;
        let masks = format!("{name}_masks");
        camvid.eval(&format!(
            "{name} --image-topic /camera/image_raw --labels-topic /ground_truth/labels \
             --every 8 --out-bag {masks}"
        ))?;
        let masks = camvid.pixels(&masks, "/ecmnet/label_mask")?;
        assert_eq!(masks.len(), FRAMES / 8);
        assert!(
            first.get_or_insert_with(|| masks.clone()) == &masks,
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn weights_from_the_made_world_find_the_road_of_real_streets() -> Result<()> {
    let camvid = CamVid::unpack()?;
    let weights = source("models/ecmnet_world.safetensors");
    let scores = camvid.eval(&format!(
        "--list train.txt --root . --every 8 --weights {}",
        weights.display()
    ))?;
    let road = scores["iou"]["Road"].as_f64().context("a road")?;
    // 0.923 over all 367 frames; 0.60 is what a network that never saw a real street must reach.
    assert!(road >= 0.60, "road {road}");
    Ok(())
}
