//! What the CUDA driver can answer but success.

use std::ffi::CStr;

use cudarc::driver::sys::{self, CUresult};

/// Why the GPU cannot be used, or stopped working.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    /// There is no driver library.
    #[error("no NVIDIA driver is installed (libcuda.so.1 was not found)")]
    NoDriver,
    /// The driver is older than what this build was made for.
    #[error(
        "the NVIDIA driver serves CUDA {}, but this build needs {}: update the driver",
        version(*served), version(*needed)
    )]
    DriverTooOld {
        /// What the driver serves, as it says it: 1000 times the major version plus 10 the minor.
        served: u32,
        /// What this build needs.
        needed: u32,
    },
    /// There is no such device.
    #[error("there is no CUDA device {index}; this machine has {count}")]
    NoDevice {
        /// The number asked for.
        index: usize,
        /// The number of devices.
        count: usize,
    },
    /// This build has no kernels that the device can run.
    #[error("this build has no kernels for a GPU of compute capability {major}.{minor}")]
    Architecture {
        /// The capability's first number.
        major: u32,
        /// The capability's second number.
        minor: u32,
    },
    /// This build lacks a kernel.
    #[error("kernels/{file}.cu has no kernel '{name}'")]
    NoKernel {
        /// The file.
        file: &'static str,
        /// The kernel.
        name: String,
    },
    /// The device's memory does not suffice.
    #[error("out of GPU memory: {bytes} bytes could not be allocated")]
    OutOfMemory {
        /// The bytes asked for.
        bytes: usize,
    },
    /// The device's memory ran out again, when all of the engine's own had been freed once.
    #[error(
        "out of GPU memory again, after the engine gave all of its own back: end other programs on \
         the GPU, or choose a smaller network size"
    )]
    Exhausted,
    /// A buffer has not the size that a kernel needs.
    #[error("{what} has {got} elements, but {expected} are needed")]
    Size {
        /// The buffer.
        what: &'static str,
        /// The elements needed.
        expected: usize,
        /// The elements there.
        got: usize,
    },
    /// A size is beyond what a kernel takes.
    #[error("{what} is {got}, but at most {limit} are supported")]
    Limit {
        /// The size.
        what: &'static str,
        /// The most.
        limit: usize,
        /// What was asked for.
        got: usize,
    },
    /// A driver call failed.
    #[error("{call} failed: {code:?} ({meaning})")]
    Call {
        /// The driver's function.
        call: &'static str,
        /// Its answer.
        code: CUresult,
        /// The answer in the driver's words.
        meaning: String,
    },
}

impl CudaError {
    /// Returns the error of a kernel that failed.
    #[cfg(feature = "inject-faults")]
    pub(crate) fn lost() -> Self {
        Self::Call {
            call: "an injected fault",
            code: CUresult::CUDA_ERROR_LAUNCH_FAILED,
            meaning: "the GPU is as if lost".to_owned(),
        }
    }

    /// Returns whether memory ran out, the device's or the host's that it reads; freeing some may help.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Self::OutOfMemory { .. } => true,
            Self::Call { code, .. } => *code == CUresult::CUDA_ERROR_OUT_OF_MEMORY,
            _ => false,
        }
    }

    /// Returns whether only a new process can go on: the device's context is lost, or memory ran out
    /// twice.
    pub fn is_sticky(&self) -> bool {
        use CUresult as R;
        match self {
            Self::Exhausted => true,
            Self::Call { code, .. } => matches!(
                code,
                R::CUDA_ERROR_ILLEGAL_ADDRESS
                    | R::CUDA_ERROR_LAUNCH_TIMEOUT
                    | R::CUDA_ERROR_LAUNCH_FAILED
                    | R::CUDA_ERROR_ILLEGAL_INSTRUCTION
                    | R::CUDA_ERROR_MISALIGNED_ADDRESS
                    | R::CUDA_ERROR_INVALID_ADDRESS_SPACE
                    | R::CUDA_ERROR_INVALID_PC
                    | R::CUDA_ERROR_HARDWARE_STACK_ERROR
                    | R::CUDA_ERROR_ASSERT
                    | R::CUDA_ERROR_ECC_UNCORRECTABLE
                    | R::CUDA_ERROR_NVLINK_UNCORRECTABLE
                    | R::CUDA_ERROR_CONTEXT_IS_DESTROYED
                    | R::CUDA_ERROR_DEINITIALIZED
                    | R::CUDA_ERROR_DEVICE_UNAVAILABLE
                    | R::CUDA_ERROR_SYSTEM_NOT_READY
                    | R::CUDA_ERROR_UNKNOWN
            ),
            _ => false,
        }
    }
}

fn version(number: u32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

/// Returns the driver's answer as a result.
pub(super) fn check(call: &'static str, code: CUresult) -> Result<(), CudaError> {
    if code == CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let mut text = std::ptr::null();
    // SAFETY: the driver gives a static string, or leaves the null pointer.
    let meaning = unsafe {
        let _ = sys::cuGetErrorString(code, &mut text);
        if text.is_null() {
            "no description".into()
        } else {
            CStr::from_ptr(text).to_string_lossy()
        }
    };
    Err(CudaError::Call {
        call,
        code,
        meaning: meaning.into_owned(),
    })
}
