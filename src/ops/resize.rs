//! Bilinear resizing of maps, row by row.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape};
use rayon::prelude::*;

use super::rows::{Rows, band_rows, bands_of_map};
use super::tensor::{Map, output};
use crate::bilinear::Taps;

/// Bilinear resizing of a map `[1, c, h, w]` to another `[h, w]`, as a Candle op; half-pixel centres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resize {
    /// The output's `[h, w]`, at least 1 each.
    pub size: [usize; 2],
}

impl CustomOp1 for Resize {
    fn name(&self) -> &'static str {
        "resize"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let map = Map::of(self.name(), storage, layout)?;
        let [height, width] = self.size;
        if height * width == 0 {
            candle_core::bail!("a map cannot be resized to nothing, {height}x{width}");
        }
        let bilinear = Bilinear::new(map.size, self.size);
        let mut out = vec![0.0; map.channels * height * width];
        let bands = bands_of_map(&mut out, height, width, band_rows(height));
        bands
            .into_par_iter()
            .for_each_init(Vec::new, |mixed, mut band| {
                for y in band.first_row..band.first_row + band.rows {
                    for (c, out) in band.row(y).into_iter().enumerate() {
                        bilinear.row(&map.rows(), c, y, out, mixed);
                    }
                }
            });
        Ok(output(out, map.channels, self.size))
    }
}

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
