//! The last decoder map to the mask, on the device: `kernels/head.cu`.

use half::f16;

use super::driver::{Buffer, CudaError, Gpu, Kernel, Launch, PinnedBuffer, Stream};
use super::pack::fragments_from_matrix;
use crate::bilinear::Taps;
use crate::preprocess::InputFit;

/// Channels of the last decoder map.
const CHANNELS: usize = 16;

/// Threads of a block.
const THREADS: u32 = 256;

/// Classes that the kernels compare in one round; `head_doubled` takes no more.
const ROUND_CLASSES: usize = 32;

/// Most blocks of a grid's second axis.
const MAX_BLOCK_ROWS: usize = 65_535;

/// Squares of `head_doubled`'s tile, `[rows, columns]`.
const SQUARES: [usize; 2] = [8, 31];

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
    resized: Kernel,
    weights: Buffer<f16>,
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

/// Where the mask begins.
const MASK_AT: usize = 16;

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
        let (flag, rest) = host.as_slice().split_at(MASK_AT);
        let (mask, rest) = rest.split_at(self.pixels);
        (flag[..4] == [0; 4], mask, &rest[..self.pixels])
    }

    fn bytes_of(pixels: usize, with_confidence: bool) -> usize {
        MASK_AT + pixels * (1 + usize::from(with_confidence))
    }
}

impl Head {
    /// Returns the head of a classifier `[classes, 16]` whose softmax is of logits over `temperature`.
    pub(crate) fn new(gpu: &Gpu, weights: &[f32], temperature: f32) -> Result<Self, CudaError> {
        let classes = weights.len() / CHANNELS;
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
            resized: gpu.kernel("head", "head_resized")?,
            weights: Buffer::from_slice(gpu, &fragments)?,
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
        let [low, size] = [plan.low, plan.size];
        features.check_len("the head's features", low[0] * low[1] * CHANNELS)?;
        let pixels = size[0] * size[1];
        let needed = MaskBuffer::bytes_of(pixels, true);
        output.device.check_len("the mask's buffer", needed)?;
        let address = output.device.address();
        let confidence = address + (MASK_AT + pixels) as u64;
        let mut parameters = Parameters {
            features: features.address(),
            weights: self.weights.address(),
            mask: address + MASK_AT as u64,
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
        };
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
        if blocks[0] > MAX_BLOCK_ROWS {
            return Err(CudaError::Limit {
                what: "the image's height in tiles of the head",
                limit: MAX_BLOCK_ROWS,
                got: blocks[0],
            });
        }
        let grid = [blocks[1] as u32, blocks[0] as u32, 1];
        let launch = Launch::new(grid, THREADS, shared_bytes as u32);
        // SAFETY: the argument is the kernel's; all buffers' lengths were checked above, and the taps
        // stay inside the low map by `axis_taps`.
        unsafe { kernel.launch(stream, &launch, &parameters) }
    }

    /// Returns the f32 of a low pixel in shared memory: its number in fours is odd, so that no banks
    /// collide.
    fn pixel_stride(&self) -> usize {
        self.classes.min(ROUND_CLASSES).next_multiple_of(8) + 4
    }

    fn doubled_bytes(&self) -> usize {
        (SQUARES[0] + 1) * (SQUARES[1] + 1) * self.pixel_stride() * size_of::<f32>()
    }

    fn resized_bytes(&self, tile: &Tile) -> usize {
        let [low_rows, low_columns] = tile.low;
        let low_pixels = (low_rows * low_columns).next_multiple_of(16);
        (low_pixels + tile.size[0] * low_columns) * self.pixel_stride() * size_of::<f32>()
    }
}

/// The argument of both kernels.
#[derive(Clone, Copy)]
#[repr(C)]
struct Parameters {
    features: u64,
    weights: u64,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::driver::{GpuLimits, Graph};
    use crate::engine::timing::microseconds_each;
    use crate::labels::{Logits, mask_from_logits};

    type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

    const TEMPERATURE: f32 = 1.3;

    /// What one test frame is.
    #[derive(Clone, Copy, Debug)]
    struct Frame {
        classes: usize,
        low: [usize; 2],
        fit: InputFit,
        size: [usize; 2],
    }

    fn frame(classes: usize, low: [usize; 2], network: [usize; 2], size: [usize; 2]) -> Frame {
        let fit = InputFit {
            network,
            image: network,
        };
        Frame {
            classes,
            low,
            fit,
            size,
        }
    }

    fn made(n: usize, seed: u32, scale: f32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state as f32 / u32::MAX as f32 - 0.5) * scale
        };
        (0..n).map(|_| f16::from_f32(next()).to_f32()).collect()
    }

    /// Features `[h * w, 16]` of smooth hills and noise, so that classes have regions and borders.
    fn made_features(low: [usize; 2]) -> Vec<f32> {
        let mut features = made(low[0] * low[1] * CHANNELS, 7, 1.0);
        for (i, value) in features.iter_mut().enumerate() {
            let (c, pixel) = (i % CHANNELS, i / CHANNELS);
            let (y, x) = ((pixel / low[1]) as f32, (pixel % low[1]) as f32);
            let hill = (y * 0.21 + c as f32).sin() + (x * 0.17 - 1.7 * c as f32).cos();
            *value = f16::from_f32(*value + 2.0 * hill).to_f32();
        }
        features
    }

    fn blocked(features: &[f32], low: [usize; 2]) -> Vec<f16> {
        let pixels = low[0] * low[1];
        (0..pixels * CHANNELS)
            .map(|i| {
                let (block, pixel, c) = (i / (8 * pixels), i / 8 % pixels, i % 8);
                f16::from_f32(features[pixel * CHANNELS + 8 * block + c])
            })
            .collect()
    }

    fn logits(features: &[f32], weights: &[f32], frame: &Frame) -> Logits {
        let pixels = frame.low[0] * frame.low[1];
        let values = (0..frame.classes * pixels)
            .map(|i| {
                let (class, pixel) = (i / pixels, i % pixels);
                let row = &weights[class * CHANNELS..][..CHANNELS];
                let channels = &features[pixel * CHANNELS..][..CHANNELS];
                row.iter().zip(channels).map(|(w, x)| w * x).sum()
            })
            .collect();
        Logits {
            classes: frame.classes,
            height: frame.low[0],
            width: frame.low[1],
            values,
        }
    }

    /// Flag, mask and confidence of a frame; the mask poisoned before, the flag 0.
    fn on_the_device(
        gpu: &Gpu,
        frame: &Frame,
        features: &[f32],
        weights: &[f32],
        with_confidence: bool,
    ) -> Result<(bool, Vec<u8>, Vec<u8>)> {
        let head = Head::new(gpu, weights, TEMPERATURE)?;
        let plan = head.plan(gpu, frame.low, frame.fit, frame.size)?;
        let pixels = frame.size[0] * frame.size[1];
        let output = MaskBuffer::new(gpu, pixels)?;
        let stream = gpu.stream();
        let mut host = PinnedBuffer::new(gpu, output.bytes(true))?;
        host.as_mut_slice()[..MASK_AT].fill(0);
        host.as_mut_slice()[MASK_AT..].fill(0xff);
        output
            .device
            .copy_from(&host, output.bytes(true), &stream)?;
        let features = Buffer::from_slice(gpu, &blocked(features, frame.low))?;
        head.launch(&stream, &plan, &features, &output, with_confidence)?;
        output.device.copy_to(&host, output.bytes(true), &stream)?;
        stream.synchronise()?;
        let (is_finite, mask, confidence) = output.split(&host);
        Ok((is_finite, mask.to_vec(), confidence.to_vec()))
    }

    /// A logit of 16 products of values up to 10: sums in another order differ by less.
    const LOGIT_TOLERANCE: f32 = 2e-4;

    fn assert_is_the_cpus(gpu: &Gpu, frame: &Frame) -> Result {
        let features = made_features(frame.low);
        let weights = made(frame.classes * CHANNELS, 3, 2.0);
        let logits = logits(&features, &weights, frame);
        let (mask, confidence) =
            mask_from_logits(&logits, frame.fit, frame.size, Some(TEMPERATURE))?;
        let confidence = confidence.map(|c| c.values).unwrap_or_default();
        let (is_finite, ids, values) = on_the_device(gpu, frame, &features, &weights, true)?;
        assert!(is_finite, "{frame:?}");
        let mut near_ties = 0;
        for (i, (&id, &want)) in ids.iter().zip(&mask.ids).enumerate() {
            if id != want {
                // Only where the two best are equal up to rounding may it go either way.
                near_ties += 1;
                let pair = [usize::from(id), usize::from(want)];
                assert!(pair[0] < frame.classes, "{frame:?} pixel {i}: id {id}");
                let [a, b] = pair.map(|class| resized_logit(&logits, frame, class, i));
                assert!(
                    (a - b).abs() < LOGIT_TOLERANCE,
                    "{frame:?} pixel {i}: {a} of {id}, {b} of {want}"
                );
            }
        }
        assert!(near_ties <= ids.len() / 1000 + 1, "{frame:?}: {near_ties}");
        for (i, (&value, &want)) in values.iter().zip(&confidence).enumerate() {
            // Rounding at a half may go either way.
            assert!(
                value.abs_diff(want) <= 1,
                "{frame:?} pixel {i}: {value} {want}"
            );
        }
        let (is_finite, alone, unasked) = on_the_device(gpu, frame, &features, &weights, false)?;
        assert!(is_finite && alone == ids && unasked.iter().all(|value| *value == 0xff));
        Ok(())
    }

    fn resized_logit(logits: &Logits, frame: &Frame, class: usize, pixel: usize) -> f32 {
        let axis = |i: usize, at: usize| {
            let (fit, size) = (frame.fit, frame.size);
            axis_taps(frame.low[i], fit.network[i], fit.image[i], size[i])[at]
        };
        let [rows, columns] = [
            axis(0, pixel / frame.size[1]),
            axis(1, pixel % frame.size[1]),
        ];
        let mut sum = 0.0;
        for (dy, row_share) in rows.share.iter().enumerate() {
            for (dx, column_share) in columns.share.iter().enumerate() {
                let y = (rows.first + dy).min(frame.low[0] - 1);
                let x = (columns.first + dx).min(frame.low[1] - 1);
                let at = (class * frame.low[0] + y) * frame.low[1] + x;
                sum += row_share * column_share * logits.values[at];
            }
        }
        sum
    }

    fn frames() -> Vec<Frame> {
        let mut frames = Vec::new();
        for low in [
            [1, 1],
            [1, 7],
            [9, 1],
            [3, 5],
            [8, 32],
            [9, 33],
            [17, 70],
            [40, 64],
        ] {
            let doubled = low.map(|side| 2 * side);
            for classes in [1, 2, 4, 11, 19, 31, 32] {
                frames.push(frame(classes, low, doubled, doubled));
            }
            for classes in [1, 11, 19, 33, 64, 150, 255] {
                let odd = low.map(|side| 2 * side - 1);
                frames.push(frame(classes, low, odd, odd));
                frames.push(frame(classes, low, doubled, [50, 77]));
                frames.push(frame(classes, low, low.map(|side| 4 * side - 3), [7, 3]));
                let mut cropped = frame(classes, low, doubled, low);
                cropped.fit.image = low;
                frames.push(cropped);
                cropped.size = [1, 130];
                frames.push(cropped);
            }
        }
        frames
    }

    #[test]
    fn masks_and_confidence_are_the_cpus_at_any_size_and_number_of_classes() -> Result {
        let gpu = Gpu::open(0, GpuLimits::default())?;
        frames()
            .iter()
            .try_for_each(|frame| assert_is_the_cpus(&gpu, frame))
    }

    #[test]
    fn little_shared_memory_gives_the_same() -> Result {
        let limits = GpuLimits {
            shared_memory_bytes: Some(8 << 10),
            ..GpuLimits::default()
        };
        let gpu = Gpu::open(0, limits)?;
        frames()
            .iter()
            .try_for_each(|frame| assert_is_the_cpus(&gpu, frame))
    }

    #[test]
    fn equal_logits_give_the_lowest_id() -> Result {
        let gpu = Gpu::open(0, GpuLimits::default())?;
        let row: Vec<f32> = (0..CHANNELS).map(|c| c as f32 - 5.0).collect();
        for size in [[18, 66], [23, 71]] {
            for classes in [3, 32, 255] {
                let frame = frame(classes, [9, 33], [18, 66], size);
                let features = made_features(frame.low);
                let (_, mask, confidence) =
                    on_the_device(&gpu, &frame, &features, &row.repeat(classes), true)?;
                assert!(mask.iter().all(|id| *id == 0), "{frame:?}");
                let even = (255.0 / classes as f32).round() as u8;
                assert!(confidence.iter().all(|value| *value == even), "{frame:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn one_feature_that_is_not_finite_raises_the_flag_wherever_it_lies() -> Result {
        let gpu = Gpu::open(0, GpuLimits::default())?;
        let low = [19, 37];
        let weights = made(5 * CHANNELS, 3, 2.0);
        let mut cropped = frame(5, low, [38, 74], [27, 60]);
        cropped.fit.image = [27, 60];
        let frames = [
            frame(5, low, [38, 74], [38, 74]),
            frame(5, low, [37, 73], [100, 200]),
            frame(5, low, [37, 73], [2, 3]),
            cropped,
        ];
        for frame in frames {
            for (bad, place) in [
                (f32::NAN, 0),
                (f32::INFINITY, low[0] * low[1] * CHANNELS - 1),
                (f32::NEG_INFINITY, (18 * low[1] + 1) * CHANNELS + 3),
                (f32::NAN, (9 * low[1] + 36) * CHANNELS + 12),
                (f32::NAN, (10 * low[1] + 17) * CHANNELS + 7),
            ] {
                let mut features = made_features(low);
                features[place] = bad;
                let (is_finite, ..) = on_the_device(&gpu, &frame, &features, &weights, false)?;
                assert!(!is_finite, "{frame:?}: {bad} at {place}");
            }
        }
        Ok(())
    }

    #[test]
    fn weights_beyond_f16_raise_the_flag() -> Result {
        let gpu = Gpu::open(0, GpuLimits::default())?;
        for (classes, size) in [(3, [8, 8]), (3, [9, 9]), (70, [8, 8])] {
            let frame = frame(classes, [4, 4], [8, 8], size);
            let mut weights = made(classes * CHANNELS, 3, 2.0);
            weights[classes * CHANNELS - 1] = 1e6;
            let features = made_features(frame.low);
            let (is_finite, ..) = on_the_device(&gpu, &frame, &features, &weights, false)?;
            assert!(!is_finite, "{frame:?}");
        }
        Ok(())
    }

    #[test]
    fn composed_taps_stay_within_three_places_and_share_all() {
        for (low, network, cropped, image) in [
            (1, 1, 1, 9),
            (5, 9, 9, 9),
            (5, 10, 7, 31),
            (64, 255, 250, 3),
            (180, 360, 360, 720),
            (3, 12, 12, 12),
        ] {
            for tap in axis_taps(low, network, cropped, image) {
                assert!(tap.first < low);
                // Two roundings of numbers up to 1.
                assert!((tap.share.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            }
        }
    }

    #[test]
    #[ignore = "prints times"]
    fn times() -> Result {
        let gpu = Gpu::open(0, GpuLimits::default())?;
        for frame in [
            frame(11, [256, 512], [512, 1024], [512, 1024]),
            frame(19, [256, 512], [512, 1024], [512, 1024]),
            frame(11, [180, 240], [360, 480], [360, 480]),
            frame(11, [180, 240], [360, 480], [720, 960]),
            frame(11, [512, 512], [1024, 1024], [1024, 1024]),
            frame(11, [256, 256], [1024, 1024], [1024, 1024]),
            frame(11, [256, 512], [511, 1023], [511, 1023]),
            frame(150, [256, 512], [512, 1024], [512, 1024]),
        ] {
            let head = Head::new(&gpu, &made(frame.classes * CHANNELS, 3, 2.0), TEMPERATURE)?;
            let plan = head.plan(&gpu, frame.low, frame.fit, frame.size)?;
            let features =
                Buffer::from_slice(&gpu, &blocked(&made_features(frame.low), frame.low))?;
            let output = MaskBuffer::new(&gpu, frame.size[0] * frame.size[1])?;
            for with_confidence in [false, true] {
                let graph = Graph::record(&gpu, |stream| {
                    (0..20).try_for_each(|_| {
                        head.launch(stream, &plan, &features, &output, with_confidence)
                    })
                })?;
                let us = microseconds_each(&gpu, &graph, 20)?;
                eprintln!("head {frame:?} confidence {with_confidence}: {us:.2} us");
            }
        }
        Ok(())
    }
}
