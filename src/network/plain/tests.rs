use anyhow::{Context, ensure};
use candle_core::{Device, Tensor};

use super::*;
use crate::network::ECMNet;
use crate::seeded::{image_bytes, seeded_weights};

/// The largest difference of two values of a tensor, as a share of the tensor's largest value: both forms
/// sum in f32, in another order, through some 200 maps one after the other.
const TOLERANCE: f32 = 1e-5;

fn made_image([height, width]: [usize; 2]) -> anyhow::Result<Tensor> {
    let pixels = image_bytes(height, width);
    let value = |c: usize, i: usize| (f32::from(pixels[i * 3 + c]) - 128.0) / 64.0;
    let area = height * width;
    let planes: Vec<f32> = (0..3 * area).map(|i| value(i / area, i % area)).collect();
    Ok(Tensor::from_vec(
        planes,
        (1, 3, height, width),
        &Device::Cpu,
    )?)
}

/// Compares every intermediate of the plain network, as `traced` gives them, with the fused network's.
fn compare(
    sizes: &[[usize; 2]],
    traced: impl Fn(&Weights, &Tensor) -> anyhow::Result<Vec<(String, Tensor)>>,
) -> anyhow::Result<()> {
    for (plan, &size) in ["A", "B"]
        .iter()
        .flat_map(|plan| sizes.iter().map(move |s| (plan, s)))
    {
        let weights = Weights::from_bytes(&seeded_weights(plan, 11)?)?;
        let image = made_image(size)?;
        let want = ECMNet::new(&weights, &Device::Cpu)?.forward_traced(&image)?;
        let got = traced(&weights, &image)?;
        let got: HashMap<String, Tensor> = got.into_iter().collect();
        ensure!(got.len() == want.len(), "{} of {}", got.len(), want.len());
        let mut worst = (0.0, String::new());
        for (name, want) in want {
            let got = got.get(&name).with_context(|| name.clone())?;
            ensure!(got.dims() == want.dims(), "{name}: {:?}", got.dims());
            let largest = want.abs()?.max_all()?.to_scalar::<f32>()?;
            let differences = (got.to_device(&Device::Cpu)? - &want)?.abs()?;
            let off = differences.max_all()?.to_scalar::<f32>()? / largest;
            // Candle's maximum may pass over a NaN; a sum does not.
            let is_finite = differences.sum_all()?.to_scalar::<f32>()?.is_finite();
            ensure!(is_finite, "plan {plan} {size:?} {name}: not finite");
            if off > worst.0 {
                worst = (off, name);
            }
        }
        let (off, name) = worst;
        eprintln!("plan {plan} {size:?}: off by {off:.1e} of the largest value at most, in {name}");
        ensure!(off < TOLERANCE, "plan {plan} {size:?} {name}: {off}");
    }
    Ok(())
}

#[test]
fn every_tensor_equals_the_fused_networks() -> anyhow::Result<()> {
    compare(&[[90, 120], [57, 81], [7, 5], [1, 1]], |weights, image| {
        let mut trace = Trace::on();
        let low = PlainNet::new(weights, &Device::Cpu)?.forward_low(image, &mut trace)?;
        let [height, width] = size_of(image)?;
        trace.add("logits", &low.upsample_bilinear2d(height, width, false)?)?;
        Ok(trace.into_tensors())
    })
}

#[cfg(feature = "candle-cuda")]
#[test]
fn every_tensor_on_candles_cuda_device_equals_the_cpus() -> anyhow::Result<()> {
    let device = Device::new_cuda(0)?;
    let sizes = [[360, 480], [357, 481], [512, 1024], [33, 65], [7, 5]];
    compare(&sizes, |weights, image| {
        let network = ECMNet::new(weights, &device)?;
        Ok(network.forward_traced(&image.to_device(&device)?)?)
    })
}

#[cfg(feature = "candle-cuda")]
#[test]
#[ignore = "prints times instead of testing"]
fn milliseconds_of_a_forward_pass_on_candles_cuda_device() -> anyhow::Result<()> {
    use std::time::Instant;

    let device = Device::new_cuda(0)?;
    for (plan, size) in [("A", [360, 480]), ("A", [512, 1024]), ("B", [1024, 1024])] {
        let weights = Weights::from_bytes(&seeded_weights(plan, 11)?)?;
        let network = ECMNet::new(&weights, &device)?;
        let image = made_image(size)?.to_device(&device)?;
        let mut times_ms = Vec::new();
        for _ in 0..31 {
            let start = Instant::now();
            network.forward(&image)?;
            device.synchronize()?;
            times_ms.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let first = times_ms.remove(0);
        times_ms.sort_by(f64::total_cmp);
        let [p50, p95] = [15, 28].map(|i| times_ms[i]);
        eprintln!("plan {plan} {size:?}: first {first:.0} ms, p50 {p50:.2}, p95 {p95:.2}");
    }
    Ok(())
}
