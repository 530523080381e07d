//! Pooling of one plane.

/// Writes the largest value of each 2x2 square of `plane` `[h, w]`, also of the halves and the quarter
/// at odd borders, to `out` `[ceil(h / 2), ceil(w / 2)]`.
pub(crate) fn max_pool(plane: &[f32], width: usize, out: &mut [f32]) {
    let rows: Vec<&[f32]> = plane.chunks_exact(width).collect();
    for (pair, out) in rows.chunks(2).zip(out.chunks_exact_mut(width.div_ceil(2))) {
        let (upper, lower) = (pair[0], pair[pair.len() - 1]);
        for ((upper, lower), out) in upper.chunks(2).zip(lower.chunks(2)).zip(out) {
            let of_column = |i: usize| larger(upper[i], lower[i]);
            *out = larger(of_column(0), of_column(upper.len() - 1));
        }
    }
}

/// The larger of two; NaN wins.
fn larger(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

/// Writes the mean of each cell of `plane` `[h, w]` to `out`: cell `o` of `m` covers the rows (columns)
/// from `floor(o * n / m)` to `ceil((o + 1) * n / m)`, torch's `adaptive_avg_pool2d`.
pub(crate) fn adaptive_average_pool(
    plane: &[f32],
    [height, width]: [usize; 2],
    out: &mut [f32],
    [out_height, out_width]: [usize; 2],
) {
    let cell = |o: usize, n: usize, m: usize| o * n / m..((o + 1) * n).div_ceil(m);
    for (y, out) in out.chunks_exact_mut(out_width).enumerate() {
        let rows = cell(y, height, out_height);
        for (x, out) in out.iter_mut().enumerate() {
            let columns = cell(x, width, out_width);
            let row_sum = |row: usize| {
                let cells = &plane[row * width..][columns.clone()];
                cells.iter().map(|x| f64::from(*x)).sum::<f64>()
            };
            let sum: f64 = rows.clone().map(row_sum).sum();
            *out = (sum / (rows.len() * columns.len()) as f64) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_pooling_keeps_odd_borders() {
        let mut out = [0.0; 4];
        max_pool(
            &[1.0, 2.0, 9.0, -4.0, -3.0, 8.0, 0.0, 5.0, 7.0],
            3,
            &mut out,
        );
        assert_eq!(out, [2.0, 9.0, 5.0, 7.0]);
        let mut one = [0.0];
        max_pool(&[-2.0], 1, &mut one);
        assert_eq!(one, [-2.0]);
    }

    #[test]
    fn average_cells_overlap_where_sizes_do_not_divide() {
        let mut out = [0.0; 2];
        adaptive_average_pool(&[1.0, 2.0, 6.0], [1, 3], &mut out, [1, 2]);
        assert_eq!(out, [1.5, 4.0]);
        let mut up = [0.0; 4];
        adaptive_average_pool(&[1.0, 3.0], [2, 1], &mut up, [4, 1]);
        assert_eq!(up, [1.0, 1.0, 3.0, 3.0]);
    }
}
