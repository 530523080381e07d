//! A stage of EDABs on the GPU: two kernels a block, one dense and one depthwise, or one for all.
//!
//! The dense kernel ends one block and begins the next, so a stage of n blocks takes 2 n + 1 launches. A
//! small map of 16 channels goes through its whole stage in one launch, by one cluster.

use half::f16;

use super::driver::{Buffer, CudaError, Gpu, Kernel, Launch, Stream};
use super::extent::{grid_of_tiles, kernel_size};
use crate::error::Result;
use crate::network::layers::{ChannelOrder, Layers};
use crate::ops::ChannelActivation;
use weights::{depthwise_taps, enter_bytes, enter_weights, identity, leave_bytes, leave_weights};

#[cfg(test)]
mod tests;
mod weights;

/// Pixels of a dense kernel's tile, `[rows, columns]`.
fn dense_tile(channels: usize) -> [usize; 2] {
    match channels {
        128 => [8, 8],
        _ => [8, 16],
    }
}

/// Threads of a dense kernel's block.
const DENSE_THREADS: u32 = 256;

/// Threads of the depthwise kernel's.
const DEPTHWISE_THREADS: u32 = 512;

/// Where a dense kernel stands in its stage.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    First,
    Middle,
    Last,
}

/// Blocks of one width, 16, 64 or 128 channels, with what follows the last.
pub(crate) struct EdabStage {
    channels: usize,
    blocks: Vec<Block>,
    /// First, middle, last.
    dense: [DenseKernel; 3],
    depthwise: Kernel,
    /// The whole stage in one launch, where the card has clusters.
    cluster: Option<ClusterKernel>,
    shared_memory_bytes: u32,
}

/// `edab_cluster`, and the blocks' weights one after the other.
struct ClusterKernel {
    kernel: Kernel,
    weights: Buffer<u8>,
    weights_bytes: usize,
}

struct Block {
    enter: Buffer<u8>,
    leave: Buffer<u8>,
    taps: Buffer<f32>,
    dilation: usize,
}

struct DenseKernel {
    kernel: Kernel,
    shared_bytes: u32,
}

/// Maps and sums that a stage needs between its kernels; stages of one stream share them.
pub(crate) struct EdabScratch {
    /// Both are read beyond a tile while the next is written, so they alternate.
    x: [Buffer<f16>; 2],
    u: [Buffer<f16>; 2],
    l: Buffer<f16>,
    g: Buffer<f16>,
    row_means: Buffer<f16>,
    column_means: Buffer<f16>,
    local_sums: Buffer<f32>,
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
        // The smallest depthwise tile has one row.
        let rows = most(&|c, [h, w]| w.div_ceil(NARROWEST_TILE) * h * c / 2);
        let columns = most(&|c, [h, w]| h * w * c / 2);
        let local = most(&|c, [h, w]| w.div_ceil(NARROWEST_TILE) * h * c / 2);
        Ok(Self {
            x: [Buffer::new(gpu, x)?, Buffer::new(gpu, x)?],
            u: [Buffer::new(gpu, x / 2)?, Buffer::new(gpu, x / 2)?],
            l: Buffer::new(gpu, x / 2)?,
            g: Buffer::new(gpu, x / 2)?,
            row_means: Buffer::new(gpu, rows)?,
            column_means: Buffer::new(gpu, columns)?,
            local_sums: Buffer::new(gpu, local)?,
        })
    }
}

/// The argument of `edab_dense_*`.
#[repr(C)]
#[derive(Clone, Copy)]
struct DenseParameters {
    x: u64,
    u: u64,
    l: u64,
    g: u64,
    row_means: u64,
    column_means: u64,
    local_sums: u64,
    leave: u64,
    enter: u64,
    x_out: u64,
    u_out: u64,
    size: [i32; 2],
    row_parts: i32,
    column_parts: i32,
    local_parts: i32,
}

/// The argument of `edab_depthwise`.
#[repr(C)]
#[derive(Clone, Copy)]
struct DepthwiseParameters {
    u: u64,
    taps: u64,
    l: u64,
    g: u64,
    row_means: u64,
    column_means: u64,
    local_sums: u64,
    size: [i32; 2],
    dilation: i32,
    tile: [i32; 2],
}

/// Columns of the depthwise kernel's narrowest tile, where the map has as many.
const NARROWEST_TILE: usize = 128;

/// Channels of a stage that a cluster takes in one launch.
const CLUSTER_CHANNELS: usize = 16;

/// Blocks of that cluster.
const CLUSTER_BLOCKS: usize = 8;

/// Threads of each.
const CLUSTER_THREADS: u32 = 512;

/// Most blocks of EDAB that it takes.
const MAX_CLUSTER_STAGE: usize = 16;

/// Most pixels for one of them: with more, the two kernels a block of the stage are faster.
const CLUSTER_PIXELS: usize = 512;

/// The argument of `edab_cluster`.
#[repr(C)]
#[derive(Clone, Copy)]
struct ClusterParameters {
    x: u64,
    weights: u64,
    out: u64,
    size: [i32; 2],
    count: i32,
    dilations: [i32; MAX_CLUSTER_STAGE],
}

/// How the depthwise kernel divides a map.
#[derive(Clone, Copy)]
struct DepthwiseTiles {
    tile: [usize; 2],
    tiles: [usize; 2],
    shared_bytes: usize,
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
        let mut orders = vec![order.clone()];
        for _ in dilations {
            orders.extend(orders.last().map(ChannelOrder::shuffled));
        }
        let out_order = orders[dilations.len()].clone();
        let act = act(&out_order)?.unwrap_or_else(|| identity(channels));
        let mut all = Vec::new();
        let blocks = (dilations.iter().zip(&orders).enumerate())
            .map(|(i, (&dilation, order))| {
                let layers = layers.pp(i);
                let enter = enter_weights(&layers, order)?;
                let leave = leave_weights(&layers, order, &act)?;
                let taps = depthwise_taps(&layers, channels / 2)?;
                all.extend(enter.iter().chain(&leave).copied());
                all.extend(taps.iter().flat_map(|tap| tap.to_ne_bytes()));
                Ok(Block {
                    enter: Buffer::from_slice(gpu, &enter)?,
                    leave: Buffer::from_slice(gpu, &leave)?,
                    taps: Buffer::from_slice(gpu, &taps)?,
                    dilation,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let is_small = channels == CLUSTER_CHANNELS && blocks.len() <= MAX_CLUSTER_STAGE;
        let cluster = (is_small && gpu.has_clusters()).then(|| {
            Ok::<_, CudaError>(ClusterKernel {
                kernel: gpu.kernel("edab_cluster", "edab_cluster")?,
                weights: Buffer::from_slice(gpu, &all)?,
                weights_bytes: all.len(),
            })
        });
        let dense = |place| DenseKernel::new(gpu, channels, place);
        let stage = Self {
            channels,
            blocks,
            dense: [
                dense(Place::First)?,
                dense(Place::Middle)?,
                dense(Place::Last)?,
            ],
            depthwise: gpu.kernel("edab_depthwise", "edab_depthwise")?,
            cluster: cluster.transpose()?,
            shared_memory_bytes: gpu.shared_memory_bytes(),
        };
        Ok((stage, out_order))
    }

    /// Puts the stage on `stream`: from `input` to `output`, both `[c/8, h, w, 8]` of this size.
    ///
    /// `after_block(i, map)` is called when block i's kernels are on the stream, with the map that holds
    /// its output; not for the last block, whose activation is already applied, nor where the whole
    /// stage is one launch.
    pub(crate) fn launch<E: From<CudaError>>(
        &self,
        stream: &Stream,
        input: &Buffer<f16>,
        output: &Buffer<f16>,
        [height, width]: [usize; 2],
        scratch: &EdabScratch,
        mut after_block: impl FnMut(usize, &Buffer<f16>) -> Result<(), E>,
    ) -> Result<(), E> {
        let size = kernel_size("an EDAB stage's map", [height, width])?;
        let (h, area) = (self.channels / 2, height * width);
        input.check_len("an EDAB stage's input", self.channels * area)?;
        output.check_len("an EDAB stage's output", self.channels * area)?;
        if let Some(cluster) = &self.cluster
            && let Some(shared_bytes) = self.band_bytes([height, width], cluster)
        {
            let mut dilations = [1; MAX_CLUSTER_STAGE];
            for (dilation, block) in dilations.iter_mut().zip(&self.blocks) {
                *dilation = block.dilation as i32;
            }
            let parameters = ClusterParameters {
                x: input.address(),
                weights: cluster.weights.address(),
                out: output.address(),
                size,
                count: self.blocks.len() as i32,
                dilations,
            };
            let launch = Launch {
                cluster: CLUSTER_BLOCKS as u32,
                ..Launch::new(
                    [CLUSTER_BLOCKS as u32, 1, 1],
                    CLUSTER_THREADS,
                    shared_bytes as u32,
                )
            };
            // SAFETY: the parameters are the kernel's struct, and its buffers were checked above.
            unsafe { cluster.kernel.launch(stream, &launch, &parameters)? };
            return Ok(());
        }
        for x in &scratch.x {
            x.check_len("an EDAB stage's maps", self.channels * area)?;
        }
        let [u0, u1] = &scratch.u;
        for map in [u0, u1, &scratch.l, &scratch.g] {
            map.check_len("an EDAB stage's trunk and branches", h * area)?;
        }
        let grid = grid_of_tiles([height, width], dense_tile(self.channels));
        let mut parameters = DenseParameters {
            x: input.address(),
            u: 0,
            l: scratch.l.address(),
            g: scratch.g.address(),
            row_means: scratch.row_means.address(),
            column_means: scratch.column_means.address(),
            local_sums: scratch.local_sums.address(),
            leave: 0,
            enter: 0,
            x_out: 0,
            u_out: 0,
            size,
            row_parts: 0,
            column_parts: 0,
            local_parts: 0,
        };
        for (i, block) in self.blocks.iter().enumerate() {
            parameters.enter = block.enter.address();
            parameters.u = parameters.u_out;
            parameters.u_out = scratch.u[i % 2].address();
            let place = if i == 0 { Place::First } else { Place::Middle };
            if i > 0 {
                parameters.x_out = scratch.x[i % 2].address();
            }
            self.dense_launch(stream, place, grid, &parameters)?;
            if i > 0 {
                parameters.x = parameters.x_out;
                after_block(i - 1, &scratch.x[i % 2])?;
            }
            let tiles = self.depthwise_tiles([height, width], block.dilation)?;
            let [tiles_y, tiles_x] = tiles.tiles;
            let (rows, columns) = (tiles_x * height * h, tiles_y * width * h);
            scratch
                .row_means
                .check_len("an EDAB stage's row means", rows)?;
            (scratch.column_means).check_len("an EDAB stage's column means", columns)?;
            let locals = tiles_y * tiles_x * h;
            scratch
                .local_sums
                .check_len("an EDAB stage's local sums", locals)?;
            let depthwise = DepthwiseParameters {
                u: parameters.u_out,
                taps: block.taps.address(),
                l: scratch.l.address(),
                g: scratch.g.address(),
                row_means: scratch.row_means.address(),
                column_means: scratch.column_means.address(),
                local_sums: scratch.local_sums.address(),
                size,
                dilation: block.dilation as i32,
                tile: tiles.tile.map(|side| side as i32),
            };
            let grid = [tiles_y, tiles_x, h / 8].map(|blocks| blocks as u32);
            let launch = Launch::new(grid, DEPTHWISE_THREADS, tiles.shared_bytes as u32);
            // SAFETY: the parameters are the kernel's struct, and its buffers were checked above.
            unsafe { self.depthwise.launch(stream, &launch, &depthwise)? };
            parameters.leave = block.leave.address();
            parameters.row_parts = tiles_x as i32;
            parameters.column_parts = tiles_y as i32;
            parameters.local_parts = (tiles_y * tiles_x) as i32;
        }
        parameters.u = parameters.u_out;
        parameters.x_out = output.address();
        self.dense_launch(stream, Place::Last, grid, &parameters)?;
        Ok(())
    }

    /// Returns the shared memory of a block of the cluster, where a map of this size is one's.
    fn band_bytes(&self, [height, width]: [usize; 2], cluster: &ClusterKernel) -> Option<usize> {
        let band = height.div_ceil(CLUSTER_BLOCKS);
        if band * width > CLUSTER_PIXELS {
            return None;
        }
        let pixels = 9 * band * width + 2 * width + 2 * band;
        let lines = band.next_multiple_of(16) + width.next_multiple_of(16);
        // Maps, column sums, means and gates, as kernels/edab_cluster.cu lays them out.
        let bytes = pixels * 16 + width * 32 + lines * (32 + 16) + cluster.weights_bytes;
        // The kernel's own static shared memory comes on top.
        (bytes + 2048 <= self.shared_memory_bytes as usize).then_some(bytes)
    }

    fn dense_launch(
        &self,
        stream: &Stream,
        place: Place,
        grid: [u32; 3],
        parameters: &DenseParameters,
    ) -> Result<(), CudaError> {
        let dense = &self.dense[place as usize];
        let launch = Launch::new(grid, DENSE_THREADS, dense.shared_bytes);
        // SAFETY: the parameters are the kernel's struct; `launch` checked the buffers, and the
        // weights were packed for this kernel.
        unsafe { dense.kernel.launch(stream, &launch, parameters) }
    }

    /// Divides a map into tiles that fit in shared memory: tall ones, since the dense kernel adds up
    /// the means of all tiles above each other.
    fn depthwise_tiles(
        &self,
        [height, width]: [usize; 2],
        dilation: usize,
    ) -> Result<DepthwiseTiles, CudaError> {
        // The kernel's own static shared memory comes on top.
        let limit = self.shared_memory_bytes as usize - 4096;
        let (tallest, widest) = match self.channels {
            128 => (4, 256),
            _ => (8, 128),
        };
        let tile_w = width.min(widest);
        let bytes = |tile_h: usize| 2 * tile_h * width.min(tile_w + 2 * dilation) * 16;
        // Low maps have too few rows for tall tiles.
        let mut tile_h = if height <= 32 { 4 } else { tallest };
        while tile_h > 1 && bytes(tile_h) > limit {
            tile_h /= 2;
        }
        if bytes(tile_h) > limit {
            return Err(CudaError::Limit {
                what: "an EDAB row's shared memory in bytes",
                limit,
                got: bytes(tile_h),
            });
        }
        Ok(DepthwiseTiles {
            tile: [tile_h, tile_w],
            tiles: [height.div_ceil(tile_h), width.div_ceil(tile_w)],
            shared_bytes: bytes(tile_h),
        })
    }
}

impl DenseKernel {
    fn new(gpu: &Gpu, channels: usize, place: Place) -> Result<Self, CudaError> {
        let bytes = |is_staged| dense_bytes(channels, place, is_staged);
        let is_staged = bytes(true) <= gpu.shared_memory_bytes() as usize;
        let shared_bytes = bytes(is_staged) as u32;
        let place = ["first", "middle", "last"][place as usize];
        let suffix = if is_staged { "" } else { "_lean" };
        let name = format!("edab_dense_{place}_{channels}{suffix}");
        Ok(Self {
            kernel: gpu.kernel("edab_dense", &name)?,
            shared_bytes,
        })
    }
}

/// Shared memory of a dense kernel, as `Tile` of kernels/edab_dense.cu lays it out (which checks it).
fn dense_bytes(channels: usize, place: Place, is_staged: bool) -> usize {
    let h = channels / 2;
    let [rows, columns] = dense_tile(channels).map(|side| match place {
        Place::Last => side,
        _ => side + 2,
    });
    let padded = (rows * columns).next_multiple_of(16);
    let lines = rows.next_multiple_of(16) + columns.next_multiple_of(16);
    let (joins, begins) = (place != Place::First, place != Place::Last);
    let [wide, narrow] = [(channels + 8) * 2, (h + 8) * 2];
    let mut bytes = padded * (wide + narrow);
    if begins {
        bytes += dense_tile(channels)[0] * columns * narrow;
    }
    if joins {
        bytes += 2 * lines * narrow + (h * 2).next_multiple_of(16) + h * 4;
    }
    if is_staged {
        bytes += if joins { leave_bytes(channels) } else { 0 };
        bytes += if begins { enter_bytes(channels) } else { 0 };
    }
    bytes
}
