//! FFM: the deepest features and two pooled skips, fused through SS2D (eqs 10 and 11 of the paper).

use candle_core::{Module, Tensor};
use candle_nn::{LayerNorm, Linear, VarBuilder};

use super::layers::adaptive_average_pool;
use super::ss2d::{Ss2d, map_from_pixels, pixels_from_map};
use crate::error::Result;
use crate::network::size_of;
use crate::network::tensors::{FUSED_WIDTH, MLP_WIDTH, SKIP_WIDTH};
use crate::network::trace::Trace;
use crate::ops::ScanOp;

pub(super) struct Ffm {
    norm: LayerNorm,
    ss2d: Ss2d,
    fc1: Linear,
    fc2: Linear,
    proj: Linear,
}

impl Ffm {
    pub(super) fn new(scan: ScanOp, vb: VarBuilder<'_>) -> candle_core::Result<Self> {
        Ok(Self {
            norm: candle_nn::layer_norm(FUSED_WIDTH, 1e-5, vb.pp("norm"))?,
            ss2d: Ss2d::new(scan, vb.pp("ss2d"))?,
            fc1: candle_nn::linear(FUSED_WIDTH, MLP_WIDTH, vb.pp("fc1"))?,
            fc2: candle_nn::linear(MLP_WIDTH, FUSED_WIDTH, vb.pp("fc2"))?,
            proj: candle_nn::linear(FUSED_WIDTH, SKIP_WIDTH, vb.pp("proj"))?,
        })
    }

    /// Returns the fused map, of the shape `[1, 16, h, w]` of `enc`.
    pub(super) fn forward(
        &self,
        enc: &Tensor,
        fine: &Tensor,
        middle: &Tensor,
        trace: &mut Trace,
    ) -> Result<Tensor> {
        let size = size_of(enc)?;
        let pooled = [fine, middle].map(|skip| adaptive_average_pool(skip, size));
        let [fine, middle] = pooled;
        let joined = Tensor::cat(&[enc, &fine?, &middle?], 1)?;
        let v = self.norm.forward(&pixels_from_map(&joined)?)?;
        trace.add("ffm.norm", &map_from_pixels(&v)?)?;
        let v = self.ss2d.forward(&v, trace)?;
        let v = self.fc1.forward(&v)?;
        trace.add("ffm.fc1", &map_from_pixels(&v)?)?;
        let v = self.fc2.forward(&v.gelu_erf()?)?;
        trace.add("ffm.fc2", &map_from_pixels(&v)?)?;
        let v = map_from_pixels(&self.proj.forward(&v)?)?;
        trace.add("ffm.proj", &v)?;
        let out = (enc + v)?;
        trace.add("ffm", &out)?;
        Ok(out)
    }
}
