//! The last decoder map to the mask, on the device: `kernels/head.cu`, and `head_resized.cu` for any sizes.

use half::f16;

use super::driver::{Buffer, CudaError, Gpu, Kernel, Launch, MAX_GRID_ROWS, PinnedBuffer, Stream};
use super::extent::kernel_size;
use super::pack::fragments_from_matrix;
use super::up::UpWeights;
use crate::bilinear::Taps;
use crate::preprocess::InputFit;

#[cfg(test)]
mod tests;

/// Channels of the last decoder map.
const CHANNELS: usize = 16;

/// Threads of a block.
const THREADS: u32 = 256;

/// Classes that the kernels compare in one round; `head_doubled` takes no more.
const ROUND_CLASSES: usize = 32;

/// Squares of `head_doubled`'s tile, `[rows, columns]`.
const SQUARES: [usize; 2] = [8, 31];

/// As [`SQUARES`], of `head_decoded`.
const DECODED_SQUARES: [usize; 2] = [7, 31];

/// Tiles of `head_resized`, `[height, width]`: the first whose part of the low map fits in shared
/// memory is taken. None has more pixels than four a thread.
const TILES: [[usize; 2]; 9] = [
    [16, 64],
    [8, 64],
    [8, 32],
    [4, 32],
    [4, 16],
    [2, 16],
    [2, 4],
    [1, 2],
    [1, 1],
];

/// Shared memory that leaves room for four blocks a multiprocessor, so that loads of one hide behind
/// the arithmetic of others.
const GOOD_SHARED_BYTES: usize = 48 << 10;

/// The classifier and the kernels that apply it.
pub(crate) struct Head {
    doubled: Kernel,
    decoded: Kernel,
    resized: Kernel,
    weights: Buffer<f16>,
    offsets: Buffer<f32>,
    classes: usize,
    temperature: f32,
    shared_bytes: usize,
}

/// How the map of one size becomes the mask of one image size.
pub(crate) struct HeadPlan {
    low: [usize; 2],
    size: [usize; 2],
    looks_everywhere: bool,
    way: Way,
}

enum Way {
    Doubled,
    Resized {
        rows: Buffer<u32>,
        columns: Buffer<u32>,
        tile: Tile,
    },
}

/// What the last `Up` reads, for a head that does its work.
#[derive(Clone, Copy)]
pub(crate) struct Decoded<'a> {
    /// The decoder's last blocks' map, `[2, h, w, 8]`.
    pub(crate) map: &'a Buffer<f16>,
    /// Its size `[h, w]`.
    pub(crate) size: [usize; 2],
    pub(crate) up: UpWeights,
}

/// A tile of `head_resized`, and the most of the low map that one reads, `[rows, columns]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tile {
    size: [usize; 2],
    low: [usize; 2],
}

/// The mask, its confidence and the flag for logits that are not finite, in one piece of memory, so
/// that one copy brings them to the host: the flag in the first four bytes, the mask from the
/// sixteenth on, the confidence after it.
pub(crate) struct MaskBuffer {
    pub(crate) device: Buffer<u8>,
    pixels: usize,
}

/// Bytes of the flag, all set to 0 before a frame: up to where the mask begins.
pub(crate) const FLAG_BYTES: usize = 16;

impl MaskBuffer {
    /// Allocates room for the mask and the confidence of so many pixels.
    pub(crate) fn new(gpu: &Gpu, pixels: usize) -> Result<Self, CudaError> {
        Ok(Self {
            device: Buffer::new(gpu, Self::bytes_of(pixels, true))?,
            pixels,
        })
    }

    /// Returns the bytes that hold the flag and the mask, and the confidence where asked for.
    pub(crate) fn bytes(&self, with_confidence: bool) -> usize {
        Self::bytes_of(self.pixels, with_confidence)
    }

    /// Returns flag, mask and confidence of a copy on the host; the flag says that all logits are
    /// finite.
    pub(crate) fn split<'a>(&self, host: &'a PinnedBuffer<u8>) -> (bool, &'a [u8], &'a [u8]) {
        let (flag, rest) = host.as_slice().split_at(FLAG_BYTES);
        let (mask, rest) = rest.split_at(self.pixels);
        (flag[..4] == [0; 4], mask, &rest[..self.pixels])
    }

    fn bytes_of(pixels: usize, with_confidence: bool) -> usize {
        FLAG_BYTES + pixels * (1 + usize::from(with_confidence))
    }
}

impl Head {
    /// Returns the head of a classifier `[classes, 16]` to whose logits `offsets` `[classes]` are added
    /// and whose softmax is of their sums over `temperature`.
    ///
    /// Errs if there is not one offset for each of 1 to 255 classes.
    pub(crate) fn new(
        gpu: &Gpu,
        weights: &[f32],
        offsets: &[f32],
        temperature: f32,
    ) -> Result<Self, CudaError> {
        let classes = offsets.len();
        if !(1..=255).contains(&classes) || weights.len() != classes * CHANNELS {
            return Err(CudaError::Size {
                what: "the classifier",
                expected: CHANNELS * classes.clamp(1, 255),
                got: weights.len(),
            });
        }
        let columns = classes.next_multiple_of(8);
        let fragments = fragments_from_matrix(CHANNELS, columns, |c, column| {
            let class = if column < classes { column } else { 0 };
            weights[class * CHANNELS + c]
        });
        Ok(Self {
            doubled: gpu.kernel("head", "head_doubled")?,
            decoded: gpu.kernel("head", "head_decoded")?,
            resized: gpu.kernel("head_resized", "head_resized")?,
            weights: Buffer::from_slice(gpu, &fragments)?,
            offsets: Buffer::from_slice(gpu, offsets)?,
            classes,
            temperature,
            shared_bytes: gpu.shared_memory_bytes() as usize,
        })
    }

    /// Returns what a frame needs on the device: from a map of `low` `[rows, columns]` to an image of
    /// `size`, which filled the network's input as `fit` says.
    ///
    /// Errs if the map is larger than the network's input, or the image too high for the grid.
    pub(crate) fn plan(
        &self,
        gpu: &Gpu,
        low: [usize; 2],
        fit: InputFit,
        size: [usize; 2],
    ) -> Result<HeadPlan, CudaError> {
        for (low, network) in low.into_iter().zip(fit.network) {
            if !(1..=network).contains(&low) {
                return Err(CudaError::Limit {
                    what: "a side of the map below the logits",
                    limit: network,
                    got: low,
                });
            }
        }
        let is_doubled = size == fit.image && fit.network == low.map(|side| 2 * side);
        if is_doubled && self.classes <= ROUND_CLASSES && self.doubled_bytes() <= self.shared_bytes
        {
            return Ok(HeadPlan {
                low,
                size,
                looks_everywhere: fit.image != fit.network,
                way: Way::Doubled,
            });
        }
        let axis = |i: usize| axis_taps(low[i], fit.network[i], fit.image[i], size[i]);
        let [rows, columns] = [axis(0), axis(1)];
        let limit = self.shared_bytes;
        let tile = |limit| {
            (TILES.iter())
                .map(|size| Tile::new(*size, [&rows, &columns]))
                .find(|tile| self.resized_bytes(tile) <= limit)
        };
        let tile = tile(limit.min(GOOD_SHARED_BYTES)).or_else(|| tile(limit));
        let smallest = Tile::new([1, 1], [&rows, &columns]);
        let tile = tile.ok_or(CudaError::Limit {
            what: "the head's shared memory in bytes",
            limit,
            got: self.resized_bytes(&smallest),
        })?;
        let covers = covers(&rows, tile.size[0], low[0]) && covers(&columns, tile.size[1], low[1]);
        let upload = |taps: &[AxisTap]| {
            let words: Vec<u32> = taps.iter().flat_map(AxisTap::words).collect();
            Buffer::from_slice(gpu, &words)
        };
        Ok(HeadPlan {
            low,
            size,
            looks_everywhere: !covers,
            way: Way::Resized {
                rows: upload(&rows)?,
                columns: upload(&columns)?,
                tile,
            },
        })
    }

    /// Puts on `stream`: the map `[2, h, w, 8]`, f16, to the mask, and to the confidence where it is
    /// asked for. Raises the flag where a logit is not finite; it must be 0 before.
    ///
    /// Errs if a buffer is too small.
    pub(crate) fn launch(
        &self,
        stream: &Stream,
        plan: &HeadPlan,
        features: &Buffer<f16>,
        output: &MaskBuffer,
        with_confidence: bool,
    ) -> Result<(), CudaError> {
        features.check_len("the head's features", plan.low[0] * plan.low[1] * CHANNELS)?;
        let size = plan.size;
        let mut parameters = self.parameters(plan, output, with_confidence)?;
        parameters.features = features.address();
        let (kernel, blocks, shared_bytes) = match &plan.way {
            Way::Doubled => {
                // Pixels 2i - 1 and 2i lie between places i - 1 and i of the low map.
                let blocks = [0, 1].map(|i| (size[i] / 2 + 1).div_ceil(SQUARES[i]));
                (&self.doubled, blocks, self.doubled_bytes())
            }
            Way::Resized {
                rows,
                columns,
                tile,
            } => {
                parameters.rows = rows.address();
                parameters.columns = columns.address();
                parameters.tile = tile.size.map(|side| side as u32);
                parameters.most_low = tile.low.map(|side| side as u32);
                let blocks = [0, 1].map(|i| size[i].div_ceil(tile.size[i]));
                (&self.resized, blocks, self.resized_bytes(tile))
            }
        };
        let launch = Launch::new(grid(blocks)?, THREADS, shared_bytes as u32);
        // SAFETY: the argument is the kernel's; all buffers' lengths were checked above, and the taps
        // stay inside the low map by `axis_taps`.
        unsafe { kernel.launch(stream, &launch, &parameters) }
    }

    /// Returns whether [`Head::launch_decoded`] takes this plan.
    pub(crate) fn takes_decoded(&self, plan: &HeadPlan) -> bool {
        matches!(plan.way, Way::Doubled)
            && !plan.looks_everywhere
            && self.decoded_bytes() <= self.decoded.dynamic_bytes()
    }

    /// As [`Head::launch`], from what the last `Up` reads, whose map then is written nowhere.
    ///
    /// Errs if a buffer is too small, or if [`Head::takes_decoded`] not this plan.
    pub(crate) fn launch_decoded(
        &self,
        stream: &Stream,
        plan: &HeadPlan,
        decoded: &Decoded<'_>,
        output: &MaskBuffer,
        with_confidence: bool,
    ) -> Result<(), CudaError> {
        let [height, width] = decoded.size;
        (decoded.map).check_len("the head's decoded map", height * width * CHANNELS)?;
        if !self.takes_decoded(plan) {
            return Err(CudaError::Limit {
                what: "the head's shared memory for a decoded map in bytes",
                limit: self.decoded.dynamic_bytes(),
                got: self.decoded_bytes(),
            });
        }
        let parameters = DecodedParameters {
            head: self.parameters(plan, output, with_confidence)?,
            map: decoded.map.address(),
            up: [decoded.up.weights, decoded.up.constants],
            map_size: kernel_size("a side of the head's decoded map", decoded.size)?,
        };
        let blocks = [0, 1].map(|i| (plan.size[i] / 2 + 1).div_ceil(DECODED_SQUARES[i]));
        let launch = Launch::new(grid(blocks)?, THREADS, self.decoded_bytes() as u32);
        // SAFETY: the argument is the kernel's; all buffers' lengths were checked above, and the weights are
        // those that `Up` packed for its own kernel, which are this one's.
        unsafe { self.decoded.launch(stream, &launch, &parameters) }
    }

    /// Returns the kernels' argument but for the map that they read.
    fn parameters(
        &self,
        plan: &HeadPlan,
        output: &MaskBuffer,
        with_confidence: bool,
    ) -> Result<Parameters, CudaError> {
        let [low, size] = [plan.low, plan.size];
        let pixels = size[0] * size[1];
        let needed = MaskBuffer::bytes_of(pixels, true);
        output.device.check_len("the mask's buffer", needed)?;
        let address = output.device.address();
        let confidence = address + (FLAG_BYTES + pixels) as u64;
        Ok(Parameters {
            features: 0,
            weights: self.weights.address(),
            offsets: self.offsets.address(),
            mask: address + FLAG_BYTES as u64,
            confidence: if with_confidence { confidence } else { 0 },
            flag: address,
            rows: 0,
            columns: 0,
            low_height: low[0] as u32,
            low_width: low[1] as u32,
            height: size[0] as u32,
            width: size[1] as u32,
            classes: self.classes as u32,
            exponent_scale: std::f32::consts::LOG2_E / self.temperature,
            looks_everywhere: plan.looks_everywhere.into(),
            pixel_stride: self.pixel_stride() as u32,
            tile: [0; 2],
            most_low: [0; 2],
        })
    }

    /// Returns the f32 of a low pixel in shared memory: its number in fours is odd, so that no banks
    /// collide.
    fn pixel_stride(&self) -> usize {
        self.classes.min(ROUND_CLASSES).next_multiple_of(8) + 4
    }

    fn doubled_bytes(&self) -> usize {
        (SQUARES[0] + 1) * (SQUARES[1] + 1) * self.pixel_stride() * size_of::<f32>()
    }

    fn decoded_bytes(&self) -> usize {
        (DECODED_SQUARES[0] + 1) * (DECODED_SQUARES[1] + 1) * self.pixel_stride() * size_of::<f32>()
    }

    fn resized_bytes(&self, tile: &Tile) -> usize {
        let [low_rows, low_columns] = tile.low;
        let low_pixels = (low_rows * low_columns).next_multiple_of(16);
        (low_pixels + tile.size[0] * low_columns) * self.pixel_stride() * size_of::<f32>()
    }
}

/// Returns the grid of so many blocks, `[rows, columns]`.
fn grid([rows, columns]: [usize; 2]) -> Result<[u32; 3], CudaError> {
    if rows > MAX_GRID_ROWS {
        return Err(CudaError::Limit {
            what: "the image's height in tiles of the head",
            limit: MAX_GRID_ROWS,
            got: rows,
        });
    }
    Ok([columns as u32, rows as u32, 1])
}

/// The argument of `head_doubled` and `head_resized`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Parameters {
    features: u64,
    weights: u64,
    offsets: u64,
    mask: u64,
    confidence: u64,
    flag: u64,
    rows: u64,
    columns: u64,
    low_height: u32,
    low_width: u32,
    height: u32,
    width: u32,
    classes: u32,
    exponent_scale: f32,
    looks_everywhere: u32,
    pixel_stride: u32,
    tile: [u32; 2],
    most_low: [u32; 2],
}

/// The argument of `head_decoded`.
#[derive(Clone, Copy)]
#[repr(C)]
struct DecodedParameters {
    head: Parameters,
    map: u64,
    up: [u64; 2],
    map_size: [i32; 2],
}

/// What one row or column of the image mixes: the low map's `first` and the two after it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct AxisTap {
    first: usize,
    share: [f32; 3],
}

impl AxisTap {
    fn words(&self) -> [u32; 4] {
        let [a, b, c] = self.share.map(f32::to_bits);
        [self.first as u32, a, b, c]
    }
}

/// Returns the two resizes of one axis as one: `low` places to the network's, cropped to `cropped`,
/// and those to the image's.
fn axis_taps(low: usize, network: usize, cropped: usize, image: usize) -> Vec<AxisTap> {
    let to_network = Taps::new(low, network).cropped(cropped);
    let to_image = Taps::new(cropped, image);
    (0..image)
        .map(|out| {
            let outer = to_image.at(out);
            let first = to_network.at(outer.low).low;
            let mut share = [0.0; 3];
            for (at, outer_share) in [(outer.low, 1.0 - outer.share), (outer.high, outer.share)] {
                // Places that a share of 0 names may lie beyond the three.
                if outer_share == 0.0 {
                    continue;
                }
                let inner = to_network.at(at);
                share[inner.low - first] += outer_share * (1.0 - inner.share);
                if inner.share != 0.0 {
                    share[inner.high - first] += outer_share * inner.share;
                }
            }
            AxisTap { first, share }
        })
        .collect()
}

impl Tile {
    fn new(size: [usize; 2], taps: [&[AxisTap]; 2]) -> Self {
        let most = |i: usize| {
            let reads = |tile: &[AxisTap]| tile[tile.len() - 1].first + 3 - tile[0].first;
            taps[i].chunks(size[i]).map(reads).max().unwrap_or(0)
        };
        Self {
            size,
            low: [most(0), most(1)],
        }
    }
}

/// Returns whether tiles of so many places read every place of the low map between them.
fn covers(taps: &[AxisTap], tile: usize, low: usize) -> bool {
    let mut covered = 0;
    for tile in taps.chunks(tile) {
        if tile[0].first > covered {
            return false;
        }
        covered = tile[tile.len() - 1].first + 3;
    }
    covered >= low
}
