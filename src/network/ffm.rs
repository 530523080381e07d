//! FFM: the deepest features and two pooled skips, fused through SS2D (eqs 10 and 11 of the paper).
//!
//! `v = concat(enc, pool(m1), pool(m2))`, `out = enc + proj(fc2(gelu(fc1(ss2d(layer_norm(v))))))`.

use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::layers::Layers;
use super::ss2d::Ss2d;
use super::tensors::{FUSED_WIDTH, MLP_WIDTH, SKIP_WIDTH};
use super::trace::Trace;
use crate::error::Result;
use crate::ops::map::{Map, adaptive_average_pool, output};
use crate::ops::{ConvChain, Function, LayerNorm};

pub(crate) struct Ffm {
    norm: LayerNorm,
    ss2d: Ss2d,
    fc1: ConvChain,
    fc2: ConvChain,
    proj: ConvChain,
}

impl Ffm {
    pub(crate) fn new(layers: &Layers<'_>) -> Result<Self> {
        let linear = |name: &str, from, to| -> Result<ConvChain> {
            let weights = layers
                .values(&format!("{name}.weight"), &[to, from])?
                .to_vec();
            let bias = layers.values(&format!("{name}.bias"), &[to])?.to_vec();
            Ok(ConvChain::new(vec![layers.pointwise(weights, bias, from)]))
        };
        Ok(Self {
            norm: LayerNorm {
                weight: layers.values("norm.weight", &[FUSED_WIDTH])?.to_vec(),
                bias: layers.values("norm.bias", &[FUSED_WIDTH])?.to_vec(),
            },
            ss2d: Ss2d::new(&layers.pp("ss2d"))?,
            fc1: linear("fc1", FUSED_WIDTH, MLP_WIDTH)?,
            fc2: linear("fc2", MLP_WIDTH, FUSED_WIDTH)?,
            proj: linear("proj", FUSED_WIDTH, SKIP_WIDTH)?,
        })
    }

    /// Returns the fused map, of the shape `[1, 16, h, w]` of `enc`.
    pub(crate) fn forward(
        &self,
        enc: &Tensor,
        fine: &Tensor,
        middle: &Tensor,
        trace: &mut Trace,
    ) -> Result<Tensor> {
        let joined = enc.apply_op3_no_bwd(fine, middle, &JoinPooled)?;
        let v = joined.apply_op1_no_bwd(&self.norm)?;
        trace.add("ffm.norm", &v)?;
        let v = self.ss2d.forward(&v, "ffm.ss2d", trace)?;
        let v = v.apply_op1_no_bwd(&self.fc1)?;
        trace.add("ffm.fc1", &v)?;
        let v = v
            .apply_op1_no_bwd(&Function::Gelu)?
            .apply_op1_no_bwd(&self.fc2)?;
        trace.add("ffm.fc2", &v)?;
        if trace.is_on() {
            trace.add("ffm.proj", &v.apply_op1_no_bwd(&self.proj)?)?;
        }
        let out = v.apply_op2_no_bwd(enc, &self.proj)?;
        trace.add("ffm", &out)?;
        Ok(out)
    }
}

/// The channels of the first map, then those of the other two averaged down to its size.
struct JoinPooled;

impl CustomOp3 for JoinPooled {
    fn name(&self) -> &'static str {
        "join-pooled"
    }

    fn cpu_fwd(
        &self,
        enc: &CpuStorage,
        enc_layout: &Layout,
        fine: &CpuStorage,
        fine_layout: &Layout,
        middle: &CpuStorage,
        middle_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let enc = Map::of(self.name(), enc, enc_layout)?;
        let fine = Map::of(self.name(), fine, fine_layout)?;
        let middle = Map::of(self.name(), middle, middle_layout)?;
        let channels = enc.channels + fine.channels + middle.channels;
        let mut out = vec![0.0; channels * enc.area()];
        let (first, pooled) = out.split_at_mut(enc.data.len());
        first.copy_from_slice(enc.data);
        pooled
            .par_chunks_exact_mut(enc.area())
            .enumerate()
            .for_each(|(c, out)| {
                let (map, c) = if c < fine.channels {
                    (&fine, c)
                } else {
                    (&middle, c - fine.channels)
                };
                let plane = &map.data[c * map.area()..(c + 1) * map.area()];
                adaptive_average_pool(plane, map.size, out, enc.size);
            });
        Ok(output(out, channels, enc.size))
    }
}
