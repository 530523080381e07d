//! Bilinear resizing of maps, row by row.

use super::rows::Rows;
use crate::bilinear::Taps;

/// Bilinear taps of both axes.
#[derive(Debug, Clone)]
pub(crate) struct Bilinear {
    rows: Taps,
    columns: Taps,
}

impl Bilinear {
    /// Returns the taps from a map of `[h, w]` to another.
    pub(crate) fn new(from: [usize; 2], to: [usize; 2]) -> Self {
        Self {
            rows: Taps::new(from[0], to[0]),
            columns: Taps::new(from[1], to[1]),
        }
    }

    /// Returns the output's `[h, w]`.
    pub(crate) fn out_size(&self) -> [usize; 2] {
        [self.rows.len(), self.columns.len()]
    }

    /// Writes output row `y` of channel `c`. `mixed` is scratch space.
    pub(crate) fn row(
        &self,
        map: &Rows<'_>,
        c: usize,
        y: usize,
        out: &mut [f32],
        mixed: &mut Vec<f32>,
    ) {
        let tap = self.rows.at(y);
        let rows = [tap.low, tap.high].map(|y| map.row(c, y as isize));
        if let [Some(low), Some(high)] = rows {
            mixed.resize(map.width(), 0.0);
            tap.mix_rows(low, high, mixed);
            self.columns.resample(mixed, out);
        }
    }
}
