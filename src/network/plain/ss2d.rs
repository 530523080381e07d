//! SS2D in Candle's layers, on pixels `[1, h, w, c]` as in the reference; its scan is the project's op.

use candle_core::{Module, Result, Tensor};
use candle_nn::{LayerNorm, Linear, VarBuilder};

use super::layers::Depthwise;
use crate::error;
use crate::network::tensors::{DELTA_RANK, FUSED_WIDTH, SCAN_WIDTH};
use crate::network::trace::Trace;
use crate::ops::{DIRECTIONS, STATES, ScanOp};

pub(super) struct Ss2d {
    in_proj: Linear,
    depthwise: Depthwise,
    /// `[1, d, 1, 1]`.
    depthwise_bias: Tensor,
    /// `x_proj` of the four directions, one after the other, as a 1x1 convolution's weights.
    x_proj: Tensor,
    scan: ScanOp,
    out_norm: LayerNorm,
    out_proj: Linear,
}

impl Ss2d {
    pub(super) fn new(scan: ScanOp, vb: VarBuilder<'_>) -> Result<Self> {
        let d = SCAN_WIDTH;
        let rows = DELTA_RANK + 2 * STATES;
        let x_proj = vb.get((DIRECTIONS, rows, d), "x_proj_weight")?;
        Ok(Self {
            in_proj: candle_nn::linear_no_bias(FUSED_WIDTH, 2 * d, vb.pp("in_proj"))?,
            depthwise: Depthwise::new(d, [3, 3], 1, vb.pp("conv2d"))?,
            depthwise_bias: vb.get(d, "conv2d.bias")?.reshape((1, d, 1, 1))?,
            x_proj: x_proj.reshape((DIRECTIONS * rows, d, 1, 1))?,
            scan,
            out_norm: candle_nn::layer_norm(d, 1e-5, vb.pp("out_norm"))?,
            out_proj: candle_nn::linear_no_bias(d, FUSED_WIDTH, vb.pp("out_proj"))?,
        })
    }

    /// Returns SS2D of pixels `[1, h, w, 48]`, of the same shape.
    pub(super) fn forward(&self, pixels: &Tensor, trace: &mut Trace) -> error::Result<Tensor> {
        let projected = map_from_pixels(&self.in_proj.forward(pixels)?)?;
        trace.add("ffm.ss2d.in_proj", &projected)?;
        let x = self
            .depthwise
            .forward(&projected.narrow(1, 0, SCAN_WIDTH)?)?;
        let x = x.broadcast_add(&self.depthwise_bias)?.silu()?;
        trace.add("ffm.ss2d.conv2d", &x)?;
        let steering = x.conv2d(&self.x_proj, 0, 1, 1, 1)?;
        let y = x.apply_op2_no_bwd(&steering, &self.scan)?;
        trace.add("ffm.ss2d.scan", &y)?;
        let y = self.out_norm.forward(&pixels_from_map(&y)?)?;
        trace.add("ffm.ss2d.out_norm", &map_from_pixels(&y)?)?;
        let z = pixels_from_map(&projected.narrow(1, SCAN_WIDTH, SCAN_WIDTH)?)?;
        let out = self.out_proj.forward(&(y * z.silu()?)?)?;
        trace.add("ffm.ss2d", &map_from_pixels(&out)?)?;
        Ok(out)
    }
}

/// `[1, c, h, w]` to `[1, h, w, c]`.
pub(super) fn pixels_from_map(map: &Tensor) -> Result<Tensor> {
    map.permute((0, 2, 3, 1))?.contiguous()
}

/// `[1, h, w, c]` to `[1, c, h, w]`.
pub(super) fn map_from_pixels(pixels: &Tensor) -> Result<Tensor> {
    pixels.permute((0, 3, 1, 2))?.contiguous()
}
