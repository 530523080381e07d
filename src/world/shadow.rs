//! Where the sun does not reach: a height map seen from the sun around the camera.

use super::facet::{Facet, Round, Viewer};
use super::geometry::{UP, Vec3};
use super::noise::NoiseTiles;
use super::surface::{Coverage, coverage};
use rayon::prelude::*;

const SIDE: usize = 1536;
const SPAN_M: f32 = 110.0;
const BAND: usize = 32;

/// Distance towards the sun of the first thing on each sun ray.
pub(crate) struct ShadowMap {
    origin: Vec3,
    side: Vec3,
    upward: Vec3,
    sun: Vec3,
    highest: Vec<f32>,
}

impl ShadowMap {
    /// The map of `facets` (made for `Viewer::Direction(sun)`) around `centre`.
    pub(crate) fn new(sun: Vec3, centre: Vec3, facets: &[Facet], tiles: &NoiseTiles) -> Self {
        let side = UP.cross(sun).unit();
        let upward = sun.cross(side);
        let mut map = Self {
            origin: centre,
            side,
            upward,
            sun,
            highest: vec![f32::MIN; SIDE * SIDE],
        };
        let flat: Vec<[[f32; 3]; 4]> = facets
            .iter()
            .map(|facet| {
                facet.corners.map(|p| {
                    let q = p - map.origin;
                    [map.texel(q.dot(side)), map.texel(q.dot(upward)), q.dot(sun)]
                })
            })
            .collect();
        let mut highest = std::mem::take(&mut map.highest);
        highest
            .par_chunks_mut(SIDE * BAND)
            .enumerate()
            .for_each(|(band, rows)| {
                for (facet, corners) in facets.iter().zip(&flat) {
                    for order in [[0, 1, 2], [0, 2, 3]].iter().take(facet.count - 2) {
                        let corners3 = order.map(|k: usize| corners[k]);
                        let uv = order.map(|k: usize| facet.uv[k]);
                        scan(rows, band * BAND, facet, corners3, uv, tiles);
                    }
                }
            });
        map.highest = highest;
        map
    }

    /// The direction that facets of the map must face.
    pub(crate) fn viewer(sun: Vec3) -> Viewer {
        Viewer::Direction(sun)
    }

    fn texel(&self, metres: f32) -> f32 {
        (metres / SPAN_M + 0.5) * SIDE as f32
    }

    /// Share of the sun that reaches `p`, 0..1; 1 outside the map.
    #[inline]
    pub(crate) fn sunlit(&self, p: Vec3, bias_m: f32) -> f32 {
        let q = p - self.origin;
        let x = self.texel(q.dot(self.side)) - 0.5;
        let y = self.texel(q.dot(self.upward)) - 0.5;
        let depth = q.dot(self.sun) + bias_m;
        let edge = (SIDE - 2) as f32;
        if !(x > 0.0 && y > 0.0 && x < edge && y < edge) {
            return 1.0;
        }
        let (i, j) = (x as usize, y as usize);
        let (fx, fy) = (x - i as f32, y - j as f32);
        let lit = |i: usize, j: usize| {
            if self.highest[j * SIDE + i] > depth {
                0.0
            } else {
                1.0
            }
        };
        let top = lit(i, j) * (1.0 - fx) + lit(i + 1, j) * fx;
        let low = lit(i, j + 1) * (1.0 - fx) + lit(i + 1, j + 1) * fx;
        top * (1.0 - fy) + low * fy
    }
}

fn scan(
    rows: &mut [f32],
    first_row: usize,
    facet: &Facet,
    corners: [[f32; 3]; 3],
    uv: [[f32; 2]; 3],
    tiles: &NoiseTiles,
) {
    let [a, b, c] = corners;
    let low = [0, 1].map(|k| a[k].min(b[k]).min(c[k]));
    let high = [0, 1].map(|k| a[k].max(b[k]).max(c[k]));
    let count = rows.len() / SIDE;
    if high[1] < first_row as f32 || low[1] > (first_row + count) as f32 || high[0] < 0.0 {
        return;
    }
    let area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
    if area.abs() < 1e-6 {
        return;
    }
    let left = low[0].max(0.0) as usize;
    let right = (high[0].max(0.0) as usize + 1).min(SIDE);
    let top = (low[1].max(first_row as f32) as usize).max(first_row);
    let bottom = (high[1].max(0.0) as usize + 1).min(first_row + count);
    let cut_out = facet.surface.is_cut_out() || facet.round != Round::Flat;
    for row in top..bottom {
        for column in left..right {
            let (x, y) = (column as f32 + 0.5, row as f32 + 0.5);
            let wb = ((x - a[0]) * (c[1] - a[1]) - (y - a[1]) * (c[0] - a[0])) / area;
            let wc = ((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) / area;
            let wa = 1.0 - wb - wc;
            if wa < 0.0 || wb < 0.0 || wc < 0.0 {
                continue;
            }
            let depth = wa * a[2] + wb * b[2] + wc * c[2];
            let cell = &mut rows[(row - first_row) * SIDE + column];
            if depth <= *cell {
                continue;
            }
            if cut_out {
                let [u, v] = [0, 1].map(|k| wa * uv[0][k] + wb * uv[1][k] + wc * uv[2][k]);
                if coverage(facet, u, v, SPAN_M / SIDE as f32, tiles) != Coverage::Solid {
                    continue;
                }
            }
            *cell = depth;
        }
    }
}
