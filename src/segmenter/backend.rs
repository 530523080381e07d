//! Where the network runs: the choice, and what it came to.

use super::DeviceChoice;
use super::cpu::Cpu;
#[cfg(feature = "cuda")]
use super::gpu::Gpu;
use crate::error::{Error, Result};
use crate::network::Weights;

/// A device with the network on it.
pub(super) enum Backend {
    /// The CPU.
    Cpu(Box<Cpu>),
    /// A CUDA device.
    #[cfg(feature = "cuda")]
    Gpu(Box<Gpu>),
}

impl Backend {
    /// Returns the device that was chosen, ready, and why `auto` came to the CPU where it did.
    ///
    /// Errs if the weights are not the network's, or the device that was named cannot be used.
    pub(super) fn open(choice: DeviceChoice, weights: Weights) -> Result<(Self, Option<String>)> {
        match choice {
            DeviceChoice::Cpu => Ok((Self::cpu(&weights)?, None)),
            DeviceChoice::Auto => Self::best(weights),
            DeviceChoice::Cuda(index) => Self::gpu(weights, index),
        }
    }

    fn cpu(weights: &Weights) -> Result<Self> {
        Ok(Self::Cpu(Box::new(Cpu::new(weights)?)))
    }

    #[cfg(feature = "cuda")]
    fn best(weights: Weights) -> Result<(Self, Option<String>)> {
        match Gpu::open(weights.clone(), 0) {
            Ok(gpu) => Ok((Self::Gpu(Box::new(gpu)), None)),
            Err(Error::Cuda(error)) => Ok((Self::cpu(&weights)?, Some(error.to_string()))),
            Err(error) => Err(error),
        }
    }

    #[cfg(not(feature = "cuda"))]
    fn best(weights: Weights) -> Result<(Self, Option<String>)> {
        Ok((Self::cpu(&weights)?, Some(NO_CUDA.to_owned())))
    }

    #[cfg(feature = "cuda")]
    fn gpu(weights: Weights, index: usize) -> Result<(Self, Option<String>)> {
        match Gpu::open(weights, index) {
            Ok(gpu) => Ok((Self::Gpu(Box::new(gpu)), None)),
            Err(Error::Cuda(error)) => Err(unusable(&error.to_string())),
            Err(error) => Err(error),
        }
    }

    #[cfg(not(feature = "cuda"))]
    fn gpu(_: Weights, _: usize) -> Result<(Self, Option<String>)> {
        Err(unusable(NO_CUDA))
    }
}

#[cfg(not(feature = "cuda"))]
const NO_CUDA: &str = "this build has no CUDA engine";

fn unusable(reason: &str) -> Error {
    Error::Device {
        reason: format!("{reason}; use device cpu or auto"),
    }
}
