//! The stem: three 3x3 convolutions at full resolution, computed row by row.
//!
//! Half of the network's arithmetic, on maps of 32 channels at the input's size: as one [`ConvChain`]
//! they never exist whole.

use candle_core::Tensor;

use super::layers::{ChannelOrder, Layers};
use super::metadata::Plan;
use super::tensors::STEM_WIDTH;
use super::trace::Trace;
use crate::error::Result;
use crate::ops::conv::Geometry;
use crate::ops::{ChannelActivation, ConvChain};

/// The reference's `stem` and `stem_act`.
pub(crate) struct Stem {
    chain: ConvChain,
    /// The same convolutions one by one, the last without `stem_act`, for a traced forward pass.
    steps: Vec<ConvChain>,
    act: ChannelActivation,
}

impl Stem {
    pub(crate) fn new(layers: &Layers<'_>, plan: Plan) -> Result<Self> {
        let act = layers.activation("stem_act", &ChannelOrder::natural(STEM_WIDTH))?;
        let (mut convs, mut steps) = (Vec::new(), Vec::new());
        let channels = [3, STEM_WIDTH, STEM_WIDTH];
        for (i, (from, stride)) in channels.into_iter().zip(plan.stem_strides()).enumerate() {
            let geometry = Geometry::square(from, STEM_WIDTH, 3, stride);
            let order = ChannelOrder::natural(from);
            let conv = |post| layers.conv_act(&format!("stem.{i}"), geometry, &order, post);
            steps.push(ConvChain::new(vec![conv(None)?]));
            convs.push(conv((i + 1 == channels.len()).then(|| act.clone()))?);
        }
        Ok(Self {
            chain: ConvChain::new(convs),
            steps,
            act,
        })
    }

    /// Returns the features `[1, 32, h, w]` of an image `[1, 3, H, W]`.
    pub(crate) fn forward(&self, image: &Tensor, trace: &mut Trace) -> Result<Tensor> {
        if !trace.is_on() {
            return Ok(image.apply_op1_no_bwd(&self.chain)?);
        }
        let mut map = image.clone();
        for (i, step) in self.steps.iter().enumerate() {
            map = map.apply_op1_no_bwd(step)?;
            trace.add(format_args!("stem.{i}"), &map)?;
        }
        let map = map.apply_op1_no_bwd(&self.act)?;
        trace.add("stem_act", &map)?;
        Ok(map)
    }
}
