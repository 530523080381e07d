//! The CUDA engine: the network in the project's own kernels, one CUDA graph a frame.
//!
//! `camera's bytes -> preprocess -> stem -> encoder, its skips beside it -> FFM -> decoder -> head ->
//! mask`, f16 maps, f32 sums. No Candle op runs per frame; what depends on an image's layout is made once
//! for it and kept.

#![allow(
    unsafe_code,
    reason = "the driver and its kernels take raw addresses; every call says why it is sound"
)]

use std::time::{Duration, Instant};

#[cfg(test)]
mod against_cpu;
pub(crate) mod down;
pub(crate) mod driver;
pub(crate) mod edab;
pub(crate) mod extent;
#[cfg(feature = "inject-faults")]
mod fault;
pub(crate) mod ffm;
pub(crate) mod frame;
pub(crate) mod head;
pub(crate) mod line;
#[cfg(test)]
pub(crate) mod map;
pub(crate) mod msau;
pub(crate) mod network;
#[cfg(test)]
mod overlap;
pub(crate) mod pack;
pub(crate) mod preprocess;
pub(crate) mod scan;
pub(crate) mod stager;
pub(crate) mod stem;
mod survey;
#[cfg(test)]
pub(crate) mod timing;
pub(crate) mod up;

pub use driver::{CudaError, GpuLimits};
pub use survey::{GpuDescription, gpus};

use crate::error::{Error, Result};
use crate::image::ImageView;
use crate::labels::{Confidence, LabelMask};
use crate::network::Weights;
use crate::network::tensors::SKIP_WIDTH;
use crate::preprocess::InputFit;
use driver::{Event, Gpu, Graph};
use frame::FrameBuffers;
use head::Head;
use network::{GpuMaps, GpuNetwork};
use preprocess::{ImageLayout, Preprocess};
use stager::Stager;

/// Layouts whose buffers and graphs are kept; a further one takes the place of the least recently used.
const KEPT_LAYOUTS: usize = 4;

/// The network on one GPU, ready for images of any layout.
pub struct Engine {
    gpu: Gpu,
    preprocess: Preprocess,
    network: GpuNetwork,
    head: Head,
    stager: Stager,
    /// Most recently used first.
    prepared: Vec<Prepared>,
}

/// What one image gave: its mask, its confidence where asked for, and how long it took until its bytes
/// were on their way to the device, from then on until the mask was back, and until it was the caller's.
pub type EngineFrame = (LabelMask, Option<Confidence>, [Duration; 3]);

/// Buffers and the recorded work for images of one layout.
struct Prepared {
    key: Key,
    frame: FrameBuffers,
    graph: Graph,
    // The graph holds addresses in these.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the tests look"))]
    maps: GpuMaps,
    _plans: (preprocess::PreprocessPlan, head::HeadPlan),
}

/// What the recorded work depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    layout: ImageLayout,
    fit: InputFit,
    with_confidence: bool,
}

impl Engine {
    /// Opens the CUDA device of this number and puts the network on it.
    ///
    /// Errs if the device cannot be used, if the weights are not this network's, or if the device's
    /// memory is full.
    pub fn new(weights: &Weights, device: usize, limits: GpuLimits) -> Result<Self> {
        let gpu = Gpu::open(device, limits)?;
        let metadata = weights.metadata();
        let classes = metadata.classes.len();
        let classifier = weights.values("classifier.weight", &[classes, SKIP_WIDTH, 1, 1])?;
        Ok(Self {
            preprocess: Preprocess::new(&gpu, &metadata.normalisation())?,
            network: GpuNetwork::new(&gpu, weights)?,
            head: Head::new(
                &gpu,
                classifier,
                &metadata.logit_offsets,
                metadata.temperature,
            )?,
            stager: Stager::new(),
            prepared: Vec::with_capacity(KEPT_LAYOUTS),
            gpu,
        })
    }

    /// Returns the mask of `image`, of the image's size, and its confidence if asked for; `fit` says
    /// how the image fills the network's input.
    ///
    /// Errs if a logit is not finite, if the device's memory is full, or if the device fails; see
    /// [`CudaError::is_sticky`].
    pub fn run(
        &mut self,
        image: &ImageView<'_>,
        fit: InputFit,
        with_confidence: bool,
    ) -> Result<EngineFrame> {
        let start = Instant::now();
        let stream = self.gpu.stream();
        let (prepared, stager) = self.prepared_for(image, fit, with_confidence)?;
        let Prepared { frame, graph, .. } = prepared;
        frame.send(image, stager, &stream)?;
        let sent = Instant::now();
        graph.launch()?;
        frame.fetch(with_confidence, &stream)?;
        stream.synchronise()?;
        let computed = Instant::now();
        let (mask, confidence) = frame.result(with_confidence)?;
        let times = [sent - start, computed - sent, computed.elapsed()];
        Ok((mask, confidence, times))
    }

    /// Puts the image into the device's memory, for [`Engine::replay`]; errs as [`Engine::run`] does.
    pub fn load(&mut self, image: &ImageView<'_>, fit: InputFit) -> Result<()> {
        let stream = self.gpu.stream();
        let (prepared, stager) = self.prepared_for(image, fit, false)?;
        prepared.frame.send(image, stager, &stream)?;
        Ok(stream.synchronise()?)
    }

    /// Computes the mask of the image that was last loaded or run, from the device's memory to the
    /// device's memory, and waits for it.
    ///
    /// Does nothing before the first image. Errs if the device fails.
    pub fn replay(&self) -> Result<()> {
        self.gpu.bind()?;
        if let Some(prepared) = self.prepared.first() {
            prepared.graph.launch()?;
        }
        Ok(self.gpu.stream().synchronise()?)
    }

    /// As [`Engine::replay`]; returns its milliseconds by the device's own clock.
    pub fn replay_event_ms(&self) -> Result<f32> {
        self.gpu.bind()?;
        let stream = self.gpu.stream();
        let [start, end] = [Event::timed(&self.gpu)?, Event::timed(&self.gpu)?];
        start.record(&stream)?;
        if let Some(prepared) = self.prepared.first() {
            prepared.graph.launch()?;
        }
        end.record(&stream)?;
        stream.synchronise()?;
        Ok(end.milliseconds_since(&start)?)
    }

    /// Puts a kernel among the device's work that fails: every call from its end on errs.
    #[cfg(feature = "inject-faults")]
    pub(crate) fn trap(&self) -> Result<()> {
        self.gpu.bind()?;
        Ok(fault::trap(&self.gpu)?)
    }

    /// Returns the GPU's name.
    pub fn device_name(&self) -> &str {
        self.gpu.name()
    }

    /// Returns the buffers and recorded work for such an image, made now where it is the first of its
    /// layout, and what copies it there.
    fn prepared_for(
        &mut self,
        image: &ImageView<'_>,
        fit: InputFit,
        with_confidence: bool,
    ) -> Result<(&mut Prepared, &mut Stager)> {
        self.gpu.bind()?;
        let key = Key {
            layout: ImageLayout::from(image),
            fit,
            with_confidence,
        };
        let kept = self
            .prepared
            .iter()
            .position(|prepared| prepared.key == key);
        let prepared = match kept {
            Some(at) => self.prepared.remove(at),
            None => {
                self.prepared.truncate(KEPT_LAYOUTS - 1);
                self.prepare(key)?
            }
        };
        self.prepared.insert(0, prepared);
        Ok((&mut self.prepared[0], &mut self.stager))
    }

    fn prepare(&self, key: Key) -> Result<Prepared> {
        let gpu = &self.gpu;
        let Key {
            layout,
            fit,
            with_confidence,
        } = key;
        let sizes = self.network.sizes(fit.network);
        let maps = GpuMaps::new(gpu, sizes)?;
        let frame = FrameBuffers::new(gpu, &layout)?;
        let preprocess = self.preprocess.plan(gpu, layout, fit)?;
        let size = [layout.height, layout.width];
        let head = self.head.plan(gpu, sizes.stem, fit, size)?;
        let graph = Graph::record(gpu, |stream| {
            let (input, mask) = (maps.input(), &frame.mask);
            (self.preprocess).launch(stream, &preprocess, &frame.bytes, input, &mask.device)?;
            self.network
                .launch(stream, &maps, |_| Ok::<_, CudaError>(()))?;
            if self.head.takes_decoded(&head) {
                let decoded = self.network.decoded(&maps);
                (self.head).launch_decoded(stream, &head, &decoded, mask, with_confidence)?;
            } else {
                self.network.launch_features(stream, &maps)?;
                let features = maps.features();
                (self.head).launch(stream, &head, features, mask, with_confidence)?;
            }
            Ok::<_, Error>(())
        })?;
        Ok(Prepared {
            key,
            frame,
            graph,
            maps,
            _plans: (preprocess, head),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::{image_bytes, seeded_weights, seeded_weights_with};

    #[test]
    fn a_class_that_the_weights_put_far_below_the_others_is_in_no_mask_and_zeros_change_no_byte()
    -> anyhow::Result<()> {
        let [height, width] = [96, 160];
        let pixels = image_bytes(height, width);
        let image = ImageView::from_rgb8(width, height, &pixels)?;
        // Of the network's size and of another one: the head's two kernels.
        for network in [[height, width], [56, 72]] {
            let fit = InputFit {
                network,
                image: network,
            };
            let masked = |offsets: &str| -> anyhow::Result<_> {
                let more = [("logit_offsets", offsets)];
                let weights = Weights::from_bytes(&seeded_weights_with("A", 11, &more)?)?;
                let mut engine = Engine::new(&weights, 0, GpuLimits::default())?;
                let (mask, confidence, _) = engine.run(&image, fit, true)?;
                Ok((mask.ids, confidence))
            };
            let before = masked("{}")?;
            assert_eq!(masked(r#"{"class 0": 0, "class 3": -0.0}"#)?, before);
            let (before, _) = before;
            let count = |class: u8| before.iter().filter(|id| **id == class).count();
            let commonest = (0..11).max_by_key(|class| count(*class)).unwrap_or(0);
            let (after, _) = masked(&format!(r#"{{"class {commonest}": -1e3}}"#))?;
            assert!(after.iter().all(|id| *id != commonest && *id < 11));
            for (i, (before, after)) in before.iter().zip(&after).enumerate() {
                assert!(before == after || *before == commonest, "{network:?} {i}");
            }
        }
        Ok(())
    }

    #[test]
    #[ignore = "prints times"]
    fn microseconds_of_a_frame() -> anyhow::Result<()> {
        for (plan, size) in [
            ("A", [360, 480]),
            ("A", [512, 1024]),
            ("A", [1024, 1024]),
            ("B", [1024, 1024]),
        ] {
            let weights = Weights::from_bytes(&seeded_weights(plan, 11)?)?;
            let [before, _] = Gpu::open(0, GpuLimits::default())?.memory_bytes()?;
            let mut engine = Engine::new(&weights, 0, GpuLimits::default())?;
            let gpu = engine.gpu.clone();
            let fit = InputFit {
                network: size,
                image: size,
            };
            let pixels = image_bytes(size[0], size[1]);
            let image = ImageView::from_rgb8(size[1], size[0], &pixels)?;
            let mut whole = Vec::new();
            for i in 0..300 {
                let start = Instant::now();
                engine.run(&image, fit, false)?;
                if i >= 100 {
                    whole.push(start.elapsed().as_secs_f64() * 1e6);
                }
            }
            let [after, _] = gpu.memory_bytes()?;
            let (mut alone, mut events) = (Vec::new(), Vec::new());
            for i in 0..700 {
                let start = Instant::now();
                engine.replay()?;
                if i >= 200 {
                    alone.push(start.elapsed().as_secs_f64() * 1e6);
                }
            }
            for _ in 0..200 {
                events.push(f64::from(engine.replay_event_ms()?) * 1e3);
            }
            for times in [&mut whole, &mut alone, &mut events] {
                times.sort_by(f64::total_cmp);
            }
            eprintln!(
                "plan {plan} {size:?}: graph {:.1} us by events, {:.1} by wall, p95 {:.1}; host to host {:.1}; \
                 {} MiB",
                events[100],
                alone[250],
                alone[475],
                whole[100],
                before.saturating_sub(after) >> 20
            );
        }
        Ok(())
    }
}
