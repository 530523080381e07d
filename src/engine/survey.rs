//! What GPUs the machine has, without taking one.

use super::driver::{self, CudaError};

/// A CUDA device as the driver tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuDescription {
    /// Its name, as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Its compute capability, `[major, minor]`.
    pub compute_capability: [u32; 2],
    /// Its memory in bytes.
    pub memory_bytes: usize,
}

/// Returns the machine's CUDA devices by their numbers; errs if there is no driver or no device.
pub fn gpus() -> Result<Vec<GpuDescription>, CudaError> {
    (0..driver::device_count()?).map(driver::describe).collect()
}
