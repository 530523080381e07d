//! Layers that the reference has of PyTorch, in Candle's ops.

use candle_core::{Module, ModuleT, Result, Tensor};
use candle_nn::{BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig, PReLU, VarBuilder};

/// A batch norm with the reference's epsilon.
pub(super) fn batch_norm(channels: usize, vb: VarBuilder<'_>) -> Result<BatchNorm> {
    let config = BatchNormConfig {
        eps: 1e-3,
        ..BatchNormConfig::default()
    };
    candle_nn::batch_norm(channels, config, vb)
}

/// A batch norm and PReLU.
pub(super) struct BnPrelu {
    bn: BatchNorm,
    act: PReLU,
}

impl BnPrelu {
    pub(super) fn new(channels: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            bn: batch_norm(channels, vb.pp("bn"))?,
            act: candle_nn::prelu(Some(channels), vb.pp("act"))?,
        })
    }
}

impl Module for BnPrelu {
    fn forward(&self, map: &Tensor) -> Result<Tensor> {
        self.act.forward(&self.bn.forward_t(map, false)?)
    }
}

/// A dense convolution that keeps its map's size, or halves it with stride 2.
pub(super) struct Conv {
    conv: Conv2d,
    /// Zeros before and after each axis, on top of the padding that Candle gives both.
    margins: [usize; 2],
}

impl Conv {
    /// Without a bias.
    pub(super) fn new(
        from: usize,
        to: usize,
        kernel: [usize; 2],
        stride: usize,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let weights = vb.get((to, from, kernel[0], kernel[1]), "weight")?;
        Ok(Self::of(weights, None, kernel, stride))
    }

    /// With a bias, stride 1.
    pub(super) fn with_bias(
        from: usize,
        to: usize,
        kernel: [usize; 2],
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let weights = vb.get((to, from, kernel[0], kernel[1]), "weight")?;
        Ok(Self::of(weights, Some(vb.get(to, "bias")?), kernel, 1))
    }

    fn of(weights: Tensor, bias: Option<Tensor>, kernel: [usize; 2], stride: usize) -> Self {
        // Candle pads both axes alike.
        let [rows, columns] = kernel.map(|k| k / 2);
        let padding = rows.min(columns);
        let config = Conv2dConfig {
            padding,
            stride,
            ..Conv2dConfig::default()
        };
        Self {
            conv: Conv2d::new(weights, bias, config),
            margins: [rows - padding, columns - padding],
        }
    }
}

impl Module for Conv {
    fn forward(&self, map: &Tensor) -> Result<Tensor> {
        self.conv.forward(&padded(map, self.margins)?)
    }
}

/// A convolution, batch norm and PReLU (`conv_act` of the reference).
pub(super) struct ConvAct {
    conv: Conv,
    act: BnPrelu,
}

impl ConvAct {
    pub(super) fn new(
        from: usize,
        to: usize,
        kernel: [usize; 2],
        stride: usize,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        Ok(Self {
            conv: Conv::new(from, to, kernel, stride, vb.pp("0"))?,
            act: BnPrelu::new(to, vb.pp("1"))?,
        })
    }
}

impl Module for ConvAct {
    fn forward(&self, map: &Tensor) -> Result<Tensor> {
        self.act.forward(&self.conv.forward(map)?)
    }
}

/// A depthwise convolution as a sum of shifted maps: Candle's own is one convolution a channel.
pub(super) struct Depthwise {
    /// One tensor `[1, c, 1, 1]` a tap, with the pixels that it is shifted by on each axis.
    taps: Vec<([usize; 2], Tensor)>,
    margins: [usize; 2],
}

impl Depthwise {
    /// Without a bias; `dilation` counts on the axes of more than one tap.
    pub(super) fn new(
        channels: usize,
        kernel: [usize; 2],
        dilation: usize,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let weights = vb.get((channels, 1, kernel[0], kernel[1]), "weight")?;
        let mut taps = Vec::with_capacity(kernel[0] * kernel[1]);
        for (row, column) in (0..kernel[0]).flat_map(|y| (0..kernel[1]).map(move |x| (y, x))) {
            let tap = weights.narrow(2, row, 1)?.narrow(3, column, 1)?;
            let tap = tap.reshape((1, channels, 1, 1))?;
            taps.push(([row * dilation, column * dilation], tap));
        }
        Ok(Self {
            taps,
            margins: kernel.map(|k| k / 2 * dilation),
        })
    }
}

impl Module for Depthwise {
    fn forward(&self, map: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = map.dims4()?;
        let padded = padded(map, self.margins)?;
        let mut sum = map.zeros_like()?;
        for ([row, column], tap) in &self.taps {
            let shifted = padded.narrow(2, *row, height)?.narrow(3, *column, width)?;
            sum = (sum + shifted.broadcast_mul(tap)?)?;
        }
        Ok(sum)
    }
}

/// The largest value of each 2x2 square, also of the halves and the quarter at odd borders.
pub(super) fn max_pool(map: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = map.dims4()?;
    // Candle leaves odd borders out; a border repeated changes no maximum.
    map.pad_with_same(2, 0, height % 2)?
        .pad_with_same(3, 0, width % 2)?
        .max_pool2d(2)
}

/// PyTorch's `adaptive_avg_pool2d` of a map `[1, c, h, w]`: cell `o` of `m` covers the rows (columns) from
/// `floor(o n / m)` to `ceil((o + 1) n / m)`.
pub(super) fn adaptive_average_pool(
    map: &Tensor,
    [out_height, out_width]: [usize; 2],
) -> Result<Tensor> {
    let (_, c, height, width) = map.dims4()?;
    let of_axis = |n: usize, m: usize| -> Result<Tensor> {
        let share = |at: usize, o: usize| {
            let cell = o * n / m..((o + 1) * n).div_ceil(m);
            let part = 1.0 / cell.len() as f32;
            if cell.contains(&at) { part } else { 0.0 }
        };
        let shares = (0..n).flat_map(|at| (0..m).map(move |o| share(at, o)));
        Tensor::from_iter(shares, map.device())?.reshape((n, m))
    };
    let by_columns = map
        .reshape((c * height, width))?
        .matmul(&of_axis(width, out_width)?)?;
    let turned = by_columns
        .reshape((c, height, out_width))?
        .transpose(1, 2)?
        .contiguous()?;
    let pooled = turned
        .reshape((c * out_width, height))?
        .matmul(&of_axis(height, out_height)?)?;
    let pooled = pooled.reshape((1, c, out_width, out_height))?;
    pooled.transpose(2, 3)?.contiguous()
}

/// Zeros before and after the rows and the columns.
fn padded(map: &Tensor, [rows, columns]: [usize; 2]) -> Result<Tensor> {
    map.pad_with_zeros(2, rows, rows)?
        .pad_with_zeros(3, columns, columns)
}
