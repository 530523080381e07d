//! The network on the CPU: its ops fused, the batch norms folded into the convolutions.

use candle_core::Tensor;

use super::down::Down;
use super::ffm::Ffm;
use super::layers::{ChannelOrder, Layers, columns_in_order};
use super::msau::Msau;
use super::size_of;
use super::stage::Stage;
use super::stem::Stem;
use super::tensors::{DILATIONS, SHALLOW_DILATIONS, SKIP_WIDTH, STEM_WIDTH, WIDTHS};
use super::trace::{self, Trace};
use super::weights::Weights;
use crate::error::Result;
use crate::ops::conv::{Conv, Epilogue, Geometry};
use crate::ops::{ConvChain, CpuPath};

pub(super) struct FusedNet {
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

/// What [`super::ECMNet::forward_timed`] calls them.
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

impl FusedNet {
    /// Builds the network for the instructions of `path`; errs if a tensor is missing or has another shape.
    pub(super) fn new(weights: &Weights, path: CpuPath) -> Result<Self> {
        let classes = weights.metadata().classes.len();
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

    /// Returns the instructions that it computes with.
    pub(super) fn path(&self) -> CpuPath {
        self.path
    }

    /// As [`super::ECMNet::forward_low`] for an image whose shape was checked.
    pub(super) fn forward_low(&self, image: &Tensor, trace: &mut Trace) -> Result<Tensor> {
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
