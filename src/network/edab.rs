//! EDAB, the network's block: a bottleneck with a local and a dilated branch (eqs 1-4 of the paper).
//!
//! `u = up2(up1(reduce(pre(x))))`, `l = CA(l2(l1(u)))`, `g = DDA(g2(g1(u)))`,
//! `y = expand(mid(u + l + g)) + x`, `out = shuffle(y)`; CA weighs channels by their means, DDA weighs
//! pixels by the means of their row and column.
//!
//! Three passes over memory: the trunk u row by row; both branches and their means plane by plane; the
//! sum, `expand` and the residual row by row. The shuffle is a renaming ([`ChannelOrder`]).

use candle_core::{CpuStorage, CustomOp1, Layout, Shape};
use rayon::prelude::*;

use super::layers::{ChannelOrder, Layers, columns_in_order, rows_in_order};
use crate::error::Result;
use crate::ops::conv::{Conv, Epilogue, Geometry};
use crate::ops::map::{Map, Merge, Rows, Source, mean, output, run, strip_means};
use crate::ops::{ChannelActivation, CpuPath, StripConv};

/// The block as a Candle op: `[1, c, h, w]` to the same shape, channels in the next order.
pub(crate) struct Edab {
    channels: usize,
    path: CpuPath,
    /// `reduce` behind `pre`, `up1`, `up2`.
    trunk: [Conv; 3],
    /// `l1`, `l2`.
    local: StripConv,
    /// CA's three taps along the channels.
    channel_taps: [f32; 3],
    /// `g1`, `g2`.
    global: StripConv,
    /// DDA's weights for the row means and for the column means.
    row_gate: Conv,
    column_gate: Conv,
    mid: ChannelActivation,
    expand: Conv,
}

impl Edab {
    /// Builds the block over channels that lie in `order`.
    pub(crate) fn new(layers: &Layers<'_>, order: &ChannelOrder, dilation: usize) -> Result<Self> {
        let (channels, path) = (order.len(), layers.path());
        let h = channels / 2;
        let natural = ChannelOrder::natural(h);
        let reduce = {
            let geometry = Geometry::square(channels, h, 1, 1);
            let weights = layers.values("reduce.weight", &[h, channels, 1, 1])?;
            let weights = columns_in_order(weights, order, &geometry);
            let pre = layers.activation("pre", order)?;
            Conv::new(geometry, weights, Some(pre), Epilogue::default(), path)
        };
        let strip =
            |name, kernel| layers.conv_act(name, Geometry::strip(h, h, kernel), &natural, None);
        let expand = {
            let weights = layers.values("expand.weight", &[channels, h, 1, 1])?;
            let geometry = Geometry::square(h, channels, 1, 1);
            let weights = rows_in_order(weights, order);
            Conv::new(geometry, weights, None, Epilogue::default(), path)
        };
        let gate = layers.values("dda.conv.weight", &[h, 2 * h, 1, 1])?;
        let gate_half = |first: usize| {
            let rows = gate.chunks_exact(2 * h);
            let half = rows
                .flat_map(|row| &row[first..first + h])
                .copied()
                .collect();
            layers.pointwise(half, Vec::new(), h)
        };
        let channel_taps = layers.values("ca.conv.weight", &[1, 1, 3])?;
        Ok(Self {
            channels,
            path,
            trunk: [reduce, strip("up1", [3, 1])?, strip("up2", [1, 3])?],
            local: StripConv {
                vertical: layers.strip("l1", h, [3, 1])?,
                horizontal: layers.strip("l2", h, [1, 3])?,
                dilation: 1,
            },
            channel_taps: [channel_taps[0], channel_taps[1], channel_taps[2]],
            global: StripConv {
                vertical: layers.strip("g1", h, [3, 1])?,
                horizontal: layers.strip("g2", h, [1, 3])?,
                dilation,
            },
            row_gate: gate_half(0),
            column_gate: gate_half(h),
            mid: layers.activation("mid", &natural)?,
            expand,
        })
    }
}

/// Both branches and what their attentions read.
struct Branches {
    local: Vec<f32>,
    global: Vec<f32>,
    /// Mean of each local plane, `[c]`.
    means: Vec<f32>,
    /// Mean of each row of each global plane, `[c, h]`.
    row_means: Vec<f32>,
    /// Mean of each column of each global plane, `[c, w]`.
    column_means: Vec<f32>,
}

impl Edab {
    fn branches(&self, trunk: &[f32], [height, width]: [usize; 2]) -> Branches {
        let h = self.channels / 2;
        let area = height * width;
        let mut branches = Branches {
            local: vec![0.0; h * area],
            global: vec![0.0; h * area],
            means: vec![0.0; h],
            row_means: vec![0.0; h * height],
            column_means: vec![0.0; h * width],
        };
        let local = branches
            .local
            .par_chunks_exact_mut(area)
            .zip(&mut branches.means);
        let global = (branches.global.par_chunks_exact_mut(area))
            .zip(branches.row_means.par_chunks_exact_mut(height))
            .zip(branches.column_means.par_chunks_exact_mut(width));
        trunk.par_chunks_exact(area).zip(local).zip(global).enumerate().for_each_init(
            Vec::new,
            |padded, (c, ((trunk, (local, local_mean)), ((global, row_means), column_means)))| {
                self.local.plane(c, trunk, width, local, padded, self.path);
                *local_mean = mean(local, width);
                self.global.plane(c, trunk, width, global, padded, self.path);
                strip_means(global, row_means, column_means);
            },
        );
        branches
    }

    /// CA: one factor for each channel of the local branch.
    fn channel_gains(&self, means: &[f32]) -> Vec<f32> {
        let [before, at, after] = self.channel_taps;
        let mean = |c: Option<usize>| c.and_then(|c| means.get(c)).copied().unwrap_or(0.0);
        (0..means.len())
            .map(|c| {
                let sum =
                    before * mean(c.checked_sub(1)) + at * means[c] + after * mean(Some(c + 1));
                1.0 / (1.0 + (-sum).exp())
            })
            .collect()
    }
}

impl CustomOp1 for Edab {
    fn name(&self) -> &'static str {
        "edab"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let map = Map::with_channels(self.name(), storage, layout, self.channels)?;
        let [height, width] = map.size;
        let trunk = run(&Source::Map(map.rows()), &self.trunk, None);
        let branches = self.branches(&trunk, map.size);
        // A strip of means is a map of one row.
        let gate = |conv: &Conv, means: &[f32], length: usize| {
            run(
                &Source::Map(Rows::of_map(means, 1, length)),
                std::slice::from_ref(conv),
                None,
            )
        };
        let merge = Merge {
            trunk: Rows::of_map(&trunk, height, width),
            local: Rows::of_map(&branches.local, height, width),
            local_gain: &self.channel_gains(&branches.means),
            global: Rows::of_map(&branches.global, height, width),
            gate_rows: &gate(&self.row_gate, &branches.row_means, height),
            gate_columns: &gate(&self.column_gate, &branches.column_means, width),
            activation: &self.mid,
        };
        let expand = std::slice::from_ref(&self.expand);
        let out = run(&Source::Merged(merge), expand, Some(&map.rows()));
        Ok(output(out, self.channels, map.size))
    }
}
