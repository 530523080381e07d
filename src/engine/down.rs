//! Down on the GPU: a strided convolution beside a maximum, in one kernel.

use half::f16;

use super::driver::{Buffer, CudaError, Gpu, Kernel, Launch, Stream};
use super::extent::{grid_of_tiles, kernel_size};
use super::pack::fragments_from_conv;
use crate::error::Result;
use crate::network::down::FoldedDown;
use crate::network::layers::{ChannelOrder, Layers};

/// The reference's `down1`, `down2` or `down3`.
pub(crate) struct Down {
    /// The largest blocks first.
    kernels: Vec<(&'static Variant, Kernel)>,
    smallest: (&'static Variant, Kernel),
    multiprocessors: usize,
    from: usize,
    channels: usize,
    weights: Buffer<f16>,
    conv: Buffer<f32>,
    pooled: Option<Buffer<f32>>,
    out_order: ChannelOrder,
}

/// How `kernels/down.cu` is instantiated.
struct Variant {
    name: &'static str,
    from: usize,
    channels: usize,
    /// Convolved channels of a block, and how many blocks share a tile.
    convolved: usize,
    parts: u32,
    /// Outputs of a tile.
    tile: [usize; 2],
    threads: u32,
}

/// Of each width, the largest blocks first.
static VARIANTS: [Variant; 5] = [
    Variant {
        name: "down1",
        from: 32,
        channels: 64,
        convolved: 32,
        parts: 1,
        tile: [8, 32],
        threads: 512,
    },
    Variant {
        name: "down1_small",
        from: 32,
        channels: 64,
        convolved: 32,
        parts: 1,
        tile: [8, 16],
        threads: 256,
    },
    Variant {
        name: "down2",
        from: 64,
        channels: 128,
        convolved: 64,
        parts: 1,
        tile: [4, 16],
        threads: 256,
    },
    Variant {
        name: "down2_small",
        from: 64,
        channels: 128,
        convolved: 32,
        parts: 2,
        tile: [4, 16],
        threads: 256,
    },
    Variant {
        name: "down3",
        from: 128,
        channels: 16,
        convolved: 16,
        parts: 1,
        tile: [1, 16],
        threads: 256,
    },
];

impl Variant {
    fn shared_bytes(&self) -> u32 {
        let [height, width] = self.tile.map(|side| 2 * side + 1);
        let patch = height * width * (self.from + 8);
        ((patch + 9 * self.from * self.convolved) * 2) as u32
    }

    /// Returns whether a block's shared memory, with the pooled channels' constants, is within `limit`.
    fn fits(&self, limit: u32) -> bool {
        self.shared_bytes() + 3 * 4 * self.from as u32 <= limit
    }

    fn grid(&self, out_size: [usize; 2]) -> [u32; 3] {
        let [x, y, _] = grid_of_tiles(out_size, self.tile);
        [x, y, self.parts]
    }
}

/// The argument of the kernels.
#[repr(C)]
#[derive(Clone, Copy)]
struct Parameters {
    map: u64,
    out: u64,
    weights: u64,
    conv: u64,
    pooled: u64,
    size: [i32; 2],
    out_size: [i32; 2],
    channels: i32,
}

impl Down {
    /// Packs the weights below `layers` (`down1`, ...), which read channels in `order` and make
    /// `channels`.
    ///
    /// Errs if there is no kernel for these widths in the device's shared memory.
    pub(crate) fn new(
        gpu: &Gpu,
        layers: &Layers<'_>,
        order: &ChannelOrder,
        channels: usize,
    ) -> Result<Self> {
        let limit = gpu.shared_memory_bytes();
        let kernels = VARIANTS
            .iter()
            .filter(|variant| (variant.from, variant.channels) == (order.len(), channels))
            .filter(|variant| variant.fits(limit))
            .map(|variant| Ok((variant, gpu.kernel("down", variant.name)?)))
            .collect::<Result<Vec<_>, CudaError>>()?;
        let none = CudaError::Limit {
            what: "a downsampling's shared memory in bytes",
            limit: limit as usize,
            got: 9 * order.len() * channels,
        };
        let smallest = *kernels.last().ok_or(none)?;
        let folded = FoldedDown::new(layers, order, channels)?;
        let conv = folded.conv;
        let convolved = conv.slope.len();
        let weights = fragments_from_conv(&conv.weights, convolved, order.len(), 9);
        let pooled = folded.pooled.map(|pooled| {
            let constants = [pooled.scale, pooled.shift, pooled.slope].concat();
            Buffer::from_slice(gpu, &constants)
        });
        Ok(Self {
            kernels,
            smallest,
            multiprocessors: gpu.multiprocessors() as usize,
            from: order.len(),
            channels,
            weights: Buffer::from_slice(gpu, &weights)?,
            conv: Buffer::from_slice(gpu, &[conv.bias, conv.slope].concat())?,
            pooled: pooled.transpose()?,
            out_order: folded.out_order,
        })
    }

    /// Returns the order of the output's channels.
    pub(crate) fn out_order(&self) -> &ChannelOrder {
        &self.out_order
    }

    /// Puts it on `stream`: from `map` `[c/8, h, w, 8]` of `size` to half of each side, rounded up.
    ///
    /// Errs if a buffer is too small or a side is 0 or too long.
    pub(crate) fn launch(
        &self,
        stream: &Stream,
        map: &Buffer<f16>,
        size: [usize; 2],
        out: &Buffer<f16>,
    ) -> Result<(), CudaError> {
        let out_size = size.map(|side| side.div_ceil(2));
        map.check_len("a downsampling's input", self.from * size[0] * size[1])?;
        let needed = self.channels * out_size[0] * out_size[1];
        out.check_len("a downsampling's output", needed)?;
        // The largest blocks that give most multiprocessors one, or else the smallest.
        let is_enough = |variant: &Variant| {
            let blocks: u32 = variant.grid(out_size).iter().product();
            blocks as usize * 4 >= self.multiprocessors * 3
        };
        let enough = self.kernels.iter().find(|(variant, _)| is_enough(variant));
        let (variant, kernel) = enough.unwrap_or(&self.smallest);
        let parameters = Parameters {
            map: map.address(),
            out: out.address(),
            weights: self.weights.address(),
            conv: self.conv.address(),
            pooled: self.pooled.as_ref().map_or(0, Buffer::address),
            size: kernel_size("a side of a downsampling's input", size)?,
            out_size: kernel_size("a side of a downsampling's output", out_size)?,
            channels: variant.convolved as i32 * variant.parts as i32,
        };
        let grid = variant.grid(out_size);
        let launch = kernel.spread(Launch::new(grid, variant.threads, variant.shared_bytes()));
        // SAFETY: the parameters are the kernel's struct; the maps were checked above, and the weights
        // and constants are those that `new` packed for it.
        unsafe { kernel.launch(stream, &launch, &parameters) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::against_cpu::{
        Closeness, SIZES, gpu_and_small, made_map, poisoned, print_times, seeded, tensor_from_map,
    };
    use crate::network::down::Down as CpuDown;
    use crate::ops::CpuPath;

    fn widths() -> [(&'static str, ChannelOrder, usize); 3] {
        // The orders of the network: EDABs shuffle what lies in between.
        [
            ("down1", ChannelOrder::natural(32), 64),
            ("down2", ChannelOrder::natural(64).shuffled(), 128),
            (
                "down3",
                ChannelOrder::natural(128).shuffled().shuffled(),
                16,
            ),
        ]
    }

    #[test]
    fn each_downsampling_equals_the_cpus_at_any_size() -> anyhow::Result<()> {
        let weights = seeded()?;
        for gpu in gpu_and_small()? {
            for (name, order, channels) in widths() {
                let layers = Layers::new(&weights, CpuPath::best()).pp(name);
                let down = Down::new(&gpu, &layers, &order, channels)?;
                let cpu = CpuDown::new(&layers, &order, channels)?;
                assert_eq!(down.out_order(), cpu.out_order());
                for size in SIZES {
                    let (map, tensor) = made_map(&gpu, name, order.len(), size)?;
                    let out_size = size.map(|side| side.div_ceil(2));
                    let out = poisoned(&gpu, channels * out_size[0] * out_size[1])?;
                    down.launch(&gpu.stream(), &map, size, &out)?;
                    let want = tensor.apply_op1_no_bwd(&cpu)?;
                    // Weights and output in f16: 2^-11 each.
                    Closeness {
                        norm: 6e-4,
                        largest: 2e-3,
                    }
                    .check(
                        &format!("{name} {size:?}"),
                        &tensor_from_map(&out, out_size)?,
                        &want,
                    )?;
                }
            }
        }
        Ok(())
    }

    #[test]
    #[ignore = "prints times instead of testing"]
    fn microseconds_of_each_downsampling() -> anyhow::Result<()> {
        let weights = seeded()?;
        for gpu in gpu_and_small()? {
            for (i, (name, order, channels)) in widths().into_iter().enumerate() {
                let layers = Layers::new(&weights, CpuPath::best()).pp(name);
                let down = Down::new(&gpu, &layers, &order, channels)?;
                for input in [[512_usize, 1024], [360, 480]] {
                    let size = input.map(|side| side.div_ceil(2 << i));
                    let out_size = size.map(|side| side.div_ceil(2));
                    let (map, _) = made_map(&gpu, name, order.len(), size)?;
                    let out = poisoned(&gpu, channels * out_size[0] * out_size[1])?;
                    print_times(&gpu, &format!("{name} {size:?}"), |stream| {
                        down.launch(stream, &map, size, &out)
                    })?;
                }
            }
        }
        Ok(())
    }
}
