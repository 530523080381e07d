//! ECMNet (arXiv 2506.08629), a CNN-Mamba segmentation network, and its weights.
//!
//! `image -> stem -> three encoder stages of EDABs -> three skips through MSAU, FFM at the deepest ->
//! three decoder stages -> classifier`. Modules are named as the reference network's, and so are the
//! tensors of a weights file. Batch norms are folded when the network is built.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};

pub(crate) mod down;
mod edab;
pub(crate) mod ffm;
pub(crate) mod layers;
pub mod metadata;
pub(crate) mod msau;
pub(crate) mod ss2d;
pub(crate) mod stage;
pub(crate) mod stem;
pub(crate) mod tensors;
pub(crate) mod trace;
pub mod weights;

pub use metadata::{ColourOrder, MetadataError, Plan, WeightsMetadata};
pub use weights::{Parameter, Weights, WeightsError};

use crate::error::{Error, Result};
use crate::ops::conv::{Conv, Epilogue, Geometry};
use crate::ops::{ConvChain, CpuPath};
use down::Down;
use ffm::Ffm;
use layers::{ChannelOrder, Layers, columns_in_order};
use msau::Msau;
use stage::Stage;
use stem::Stem;
use tensors::{DILATIONS, SHALLOW_DILATIONS, SKIP_WIDTH, STEM_WIDTH, WIDTHS, tensor_shapes};
use trace::Trace;

/// The network, on one device, for images of any size.
///
/// A forward pass runs on the rayon pool that it is called from; its result has the same bytes for any
/// number of threads.
pub struct ECMNet {
    path: CpuPath,
    stem: Stem,
    encoder: [EncoderStage; 3],
    msau: Msau,
    ffm: Ffm,
    decoder: [DecoderStage; 3],
    classifier: ConvChain,
    /// The last `Up` and the classifier in one, so that the map between them is never whole.
    up_and_classifier: ConvChain,
}

/// What [`ECMNet::forward_timed`] calls them.
const ENCODER_STAGES: [&str; 3] = ["encoder 1", "encoder 2", "encoder 3"];

struct EncoderStage {
    down: Down,
    blocks: Stage,
    line: ConvChain,
}

struct DecoderStage {
    blocks: Stage,
    /// The 3x3 convolution of `Up`, which follows the resize.
    up: ConvChain,
}

impl ECMNet {
    /// Builds the network from checked weights, on the CPU with the fastest instructions that it has.
    ///
    /// Errs if a tensor is missing, has another shape, or is not ECMNet's, and for any device but the
    /// CPU.
    pub fn new(weights: &Weights, device: &Device) -> Result<Self> {
        if !device.is_cpu() {
            let reason = "the network runs on the CPU only; use device cpu or auto".to_owned();
            return Err(Error::Device { reason });
        }
        Self::with_path(weights, CpuPath::best())
    }

    /// As [`ECMNet::new`] on the CPU, with the instructions of `path`.
    ///
    /// # Panics
    /// A forward pass panics if this CPU lacks them; see [`CpuPath::available`].
    pub fn with_path(weights: &Weights, path: CpuPath) -> Result<Self> {
        let classes = weights.metadata().classes.len();
        weights.check_names(&tensor_shapes(classes).into_keys().collect())?;
        let layers = Layers::new(weights, path);
        let mut read = ChannelOrder::natural(STEM_WIDTH);
        let mut encoder_stage = |stage: usize, dilations: &[usize]| -> Result<EncoderStage> {
            let channels = WIDTHS[stage - 1];
            let down = Down::new(&layers.pp(format_args!("down{stage}")), &read, channels)?;
            let enc = layers.pp(format_args!("enc{stage}"));
            let blocks = Stage::new(&enc, down.out_order(), dilations)?;
            let act = layers.activation(&format!("act{stage}"), blocks.out_order())?;
            let blocks = blocks.followed_by(act);
            read = blocks.out_order().clone();
            let geometry = Geometry::square(channels, SKIP_WIDTH, 3, 1);
            let line = layers.conv_act(&format!("line{stage}"), geometry, &read, None)?;
            Ok(EncoderStage {
                down,
                blocks,
                line: ConvChain::new(vec![line]),
            })
        };
        let encoder = [
            encoder_stage(1, &SHALLOW_DILATIONS)?,
            encoder_stage(2, &DILATIONS)?,
            encoder_stage(3, &DILATIONS)?,
        ];
        let decoder_stage = |stage: usize| -> Result<DecoderStage> {
            let dec = layers.pp(format_args!("dec{stage}"));
            let blocks = Stage::new(&dec, &ChannelOrder::natural(SKIP_WIDTH), &SHALLOW_DILATIONS)?;
            let geometry = Geometry::square(SKIP_WIDTH, SKIP_WIDTH, 3, 1);
            let name = format!("up{stage}.conv");
            let up = layers.conv_act(&name, geometry, blocks.out_order(), None)?;
            Ok(DecoderStage {
                blocks,
                up: ConvChain::new(vec![up]),
            })
        };
        let decoder = [decoder_stage(1)?, decoder_stage(2)?, decoder_stage(3)?];
        let classifier = classifier(&layers, classes)?;
        let last_up = decoder[2].up.convs()[0].clone();
        Ok(Self {
            path,
            stem: Stem::new(&layers, weights.metadata().plan)?,
            encoder,
            msau: Msau::new(&layers.pp("msau"))?,
            ffm: Ffm::new(&layers.pp("ffm"))?,
            decoder,
            classifier: ConvChain::new(vec![classifier.clone()]),
            up_and_classifier: ConvChain::new(vec![last_up, classifier]),
        })
    }

    /// Returns the logits `[1, K, H, W]` of an image `[1, 3, H, W]`, f32, before softmax.
    ///
    /// The image is normalised as the weights' metadata say. Errs if it has another shape or dtype.
    pub fn forward(&self, image: &Tensor) -> Result<Tensor> {
        logits_at_size(&self.forward_low(image)?, image)
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
        trace.add("logits", &logits_at_size(&low, image)?)?;
        Ok(trace.into_tensors())
    }

    /// Returns the logits as [`ECMNet::forward`] does, and how long each part of the network took.
    pub fn forward_timed(&self, image: &Tensor) -> Result<(Tensor, Vec<(&'static str, Duration)>)> {
        let (start, mut trace) = (Instant::now(), Trace::off());
        let low = self.run(image, &mut trace)?;
        let logits = logits_at_size(&low, image)?;
        trace.stage_ended("upsampling");
        Ok((logits, trace.stage_times(start)))
    }

    /// Returns the name and shape of every tensor that a network of so many classes needs, in the order
    /// of the names.
    pub fn tensor_shapes(classes: usize) -> BTreeMap<String, Vec<usize>> {
        tensor_shapes(classes)
    }

    /// Returns the name of the CPU instructions that it computes with.
    pub fn cpu_path(&self) -> &'static str {
        self.path.name()
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
        let half = self.stem.forward(&image.contiguous()?, trace)?;
        trace.stage_ended("stem");
        let mut deepest = half.clone();
        let mut lines = Vec::with_capacity(self.encoder.len());
        for (stage, EncoderStage { down, blocks, line }) in (1..).zip(&self.encoder) {
            let map = deepest.apply_op1_no_bwd(down)?;
            trace.add_in_order(format_args!("down{stage}"), &map, down.out_order())?;
            let names = (format!("enc{stage}"), format!("act{stage}"));
            deepest = blocks.forward(map, (&names.0, &names.1), trace)?;
            trace.stage_ended(ENCODER_STAGES[stage - 1]);
            lines.push(deepest.apply_op1_no_bwd(line)?);
            trace.stage_ended("lines");
        }
        for (stage, line) in (1..).zip(&lines) {
            trace.add(format_args!("line{stage}"), line)?;
        }
        let mut skips = Vec::with_capacity(lines.len());
        for (stage, line) in (1..).zip(&lines) {
            skips.push(line.apply_op1_no_bwd(&self.msau)?);
            trace.add(format_args!("msau{stage}"), &skips[stage - 1])?;
        }
        trace.stage_ended("msau");
        let deepest = trace::in_natural_order(&deepest, self.encoder[2].blocks.out_order())?;
        let fused = self.ffm.forward(&deepest, &skips[0], &skips[1], trace)?;
        let mut map = (fused + &skips[2])?;
        trace.stage_ended("ffm");
        for (stage, DecoderStage { blocks, up }) in (1..).zip(&self.decoder) {
            map = blocks.forward(map, (&format!("dec{stage}"), ""), trace)?;
            if stage == self.decoder.len() {
                break;
            }
            let skip = &skips[self.decoder.len() - 1 - stage];
            let resized = up.after_resize(size_of(skip)?);
            if trace.is_on() {
                trace.add(format_args!("up{stage}"), &map.apply_op1_no_bwd(&resized)?)?;
            }
            map = map.apply_op2_no_bwd(skip, &resized)?;
        }
        trace.stage_ended("decoder");
        let size = size_of(&half)?;
        if !trace.is_on() {
            let logits = map.apply_op1_no_bwd(&self.up_and_classifier.after_resize(size))?;
            trace.stage_ended("up3 and classifier");
            return Ok(logits);
        }
        let last = map.apply_op1_no_bwd(&self.decoder[2].up.after_resize(size))?;
        trace.add("up3", &last)?;
        let logits = last.apply_op1_no_bwd(&self.classifier)?;
        trace.add("classifier", &logits)?;
        Ok(logits)
    }
}

fn classifier(layers: &Layers<'_>, classes: usize) -> Result<Conv> {
    let geometry = Geometry::square(SKIP_WIDTH, classes, 1, 1);
    let weights = layers.values("classifier.weight", &[classes, SKIP_WIDTH, 1, 1])?;
    let order = ChannelOrder::natural(SKIP_WIDTH);
    let weights = columns_in_order(weights, &order, &geometry);
    Ok(Conv::new(
        geometry,
        weights,
        None,
        Epilogue::default(),
        layers.path(),
    ))
}

fn size_of(map: &Tensor) -> Result<[usize; 2]> {
    let (_, _, height, width) = map.dims4()?;
    Ok([height, width])
}

fn logits_at_size(low: &Tensor, image: &Tensor) -> Result<Tensor> {
    Ok(low.apply_op1_no_bwd(&crate::ops::Resize {
        size: size_of(image)?,
    })?)
}
