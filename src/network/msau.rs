//! MSAU, the skips' attention unit (eqs 5-9 of the paper); one instance serves the three skips.
//!
//! `t = reduce(x)`, `X1 = DW3(t) + DW5(t) + DW7(t)`, `X2 = expand(X1 * sigmoid(gate(column means of X1)))`,
//! `X3 = MLP(mean(BN(conv3x3(x))))`, `X4 = MLP'(max(BN'(conv3x3'(x))))`, `Y = x + X2 * (X3 + X4)`.
//!
//! Computed by exact rewrites: the three depthwise convolutions are one of 7x7; the 7x7 gate on a map of
//! one row is its middle row; the mean of a 3x3 convolution is a product with nine shifted means.

use candle_core::{CpuStorage, CustomOp1, Layout, Shape};
use rayon::prelude::*;

use super::layers::{ChannelOrder, Layers, fold};
use super::tensors::SKIP_WIDTH;
use crate::error::Result;
use crate::ops::conv::{Conv, Epilogue, Geometry};
use crate::ops::map::{Map, Rows, Source, apply_in_place, output, run, strip_means, sum};
use crate::ops::{Depthwise, Function};

/// Channels between `reduce` and `expand`.
pub(crate) const INNER: usize = SKIP_WIDTH / 2;

/// Taps on each axis of the joined depthwise filters.
const DEPTHWISE_SIDE: usize = 7;

/// MSAU as a Candle op: `[1, 16, h, w]` to the same shape.
pub(crate) struct Msau {
    reduce: Conv,
    depthwise: Depthwise,
    /// 1x7 on the column means.
    gate: Conv,
    /// `[16, 8]` and `[16]`, scaled by X3 + X4 of each image.
    expand: Vec<f32>,
    expand_bias: Vec<f32>,
    /// Of the averaged branch, `[16, 16, 3, 3]` with its batch norm folded in, and `[16]`.
    mean_weights: Vec<f32>,
    mean_bias: Vec<f32>,
    mean_mlp: Mlp,
    max_conv: Conv,
    max_mlp: Mlp,
}

impl Msau {
    pub(crate) fn new(layers: &Layers<'_>) -> Result<Self> {
        let (c, path) = (SKIP_WIDTH, layers.path());
        let FoldedMsau {
            depthwise,
            gate,
            gate_bias,
            expand,
            expand_bias,
            branches: [mean, max],
        } = FoldedMsau::new(layers)?;
        let conv = |geometry, weights, bias| {
            let epilogue = Epilogue {
                bias,
                ..Epilogue::default()
            };
            Conv::new(geometry, weights, None, epilogue, path)
        };
        let reduce = Geometry::square(c, INNER, 1, 1);
        Ok(Self {
            reduce: layers.conv_act("reduce", reduce, &ChannelOrder::natural(c), None)?,
            depthwise: Depthwise {
                kernel: DEPTHWISE_SIDE,
                taps: depthwise,
                bias: vec![0.0; INNER],
            },
            gate: conv(Geometry::strip(INNER, INNER, [1, 7]), gate, gate_bias),
            expand,
            expand_bias,
            mean_weights: mean.weights,
            mean_bias: mean.bias,
            mean_mlp: mean.mlp,
            max_conv: conv(Geometry::square(c, c, 3, 1), max.weights, max.bias),
            max_mlp: max.mlp,
        })
    }

    /// X1, weighed by its gate: `[8, h, w]`.
    fn gated(&self, map: &Map<'_>) -> Vec<f32> {
        let [height, width] = map.size;
        let path = self.reduce.path();
        let reduced = run(
            &Source::Map(map.rows()),
            std::slice::from_ref(&self.reduce),
            None,
        );
        let mut x1 = vec![0.0; INNER * map.area()];
        let mut column_means = vec![0.0; INNER * width];
        x1.par_chunks_exact_mut(map.area())
            .zip(reduced.par_chunks_exact(map.area()))
            .zip(column_means.par_chunks_exact_mut(width))
            .enumerate()
            .for_each(|(c, ((x1, reduced), column_means))| {
                self.depthwise
                    .plane(c, reduced, width, x1, &mut Vec::new(), path);
                strip_means(x1, &mut vec![0.0; height], column_means);
            });
        let means = Source::Map(Rows::of_map(&column_means, 1, width));
        let mut gate = run(&means, std::slice::from_ref(&self.gate), None);
        apply_in_place(Function::Sigmoid, &mut gate, path);
        x1.par_chunks_exact_mut(width)
            .enumerate()
            .for_each(|(row, x1)| {
                let c = row / height;
                for (x, gate) in x1.iter_mut().zip(&gate[c * width..(c + 1) * width]) {
                    *x *= gate;
                }
            });
        x1
    }

    /// X3 + X4: one factor a channel.
    fn channel_weights(&self, map: &Map<'_>) -> Vec<f32> {
        let convolved = run(
            &Source::Map(map.rows()),
            std::slice::from_ref(&self.max_conv),
            None,
        );
        let maxima: Vec<f32> = convolved
            .par_chunks_exact(map.area())
            .map(|plane| {
                plane
                    .iter()
                    .fold(f32::NEG_INFINITY, |max, &x| if x < max { max } else { x })
            })
            .collect();
        let shifted: Vec<[f64; 9]> = map
            .data
            .par_chunks_exact(map.area())
            .map(|plane| shifted_means(plane, map.size))
            .collect();
        let (filters, _) = self.mean_weights.as_chunks::<9>();
        let means: Vec<f32> = filters
            .chunks_exact(SKIP_WIDTH)
            .zip(&self.mean_bias)
            .map(|(filters, bias)| {
                let products = filters.iter().zip(&shifted).flat_map(|(filter, means)| {
                    filter
                        .iter()
                        .zip(means)
                        .map(|(weight, mean)| f64::from(*weight) * mean)
                });
                (f64::from(*bias) + products.sum::<f64>()) as f32
            })
            .collect();
        let (x3, x4) = (self.mean_mlp.forward(&means), self.max_mlp.forward(&maxima));
        x3.iter().zip(x4).map(|(x3, x4)| x3 + x4).collect()
    }
}

impl CustomOp1 for Msau {
    fn name(&self) -> &'static str {
        "msau"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let map = Map::with_channels(self.name(), storage, layout, SKIP_WIDTH)?;
        let gated = self.gated(&map);
        let channel_weights = self.channel_weights(&map);
        // X2 * (X3 + X4) is `expand` with its rows weighed.
        let mut weights = self.expand.clone();
        for (row, factor) in weights.chunks_exact_mut(INNER).zip(&channel_weights) {
            row.iter_mut().for_each(|weight| *weight *= factor);
        }
        let bias = self
            .expand_bias
            .iter()
            .zip(&channel_weights)
            .map(|(b, factor)| b * factor);
        let epilogue = Epilogue {
            bias: bias.collect(),
            ..Epilogue::default()
        };
        let geometry = Geometry::square(INNER, SKIP_WIDTH, 1, 1);
        let expand = [Conv::new(
            geometry,
            weights,
            None,
            epilogue,
            self.reduce.path(),
        )];
        let rows = Rows::of_map(&gated, map.size[0], map.size[1]);
        let out = run(&Source::Map(rows), &expand, Some(&map.rows()));
        Ok(output(out, SKIP_WIDTH, map.size))
    }
}

/// MSAU's weights but `reduce`'s, after the exact rewrites, batch norms folded in.
pub(crate) struct FoldedMsau {
    /// The three depthwise filters as one: `[8, 7, 7]`.
    pub(crate) depthwise: Vec<f32>,
    /// The gate's middle row, `[8, 8, 7]`, and `[8]`.
    pub(crate) gate: Vec<f32>,
    pub(crate) gate_bias: Vec<f32>,
    /// `[16, 8]` and `[16]`.
    pub(crate) expand: Vec<f32>,
    pub(crate) expand_bias: Vec<f32>,
    /// The branches of the mean and of the maximum.
    pub(crate) branches: [Branch; 2],
}

/// A 3x3 convolution, and the MLP after its pooling.
pub(crate) struct Branch {
    /// `[16, 16, 3, 3]` and `[16]`.
    pub(crate) weights: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) mlp: Mlp,
}

impl FoldedMsau {
    pub(crate) fn new(layers: &Layers<'_>) -> Result<Self> {
        let c = SKIP_WIDTH;
        let gate = layers.values("gate.weight", &[INNER, INNER, 7, 7])?;
        let (filters, _) = gate.as_chunks::<49>();
        let middle_rows = filters.iter().flat_map(|filter| &filter[21..28]);
        let branch = |name: &str| -> Result<Branch> {
            let layers = layers.pp(name);
            let mut weights = layers.values("0.0.weight", &[c, c, 3, 3])?.to_vec();
            let bias = fold(&mut weights, &layers.norm("0.1", c)?);
            let mlp = Mlp::new(&layers.pp("1"))?;
            Ok(Branch { weights, bias, mlp })
        };
        Ok(Self {
            depthwise: joined_depthwise(layers)?,
            gate: middle_rows.copied().collect(),
            gate_bias: layers.values("gate.bias", &[INNER])?.to_vec(),
            expand: layers.values("expand.weight", &[c, INNER, 1, 1])?.to_vec(),
            expand_bias: layers.values("expand.bias", &[c])?.to_vec(),
            branches: [branch("ba")?, branch("bm")?],
        })
    }
}

/// Two linear layers with a ReLU between them.
pub(crate) struct Mlp {
    /// `[8, 16]` and `[8]`.
    pub(crate) hidden: Vec<f32>,
    pub(crate) hidden_bias: Vec<f32>,
    /// `[16, 8]` and `[16]`.
    pub(crate) out: Vec<f32>,
    pub(crate) out_bias: Vec<f32>,
}

impl Mlp {
    fn new(layers: &Layers<'_>) -> Result<Self> {
        Ok(Self {
            hidden: layers
                .values("0.weight", &[INNER, SKIP_WIDTH, 1, 1])?
                .to_vec(),
            hidden_bias: layers.values("0.bias", &[INNER])?.to_vec(),
            out: layers
                .values("2.weight", &[SKIP_WIDTH, INNER, 1, 1])?
                .to_vec(),
            out_bias: layers.values("2.bias", &[SKIP_WIDTH])?.to_vec(),
        })
    }

    fn forward(&self, values: &[f32]) -> Vec<f32> {
        let linear = |weights: &[f32], bias: &[f32], values: &[f32]| -> Vec<f32> {
            let rows = weights.chunks_exact(values.len()).zip(bias);
            let dot = |row: &[f32]| row.iter().zip(values).map(|(a, b)| a * b).sum::<f32>();
            rows.map(|(row, bias)| bias + dot(row)).collect()
        };
        let mut hidden = linear(&self.hidden, &self.hidden_bias, values);
        hidden
            .iter_mut()
            .for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x });
        linear(&self.out, &self.out_bias, &hidden)
    }
}

/// The 3x3, 5x5 and 7x7 depthwise filters added up, each in the middle of the largest.
fn joined_depthwise(layers: &Layers<'_>) -> Result<Vec<f32>> {
    const SIDE: usize = DEPTHWISE_SIDE;
    let mut taps = vec![0.0; INNER * SIDE * SIDE];
    for (i, side) in [3, 5, SIDE].into_iter().enumerate() {
        let weights = layers.values(&format!("dw.{i}.weight"), &[INNER, 1, side, side])?;
        let margin = (SIDE - side) / 2;
        for (at, weight) in weights.iter().enumerate() {
            let (c, row, column) = (at / (side * side), at / side % side, at % side);
            taps[(c * SIDE + row + margin) * SIDE + column + margin] += weight;
        }
    }
    Ok(taps)
}

/// The means over a plane of what each tap of a 3x3 filter sees, zeros outside included.
fn shifted_means(plane: &[f32], [height, width]: [usize; 2]) -> [f64; 9] {
    let row = |y: usize| &plane[y * width..(y + 1) * width];
    let column_sum = |x: usize| (0..height).map(|y| f64::from(row(y)[x])).sum::<f64>();
    let total: f64 = (0..height).map(|y| f64::from(sum(row(y)))).sum();
    // A tap above the middle never sees the last row, one below it never the first; so with columns.
    std::array::from_fn(|tap| {
        let unseen_row = [Some(height - 1), None, Some(0)][tap / 3];
        let unseen_column = [Some(width - 1), None, Some(0)][tap % 3];
        let row_part = unseen_row.map_or(0.0, |y| f64::from(sum(row(y))));
        let column_part = unseen_column.map_or(0.0, column_sum);
        let both = unseen_row
            .zip(unseen_column)
            .map_or(0.0, |(y, x)| f64::from(row(y)[x]));
        (total - row_part - column_part + both) / (height * width) as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifted_means_equal_those_of_shifted_planes() {
        for size in [[1, 1], [1, 5], [4, 1], [5, 7]] {
            let [height, width] = size;
            let plane: Vec<f32> = (0..height * width)
                .map(|i| (i as f32 * 1.9).cos())
                .collect();
            for (tap, mean) in shifted_means(&plane, size).into_iter().enumerate() {
                let mut total = 0.0;
                for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                    let row = (y + tap / 3).wrapping_sub(1);
                    let column = (x + tap % 3).wrapping_sub(1);
                    if row < height && column < width {
                        total += f64::from(plane[row * width + column]);
                    }
                }
                // Row sums are f32: a few roundings of values below 8.
                assert!(
                    (mean - total / (height * width) as f64).abs() < 1e-6,
                    "{size:?} {tap}"
                );
            }
        }
    }
}
