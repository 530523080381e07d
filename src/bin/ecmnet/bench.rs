//! `ecmnet bench`: the time from an image on the host to its mask on the host.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use ecmnet_ros::ImageView;
use ecmnet_ros::eval::LatencySummary;
use ecmnet_ros::segmenter::{NetworkSize, StageTimes};
use serde::Serialize;

use crate::network::NetworkArguments;
use crate::output::{print, write_whole};
use crate::progress;

/// Frames before the measured ones: pages are touched, clocks are up.
const WARM_UP_FRAMES: usize = 3;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Size of the image; the network sees it at this size unless --network-size says otherwise
    #[arg(long, value_name = "HxW", default_value = "360x480", value_parser = size)]
    size: [usize; 2],
    /// Number type to compute in; f16 needs a GPU
    #[arg(long, default_value = "f32")]
    dtype: Dtype,
    /// Frames to measure
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..))]
    frames: u32,
    /// Write the result to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    network: NetworkArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Dtype {
    F32,
    F16,
}

#[derive(Debug, Serialize)]
struct Measured {
    latency_ms: Percentiles,
    stages_ms: Stages,
    /// From the start of loading the weights to the first mask.
    startup_ms: f64,
    /// Height and width that the network computed at.
    network_size: [usize; 2],
    /// Height and width of the image and its mask.
    size: [usize; 2],
    frames: u32,
    device: String,
    dtype: &'static str,
    weights_sha256: String,
    version: &'static str,
}

#[derive(Debug, Serialize)]
struct Stages {
    preprocess: Percentiles,
    network: Percentiles,
    labels: Percentiles,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Percentiles {
    p50: f64,
    p95: f64,
    p99: f64,
}

/// Measures frames one after another, prints the percentiles and writes them.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let [height, width] = arguments.size;
    let pixels = made_image(height, width);
    let image = ImageView::from_rgb8(width, height, &pixels)?;
    let start = Instant::now();
    let segmenter = arguments
        .network
        .segmenter(NetworkSize::Fixed { height, width })?;
    if arguments.dtype == Dtype::F16 && segmenter.dtype() != "f16" {
        let device = segmenter.device_name();
        bail!(
            "{device} computes in {}; measure with --dtype f32",
            segmenter.dtype()
        );
    }
    segmenter.run(&image, false)?;
    let startup_ms = start.elapsed().as_secs_f64() * 1e3;
    for _ in 1..WARM_UP_FRAMES {
        segmenter.run(&image, false)?;
    }
    let bar = progress::bar(arguments.frames as usize, "measuring");
    let mut times = Vec::new();
    let mut latencies_ms = Vec::new();
    for _ in 0..arguments.frames {
        let start = Instant::now();
        times.push(segmenter.run(&image, false)?.times);
        latencies_ms.push(start.elapsed().as_secs_f64() * 1e3);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let stage = |part: fn(&StageTimes) -> std::time::Duration| {
        percentiles(times.iter().map(|times| part(times).as_secs_f64() * 1e3))
    };
    let measured = Measured {
        latency_ms: percentiles(latencies_ms)?,
        stages_ms: Stages {
            preprocess: stage(|times| times.preprocess)?,
            network: stage(|times| times.network)?,
            labels: stage(|times| times.labels)?,
        },
        startup_ms,
        network_size: segmenter.network_size_for(height, width),
        size: arguments.size,
        frames: arguments.frames,
        device: segmenter.device_name(),
        dtype: segmenter.dtype(),
        weights_sha256: segmenter.weights_sha256().to_owned(),
        version: crate::VERSION,
    };
    print(&table(&measured))?;
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string_pretty(&measured)? + "\n";
        write_whole(path, json.as_bytes())?;
    }
    Ok(())
}

fn table(measured: &Measured) -> String {
    let Measured {
        size: [height, width],
        network_size: [rows, columns],
        ..
    } = measured;
    let mut table = format!(
        "image {height}x{width}, network {rows}x{columns}, {}, {}, {} frames, ready in {:.0} ms\n\
         {:12}{:>10}{:>10}{:>10}\n",
        measured.device,
        measured.dtype,
        measured.frames,
        measured.startup_ms,
        "ms",
        "p50",
        "p95",
        "p99"
    );
    let stages = &measured.stages_ms;
    for (name, Percentiles { p50, p95, p99 }) in [
        ("preprocess", stages.preprocess),
        ("network", stages.network),
        ("labels", stages.labels),
        ("in all", measured.latency_ms),
    ] {
        table += &format!("{name:12}{p50:>10.2}{p95:>10.2}{p99:>10.2}\n");
    }
    table
}

fn percentiles(values_ms: impl IntoIterator<Item = f64>) -> Result<Percentiles> {
    let Some(LatencySummary { p50, p95, p99, .. }) = LatencySummary::from_ms(values_ms) else {
        bail!("no frames were measured");
    };
    Ok(Percentiles { p50, p95, p99 })
}

/// Returns packed RGB with gradients and fine structure; what it shows does not change the time.
fn made_image(height: usize, width: usize) -> Vec<u8> {
    let value = |i: usize| {
        let (c, x, y) = (i % 3, i / 3 % width, i / 3 / width);
        ((x * (c + 2) + y * (5 - c) + (x * y) / 7) % 256) as u8
    };
    (0..3 * height * width).map(value).collect()
}

fn size(text: &str) -> Result<[usize; 2], String> {
    match text.parse() {
        Ok(NetworkSize::Fixed { height, width }) => Ok([height, width]),
        _ => Err("a size HxW such as 360x480 is needed".to_owned()),
    }
}
