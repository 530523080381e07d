//! Scores the drivable grid on made drives against their truth and prints a table: camera 1.5 m high,
//! 1280x720, 70 degrees wide, cells of 0.1 m.

#![allow(clippy::print_stdout, reason = "its output")]

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use ecmnet_ros::drivable::pitch::PitchZero;
use ecmnet_ros::labels::LabelMask;
use ecmnet_ros::world::WorldFrame;
use ecmnet_ros::{ImageView, Segmenter, SegmenterOptions};
use score::{Drive, Score, median, true_mask};

#[path = "../tests/drivable/score.rs"]
mod score;

#[derive(Parser)]
#[command(about = "Score the drivable grid on made drives")]
struct Arguments {
    /// Seeds, first included and last not.
    #[arg(long, default_value = "100..108")]
    seeds: String,
    /// Frames of each drive, at 15 Hz.
    #[arg(long, default_value_t = 130)]
    frames: u64,
    /// Amplitude of a nod that no transform tells, degrees.
    #[arg(long, default_value_t = 0.0)]
    nod_deg: f64,
    /// Frequency of the nod, Hz.
    #[arg(long, default_value_t = 1.0)]
    nod_hz: f64,
    /// How far the camera looks down beyond what the transforms tell, always, degrees.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    mount_error_deg: f64,
    /// What corrects the pitch.
    #[arg(long, default_value = "off", value_parser = ["off", "image", "vanishing_point"])]
    pitch_correction: String,
    /// Weights that predict the masks; the true labels where none are given.
    #[arg(long)]
    weights: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (first, last) = arguments
        .seeds
        .split_once("..")
        .context("--seeds is A..B")?;
    let segmenter = match &arguments.weights {
        Some(weights) => Some(Segmenter::new(&SegmenterOptions::new(weights))?),
        None => None,
    };
    let mut score = Score::default();
    for seed in first.parse::<u64>()?..last.parse()? {
        let drive = Drive {
            seed,
            frames: arguments.frames,
            nod_deg: arguments.nod_deg,
            nod_hz: arguments.nod_hz,
            mount_error_deg: arguments.mount_error_deg,
            correction: PitchZero::of_correction(&arguments.pitch_correction),
        };
        score.add(&drive, |frame| match &segmenter {
            None => true_mask(frame),
            Some(segmenter) => predicted(segmenter, frame),
        })?;
        print(seed, &score);
    }
    Ok(())
}

fn predicted(segmenter: &Segmenter, frame: &WorldFrame) -> Result<LabelMask> {
    let (width, height) = (frame.camera.width as usize, frame.camera.height as usize);
    let image = ImageView::from_rgb8(width, height, &frame.rgb)?;
    Ok(segmenter.run(&image, false)?.mask)
}

/// The sums up to and with a drive.
fn print(seed: u64, score: &Score) {
    let share = |part: u64| part as f64 / score.visible.max(1) as f64;
    println!(
        "to seed {seed}: {} frames, {} visible cells within 20 m",
        score.frames, score.visible
    );
    for cell in &score.wrong {
        println!("  wrongly free: {cell:?}");
    }
    println!(
        "  decided {:.4}, right {:.4}; wrongly free within 15 m: {} cells in {} frames; update {:.2} ms",
        share(score.decided),
        share(score.right),
        score.wrong.len(),
        score.wrongly_free_frames,
        median(&score.update_ms)
    );
    println!("  pitch missed by {:.3} deg", median(&score.pitch_miss_deg));
    for (at_m, errors) in [10, 20].into_iter().zip(&score.boundary) {
        println!(
            "  boundary at {at_m} m: lateral {:.3} m, along {:.3} m; beside {:.3} m ({} cells), ahead \
             {:.3} m ({})",
            median(&errors.lateral_m),
            median(&errors.along_m),
            median(&errors.beside_m),
            errors.beside_m.len(),
            median(&errors.ahead_m),
            errors.ahead_m.len()
        );
    }
}
