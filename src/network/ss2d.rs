//! SS2D: a selective state-space scan over the image in four directions (VMamba's first form).
//!
//! `[x|z] = in_proj(v)`, `x = silu(dw3x3(x))`, `y = scan(x)`, `out = out_proj(layer_norm(y) * silu(z))`.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::layers::Layers;
use super::tensors::{DELTA_RANK, FUSED_WIDTH, SCAN_WIDTH};
use super::trace::Trace;
use crate::error::Result;
use crate::ops::conv::Conv;
use crate::ops::map::{Map, Source, apply_in_place, output, run, scan_on_maps, transposed};
use crate::ops::{
    ConvChain, CpuPath, DIRECTIONS, Depthwise, Function, LayerNorm, STATES, SelectiveScan,
};

pub(crate) struct Ss2d {
    in_proj: ConvChain,
    depthwise: DepthwiseSilu,
    scan: Scan,
    out_norm: LayerNorm,
    gate: Gate,
    out_proj: ConvChain,
}

impl Ss2d {
    pub(crate) fn new(layers: &Layers<'_>) -> Result<Self> {
        let (d, path) = (SCAN_WIDTH, layers.path());
        let projection = |name, to, from| -> Result<ConvChain> {
            let weights = layers.values(name, &[to, from])?.to_vec();
            Ok(ConvChain::new(vec![layers.pointwise(
                weights,
                Vec::new(),
                from,
            )]))
        };
        let taps = layers.values("conv2d.weight", &[d, 1, 3, 3])?.to_vec();
        let bias = layers.values("conv2d.bias", &[d])?.to_vec();
        Ok(Self {
            in_proj: projection("in_proj.weight", 2 * d, FUSED_WIDTH)?,
            depthwise: DepthwiseSilu {
                filter: Depthwise {
                    kernel: 3,
                    taps,
                    bias,
                },
                path,
            },
            scan: Scan::new(layers)?,
            out_norm: LayerNorm {
                weight: layers.values("out_norm.weight", &[d])?.to_vec(),
                bias: layers.values("out_norm.bias", &[d])?.to_vec(),
            },
            gate: Gate { path },
            out_proj: projection("out_proj.weight", FUSED_WIDTH, d)?,
        })
    }

    /// Returns SS2D of the map `[1, 48, h, w]`, of the same shape.
    pub(crate) fn forward(&self, map: &Tensor, name: &str, trace: &mut Trace) -> Result<Tensor> {
        let projected = map.apply_op1_no_bwd(&self.in_proj)?;
        trace.add(format_args!("{name}.in_proj"), &projected)?;
        let x = projected
            .narrow(1, 0, SCAN_WIDTH)?
            .apply_op1_no_bwd(&self.depthwise)?;
        trace.add(format_args!("{name}.conv2d"), &x)?;
        let y = x.apply_op1_no_bwd(&self.scan)?;
        trace.add(format_args!("{name}.scan"), &y)?;
        let y = y.apply_op1_no_bwd(&self.out_norm)?;
        trace.add(format_args!("{name}.out_norm"), &y)?;
        let z = projected.narrow(1, SCAN_WIDTH, SCAN_WIDTH)?;
        let out = y
            .apply_op2_no_bwd(&z, &self.gate)?
            .apply_op1_no_bwd(&self.out_proj)?;
        trace.add(name, &out)?;
        Ok(out)
    }
}

/// `silu(dw3x3(x))` of a map `[1, d, h, w]`.
struct DepthwiseSilu {
    filter: Depthwise,
    path: CpuPath,
}

impl CustomOp1 for DepthwiseSilu {
    fn name(&self) -> &'static str {
        "depthwise-silu"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let map = Map::with_channels(self.name(), storage, layout, self.filter.bias.len())?;
        let mut out = vec![0.0; map.data.len()];
        let planes = out
            .par_chunks_exact_mut(map.area())
            .zip(map.data.par_chunks_exact(map.area()));
        planes
            .enumerate()
            .for_each_init(Vec::new, |padded, (c, (out, plane))| {
                self.filter
                    .plane(c, plane, map.size[1], out, padded, self.path);
            });
        apply_in_place(Function::Silu, &mut out, self.path);
        Ok(output(out, map.channels, map.size))
    }
}

/// The projections of a map `[1, d, h, w]` and its scan, of the same shape.
struct Scan {
    /// `x_proj` of the four directions, one after the other.
    projection: Conv,
    scan: SelectiveScan,
    path: CpuPath,
}

impl Scan {
    fn new(layers: &Layers<'_>) -> Result<Self> {
        let rows = DIRECTIONS * (DELTA_RANK + 2 * STATES);
        let shape = [DIRECTIONS, rows / DIRECTIONS, SCAN_WIDTH];
        let projection = layers.values("x_proj_weight", &shape)?.to_vec();
        Ok(Self {
            projection: layers.pointwise(projection, Vec::new(), SCAN_WIDTH),
            scan: selective_scan(layers)?,
            path: layers.path(),
        })
    }
}

/// Returns the scan of SS2D with the weights below `layers`.
pub(crate) fn selective_scan(layers: &Layers<'_>) -> Result<SelectiveScan> {
    let (d, k, n, r) = (SCAN_WIDTH, DIRECTIONS, STATES, DELTA_RANK);
    let delta_weights = layers.values("dt_projs_weight", &[k, d, r])?;
    let decay = layers.values("A_logs", &[k * d, n])?;
    let skip = layers.values("Ds", &[k * d])?;
    Ok(SelectiveScan {
        channels: d,
        rank: r,
        delta_weights: delta_weights
            .chunks_exact(d * r)
            .flat_map(|weights| transposed(weights, r))
            .collect(),
        delta_bias: layers.values("dt_projs_bias", &[k, d])?.to_vec(),
        decay: decay
            .chunks_exact(d * n)
            .flat_map(|logs| transposed(logs, n))
            .map(|log| (-f64::from(log).exp()) as f32)
            .collect(),
        skip: (0..d)
            .map(|c| (0..k).map(|k| skip[k * d + c]).sum())
            .collect(),
    })
}

impl CustomOp1 for Scan {
    fn name(&self) -> &'static str {
        "ss2d-scan"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let map = Map::with_channels(self.name(), storage, layout, self.scan.channels)?;
        let projected = run(
            &Source::Map(map.rows()),
            std::slice::from_ref(&self.projection),
            None,
        );
        let y = scan_on_maps(&self.scan, map.data, &projected, map.size, self.path);
        Ok(output(y, map.channels, map.size))
    }
}

/// `y * silu(z)`, both `[1, d, h, w]`.
struct Gate {
    path: CpuPath,
}

impl CustomOp2 for Gate {
    fn name(&self) -> &'static str {
        "silu-gate"
    }

    fn cpu_fwd(
        &self,
        y: &CpuStorage,
        y_layout: &Layout,
        z: &CpuStorage,
        z_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = Map::of(self.name(), y, y_layout)?;
        let z = Map::with_channels(self.name(), z, z_layout, y.channels)?;
        let mut out = z.data.to_vec();
        apply_in_place(Function::Silu, &mut out, self.path);
        out.iter_mut().zip(y.data).for_each(|(z, y)| *z *= y);
        Ok(output(out, y.channels, y.size))
    }
}
