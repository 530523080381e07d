//! `make agree-cuda`: the CUDA engine's masks beside those of the CPU's f32 network on labelled frames.
//! Exit status 1 where they differ by more than the bounds.
//!
//! The frames should be of a drive that the weights were not trained on: where a network has learnt the
//! frames by heart its classes lie further apart than a vehicle will find them.

#![allow(clippy::print_stdout, reason = "a program prints its result")]

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use ecmnet_ros::eval::{LabelImage, ListFrames, Score, Step};
use ecmnet_ros::{DeviceChoice, NetworkSize, Segmenter, SegmenterOptions};

/// Least share of pixels that have the same class.
const EQUAL_PIXELS: f64 = 0.998;

/// Most that a class's IoU may differ.
const CLASS_IOU: f64 = 0.003;

/// Most that the mean IoU may differ.
const MIOU: f64 = 0.001;

#[derive(Parser)]
struct Arguments {
    /// Weights file
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// File of lines `image label`
    #[arg(long, value_name = "FILE")]
    list: PathBuf,
    /// Folder that the list's names are relative to
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Use the frames whose file name begins with this
    #[arg(long, value_name = "PREFIX", default_value = "")]
    drive: String,
    /// Use every Nth frame
    #[arg(long, value_name = "N", default_value = "1")]
    every: usize,
    /// Size at which the network sees an image; may be given more than once
    #[arg(long, value_name = "HxW", default_values = ["360x480", "512x1024", "1024x1024"])]
    size: Vec<NetworkSize>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut beyond = Vec::new();
    for size in &arguments.size {
        let agreement = Agreement::measure(&arguments, *size)?;
        println!("{size}: {}", agreement.table());
        if !agreement.is_within_bounds() {
            beyond.push(size.to_string());
        }
    }
    if !beyond.is_empty() {
        bail!(
            "at {} the masks differ by more than {:.1} % of pixels, {:.1} points of a class's IoU \
             or {:.1} of the mean",
            beyond.join(", "),
            100.0 * (1.0 - EQUAL_PIXELS),
            100.0 * CLASS_IOU,
            100.0 * MIOU
        );
    }
    Ok(())
}

/// What both gave on the same frames.
struct Agreement {
    classes: Vec<String>,
    cpu: Score,
    cuda: Score,
    equal_pixels: u64,
    pixels: u64,
}

impl Agreement {
    fn measure(arguments: &Arguments, network_size: NetworkSize) -> Result<Self> {
        let segmenter = |device| {
            Segmenter::new(&SegmenterOptions {
                weights: arguments.weights.clone(),
                device,
                threads: None,
                network_size,
            })
        };
        let (cpu, cuda) = (
            segmenter(DeviceChoice::Cpu)?,
            segmenter(DeviceChoice::Cuda(0))?,
        );
        let score = Score::new(cpu.classes());
        let mut agreement = Self {
            classes: cpu.classes().names.clone(),
            cpu: score.clone(),
            cuda: score,
            equal_pixels: 0,
            pixels: 0,
        };
        for step in ListFrames::new(&arguments.list, &arguments.root, arguments.every)? {
            let Step::Frame(frame) = step? else {
                bail!("a frame of the list cannot be read");
            };
            let file = frame.name.rsplit('/').next().unwrap_or_default();
            if !file.starts_with(&arguments.drive) {
                continue;
            }
            let view = frame.picture.view()?;
            let masks = [cpu.run(&view, false)?.mask, cuda.run(&view, false)?.mask];
            let [from_cpu, from_cuda] = masks.map(|mask| LabelImage {
                width: mask.width,
                height: mask.height,
                ids: mask.ids,
            });
            let pairs = from_cpu.ids.iter().zip(&from_cuda.ids);
            agreement.equal_pixels += pairs.filter(|(cpu, cuda)| cpu == cuda).count() as u64;
            agreement.pixels += from_cpu.ids.len() as u64;
            let truth = frame.truth.as_ref();
            agreement.cpu.add(&frame.name, truth, &from_cpu)?;
            agreement.cuda.add(&frame.name, truth, &from_cuda)?;
        }
        ensure!(agreement.pixels > 0, "no frame of the list was used");
        agreement
            .miou()
            .context("no pixel of the frames has a label")?;
        Ok(agreement)
    }

    /// Returns the CPU's mean IoU and the GPU's; `None` where nothing is labelled.
    fn miou(&self) -> Option<[f64; 2]> {
        Some([self.cpu.confusion.miou()?, self.cuda.confusion.miou()?])
    }

    /// Returns each class's IoU from the CPU and from the GPU.
    fn iou(&self) -> Vec<[Option<f64>; 2]> {
        let (cpu, cuda) = (self.cpu.confusion.iou(), self.cuda.confusion.iou());
        cpu.into_iter().zip(cuda).map(|(a, b)| [a, b]).collect()
    }

    fn share_equal(&self) -> f64 {
        self.equal_pixels as f64 / self.pixels as f64
    }

    /// Returns whether the masks are as near as the bounds ask; a class that one of them alone has is not.
    fn is_within_bounds(&self) -> bool {
        let near = |[a, b]: [f64; 2], bound: f64| (a - b).abs() <= bound;
        self.share_equal() >= EQUAL_PIXELS
            && self.miou().is_some_and(|miou| near(miou, MIOU))
            && self.iou().iter().all(|iou| match *iou {
                [Some(cpu), Some(cuda)] => near([cpu, cuda], CLASS_IOU),
                [cpu, cuda] => cpu.is_none() && cuda.is_none(),
            })
    }

    fn table(&self) -> String {
        let percent = |share: Option<f64>| match share {
            Some(share) => format!("{:>8.2}", 100.0 * share),
            None => format!("{:>8}", "-"),
        };
        let line = |name: &str, [cpu, cuda]: [Option<f64>; 2]| {
            let off = cpu.zip(cuda).map(|(cpu, cuda)| cuda - cpu);
            let off = off.map_or(String::new(), |off| format!("{:>+9.3}", 100.0 * off));
            format!("\n  {name:<12}{}{}{off}", percent(cpu), percent(cuda))
        };
        let mut text = format!(
            "{} frames, {:.3} % of {} pixels equal\n  {:<12}{:>8}{:>8}{:>9}",
            self.cpu.frames,
            100.0 * self.share_equal(),
            self.pixels,
            "IoU, %",
            "CPU",
            "CUDA",
            "apart"
        );
        for (name, iou) in self.classes.iter().zip(self.iou()) {
            text += &line(name, iou);
        }
        let miou = self.miou().map_or([None; 2], |miou| miou.map(Some));
        text + &line("mean", miou)
    }
}
