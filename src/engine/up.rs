//! Up on the GPU: a bilinear resize, a 3x3 convolution and the skip's addition in one kernel.

use half::f16;

use super::driver::{Buffer, CudaError, Gpu, Kernel, Launch, Stream};
use super::extent::{grid_of_tiles, kernel_size};
use super::pack::fragments_from_conv;
use crate::error::Result;
use crate::network::layers::{ChannelOrder, Layers};
use crate::network::tensors::SKIP_WIDTH;
use crate::ops::conv::Geometry;

/// The reference's `up1`, `up2` or `up3`.
pub(crate) struct Up {
    large: Kernel,
    small: Kernel,
    weights: Buffer<f16>,
    constants: Buffer<f32>,
    multiprocessors: u32,
}

/// The weights of one of them, for the head's kernel.
#[derive(Clone, Copy)]
pub(crate) struct UpWeights {
    pub(crate) weights: u64,
    pub(crate) constants: u64,
}

/// Outputs of the large kernel's tile, and its threads.
const LARGE: ([usize; 2], u32) = ([8, 32], 256);

/// As [`LARGE`], of the one for maps that have too few of those.
const SMALL: ([usize; 2], u32) = ([4, 16], 128);

/// A map to resize, and what comes of it. All maps are `[2, h, w, 8]`.
#[derive(Clone, Copy)]
pub(crate) struct Resized<'a> {
    pub(crate) map: &'a Buffer<f16>,
    pub(crate) size: [usize; 2],
    /// Added to the output, of its size.
    pub(crate) skip: Option<&'a Buffer<f16>>,
    pub(crate) out: &'a Buffer<f16>,
    pub(crate) out_size: [usize; 2],
}

/// The argument of the kernels.
#[repr(C)]
#[derive(Clone, Copy)]
struct Parameters {
    map: u64,
    skip: u64,
    out: u64,
    weights: u64,
    constants: u64,
    size: [i32; 2],
    out_size: [i32; 2],
}

impl Up {
    /// Packs the weights `up<stage>`, which read channels in `order`, below `layers`, the whole
    /// network's.
    pub(crate) fn new(
        gpu: &Gpu,
        layers: &Layers<'_>,
        stage: usize,
        order: &ChannelOrder,
    ) -> Result<Self> {
        let geometry = Geometry::square(SKIP_WIDTH, SKIP_WIDTH, 3, 1);
        let conv = layers.folded(&format!("up{stage}.conv"), geometry, order)?;
        let weights = fragments_from_conv(&conv.weights, SKIP_WIDTH, SKIP_WIDTH, 9);
        Ok(Self {
            large: gpu.kernel("up", "up_large")?,
            small: gpu.kernel("up", "up_small")?,
            weights: Buffer::from_slice(gpu, &weights)?,
            constants: Buffer::from_slice(gpu, &[conv.bias, conv.slope].concat())?,
            multiprocessors: gpu.multiprocessors(),
        })
    }

    /// Returns its weights' addresses.
    pub(crate) fn weights(&self) -> UpWeights {
        UpWeights {
            weights: self.weights.address(),
            constants: self.constants.address(),
        }
    }

    /// Puts it on `stream`.
    ///
    /// Errs if a buffer is too small or a side is 0 or too long.
    pub(crate) fn launch(&self, stream: &Stream, maps: &Resized<'_>) -> Result<(), CudaError> {
        let [area, out_area] = [maps.size, maps.out_size].map(|[h, w]| h * w);
        maps.map
            .check_len("an upsampling's input", SKIP_WIDTH * area)?;
        maps.out
            .check_len("an upsampling's output", SKIP_WIDTH * out_area)?;
        if let Some(skip) = maps.skip {
            skip.check_len("an upsampling's skip", SKIP_WIDTH * out_area)?;
        }
        let parameters = Parameters {
            map: maps.map.address(),
            skip: maps.skip.map_or(0, Buffer::address),
            out: maps.out.address(),
            weights: self.weights.address(),
            constants: self.constants.address(),
            size: kernel_size("a side of an upsampling's input", maps.size)?,
            out_size: kernel_size("a side of an upsampling's output", maps.out_size)?,
        };
        let [x, y, _] = grid_of_tiles(maps.out_size, LARGE.0);
        let (kernel, (tile, threads)) = match x * y < self.multiprocessors {
            true => (&self.small, SMALL),
            false => (&self.large, LARGE),
        };
        let launch = Launch::new(grid_of_tiles(maps.out_size, tile), threads, 0);
        // SAFETY: the parameters are the kernel's struct; the maps were checked above, and the weights
        // and constants are those that `new` packed for it.
        unsafe { kernel.launch(stream, &launch, &parameters) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::against_cpu::{
        Closeness, gpu_and_small, made_map, poisoned, print_times, seeded, tensor_from_map,
    };
    use crate::ops::{ConvChain, CpuPath};

    const RESIZES: [[[usize; 2]; 2]; 11] = [
        [[1, 1], [1, 1]],
        [[1, 1], [2, 1]],
        [[1, 4], [1, 7]],
        [[3, 2], [5, 3]],
        [[5, 3], [5, 3]],
        [[9, 8], [4, 3]],
        [[12, 15], [23, 30]],
        [[23, 30], [45, 60]],
        [[45, 60], [90, 120]],
        [[17, 129], [33, 257]],
        [[128, 256], [256, 512]],
    ];

    #[test]
    fn upsampling_equals_the_cpus_between_any_sizes() -> anyhow::Result<()> {
        let weights = seeded()?;
        let layers = Layers::new(&weights, CpuPath::best());
        let order = ChannelOrder::natural(SKIP_WIDTH).shuffled();
        let geometry = Geometry::square(SKIP_WIDTH, SKIP_WIDTH, 3, 1);
        for gpu in gpu_and_small()? {
            let up = Up::new(&gpu, &layers, 1, &order)?;
            let conv = layers.conv_act("up1.conv", geometry, &order, None)?;
            let chain = ConvChain::new(vec![conv]);
            for [size, out_size] in RESIZES {
                let cpu = chain.after_resize(out_size);
                let (map, tensor) = made_map(&gpu, "up", SKIP_WIDTH, size)?;
                let (skip, skip_tensor) = made_map(&gpu, "skip", SKIP_WIDTH, out_size)?;
                for skip in [None, Some(&skip)] {
                    let out = poisoned(&gpu, SKIP_WIDTH * out_size[0] * out_size[1])?;
                    let maps = Resized {
                        map: &map,
                        size,
                        skip,
                        out: &out,
                        out_size,
                    };
                    up.launch(&gpu.stream(), &maps)?;
                    let want = match skip {
                        None => tensor.apply_op1_no_bwd(&cpu)?,
                        Some(_) => tensor.apply_op2_no_bwd(&skip_tensor, &cpu)?,
                    };
                    // The resized map, weights and output in f16: 2^-11 each.
                    Closeness {
                        norm: 8e-4,
                        largest: 3e-3,
                    }
                    .check(
                        &format!("up {size:?} to {out_size:?}"),
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
    fn microseconds_of_each_upsampling() -> anyhow::Result<()> {
        let weights = seeded()?;
        let layers = Layers::new(&weights, CpuPath::best());
        let [gpu, _] = gpu_and_small()?;
        let up = Up::new(&gpu, &layers, 1, &ChannelOrder::natural(SKIP_WIDTH))?;
        for input in [[512_usize, 1024], [360, 480]] {
            for shift in [3, 2, 1] {
                let size = input.map(|side| side.div_ceil(2 << shift));
                let out_size = input.map(|side| side.div_ceil(1 << shift));
                let (map, _) = made_map(&gpu, "up", SKIP_WIDTH, size)?;
                let (skip, _) = made_map(&gpu, "skip", SKIP_WIDTH, out_size)?;
                let out = poisoned(&gpu, SKIP_WIDTH * out_size[0] * out_size[1])?;
                let maps = Resized {
                    map: &map,
                    size,
                    skip: (shift > 1).then_some(&skip),
                    out: &out,
                    out_size,
                };
                print_times(&gpu, &format!("up to {out_size:?}"), |stream| {
                    up.launch(stream, &maps)
                })?;
            }
        }
        Ok(())
    }
}
