//! `make parity`: every element of every intermediate against the PyTorch twin's, from the files that
//! `ecmnet_training.goldens --whole` wrote. Exit status 1 where one is further off than the tolerance.

#![allow(clippy::print_stdout, reason = "a program prints its result")]

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use ecmnet_ros::network::{ECMNet, Weights};
use safetensors::SafeTensors;

#[path = "../tests/seeded/mod.rs"]
mod seeded;

/// max|a - b| of an intermediate as a share of max|b|, as in `tests/parity.rs`.
const TOLERANCE: f32 = 1e-4;

fn main() -> Result<()> {
    let folder = std::env::args()
        .nth(1)
        .context("usage: parity_whole FOLDER")?;
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|end| end == "safetensors"));
    files.sort();
    ensure!(!files.is_empty(), "{folder} holds no fixture");
    let mut worst = 0.0_f32;
    for file in &files {
        worst = worst.max(compare(file).with_context(|| file.display().to_string())?);
    }
    if worst > TOLERANCE {
        bail!("the largest error is {worst:.1e} of max|b|, more than {TOLERANCE:.0e}");
    }
    println!(
        "{} files agree; largest error {worst:.1e} of max|b|",
        files.len()
    );
    Ok(())
}

/// Returns the largest error of one forward pass and prints where it is.
fn compare(file: &Path) -> Result<f32> {
    let bytes = std::fs::read(file)?;
    let (_, header) = SafeTensors::read_metadata(&bytes)?;
    let keys = header.metadata().clone().context("no metadata")?;
    let key = |key: &str| keys.get(key).with_context(|| format!("no {key}"));
    let (height, width) = (key("height")?.parse()?, key("width")?.parse()?);
    let (weights, mean, std) = match key("weights")?.as_str() {
        "seeded" => {
            let made = seeded::seeded_weights(key("plan")?, key("classes")?.parse()?)?;
            (Weights::from_bytes(&made)?, [128.0; 3], [64.0; 3])
        }
        trained => {
            let name = format!("models/ecmnet_{trained}.safetensors");
            let weights = Weights::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join(name))?;
            let (mean, std) = (weights.metadata().mean, weights.metadata().std);
            (weights, mean, std)
        }
    };
    let pixels = Tensor::from_vec(
        seeded::image_bytes(height, width),
        (height, width, 3),
        &Device::Cpu,
    )?;
    let channel = |values: [f32; 3]| Tensor::new(&values, &Device::Cpu);
    let image = pixels
        .to_dtype(candle_core::DType::F32)?
        .broadcast_sub(&channel(mean)?)?
        .broadcast_div(&channel(std)?)?
        .permute((2, 0, 1))?
        .unsqueeze(0)?
        .contiguous()?;

    let golden = SafeTensors::deserialize(&bytes)?;
    let traced = ECMNet::new(&weights, &Device::Cpu)?.forward_traced(&image)?;
    ensure!(
        traced.len() == golden.len(),
        "{} intermediates, not {}",
        traced.len(),
        golden.len()
    );
    let (mut worst, mut place) = (0.0_f32, String::new());
    for (name, tensor) in traced {
        let expected = golden.tensor(&name)?;
        ensure!(
            tensor.dims() == expected.shape(),
            "{name} is {:?}",
            tensor.dims()
        );
        let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
        let (expected, _) = expected.data().as_chunks::<4>();
        let expected: Vec<f32> = expected
            .iter()
            .map(|raw| f32::from_le_bytes(*raw))
            .collect();
        let scale = expected.iter().fold(0.0_f32, |max, b| max.max(b.abs()));
        // `f32::max` would pass over a NaN.
        ensure!(values.iter().all(|a| a.is_finite()), "{name} is not finite");
        let error = values
            .iter()
            .zip(&expected)
            .fold(0.0_f32, |max, (a, b)| max.max((a - b).abs()));
        if error / scale > worst {
            (worst, place) = (error / scale, name);
        }
    }
    println!(
        "{}: largest error {worst:.1e} of max|b|, at {place}",
        file.display()
    );
    Ok(worst)
}
