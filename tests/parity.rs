//! The network against its PyTorch twin: every named intermediate of the committed goldens, which were
//! made in f64 by `training/`.
//!
//! A golden holds samples of each intermediate, its shape, mean and L2 norm. Weights and images are made
//! here again by the generator that made them there, bit for bit.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use ecmnet_ros::network::{ECMNet, Weights};
use ecmnet_ros::ops::CpuPath;
use safetensors::SafeTensors;
use serde::Deserialize;

mod seeded;

use seeded::{bits, image_bytes, seeded_weights};

/// max|a - b| of an intermediate, as a share of max|b|: f32 sums of up to 1152 products through some
/// 130 layers against f64.
const TOLERANCE: f64 = 1e-4;

#[derive(Deserialize)]
struct Intermediate {
    name: String,
    shape: Vec<usize>,
    mean: f64,
    l2: f64,
    max_abs: f64,
}

struct Golden {
    weights: Weights,
    image: Tensor,
    intermediates: Vec<Intermediate>,
    bytes: Vec<u8>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/goldens")
}

impl Golden {
    fn read(name: &str) -> Result<Self> {
        let path = fixtures().join(format!("{name}.safetensors"));
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let (_, header) = SafeTensors::read_metadata(&bytes)?;
        let keys = header
            .metadata()
            .clone()
            .context("the golden has no metadata")?;
        let key = |key: &str| keys.get(key).with_context(|| format!("no {key}"));
        let [height, width, classes] = [
            key("height")?.parse()?,
            key("width")?.parse()?,
            key("classes")?.parse()?,
        ];
        let weights = match key("weights")?.as_str() {
            "seeded" => Weights::from_bytes(&seeded_weights(key("plan")?, classes)?)?,
            trained => {
                let file = format!("models/ecmnet_{trained}.safetensors");
                Weights::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file))?
            }
        };
        let (mean, std) = match key("weights")?.as_str() {
            "seeded" => ([128.0; 3], [64.0; 3]),
            _ => (weights.metadata().mean, weights.metadata().std),
        };
        let pixels = image_bytes(height, width);
        let values: Vec<f32> = (0..3 * height * width)
            .map(|i| {
                let (c, pixel) = (i / (height * width), i % (height * width));
                (f32::from(pixels[pixel * 3 + c]) - mean[c]) / std[c]
            })
            .collect();
        let image = Tensor::from_vec(values, (1, 3, height, width), &Device::Cpu)?;
        let intermediates = serde_json::from_str(key("intermediates")?)?;
        Ok(Self {
            weights,
            image,
            intermediates,
            bytes,
        })
    }

    /// Compares every intermediate of a traced forward pass on `path`; returns the worst error and its
    /// name.
    fn compare(&self, path: CpuPath) -> Result<(f64, String)> {
        let network = ECMNet::with_path(&self.weights, path)?;
        let traced = network.forward_traced(&self.image)?;
        let names: Vec<&str> = traced.iter().map(|(name, _)| name.as_str()).collect();
        let expected: Vec<&str> = self.intermediates.iter().map(|i| i.name.as_str()).collect();
        ensure!(
            names == expected,
            "the intermediates are {names:?}, not {expected:?}"
        );
        let traced: HashMap<_, _> = traced.into_iter().collect();
        let golden = SafeTensors::deserialize(&self.bytes)?;
        let mut worst = (0.0, String::new());
        for Intermediate {
            name,
            shape,
            mean,
            l2,
            max_abs,
        } in &self.intermediates
        {
            let tensor = &traced[name];
            ensure!(
                tensor.dims() == shape,
                "{name} is {:?}, not {shape:?}",
                tensor.dims()
            );
            let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
            let wide = || values.iter().map(|&x| f64::from(x));
            let count = values.len() as f64;
            let own_mean = wide().sum::<f64>() / count;
            let own_l2 = wide().map(|x| x * x).sum::<f64>().sqrt();
            // Where every element is within the tolerance, so are the mean and the root mean square.
            let slack = TOLERANCE * max_abs;
            ensure!(
                (own_mean - mean).abs() <= slack,
                "{name} has mean {own_mean}, not {mean}"
            );
            ensure!(
                (own_l2 - l2).abs() <= slack * count.sqrt(),
                "{name} has norm {own_l2}, not {l2}"
            );
            let samples = golden.tensor(name)?;
            let (samples, _) = samples.data().as_chunks::<2>();
            ensure!(samples.len() == values.len().min(4096));
            for (i, sample) in samples.iter().enumerate() {
                let exact = f64::from(i16::from_le_bytes(*sample)) * max_abs / 32767.0;
                let place = if values.len() <= 4096 {
                    i
                } else {
                    (bits(&format!("samples:{name}"), i as u64) % values.len() as u64) as usize
                };
                // Samples are stored to half a step of max|b| / 32767.
                let error = (f64::from(values[place]) - exact).abs() / max_abs;
                let error = (error - 0.5 / 32767.0).max(0.0);
                ensure!(
                    error <= TOLERANCE,
                    "{name}[{place}] is {}, not {exact}",
                    values[place]
                );
                if error > worst.0 {
                    worst = (error, name.clone());
                }
            }
        }
        Ok(worst)
    }
}

fn assert_parity(name: &str) -> Result<()> {
    let golden = Golden::read(name)?;
    let (error, worst) = golden.compare(CpuPath::best())?;
    eprintln!("{name}: largest error {error:.1e} of max|b|, at {worst}");
    Ok(())
}

#[test]
fn plan_a_agrees_at_360x480() -> Result<()> {
    assert_parity("seeded_a_360x480")
}

#[test]
fn plan_a_agrees_at_512x1024() -> Result<()> {
    assert_parity("seeded_a_512x1024")
}

#[test]
fn plan_a_agrees_at_odd_sizes() -> Result<()> {
    assert_parity("seeded_a_357x481")
}

#[test]
fn plan_b_agrees_at_360x480() -> Result<()> {
    assert_parity("seeded_b_360x480")
}

#[test]
fn plan_b_agrees_at_512x1024() -> Result<()> {
    assert_parity("seeded_b_512x1024")
}

#[test]
fn plan_b_agrees_at_odd_sizes() -> Result<()> {
    assert_parity("seeded_b_357x481")
}

#[test]
fn trained_weights_agree_at_360x480() -> Result<()> {
    assert_parity("camvid_a_360x480")
}

#[test]
fn trained_weights_agree_at_512x1024() -> Result<()> {
    assert_parity("camvid_a_512x1024")
}

#[test]
fn trained_weights_agree_at_odd_sizes() -> Result<()> {
    assert_parity("camvid_a_357x481")
}

#[test]
fn every_instruction_set_of_this_cpu_agrees() -> Result<()> {
    let golden = Golden::read("seeded_b_357x481")?;
    for path in CpuPath::available() {
        golden.compare(path).with_context(|| format!("{path:?}"))?;
    }
    Ok(())
}

#[test]
fn an_ordinary_forward_pass_equals_the_traced_one() -> Result<()> {
    let golden = Golden::read("seeded_b_357x481")?;
    let network = ECMNet::new(&golden.weights, &Device::Cpu)?;
    let mut traced = network.forward_traced(&golden.image)?;
    let (_, logits) = traced.pop().context("an empty trace")?;
    let values = |tensor: &Tensor| -> Result<Vec<f32>> { Ok(tensor.flatten_all()?.to_vec1()?) };
    let (traced, fused) = (values(&logits)?, values(&network.forward(&golden.image)?)?);
    let largest = traced.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    for (traced, fused) in traced.iter().zip(&fused) {
        // The fused stem and the fused EDABs round a few sums in another order.
        ensure!(
            (traced - fused).abs() <= 1e-5 * largest,
            "{fused} is not {traced}"
        );
    }
    Ok(())
}

#[test]
fn the_number_of_threads_does_not_change_a_byte() -> Result<()> {
    let golden = Golden::read("seeded_a_357x481")?;
    let network = ECMNet::new(&golden.weights, &Device::Cpu)?;
    let logits = |threads: usize| -> Result<Vec<u32>> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()?;
        let logits = pool.install(|| network.forward(&golden.image))?;
        let values: Vec<f32> = logits.flatten_all()?.to_vec1()?;
        Ok(values.into_iter().map(f32::to_bits).collect())
    };
    let one = logits(1)?;
    for threads in [2, 3, 7] {
        ensure!(
            logits(threads)? == one,
            "{threads} threads give other bytes"
        );
    }
    Ok(())
}

#[test]
fn images_of_any_size_and_networks_of_any_class_count_work() -> Result<()> {
    for (plan, classes) in [("A", 1), ("B", 19), ("A", 255)] {
        let weights = Weights::from_bytes(&seeded_weights(plan, classes)?)?;
        let network = ECMNet::new(&weights, &Device::Cpu)?;
        for (height, width) in [(1, 1), (1, 33), (31, 2), (17, 65)] {
            let image = Tensor::ones((1, 3, height, width), candle_core::DType::F32, &Device::Cpu)?;
            let logits = network.forward(&image)?;
            ensure!(logits.dims() == [1, classes, height, width]);
            let values: Vec<f32> = logits.flatten_all()?.to_vec1()?;
            ensure!(values.iter().all(|x| x.is_finite()));
        }
    }
    Ok(())
}

#[test]
fn tensors_that_are_no_image_are_refused() -> Result<()> {
    let network = ECMNet::new(
        &Weights::from_bytes(&seeded_weights("B", 2)?)?,
        &Device::Cpu,
    )?;
    for shape in [
        vec![1, 1, 32, 32],
        vec![2, 3, 32, 32],
        vec![3, 32, 32],
        vec![1, 3, 0, 32],
    ] {
        let image = Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu)?;
        ensure!(network.forward(&image).is_err());
    }
    let image = Tensor::zeros((1, 3, 32, 32), candle_core::DType::F64, &Device::Cpu)?;
    ensure!(network.forward(&image).is_err());
    Ok(())
}
