//! A stage of EDABs on the GPU, in one launch: its blocks meet at a barrier of the grid between the steps, or
//! of their cluster where the map is small.

use half::f16;

use super::driver::{Buffer, CudaError, Gpu, Kernel, Launch, Stream};
use super::extent::kernel_size;
use crate::error::Result;
use crate::network::layers::{ChannelOrder, Layers};
use crate::ops::ChannelActivation;
use cluster::ClusterStage;
use weights::{dense_bytes, identity, stage_weights, step_bytes, taps_bytes};

mod cluster;
#[cfg(test)]
mod tests;
mod weights;

/// One instance of the kernel, by the tiles of its two steps: of kernels/edab_stage.cu.
struct Shape {
    name: &'static str,
    /// Pixels of the dense step's, `[rows, columns]`.
    tile: [usize; 2],
    /// Warps by rows in that step's products of strips.
    up_rows: usize,
    /// Rows of the depthwise step's.
    strip_rows: usize,
    /// Warps of a block.
    warps: u32,
}

/// Instances for maps of 16, 64 and 128 channels, those of small tiles or many warps first: they are the faster
/// where each tile finds a multiprocessor of its own.
fn shapes(channels: usize) -> &'static [Shape] {
    const fn shape(
        name: &'static str,
        tile: [usize; 2],
        up_rows: usize,
        strip_rows: usize,
        warps: u32,
    ) -> Shape {
        Shape {
            name,
            tile,
            up_rows,
            strip_rows,
            warps,
        }
    }
    match channels {
        128 => {
            const {
                &[
                    shape("128_small", [4, 8], 2, 4, 8),
                    shape("128", [8, 8], 2, 8, 8),
                    shape("128_large", [8, 16], 4, 8, 8),
                ]
            }
        }
        64 => {
            const {
                &[
                    shape("64_small", [6, 16], 8, 8, 16),
                    shape("64", [8, 16], 4, 8, 8),
                ]
            }
        }
        _ => {
            const {
                &[
                    shape("16_small", [8, 8], 8, 4, 8),
                    shape("16_medium", [7, 12], 8, 4, 8),
                    shape("16", [8, 16], 8, 4, 8),
                ]
            }
        }
    }
}

/// Most columns of a depthwise step's tile.
const STRIP_COLUMNS: usize = 64;

/// Most blocks of EDAB in a stage.
const MAX_BLOCKS: usize = 16;

/// Blocks of 16, 64 or 128 channels, with what follows the last.
pub(crate) struct EdabStage {
    channels: usize,
    dilations: Vec<usize>,
    weights: Buffer<u8>,
    multiprocessors: usize,
    cluster: Option<ClusterStage>,
    /// As [`shapes`] orders them.
    variants: Vec<Variant>,
}

/// An instance of the kernel on this card.
struct Variant {
    shape: &'static Shape,
    kernel: Kernel,
    launch: Launch,
    /// Blocks that fit on the card together.
    resident: u32,
}

/// Maps and sums between the steps of a stage; stages of one stream share them.
pub(crate) struct EdabScratch {
    /// Both are read beyond a tile while the next is written, so they alternate.
    x: [Buffer<f16>; 2],
    u: [Buffer<f16>; 2],
    l: Buffer<f16>,
    g: Buffer<f16>,
    row_means: Buffer<f16>,
    column_means: Buffer<f16>,
    local_sums: [Buffer<u64>; 2],
    barrier: Buffer<u32>,
}

impl EdabScratch {
    /// Allocates for stages of these channels and sizes `[h, w]`.
    pub(crate) fn new(gpu: &Gpu, stages: &[(usize, [usize; 2])]) -> Result<Self, CudaError> {
        let most = |elements: &dyn Fn(usize, [usize; 2]) -> usize| {
            let each = stages
                .iter()
                .map(|&(channels, size)| elements(channels, size));
            each.max().unwrap_or(0)
        };
        let x = most(&|c, [h, w]| c * h * w);
        let channels = most(&|c, _| c / 2);
        let row_parts = |c, [h, w]: [usize; 2]| w.div_ceil(STRIP_COLUMNS) * h * c / 2;
        let column_parts = |c, [h, w]: [usize; 2]| {
            let rows = shapes(c).iter().map(|shape| shape.strip_rows);
            h.div_ceil(rows.min().unwrap_or(1)) * w * c / 2
        };
        Ok(Self {
            x: [Buffer::new(gpu, x)?, Buffer::new(gpu, x)?],
            u: [Buffer::new(gpu, x / 2)?, Buffer::new(gpu, x / 2)?],
            l: Buffer::new(gpu, x / 2)?,
            g: Buffer::new(gpu, x / 2)?,
            row_means: Buffer::new(gpu, most(&row_parts))?,
            column_means: Buffer::new(gpu, most(&column_parts))?,
            local_sums: [Buffer::new(gpu, channels)?, Buffer::new(gpu, channels)?],
            barrier: Buffer::from_slice(gpu, &[0])?,
        })
    }
}

/// The argument of `edab_stage_*`.
#[repr(C)]
#[derive(Clone, Copy)]
struct StageParameters {
    input: u64,
    out: u64,
    weights: u64,
    x: [u64; 2],
    u: [u64; 2],
    l: u64,
    g: u64,
    row_means: u64,
    column_means: u64,
    local_sums: [u64; 2],
    barrier: u64,
    size: [i32; 2],
    count: i32,
    per_row: f32,
    per_column: f32,
    per_pixel: f32,
    tile_w: i32,
    tiles_x: i32,
    tiles_y: i32,
    reach: i32,
    dilations: [i32; MAX_BLOCKS],
}

impl EdabStage {
    /// Packs the blocks below `layers`, the first reading channels in `order`, and the batch norm and
    /// PReLU `act` after the last, if any. Also returns the order of the output's channels.
    pub(crate) fn new(
        gpu: &Gpu,
        layers: &Layers<'_>,
        order: &ChannelOrder,
        dilations: &[usize],
        act: impl FnOnce(&ChannelOrder) -> Result<Option<ChannelActivation>>,
    ) -> Result<(Self, ChannelOrder)> {
        let channels = order.len();
        if dilations.len() > MAX_BLOCKS {
            return Err(CudaError::Limit {
                what: "the EDABs of a stage",
                limit: MAX_BLOCKS,
                got: dilations.len(),
            }
            .into());
        }
        let mut orders = vec![order.clone()];
        for _ in dilations {
            orders.extend(orders.last().map(ChannelOrder::shuffled));
        }
        let out_order = orders[dilations.len()].clone();
        let act = act(&out_order)?.unwrap_or_else(|| identity(channels));
        let weights = stage_weights(layers, &orders, &act)?;
        let variant = |shape| Variant::new(gpu, channels, dilations, shape);
        let stage = Self {
            channels,
            dilations: dilations.to_vec(),
            weights: Buffer::from_slice(gpu, &weights)?,
            multiprocessors: gpu.multiprocessors() as usize,
            cluster: match channels {
                cluster::CHANNELS => ClusterStage::new(gpu, dilations)?,
                _ => None,
            },
            variants: (shapes(channels).iter().map(variant)).collect::<Result<_, _>>()?,
        };
        Ok((stage, out_order))
    }

    /// Puts the stage on `stream`: from `input` to `output`, both `[c/8, h, w, 8]` of this size.
    pub(crate) fn launch(
        &self,
        stream: &Stream,
        input: &Buffer<f16>,
        output: &Buffer<f16>,
        size: [usize; 2],
        scratch: &EdabScratch,
    ) -> Result<(), CudaError> {
        let kernel_size = kernel_size("an EDAB stage's map", size)?;
        let len = self.channels * size[0] * size[1];
        // The kernel counts pairs of channels in 32 bits.
        if len / 2 > u32::MAX as usize {
            return Err(CudaError::Limit {
                what: "an EDAB stage's elements",
                limit: 2 * u32::MAX as usize,
                got: len,
            });
        }
        input.check_len("an EDAB stage's input", len)?;
        output.check_len("an EDAB stage's output", len)?;
        if let Some(cluster) = &self.cluster
            && cluster.takes(size)?
        {
            return cluster.launch(stream, &self.weights, input, output, size);
        }
        let h = self.channels / 2;
        for x in &scratch.x {
            x.check_len("an EDAB stage's maps", len)?;
        }
        let [u0, u1] = &scratch.u;
        for map in [u0, u1, &scratch.l, &scratch.g] {
            map.check_len("an EDAB stage's trunk and branches", len / 2)?;
        }
        let dense_tiles = |variant: &Variant| {
            let [rows, columns] = variant.shape.tile;
            size[0].div_ceil(rows) * size[1].div_ceil(columns)
        };
        let fits = |variant: &&Variant| dense_tiles(variant) <= self.multiprocessors;
        let last = &self.variants[self.variants.len() - 1];
        let variant = self.variants.iter().find(fits).unwrap_or(last);
        let strip_columns = STRIP_COLUMNS.min(size[1]);
        let tiles_y = size[0].div_ceil(variant.shape.strip_rows);
        let tiles_x = size[1].div_ceil(strip_columns);
        (scratch.row_means).check_len("an EDAB stage's row means", tiles_x * size[0] * h)?;
        (scratch.column_means).check_len("an EDAB stage's column means", tiles_y * size[1] * h)?;
        for sums in &scratch.local_sums {
            sums.check_len("an EDAB stage's local sums", h)?;
        }
        let parameters = StageParameters {
            input: input.address(),
            out: output.address(),
            weights: self.weights.address(),
            x: scratch.x.each_ref().map(Buffer::address),
            u: scratch.u.each_ref().map(Buffer::address),
            l: scratch.l.address(),
            g: scratch.g.address(),
            row_means: scratch.row_means.address(),
            column_means: scratch.column_means.address(),
            local_sums: scratch.local_sums.each_ref().map(Buffer::address),
            barrier: scratch.barrier.address(),
            size: kernel_size,
            count: self.dilations.len() as i32,
            per_row: 1.0 / size[0] as f32,
            per_column: 1.0 / size[1] as f32,
            per_pixel: 1.0 / (size[0] * size[1]) as f32,
            tile_w: strip_columns as i32,
            tiles_x: tiles_x as i32,
            tiles_y: tiles_y as i32,
            reach: reach(&self.dilations) as i32,
            dilations: kernel_dilations(&self.dilations),
        };
        let tiles = dense_tiles(variant).max(tiles_y * tiles_x * h / 8) as u32;
        let launch = Launch {
            grid: [tiles.min(variant.resident), 1, 1],
            ..variant.launch
        };
        // SAFETY: the parameters are the kernel's struct, its buffers were checked above, and the weights
        // were packed for it.
        unsafe { variant.kernel.launch(stream, &launch, &parameters) }
    }
}

impl Variant {
    fn new(
        gpu: &Gpu,
        channels: usize,
        dilations: &[usize],
        shape: &'static Shape,
    ) -> Result<Self, CudaError> {
        let shared_bytes = |is_staged| shared_bytes(channels, dilations, shape, is_staged);
        // The kernel's own static shared memory comes on top.
        let is_staged = shared_bytes(true) + 5120 <= gpu.shared_memory_bytes() as usize;
        let suffix = if is_staged { "" } else { "_lean" };
        let kernel = gpu.kernel("edab_stage", &format!("edab_stage_{}{suffix}", shape.name))?;
        let launch = Launch {
            is_cooperative: true,
            ..Launch::new([1, 1, 1], 32 * shape.warps, shared_bytes(is_staged) as u32)
        };
        Ok(Self {
            shape,
            resident: kernel.resident_blocks(&launch)? * gpu.multiprocessors(),
            kernel,
            launch,
        })
    }
}

/// Returns a stage's dilations as its kernels take them, with ones beyond the last.
fn kernel_dilations(dilations: &[usize]) -> [i32; MAX_BLOCKS] {
    let mut all = [1; MAX_BLOCKS];
    for (to, dilation) in all.iter_mut().zip(dilations) {
        *to = *dilation as i32;
    }
    all
}

/// Returns the largest of a stage's dilations.
fn reach(dilations: &[usize]) -> usize {
    dilations.iter().copied().max().unwrap_or(1)
}

/// Shared memory of `edab_stage_*`, which checks it.
fn shared_bytes(channels: usize, dilations: &[usize], shape: &Shape, is_staged: bool) -> usize {
    let [tile_h, tile_w] = shape.tile;
    let h = channels / 2;
    let [rows, columns] = [tile_h + 2, tile_w + 2];
    let strip = tile_h * columns;
    // What up1 reads of r, and all of its warps write to u1.
    let reads = strip.next_multiple_of(16) + 2 * columns;
    let r = (rows * columns).next_multiple_of(16).max(reads);
    let u1 = strip.next_multiple_of(16 * shape.up_rows);
    let lines = rows.next_multiple_of(16) + columns.next_multiple_of(16);
    let narrow = (h + 8) * 2;
    let dense = (r + u1 + 2 * lines) * narrow + (h * 2).next_multiple_of(16) + h * 4;
    let stride = (STRIP_COLUMNS + 2 * reach(dilations) + 3) / 8 * 8 + 4;
    let depthwise = 2 * shape.strip_rows * stride * 16;
    let weights = match (is_staged, channels) {
        (false, _) => 0,
        (true, 16) => (dilations.len() + 1) * step_bytes(channels),
        (true, _) => dense_bytes(channels) + 2 * taps_bytes(channels),
    };
    weights + dense.max(depthwise)
}
