//! The program under test, and what it is given: weights of made values, made pictures and bags.

use std::ffi::OsStr;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use ecmnet_ros::bag::{BagWriter, Qos};
use ecmnet_ros::msg::{Header, Image, Stamp};
use tempfile::TempDir;

use crate::seeded::{image_bytes, seeded_weights};

/// Classes of the made weights, whose ignore_id is 255.
pub(crate) const CLASSES: u8 = 11;
pub(crate) const START_NS: i64 = 1_700_000_000_000_000_000;
pub(crate) const PERIOD_NS: i64 = 66_666_667;
/// Width and height of made pictures; the height is no multiple of anything.
pub(crate) const SIZE: [usize; 2] = [60, 41];

/// What the program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A folder with made weights to work in.
pub(crate) struct Bench {
    folder: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(
            folder.path().join("weights.safetensors"),
            seeded_weights("A", CLASSES.into())?,
        )?;
        Ok(Self { folder })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `ecmnet` in the folder with these arguments.
    pub(crate) fn ecmnet<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<Said> {
        self.ecmnet_in(&[], arguments)
    }

    /// Runs `ecmnet` with these additions to the environment.
    pub(crate) fn ecmnet_in<A: AsRef<OsStr>>(
        &self,
        environment: &[(&str, &str)],
        arguments: &[A],
    ) -> Result<Said> {
        let output = Command::new(env!("CARGO_BIN_EXE_ecmnet"))
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(self.folder.path())
            .output()?;
        let said = Said {
            status: output.status.code(),
            out: String::from_utf8(output.stdout)?,
            err: String::from_utf8(output.stderr)?,
        };
        assert!(!said.err.contains("panicked"), "{}", said.err);
        Ok(said)
    }

    /// Runs a command that uses the network: made weights, a small input for speed, the CPU.
    pub(crate) fn network(&self, arguments: &str) -> Result<Said> {
        let common = "--weights weights.safetensors --device cpu --network-size 48x64";
        let words: Vec<&str> = arguments
            .split_whitespace()
            .chain(common.split(' '))
            .collect();
        self.ecmnet(&words)
    }

    pub(crate) fn write_png(&self, name: &str, frame: u64) -> Result<()> {
        let [width, height] = SIZE.map(|side| side as u32);
        let image =
            image::RgbImage::from_raw(width, height, picture(frame)).context("a picture")?;
        let mut png = Cursor::new(Vec::new());
        image.write_to(&mut png, image::ImageFormat::Png)?;
        Ok(fs::write(self.path(name), png.get_ref())?)
    }

    pub(crate) fn json(&self, name: &str) -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&fs::read(self.path(name))?)?)
    }

    /// Writes a bag of `frames` pictures on `/image`, each with labels on `/labels` where
    /// `labels` gives some.
    pub(crate) fn write_bag(
        &self,
        name: &str,
        frames: u64,
        labels: impl Fn(u64) -> Option<(i64, [usize; 2], Vec<u8>)>,
    ) -> Result<()> {
        let mut bag = BagWriter::create(&self.path(name))?;
        let images = bag.add_topic::<Image<'_>>("/image", Qos::DEFAULT)?;
        let truth = bag.add_topic::<Image<'_>>("/labels", Qos::DEFAULT)?;
        for frame in 0..frames {
            let stamp_ns = START_NS + frame as i64 * PERIOD_NS;
            let pixels = picture(frame);
            bag.write(images, stamp_ns, &image(stamp_ns, SIZE, "rgb8", &pixels))?;
            if let Some((shift_ns, size, ids)) = labels(frame) {
                // Recorded late: only the stamp tells which image it belongs to.
                let label = image(stamp_ns + shift_ns, size, "mono8", &ids);
                bag.write(truth, stamp_ns + 200_000_000, &label)?;
            }
        }
        Ok(bag.finish()?)
    }
}

/// Returns packed RGB that differs from frame to frame.
pub(crate) fn picture(frame: u64) -> Vec<u8> {
    let [width, height] = SIZE;
    image_bytes(height + 9 * frame as usize, width).split_off(3 * width * 9 * frame as usize)
}

pub(crate) fn image<'a>(
    stamp_ns: i64,
    [width, height]: [usize; 2],
    encoding: &'a str,
    data: &'a [u8],
) -> Image<'a> {
    let [width, height] = [width as u32, height as u32];
    Image {
        header: Header {
            stamp: Stamp::from_ns(stamp_ns),
            frame_id: "camera_optical_frame".into(),
        },
        height,
        width,
        encoding,
        is_bigendian: 0,
        step: data.len() as u32 / height,
        data,
    }
}

pub(crate) fn grey_png(path: &Path) -> Result<(u32, u32, Vec<u8>)> {
    let image = image::load_from_memory(&fs::read(path)?)?;
    assert_eq!(image.color(), image::ColorType::L8, "{}", path.display());
    let grey = image.into_luma8();
    Ok((grey.width(), grey.height(), grey.into_raw()))
}
