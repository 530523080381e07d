//! How long the network takes on the CPU, and where the time goes.
//!
//! `cargo bench --no-default-features --bench network_cpu -- --size 512x1024 --threads 2 --frames 20
//! [--weights FILE]` prints median and p95 and each stage's median. With `--on-line` it runs one frame for
//! each line of standard input and answers with its milliseconds, for interleaving with another program.
//! With `--pairs` it runs two frames one after the other on all threads, and at once, as a batch of two
//! would: on the threads of one pool, and on half of the threads each.

#![allow(clippy::print_stdout, reason = "a bench's output")]

use std::io::BufRead;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use clap::Parser;
use ecmnet_ros::network::{ECMNet, Weights};

#[path = "../tests/seeded/mod.rs"]
mod seeded;

#[derive(Parser)]
struct Options {
    /// Height and width of the network's input.
    #[arg(long, default_value = "512x1024")]
    size: String,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long, default_value_t = 20)]
    frames: usize,
    /// Made weights of plan A and 11 classes where none are given.
    #[arg(long)]
    weights: Option<PathBuf>,
    #[arg(long)]
    on_line: bool,
    #[arg(long, conflicts_with = "on_line")]
    pairs: bool,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (height, width) = options.size.split_once('x').context("--size is HxW")?;
    let (height, width) = (height.parse()?, width.parse()?);
    let weights = match &options.weights {
        Some(path) => Weights::load(path)?,
        None => Weights::from_bytes(&seeded::seeded_weights("A", 11)?)?,
    };
    let network = ECMNet::new(&weights, &Device::Cpu)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build()?;
    let image = Tensor::randn(0.0_f32, 1.0, (1, 3, height, width), &Device::Cpu)?;
    let frame = || -> Result<(Duration, Vec<(&'static str, Duration)>)> {
        let start = Instant::now();
        let (_, stages) = pool.install(|| network.forward_timed(&image))?;
        Ok((start.elapsed(), stages))
    };
    frame()?;
    if options.on_line {
        for line in std::io::stdin().lock().lines() {
            line?;
            println!("{:.3}", frame()?.0.as_secs_f64() * 1e3);
        }
        return Ok(());
    }
    if options.pairs {
        return compare_pairs(&network, &image, &options);
    }
    let mut totals = Vec::new();
    let mut stages: Vec<(&'static str, Vec<Duration>)> = Vec::new();
    for _ in 0..options.frames {
        let (total, times) = frame()?;
        totals.push(total);
        let mut merged: Vec<(&'static str, Duration)> = Vec::new();
        for (name, time) in times {
            match merged.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += time,
                None => merged.push((name, time)),
            }
        }
        for (name, time) in merged {
            match stages.iter_mut().find(|(known, _)| *known == name) {
                Some((_, all)) => all.push(time),
                None => stages.push((name, vec![time])),
            }
        }
    }
    println!(
        "{height}x{width}, plan {}, {} classes, {} threads, {}, {} frames",
        weights.metadata().plan,
        weights.metadata().classes.len(),
        options.threads,
        network.cpu_path(),
        options.frames
    );
    let whole = quantile_ms(&mut totals, 0.5);
    println!(
        "{:20} {whole:8.1} ms, p95 {:.1} ms",
        "whole",
        quantile_ms(&mut totals, 0.95)
    );
    for (name, mut times) in stages {
        let median = quantile_ms(&mut times, 0.5);
        println!("{name:20} {median:8.1} ms {:5.1} %", 100.0 * median / whole);
    }
    println!("{:20} {:8} MB", "peak memory", peak_memory_mb()?);
    Ok(())
}

/// Runs pairs of frames in each of the three ways by turns, so that all meet the same machine.
fn compare_pairs(network: &ECMNet, image: &Tensor, options: &Options) -> Result<()> {
    let pool = |threads: usize| (rayon::ThreadPoolBuilder::new().num_threads(threads)).build();
    let (whole, halves) = (
        pool(options.threads)?,
        [
            pool(options.threads.div_ceil(2))?,
            pool(options.threads.div_ceil(2))?,
        ],
    );
    let forward = || network.forward(image).map(|_| ());
    let apart = || -> Result<()> {
        std::thread::scope(|scope| {
            let [one, two] = &halves;
            let second = scope.spawn(|| two.install(forward));
            one.install(forward)?;
            second.join().ok().context("the second frame's thread")??;
            Ok(())
        })
    };
    let ways: [(&str, &dyn Fn() -> Result<()>); 3] = [
        ("one after the other", &|| {
            whole.install(|| forward().and_then(|()| forward()))?;
            Ok(())
        }),
        ("at once, one pool", &|| {
            let (one, two) = whole.install(|| rayon::join(forward, forward));
            one.and(two)?;
            Ok(())
        }),
        ("at once, half of the threads each", &apart),
    ];
    let mut times = ways.map(|_| Vec::new());
    for round in 0..=options.frames {
        for ((_, run), times) in ways.iter().zip(&mut times) {
            let start = Instant::now();
            run()?;
            if round > 0 {
                times.push(start.elapsed());
            }
        }
    }
    println!(
        "two frames of {}, {} threads, {}, {} pairs each way",
        options.size,
        options.threads,
        network.cpu_path(),
        options.frames
    );
    // The fastest, too: what a machine with other work has to spare changes from pair to pair.
    let of_first = times[0].clone();
    for ((name, _), times) in ways.iter().zip(&mut times) {
        let figure = |share: f64, times: &mut [Duration]| {
            let first_ms = quantile_ms(&mut of_first.clone(), share);
            let ms = quantile_ms(times, share);
            format!("{ms:8.1} ms ({:.3} of the first)", ms / first_ms)
        };
        println!(
            "{name:34} median {}, fastest {}",
            figure(0.5, times),
            figure(0.0, times)
        );
    }
    Ok(())
}

fn quantile_ms(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let place = ((times.len() as f64 - 1.0) * share).round() as usize;
    times
        .get(place)
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// Returns the most memory that this process has held, from Linux's `VmHWM`.
fn peak_memory_mb() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .context("no VmHWM")?;
    let kib = line.split_whitespace().nth(1).context("no number")?;
    Ok(kib.parse::<u64>()? / 1000)
}
