//! The network on the CPU, f32.

use std::time::Instant;

use candle_core::{Device, Tensor};

use super::{Segmentation, StageTimes};
use crate::error::Result;
use crate::image::ImageView;
use crate::labels::{Logits, mask_from_logits};
use crate::network::{ECMNet, Weights};
use crate::preprocess::{InputFit, InputNormalisation, input_from_image};

/// The network, and how it wants its input; works on the rayon pool that it is called from.
pub(super) struct Cpu {
    network: ECMNet,
    normalisation: InputNormalisation,
    logit_offsets: Vec<f32>,
    temperature: f32,
}

impl Cpu {
    /// Builds the network; errs if the weights are not its.
    pub(super) fn new(weights: &Weights) -> Result<Self> {
        let metadata = weights.metadata();
        Ok(Self {
            network: ECMNet::new(weights, &Device::Cpu)?,
            normalisation: metadata.normalisation(),
            logit_offsets: metadata.logit_offsets.clone(),
            temperature: metadata.temperature,
        })
    }

    /// As [`super::Segmenter::run`], with the image put into the network's input as `fit` says.
    pub(super) fn run(
        &self,
        image: &ImageView<'_>,
        fit: InputFit,
        with_confidence: bool,
    ) -> Result<Segmentation> {
        let start = Instant::now();
        let input = input_from_image(image, fit, &self.normalisation);
        let [height, width] = fit.network;
        let input = Tensor::from_vec(input, (1, 3, height, width), &Device::Cpu)?;
        let preprocessed = Instant::now();
        let logits = self.network.forward_low(&input)?;
        let (_, classes, rows, columns) = logits.dims4()?;
        let values = logits.flatten_all()?.to_vec1()?;
        let mut logits = Logits {
            classes,
            height: rows,
            width: columns,
            values,
        };
        let inferred = Instant::now();
        logits.add_offsets(&self.logit_offsets)?;
        let temperature = with_confidence.then_some(self.temperature);
        let size = [image.height(), image.width()];
        let (mask, confidence) = mask_from_logits(&logits, fit, size, temperature)?;
        let times = StageTimes {
            preprocess: preprocessed - start,
            network: inferred - preprocessed,
            labels: inferred.elapsed(),
        };
        Ok(Segmentation {
            mask,
            confidence,
            times,
        })
    }

    /// Returns the name of the CPU instructions that it computes with.
    pub(super) fn path(&self) -> &'static str {
        self.network.cpu_path()
    }
}
