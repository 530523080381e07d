//! Kernels and the streams that they run on.

use std::ffi::{CStr, c_void};

use cudarc::driver::sys::{self, CUfunction_attribute as F, CUlaunchAttributeID as Id};

use super::CudaError;
use super::error::check;

/// A queue of device work. Dropping it frees nothing: streams live as long as their [`super::Gpu`].
#[derive(Clone, Copy)]
pub(crate) struct Stream {
    handle: sys::CUstream,
    overlaps: bool,
}

// SAFETY: a stream's handle may be used from any thread whose context is current.
unsafe impl Send for Stream {}

impl Stream {
    pub(super) fn borrowed(handle: sys::CUstream, overlaps: bool) -> Self {
        Self { handle, overlaps }
    }

    pub(super) fn handle(&self) -> sys::CUstream {
        self.handle
    }

    /// Returns the stream for work that waits for all before it to end, also of other streams: no
    /// kernel put on this view starts early.
    pub(crate) fn in_order(&self) -> Self {
        Self {
            overlaps: false,
            ..*self
        }
    }

    /// Waits until its work is done; errs with the first fault of that work.
    pub(crate) fn synchronise(&self) -> Result<(), CudaError> {
        // SAFETY: the stream lives.
        check("cuStreamSynchronize", unsafe {
            sys::cuStreamSynchronize(self.handle)
        })
    }
}

pub(super) fn new_stream() -> Result<sys::CUstream, CudaError> {
    let mut stream = std::ptr::null_mut();
    let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
    // SAFETY: `stream` outlives the call.
    check("cuStreamCreate", unsafe {
        sys::cuStreamCreate(&mut stream, flags)
    })?;
    Ok(stream)
}

/// Most blocks of a grid on its second and on its third axis.
pub(crate) const MAX_GRID_ROWS: usize = 65_535;

/// How a kernel is spread over the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch {
    /// Blocks on each axis.
    pub(crate) grid: [u32; 3],
    /// Threads of a block.
    pub(crate) block: u32,
    /// Dynamic shared memory of a block.
    pub(crate) shared_bytes: u32,
    /// Whether all blocks must be resident together, for a barrier over the grid.
    pub(crate) is_cooperative: bool,
    /// Blocks of a cluster, which read each other's shared memory; 0 where there are none.
    pub(crate) cluster: u32,
    /// Whether the kernel may start before the one before it on the stream has ended; it then waits by
    /// itself (`grid_dependency_wait`) before it reads what that one wrote.
    pub(crate) is_overlapped: bool,
}

impl Launch {
    /// Returns a launch of `grid` blocks of `block` threads that overlaps the kernel before it.
    pub(crate) fn new(grid: [u32; 3], block: u32, shared_bytes: u32) -> Self {
        Self {
            grid,
            block,
            shared_bytes,
            is_cooperative: false,
            cluster: 0,
            is_overlapped: true,
        }
    }

    /// Returns what the driver is told besides the sizes, on a stream that `overlaps` or does not.
    fn attributes(&self, overlaps: bool) -> Vec<sys::CUlaunchAttribute> {
        let mut attributes = Vec::with_capacity(2);
        let mut add = |id, set: &dyn Fn(&mut sys::CUlaunchAttributeValue)| {
            let mut value = sys::CUlaunchAttributeValue { pad: [0; 64] };
            set(&mut value);
            attributes.push(sys::CUlaunchAttribute {
                id,
                pad: [0; 4],
                value,
            });
        };
        if self.is_cooperative {
            add(Id::CU_LAUNCH_ATTRIBUTE_COOPERATIVE, &|value| {
                value.cooperative = 1;
            });
        }
        if self.cluster > 0 {
            add(Id::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, &|value| {
                value.clusterDim = sys::CUlaunchAttributeValue_union__bindgen_ty_1 {
                    x: self.cluster,
                    y: 1,
                    z: 1,
                };
            });
        }
        if self.is_overlapped && overlaps {
            let id = Id::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
            add(id, &|value| {
                value.programmaticStreamSerializationAllowed = 1
            });
        }
        attributes
    }

    fn config(
        &self,
        stream: sys::CUstream,
        attributes: &mut [sys::CUlaunchAttribute],
    ) -> sys::CUlaunchConfig {
        sys::CUlaunchConfig {
            gridDimX: self.grid[0],
            gridDimY: self.grid[1],
            gridDimZ: self.grid[2],
            blockDimX: self.block,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: self.shared_bytes,
            hStream: stream,
            attrs: attributes.as_mut_ptr(),
            numAttrs: u32::try_from(attributes.len()).unwrap_or(0),
        }
    }
}

/// The multiprocessors of a device.
#[derive(Clone, Copy)]
pub(super) struct Multiprocessors {
    pub(super) count: u32,
    /// Shared memory of one.
    pub(super) shared_bytes: u32,
}

/// A kernel of a loaded module.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    function: sys::CUfunction,
    shared_memory_bytes: u32,
    /// What of that a launch may ask for.
    dynamic_bytes: u32,
    multiprocessors: Multiprocessors,
}

// SAFETY: a kernel's handle may be used from any thread whose context is current.
unsafe impl Send for Kernel {}
// SAFETY: as above; launching does not change it.
unsafe impl Sync for Kernel {}

impl Kernel {
    pub(super) fn new(
        module: sys::CUmodule,
        name: &CStr,
        shared_memory_bytes: u32,
        multiprocessors: Multiprocessors,
    ) -> Result<Self, CudaError> {
        let mut function = std::ptr::null_mut();
        // SAFETY: the module is loaded; both pointers outlive the call.
        check("cuModuleGetFunction", unsafe {
            sys::cuModuleGetFunction(&mut function, module, name.as_ptr())
        })?;
        let mut kernel = Self {
            function,
            shared_memory_bytes,
            dynamic_bytes: 0,
            multiprocessors,
        };
        let static_bytes = kernel.attribute(F::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?;
        let dynamic = i32::try_from(shared_memory_bytes).unwrap_or(i32::MAX) - static_bytes;
        kernel.dynamic_bytes = u32::try_from(dynamic).unwrap_or(0);
        // SAFETY: the function is of a loaded module.
        check("cuFuncSetAttribute", unsafe {
            sys::cuFuncSetAttribute(
                function,
                F::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                dynamic.max(0),
            )
        })?;
        // One division of the caches for all kernels: a multiprocessor must be empty to change it, and
        // kernels could not overlap.
        let all = sys::CUshared_carveout::CU_SHAREDMEM_CARVEOUT_MAX_SHARED as i32;
        // SAFETY: as above.
        check("cuFuncSetAttribute", unsafe {
            sys::cuFuncSetAttribute(
                function,
                F::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT,
                all,
            )
        })?;
        Ok(kernel)
    }

    /// Returns the most bytes of shared memory that a launch may ask for, beside what the kernel has of its own.
    pub(crate) fn dynamic_bytes(&self) -> usize {
        self.dynamic_bytes as usize
    }

    /// Returns the launch with so much shared memory that no multiprocessor takes more of its blocks than one
    /// must. Those of a kernel that starts early would else crowd onto the few multiprocessors that the
    /// kernel before it leaves first.
    pub(crate) fn spread(&self, launch: Launch) -> Launch {
        let Multiprocessors {
            count,
            shared_bytes,
        } = self.multiprocessors;
        let blocks: u32 = launch.grid.iter().product();
        let each = blocks.div_ceil(count.max(1));
        let too_much_for_one_more = (shared_bytes / (each + 1)).min(self.dynamic_bytes);
        Launch {
            shared_bytes: launch.shared_bytes.max(too_much_for_one_more),
            ..launch
        }
    }

    /// Returns how many blocks of this launch fit on one multiprocessor together.
    pub(crate) fn resident_blocks(&self, launch: &Launch) -> Result<u32, CudaError> {
        let mut blocks = 0;
        // SAFETY: the function is of a loaded module and `blocks` outlives the call.
        check("cuOccupancyMaxActiveBlocksPerMultiprocessor", unsafe {
            sys::cuOccupancyMaxActiveBlocksPerMultiprocessor(
                &mut blocks,
                self.function,
                i32::try_from(launch.block).unwrap_or(i32::MAX),
                launch.shared_bytes as usize,
            )
        })?;
        Ok(u32::try_from(blocks).unwrap_or(0))
    }

    /// Returns how many clusters of this launch fit on the device together, 0 where it has none of that size.
    pub(crate) fn resident_clusters(&self, launch: &Launch) -> Result<u32, CudaError> {
        let allowed = F::CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED;
        // SAFETY: the function is of a loaded module.
        check("cuFuncSetAttribute", unsafe {
            sys::cuFuncSetAttribute(self.function, allowed, 1)
        })?;
        let mut attributes = launch.attributes(false);
        let config = launch.config(std::ptr::null_mut(), &mut attributes);
        let mut clusters = 0;
        // SAFETY: the function is of a loaded module; the configuration and `clusters` outlive the call.
        let result =
            unsafe { sys::cuOccupancyMaxActiveClusters(&mut clusters, self.function, &config) };
        // Cards say either of a size that they do not have.
        use sys::CUresult::{CUDA_ERROR_INVALID_CLUSTER_SIZE, CUDA_ERROR_INVALID_VALUE};
        if [CUDA_ERROR_INVALID_CLUSTER_SIZE, CUDA_ERROR_INVALID_VALUE].contains(&result) {
            return Ok(0);
        }
        check("cuOccupancyMaxActiveClusters", result)?;
        Ok(u32::try_from(clusters).unwrap_or(0))
    }

    /// Puts the kernel on `stream` with `parameters` as its one argument.
    ///
    /// Errs if the launch is beyond the device's limits.
    ///
    /// # Safety
    /// `P` is laid out as the kernel's argument (`repr(C)`), and every address in it is valid for what
    /// the kernel reads and writes there until the stream's work is done.
    pub(crate) unsafe fn launch<P: Copy>(
        &self,
        stream: &Stream,
        launch: &Launch,
        parameters: &P,
    ) -> Result<(), CudaError> {
        if launch.shared_bytes > self.shared_memory_bytes {
            return Err(CudaError::Limit {
                what: "a block's shared memory in bytes",
                limit: self.shared_memory_bytes as usize,
                got: launch.shared_bytes as usize,
            });
        }
        let mut attributes = launch.attributes(stream.overlaps);
        let config = launch.config(stream.handle, &mut attributes);
        let mut argument = std::ptr::from_ref(parameters).cast_mut().cast::<c_void>();
        // SAFETY: the driver copies the argument, whose layout and addresses the caller vouches for.
        check("cuLaunchKernelEx", unsafe {
            sys::cuLaunchKernelEx(&config, self.function, &mut argument, std::ptr::null_mut())
        })
    }

    fn attribute(&self, attribute: F) -> Result<i32, CudaError> {
        let mut value = 0;
        // SAFETY: the function is of a loaded module and `value` outlives the call.
        check("cuFuncGetAttribute", unsafe {
            sys::cuFuncGetAttribute(&mut value, attribute, self.function)
        })?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::driver::{Gpu, GpuLimits};

    #[test]
    fn a_spread_grid_has_as_few_blocks_on_a_multiprocessor_as_it_can() -> anyhow::Result<()> {
        let gpu = Gpu::open(0, GpuLimits::default())?;
        for (file, name, threads) in [("up", "up_small", 128), ("ffm_out", "ffm_out", 384)] {
            let kernel = gpu.kernel(file, name)?;
            for (blocks, each) in [
                (1, 1),
                (gpu.multiprocessors(), 1),
                (gpu.multiprocessors() + 1, 2),
            ] {
                let launch = kernel.spread(Launch::new([blocks, 1, 1], threads, 0));
                assert_eq!(kernel.resident_blocks(&launch)?, each, "{name}, {blocks}");
            }
            // A large grid has what room there is.
            let launch = Launch::new([1, 1, 65_535], threads, 0);
            let spread = kernel.spread(launch);
            assert_eq!(
                kernel.resident_blocks(&spread)?,
                kernel.resident_blocks(&launch)?
            );
        }
        Ok(())
    }
}
