//! What the kernels' tests share: made maps, poisoned outputs, and the comparison with the CPU.

#![allow(clippy::print_stdout, reason = "the tests print what they measured")]

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use half::f16;

use super::driver::{Buffer, CudaError, Gpu, GpuLimits, Graph, Stream};
use super::map::{blocked_from_planes, planes_from_blocked};
use super::timing::microseconds_each;
use crate::network::Weights;
use crate::seeded::{bits, seeded_weights};

/// Sizes `[h, w]` that kernels trip over, and those of the network's maps.
pub(crate) const SIZES: [[usize; 2]; 12] = [
    [1, 1],
    [1, 7],
    [5, 3],
    [2, 2],
    [9, 8],
    [17, 33],
    [16, 16],
    [23, 30],
    [45, 60],
    [90, 120],
    [33, 257],
    [128, 256],
];

/// What small cards leave of a larger one.
pub(crate) const SMALL_CARD: GpuLimits = GpuLimits {
    shared_memory_bytes: Some(99 << 10),
    cluster_blocks: Some(0),
    no_overlap: false,
};

/// Returns the device with all of its shared memory, and with that of small cards.
pub(crate) fn gpu_and_small() -> Result<[Gpu; 2]> {
    Ok([
        Gpu::open(0, GpuLimits::default())?,
        Gpu::open(0, SMALL_CARD)?,
    ])
}

/// Returns the norm of the difference as a share of the reference's; NaN where any is.
pub(crate) fn difference(got: &[f32], want: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let off: f64 = (got.iter().zip(want))
        .map(|(got, want)| square(f64::from(*got) - f64::from(*want)))
        .sum();
    let all: f64 = want.iter().map(|want| square(f64::from(*want))).sum();
    (off / all.max(1e-30)).sqrt()
}

/// Returns made weights of plan A and 11 classes.
pub(crate) fn seeded() -> Result<Weights> {
    Ok(Weights::from_bytes(&seeded_weights("A", 11)?)?)
}

/// Returns `n` values in [-1, 1), always the same for one name.
pub(crate) fn made_values(name: &str, n: usize) -> Vec<f32> {
    let value = |i| (bits(name, i) >> 40) as f32 / 8_388_608.0 - 1.0;
    (0..n as u64).map(value).collect()
}

/// Returns a made map on the device, and the same values as a tensor `[1, c, h, w]`.
pub(crate) fn made_map(
    gpu: &Gpu,
    name: &str,
    channels: usize,
    size: [usize; 2],
) -> Result<(Buffer<f16>, Tensor)> {
    let area = size[0] * size[1];
    let map = blocked_from_planes(&made_values(name, channels * area), area);
    let buffer = Buffer::from_slice(gpu, &map)?;
    let tensor = tensor_from_map(&buffer, size)?;
    Ok((buffer, tensor))
}

/// Returns a buffer in which every value is NaN.
pub(crate) fn poisoned(gpu: &Gpu, len: usize) -> Result<Buffer<f16>> {
    let buffer = Buffer::new(gpu, len)?;
    buffer.fill_bytes(0xFF, &gpu.stream())?;
    Ok(buffer)
}

/// Returns a map of the device as a tensor `[1, c, h, w]`.
pub(crate) fn tensor_from_map(map: &Buffer<f16>, [height, width]: [usize; 2]) -> Result<Tensor> {
    let area = height * width;
    let planes = planes_from_blocked(&map.to_vec()?, area);
    let shape = (1, planes.len() / area, height, width);
    Ok(Tensor::from_vec(planes, shape, &Device::Cpu)?)
}

/// How far a result may be from the CPU's.
#[derive(Clone, Copy)]
pub(crate) struct Closeness {
    /// The norm of the difference, as a share of the CPU's norm.
    pub(crate) norm: f64,
    /// Any element's difference, as a share of the CPU's largest.
    pub(crate) largest: f64,
}

impl Closeness {
    /// Errs unless `got` is as close to `want`; NaN never is.
    pub(crate) fn check(self, what: &str, got: &Tensor, want: &Tensor) -> Result<()> {
        ensure!(got.dims() == want.dims(), "{what}: {:?}", got.dims());
        let [got, want] = [got, want].map(|tensor| tensor.flatten_all()?.to_vec1::<f32>());
        let (got, want) = (got?, want?);
        let (mut off, mut all, mut worst, mut largest) = (0.0, 0.0, 0.0_f64, 0.0_f64);
        for (got, want) in got.iter().zip(&want) {
            let (got, want) = (f64::from(*got), f64::from(*want));
            ensure!(got.is_finite(), "{what}: {got}");
            off += (got - want) * (got - want);
            all += want * want;
            worst = worst.max((got - want).abs());
            largest = largest.max(want.abs());
        }
        let norm = (off / f64::max(all, 1e-30)).sqrt();
        let worst = worst / largest.max(1e-15);
        println!("{what}: norm {norm:.1e}, largest {worst:.1e}");
        ensure!(norm < self.norm, "{what}: norm {norm:.2e}");
        ensure!(worst < self.largest, "{what}: largest {worst:.2e}");
        Ok(())
    }
}

/// Prints how long `work` takes, one of 20 in a graph.
pub(crate) fn print_times(
    gpu: &Gpu,
    what: &str,
    work: impl Fn(&Stream) -> Result<(), CudaError>,
) -> Result<()> {
    const COUNT: usize = 20;
    let graph = Graph::record(gpu, |stream| (0..COUNT).try_for_each(|_| work(stream)))?;
    let shared = gpu.shared_memory_bytes() >> 10;
    println!(
        "{what}, {shared} KB: {:.2} us",
        microseconds_each(gpu, &graph, COUNT)?
    );
    Ok(())
}
