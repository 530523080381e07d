//! The selective scan of SS2D on the device (`kernels/scan.cu`), for f16 and f32 maps.

use half::f16;

use super::driver::{Buffer, CudaError, Element, Gpu, Kernel, Launch, Stream};
use crate::ops::{DIRECTIONS, STATES, SelectiveScan};

/// Rows of device memory hold a multiple of so many elements.
const PITCH: usize = 16;
/// Channels of a block.
const CHANNELS: usize = 3;
/// Warps of a channel, each with a chunk of consecutive steps.
const CHUNKS: usize = 4;
const LANES: usize = 32;
const MAX_RANK: usize = 4;
const MAX_STATES: usize = 64;
const MAX_LENGTH: usize = 1 << 16;
/// Up to this length a thread takes fewer steps, so that more threads have some.
const SHORT_LENGTH: usize = 1024;
const SHORT_STEPS: usize = 8;

/// An element type that the scan reads and writes.
pub(crate) trait ScanElement: Element {
    /// The compilations of the kernel that read it, the one for long maps first.
    const VARIANTS: [Variant; 2];
}

impl ScanElement for f16 {
    const VARIANTS: [Variant; 2] = [
        Variant::new("scan_f16", 16, 8),
        Variant::new("scan_f16_small", SHORT_STEPS, 4),
    ];
}

impl ScanElement for f32 {
    const VARIANTS: [Variant; 2] = [
        Variant::new("scan_f32", SHORT_STEPS, 8),
        Variant::new("scan_f32_small", SHORT_STEPS, 4),
    ];
}

/// One compilation of the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Variant {
    name: &'static str,
    /// Consecutive steps of a thread.
    steps: usize,
    /// States whose B and C arrive in shared memory together.
    batch: usize,
}

impl Variant {
    const fn new(name: &'static str, steps: usize, batch: usize) -> Self {
        Self { name, steps, batch }
    }

    /// Returns the dynamic shared memory of a block, for elements of `element_bytes`.
    fn shared_bytes(&self, element_bytes: usize) -> usize {
        let batches = 2 * 2 * self.batch * CHUNKS * LANES * self.steps * element_bytes;
        let handover = (2 * CHUNKS + 1) * MAX_STATES + MAX_RANK + 2;
        batches + CHANNELS * handover * size_of::<f32>()
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
    kernels: Vec<(Variant, Kernel)>,
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
        let kernels = T::VARIANTS
            .iter()
            .map(|variant| Ok((*variant, gpu.kernel("scan", variant.name)?)))
            .collect::<Result<_, CudaError>>()?;
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
        let threads = (CHANNELS * CHUNKS * LANES) as u32;
        let launch = Launch::new(grid, threads, shared_bytes as u32);
        // SAFETY: Params is the kernel's; every buffer has the length that the kernel reads or writes.
        unsafe { kernel.launch(stream, &launch, &parameters) }
    }

    /// Returns the kernel for maps of `length` and its shared memory: the first variant that fits both.
    fn plan(&self, length: usize) -> Result<(Kernel, usize), CudaError> {
        let bytes = |variant: &Variant| variant.shared_bytes(size_of::<T>());
        let suits = |variant: &Variant| length > SHORT_LENGTH || variant.steps == SHORT_STEPS;
        let fits = |variant: &Variant| bytes(variant) <= self.shared_limit;
        let mut kernels = self.kernels.iter();
        let chosen = kernels.find(|(variant, _)| suits(variant) && fits(variant));
        chosen
            .map(|(variant, kernel)| (*kernel, bytes(variant)))
            .ok_or_else(|| CudaError::Limit {
                what: "the scan's shared memory in bytes",
                limit: self.shared_limit,
                got: self
                    .kernels
                    .iter()
                    .map(|(of, _)| bytes(of))
                    .min()
                    .unwrap_or(0),
            })
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
pub(super) mod tests;
