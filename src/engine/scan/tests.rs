use half::f16;

use super::*;
use crate::engine::against_cpu::{made_values, print_times};
use crate::engine::driver::GpuLimits;

/// Returns `n` numbers between `low` and `high`, the same for the same name.
fn values(name: &str, n: usize, low: f32, high: f32) -> Vec<f32> {
    let to_range = |x: f32| low + (high - low) * 0.5 * (x + 1.0);
    made_values(name, n).into_iter().map(to_range).collect()
}

fn gpu(limits: GpuLimits) -> anyhow::Result<Gpu> {
    Ok(Gpu::open(0, limits)?)
}

fn weights(channels: usize, rank: usize, states: usize) -> ScanWeights {
    ScanWeights {
        channels,
        rank,
        states,
        delta_weights: values("delta weights", DIRECTIONS * channels * rank, -0.6, 0.6),
        delta_bias: values("delta bias", DIRECTIONS * channels, -5.0, -1.0),
        decay: values("decay", DIRECTIONS * channels * states, -15.0, -0.5),
        skip: values("skip", channels, 2.0, 6.0),
    }
}

/// The sum of the four directions, `[d, h w]`, step by step in f64.
fn reference(
    weights: &ScanWeights,
    u: &[f32],
    projected: &[f32],
    [height, width]: [usize; 2],
) -> Vec<f64> {
    let (d, n, r) = (weights.channels, weights.states, weights.rank);
    let length = height * width;
    let pitch = pitch(length);
    let mut y = vec![0.0; d * length];
    for (k, c) in (0..DIRECTIONS).flat_map(|k| (0..d).map(move |c| (k, c))) {
        let row = |row: usize| &projected[(k * (r + 2 * n) + row) * pitch..][..length];
        let mut state = vec![0.0; n];
        for step in 0..length {
            let order = if k < 2 { step } else { length - 1 - step };
            let pixel = match k % 2 {
                0 => order,
                _ => order % height * width + order / height,
            };
            let mut delta = f64::from(weights.delta_bias[k * d + c]);
            for j in 0..r {
                let weight = weights.delta_weights[(k * d + c) * r + j];
                delta += f64::from(weight) * f64::from(row(j)[order]);
            }
            let delta = delta.exp().ln_1p();
            let u = f64::from(u[(k % 2 * d + c) * pitch + order]);
            for (i, state) in state.iter_mut().enumerate() {
                let decay = f64::from(weights.decay[(k * d + c) * n + i]);
                let b = f64::from(row(r + i)[order]);
                *state = (delta * decay).exp() * *state + delta * u * b;
                y[c * length + pixel] += *state * f64::from(row(r + n + i)[order]);
            }
            if k == 0 {
                y[c * length + pixel] += f64::from(weights.skip[c]) * u;
            }
        }
    }
    y
}

/// Runs the scan twice on poisoned outputs; returns the largest error over the largest value.
fn error<T: ScanElement + Element>(
    gpu: &Gpu,
    weights: &ScanWeights,
    size: [usize; 2],
    narrowed: impl Fn(f32) -> T,
    widened: impl Fn(T) -> f32,
) -> anyhow::Result<f64> {
    let scan = Scan::<T>::new(gpu, weights)?;
    let (d, length) = (weights.channels, size[0] * size[1]);
    let pitch = pitch(length);
    let rounded = |name, rows: usize| -> (Vec<T>, Vec<f32>) {
        let mut all = values(name, rows * pitch, -2.0, 2.0);
        for row in all.chunks_exact_mut(pitch) {
            row[length..].fill(f32::NAN);
        }
        let narrow: Vec<T> = all.into_iter().map(&narrowed).collect();
        let wide = narrow.iter().map(|x| widened(*x)).collect();
        (narrow, wide)
    };
    let (u, wide_u) = rounded("u", 2 * d);
    let (projected, wide_projected) = rounded("projected", scan.projected_rows());
    let u = Buffer::from_slice(gpu, &u)?;
    let projected = Buffer::from_slice(gpu, &projected)?;
    let y = Buffer::<T>::new(gpu, DIRECTIONS * d * pitch)?;
    let mut runs = Vec::new();
    for _ in 0..2 {
        y.fill_bytes(0xFF, &gpu.stream())?;
        scan.launch(&gpu.stream(), [&u, &projected, &y], length)?;
        runs.push(y.to_vec()?.into_iter().map(&widened).collect::<Vec<f32>>());
    }
    let used = |run: &[f32]| -> Vec<u32> {
        run.chunks_exact(pitch)
            .flat_map(|row| row[..length].iter().map(|x| x.to_bits()))
            .collect()
    };
    anyhow::ensure!(used(&runs[0]) == used(&runs[1]), "two runs differ");
    let exact = reference(weights, &wide_u, &wide_projected, size);
    let (mut worst, mut largest) = (0.0_f64, 0.0_f64);
    for (i, exact) in exact.iter().enumerate() {
        let (c, pixel) = (i / length, i % length);
        let by_columns = pixel % size[1] * size[0] + pixel / size[1];
        let sum: f64 = (0..DIRECTIONS)
            .map(|k| {
                let order = [pixel, by_columns][k % 2];
                f64::from(runs[0][(k * d + c) * pitch + order])
            })
            .sum();
        anyhow::ensure!(sum.is_finite(), "{size:?}: y[{c}][{pixel}] was not written");
        worst = worst.max((sum - exact).abs());
        largest = largest.max(exact.abs());
    }
    Ok(worst / largest)
}

#[test]
fn the_scan_equals_its_reference_at_every_size_and_width() -> anyhow::Result<()> {
    let gpu = gpu(GpuLimits::default())?;
    let sizes = [
        [1, 1],
        [2, 1],
        [1, 7],
        [1, 9],
        [9, 1],
        [5, 7],
        [23, 30],
        [1, 255],
        [16, 16],
        [1, 257],
        [32, 32],
        [25, 41],
        [89, 23],
        [32, 64],
        [1, 2049],
        [45, 60],
        [64, 128],
    ];
    for (channels, rank, states) in [(1, 1, 1), (3, 2, 5), (37, 3, 16), (4, 4, 64)] {
        let weights = weights(channels, rank, states);
        for size in sizes {
            let f32_error = error::<f32>(&gpu, &weights, size, |x| x, |x| x)?;
            let f16_error = error::<f16>(&gpu, &weights, size, f16::from_f32, f16::to_f32)?;
            let case = format!("{channels} {rank} {states} {size:?}");
            // The device's 2^x is off by 2^-22 a factor, over the few dozen steps that a state lives.
            assert!(f32_error < 1e-5, "{case}: {f32_error}");
            // Four values rounded to f16, 2^-12 of each, of which the largest may exceed their sum.
            assert!(f16_error < 1e-3, "{case}: {f16_error}");
        }
    }
    Ok(())
}

#[test]
fn the_longest_map_carries_its_states_across_every_chunk() -> anyhow::Result<()> {
    let gpu = gpu(GpuLimits::default())?;
    let mut weights = weights(2, 3, 16);
    // Slow decay: a state lives for thousands of steps, so each chunk hands over something.
    weights.decay = values("decay", weights.decay.len(), -0.02, -0.005);
    weights.delta_bias.fill(-3.0);
    for size in [[256, 256], [1, 65_536], [255, 257]] {
        let error = error::<f32>(&gpu, &weights, size, |x| x, |x| x)?;
        // Thousands of live terms, each with the rounding of its own product of factors.
        assert!(error < 1e-4, "{size:?}: {error}");
    }
    Ok(())
}

#[test]
fn the_scan_fits_cards_with_less_shared_memory() -> anyhow::Result<()> {
    for kilobytes in [99, 64] {
        let gpu = gpu(GpuLimits {
            shared_memory_bytes: Some(kilobytes << 10),
            ..GpuLimits::default()
        })?;
        let weights = weights(5, 3, 16);
        for size in [[23, 30], [45, 60]] {
            if kilobytes == 99 {
                assert!(error::<f32>(&gpu, &weights, size, |x| x, |x| x)? < 1e-5);
            }
            assert!(error::<f16>(&gpu, &weights, size, f16::from_f32, f16::to_f32)? < 1e-3);
        }
    }
    Ok(())
}

#[test]
fn sizes_beyond_the_kernel_are_refused() -> anyhow::Result<()> {
    let gpu = gpu(GpuLimits::default())?;
    let too_many = Scan::<f32>::new(&gpu, &weights(1, 1, 65));
    assert!(matches!(
        too_many.err(),
        Some(CudaError::Limit { limit: 64, .. })
    ));
    let scan = Scan::<f32>::new(&gpu, &weights(1, 1, 1))?;
    let small = Buffer::new(&gpu, 16)?;
    let launched = scan.launch(&gpu.stream(), [&small, &small, &small], 16);
    assert!(matches!(launched, Err(CudaError::Size { .. })));
    let empty = scan.launch(&gpu.stream(), [&small, &small, &small], 0);
    assert!(matches!(empty, Err(CudaError::Size { .. })));
    Ok(())
}

#[test]
#[ignore = "prints times instead of testing"]
fn microseconds_of_the_scan() -> anyhow::Result<()> {
    fn time<T: ScanElement + Element>(
        gpu: &Gpu,
        narrowed: impl Fn(f32) -> T,
    ) -> anyhow::Result<()> {
        let weights = weights(96, 3, 16);
        let scan = Scan::<T>::new(gpu, &weights)?;
        for size in [[23, 30], [32, 64], [64, 64], [64, 128]] {
            let length = size[0] * size[1];
            let pitch = pitch(length);
            let buffer = |name, rows: usize| {
                let all = values(name, rows * pitch, -2.0, 2.0);
                Buffer::from_slice(gpu, &all.into_iter().map(&narrowed).collect::<Vec<T>>())
            };
            let u = buffer("u", 2 * 96)?;
            let projected = buffer("projected", scan.projected_rows())?;
            let y = Buffer::<T>::new(gpu, DIRECTIONS * 96 * pitch)?;
            let what = format!("scan of {} bytes {size:?}", size_of::<T>());
            print_times(gpu, &what, |stream| {
                scan.launch(stream, [&u, &projected, &y], length)
            })?;
        }
        Ok(())
    }
    let gpu = gpu(GpuLimits::default())?;
    time::<f16>(&gpu, f16::from_f32)?;
    time::<f32>(&gpu, |x| x)
}
