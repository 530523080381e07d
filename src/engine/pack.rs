//! Weights in the order in which the tensor cores read them.

use half::f16;

/// Returns the matrix `[k, n]`, given by element, as B operands of `mma.m16n8k16`:
/// `[k / 16][n / 8][32 lanes][4]`, f16, both axes padded with zeros.
///
/// Lane l holds rows `(l % 4) * 2 + {0, 1}` and those 8 below them, of column `l / 4`.
pub(crate) fn fragments_from_matrix(
    rows: usize,
    columns: usize,
    at: impl Fn(usize, usize) -> f32,
) -> Vec<f16> {
    let (k_tiles, n_tiles) = (rows.div_ceil(16), columns.div_ceil(8));
    let mut fragments = Vec::with_capacity(k_tiles * n_tiles * 128);
    for k_tile in 0..k_tiles {
        for n_tile in 0..n_tiles {
            for lane in 0..32 {
                for i in 0..4 {
                    let k = k_tile * 16 + (lane % 4) * 2 + i % 2 + 8 * (i / 2);
                    let n = n_tile * 8 + lane / 4;
                    let value = if k < rows && n < columns {
                        at(k, n)
                    } else {
                        0.0
                    };
                    fragments.push(f16::from_f32(value));
                }
            }
        }
    }
    fragments
}

/// Returns the matrix `[m, k]`, given by element, as A operands of `mma.m16n8k16`:
/// `[m / 16][k / 16][32 lanes][8]`, f16, both axes padded with zeros.
///
/// Lane l holds columns `(l % 4) * 2 + {0, 1}` of rows `l / 4` and 8 below it, then those 8 to the right.
pub(crate) fn left_fragments_from_matrix(
    rows: usize,
    columns: usize,
    at: impl Fn(usize, usize) -> f32,
) -> Vec<f16> {
    let (m_tiles, k_tiles) = (rows.div_ceil(16), columns.div_ceil(16));
    let element = |index: usize| {
        let (i, lane, tile) = (index % 8, index / 8 % 32, index / 256);
        let row = tile / k_tiles * 16 + lane / 4 + 8 * (i / 2 % 2);
        let column = tile % k_tiles * 16 + lane % 4 * 2 + i % 2 + 8 * (i / 4);
        let is_inside = row < rows && column < columns;
        f16::from_f32(if is_inside { at(row, column) } else { 0.0 })
    };
    (0..m_tiles * k_tiles * 256).map(element).collect()
}

/// Returns convolution weights `[out, in, taps]` as B operands with `k = tap * in + c`.
pub(crate) fn fragments_from_conv(
    weights: &[f32],
    out_channels: usize,
    in_channels: usize,
    taps: usize,
) -> Vec<f16> {
    fragments_from_matrix(taps * in_channels, out_channels, |k, n| {
        let (tap, c) = (k / in_channels, k % in_channels);
        weights[(n * in_channels + c) * taps + tap]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_element_lies_where_its_lane_reads_it_and_the_rest_is_zero() {
        let at = |k: usize, n: usize| (k * 10 + n + 1) as f32;
        let fragments = fragments_from_matrix(20, 9, at);
        assert_eq!(fragments.len(), 2 * 2 * 128);
        for (index, value) in fragments.iter().enumerate() {
            let (i, lane, tile) = (index % 4, index / 4 % 32, index / 128);
            let (k_tile, n_tile) = (tile / 2, tile % 2);
            let k = k_tile * 16 + (lane % 4) * 2 + [0, 1, 8, 9][i];
            let n = n_tile * 8 + lane / 4;
            let want = if k < 20 && n < 9 { at(k, n) } else { 0.0 };
            assert_eq!(value.to_f32(), want, "{index}");
        }
    }

    #[test]
    fn a_left_operands_lane_holds_two_rows_and_four_columns_of_each() {
        let at = |m: usize, k: usize| (m * 40 + k + 1) as f32;
        let fragments = left_fragments_from_matrix(17, 20, at);
        assert_eq!(fragments.len(), 2 * 2 * 256);
        // Of the second tile of the first rows, lane 5: rows 1 and 9, columns 18, 19 and what is past the 20.
        let lane: Vec<f32> = fragments[256 + 5 * 8..][..8]
            .iter()
            .map(|x| x.to_f32())
            .collect();
        let [upper, lower] = [[at(1, 18), at(1, 19)], [at(9, 18), at(9, 19)]];
        assert_eq!(lane, [&upper[..], &lower, &[0.0; 4]].concat());
        // Row 16 alone is left of the last rows; lane 0 of their first tile.
        let lane: Vec<f32> = fragments[512..][..8].iter().map(|x| x.to_f32()).collect();
        let (near, far) = ([at(16, 0), at(16, 1)], [at(16, 8), at(16, 9)]);
        assert_eq!(lane, [near, [0.0; 2], far, [0.0; 2]].concat());
    }

    #[test]
    fn a_convolutions_rows_are_taps_then_channels() {
        // [out 1, in 2, taps 3]
        let weights = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let fragments = fragments_from_conv(&weights, 1, 2, 3);
        // Lanes 0..4 hold column 0: rows 0 1 8 9, 2 3 10 11, 4 5 12 13, ...
        let column: Vec<f32> = (0..3)
            .flat_map(|lane| {
                [
                    fragments[lane * 4].to_f32(),
                    fragments[lane * 4 + 1].to_f32(),
                ]
            })
            .collect();
        assert_eq!(column, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
