//! EDAB, the network's block (eqs 1-4 of the paper), as [`super::super::edab`] has it.

use candle_core::{Module, Result, Tensor};
use candle_nn::ops::sigmoid;
use candle_nn::{Conv1d, Conv1dConfig, VarBuilder};

use super::layers::{BnPrelu, Conv, ConvAct, Depthwise};

/// The block, from `[1, c, h, w]` to the same shape.
pub(super) struct Edab {
    pre: BnPrelu,
    reduce: Conv,
    up: [ConvAct; 2],
    local: Branch,
    global: Branch,
    /// CA's three taps along the channels.
    channel_gate: Conv1d,
    /// DDA's weights for the row means and for the column means, `[c / 2, c / 2, 1, 1]`.
    strip_gates: [Tensor; 2],
    mid: BnPrelu,
    expand: Conv,
}

/// Returns one block for each of `dilations`.
pub(super) fn stage(channels: usize, dilations: &[usize], vb: VarBuilder<'_>) -> Result<Vec<Edab>> {
    let dilations = dilations.iter().enumerate();
    dilations
        .map(|(i, &dilation)| Edab::new(channels, dilation, vb.pp(i)))
        .collect()
}

impl Edab {
    fn new(channels: usize, dilation: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let h = channels / 2;
        let up = |name, kernel| ConvAct::new(h, h, kernel, 1, vb.pp(name));
        let along_channels = Conv1dConfig {
            padding: 1,
            ..Conv1dConfig::default()
        };
        let gates = vb.get((h, 2 * h, 1, 1), "dda.conv.weight")?;
        let gate = |half: usize| gates.narrow(1, half * h, h)?.contiguous();
        Ok(Self {
            pre: BnPrelu::new(channels, vb.pp("pre"))?,
            reduce: Conv::new(channels, h, [1, 1], 1, vb.pp("reduce"))?,
            up: [up("up1", [3, 1])?, up("up2", [1, 3])?],
            local: Branch::new(h, 1, [vb.pp("l1"), vb.pp("l2")])?,
            global: Branch::new(h, dilation, [vb.pp("g1"), vb.pp("g2")])?,
            channel_gate: candle_nn::conv1d_no_bias(1, 1, 3, along_channels, vb.pp("ca.conv"))?,
            strip_gates: [gate(0)?, gate(1)?],
            mid: BnPrelu::new(h, vb.pp("mid"))?,
            expand: Conv::new(h, channels, [1, 1], 1, vb.pp("expand"))?,
        })
    }

    /// CA: the map, each channel weighed by the means of itself and its neighbours.
    fn weighed_by_channel(&self, map: &Tensor) -> Result<Tensor> {
        let (_, c, _, _) = map.dims4()?;
        let means = map.mean_keepdim((2, 3))?.reshape((1, 1, c))?;
        let gains = sigmoid(&self.channel_gate.forward(&means)?)?;
        map.broadcast_mul(&gains.reshape((1, c, 1, 1))?)
    }

    /// DDA: the map, each pixel weighed by the means of its row and its column.
    fn weighed_by_strip(&self, map: &Tensor) -> Result<Tensor> {
        let [row_gate, column_gate] = &self.strip_gates;
        let rows = map.mean_keepdim(3)?.conv2d(row_gate, 0, 1, 1, 1)?;
        let columns = map.mean_keepdim(2)?.conv2d(column_gate, 0, 1, 1, 1)?;
        map * sigmoid(&rows.broadcast_add(&columns)?)?
    }
}

impl Module for Edab {
    fn forward(&self, map: &Tensor) -> Result<Tensor> {
        let reduced = self.reduce.forward(&self.pre.forward(map)?)?;
        let trunk = self.up[1].forward(&self.up[0].forward(&reduced)?)?;
        let local = self.weighed_by_channel(&self.local.forward(&trunk)?)?;
        let global = self.weighed_by_strip(&self.global.forward(&trunk)?)?;
        let sum = ((trunk + local)? + global)?;
        let out = (self.expand.forward(&self.mid.forward(&sum)?)? + map)?;
        // The channel shuffle: even channels, then odd ones.
        let (_, c, height, width) = out.dims4()?;
        let pairs = out.reshape((c / 2, 2, height, width))?;
        pairs
            .transpose(0, 1)?
            .contiguous()?
            .reshape((1, c, height, width))
    }
}

/// A depthwise 3x1 and then a depthwise 1x3 convolution, each with batch norm and PReLU.
struct Branch([(Depthwise, BnPrelu); 2]);

impl Branch {
    fn new(channels: usize, dilation: usize, [first, second]: [VarBuilder<'_>; 2]) -> Result<Self> {
        let strip = |vb: VarBuilder<'_>, kernel| -> Result<_> {
            let strip = Depthwise::new(channels, kernel, dilation, vb.pp("0"))?;
            Ok((strip, BnPrelu::new(channels, vb.pp("1"))?))
        };
        Ok(Self([strip(first, [3, 1])?, strip(second, [1, 3])?]))
    }
}

impl Module for Branch {
    fn forward(&self, map: &Tensor) -> Result<Tensor> {
        let mut map = map.clone();
        for (strip, act) in &self.0 {
            map = act.forward(&strip.forward(&map)?)?;
        }
        Ok(map)
    }
}
