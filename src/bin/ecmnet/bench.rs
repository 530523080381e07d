//! `ecmnet bench`: the time from an image on the host to its mask on the host.

use std::fs;
use std::path::{Path, PathBuf};
#[cfg(feature = "cuda")]
use std::time::Duration;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use ecmnet_ros::ImageView;
use ecmnet_ros::decode::DecodedImage;
use ecmnet_ros::eval::LatencySummary;
use ecmnet_ros::image::ImageError;
use ecmnet_ros::segmenter::{NetworkSize, Segmenter, StageTimes};

use serde::Serialize;

use crate::network::NetworkArguments;
use crate::output::{print, write_whole};
use crate::progress;

/// Frames before the measured ones: pages are touched, clocks are up.
const WARM_UP_FRAMES: usize = 3;

/// As many as a second and more of frames: a GPU's clocks are up.
const GPU_WARM_UP_FRAMES: usize = 200;

/// Frames that the GPU does at a camera's pace, with its clocks going down in between.
#[cfg(feature = "cuda")]
const PACED_FRAMES: u32 = 300;

/// A camera's period.
#[cfg(feature = "cuda")]
const PACE: Duration = Duration::from_nanos(33_333_333);

/// Most pixels of an image file.
const MAX_PIXELS: usize = 1 << 26;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Size of the image; the network sees it at this size unless --network-size says otherwise
    #[arg(long, value_name = "HxW", default_value = "360x480", value_parser = size)]
    size: [usize; 2],
    /// Number type to compute in: f32 on the CPU, f16 on a GPU, and so by default
    #[arg(long)]
    dtype: Option<Dtype>,
    /// Frames to measure
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..))]
    frames: u32,
    /// Take turns with the images of this folder, all of the size, instead of a made one
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
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
    /// From the image on the host to the mask on the host.
    latency_ms: Percentiles,
    stages_ms: Stages,
    /// On a GPU: what it does itself, without the copies.
    #[serde(flatten)]
    engine: Option<EngineMeasured>,
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

/// From an image in the GPU's memory to the mask there.
#[derive(Clone, Copy, Debug, Serialize)]
struct EngineMeasured {
    /// Wall time, back to back, synchronised each frame.
    engine_ms: Percentiles,
    /// The same by the GPU's events.
    engine_event_ms: Percentiles,
    /// Wall time at 30 frames a second.
    engine_paced_ms: Percentiles,
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
    let frames = frames(arguments)?;
    let views: Vec<ImageView<'_>> = (frames.iter())
        .map(|pixels| ImageView::from_rgb8(width, height, pixels))
        .collect::<Result<_, ImageError>>()?;
    let start = Instant::now();
    let segmenter = arguments
        .network
        .segmenter(NetworkSize::Fixed { height, width })?;
    check_dtype(arguments.dtype, &segmenter)?;
    segmenter.run(&views[0], false)?;
    let startup_ms = start.elapsed().as_secs_f64() * 1e3;
    let warm_up = match segmenter.dtype() {
        "f16" => GPU_WARM_UP_FRAMES,
        _ => WARM_UP_FRAMES,
    };
    for view in views.iter().cycle().take(warm_up) {
        segmenter.run(view, false)?;
    }
    let bar = progress::bar(arguments.frames as usize, "measuring");
    let mut times = Vec::new();
    let mut latencies_ms = Vec::new();
    for view in views.iter().cycle().take(arguments.frames as usize) {
        let start = Instant::now();
        times.push(segmenter.run(view, false)?.times);
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
        engine: engine(&segmenter, &views, arguments.frames)?,
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

/// Returns packed RGB of the size: the folder's images, or a made one.
fn frames(arguments: &Arguments) -> Result<Vec<Vec<u8>>> {
    let [height, width] = arguments.size;
    let Some(folder) = &arguments.images else {
        return Ok(vec![made_image(height, width)]);
    };
    let mut paths = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .with_context(|| folder.display().to_string())
        .map(|paths: Vec<PathBuf>| paths)?;
    paths.sort();
    if paths.is_empty() {
        bail!("{} has no images", folder.display());
    }
    paths
        .iter()
        .map(|path| frame(path, [height, width]))
        .collect()
}

fn frame(path: &Path, size: [usize; 2]) -> Result<Vec<u8>> {
    let image = DecodedImage::from_file_bytes(&fs::read(path)?, MAX_PIXELS)
        .with_context(|| path.display().to_string())?;
    let view = image.view()?;
    if [view.height(), view.width()] != size {
        let [height, width] = size;
        bail!(
            "{} is {}x{}, but {height}x{width} is measured",
            path.display(),
            view.height(),
            view.width()
        );
    }
    Ok(view.to_rgb8().concat())
}

fn check_dtype(dtype: Option<Dtype>, segmenter: &Segmenter) -> Result<()> {
    let computed = segmenter.dtype();
    let wanted = match dtype {
        None => computed,
        Some(Dtype::F32) => "f32",
        Some(Dtype::F16) => "f16",
    };
    if wanted != computed {
        let device = segmenter.device_name();
        bail!("{device} computes in {computed}; measure with --dtype {computed}");
    }
    Ok(())
}

#[cfg(not(feature = "cuda"))]
fn engine(_: &Segmenter, _: &[ImageView<'_>], _: u32) -> Result<Option<EngineMeasured>> {
    Ok(None)
}

/// Measures the GPU's own work; `None` on the CPU. Each frame's image is in its memory before.
#[cfg(feature = "cuda")]
fn engine(
    segmenter: &Segmenter,
    views: &[ImageView<'_>],
    frames: u32,
) -> Result<Option<EngineMeasured>> {
    let Some(clock) = segmenter.gpu_clock() else {
        return Ok(None);
    };
    let measure = |frames: u32, pace: Duration, time: &dyn Fn() -> ecmnet_ros::Result<Duration>| {
        let mut next = Instant::now();
        let mut times_ms = Vec::new();
        for view in views.iter().cycle().take(frames as usize) {
            clock.load(view)?;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next += pace;
            times_ms.push(time()?.as_secs_f64() * 1e3);
        }
        percentiles(times_ms)
    };
    Ok(Some(EngineMeasured {
        engine_ms: measure(frames, Duration::ZERO, &|| clock.wall())?,
        engine_event_ms: measure(frames, Duration::ZERO, &|| clock.events())?,
        engine_paced_ms: measure(PACED_FRAMES, PACE, &|| clock.wall())?,
    }))
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
    let mut lines = vec![
        ("preprocess", stages.preprocess),
        ("network", stages.network),
        ("labels", stages.labels),
        ("in all", measured.latency_ms),
    ];
    if let Some(engine) = &measured.engine {
        lines.extend([
            ("GPU alone", engine.engine_ms),
            ("by events", engine.engine_event_ms),
            ("at 30 Hz", engine.engine_paced_ms),
        ]);
    }
    for (name, Percentiles { p50, p95, p99 }) in lines {
        table += &format!("{name:12}{p50:>10.3}{p95:>10.3}{p99:>10.3}\n");
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
