//! Down: a strided convolution, and beside it, where channels are added, a max pooling.

use candle_core::{CpuStorage, CustomOp1, Layout, Shape};
use rayon::prelude::*;

use super::layers::{ChannelOrder, FoldedConv, Layers, columns_in_order, fold};
use crate::error::Result;
use crate::ops::ChannelActivation;
use crate::ops::conv::{Conv, Epilogue, Geometry};
use crate::ops::map::{Map, Source, max_pool, output, run_into};

/// `act(concat(conv3x3 stride 2, maxpool 2x2))`, or the convolution alone where channels do not grow.
///
/// As a Candle op it maps `[1, c, h, w]` to half of each side, rounded up.
pub(crate) struct Down {
    conv: Conv,
    /// For the pooled channels, as they lie in the input.
    pooled: Option<ChannelActivation>,
    out_order: ChannelOrder,
}

/// Down's weights with its batch norm folded into them.
pub(crate) struct FoldedDown {
    pub(crate) conv: FoldedConv,
    /// For the pooled channels, as they lie in the input; none where the convolution stands alone.
    pub(crate) pooled: Option<ChannelActivation>,
    /// The order of the output's channels.
    pub(crate) out_order: ChannelOrder,
}

impl FoldedDown {
    /// Folds what reads channels in `order` and makes `channels`.
    pub(crate) fn new(layers: &Layers<'_>, order: &ChannelOrder, channels: usize) -> Result<Self> {
        let from = order.len();
        let is_joined = from < channels;
        let convolved = if is_joined { channels - from } else { channels };
        let geometry = Geometry::square(from, convolved, 3, 2);
        let weights = layers.values("conv.weight", &[convolved, from, 3, 3])?;
        let mut weights = columns_in_order(weights, order, &geometry);
        let mut norm = layers.pp("act").norm("bn", channels)?;
        let mut slope = layers.values("act.act.weight", &[channels])?.to_vec();
        let out_order = if is_joined {
            order.after(convolved)
        } else {
            ChannelOrder::natural(channels)
        };
        let pooled_slope = slope.split_off(convolved);
        let pooled_scale = norm.scale.split_off(convolved);
        let pooled_shift = norm.shift.split_off(convolved);
        let rounded = |values: &[f64]| order.reorder(values).iter().map(|x| *x as f32).collect();
        let pooled = is_joined.then(|| ChannelActivation {
            scale: rounded(&pooled_scale),
            shift: rounded(&pooled_shift),
            slope: order.reorder(&pooled_slope),
        });
        let bias = fold(&mut weights, &norm);
        let conv = FoldedConv {
            weights,
            bias,
            slope,
        };
        Ok(Self {
            conv,
            pooled,
            out_order,
        })
    }
}

impl Down {
    /// Reads channels in `order` and makes `channels`.
    pub(crate) fn new(layers: &Layers<'_>, order: &ChannelOrder, channels: usize) -> Result<Self> {
        let FoldedDown {
            conv,
            pooled,
            out_order,
        } = FoldedDown::new(layers, order, channels)?;
        let geometry = Geometry::square(order.len(), conv.slope.len(), 3, 2);
        let epilogue = Epilogue {
            bias: conv.bias,
            slope: conv.slope,
            post: None,
        };
        let conv = Conv::new(geometry, conv.weights, None, epilogue, layers.path());
        Ok(Self {
            conv,
            pooled,
            out_order,
        })
    }

    /// Returns the order of the output's channels.
    pub(crate) fn out_order(&self) -> &ChannelOrder {
        &self.out_order
    }
}

impl CustomOp1 for Down {
    fn name(&self) -> &'static str {
        "down"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let geometry = self.conv.geometry();
        let map = Map::with_channels(self.name(), storage, layout, geometry.in_channels)?;
        let size = geometry.out_size(map.size);
        let area = size[0] * size[1];
        let channels = self.out_order.len();
        let mut out = vec![0.0; channels * area];
        let (convolved, pooled) = out.split_at_mut(geometry.out_channels * area);
        run_into(
            &Source::Map(map.rows()),
            std::slice::from_ref(&self.conv),
            None,
            convolved,
        );
        if let Some(activation) = &self.pooled {
            let planes = map.data.par_chunks_exact(map.area());
            pooled
                .par_chunks_exact_mut(area)
                .zip(planes)
                .enumerate()
                .for_each(|(c, (pooled, plane))| {
                    max_pool(plane, map.size[1], pooled);
                    activation.apply(c, pooled);
                });
        }
        Ok(output(out, channels, size))
    }
}
