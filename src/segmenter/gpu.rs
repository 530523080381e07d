//! The network on a CUDA device, f16: the engine, and what becomes of it when memory runs out.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Segmentation, StageTimes};
use crate::engine::{CudaError, Engine, GpuLimits};
use crate::error::{Error, Result};
use crate::image::ImageView;
use crate::network::Weights;
use crate::preprocess::InputFit;

/// An engine on one device, with what it takes to make it anew.
pub(super) struct Gpu {
    weights: Weights,
    index: usize,
    name: String,
    held: Mutex<Held>,
}

/// The engine, and what has become of it.
pub(super) struct Held {
    /// `None` where it could not be made anew.
    pub(super) engine: Option<Engine>,
    /// Whether memory ran out, and the first engine is gone.
    is_second: bool,
}

impl Gpu {
    /// Makes the engine on the device of this number; errs with the driver's error where it cannot.
    pub(super) fn open(weights: Weights, index: usize) -> Result<Self> {
        let engine = Engine::new(&weights, index, GpuLimits::default())?;
        Ok(Self {
            name: format!("cuda:{index} ({})", engine.device_name()),
            weights,
            index,
            held: Mutex::new(Held {
                engine: Some(engine),
                is_second: false,
            }),
        })
    }

    /// Returns the device's number and name.
    pub(super) fn name(&self) -> String {
        self.name.clone()
    }

    /// As [`super::Segmenter::run`], with the image put into the network's input as `fit` says.
    pub(super) fn run(
        &self,
        image: &ImageView<'_>,
        fit: InputFit,
        with_confidence: bool,
    ) -> Result<Segmentation> {
        let (mask, confidence, [preprocess, network, labels]) =
            self.with_engine(|engine| engine.run(image, fit, with_confidence))?;
        let times = StageTimes {
            preprocess,
            network,
            labels,
        };
        Ok(Segmentation {
            mask,
            confidence,
            times,
        })
    }

    /// Puts the image into the device's memory.
    pub(super) fn load(&self, image: &ImageView<'_>, fit: InputFit) -> Result<()> {
        self.with_engine(|engine| engine.load(image, fit))
    }

    /// Returns the wall time of a frame of the loaded image.
    pub(super) fn wall(&self) -> Result<Duration> {
        self.with_engine(|engine| {
            let start = Instant::now();
            engine.replay()?;
            Ok(start.elapsed())
        })
    }

    /// Returns the time of a frame of the loaded image by the device's events.
    pub(super) fn events(&self) -> Result<Duration> {
        self.with_engine(|engine| {
            let milliseconds = engine.replay_event_ms()?;
            Ok(Duration::from_secs_f32(milliseconds * 1e-3))
        })
    }

    /// Does `work` with the engine; where memory runs out for the first time, once more with a new one.
    ///
    /// The old engine's memory goes first, with that of every size it has met, and what is left may
    /// suffice. Where it runs out again the process has no remedy left: a new engine a frame would
    /// take hundreds of frames' time and hold no more.
    fn with_engine<T>(&self, mut work: impl FnMut(&mut Engine) -> Result<T>) -> Result<T> {
        let mut held = self.hold();
        let engine = held.engine.as_mut().ok_or(CudaError::Exhausted)?;
        let done = match work(engine) {
            Err(Error::Cuda(error)) if error.is_out_of_memory() && !held.is_second => {
                held.is_second = true;
                held.engine = None;
                let engine = Engine::new(&self.weights, self.index, GpuLimits::default());
                engine.and_then(|engine| work(held.engine.insert(engine)))
            }
            done => done,
        };
        match done {
            Err(Error::Cuda(error)) if error.is_out_of_memory() => Err(CudaError::Exhausted.into()),
            done => done,
        }
    }

    /// Locks the engine. One that another thread left by a panic begins its next frame anew.
    pub(super) fn hold(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
