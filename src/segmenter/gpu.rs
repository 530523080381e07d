//! The network on a CUDA device, f16: the engine, and what becomes of it when memory runs out.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Segmentation, StageTimes};
use crate::engine::{Engine, GpuLimits};
use crate::error::{Error, Result};
use crate::image::ImageView;
use crate::network::Weights;
use crate::preprocess::InputFit;

/// An engine on one device, with what it takes to make it anew.
pub(super) struct Gpu {
    weights: Weights,
    index: usize,
    name: String,
    /// `None` after a failure to make it anew.
    engine: Mutex<Option<Engine>>,
}

impl Gpu {
    /// Makes the engine on the device of this number; errs with the driver's error where it cannot.
    pub(super) fn open(weights: Weights, index: usize) -> Result<Self> {
        let engine = Engine::new(&weights, index, GpuLimits::default())?;
        Ok(Self {
            name: format!("cuda:{index} ({})", engine.device_name()),
            weights,
            index,
            engine: Mutex::new(Some(engine)),
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

    /// Does `work` with the engine; where memory runs out once more with a new one.
    ///
    /// The old engine's memory goes first, with that of every size it has met, and what is left may
    /// suffice.
    fn with_engine<T>(&self, mut work: impl FnMut(&mut Engine) -> Result<T>) -> Result<T> {
        let mut held = self.hold();
        match self.made(&mut held).and_then(&mut work) {
            Err(Error::Cuda(error)) if error.is_out_of_memory() => {
                *held = None;
                self.made(&mut held).and_then(work)
            }
            done => done,
        }
    }

    fn made<'a>(&self, held: &'a mut Option<Engine>) -> Result<&'a mut Engine> {
        match held {
            Some(engine) => Ok(engine),
            None => {
                let engine = Engine::new(&self.weights, self.index, GpuLimits::default())?;
                Ok(held.insert(engine))
            }
        }
    }

    /// Locks the engine. One that another thread left by a panic begins its next frame anew.
    pub(super) fn hold(&self) -> MutexGuard<'_, Option<Engine>> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
