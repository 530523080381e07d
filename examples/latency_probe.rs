//! Measures the node from outside: publishes made rgb8 images at a rate and times each mask that comes
//! back with its stamp. Beside an echo, it tells what of that is DDS:
//!
//! ```text
//! cargo run --release --example latency_probe -- --rate 30 --pid $(pidof ecmnet_node)
//! cargo run --release --example latency_probe -- echo        # then the first again, with
//!     --masks /latency_echo/label_mask
//! ```
//!
//! The Fast DDS profile of `config/` belongs on both sides (`FASTRTPS_DEFAULT_PROFILES_FILE`).

#![allow(clippy::print_stdout, reason = "a program prints its result")]

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use ecmnet_ros::msg::{Header, Image, Message, Stamp};
use futures::{FutureExt, Stream, StreamExt};
use r2r::QosProfile;

/// How long the first mask may take: the node may still be at its start.
const FIRST_WITHIN: Duration = Duration::from_secs(30);

/// After the last image, how long its mask may take.
const LAST_WITHIN: Duration = Duration::from_secs(1);

/// Longest turn of a loop that waits for ROS.
const TURN: Duration = Duration::from_millis(20);

#[derive(Parser)]
#[command(about = "Time the masks of made images, or echo images as masks")]
struct Arguments {
    /// `echo`: answer every image with a mask of zeros of its size, as a node with no network would.
    mode: Option<String>,
    /// Images a second.
    #[arg(long, default_value_t = 30.0)]
    rate: f64,
    /// Size of the images.
    #[arg(long, default_value = "1024x512")]
    size: String,
    /// Images that count; those before the first mask do not.
    #[arg(long, default_value_t = 300)]
    frames: usize,
    /// Topic of the images.
    #[arg(long, default_value = "/image")]
    images: String,
    /// Topic of the masks.
    #[arg(long, default_value = "/ecmnet/label_mask")]
    masks: String,
    /// A process whose CPU time is told, too.
    #[arg(long)]
    pid: Option<u32>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.mode.as_deref() {
        None => measure(&arguments),
        Some("echo") => echo(&arguments.images),
        Some(other) => bail!("'{other}' is no mode: leave it out, or write echo"),
    }
}

/// Publishes images and prints how soon their masks came.
fn measure(arguments: &Arguments) -> Result<()> {
    let (width, height) = arguments
        .size
        .split_once('x')
        .context("--size must read WxH")?;
    let [width, height]: [u32; 2] = [width.parse()?, height.parse()?];
    ensure!(
        arguments.rate > 0.0 && arguments.frames > 0,
        "--rate and --frames must be above 0"
    );
    let context = r2r::Context::create()?;
    let mut node = r2r::Node::create(context, "latency_probe", "")?;
    let mut masks = node.subscribe_raw(&arguments.masks, Image::TYPE, qos())?;
    let images = node.create_publisher_untyped(&arguments.images, Image::TYPE, qos())?;
    let pixels: Vec<u8> = (0..width * height * 3)
        .map(|i| (i * 7 % 251) as u8)
        .collect();
    let send = |sent: &mut HashMap<Stamp, Instant>| -> Result<()> {
        let stamp = now()?;
        let message = image_message(stamp, [width, height], "rgb8", &pixels);
        sent.insert(stamp, Instant::now());
        Ok(images.publish_raw(&message)?)
    };

    let start = Instant::now();
    let mut sent = HashMap::new();
    while answers(&mut masks, &mut sent)?.is_empty() {
        ensure!(
            start.elapsed() < FIRST_WITHIN,
            "no mask came on {} within {FIRST_WITHIN:?}",
            arguments.masks
        );
        send(&mut sent)?;
        node.spin_once(5 * TURN);
    }
    turns_until(&mut node, Instant::now() + 10 * TURN);
    answers(&mut masks, &mut sent)?;
    sent.clear();

    let (start, cpu_before_s) = (Instant::now(), cpu_seconds(arguments.pid)?);
    let mut latencies_ms = Vec::with_capacity(arguments.frames);
    for frame in 0..arguments.frames {
        let due = start + Duration::from_secs_f64(frame as f64 / arguments.rate);
        while let Some(wait) = due.checked_duration_since(Instant::now()) {
            node.spin_once(wait.min(TURN));
            latencies_ms.extend(answers(&mut masks, &mut sent)?);
        }
        send(&mut sent)?;
    }
    let (elapsed, cpu_after_s) = (start.elapsed(), cpu_seconds(arguments.pid)?);
    let last = Instant::now();
    while latencies_ms.len() < arguments.frames && last.elapsed() < LAST_WITHIN {
        node.spin_once(TURN);
        latencies_ms.extend(answers(&mut masks, &mut sent)?);
    }

    ensure!(!latencies_ms.is_empty(), "no mask came");
    latencies_ms.sort_by(f64::total_cmp);
    let at = |share: f64| latencies_ms[((latencies_ms.len() - 1) as f64 * share).round() as usize];
    let cpu = match (cpu_before_s, cpu_after_s) {
        (Some(before), Some(after)) => {
            let share = 100.0 * (after - before) / elapsed.as_secs_f64();
            format!(", {share:.0} % of a core")
        }
        _ => String::new(),
    };
    println!(
        "{} at {} Hz: {} images in {:.2} s, {} masks; ms p50 {:.2}, p95 {:.2}, p99 {:.2}, max {:.2}{cpu}",
        arguments.size,
        arguments.rate,
        arguments.frames,
        elapsed.as_secs_f64(),
        latencies_ms.len(),
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0),
    );
    Ok(())
}

/// Answers images with masks of zeros until it is stopped.
fn echo(images: &str) -> Result<()> {
    let context = r2r::Context::create()?;
    let mut node = r2r::Node::create(context, "latency_echo", "")?;
    let mut images = node.subscribe_raw(images, Image::TYPE, qos())?;
    let masks = node.create_publisher_untyped("~/label_mask", Image::TYPE, qos())?;
    let mut zeros = Vec::new();
    loop {
        node.spin_once(TURN);
        while let Some(Some(message)) = images.next().now_or_never() {
            let image = Image::from_cdr(&message)?;
            zeros.resize((image.width * image.height) as usize, 0);
            let size = [image.width, image.height];
            masks.publish_raw(&image_message(image.header.stamp, size, "mono8", &zeros))?;
        }
    }
}

/// What the node itself offers and follows: reliable.
fn qos() -> QosProfile {
    QosProfile::default().reliable().keep_last(10)
}

fn image_message(stamp: Stamp, [width, height]: [u32; 2], encoding: &str, rows: &[u8]) -> Vec<u8> {
    Image {
        header: Header {
            stamp,
            frame_id: "camera_optical_frame".into(),
        },
        height,
        width,
        encoding,
        is_bigendian: 0,
        step: rows.len() as u32 / height,
        data: rows,
    }
    .to_cdr()
}

/// Returns the milliseconds that each mask took that is there now, by the stamps of what was sent.
fn answers(
    masks: &mut (impl Stream<Item = Vec<u8>> + Unpin),
    sent: &mut HashMap<Stamp, Instant>,
) -> Result<Vec<f64>> {
    let mut latencies_ms = Vec::new();
    while let Some(Some(message)) = masks.next().now_or_never() {
        let came = Instant::now();
        let stamp = Image::from_cdr(&message)?.header.stamp;
        if let Some(start) = sent.remove(&stamp) {
            latencies_ms.push((came - start).as_secs_f64() * 1e3);
        }
    }
    Ok(latencies_ms)
}

fn turns_until(node: &mut r2r::Node, end: Instant) {
    while Instant::now() < end {
        node.spin_once(TURN);
    }
}

fn now() -> Result<Stamp> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Stamp::from_ns(i64::try_from(now.as_nanos())?))
}

/// Returns the CPU time that a process has used.
fn cpu_seconds(pid: Option<u32>) -> Result<Option<f64>> {
    let Some(pid) = pid else { return Ok(None) };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces; user and system time are fields 14 and 15, in hundredths.
    let after_name = stat.rsplit_once(')').context("a name in parentheses")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let field = |n: usize| -> Result<f64> { Ok(fields.get(n - 3).context("a field")?.parse()?) };
    Ok(Some((field(14)? + field(15)?) / 100.0))
}
