//! Writes frames of many made worlds with their labels, for training and evaluation:
//! `images/*.{png,jpg}`, `labels/*.png` (8-bit class ids) and `list.txt` with lines `image label`.

use anyhow::{Context, Result, bail};
use clap::Parser;
use ecmnet_ros::world::{World, WorldConfig};
use image::{ExtendedColorType, ImageEncoder, codecs::jpeg::JpegEncoder, codecs::png::PngEncoder};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Write frames of made worlds with their labels")]
struct Arguments {
    /// Folder to write into.
    #[arg(long)]
    out: PathBuf,
    /// Seeds, first included and last not: 0..100.
    #[arg(long, default_value = "0..10")]
    seeds: String,
    /// Frames of each seed.
    #[arg(long, default_value_t = 10)]
    frames_per_seed: u64,
    /// Frames of the 15 Hz drive from one written frame to the next.
    #[arg(long, default_value_t = 61)]
    spacing: u64,
    /// Size of the written images.
    #[arg(long, default_value = "480x360")]
    size: String,
    /// Pixels rendered along each axis for one written pixel.
    #[arg(long, default_value_t = 2)]
    oversample: u32,
    /// JPEG quality of the images; PNG when left out.
    #[arg(long)]
    jpeg: Option<u8>,
    /// Draw field of view, pixel aspect, pitch, height and distortion from the seed instead of
    /// always using the default camera.
    #[arg(long)]
    mix_cameras: bool,
    /// More kinds of fences, signs, masts, people, fronts, paint and light; three frames in ten from
    /// junctions, side roads, car parks and kerbs with the camera turned.
    #[arg(long)]
    varied: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (first, last) = arguments
        .seeds
        .split_once("..")
        .context("--seeds must read A..B")?;
    let (first, last): (u64, u64) = (first.parse()?, last.parse()?);
    let (width, height) = arguments
        .size
        .split_once('x')
        .context("--size must read WxH")?;
    let (width, height): (u32, u32) = (width.parse()?, height.parse()?);
    if arguments.oversample == 0 {
        bail!("--oversample must be at least 1");
    }
    fs::create_dir_all(arguments.out.join("images"))?;
    fs::create_dir_all(arguments.out.join("labels"))?;
    let mut list = BufWriter::new(File::create(arguments.out.join("list.txt"))?);
    for seed in first..last {
        let k = arguments.oversample;
        let mut config = WorldConfig {
            seed,
            width: width * k,
            height: height * k,
            varied: arguments.varied,
            ..Default::default()
        };
        if arguments.mix_cameras {
            mix_camera(&mut config);
        }
        let world = World::new(&config)?;
        for number in 0..arguments.frames_per_seed {
            let index = number * arguments.spacing;
            let frame = if arguments.varied {
                world.still(index)
            } else {
                world.frame(index)
            };
            let (rgb, labels) = shrunk(&frame.rgb, &frame.labels, width, height, k);
            let kind = if arguments.jpeg.is_some() {
                "jpg"
            } else {
                "png"
            };
            let image_name = format!("images/{seed:06}_{index:05}.{kind}");
            let label_name = format!("labels/{seed:06}_{index:05}.png");
            let file = BufWriter::new(File::create(arguments.out.join(&image_name))?);
            match arguments.jpeg {
                Some(quality) => JpegEncoder::new_with_quality(file, quality).write_image(
                    &rgb,
                    width,
                    height,
                    ExtendedColorType::Rgb8,
                )?,
                None => PngEncoder::new(file).write_image(
                    &rgb,
                    width,
                    height,
                    ExtendedColorType::Rgb8,
                )?,
            }
            let file = BufWriter::new(File::create(arguments.out.join(&label_name))?);
            PngEncoder::new(file).write_image(&labels, width, height, ExtendedColorType::L8)?;
            writeln!(list, "{image_name} {label_name}")?;
        }
    }
    list.flush()?;
    Ok(())
}

/// Half of the seeds keep CamVid's picture shape; the others see the world through other lenses.
fn mix_camera(config: &mut WorldConfig) {
    let draw = |k: u64| {
        let mixed = (config.seed ^ (k << 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40) as f64 / 16_777_216.0
    };
    if draw(1) < 0.35 {
        config.pixel_aspect = Some(0.75 + 0.25 * draw(2).round());
        config.hfov_deg = 48.0 + 32.0 * draw(3);
        config.distortion[0] = -0.2 * draw(4);
        config.distortion[1] = 0.03 * draw(5);
    } else {
        config.hfov_deg = 54.0 + 8.0 * draw(3);
    }
    config.pitch_deg = -1.0 + 4.0 * draw(6);
    config.camera_height_m = 1.2 + 0.5 * draw(7);
}

/// Means of k x k pixels, and the label in the middle of each block.
fn shrunk(rgb: &[u8], labels: &[u8], width: u32, height: u32, k: u32) -> (Vec<u8>, Vec<u8>) {
    let (width, height, k) = (width as usize, height as usize, k as usize);
    let wide = width * k;
    let mut small = Vec::with_capacity(width * height * 3);
    let mut ids = Vec::with_capacity(width * height);
    for row in 0..height {
        for column in 0..width {
            let mut sum = [0u32; 3];
            for y in row * k..(row + 1) * k {
                for x in column * k..(column + 1) * k {
                    for (channel, total) in sum.iter_mut().enumerate() {
                        *total += rgb[(y * wide + x) * 3 + channel] as u32;
                    }
                }
            }
            let count = (k * k) as u32;
            small.extend(sum.map(|total| ((total + count / 2) / count) as u8));
            ids.push(labels[(row * k + k / 2) * wide + column * k + k / 2]);
        }
    }
    (small, ids)
}
