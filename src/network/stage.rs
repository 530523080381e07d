//! A stage of EDABs, one after the other.

use candle_core::Tensor;

use super::edab::Edab;
use super::layers::{ChannelOrder, Layers};
use super::trace::Trace;
use crate::error::Result;
use crate::ops::ChannelActivation;

/// EDABs of one width.
pub(crate) struct Stage {
    blocks: Vec<Edab>,
    /// The order of each block's output channels.
    orders: Vec<ChannelOrder>,
    order: ChannelOrder,
    /// A batch norm and PReLU after the last block.
    act: Option<ChannelActivation>,
}

impl Stage {
    /// Builds one block for each of `dilations`, the first reading channels in `order`.
    pub(crate) fn new(
        layers: &Layers<'_>,
        order: &ChannelOrder,
        dilations: &[usize],
    ) -> Result<Self> {
        let mut order = order.clone();
        let (mut blocks, mut orders) = (Vec::new(), Vec::new());
        for (i, &dilation) in dilations.iter().enumerate() {
            blocks.push(Edab::new(&layers.pp(i), &order, dilation)?);
            order = order.shuffled();
            orders.push(order.clone());
        }
        Ok(Self {
            blocks,
            orders,
            order,
            act: None,
        })
    }

    /// Adds what follows the last block, its channels in [`Stage::out_order`].
    pub(crate) fn followed_by(self, act: ChannelActivation) -> Self {
        Self {
            act: Some(act),
            ..self
        }
    }

    /// Returns the order of the output's channels.
    pub(crate) fn out_order(&self) -> &ChannelOrder {
        &self.order
    }

    /// Returns the stage's output; the trace gets each block's as `name.i`, and `act_name`'s.
    pub(crate) fn forward(
        &self,
        map: Tensor,
        (name, act_name): (&str, &str),
        trace: &mut Trace,
    ) -> Result<Tensor> {
        let mut map = map;
        for (i, (block, order)) in self.blocks.iter().zip(&self.orders).enumerate() {
            map = map.apply_op1_no_bwd(block)?;
            trace.add_in_order(format_args!("{name}.{i}"), &map, order)?;
        }
        if let Some(act) = &self.act {
            map = map.apply_op1_no_bwd(act)?;
            trace.add_in_order(act_name, &map, &self.order)?;
        }
        Ok(map)
    }
}
