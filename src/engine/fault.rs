//! A kernel that fails, on demand: `kernels/fault.cu`.

use super::driver::{CudaError, Gpu, Launch};

/// Puts a kernel on the engine's stream that stops the device's work for good.
pub(crate) fn trap(gpu: &Gpu) -> Result<(), CudaError> {
    let kernel = gpu.kernel("fault", "trap")?;
    // SAFETY: the kernel takes one int and touches no memory.
    unsafe { kernel.launch(&gpu.stream(), &Launch::new([1; 3], 1, 0), &0_i32) }
}
