//! A stage of EDABs on a small map, in one cluster: kernels/edab_cluster.cu.

use half::f16;

use super::weights::step_bytes;
use super::{MAX_BLOCKS, kernel_dilations, reach};
use crate::engine::driver::{Buffer, CudaError, Gpu, Kernel, Launch, Stream};

/// Channels of the maps that the kernel takes.
pub(super) const CHANNELS: usize = 16;

/// Most threads of a block; with more, the cooperative kernel is the faster.
const MAX_THREADS: usize = 512;

/// Sizes of a cluster with a kernel each, the fastest first. Cards need not have more than 8.
const CLUSTERS: [usize; 2] = [16, 8];

/// The kernel for the largest clusters of this card.
pub(super) struct ClusterStage {
    blocks: usize,
    kernel: Kernel,
    shared_memory_bytes: usize,
    dilations: Vec<usize>,
}

/// The argument of `edab_cluster_*`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Parameters {
    input: u64,
    out: u64,
    weights: u64,
    size: [i32; 2],
    count: i32,
    rows: i32,
    reach: i32,
    per_row: f32,
    per_column: f32,
    per_pixel: f32,
    dilations: [i32; MAX_BLOCKS],
}

impl ClusterStage {
    /// Returns the stage of these blocks, `None` on a card without clusters.
    pub(super) fn new(gpu: &Gpu, dilations: &[usize]) -> Result<Option<Self>, CudaError> {
        for blocks in CLUSTERS {
            if blocks > gpu.cluster_blocks() as usize {
                continue;
            }
            let kernel = gpu.kernel("edab_cluster", &format!("edab_cluster_{blocks}"))?;
            let stage = Self {
                blocks,
                kernel,
                shared_memory_bytes: gpu.shared_memory_bytes() as usize,
                dilations: dilations.to_vec(),
            };
            // The least map; a larger one is tried for itself.
            let [rows, width] = [1, 1];
            if stage
                .kernel
                .resident_clusters(&stage.launch_of(rows, width))?
                > 0
            {
                return Ok(Some(stage));
            }
        }
        Ok(None)
    }

    /// Returns whether a map of `[h, w]` fits.
    pub(super) fn takes(&self, [height, width]: [usize; 2]) -> Result<bool, CudaError> {
        let rows = height.div_ceil(self.blocks);
        if (rows + 2).saturating_mul(width) > MAX_THREADS
            || shared_bytes(&self.dilations, rows, width) > self.shared_memory_bytes
        {
            return Ok(false);
        }
        let launch = self.launch_of(rows, width);
        Ok(self.kernel.resident_clusters(&launch)? > 0)
    }

    /// Puts the stage on `stream`, for a map that [`Self::takes`]: from `input` to `output`, both
    /// `[2, h, w, 8]`.
    pub(super) fn launch(
        &self,
        stream: &Stream,
        weights: &Buffer<u8>,
        input: &Buffer<f16>,
        output: &Buffer<f16>,
        [height, width]: [usize; 2],
    ) -> Result<(), CudaError> {
        let rows = height.div_ceil(self.blocks);
        let parameters = Parameters {
            input: input.address(),
            out: output.address(),
            weights: weights.address(),
            size: [height as i32, width as i32],
            count: self.dilations.len() as i32,
            rows: rows as i32,
            reach: reach(&self.dilations) as i32,
            per_row: 1.0 / height as f32,
            per_column: 1.0 / width as f32,
            per_pixel: 1.0 / (height * width) as f32,
            dilations: kernel_dilations(&self.dilations),
        };
        let launch = self.launch_of(rows, width);
        // SAFETY: the parameters are the kernel's struct, the caller has checked the maps, and the weights
        // were packed for it.
        unsafe { self.kernel.launch(stream, &launch, &parameters) }
    }

    fn launch_of(&self, rows: usize, width: usize) -> Launch {
        // A warp for each 32 pixels, and for each of the means' sums.
        let warps = ((rows + 2) * width).div_ceil(32);
        let sums = rows + 2 + width.div_ceil(16) + 1;
        let threads = (warps.max(sums) * 32).clamp(64, MAX_THREADS);
        let shared_bytes = shared_bytes(&self.dilations, rows, width);
        Launch {
            cluster: self.blocks as u32,
            ..Launch::new(
                [self.blocks as u32, 1, 1],
                threads as u32,
                shared_bytes as u32,
            )
        }
    }
}

/// Shared memory of a block: `ClusterShared` of kernels/edab_cluster.cu, which checks it.
fn shared_bytes(dilations: &[usize], rows: usize, width: usize) -> usize {
    let pixels = ((rows + 2) * width).next_multiple_of(32);
    let columns = width.next_multiple_of(16);
    let words = (rows * width).next_multiple_of(32)
        + 3 * pixels
        + rows * (width + 1)
        + 1
        + 2 * (pixels + 64)
        + 3 * columns
        + rows
        + 2;
    let u_rows = ((rows + 2 + 2 * reach(dilations)) * 4).next_multiple_of(16);
    (dilations.len() + 1) * step_bytes(CHANNELS) + words * 16 + 32 + 16 + u_rows
}
