//! What `kernels/scan.cu` takes: its argument, its compilations and how they are launched, the layout of
//! its weights. Who opens the driver launches it.

use half::f16;

use super::{DIRECTIONS, STATES, SelectiveScan};

/// Rows of device memory hold a multiple of so many elements.
const PITCH: usize = 16;
/// Channels of a block.
const CHANNELS: usize = 3;
/// Warps of a channel, each with a chunk of consecutive steps.
const CHUNKS: usize = 4;
const LANES: usize = 32;
/// The highest rank of delta's projection.
pub(crate) const MAX_RANK: usize = 4;
/// The most states of a channel.
pub(crate) const MAX_STATES: usize = 64;
/// The most pixels of a map.
pub(crate) const MAX_LENGTH: usize = 1 << 16;
/// Up to this length a thread takes fewer steps, so that more threads have some.
const SHORT_LENGTH: usize = 1024;
const SHORT_STEPS: usize = 8;

/// Threads of a block.
pub(crate) const THREADS: usize = CHANNELS * CHUNKS * LANES;

/// An element type that the scan reads and writes.
pub(crate) trait ScanElement: Copy {
    /// The compilations of the kernel that read it, the one for long maps first.
    const VARIANTS: &'static [Variant];
}

impl ScanElement for f16 {
    const VARIANTS: &'static [Variant] = &[
        Variant::new::<Self>("scan_f16", 16, 8),
        Variant::new::<Self>("scan_f16_short", SHORT_STEPS, 16),
        Variant::new::<Self>("scan_f16_small", SHORT_STEPS, 4),
    ];
}

impl ScanElement for f32 {
    const VARIANTS: &'static [Variant] = &[
        Variant::new::<Self>("scan_f32", SHORT_STEPS, 8),
        Variant::new::<Self>("scan_f32_small", SHORT_STEPS, 4),
    ];
}

/// One compilation of the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Variant {
    /// The kernel's name.
    pub(crate) name: &'static str,
    /// Consecutive steps of a thread.
    steps: usize,
    /// States whose B and C arrive in shared memory together.
    batch: usize,
    element_bytes: usize,
}

impl Variant {
    const fn new<T>(name: &'static str, steps: usize, batch: usize) -> Self {
        Self {
            name,
            steps,
            batch,
            element_bytes: size_of::<T>(),
        }
    }

    /// Returns whether it may scan maps of `length` in blocks of at most `shared_limit` bytes of shared
    /// memory.
    pub(crate) fn suits(&self, length: usize, shared_limit: usize) -> bool {
        let is_long = length > SHORT_LENGTH || self.steps == SHORT_STEPS;
        is_long && self.shared_bytes() <= shared_limit
    }

    /// Returns the dynamic shared memory of a block.
    pub(crate) fn shared_bytes(&self) -> usize {
        let batches = 2 * 2 * self.batch * CHUNKS * LANES * self.steps * self.element_bytes;
        let handover = (2 * CHUNKS + 1) * MAX_STATES + CHUNKS * LANES + MAX_RANK + 2;
        batches + CHANNELS * handover * size_of::<f32>()
    }
}

/// The kernel's one argument: addresses of device memory, and sizes.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Params {
    pub(crate) u: u64,
    pub(crate) projected: u64,
    pub(crate) delta_weights: u64,
    pub(crate) delta_bias: u64,
    pub(crate) decay: u64,
    pub(crate) skip: u64,
    pub(crate) y: u64,
    pub(crate) length: i32,
    pub(crate) pitch: i32,
    pub(crate) channels: i32,
    pub(crate) rank: i32,
    pub(crate) states: i32,
}

/// Returns the elements of a row of `length` steps in device memory.
pub(crate) fn pitch(length: usize) -> usize {
    length.next_multiple_of(PITCH)
}

/// Returns the blocks of a launch on each axis.
pub(crate) fn grid(channels: usize) -> [u32; 3] {
    [channels.div_ceil(CHANNELS) as u32, DIRECTIONS as u32, 1]
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

impl ScanWeights {
    /// Returns each tensor's name and length, and the length that the sizes ask for.
    pub(crate) fn lengths(&self) -> [(&'static str, usize, usize); 4] {
        let rows = DIRECTIONS * self.channels;
        [
            (
                "dt_projs_weight",
                self.delta_weights.len(),
                rows * self.rank,
            ),
            ("dt_projs_bias", self.delta_bias.len(), rows),
            ("A_logs", self.decay.len(), rows * self.states),
            ("Ds", self.skip.len(), self.channels),
        ]
    }

    /// Returns `A log2(e)`, `[k, d, n]`: the kernel takes powers of 2.
    pub(crate) fn decay_base_2(&self) -> Vec<f32> {
        let base_2 = |a: &f32| (f64::from(*a) * std::f64::consts::LOG2_E) as f32;
        self.decay.iter().map(base_2).collect()
    }
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
