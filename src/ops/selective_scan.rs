//! The selective scan of SS2D (VMamba) over a map's four directions.
//!
//! Direction k visits the pixels row by row, column by column, and both backwards; at step t, pixel p(t):
//! `delta = softplus(W_dt dt + b)`, `s = exp(delta A) s + delta u B`, `y = C . s`, with u, dt, B and C read
//! at p(t). The outputs of the four directions and `D u` are added at each pixel. Nothing is copied into a
//! direction's order: p(t) is computed.

use rayon::prelude::*;

use super::math::{exp, softplus};
use super::simd::{CpuPath, Kernel, Vector};

#[cfg(feature = "candle-cuda")]
mod candle_cuda;
#[cfg(feature = "cuda")]
pub(crate) mod kernel;
mod op;

pub use op::ScanOp;
pub(crate) use op::{on_maps, transposed};

/// Directions of the scan.
pub const DIRECTIONS: usize = 4;

/// States n of a channel: they stay in registers over all steps.
pub const STATES: usize = 16;

/// The scan's weights, channels along the vector lanes.
#[derive(Debug, Clone)]
pub struct SelectiveScan {
    /// Channels d.
    pub channels: usize,
    /// Rank r of delta's projection.
    pub rank: usize,
    /// `[k, r, d]`.
    pub delta_weights: Vec<f32>,
    /// `[k, d]`.
    pub delta_bias: Vec<f32>,
    /// A, negative, `[k, n, d]`.
    pub decay: Vec<f32>,
    /// D summed over directions, `[d]`.
    pub skip: Vec<f32>,
}

impl SelectiveScan {
    /// Returns y `[h * w, d]` for u `[h * w, d]` and `projected` `[h * w, k * (r + 2 n)]`, which holds each
    /// direction's dt, B and C.
    pub(crate) fn run(
        &self,
        u: &[f32],
        projected: &[f32],
        size: [usize; 2],
        path: CpuPath,
    ) -> Vec<f32> {
        let (d, tokens) = (self.channels, size[0] * size[1]);
        // One task a direction and vector of channels; each fills its own columns of `[k, lanes, tokens]`.
        let lanes = path.lanes();
        let blocks = d.div_ceil(lanes);
        let mut partial = vec![0.0; DIRECTIONS * blocks * tokens * lanes];
        partial
            .par_chunks_exact_mut(tokens * lanes)
            .enumerate()
            .for_each(|(task, out)| {
                let (direction, block) = (task / blocks, task % blocks);
                path.run(ScanBlock {
                    scan: self,
                    u,
                    projected,
                    size,
                    direction,
                    block,
                    out,
                });
            });
        let mut y = vec![0.0; tokens * d];
        y.par_chunks_mut(d).enumerate().for_each(|(token, y)| {
            let u = &u[token * d..(token + 1) * d];
            for (block, y) in y.chunks_mut(lanes).enumerate() {
                for (lane, y) in y.iter_mut().enumerate() {
                    let c = block * lanes + lane;
                    let at =
                        |k: usize| partial[((k * blocks + block) * tokens + token) * lanes + lane];
                    *y = (at(0) + at(2)) + (at(1) + at(3)) + self.skip[c] * u[c];
                }
            }
        });
        y
    }

    /// Computes the same step by step in f64: the specification of the fast path.
    pub fn reference(&self, u: &[f32], projected: &[f32], size: [usize; 2]) -> Vec<f64> {
        let (d, n, r) = (self.channels, STATES, self.rank);
        let tokens = size[0] * size[1];
        let mut y: Vec<f64> = (0..tokens * d)
            .map(|i| f64::from(self.skip[i % d]) * f64::from(u[i]))
            .collect();
        for (k, c) in (0..DIRECTIONS).flat_map(|k| (0..d).map(move |c| (k, c))) {
            let mut state = vec![0.0; n];
            for step in 0..tokens {
                let token = token_of_step(step, k, size);
                let row = &projected[(token * DIRECTIONS + k) * (r + 2 * n)..][..r + 2 * n];
                let mut delta = f64::from(self.delta_bias[k * d + c]);
                for (j, &dt) in row[..r].iter().enumerate() {
                    delta += f64::from(self.delta_weights[(k * r + j) * d + c]) * f64::from(dt);
                }
                let delta = delta.exp().ln_1p();
                for (i, state) in state.iter_mut().enumerate() {
                    let decay = (delta * f64::from(self.decay[(k * n + i) * d + c])).exp();
                    let input = delta * f64::from(u[token * d + c]);
                    *state = decay * *state + input * f64::from(row[r + i]);
                    y[token * d + c] += *state * f64::from(row[r + n + i]);
                }
            }
        }
        y
    }
}

/// Returns the pixel that direction `direction` visits at `step`, as a row-major index.
#[inline(always)]
fn token_of_step(step: usize, direction: usize, [height, width]: [usize; 2]) -> usize {
    let step = if direction < 2 {
        step
    } else {
        height * width - 1 - step
    };
    if direction.is_multiple_of(2) {
        step
    } else {
        step % height * width + step / height
    }
}

struct ScanBlock<'a> {
    scan: &'a SelectiveScan,
    u: &'a [f32],
    projected: &'a [f32],
    size: [usize; 2],
    direction: usize,
    block: usize,
    out: &'a mut [f32],
}

impl Kernel for ScanBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self {
            scan,
            u,
            projected,
            size,
            direction,
            block,
            out,
        } = self;
        let (d, r) = (scan.channels, scan.rank);
        let first = block * V::LANES;
        let end = (first + V::LANES).min(d);
        let channels_of = |row: &[f32]| V::from_slice(&row[first..end]);
        let decay: [V; STATES] =
            std::array::from_fn(|n| channels_of(&scan.decay[(direction * STATES + n) * d..][..d]));
        let bias = channels_of(&scan.delta_bias[direction * d..][..d]);
        let mut state = [V::splat(0.0); STATES];
        for step in 0..size[0] * size[1] {
            let token = token_of_step(step, direction, size);
            let row = &projected[(token * DIRECTIONS + direction) * (r + 2 * STATES)..];
            let (low_rank, row) = row.split_at(r);
            let mut delta = bias;
            for (j, &dt) in low_rank.iter().enumerate() {
                let weights = channels_of(&scan.delta_weights[(direction * r + j) * d..][..d]);
                delta = weights.mul_add(V::splat(dt), delta);
            }
            let delta = softplus(delta);
            let input = delta.mul(V::from_slice(&u[token * d + first..token * d + end]));
            let (b, c) = row[..2 * STATES].split_at(STATES);
            let mut y = V::splat(0.0);
            for n in 0..STATES {
                state[n] = exp(delta.mul(decay[n])).mul_add(state[n], input.mul(V::splat(b[n])));
                y = state[n].mul_add(V::splat(c[n]), y);
            }
            y.to_slice(&mut out[token * V::LANES..][..V::LANES]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scan_equals_its_reference_on_every_path_and_size() {
        let values = |seed: usize, n: usize, low: f32, high: f32| -> Vec<f32> {
            let unit = |i: usize| ((i * 7 + seed * 131) as f32 * 0.613).sin() * 0.5 + 0.5;
            (0..n).map(|i| low + (high - low) * unit(i)).collect()
        };
        for (channels, rank) in [(1, 1), (16, 2), (96, 3), (37, 3)] {
            let scan = SelectiveScan {
                channels,
                rank,
                delta_weights: values(1, DIRECTIONS * rank * channels, -0.6, 0.6),
                delta_bias: values(2, DIRECTIONS * channels, -5.0, -1.0),
                decay: values(3, DIRECTIONS * STATES * channels, -15.0, -0.5),
                skip: values(4, channels, 2.0, 6.0),
            };
            for size in [[1, 1], [1, 9], [9, 1], [5, 7], [23, 30]] {
                let tokens = size[0] * size[1];
                let u = values(5, tokens * channels, -2.0, 2.0);
                let row = DIRECTIONS * (rank + 2 * STATES);
                let projected = values(6, tokens * row, -2.0, 2.0);
                let exact = scan.reference(&u, &projected, size);
                for path in CpuPath::available() {
                    let fast = scan.run(&u, &projected, size, path);
                    assert_eq!(fast.len(), exact.len());
                    for (fast, exact) in fast.iter().zip(&exact) {
                        // States are sums of at most a few dozen live terms; |y| stays below 100.
                        let error = (f64::from(*fast) - exact).abs();
                        assert!(error < 1e-4, "{path:?} {size:?}: {fast} is not {exact}");
                    }
                }
            }
        }
    }

    #[test]
    fn each_direction_visits_each_pixel_once() {
        let size = [3, 4];
        for direction in 0..DIRECTIONS {
            let mut seen: Vec<usize> = (0..12)
                .map(|step| token_of_step(step, direction, size))
                .collect();
            if direction == 3 {
                assert_eq!(seen[..4], [11, 7, 3, 10]);
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..12).collect::<Vec<_>>());
        }
    }
}
