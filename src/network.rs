//! ECMNet (arXiv 2506.08629), a CNN-Mamba segmentation network, and its weights.
//!
//! `image -> stem -> three encoder stages of EDABs -> three skips through MSAU, FFM at the deepest ->
//! three decoder stages -> classifier`. Modules are named as the reference network's, and so are the
//! tensors of a weights file.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};

pub(crate) mod down;
mod edab;
pub(crate) mod ffm;
mod fused;
pub(crate) mod layers;
pub mod metadata;
pub(crate) mod msau;
#[cfg(any(test, feature = "candle-cuda"))]
mod plain;
pub(crate) mod ss2d;
pub(crate) mod stage;
pub(crate) mod stem;
pub(crate) mod tensors;
pub(crate) mod trace;
pub mod weights;

pub use metadata::{ColourOrder, MetadataError, Plan, WeightsMetadata};
pub use weights::{Parameter, Weights, WeightsError};

use crate::error::{Error, Result};
use crate::ops::CpuPath;
use fused::FusedNet;
#[cfg(feature = "candle-cuda")]
use plain::PlainNet;
use tensors::tensor_shapes;
use trace::Trace;

/// The network, on one device, for images of any size.
///
/// On the CPU a forward pass runs on the rayon pool that it is called from; its result has the same bytes
/// for any number of threads. On a CUDA device of Candle's (feature `candle-cuda`) it runs Candle's own
/// kernels, but for the scan: a reference for the engine, not a rival.
pub struct ECMNet(Form);

/// How a device computes the network.
enum Form {
    Fused(Box<FusedNet>),
    #[cfg(feature = "candle-cuda")]
    Plain(Box<PlainNet>),
}

impl ECMNet {
    /// Builds the network from checked weights, on the CPU with the fastest instructions that it has.
    ///
    /// Errs if a tensor is missing, has another shape, or is not ECMNet's, and for any device but the
    /// CPU or, with the feature `candle-cuda`, a CUDA device.
    pub fn new(weights: &Weights, device: &Device) -> Result<Self> {
        if device.is_cpu() {
            return Self::with_path(weights, CpuPath::best());
        }
        check_names(weights)?;
        #[cfg(feature = "candle-cuda")]
        if device.is_cuda() {
            let net = PlainNet::new(weights, device)?;
            return Ok(Self(Form::Plain(Box::new(net))));
        }
        let reason = "this build's network runs on the CPU only; use device cpu or auto".to_owned();
        Err(Error::Device { reason })
    }

    /// As [`ECMNet::new`] on the CPU, with the instructions of `path`.
    ///
    /// # Panics
    /// A forward pass panics if this CPU lacks them; see [`CpuPath::available`].
    pub fn with_path(weights: &Weights, path: CpuPath) -> Result<Self> {
        check_names(weights)?;
        let net = FusedNet::new(weights, path)?;
        Ok(Self(Form::Fused(Box::new(net))))
    }

    /// Returns the logits `[1, K, H, W]` of an image `[1, 3, H, W]`, f32, before softmax.
    ///
    /// The image is on the network's device, normalised as the weights' metadata say. Errs if it has
    /// another shape or dtype.
    pub fn forward(&self, image: &Tensor) -> Result<Tensor> {
        self.resized(&self.forward_low(image)?, size_of(image)?)
    }

    /// Returns the logits before their bilinear upsampling to the image's size: `[1, K, h, w]`, half of
    /// it with plan A and a quarter with plan B, rounded up.
    ///
    /// Upsampling and the classifier commute exactly, so a caller that resizes anyway starts here.
    pub fn forward_low(&self, image: &Tensor) -> Result<Tensor> {
        self.run(image, &mut Trace::off())
    }

    /// Returns every intermediate by its module's name in the reference network, `[1, c, h, w]` with
    /// channels in the reference's order, in the order of computation; `logits` is the last.
    ///
    /// Computed as [`ECMNet::forward`] does, but for what that fuses away.
    pub fn forward_traced(&self, image: &Tensor) -> Result<Vec<(String, Tensor)>> {
        let mut trace = Trace::on();
        let low = self.run(image, &mut trace)?;
        trace.add("logits", &self.resized(&low, size_of(image)?)?)?;
        Ok(trace.into_tensors())
    }

    /// Returns the logits as [`ECMNet::forward`] does, and how long each part of the network took: on
    /// the CPU, for a GPU is still at work when its part is over.
    pub fn forward_timed(&self, image: &Tensor) -> Result<(Tensor, Vec<(&'static str, Duration)>)> {
        let (start, mut trace) = (Instant::now(), Trace::off());
        let low = self.run(image, &mut trace)?;
        let logits = self.resized(&low, size_of(image)?)?;
        trace.stage_ended("upsampling");
        Ok((logits, trace.stage_times(start)))
    }

    /// Returns the name and shape of every tensor that a network of so many classes needs, in the order
    /// of the names.
    pub fn tensor_shapes(classes: usize) -> BTreeMap<String, Vec<usize>> {
        tensor_shapes(classes)
    }

    /// Returns the name of the CPU instructions that it computes with, `cuda` where it uses none.
    pub fn cpu_path(&self) -> &'static str {
        match &self.0 {
            Form::Fused(net) => net.path().name(),
            #[cfg(feature = "candle-cuda")]
            Form::Plain(_) => "cuda",
        }
    }

    fn run(&self, image: &Tensor, trace: &mut Trace) -> Result<Tensor> {
        let is_image = matches!(image.dims(), [1, 3, height, width] if height * width > 0);
        if !is_image {
            return Err(Error::Shape {
                what: "the network's input".to_owned(),
                expected: "[1, 3, height, width]".to_owned(),
                got: image.dims().to_vec(),
            });
        };
        match &self.0 {
            Form::Fused(net) => net.forward_low(image, trace),
            #[cfg(feature = "candle-cuda")]
            Form::Plain(net) => net.forward_low(image, trace),
        }
    }

    fn resized(&self, low: &Tensor, size: [usize; 2]) -> Result<Tensor> {
        match &self.0 {
            Form::Fused(_) => Ok(low.apply_op1_no_bwd(&crate::ops::Resize { size })?),
            #[cfg(feature = "candle-cuda")]
            Form::Plain(_) => Ok(low.upsample_bilinear2d(size[0], size[1], false)?),
        }
    }
}

fn check_names(weights: &Weights) -> Result<(), WeightsError> {
    let classes = weights.metadata().classes.len();
    weights.check_names(&tensor_shapes(classes).into_keys().collect())
}

fn size_of(map: &Tensor) -> candle_core::Result<[usize; 2]> {
    let (_, _, height, width) = map.dims4()?;
    Ok([height, width])
}
