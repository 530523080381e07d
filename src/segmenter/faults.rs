//! Faults on demand, for the tests of what becomes of them; no shipped build has them.
//!
//! `ECMNET_FAULT=trap@N` stops the GPU in a kernel at the frame of this number, counted from 0;
//! `lost@N` does as if it had, on any device.

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};

use super::backend::Backend;
use crate::engine::{CudaError, Engine};
use crate::error::{Error, Result};

/// A fault to come.
pub(super) struct Fault {
    kind: Option<(Kind, u64)>,
    frames: AtomicU64,
}

#[derive(Clone, Copy)]
enum Kind {
    Trap,
    Lost,
}

impl Fault {
    /// Reads the fault that the environment asks for; errs if it is none of the above.
    pub(super) fn from_environment() -> Result<Self> {
        let frames = AtomicU64::new(0);
        let Ok(text) = env::var("ECMNET_FAULT") else {
            return Ok(Self { kind: None, frames });
        };
        let unknown = || Error::Device {
            reason: format!("ECMNET_FAULT is '{text}', which is none of trap@N, lost@N"),
        };
        let (kind, frame) = text.split_once('@').ok_or_else(unknown)?;
        let kind = match kind {
            "trap" => Kind::Trap,
            "lost" => Kind::Lost,
            _ => return Err(unknown()),
        };
        let frame = frame.parse().ok().ok_or_else(unknown)?;
        Ok(Self {
            kind: Some((kind, frame)),
            frames,
        })
    }

    /// Brings the fault about if this frame is its.
    pub(super) fn strike(&self, backend: &Backend) -> Result<()> {
        let frame = self.frames.fetch_add(1, Ordering::Relaxed);
        match (self.kind, backend) {
            (Some((Kind::Lost, at)), _) if at == frame => Err(CudaError::lost().into()),
            (Some((Kind::Trap, at)), Backend::Gpu(gpu)) if at == frame => {
                gpu.hold().engine.as_ref().map_or(Ok(()), Engine::trap)
            }
            _ => Ok(()),
        }
    }
}
