//! FFM on the device: from the deepest features and the skips to the decoder's input.
//!
//! `kernels/ffm_pool.cu` pools a skip; `ffm_in.cu` normalises, projects and convolves, and steers the scan;
//! `scan.cu` scans; `ffm_out.cu` merges the directions, gates them, and ends with the linear layers. SS2D, which lies
//! in the last three, has its first and its last kernel by itself in the tests.

use half::f16;

use super::driver::{Buffer, CudaError, Gpu, Kernel, Launch, MAX_GRID_ROWS, Stream};
use super::pack::{fragments_from_matrix, left_fragments_from_matrix};
use super::scan::{Scan, ScanWeights, pitch};
use crate::error::Result;
use crate::network::layers::{ChannelOrder, Layers};
use crate::network::ss2d::selective_scan;
use crate::network::tensors::{DELTA_RANK, FUSED_WIDTH, MLP_WIDTH, SCAN_WIDTH, SKIP_WIDTH};
use crate::ops::{DIRECTIONS, STATES};

/// Side of the square of pixels that a block takes.
const SIDE: usize = 4;
/// Channels of a thread in the depthwise convolution.
const TAP_GROUP: usize = 4;
/// Threads of a block.
const THREADS: u32 = 384;
/// Threads of a block that pools, along a row.
const POOL_THREADS: usize = 64;
const MAX_AREA: usize = 1 << 24;

/// FFM's weights on the device, and its kernels.
pub(crate) struct Ffm {
    norm: Buffer<f32>,
    in_weights: Buffer<f16>,
    taps: Buffer<f32>,
    taps_bias: Buffer<f32>,
    projection: Buffer<f16>,
    scan: Scan<f16>,
    out_norm: Buffer<f32>,
    weights1: Buffer<f16>,
    bias1: Buffer<f32>,
    weights2: Buffer<f16>,
    bias2: Buffer<f32>,
    f3_places: [i32; SKIP_WIDTH],
    kernels: Kernels,
}

struct Kernels {
    pool: Kernel,
    input: IntoScan,
    out: Kernel,
}

/// A kernel of `kernels/into_scan.cuh`.
struct IntoScan {
    /// For any grid.
    dense: Kernel,
    /// Of which a multiprocessor takes one block.
    spread: Kernel,
    multiprocessors: u32,
}

impl IntoScan {
    fn new(gpu: &Gpu, file: &'static str, [dense, spread]: [&str; 2]) -> Result<Self, CudaError> {
        Ok(Self {
            dense: gpu.kernel(file, dense)?,
            spread: gpu.kernel(file, spread)?,
            multiprocessors: gpu.multiprocessors(),
        })
    }

    fn of(&self, launch: &Launch) -> &Kernel {
        match launch.grid.iter().product::<u32>() <= self.multiprocessors {
            true => &self.spread,
            false => &self.dense,
        }
    }
}

/// The maps that FFM reads and writes, f16 `[c / 8, h, w, 8]`.
pub(crate) struct FfmMaps<'a> {
    /// The deepest features, 16 channels, of size `size`.
    pub(crate) f3: &'a Buffer<f16>,
    /// The finest skip, 16 channels, of size `size1`.
    pub(crate) m1: &'a Buffer<f16>,
    /// The middle skip, 16 channels, of size `size2`.
    pub(crate) m2: &'a Buffer<f16>,
    /// The deepest skip, 16 channels, of size `size`.
    pub(crate) m3: &'a Buffer<f16>,
    /// The result `ffm(f3, m1, m2) + m3`, 16 channels, of size `size`.
    pub(crate) y: &'a Buffer<f16>,
    /// Height and width of the deepest maps.
    pub(crate) size: [usize; 2],
    /// Height and width of m1.
    pub(crate) size1: [usize; 2],
    /// Height and width of m2.
    pub(crate) size2: [usize; 2],
}

/// What FFM's kernels hand on to each other, for maps of one size.
pub(crate) struct FfmScratch {
    /// m1 and m2 in the size of the deepest maps, `[2, h, w, 8]`.
    pooled: [Buffer<f16>; 2],
    /// silu(z), `[12, h, w, 8]`.
    gate: Buffer<f16>,
    /// `[2, 96, pitch]`, pixels by rows, then by columns.
    u: Buffer<f16>,
    /// `[4 * 35, pitch]`.
    projected: Buffer<f16>,
    /// `[4, 96, pitch]`.
    scanned: Buffer<f16>,
}

impl FfmScratch {
    /// Allocates for deepest maps of `size`.
    pub(crate) fn new(gpu: &Gpu, size: [usize; 2]) -> Result<Self, CudaError> {
        let pitch = pitch(size[0] * size[1]);
        let pooled = || Buffer::new(gpu, SKIP_WIDTH * size[0] * size[1]);
        Ok(Self {
            pooled: [pooled()?, pooled()?],
            gate: Buffer::new(gpu, SCAN_WIDTH * size[0] * size[1])?,
            u: Buffer::new(gpu, 2 * SCAN_WIDTH * pitch)?,
            projected: Buffer::new(gpu, DIRECTIONS * (DELTA_RANK + 2 * STATES) * pitch)?,
            scanned: Buffer::new(gpu, DIRECTIONS * SCAN_WIDTH * pitch)?,
        })
    }
}

impl Ffm {
    /// Puts the weights below `layers` (`ffm`) on the device, for an f3 whose channels lie in `f3_order`.
    ///
    /// Errs if a tensor is missing or of another shape, or the device's memory is full.
    pub(crate) fn new(layers: &Layers<'_>, f3_order: &ChannelOrder, gpu: &Gpu) -> Result<Self> {
        let ss2d = layers.pp("ss2d");
        let joined = f3_order.before(FUSED_WIDTH - SKIP_WIDTH);
        let norm = [
            joined.reorder(layers.values("norm.weight", &[FUSED_WIDTH])?),
            joined.reorder(layers.values("norm.bias", &[FUSED_WIDTH])?),
        ];
        let in_proj = ss2d.values("in_proj.weight", &[2 * SCAN_WIDTH, FUSED_WIDTH])?;
        let in_weights = fragments_from_matrix(FUSED_WIDTH, 2 * SCAN_WIDTH, |k, n| {
            in_proj[n * FUSED_WIDTH + joined.channel(k)]
        });
        let filters = ss2d.values("conv2d.weight", &[SCAN_WIDTH, 1, 3, 3])?;
        let taps: Vec<f32> = (0..SCAN_WIDTH / TAP_GROUP)
            .flat_map(|group| (0..9).map(move |tap| (group, tap)))
            .flat_map(|(group, tap)| {
                (0..TAP_GROUP).map(move |i| filters[(group * TAP_GROUP + i) * 9 + tap])
            })
            .collect();
        let rows = DELTA_RANK + 2 * STATES;
        let x_proj = ss2d.values("x_proj_weight", &[DIRECTIONS, rows, SCAN_WIDTH])?;
        // Each direction's rows fill whole tiles of 16.
        let padded = rows.next_multiple_of(16);
        let projection = left_fragments_from_matrix(DIRECTIONS * padded, SCAN_WIDTH, |m, k| {
            let (direction, row) = (m / padded, m % padded);
            match row < rows {
                true => x_proj[(direction * rows + row) * SCAN_WIDTH + k],
                false => 0.0,
            }
        });
        let out_norm = [
            ss2d.values("out_norm.weight", &[SCAN_WIDTH])?,
            ss2d.values("out_norm.bias", &[SCAN_WIDTH])?,
        ];
        let linear = |name: &str, to, from| -> Result<[&[f32]; 2]> {
            Ok([
                layers.values(&format!("{name}.weight"), &[to, from])?,
                layers.values(&format!("{name}.bias"), &[to])?,
            ])
        };
        let out_proj = ss2d.values("out_proj.weight", &[FUSED_WIDTH, SCAN_WIDTH])?;
        let [fc1, bias1] = linear("fc1", MLP_WIDTH, FUSED_WIDTH)?;
        let [fc2, fc2_bias] = linear("fc2", FUSED_WIDTH, MLP_WIDTH)?;
        let [proj, proj_bias] = linear("proj", SKIP_WIDTH, FUSED_WIDTH)?;
        let first = product(fc1, out_proj, FUSED_WIDTH);
        let second = product(proj, fc2, FUSED_WIDTH);
        let bias2: Vec<f32> = product(proj, fc2_bias, FUSED_WIDTH)
            .iter()
            .zip(proj_bias)
            .map(|(a, b)| a + b)
            .collect();
        let mut f3_places = [0; SKIP_WIDTH];
        for (place, of) in f3_places.iter_mut().zip(f3_order.places()) {
            *place = of as i32;
        }
        let halfs = |values: Vec<f16>| Buffer::from_slice(gpu, &values);
        let floats = |values: &[f32]| Buffer::from_slice(gpu, values);
        Ok(Self {
            norm: floats(&norm.concat())?,
            in_weights: halfs(in_weights)?,
            taps: floats(&taps)?,
            taps_bias: floats(ss2d.values("conv2d.bias", &[SCAN_WIDTH])?)?,
            projection: halfs(projection)?,
            scan: Scan::new(gpu, &ScanWeights::from(&selective_scan(&ss2d)?))?,
            out_norm: floats(&out_norm.concat())?,
            weights1: halfs(fragments_from_matrix(SCAN_WIDTH, MLP_WIDTH, |k, n| {
                first[n * SCAN_WIDTH + k]
            }))?,
            bias1: floats(bias1)?,
            weights2: halfs(fragments_from_matrix(MLP_WIDTH, SKIP_WIDTH, |k, n| {
                second[n * MLP_WIDTH + k]
            }))?,
            bias2: floats(&bias2)?,
            f3_places,
            kernels: Kernels {
                pool: gpu.kernel("ffm_pool", "ffm_pool")?,
                input: IntoScan::new(gpu, "ffm_in", ["ffm_in", "ffm_in_spread"])?,
                out: gpu.kernel("ffm_out", "ffm_out")?,
            },
        })
    }

    /// Puts on `stream` the means of `maps.m1` (`skip` 0) or `maps.m2` (1) that [`Ffm::launch_scan`] reads.
    ///
    /// Errs if a buffer is too small for its map, or a map is empty.
    pub(crate) fn launch_pool(
        &self,
        stream: &Stream,
        skip: usize,
        maps: &FfmMaps<'_>,
        scratch: &FfmScratch,
    ) -> Result<(), CudaError> {
        maps.check()?;
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct Params {
            map: u64,
            out: u64,
            from: [i32; 2],
            to: [i32; 2],
        }
        let (map, from) = [(maps.m1, maps.size1), (maps.m2, maps.size2)][skip];
        let [height, width] = maps.size;
        let out = &scratch.pooled[skip];
        out.check_len("FFM's pooled skip", SKIP_WIDTH * height * width)?;
        if height > MAX_GRID_ROWS {
            let (limit, got) = (MAX_GRID_ROWS, height);
            let what = "the deepest map's height";
            return Err(CudaError::Limit { what, limit, got });
        }
        let parameters = Params {
            map: map.address(),
            out: out.address(),
            from: from.map(|side| side as i32),
            to: maps.size.map(|side| side as i32),
        };
        let columns = width.div_ceil(POOL_THREADS) as u32;
        let grid = [columns, height as u32, (SKIP_WIDTH / 8) as u32];
        let launch = Launch::new(grid, POOL_THREADS as u32, 0);
        // SAFETY: Params is the kernel's; the maps' lengths were checked.
        unsafe { self.kernels.pool.launch(stream, &launch, &parameters) }
    }

    /// Puts FFM's part that does not need `maps.m3` on `stream`, which waits for [`Ffm::launch_pool`] of both
    /// skips: up to the scan.
    ///
    /// Errs if a buffer is too small for its map, or a map is empty.
    pub(crate) fn launch_scan(
        &self,
        stream: &Stream,
        maps: &FfmMaps<'_>,
        scratch: &FfmScratch,
    ) -> Result<(), CudaError> {
        maps.check()?;
        self.launch_in(stream, maps, scratch)?;
        self.scan_in(stream, maps.size, scratch)
    }

    fn scan_in(
        &self,
        stream: &Stream,
        size: [usize; 2],
        scratch: &FfmScratch,
    ) -> Result<(), CudaError> {
        let buffers = [&scratch.u, &scratch.projected, &scratch.scanned];
        self.scan.launch(stream, buffers, size[0] * size[1])
    }

    fn launch_in(
        &self,
        stream: &Stream,
        maps: &FfmMaps<'_>,
        scratch: &FfmScratch,
    ) -> Result<(), CudaError> {
        let [pooled1, pooled2] = &scratch.pooled;
        for pooled in [pooled1, pooled2] {
            let area = maps.size[0] * maps.size[1];
            pooled.check_len("FFM's pooled skip", SKIP_WIDTH * area)?;
        }
        let parts = [maps.f3, pooled1, pooled2].map(Buffer::address);
        // SAFETY: the lengths of the three parts were checked.
        unsafe { self.launch_into_scan(&self.kernels.input, stream, parts, maps.size, scratch) }
    }

    /// Puts `kernel`, one of `kernels/into_scan.cuh`, on `stream`.
    ///
    /// # Safety
    /// At each address of `parts` lies a map of 16 channels of this size.
    unsafe fn launch_into_scan(
        &self,
        kernel: &IntoScan,
        stream: &Stream,
        parts: [u64; 3],
        size: [usize; 2],
        scratch: &FfmScratch,
    ) -> Result<(), CudaError> {
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct Params {
            parts: [u64; 3],
            norm: u64,
            in_weights: u64,
            taps: u64,
            bias: u64,
            weights: u64,
            gate: u64,
            u: u64,
            projected: u64,
            size: [i32; 2],
            pitch: i32,
        }
        let area = size[0] * size[1];
        let pitch = pitch(area);
        scratch.gate.check_len("FFM's gate", SCAN_WIDTH * area)?;
        scratch.u.check_len("FFM's u", 2 * SCAN_WIDTH * pitch)?;
        let rows = self.scan.projected_rows();
        scratch
            .projected
            .check_len("FFM's projections", rows * pitch)?;
        let parameters = Params {
            parts,
            norm: self.norm.address(),
            in_weights: self.in_weights.address(),
            taps: self.taps.address(),
            bias: self.taps_bias.address(),
            weights: self.projection.address(),
            gate: scratch.gate.address(),
            u: scratch.u.address(),
            projected: scratch.projected.address(),
            size: size.map(|side| side as i32),
            pitch: pitch as i32,
        };
        let launch = Launch::new(grid_of(size), THREADS, 0);
        // SAFETY: Params is the kernel's; the parts are the caller's, and the scratch's lengths were checked.
        unsafe { kernel.of(&launch).launch(stream, &launch, &parameters) }
    }

    /// Puts the rest of FFM on `stream`, after [`Ffm::launch_scan`] with the same maps.
    ///
    /// Errs if a buffer is too small for its map, or a map is empty.
    pub(crate) fn launch_out(
        &self,
        stream: &Stream,
        maps: &FfmMaps<'_>,
        scratch: &FfmScratch,
    ) -> Result<(), CudaError> {
        maps.check()?;
        let parameters = OutParams {
            weights1: self.weights1.address(),
            bias1: self.bias1.address(),
            weights2: self.weights2.address(),
            bias2: self.bias2.address(),
            f3: maps.f3.address(),
            m3: maps.m3.address(),
            f3_places: self.f3_places,
            ..self.merge(maps.size, scratch, maps.y)
        };
        let kernel = &self.kernels.out;
        let launch = kernel.spread(Launch::new(grid_of(maps.size), THREADS, 0));
        // SAFETY: OutParams is the kernel's; the maps' lengths were checked, the gate's by `launch_in`, and y's
        // by the scan.
        unsafe { kernel.launch(stream, &launch, &parameters) }
    }

    /// Returns what SS2D has after its scan but for the last product.
    fn merge(&self, size: [usize; 2], scratch: &FfmScratch, out: &Buffer<f16>) -> OutParams {
        OutParams {
            y: scratch.scanned.address(),
            gate: scratch.gate.address(),
            norm: self.out_norm.address(),
            out: out.address(),
            height: size[0] as i32,
            width: size[1] as i32,
            pitch: pitch(size[0] * size[1]) as i32,
            ..OutParams::default()
        }
    }
}

/// The argument of the kernels of `kernels/out_of_scan.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct OutParams {
    y: u64,
    gate: u64,
    norm: u64,
    weights1: u64,
    bias1: u64,
    weights2: u64,
    bias2: u64,
    f3: u64,
    m3: u64,
    out: u64,
    height: i32,
    width: i32,
    pitch: i32,
    f3_places: [i32; SKIP_WIDTH],
}

/// Returns the blocks for a map of this size.
fn grid_of(size: [usize; 2]) -> [u32; 3] {
    let [rows, columns] = size.map(|side| side.div_ceil(SIDE) as u32);
    [columns, rows, 1]
}

impl FfmMaps<'_> {
    fn check(&self) -> Result<(), CudaError> {
        for (what, map, size) in [
            ("FFM's f3", self.f3, self.size),
            ("FFM's m1", self.m1, self.size1),
            ("FFM's m2", self.m2, self.size2),
            ("FFM's m3", self.m3, self.size),
            ("FFM's y", self.y, self.size),
        ] {
            let area = size[0] * size[1];
            if area > MAX_AREA {
                let (limit, got) = (MAX_AREA, area);
                return Err(CudaError::Limit { what, limit, got });
            }
            map.check_len(what, SKIP_WIDTH * area.max(1))?;
        }
        Ok(())
    }
}

/// Returns the matrix product of `a` `[rows, inner]` and `b` `[inner, columns]`, rounded once.
fn product(a: &[f32], b: &[f32], inner: usize) -> Vec<f32> {
    let columns = b.len() / inner;
    a.chunks_exact(inner)
        .flat_map(|row| {
            (0..columns).map(move |column| {
                let terms = row.iter().zip(b[column..].iter().step_by(columns));
                terms
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum::<f64>() as f32
            })
        })
        .collect()
}

#[cfg(test)]
mod ss2d;
#[cfg(test)]
mod tests;
