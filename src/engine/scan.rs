//! The selective scan of SS2D on the device (`kernels/scan.cu`), for f16 and f32 maps.

use half::f16;

use super::driver::{Buffer, CudaError, Element, Gpu, Kernel, Launch, Stream};
use crate::ops::{DIRECTIONS, STATES, SelectiveScan};

/// Rows of device memory hold a multiple of so many elements.
const PITCH: usize = 16;
/// Channels of a block.
const CHANNELS: usize = 3;
/// Warps that share a channel, each with four states of every slab.
const GROUPS: usize = 4;
const SLAB: usize = 16;
const LANES: usize = 32;
const MAX_RANK: usize = 4;
const MAX_STATES: usize = 64;
const MAX_LENGTH: usize = 1 << 16;
/// Up to here a thread takes 8 steps, so that short maps waste fewer.
const SHORT_LENGTH: usize = 1024;

/// An element type that the scan reads and writes.
pub(crate) trait ScanElement: Element {
    /// The compilations of the kernel that read it, the one for long maps first.
    const VARIANTS: [Variant; 2];
}

impl ScanElement for f16 {
    const VARIANTS: [Variant; 2] = [
        Variant::new("scan_f16_16", 16),
        Variant::new("scan_f16_8", 8),
    ];
}

impl ScanElement for f32 {
    const VARIANTS: [Variant; 2] = [
        Variant::new("scan_f32_16", 16),
        Variant::new("scan_f32_8", 8),
    ];
}

/// One compilation of the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Variant {
    name: &'static str,
    /// Consecutive steps of a thread.
    steps: usize,
}

impl Variant {
    const fn new(name: &'static str, steps: usize) -> Self {
        Self { name, steps }
    }

    /// Returns the dynamic shared memory of a block, for elements of `element_bytes`.
    fn shared_bytes(&self, element_bytes: usize) -> usize {
        let chunk = LANES * self.steps;
        let ring = 2 * (2 * SLAB + MAX_RANK) * chunk * element_bytes;
        let deltas_and_sums = (2 * 2 + GROUPS) * CHANNELS * chunk * size_of::<f32>();
        let decay_and_carried = 2 * CHANNELS * SLAB * size_of::<f32>();
        ring + deltas_and_sums + decay_and_carried
    }
}

/// The scan's weights as PyTorch has them.
#[derive(Clone, Debug)]
pub(crate) struct ScanWeights {
    /// Channels d.
    pub(crate) channels: usize,
    /// Rank r of delta's projection.
    pub(crate) rank: usize,
    /// States n of a channel.
    pub(crate) states: usize,
    /// `[k, d, r]`.
    pub(crate) delta_weights: Vec<f32>,
    /// `[k, d]`.
    pub(crate) delta_bias: Vec<f32>,
    /// A, negative, `[k, d, n]`.
    pub(crate) decay: Vec<f32>,
    /// D summed over directions, `[d]`.
    pub(crate) skip: Vec<f32>,
}

impl From<&SelectiveScan> for ScanWeights {
    fn from(scan: &SelectiveScan) -> Self {
        let d = scan.channels;
        let channels_first = |values: &[f32], rows: usize| -> Vec<f32> {
            let of_direction = |k: usize| &values[k * rows * d..(k + 1) * rows * d];
            (0..DIRECTIONS)
                .flat_map(|k| (0..d).map(move |c| (k, c)))
                .flat_map(|(k, c)| (0..rows).map(move |row| of_direction(k)[row * d + c]))
                .collect()
        };
        Self {
            channels: d,
            rank: scan.rank,
            states: STATES,
            delta_weights: channels_first(&scan.delta_weights, scan.rank),
            delta_bias: scan.delta_bias.clone(),
            decay: channels_first(&scan.decay, STATES),
            skip: scan.skip.clone(),
        }
    }
}

/// The scan of one layer: weights on the device, and its kernels.
pub(crate) struct Scan<T> {
    channels: usize,
    rank: usize,
    states: usize,
    delta_weights: Buffer<f32>,
    delta_bias: Buffer<f32>,
    decay: Buffer<f32>,
    skip: Buffer<f32>,
    kernels: [(Variant, Kernel); 2],
    shared_limit: usize,
    element: std::marker::PhantomData<T>,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Params {
    u: u64,
    projected: u64,
    delta_weights: u64,
    delta_bias: u64,
    decay: u64,
    skip: u64,
    y: u64,
    length: i32,
    pitch: i32,
    channels: i32,
    rank: i32,
    states: i32,
}

/// Returns the elements of a row of `length` steps in device memory.
pub(crate) fn pitch(length: usize) -> usize {
    length.next_multiple_of(PITCH)
}

impl<T: ScanElement> Scan<T> {
    /// Puts the weights on the device.
    ///
    /// Errs if they have more than 64 states or a rank of more than 4, or are of uneven lengths.
    pub(crate) fn new(gpu: &Gpu, weights: &ScanWeights) -> Result<Self, CudaError> {
        let &ScanWeights {
            channels: d,
            rank,
            states,
            ..
        } = weights;
        within("the scan's channels", 1 << 16, d)?;
        within("the rank of the scan's delta", MAX_RANK, rank)?;
        within("the scan's states", MAX_STATES, states)?;
        for (what, values, expected) in [
            (
                "dt_projs_weight",
                &weights.delta_weights,
                DIRECTIONS * d * rank,
            ),
            ("dt_projs_bias", &weights.delta_bias, DIRECTIONS * d),
            ("A_logs", &weights.decay, DIRECTIONS * d * states),
            ("Ds", &weights.skip, d),
        ] {
            if values.len() != expected {
                let got = values.len();
                return Err(CudaError::Size {
                    what,
                    expected,
                    got,
                });
            }
        }
        let base2 = |a: &f32| (f64::from(*a) * std::f64::consts::LOG2_E) as f32;
        let decay: Vec<f32> = weights.decay.iter().map(base2).collect();
        let [long, short] = T::VARIANTS;
        let kernels = [
            (long, gpu.kernel("scan", long.name)?),
            (short, gpu.kernel("scan", short.name)?),
        ];
        Ok(Self {
            channels: d,
            rank,
            states,
            delta_weights: Buffer::from_slice(gpu, &weights.delta_weights)?,
            delta_bias: Buffer::from_slice(gpu, &weights.delta_bias)?,
            decay: Buffer::from_slice(gpu, &decay)?,
            skip: Buffer::from_slice(gpu, &weights.skip)?,
            kernels,
            shared_limit: gpu.shared_memory_bytes() as usize,
            element: std::marker::PhantomData,
        })
    }

    /// Returns the rows of `projected`: dt, B and C of the four directions.
    pub(crate) fn projected_rows(&self) -> usize {
        DIRECTIONS * (self.rank + 2 * self.states)
    }

    /// Scans u `[2, d, pitch]`, by rows and by columns, as `projected` `[4 (r + 2 n), pitch]` steers it, into
    /// y `[4, d, pitch]`: all in the directions' own orders, see `kernels/scan.cu`.
    ///
    /// Errs if a buffer is too small for `length` pixels, or these are none or more than 65,536.
    pub(crate) fn launch(
        &self,
        stream: &Stream,
        [u, projected, y]: [&Buffer<T>; 3],
        length: usize,
    ) -> Result<(), CudaError> {
        let pitch = pitch(length);
        within("the scan's length", MAX_LENGTH, length)?;
        u.check_len("the scan's u", 2 * self.channels * pitch)?;
        projected.check_len("the scan's projections", self.projected_rows() * pitch)?;
        y.check_len("the scan's y", DIRECTIONS * self.channels * pitch)?;
        let (kernel, shared_bytes) = self.plan(length)?;
        let parameters = Params {
            u: u.address(),
            projected: projected.address(),
            delta_weights: self.delta_weights.address(),
            delta_bias: self.delta_bias.address(),
            decay: self.decay.address(),
            skip: self.skip.address(),
            y: y.address(),
            length: length as i32,
            pitch: pitch as i32,
            channels: self.channels as i32,
            rank: self.rank as i32,
            states: self.states as i32,
        };
        let grid = [
            self.channels.div_ceil(CHANNELS) as u32,
            DIRECTIONS as u32,
            1,
        ];
        let threads = (CHANNELS * GROUPS * LANES) as u32;
        let launch = Launch::new(grid, threads, shared_bytes as u32);
        // SAFETY: Params is the kernel's; every buffer has the length that the kernel reads or writes.
        unsafe { kernel.launch(stream, &launch, &parameters) }
    }

    /// Returns the kernel for maps of `length` and its shared memory.
    fn plan(&self, length: usize) -> Result<(Kernel, usize), CudaError> {
        let [long, short] = self.kernels;
        let bytes = |variant: Variant| variant.shared_bytes(size_of::<T>());
        let fits = bytes(long.0) <= self.shared_limit;
        let (variant, kernel) = match fits && length > SHORT_LENGTH {
            true => long,
            false => short,
        };
        within(
            "the scan's shared memory in bytes",
            self.shared_limit,
            bytes(variant),
        )?;
        Ok((kernel, bytes(variant)))
    }
}

/// Errs unless `got` is at least 1 and at most `limit`.
fn within(what: &'static str, limit: usize, got: usize) -> Result<(), CudaError> {
    match got {
        0 => Err(CudaError::Size {
            what,
            expected: 1,
            got,
        }),
        _ if got > limit => Err(CudaError::Limit { what, limit, got }),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::driver::{Event, GpuLimits, Graph};
    use super::*;

    /// Returns `n` numbers between `low` and `high` that look random, the same for the same seed.
    pub(in crate::engine) fn values(seed: u64, n: usize, low: f32, high: f32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
        let mut unit = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1_u32 << 24) as f32
        };
        (0..n).map(|_| low + (high - low) * unit()).collect()
    }

    /// Returns the microseconds of one of `nodes` like launches in one graph: the median of 100 replays.
    pub(in crate::engine) fn microseconds(
        gpu: &Gpu,
        nodes: usize,
        launch: impl Fn(&Stream) -> Result<(), CudaError>,
    ) -> Result<f32, CudaError> {
        let graph = Graph::record(gpu, |stream| (0..nodes).try_for_each(|_| launch(stream)))?;
        let (start, end) = (Event::timed(gpu)?, Event::timed(gpu)?);
        // An idle GPU clocks down; it is up again after some tenths of a second.
        let warm = std::time::Instant::now();
        while warm.elapsed().as_millis() < 300 {
            (0..20).try_for_each(|_| graph.launch())?;
            gpu.stream().synchronise()?;
        }
        let mut times = Vec::new();
        for _ in 0..100 {
            start.record(&gpu.stream())?;
            graph.launch()?;
            end.record(&gpu.stream())?;
            gpu.stream().synchronise()?;
            times.push(end.milliseconds_since(&start)? * 1e3 / nodes as f32);
        }
        times.sort_by(f32::total_cmp);
        Ok(times[times.len() / 2])
    }

    fn gpu(limits: GpuLimits) -> anyhow::Result<Gpu> {
        Ok(Gpu::open(0, limits)?)
    }

    fn weights(channels: usize, rank: usize, states: usize) -> ScanWeights {
        ScanWeights {
            channels,
            rank,
            states,
            delta_weights: values(1, DIRECTIONS * channels * rank, -0.6, 0.6),
            delta_bias: values(2, DIRECTIONS * channels, -5.0, -1.0),
            decay: values(3, DIRECTIONS * channels * states, -15.0, -0.5),
            skip: values(4, channels, 2.0, 6.0),
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
    fn error<T: ScanElement>(
        gpu: &Gpu,
        weights: &ScanWeights,
        size: [usize; 2],
        narrowed: impl Fn(f32) -> T,
        widened: impl Fn(T) -> f32,
    ) -> anyhow::Result<f64> {
        let scan = Scan::<T>::new(gpu, weights)?;
        let (d, length) = (weights.channels, size[0] * size[1]);
        let pitch = pitch(length);
        let rounded = |seed, rows: usize| -> (Vec<T>, Vec<f32>) {
            let mut all = values(seed, rows * pitch, -2.0, 2.0);
            for row in all.chunks_exact_mut(pitch) {
                row[length..].fill(f32::NAN);
            }
            let narrow: Vec<T> = all.into_iter().map(&narrowed).collect();
            let wide = narrow.iter().map(|x| widened(*x)).collect();
            (narrow, wide)
        };
        let (u, wide_u) = rounded(5, 2 * d);
        let (projected, wide_projected) = rounded(6, scan.projected_rows());
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
        weights.decay = values(3, weights.decay.len(), -0.02, -0.005);
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
    #[ignore = "prints times"]
    fn times() -> anyhow::Result<()> {
        fn time<T: ScanElement>(gpu: &Gpu, narrowed: impl Fn(f32) -> T) -> anyhow::Result<()> {
            let weights = weights(96, 3, 16);
            let mut scan = Scan::<T>::new(gpu, &weights)?;
            let own = scan.kernels;
            for size in [[23, 30], [32, 64], [64, 64], [64, 128]] {
                let length = size[0] * size[1];
                let pitch = pitch(length);
                let buffer = |seed, rows: usize| {
                    let all = values(seed, rows * pitch, -2.0, 2.0);
                    Buffer::from_slice(gpu, &all.into_iter().map(&narrowed).collect::<Vec<T>>())
                };
                let u = buffer(5, 2 * 96)?;
                let projected = buffer(6, scan.projected_rows())?;
                let y = Buffer::<T>::new(gpu, DIRECTIONS * 96 * pitch)?;
                for variants in [own, [own[0]; 2], [own[1]; 2]] {
                    scan.kernels = variants;
                    let us = microseconds(gpu, 20, |stream| {
                        scan.launch(stream, [&u, &projected, &y], length)
                    })?;
                    let steps = variants.map(|(variant, _)| variant.steps);
                    eprintln!(
                        "scan {} bytes {size:?} {steps:?}: {us:.2} us",
                        size_of::<T>()
                    );
                }
            }
            Ok(())
        }
        let gpu = gpu(GpuLimits::default())?;
        time::<f16>(&gpu, f16::from_f32)?;
        time::<f32>(&gpu, |x| x)
    }

    #[test]
    #[ignore = "tmp"]
    fn profile() -> anyhow::Result<()> {
        let gpu = gpu(GpuLimits::default())?;
        let weights = weights(96, 3, 16);
        let scan = Scan::<f16>::new(&gpu, &weights)?;
        let size = [64, 128];
        let length = size[0] * size[1];
        let pitch = pitch(length);
        let buffer = |seed, rows: usize| {
            let all = values(seed, rows * pitch, -2.0, 2.0);
            Buffer::from_slice(
                &gpu,
                &all.into_iter().map(f16::from_f32).collect::<Vec<f16>>(),
            )
        };
        let u = buffer(5, 2 * 96)?;
        let projected = buffer(6, scan.projected_rows())?;
        let y = Buffer::<f16>::new(&gpu, DIRECTIONS * 96 * pitch)?;
        for _ in 0..4 {
            scan.launch(&gpu.stream(), [&u, &projected, &y], length)?;
        }
        gpu.stream().synchronise()?;
        Ok(())
    }
}
