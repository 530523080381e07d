//! The three branches of an EDAB added up and activated:
//! `prelu(scale * (u + gain * l + sigmoid(rows + columns) * g) + shift)`.

use super::activation::ChannelActivation;
use super::math::sigmoid;
use super::rows::Rows;
use super::simd::{Kernel, Vector};

/// Three maps `[c, h, w]` and the attention values of two of them.
#[derive(Clone, Copy)]
pub(crate) struct Merge<'a> {
    /// The block's trunk u, added as it is.
    pub(crate) trunk: Rows<'a>,
    /// The local branch l.
    pub(crate) local: Rows<'a>,
    /// One factor a channel for l, `[c]`.
    pub(crate) local_gain: &'a [f32],
    /// The dilated branch g.
    pub(crate) global: Rows<'a>,
    /// Before the sigmoid, what each row gives g, `[c, h]`.
    pub(crate) gate_rows: &'a [f32],
    /// Before the sigmoid, what each column gives g, `[c, w]`.
    pub(crate) gate_columns: &'a [f32],
    /// What follows the sum.
    pub(crate) activation: &'a ChannelActivation,
}

impl<'a> Merge<'a> {
    pub(crate) fn size(&self) -> [usize; 2] {
        [self.trunk.height(), self.trunk.width()]
    }

    /// Returns the computation of row `y`, once for each channel, into `out`.
    pub(crate) fn row<'o, 'b>(
        &'o self,
        y: usize,
        out: &'o mut [&'b mut [f32]],
    ) -> MergeRow<'o, 'b> {
        MergeRow {
            merge: self,
            y,
            out,
        }
    }
}

pub(crate) struct MergeRow<'a, 'b> {
    merge: &'a Merge<'a>,
    y: usize,
    out: &'a mut [&'b mut [f32]],
}

impl Kernel for MergeRow<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { merge, y, out } = self;
        let [height, width] = merge.size();
        for (c, out) in out.iter_mut().enumerate() {
            let rows = [merge.trunk, merge.local, merge.global].map(|map| map.row(c, y as isize));
            let [Some(trunk), Some(local), Some(global)] = rows else {
                continue;
            };
            let columns = &merge.gate_columns[c * width..(c + 1) * width];
            let gain = V::splat(merge.local_gain[c]);
            let row = V::splat(merge.gate_rows[c * height + y]);
            let [scale, shift, slope] = merge.activation.of_channel(c).map(V::splat);
            for (x, out) in (0..width).step_by(V::LANES).zip(out.chunks_mut(V::LANES)) {
                let gate = sigmoid(row.add(V::from_slice(&columns[x..])));
                let sum = V::from_slice(&local[x..]).mul_add(gain, V::from_slice(&trunk[x..]));
                let sum = V::from_slice(&global[x..]).mul_add(gate, sum);
                sum.mul_add(scale, shift).prelu(slope).to_slice(out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::simd::CpuPath;

    #[test]
    fn merged_rows_equal_the_sum_per_element() {
        let value = |i: usize| (i as f32 * 0.37).sin();
        for (channels, height, width) in [(1, 1, 1), (3, 2, 5), (2, 3, 16), (2, 2, 37)] {
            let n = channels * height * width;
            let [trunk, local, global] =
                [0, 1, 2].map(|k| (0..n).map(|i| value(i + 1000 * k)).collect::<Vec<_>>());
            let gain: Vec<f32> = (0..channels).map(value).collect();
            let gate_rows: Vec<f32> = (0..channels * height).map(value).collect();
            let gate_columns: Vec<f32> = (0..channels * width).map(value).collect();
            let activation = ChannelActivation {
                scale: (0..channels).map(|c| value(c + 7)).collect(),
                shift: (0..channels).map(|c| value(c + 8)).collect(),
                slope: (0..channels).map(|c| value(c + 9)).collect(),
            };
            let map = |data| Rows::of_map(data, height, width);
            let merge = Merge {
                trunk: map(&trunk),
                local: map(&local),
                local_gain: &gain,
                global: map(&global),
                gate_rows: &gate_rows,
                gate_columns: &gate_columns,
                activation: &activation,
            };
            for path in CpuPath::available() {
                for y in 0..height {
                    let mut rows = vec![vec![f32::NAN; width]; channels];
                    let mut out: Vec<&mut [f32]> = rows.iter_mut().map(Vec::as_mut_slice).collect();
                    path.run(merge.row(y, &mut out));
                    for (c, row) in rows.iter().enumerate() {
                        for (x, &merged) in row.iter().enumerate() {
                            let i = (c * height + y) * width + x;
                            let gate = gate_rows[c * height + y] + gate_columns[c * width + x];
                            let exact = f64::from(trunk[i])
                                + f64::from(gain[c] * local[i])
                                + f64::from(global[i]) / (1.0 + f64::from(-gate).exp());
                            let [scale, shift, slope] = activation.of_channel(c).map(f64::from);
                            let exact = scale * exact + shift;
                            let exact = if exact < 0.0 { slope * exact } else { exact };
                            // A few roundings of values below 4.
                            assert!(
                                (f64::from(merged) - exact).abs() < 1e-6,
                                "{path:?} {c} {y} {x}"
                            );
                        }
                    }
                }
            }
        }
    }
}
