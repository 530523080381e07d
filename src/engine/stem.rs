//! The stem on the GPU: three convolutions in one kernel.

use half::f16;

use super::driver::{Buffer, CudaError, Gpu, Kernel, Launch, Stream};
use super::extent::{grid_of_tiles, kernel_size};
use super::pack::{fragments_from_conv, fragments_from_matrix};
use crate::error::Result;
use crate::network::Plan;
use crate::network::layers::{ChannelOrder, Layers};
use crate::network::tensors::STEM_WIDTH;
use crate::ops::conv::Geometry;

/// Halfs of a pixel of the input: three channels and a zero.
pub(crate) const INPUT_CHANNELS: usize = 4;

/// Output rows of a tile that can be halved.
const ROWS: usize = 8;

/// Output columns of a tile.
const COLUMNS: usize = 16;

/// The reference's `stem` and `stem_act`.
pub(crate) struct Stem {
    variant: Variant,
    kernel: Kernel,
    /// Blocks that the device holds together.
    resident_blocks: u32,
    weights: Buffer<f16>,
    constants: Buffer<f32>,
}

/// How `kernels/stem.cu` is instantiated.
#[derive(Clone, Copy)]
struct Variant {
    name: &'static str,
    /// Of the first convolution.
    stride: usize,
    /// Output rows of a tile.
    rows: usize,
    /// Groups of threads in a block, each with a tile of its own.
    groups: usize,
}

/// Of each stride, the largest first.
const VARIANTS: [Variant; 4] = [
    Variant {
        name: "stem_s1",
        stride: 1,
        rows: ROWS,
        groups: 2,
    },
    Variant {
        name: "stem_s1_small",
        stride: 1,
        rows: 4,
        groups: 2,
    },
    Variant {
        name: "stem_s2",
        stride: 2,
        rows: ROWS,
        groups: 2,
    },
    Variant {
        name: "stem_s2_small",
        stride: 2,
        rows: 4,
        groups: 1,
    },
];

impl Variant {
    fn threads(self) -> u32 {
        self.groups as u32 * 128
    }

    /// Returns how many halves the last of so many tiles are split into, so that more of the groups of
    /// these blocks have something in the last round: none, where there is not a group for each.
    fn halves(self, tiles: u32, blocks: u32) -> u32 {
        let groups = blocks * self.groups as u32;
        let halves = tiles % groups * 2;
        match self.rows == ROWS && halves <= groups {
            true => halves,
            false => 0,
        }
    }

    fn shared_bytes(self) -> u32 {
        let weights = (48 + 2 * 9 * STEM_WIDTH) * STEM_WIDTH;
        let first = (2 * self.rows + 3) * (2 * COLUMNS + 3);
        let second = (2 * self.rows + 1) * (2 * COLUMNS + 4);
        let input = [2 * self.rows + 2, 2 * COLUMNS + 2].map(|side| self.stride * side + 3);
        let input = input[0] * (input[1] + 2).next_multiple_of(2) * INPUT_CHANNELS;
        let of_group = first.max(second) * STEM_WIDTH + input;
        ((weights + self.groups * of_group) * 2 + 9 * STEM_WIDTH * 4) as u32
    }
}

/// The argument of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct Parameters {
    input: u64,
    out: u64,
    weights: u64,
    constants: u64,
    /// The input's, the first convolution's, the output's.
    sizes: [[i32; 2]; 3],
    tiles_x: i32,
    tiles: i32,
    halves: i32,
}

impl Stem {
    /// Packs the stem's weights for the device; errs if no variant fits in its shared memory.
    pub(crate) fn new(gpu: &Gpu, layers: &Layers<'_>, plan: Plan) -> Result<Self> {
        let [stride, second, third] = plan.stem_strides();
        debug_assert_eq!([second, third], [1, 2]);
        let limit = gpu.shared_memory_bytes();
        let variant = VARIANTS
            .into_iter()
            .find(|variant| variant.stride == stride && variant.shared_bytes() <= limit)
            .ok_or(CudaError::Limit {
                what: "the stem's shared memory in bytes",
                limit: limit as usize,
                got: VARIANTS[3].shared_bytes() as usize,
            })?;
        let (mut weights, mut constants) = (Vec::new(), Vec::new());
        for (i, from) in [3, STEM_WIDTH, STEM_WIDTH].into_iter().enumerate() {
            let geometry = Geometry::square(from, STEM_WIDTH, 3, 1);
            let order = ChannelOrder::natural(from);
            let conv = layers.folded(&format!("stem.{i}"), geometry, &order)?;
            weights.extend(match i {
                0 => fragments_from_rgb_conv(&conv.weights, &conv.bias),
                _ => fragments_from_conv(&conv.weights, STEM_WIDTH, from, 9),
            });
            constants.extend([conv.bias, less_one(conv.slope)].concat());
        }
        let act = layers.activation("stem_act", &ChannelOrder::natural(STEM_WIDTH))?;
        constants.extend([act.scale, act.shift, less_one(act.slope)].concat());
        let kernel = gpu.kernel("stem", variant.name)?;
        let one_block = Launch::new([1; 3], variant.threads(), variant.shared_bytes());
        Ok(Self {
            variant,
            kernel,
            resident_blocks: kernel.resident_blocks(&one_block)? * gpu.multiprocessors(),
            weights: Buffer::from_slice(gpu, &weights)?,
            constants: Buffer::from_slice(gpu, &constants)?,
        })
    }

    /// Returns the output's `[h, w]` for an input of `size`.
    pub(crate) fn out_size(&self, size: [usize; 2]) -> [usize; 2] {
        size.map(|side| side.div_ceil(self.variant.stride).div_ceil(2))
    }

    /// Puts the stem on `stream`: from an image `[h, w, 4]` to features `[4, h', w', 8]` of
    /// [`Stem::out_size`].
    ///
    /// Errs if a buffer is too small or a side is 0 or too long.
    pub(crate) fn launch(
        &self,
        stream: &Stream,
        input: &Buffer<f16>,
        size: [usize; 2],
        out: &Buffer<f16>,
    ) -> Result<(), CudaError> {
        let out_size = self.out_size(size);
        input.check_len("the stem's input", size[0] * size[1] * INPUT_CHANNELS)?;
        out.check_len("the stem's output", out_size[0] * out_size[1] * STEM_WIDTH)?;
        let kernel_size = |size| kernel_size("a side of the network's input", size);
        let mid_size = size.map(|side| side.div_ceil(self.variant.stride));
        let sizes = [
            kernel_size(size)?,
            kernel_size(mid_size)?,
            kernel_size(out_size)?,
        ];
        let [tiles_x, tiles_y, _] = grid_of_tiles(out_size, [self.variant.rows, COLUMNS]);
        let tiles = tiles_x * tiles_y;
        let blocks = tiles.min(self.resident_blocks.max(1));
        let halves = self.variant.halves(tiles, blocks);
        let parameters = Parameters {
            input: input.address(),
            out: out.address(),
            weights: self.weights.address(),
            constants: self.constants.address(),
            sizes,
            tiles_x: tiles_x as i32,
            tiles: (tiles - halves / 2) as i32,
            halves: halves as i32,
        };
        let launch = Launch::new(
            [blocks, 1, 1],
            self.variant.threads(),
            self.variant.shared_bytes(),
        );
        // SAFETY: the parameters are the kernel's struct; the maps were checked above, and the weights
        // and constants are those that `new` packed for it.
        unsafe { self.kernel.launch(stream, &launch, &parameters) }
    }
}

/// Returns slopes as the kernel takes them: `prelu(x) = x + (slope - 1) * min(x, 0)`.
fn less_one(slopes: Vec<f32>) -> Vec<f32> {
    slopes.into_iter().map(|slope| slope - 1.0).collect()
}

/// Returns `[32, 3, 3, 3]` as the first convolution's B operand, K being row, four columns, four channels.
///
/// The kernel reads ones in the first row's fourth column: the bias lies there, in two parts that add up
/// to more digits than f16 has.
fn fragments_from_rgb_conv(weights: &[f32], bias: &[f32]) -> Vec<f16> {
    let rounded = |x: f32| f16::from_f32(x).to_f32();
    fragments_from_matrix(48, STEM_WIDTH, |k, n| {
        let (row, column, c) = (k / 16, k / 4 % 4, k % 4);
        match (row, column, c) {
            (0, 3, 0) => bias[n],
            (0, 3, 1) => bias[n] - rounded(bias[n]),
            (_, 3, _) | (_, _, 3) => 0.0,
            _ => weights[((n * 3 + c) * 3 + row) * 3 + column],
        }
    })
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::engine::against_cpu::{
        Closeness, SIZES, gpu_and_small, made_values, poisoned, print_times, seeded,
        tensor_from_map,
    };
    use crate::network::stem::Stem as CpuStem;
    use crate::network::trace::Trace;
    use crate::ops::CpuPath;

    /// Returns an image on the device and, as the network's tensor, on the CPU.
    fn image(gpu: &Gpu, size: [usize; 2]) -> anyhow::Result<(Buffer<f16>, Tensor)> {
        let area = size[0] * size[1];
        let values = made_values("image", 3 * area);
        let halfs: Vec<f16> = (0..area * INPUT_CHANNELS)
            .map(|i| match i % INPUT_CHANNELS {
                3 => f16::ZERO,
                c => f16::from_f32(values[c * area + i / INPUT_CHANNELS]),
            })
            .collect();
        let planes = values.iter().map(|x| f16::from_f32(*x).to_f32()).collect();
        let tensor = Tensor::from_vec(planes, (1, 3, size[0], size[1]), &Device::Cpu)?;
        Ok((Buffer::from_slice(gpu, &halfs)?, tensor))
    }

    #[test]
    fn the_stem_equals_the_cpus_in_both_plans_at_any_size() -> anyhow::Result<()> {
        let weights = seeded()?;
        let layers = Layers::new(&weights, CpuPath::best());
        for gpu in gpu_and_small()? {
            for plan in [Plan::A, Plan::B] {
                let stem = Stem::new(&gpu, &layers, plan)?;
                let cpu = CpuStem::new(&layers, plan)?;
                for size in SIZES.into_iter().chain([[360, 480], [257, 131]]) {
                    let (input, tensor) = image(&gpu, size)?;
                    let want = cpu.forward(&tensor, &mut Trace::off())?;
                    let out_size = stem.out_size(size);
                    let out = poisoned(&gpu, STEM_WIDTH * out_size[0] * out_size[1])?;
                    stem.launch(&gpu.stream(), &input, size, &out)?;
                    let got = tensor_from_map(&out, out_size)?;
                    // Two maps between the convolutions and their weights in f16.
                    Closeness {
                        norm: 1e-3,
                        largest: 5e-3,
                    }
                    .check(&format!("stem {plan:?} {size:?}"), &got, &want)?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn tiles_of_the_last_round_are_halved_where_each_half_finds_a_group() {
        let [large, small, ..] = VARIANTS;
        // 264 groups: 81 tiles are left, 136 are, none is.
        for (tiles, halves) in [(345, 162), (400, 0), (528, 0), (132, 264), (133, 0)] {
            assert_eq!(large.halves(tiles, 132), halves, "{tiles}");
            assert_eq!(small.halves(tiles, 132), 0);
        }
        assert_eq!(large.halves(1, 1), 2);
    }

    #[test]
    fn buffers_that_are_too_small_are_refused() -> anyhow::Result<()> {
        let weights = seeded()?;
        let [gpu, _] = gpu_and_small()?;
        let stem = Stem::new(&gpu, &Layers::new(&weights, CpuPath::best()), Plan::A)?;
        let (input, _) = image(&gpu, [4, 4])?;
        let out = poisoned(&gpu, 2 * 2 * STEM_WIDTH)?;
        assert!(stem.launch(&gpu.stream(), &input, [4, 5], &out).is_err());
        assert!(stem.launch(&gpu.stream(), &input, [0, 5], &out).is_err());
        let out = poisoned(&gpu, 2 * 2 * STEM_WIDTH - 1)?;
        assert!(stem.launch(&gpu.stream(), &input, [4, 4], &out).is_err());
        Ok(())
    }

    #[test]
    #[ignore = "prints times instead of testing"]
    fn microseconds_of_the_stem() -> anyhow::Result<()> {
        let weights = seeded()?;
        let layers = Layers::new(&weights, CpuPath::best());
        for gpu in gpu_and_small()? {
            for plan in [Plan::A, Plan::B] {
                let stem = Stem::new(&gpu, &layers, plan)?;
                for size in [[512, 1024], [360, 480], [1024, 1024]] {
                    let (input, _) = image(&gpu, size)?;
                    let out_size = stem.out_size(size);
                    let out = poisoned(&gpu, STEM_WIDTH * out_size[0] * out_size[1])?;
                    print_times(&gpu, &format!("stem {plan:?} {size:?}"), |stream| {
                        stem.launch(stream, &input, size, &out)
                    })?;
                }
            }
        }
        Ok(())
    }
}
