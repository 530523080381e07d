//! Faults on demand: a kernel that fails (`kernels/fault.cu`), warps that dawdle (`kernels/delay.cuh`).

use super::driver::{CudaError, Gpu, Launch};

/// Puts a kernel on the engine's stream that stops the device's work for good.
pub(crate) fn trap(gpu: &Gpu) -> Result<(), CudaError> {
    let kernel = gpu.kernel("fault", "trap")?;
    // SAFETY: the kernel takes one int and touches no memory.
    unsafe { kernel.launch(&gpu.stream(), &Launch::new([1; 3], 1, 0), &0_i32) }
}

/// Lets some warps of every later kernel sleep up to about `most_ns` wherever they wait for others or
/// let others go on; 0 ends that.
#[cfg(test)]
pub(crate) fn delay(gpu: &Gpu, most_ns: u32) -> Result<(), CudaError> {
    gpu.set_variable(c"most_delay_ns", most_ns)
}
