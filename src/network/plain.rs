//! The network in Candle's own layers: names and steps are the reference network's, nothing is fused or
//! folded. The scan alone is the project's, as a Candle custom op.
//!
//! It runs on the CPU too, many times slower than [`super::fused`]; its tests compare the two there.

use std::collections::HashMap;

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::VarBuilder;

mod edab;
mod ffm;
mod layers;
mod msau;
mod ss2d;
#[cfg(test)]
mod tests;

use super::layers::Layers;
use super::size_of;
use super::ss2d::selective_scan;
use super::tensors::{DILATIONS, SHALLOW_DILATIONS, SKIP_WIDTH, STEM_WIDTH, WIDTHS};
use super::trace::Trace;
use super::weights::Weights;
use crate::error;
use crate::ops::{CpuPath, ScanOp};
use edab::Edab;
use ffm::Ffm;
use layers::{BnPrelu, Conv, ConvAct, max_pool};
use msau::Msau;

/// The network on any device that has Candle's ops and the scan.
pub(super) struct PlainNet {
    stem: [ConvAct; 3],
    stem_act: BnPrelu,
    encoder: [EncoderStage; 3],
    msau: Msau,
    ffm: Ffm,
    decoder: [DecoderStage; 3],
    classifier: Conv,
}

struct EncoderStage {
    down: Down,
    blocks: Vec<Edab>,
    act: BnPrelu,
    line: ConvAct,
}

struct DecoderStage {
    blocks: Vec<Edab>,
    up: ConvAct,
}

impl PlainNet {
    /// Builds the network from weights whose names were checked; errs if a tensor is missing or has
    /// another shape, or if the device does not take it.
    pub(super) fn new(weights: &Weights, device: &Device) -> error::Result<Self> {
        let metadata = weights.metadata();
        let layers = Layers::new(weights, CpuPath::best()).pp("ffm").pp("ss2d");
        let scan = ScanOp::new(selective_scan(&layers)?, device)?;
        let vb = on_device(weights, device)?;
        let strides = metadata.plan.stem_strides();
        let stem = |i: usize, from: usize| {
            let vb = vb.pp(format!("stem.{i}"));
            ConvAct::new(from, STEM_WIDTH, [3, 3], strides[i], vb)
        };
        let encoder_stage = |stage: usize, dilations: &[usize]| -> Result<EncoderStage> {
            let from = if stage == 1 {
                STEM_WIDTH
            } else {
                WIDTHS[stage - 2]
            };
            let to = WIDTHS[stage - 1];
            Ok(EncoderStage {
                down: Down::new(from, to, vb.pp(format!("down{stage}")))?,
                blocks: edab::stage(to, dilations, vb.pp(format!("enc{stage}")))?,
                act: BnPrelu::new(to, vb.pp(format!("act{stage}")))?,
                line: ConvAct::new(to, SKIP_WIDTH, [3, 3], 1, vb.pp(format!("line{stage}")))?,
            })
        };
        let decoder_stage = |stage: usize| -> Result<DecoderStage> {
            let dec = vb.pp(format!("dec{stage}"));
            let up = vb.pp(format!("up{stage}.conv"));
            Ok(DecoderStage {
                blocks: edab::stage(SKIP_WIDTH, &SHALLOW_DILATIONS, dec)?,
                up: ConvAct::new(SKIP_WIDTH, SKIP_WIDTH, [3, 3], 1, up)?,
            })
        };
        let classes = metadata.classes.len();
        Ok(Self {
            stem: [stem(0, 3)?, stem(1, STEM_WIDTH)?, stem(2, STEM_WIDTH)?],
            stem_act: BnPrelu::new(STEM_WIDTH, vb.pp("stem_act"))?,
            encoder: [
                encoder_stage(1, &SHALLOW_DILATIONS)?,
                encoder_stage(2, &DILATIONS)?,
                encoder_stage(3, &DILATIONS)?,
            ],
            msau: Msau::new(vb.pp("msau"))?,
            ffm: Ffm::new(scan, vb.pp("ffm"))?,
            decoder: [decoder_stage(1)?, decoder_stage(2)?, decoder_stage(3)?],
            classifier: Conv::new(SKIP_WIDTH, classes, [1, 1], 1, vb.pp("classifier"))?,
        })
    }

    /// As [`super::ECMNet::forward_low`] for an image whose shape was checked.
    pub(super) fn forward_low(&self, image: &Tensor, trace: &mut Trace) -> error::Result<Tensor> {
        let mut map = image.clone();
        for (i, conv) in self.stem.iter().enumerate() {
            map = conv.forward(&map)?;
            trace.add(format_args!("stem.{i}"), &map)?;
        }
        let half = self.stem_act.forward(&map)?;
        trace.add("stem_act", &half)?;
        trace.stage_ended("stem");

        let mut deepest = half.clone();
        let mut skips = Vec::with_capacity(self.encoder.len());
        for (stage, of_stage) in (1..).zip(&self.encoder) {
            let map = of_stage.down.forward(&deepest)?;
            trace.add(format_args!("down{stage}"), &map)?;
            let map = blocks_of(&of_stage.blocks, map, format_args!("enc{stage}"), trace)?;
            deepest = of_stage.act.forward(&map)?;
            trace.add(format_args!("act{stage}"), &deepest)?;
            let line = of_stage.line.forward(&deepest)?;
            trace.add(format_args!("line{stage}"), &line)?;
            let skip = self.msau.forward(&line)?;
            trace.add(format_args!("msau{stage}"), &skip)?;
            skips.push(skip);
        }
        trace.stage_ended("encoder");

        let fused = self.ffm.forward(&deepest, &skips[0], &skips[1], trace)?;
        trace.stage_ended("ffm");

        // What each stage's output is resized to, and what is added to it there.
        let mut map = (fused + &skips[2])?;
        let targets = [(&skips[1], true), (&skips[0], true), (&half, false)];
        for ((stage, of_stage), (target, is_skip)) in (1..).zip(&self.decoder).zip(targets) {
            map = blocks_of(&of_stage.blocks, map, format_args!("dec{stage}"), trace)?;
            let [height, width] = size_of(target)?;
            map = of_stage
                .up
                .forward(&map.upsample_bilinear2d(height, width, false)?)?;
            trace.add(format_args!("up{stage}"), &map)?;
            if is_skip {
                map = (map + target)?;
            }
        }
        let logits = self.classifier.forward(&map)?;
        trace.add("classifier", &logits)?;
        trace.stage_ended("decoder and classifier");
        Ok(logits)
    }
}

fn on_device<'a>(weights: &Weights, device: &Device) -> Result<VarBuilder<'a>> {
    let mut tensors = HashMap::new();
    for (name, parameter) in weights.parameters() {
        let values = parameter.values.as_slice();
        let tensor = Tensor::from_slice(values, parameter.shape.as_slice(), device)?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(VarBuilder::from_tensors(tensors, DType::F32, device))
}

fn blocks_of(
    blocks: &[Edab],
    map: Tensor,
    name: std::fmt::Arguments<'_>,
    trace: &mut Trace,
) -> error::Result<Tensor> {
    let mut map = map;
    for (i, block) in blocks.iter().enumerate() {
        map = block.forward(&map)?;
        trace.add(format_args!("{name}.{i}"), &map)?;
    }
    Ok(map)
}

/// `act(concat(conv3x3 stride 2, maxpool 2x2))`, or the convolution alone where channels do not grow.
struct Down {
    conv: Conv,
    is_joined: bool,
    act: BnPrelu,
}

impl Down {
    fn new(from: usize, to: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let is_joined = from < to;
        let convolved = if is_joined { to - from } else { to };
        Ok(Self {
            conv: Conv::new(from, convolved, [3, 3], 2, vb.pp("conv"))?,
            is_joined,
            act: BnPrelu::new(to, vb.pp("act"))?,
        })
    }
}

impl Module for Down {
    fn forward(&self, map: &Tensor) -> Result<Tensor> {
        let convolved = self.conv.forward(map)?;
        if !self.is_joined {
            return self.act.forward(&convolved);
        }
        self.act
            .forward(&Tensor::cat(&[convolved, max_pool(map)?], 1)?)
    }
}
