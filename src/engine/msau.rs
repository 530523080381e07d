//! MSAU on the GPU in two kernels: one measures, one applies.

use half::f16;

use super::driver::{Buffer, CudaError, Gpu, Kernel, Launch, Stream};
use super::extent::{grid_of_tiles, kernel_size};
use super::pack::fragments_from_conv;
use crate::error::Result;
use crate::network::layers::Layers;
use crate::network::msau::{FoldedMsau, INNER};
use crate::network::tensors::SKIP_WIDTH;

/// Pixels of a block's tile.
const TILE: [usize; 2] = [8, 32];

/// Threads of a block of each kernel.
const THREADS: [u32; 2] = [512, 256];

/// Numbers that a block of the first kernel leaves besides its column sums.
const PARTS: usize = 6 * SKIP_WIDTH;

/// The reference's `msau` but for its `reduce`, which [`super::line::Line`] computes.
pub(crate) struct Msau {
    measure: Kernel,
    apply: Kernel,
    weights: Buffer<f16>,
    constants: Buffer<f32>,
}

/// What one skip's two kernels hand on; no two skips that run together may share it.
pub(crate) struct MsauScratch {
    x1: Buffer<f16>,
    column_sums: Buffer<f32>,
    parts: Buffer<f32>,
}

impl MsauScratch {
    /// Allocates for maps of `size` `[h, w]`.
    pub(crate) fn new(gpu: &Gpu, size: [usize; 2]) -> Result<Self, CudaError> {
        let [tiles_x, tiles_y, _] = grid_of_tiles(size, TILE).map(|tiles| tiles as usize);
        Ok(Self {
            x1: Buffer::new(gpu, INNER * size[0] * size[1])?,
            column_sums: Buffer::new(gpu, tiles_y * size[1] * INNER)?,
            parts: Buffer::new(gpu, tiles_x * tiles_y * PARTS)?,
        })
    }
}

/// The argument of both kernels.
#[repr(C)]
#[derive(Clone, Copy)]
struct Parameters {
    map: u64,
    reduced: u64,
    x1: u64,
    out: u64,
    column_sums: u64,
    parts: u64,
    weights: u64,
    constants: u64,
    size: [i32; 2],
    tiles: [i32; 2],
}

impl Msau {
    /// Packs the weights below `layers`, `msau`'s.
    pub(crate) fn new(gpu: &Gpu, layers: &Layers<'_>) -> Result<Self> {
        let folded = FoldedMsau::new(layers)?;
        let [_, max] = &folded.branches;
        let weights = fragments_from_conv(&max.weights, SKIP_WIDTH, SKIP_WIDTH, 9);
        Ok(Self {
            measure: gpu.kernel("msau", "msau_measure")?,
            apply: gpu.kernel("msau", "msau_apply")?,
            weights: Buffer::from_slice(gpu, &weights)?,
            constants: Buffer::from_slice(gpu, &constants(&folded))?,
        })
    }

    /// Puts it on `stream`: from `line` `[2, h, w, 8]` and its `reduced` `[1, h, w, 8]` to `out`
    /// `[2, h, w, 8]`.
    ///
    /// Errs if a buffer is too small or a side is 0 or too long.
    pub(crate) fn launch(
        &self,
        stream: &Stream,
        [line, reduced]: [&Buffer<f16>; 2],
        size: [usize; 2],
        out: &Buffer<f16>,
        scratch: &MsauScratch,
    ) -> Result<(), CudaError> {
        let area = size[0] * size[1];
        line.check_len("MSAU's input", SKIP_WIDTH * area)?;
        reduced.check_len("MSAU's reduced input", INNER * area)?;
        out.check_len("MSAU's output", SKIP_WIDTH * area)?;
        let kernel_size = kernel_size("a side of MSAU's input", size)?;
        let grid = grid_of_tiles(size, TILE);
        let [tiles_x, tiles_y, _] = grid.map(|tiles| tiles as usize);
        scratch.x1.check_len("MSAU's X1", INNER * area)?;
        let sums = tiles_y * size[1] * INNER;
        scratch.column_sums.check_len("MSAU's column sums", sums)?;
        let parts = tiles_x * tiles_y * PARTS;
        scratch.parts.check_len("MSAU's parts", parts)?;
        let parameters = Parameters {
            map: line.address(),
            reduced: reduced.address(),
            x1: scratch.x1.address(),
            out: out.address(),
            column_sums: scratch.column_sums.address(),
            parts: scratch.parts.address(),
            weights: self.weights.address(),
            constants: self.constants.address(),
            size: kernel_size,
            tiles: [tiles_x as i32, tiles_y as i32],
        };
        for (kernel, threads) in [&self.measure, &self.apply].into_iter().zip(THREADS) {
            let launch = Launch::new(grid, threads, 0);
            // SAFETY: the parameters are both kernels' struct; the maps were checked above, and the
            // weights and constants are those that `new` packed for them.
            unsafe { kernel.launch(stream, &launch, &parameters)? };
        }
        Ok(())
    }
}

/// Returns the kernels' `Constants`.
fn constants(folded: &FoldedMsau) -> Vec<f32> {
    let FoldedMsau {
        depthwise,
        gate,
        gate_bias,
        expand,
        expand_bias,
        branches: [mean, max],
    } = folded;
    let mut out = max.bias.clone();
    for (column, row) in (0..7).flat_map(|column| (0..7).map(move |row| (column, row))) {
        out.extend((0..INNER).map(|c| depthwise[(c * 7 + row) * 7 + column]));
    }
    for tap in 0..INNER * 7 {
        out.extend((0..INNER).map(|channel| gate[channel * INNER * 7 + tap]));
    }
    out.extend(gate_bias);
    for c in 0..INNER {
        out.extend((0..SKIP_WIDTH).map(|channel| expand[channel * INNER + c]));
    }
    out.extend(expand_bias);
    out.extend(&mean.weights);
    out.extend(&mean.bias);
    let mlps = [&mean.mlp, &max.mlp];
    out.extend(mlps.iter().flat_map(|mlp| &mlp.hidden));
    out.extend(mlps.iter().flat_map(|mlp| &mlp.hidden_bias));
    out.extend(mlps.iter().flat_map(|mlp| &mlp.out));
    out.extend(mlps.iter().flat_map(|mlp| &mlp.out_bias));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::against_cpu::{
        Closeness, SIZES, gpu_and_small, made_map, poisoned, print_times, seeded, tensor_from_map,
    };
    use crate::engine::map::blocked_from_planes;
    use crate::network::layers::ChannelOrder;
    use crate::network::msau::Msau as CpuMsau;
    use crate::ops::conv::Geometry;
    use crate::ops::{ConvChain, CpuPath};

    fn poisoned_scratch(gpu: &Gpu, size: [usize; 2]) -> anyhow::Result<MsauScratch> {
        let scratch = MsauScratch::new(gpu, size)?;
        let stream = gpu.stream();
        scratch.x1.fill_bytes(0xFF, &stream)?;
        scratch.column_sums.fill_bytes(0xFF, &stream)?;
        scratch.parts.fill_bytes(0xFF, &stream)?;
        Ok(scratch)
    }

    #[test]
    fn msau_equals_the_cpus_at_any_size_and_its_bits_repeat() -> anyhow::Result<()> {
        let weights = seeded()?;
        let layers = Layers::new(&weights, CpuPath::best()).pp("msau");
        let cpu = CpuMsau::new(&layers)?;
        let reduce = {
            let geometry = Geometry::square(SKIP_WIDTH, INNER, 1, 1);
            let natural = ChannelOrder::natural(SKIP_WIDTH);
            ConvChain::new(vec![layers.conv_act("reduce", geometry, &natural, None)?])
        };
        for gpu in gpu_and_small()? {
            let msau = Msau::new(&gpu, &layers)?;
            for size in SIZES {
                let area = size[0] * size[1];
                let (line, tensor) = made_map(&gpu, "line", SKIP_WIDTH, size)?;
                let reduced = tensor.apply_op1_no_bwd(&reduce)?;
                let reduced: Vec<f32> = reduced.flatten_all()?.to_vec1()?;
                let reduced = Buffer::from_slice(&gpu, &blocked_from_planes(&reduced, area))?;
                let mut runs = Vec::new();
                for _ in 0..2 {
                    let out = poisoned(&gpu, SKIP_WIDTH * area)?;
                    let scratch = poisoned_scratch(&gpu, size)?;
                    msau.launch(&gpu.stream(), [&line, &reduced], size, &out, &scratch)?;
                    // t, X1 and the output in f16: 2^-11 each.
                    Closeness {
                        norm: 1e-3,
                        largest: 3e-3,
                    }
                    .check(
                        &format!("msau {size:?}"),
                        &tensor_from_map(&out, size)?,
                        &tensor.apply_op1_no_bwd(&cpu)?,
                    )?;
                    runs.push(out.to_vec()?);
                }
                assert!(runs[0] == runs[1], "{size:?}: not the same bits again");
            }
        }
        Ok(())
    }

    #[test]
    #[ignore = "prints times instead of testing"]
    fn microseconds_of_msau() -> anyhow::Result<()> {
        let weights = seeded()?;
        let layers = Layers::new(&weights, CpuPath::best()).pp("msau");
        let [gpu, _] = gpu_and_small()?;
        let msau = Msau::new(&gpu, &layers)?;
        for size in [
            [128, 256],
            [64, 128],
            [32, 64],
            [90, 120],
            [45, 60],
            [23, 30],
        ] {
            let (line, _) = made_map(&gpu, "line", SKIP_WIDTH, size)?;
            let (reduced, _) = made_map(&gpu, "reduced", INNER, size)?;
            let out = poisoned(&gpu, SKIP_WIDTH * size[0] * size[1])?;
            let scratch = MsauScratch::new(&gpu, size)?;
            print_times(&gpu, &format!("msau {size:?}, both kernels"), |stream| {
                msau.launch(stream, [&line, &reduced], size, &out, &scratch)
            })?;
        }
        Ok(())
    }
}
