//! `ecmnet world`: a drive through a made world, recorded with its truth.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use ecmnet_ros::world::{World, WorldConfig, record_drive};

use crate::progress;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// New rosbag2 folder
    #[arg(long, value_name = "BAG")]
    out: PathBuf,
    /// Frames to render
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    frames: u64,
    /// The drive; every seed is another town, light and traffic
    #[arg(long, value_name = "S", default_value_t = WorldConfig::default().seed)]
    seed: u64,
    /// Size of the images
    #[arg(long, value_name = "WxH", default_value = "960x720", value_parser = size)]
    size: [u32; 2],
    /// Frames a second
    #[arg(long, value_name = "HZ", default_value_t = WorldConfig::default().rate_hz)]
    rate: f64,
    /// Horizontal field of view, degrees
    #[arg(long, value_name = "DEG", default_value_t = WorldConfig::default().hfov_deg)]
    hfov: f64,
    /// Camera pitch, degrees, positive looking down
    #[arg(long, value_name = "DEG", allow_negative_numbers = true,
          default_value_t = WorldConfig::default().pitch_deg)]
    pitch_deg: f64,
    /// CPU threads; the bytes do not depend on them
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

/// Renders the drive into a new bag; errs on a setting that cannot be rendered.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let [width, height] = arguments.size;
    let config = WorldConfig {
        seed: arguments.seed,
        width,
        height,
        rate_hz: arguments.rate,
        hfov_deg: arguments.hfov,
        pitch_deg: arguments.pitch_deg,
        ..WorldConfig::default()
    };
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(arguments.threads.map_or(0, NonZeroUsize::get))
        .build()
        .context("the CPU threads could not be started; ask for fewer")?;
    let bar = progress::bar(arguments.frames as usize, "rendering");
    threads.install(|| {
        let world = World::new(&config)?;
        record_drive(&world, arguments.frames, &arguments.out, |done| {
            bar.set_position(done)
        })?;
        anyhow::Ok(())
    })?;
    bar.finish_and_clear();
    eprintln!(
        "{} frames are in {}",
        arguments.frames,
        arguments.out.display()
    );
    Ok(())
}

fn size(text: &str) -> Result<[u32; 2], String> {
    text.split_once('x')
        .and_then(|(width, height)| Some([width.parse().ok()?, height.parse().ok()?]))
        .ok_or_else(|| "a size WxH such as 960x720 is needed".to_owned())
}
