//! A stage of EDABs on the GPU: two kernels a block, one dense and one depthwise.
//!
//! The dense kernel ends one block and begins the next, so a stage of n blocks takes 2 n + 1 launches.

use half::f16;

use super::driver::{Buffer, CudaError, Gpu, Kernel, Launch, Stream};
use super::pack::{fragments_from_conv, fragments_from_matrix};
use crate::error::Result;
use crate::network::layers::{ChannelOrder, Layers, columns_in_order, rows_in_order};
use crate::ops::ChannelActivation;
use crate::ops::conv::Geometry;

/// Pixels of a dense kernel's tile, `[rows, columns]`.
fn dense_tile(channels: usize) -> [usize; 2] {
    match channels {
        128 => [8, 8],
        _ => [8, 16],
    }
}

/// Threads of a dense kernel's block.
const DENSE_THREADS: u32 = 256;

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
    shared_memory_bytes: u32,
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
    row_sums: Buffer<f32>,
    column_sums: Buffer<f32>,
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
            row_sums: Buffer::new(gpu, rows)?,
            column_sums: Buffer::new(gpu, columns)?,
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
    row_sums: u64,
    column_sums: u64,
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
    row_sums: u64,
    column_sums: u64,
    local_sums: u64,
    size: [i32; 2],
    dilation: i32,
    tile: [i32; 2],
}

/// Columns of the depthwise kernel's narrowest tile, where the map has as many.
const NARROWEST_TILE: usize = 128;

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
        let blocks = (dilations.iter().zip(&orders).enumerate())
            .map(|(i, (&dilation, order))| {
                let layers = layers.pp(i);
                Ok(Block {
                    enter: Buffer::from_slice(gpu, &enter_weights(&layers, order)?)?,
                    leave: Buffer::from_slice(gpu, &leave_weights(&layers, order, &act)?)?,
                    taps: Buffer::from_slice(gpu, &depthwise_taps(&layers, channels / 2)?)?,
                    dilation,
                })
            })
            .collect::<Result<Vec<_>>>()?;
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
            shared_memory_bytes: gpu.shared_memory_bytes(),
        };
        Ok((stage, out_order))
    }

    /// Puts the stage on `stream`: from `input` to `output`, both `[c/8, h, w, 8]` of this size.
    ///
    /// `after_block(i, map)` is called when block i's kernels are on the stream, with the map that holds
    /// its output; not for the last block, whose activation is already applied.
    pub(crate) fn launch(
        &self,
        stream: &Stream,
        input: &Buffer<f16>,
        output: &Buffer<f16>,
        [height, width]: [usize; 2],
        scratch: &EdabScratch,
        mut after_block: impl FnMut(usize, &Buffer<f16>) -> Result<()>,
    ) -> Result<()> {
        let (h, area) = (self.channels / 2, height * width);
        input.check_len("an EDAB stage's input", self.channels * area)?;
        output.check_len("an EDAB stage's output", self.channels * area)?;
        for x in &scratch.x {
            x.check_len("an EDAB stage's maps", self.channels * area)?;
        }
        let [u0, u1] = &scratch.u;
        for map in [u0, u1, &scratch.l, &scratch.g] {
            map.check_len("an EDAB stage's trunk and branches", h * area)?;
        }
        let [tile_h, tile_w] = dense_tile(self.channels);
        let grid = [
            number(width.div_ceil(tile_w))?,
            number(height.div_ceil(tile_h))?,
            1,
        ];
        let size = [signed(height)?, signed(width)?];
        let mut parameters = DenseParameters {
            x: input.address(),
            u: 0,
            l: scratch.l.address(),
            g: scratch.g.address(),
            row_sums: scratch.row_sums.address(),
            column_sums: scratch.column_sums.address(),
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
            let row_parts = tiles_x;
            let sums = [
                (&scratch.row_sums, row_parts * height * h),
                (&scratch.column_sums, tiles_y * width * h),
                (&scratch.local_sums, tiles_y * tiles_x * h),
            ];
            for (buffer, needed) in sums {
                buffer.check_len("an EDAB stage's sums", needed)?;
            }
            let depthwise = DepthwiseParameters {
                u: parameters.u_out,
                taps: block.taps.address(),
                l: scratch.l.address(),
                g: scratch.g.address(),
                row_sums: scratch.row_sums.address(),
                column_sums: scratch.column_sums.address(),
                local_sums: scratch.local_sums.address(),
                size,
                dilation: signed(block.dilation)?,
                tile: [signed(tiles.tile[0])?, signed(tiles.tile[1])?],
            };
            let grid = [number(tiles_y)?, number(tiles_x)?, number(h / 8)?];
            let launch = Launch::new(grid, 512, number(tiles.shared_bytes)?);
            // SAFETY: the parameters are the kernel's struct, and its buffers were checked above.
            unsafe { self.depthwise.launch(stream, &launch, &depthwise)? };
            parameters.leave = block.leave.address();
            parameters.row_parts = signed(row_parts)?;
            parameters.column_parts = signed(tiles_y)?;
            parameters.local_parts = signed(tiles_y * tiles_x)?;
        }
        parameters.u = parameters.u_out;
        parameters.x_out = output.address();
        self.dense_launch(stream, Place::Last, grid, &parameters)
    }

    fn dense_launch(
        &self,
        stream: &Stream,
        place: Place,
        grid: [u32; 3],
        parameters: &DenseParameters,
    ) -> Result<()> {
        let dense = &self.dense[place as usize];
        let launch = Launch::new(grid, DENSE_THREADS, dense.shared_bytes);
        // SAFETY: the parameters are the kernel's struct; `launch` checked the buffers, and the
        // weights were packed for this kernel.
        unsafe { dense.kernel.launch(stream, &launch, parameters)? };
        Ok(())
    }

    /// Divides a map into tiles that fit in shared memory: tall ones, since the dense kernel adds up
    /// the sums of all tiles above each other, but so many that the multiprocessors have work.
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
        let mut tile_h = if height <= 32 {
            tallest.min(4)
        } else {
            tallest
        };
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
        let [staged, lean] = [true, false].map(|is_staged| dense_bytes(channels, place, is_staged));
        let is_staged = staged <= gpu.shared_memory_bytes() as usize;
        let place = ["first", "middle", "last"][place as usize];
        let suffix = if is_staged { "" } else { "_lean" };
        let name = format!("edab_dense_{place}_{channels}{suffix}");
        Ok(Self {
            kernel: gpu.kernel("edab_dense", &name)?,
            shared_bytes: number(if is_staged { staged } else { lean })?,
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

/// Bytes of one packed 16x8 operand.
const FRAGMENT: usize = 256;

fn leave_bytes(channels: usize) -> usize {
    let (h, k) = (channels / 2, (channels / 2).div_ceil(16));
    let fragments = k * (channels / 8) + 2 * k * (h / 8);
    (fragments * FRAGMENT + 16 + (3 * h + 3 * channels) * 2).next_multiple_of(16)
}

fn enter_bytes(channels: usize) -> usize {
    let h = channels / 2;
    let fragments = (channels / 16 + 2 * (3 * h).div_ceil(16)) * (h / 8);
    (fragments * FRAGMENT + 2 * h * 4 + (2 * h + 3 * channels) * 2).next_multiple_of(16)
}

/// `reduce`, `up1`, `up2` as fragments; both strips' bias, f32, and slope; `pre`'s scale, shift, slope.
fn enter_weights(layers: &Layers<'_>, order: &ChannelOrder) -> Result<Vec<u8>> {
    let (channels, h) = (order.len(), order.len() / 2);
    let natural = ChannelOrder::natural(h);
    let reduce = {
        let geometry = Geometry::square(channels, h, 1, 1);
        let weights = layers.values("reduce.weight", &[h, channels, 1, 1])?;
        columns_in_order(weights, order, &geometry)
    };
    let up1 = layers.folded("up1", Geometry::strip(h, h, [3, 1]), &natural)?;
    let up2 = layers.folded("up2", Geometry::strip(h, h, [1, 3]), &natural)?;
    let pre = layers.activation("pre", order)?;
    let mut bytes = bytes_from_halfs(&fragments_from_conv(&reduce, h, channels, 1));
    bytes.extend(bytes_from_halfs(&fragments_from_conv(
        &up1.weights,
        h,
        h,
        3,
    )));
    bytes.extend(bytes_from_halfs(&fragments_from_conv(
        &up2.weights,
        h,
        h,
        3,
    )));
    for values in [&up1.bias, &up2.bias] {
        bytes.extend(values.iter().flat_map(|value| value.to_ne_bytes()));
    }
    for values in [&up1.slope, &up2.slope, &pre.scale, &pre.shift, &pre.slope] {
        bytes.extend(bytes_from_halfs(&rounded(values)));
    }
    bytes.resize(enter_bytes(channels), 0);
    Ok(bytes)
}

/// `expand` and DDA's two halves as fragments; CA's taps, f32; `mid` and what follows, as scale, shift,
/// slope.
fn leave_weights(
    layers: &Layers<'_>,
    order: &ChannelOrder,
    act: &ChannelActivation,
) -> Result<Vec<u8>> {
    let (channels, h) = (order.len(), order.len() / 2);
    let expand = rows_in_order(layers.values("expand.weight", &[channels, h, 1, 1])?, order);
    let gate = layers.values("dda.conv.weight", &[h, 2 * h, 1, 1])?;
    let taps = layers.values("ca.conv.weight", &[1, 1, 3])?;
    let mid = layers.activation("mid", &ChannelOrder::natural(h))?;
    let mut bytes = bytes_from_halfs(&fragments_from_conv(&expand, channels, h, 1));
    for half in [0, h] {
        let half = fragments_from_matrix(h, h, |k, n| gate[n * 2 * h + half + k]);
        bytes.extend(bytes_from_halfs(&half));
    }
    bytes.extend(taps.iter().chain(&[0.0]).flat_map(|tap| tap.to_ne_bytes()));
    for act in [&mid, act] {
        for values in [&act.scale, &act.shift, &act.slope] {
            bytes.extend(bytes_from_halfs(&rounded(values)));
        }
    }
    bytes.resize(leave_bytes(channels), 0);
    Ok(bytes)
}

/// `[h/8, 20, 8]`: l1's three taps, bias and slope, then those of l2, g1 and g2.
fn depthwise_taps(layers: &Layers<'_>, h: usize) -> Result<Vec<f32>> {
    let kernels = [
        ("l1", [3, 1]),
        ("l2", [1, 3]),
        ("g1", [3, 1]),
        ("g2", [1, 3]),
    ];
    let mut out = vec![0.0; h * 20];
    for (i, (name, kernel)) in kernels.into_iter().enumerate() {
        let strip = layers.strip(name, h, kernel)?;
        for c in 0..h {
            let [a, b, d] = strip.taps[c];
            let values = [a, b, d, strip.bias[c], strip.slope[c]];
            for (j, value) in values.into_iter().enumerate() {
                out[(c / 8 * 20 + i * 5 + j) * 8 + c % 8] = value;
            }
        }
    }
    Ok(out)
}

fn identity(channels: usize) -> ChannelActivation {
    ChannelActivation {
        scale: vec![1.0; channels],
        shift: vec![0.0; channels],
        slope: vec![1.0; channels],
    }
}

fn rounded(values: &[f32]) -> Vec<f16> {
    values.iter().map(|value| f16::from_f32(*value)).collect()
}

fn bytes_from_halfs(halfs: &[f16]) -> Vec<u8> {
    halfs.iter().flat_map(|half| half.to_ne_bytes()).collect()
}

/// Returns a count as the driver takes it.
fn number(count: usize) -> Result<u32, CudaError> {
    u32::try_from(count).map_err(|_| CudaError::Limit {
        what: "a launch's size",
        limit: u32::MAX as usize,
        got: count,
    })
}

fn signed(count: usize) -> Result<i32, CudaError> {
    i32::try_from(count).map_err(|_| CudaError::Limit {
        what: "a map's side",
        limit: i32::MAX as usize,
        got: count,
    })
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::engine::against_cpu::difference;
    use crate::engine::driver::GpuLimits;
    use crate::engine::map::{blocked_from_planes, planes_from_blocked};
    use crate::network::Weights;
    use crate::network::stage::Stage;
    use crate::network::trace::{Trace, in_natural_order};
    use crate::ops::CpuPath;
    use crate::seeded::{bits, seeded_weights};

    /// f16 storage of three maps a block, each rounded to 2^-11 of its value, through up to 12 blocks.
    const TOLERANCE: f64 = 4e-3;

    fn values(n: usize, seed: &str) -> Vec<f32> {
        (0..n as u64)
            .map(|i| (bits(seed, i) >> 40) as f32 / 8_388_608.0 - 1.0)
            .collect()
    }

    fn compare(name: &str, limits: GpuLimits, sizes: &[[usize; 2]]) -> anyhow::Result<()> {
        let gpu = Gpu::open(0, limits)?;
        let weights = Weights::from_bytes(&seeded_weights("A", 11)?)?;
        let layers = Layers::new(&weights, CpuPath::best());
        let (channels, dilations): (usize, &[usize]) = match name {
            "enc1" => (64, &[2, 2, 2]),
            "enc2" => (128, &[1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32]),
            "enc3" => (16, &[1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32]),
            _ => (16, &[2, 2, 2]),
        };
        let act = name.strip_prefix("enc").map(|n| format!("act{n}"));
        let order = match name {
            "enc2" => ChannelOrder::natural(64).shuffled().after(64),
            _ => ChannelOrder::natural(channels),
        };
        let below = layers.pp(name);
        let activation = |order: &ChannelOrder| {
            let act = act.as_ref().map(|act| layers.activation(act, order));
            Ok(act.transpose()?)
        };
        let (stage, out_order) = EdabStage::new(&gpu, &below, &order, dilations, activation)?;
        let cpu = Stage::new(&below, &order, dilations)?;
        let cpu = match activation(cpu.out_order())? {
            Some(act) => cpu.followed_by(act),
            None => cpu,
        };
        for &size in sizes {
            let area = size[0] * size[1];
            let input = values(channels * area, name);
            let map = blocked_from_planes(&input, area);
            let rounded = planes_from_blocked(&map, area);
            let mut trace = Trace::on();
            let tensor = Tensor::from_vec(rounded, (1, channels, size[0], size[1]), &Device::Cpu)?;
            let want = cpu.forward(tensor, (name, "act"), &mut trace)?;
            let want = in_natural_order(&want, &out_order)?;
            let traced = trace.into_tensors();
            let scratch = EdabScratch::new(&gpu, &[(channels, size)])?;
            let stream = gpu.stream();
            let ([u0, u1], [x0, x1]) = (&scratch.u, &scratch.x);
            let poisoned = [u0, u1, &scratch.l, &scratch.g, x0, x1];
            for map in poisoned {
                map.fill_bytes(0xFF, &stream)?;
            }
            for sums in [&scratch.row_sums, &scratch.column_sums, &scratch.local_sums] {
                sums.fill_bytes(0xFF, &stream)?;
            }
            let input = Buffer::from_slice(&gpu, &map)?;
            let output = Buffer::<f16>::new(&gpu, channels * area)?;
            output.fill_bytes(0xFF, &stream)?;
            let mut orders = vec![order.shuffled()];
            stage.launch(&stream, &input, &output, size, &scratch, |i, map| {
                let got = planes_from_blocked(&map.to_vec()?, map.len() / channels);
                let shape = (1, channels, size[0], size[1]);
                let got = Tensor::from_vec(got, shape, &Device::Cpu)?;
                let got = in_natural_order(&got, &orders[i])?
                    .flatten_all()?
                    .to_vec1()?;
                orders.push(orders[i].shuffled());
                let want: Vec<f32> = traced[i].1.flatten_all()?.to_vec1()?;
                let off = difference(&got, &want);
                println!("{} {size:?}: {off:.1e}", traced[i].0);
                assert!(off < TOLERANCE, "{} {size:?}: {off}", traced[i].0);
                Ok(())
            })?;
            let got = planes_from_blocked(&output.to_vec()?, area);
            let got = Tensor::from_vec(got, (1, channels, size[0], size[1]), &Device::Cpu)?;
            let got = in_natural_order(&got, &out_order)?
                .flatten_all()?
                .to_vec1()?;
            let off = difference(&got, &want.flatten_all()?.to_vec1()?);
            println!("{name} {size:?}: {off:.1e}");
            ensure!(off < TOLERANCE, "{name} {size:?}: {off}");
            let first = output.to_vec()?;
            stage.launch(&stream, &input, &output, size, &scratch, |_, _| Ok(()))?;
            ensure!(
                first == output.to_vec()?,
                "{name} {size:?}: not the same bits again"
            );
        }
        Ok(())
    }

    const UGLY: [[usize; 2]; 8] = [
        [64, 128],
        [1, 1],
        [1, 7],
        [5, 3],
        [9, 8],
        [23, 30],
        [45, 60],
        [33, 257],
    ];

    #[test]
    fn stages_of_each_width_equal_the_cpus() -> anyhow::Result<()> {
        for name in ["enc1", "enc2", "enc3", "dec1"] {
            compare(name, GpuLimits::default(), &UGLY)?;
        }
        Ok(())
    }

    #[test]
    fn stages_equal_the_cpus_with_the_shared_memory_of_small_cards() -> anyhow::Result<()> {
        let limits = GpuLimits {
            shared_memory_bytes: Some(99 << 10),
            no_cluster: true,
        };
        for name in ["enc1", "enc2", "enc3"] {
            compare(name, limits, &[[5, 3], [45, 60], [64, 128]])?;
        }
        Ok(())
    }

    #[test]
    #[ignore = "prints times instead of testing"]
    fn microseconds_of_each_stage() -> anyhow::Result<()> {
        use crate::engine::driver::Graph;
        use crate::engine::timing::microseconds_each;
        let gpu = Gpu::open(0, GpuLimits::default())?;
        let weights = Weights::from_bytes(&seeded_weights("A", 11)?)?;
        let layers = Layers::new(&weights, CpuPath::best());
        let deep: &[usize] = &[1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32];
        let shallow: &[usize] = &[2, 2, 2];
        let stages = [
            ("enc1", 64, shallow, [128, 256]),
            ("enc2", 128, deep, [64, 128]),
            ("enc3", 16, deep, [32, 64]),
            ("dec1", 16, shallow, [32, 64]),
            ("dec2", 16, shallow, [64, 128]),
            ("dec3", 16, shallow, [128, 256]),
            ("enc1", 64, shallow, [90, 120]),
            ("enc2", 128, deep, [45, 60]),
            ("enc3", 16, deep, [23, 30]),
        ];
        for (name, channels, dilations, size) in stages {
            let order = ChannelOrder::natural(channels);
            let (stage, _) =
                EdabStage::new(&gpu, &layers.pp(name), &order, dilations, |_| Ok(None))?;
            let area = size[0] * size[1];
            let map = blocked_from_planes(&values(channels * area, name), area);
            let (input, output) = (
                Buffer::from_slice(&gpu, &map)?,
                Buffer::<f16>::new(&gpu, channels * area)?,
            );
            let scratch = EdabScratch::new(&gpu, &[(channels, size)])?;
            let graph = Graph::record(&gpu, |stream| {
                (0..20).try_for_each(|_| {
                    stage.launch(stream, &input, &output, size, &scratch, |_, _| Ok(()))
                })
            })?;
            let time = microseconds_each(&gpu, &graph, 20)?;
            let blocks = dilations.len() as f32;
            println!(
                "{name} {size:?}: {time:.1} us, {:.2} a block",
                time / blocks
            );
        }
        Ok(())
    }
}
