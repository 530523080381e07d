//! MSAU, the skips' attention unit (eqs 5-9 of the paper), without the rewrites of [`super::super::msau`].

use candle_core::{Module, ModuleT, Result, Tensor};
use candle_nn::ops::sigmoid;
use candle_nn::{BatchNorm, VarBuilder};

use super::layers::{Conv, ConvAct, Depthwise, batch_norm};
use crate::network::msau::INNER;
use crate::network::tensors::SKIP_WIDTH;

/// The unit, from `[1, 16, h, w]` to the same shape.
pub(super) struct Msau {
    reduce: ConvAct,
    depthwise: [Depthwise; 3],
    gate: Conv,
    expand: Conv,
    of_mean: Branch,
    of_max: Branch,
}

impl Msau {
    pub(super) fn new(vb: VarBuilder<'_>) -> Result<Self> {
        let (c, h) = (SKIP_WIDTH, INNER);
        let depthwise =
            |i: usize, side| Depthwise::new(h, [side, side], 1, vb.pp(format!("dw.{i}")));
        Ok(Self {
            reduce: ConvAct::new(c, h, [1, 1], 1, vb.pp("reduce"))?,
            depthwise: [depthwise(0, 3)?, depthwise(1, 5)?, depthwise(2, 7)?],
            gate: Conv::with_bias(h, h, [7, 7], vb.pp("gate"))?,
            expand: Conv::with_bias(h, c, [1, 1], vb.pp("expand"))?,
            of_mean: Branch::new(vb.pp("ba"))?,
            of_max: Branch::new(vb.pp("bm"))?,
        })
    }
}

impl Module for Msau {
    fn forward(&self, map: &Tensor) -> Result<Tensor> {
        let reduced = self.reduce.forward(map)?;
        let [small, middle, large] = &self.depthwise;
        let x1 = (small.forward(&reduced)? + middle.forward(&reduced)?)?;
        let x1 = (x1 + large.forward(&reduced)?)?;
        let gate = sigmoid(&self.gate.forward(&x1.mean_keepdim(2)?)?)?;
        let x2 = self.expand.forward(&x1.broadcast_mul(&gate)?)?;
        let x3 = self.of_mean.forward(map, |map| map.mean_keepdim((2, 3)))?;
        let x4 = self
            .of_max
            .forward(map, |map| map.max_keepdim(3)?.max_keepdim(2))?;
        map + x2.broadcast_mul(&(x3 + x4)?)?
    }
}

/// A 3x3 convolution and batch norm, and the MLP after its pooling.
struct Branch {
    conv: Conv,
    norm: BatchNorm,
    hidden: Conv,
    out: Conv,
}

impl Branch {
    fn new(vb: VarBuilder<'_>) -> Result<Self> {
        let (c, h) = (SKIP_WIDTH, INNER);
        Ok(Self {
            conv: Conv::new(c, c, [3, 3], 1, vb.pp("0.0"))?,
            norm: batch_norm(c, vb.pp("0.1"))?,
            hidden: Conv::with_bias(c, h, [1, 1], vb.pp("1.0"))?,
            out: Conv::with_bias(h, c, [1, 1], vb.pp("1.2"))?,
        })
    }

    /// Returns one factor a channel, `[1, 16, 1, 1]`.
    fn forward(&self, map: &Tensor, pooled: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let map = self.norm.forward_t(&self.conv.forward(map)?, false)?;
        self.out
            .forward(&self.hidden.forward(&pooled(&map)?)?.relu()?)
    }
}
