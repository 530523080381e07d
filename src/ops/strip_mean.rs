//! Means over a plane's rows and columns, in one pass, in an order that no thread count changes.

use super::simd::MAX_LANES;

/// Writes the mean of each row of `plane` `[h, w]` to `rows` `[h]` and of each column to `columns` `[w]`.
pub(crate) fn strip_means(plane: &[f32], rows: &mut [f32], columns: &mut [f32]) {
    columns.fill(0.0);
    for (row, mean) in plane.chunks_exact(columns.len()).zip(rows.iter_mut()) {
        for (sum, x) in columns.iter_mut().zip(row) {
            *sum += x;
        }
        *mean = sum(row) / row.len() as f32;
    }
    let height = rows.len() as f32;
    columns.iter_mut().for_each(|sum| *sum /= height);
}

/// Returns the mean of `plane`'s rows of `width`, each summed in f32 and the sums in f64.
pub(crate) fn mean(plane: &[f32], width: usize) -> f32 {
    let total: f64 = plane
        .chunks_exact(width)
        .map(|row| f64::from(sum(row)))
        .sum();
    (total / plane.len() as f64) as f32
}

/// Returns the sum of `values`: sixteen running sums, so that it vectorises.
#[inline(always)]
pub(crate) fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0; MAX_LANES];
    let mut chunks = values.chunks_exact(MAX_LANES);
    for chunk in &mut chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x;
        }
    }
    lanes.iter().sum::<f32>() + chunks.remainder().iter().sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_equal_those_in_f64() {
        for (height, width) in [(1, 1), (1, 40), (40, 1), (7, 33), (64, 128)] {
            let plane: Vec<f32> = (0..height * width)
                .map(|i| (i as f32 * 0.7).sin() + 2.0)
                .collect();
            let exact = |picked: &dyn Fn(usize) -> bool| {
                let (sum, n) = plane
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| picked(*i))
                    .fold((0.0, 0.0), |(sum, n), (_, &x)| {
                        (sum + f64::from(x), n + 1.0)
                    });
                sum / n
            };
            let (mut rows, mut columns) = (vec![f32::NAN; height], vec![f32::NAN; width]);
            strip_means(&plane, &mut rows, &mut columns);
            // Sums of up to 128 values below 3 round by less than 128 * 6e-8 of themselves.
            let close = |mean: f32, exact: f64| (f64::from(mean) - exact).abs() < 2e-5;
            for (y, &of_row) in rows.iter().enumerate() {
                assert!(close(of_row, exact(&|i| i / width == y)));
            }
            for (x, &of_column) in columns.iter().enumerate() {
                assert!(close(of_column, exact(&|i| i % width == x)));
            }
            assert!(close(mean(&plane, width), exact(&|_| true)));
        }
    }
}
