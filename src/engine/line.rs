//! The skips' lines on the GPU: a 3x3 convolution to 16 channels, and MSAU's first 1x1 with it.

use half::f16;

use super::driver::{Buffer, CudaError, Gpu, Kernel, Launch, Stream};
use super::extent::{grid_of_tiles, kernel_size};
use super::pack::fragments_from_conv;
use crate::error::Result;
use crate::network::layers::{ChannelOrder, Layers};
use crate::network::msau::INNER;
use crate::network::tensors::SKIP_WIDTH;
use crate::ops::conv::Geometry;

/// The reference's `line1`, `line2` or `line3`, and `msau.reduce` on its output.
pub(crate) struct Line {
    variant: &'static Variant,
    kernel: Kernel,
    weights: Buffer<f16>,
    constants: Buffer<f32>,
}

/// How `kernels/line.cu` is instantiated.
struct Variant {
    name: &'static str,
    from: usize,
    tile: [usize; 2],
    threads: u32,
}

static VARIANTS: [Variant; 3] = [
    Variant {
        name: "line1",
        from: 64,
        tile: [8, 32],
        threads: 256,
    },
    Variant {
        name: "line2",
        from: 128,
        tile: [4, 16],
        threads: 256,
    },
    Variant {
        name: "line3",
        from: 16,
        tile: [4, 16],
        threads: 128,
    },
];

impl Variant {
    fn shared_bytes(&self) -> u32 {
        let [height, width] = self.tile.map(|side| side + 2);
        let patch = height * width * (self.from + 8);
        ((patch + 9 * self.from * SKIP_WIDTH) * 2) as u32
    }
}

/// The argument of the kernels.
#[repr(C)]
#[derive(Clone, Copy)]
struct Parameters {
    map: u64,
    line: u64,
    reduced: u64,
    weights: u64,
    constants: u64,
    size: [i32; 2],
}

impl Line {
    /// Packs the weights `line<stage>`, which read channels in `order`, and `msau.reduce`'s below
    /// `layers`, the whole network's.
    pub(crate) fn new(
        gpu: &Gpu,
        layers: &Layers<'_>,
        stage: usize,
        order: &ChannelOrder,
    ) -> Result<Self> {
        let from = order.len();
        let variant = VARIANTS.iter().find(|variant| variant.from == from);
        let variant = variant.ok_or(CudaError::Limit {
            what: "a line's channels",
            limit: 128,
            got: from,
        })?;
        let geometry = Geometry::square(from, SKIP_WIDTH, 3, 1);
        let line = layers.folded(&format!("line{stage}"), geometry, order)?;
        let reduce = {
            let geometry = Geometry::square(SKIP_WIDTH, INNER, 1, 1);
            let natural = ChannelOrder::natural(SKIP_WIDTH);
            layers.pp("msau").folded("reduce", geometry, &natural)?
        };
        let weights = [
            fragments_from_conv(&line.weights, SKIP_WIDTH, from, 9),
            fragments_from_conv(&reduce.weights, INNER, SKIP_WIDTH, 1),
        ];
        let constants = [line.bias, line.slope, reduce.bias, reduce.slope];
        Ok(Self {
            variant,
            kernel: gpu.kernel("line", variant.name)?,
            weights: Buffer::from_slice(gpu, &weights.concat())?,
            constants: Buffer::from_slice(gpu, &constants.concat())?,
        })
    }

    /// Puts it on `stream`: from `map` `[c/8, h, w, 8]` of `size` to `line` `[2, h, w, 8]` and
    /// `reduced` `[1, h, w, 8]`.
    ///
    /// Errs if a buffer is too small or a side is 0 or too long.
    pub(crate) fn launch(
        &self,
        stream: &Stream,
        map: &Buffer<f16>,
        size: [usize; 2],
        line: &Buffer<f16>,
        reduced: &Buffer<f16>,
    ) -> Result<(), CudaError> {
        let area = size[0] * size[1];
        map.check_len("a line's input", self.variant.from * area)?;
        line.check_len("a line's output", SKIP_WIDTH * area)?;
        reduced.check_len("a line's reduced output", INNER * area)?;
        let parameters = Parameters {
            map: map.address(),
            line: line.address(),
            reduced: reduced.address(),
            weights: self.weights.address(),
            constants: self.constants.address(),
            size: kernel_size("a side of a line's input", size)?,
        };
        let grid = grid_of_tiles(size, self.variant.tile);
        let launch = Launch::new(grid, self.variant.threads, self.variant.shared_bytes());
        // SAFETY: the parameters are the kernel's struct; the maps were checked above, and the weights
        // and constants are those that `new` packed for it.
        unsafe { self.kernel.launch(stream, &launch, &parameters) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::against_cpu::{
        Closeness, SIZES, gpu_and_small, made_map, poisoned, print_times, seeded, tensor_from_map,
    };
    use crate::ops::{ConvChain, CpuPath};

    fn orders() -> [ChannelOrder; 3] {
        [64, 128, 16].map(|channels| ChannelOrder::natural(channels).shuffled())
    }

    #[test]
    fn each_line_equals_the_cpus_at_any_size() -> anyhow::Result<()> {
        let weights = seeded()?;
        let layers = Layers::new(&weights, CpuPath::best());
        let reduce = {
            let geometry = Geometry::square(SKIP_WIDTH, INNER, 1, 1);
            let natural = ChannelOrder::natural(SKIP_WIDTH);
            layers.conv_act("msau.reduce", geometry, &natural, None)?
        };
        for gpu in gpu_and_small()? {
            for (order, stage) in orders().iter().zip(1..) {
                let line = Line::new(&gpu, &layers, stage, order)?;
                let geometry = Geometry::square(order.len(), SKIP_WIDTH, 3, 1);
                let name = format!("line{stage}");
                let conv = layers.conv_act(&name, geometry, order, None)?;
                let cpu = ConvChain::new(vec![conv.clone()]);
                let cpu_reduced = ConvChain::new(vec![conv, reduce.clone()]);
                for size in SIZES {
                    let (map, tensor) = made_map(&gpu, &name, order.len(), size)?;
                    let area = size[0] * size[1];
                    let out = poisoned(&gpu, SKIP_WIDTH * area)?;
                    let reduced = poisoned(&gpu, INNER * area)?;
                    line.launch(&gpu.stream(), &map, size, &out, &reduced)?;
                    // Weights and output in f16: 2^-11 each; twice for what is reduced.
                    let close = Closeness {
                        norm: 1e-3,
                        largest: 3e-3,
                    };
                    let want = tensor.apply_op1_no_bwd(&cpu)?;
                    let got = tensor_from_map(&out, size)?;
                    close.check(&format!("{name} {size:?}"), &got, &want)?;
                    let want = tensor.apply_op1_no_bwd(&cpu_reduced)?;
                    let got = tensor_from_map(&reduced, size)?;
                    close.check(&format!("{name} reduced {size:?}"), &got, &want)?;
                }
            }
        }
        Ok(())
    }

    #[test]
    #[ignore = "prints times instead of testing"]
    fn microseconds_of_each_line() -> anyhow::Result<()> {
        let weights = seeded()?;
        let layers = Layers::new(&weights, CpuPath::best());
        let [gpu, _] = gpu_and_small()?;
        for (order, stage) in orders().iter().zip(1..) {
            let line = Line::new(&gpu, &layers, stage, order)?;
            for input in [[512_usize, 1024], [360, 480]] {
                let size = input.map(|side| side.div_ceil(2 << stage));
                let (map, _) = made_map(&gpu, "line", order.len(), size)?;
                let out = poisoned(&gpu, SKIP_WIDTH * size[0] * size[1])?;
                let reduced = poisoned(&gpu, INNER * size[0] * size[1])?;
                print_times(&gpu, &format!("line{stage} {size:?}"), |stream| {
                    line.launch(stream, &map, size, &out, &reduced)
                })?;
            }
        }
        Ok(())
    }
}
