//! A square depthwise convolution with bias: one plane in, one plane out, zero padded, stride 1.

use super::simd::{CpuPath, Kernel, MAX_LANES, Vector};

/// One square filter a channel.
#[derive(Debug, Clone)]
pub struct Depthwise {
    /// Taps on each axis, odd.
    pub kernel: usize,
    /// `[c, kernel, kernel]`.
    pub taps: Vec<f32>,
    /// One addend a channel.
    pub bias: Vec<f32>,
}

impl Depthwise {
    /// Writes channel `c`'s plane `[h, w]`. `padded` is scratch space.
    pub(crate) fn plane(
        &self,
        c: usize,
        input: &[f32],
        width: usize,
        out: &mut [f32],
        padded: &mut Vec<f32>,
        path: CpuPath,
    ) {
        path.run(Plane {
            depthwise: self,
            c,
            input,
            width,
            out,
            padded,
        });
    }

    fn taps_of(&self, c: usize) -> &[f32] {
        let n = self.kernel * self.kernel;
        &self.taps[c * n..(c + 1) * n]
    }

    /// Computes channel `c`'s plane per element in f64: the specification of the fast path.
    pub fn reference(&self, c: usize, input: &[f32], [height, width]: [usize; 2]) -> Vec<f64> {
        let half = self.kernel / 2;
        (0..height * width)
            .map(|place| {
                let (y, x) = (place / width, place % width);
                let mut sum = f64::from(self.bias[c]);
                for (i, tap) in self.taps_of(c).iter().enumerate() {
                    let row = (y + i / self.kernel).wrapping_sub(half);
                    let column = (x + i % self.kernel).wrapping_sub(half);
                    if row < height && column < width {
                        sum += f64::from(*tap) * f64::from(input[row * width + column]);
                    }
                }
                sum
            })
            .collect()
    }
}

struct Plane<'a> {
    depthwise: &'a Depthwise,
    c: usize,
    input: &'a [f32],
    width: usize,
    out: &'a mut [f32],
    padded: &'a mut Vec<f32>,
}

impl Kernel for Plane<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        /// Vectors computed together, so that their sums do not wait for each other.
        const TOGETHER: usize = 4;
        let Self {
            depthwise,
            c,
            input,
            width,
            out,
            padded,
        } = self;
        let (kernel, half) = (depthwise.kernel, depthwise.kernel / 2);
        // Zeros all around, and enough to the right that every vector load stays within a row.
        let step = width + kernel + TOGETHER * MAX_LANES;
        padded.clear();
        padded.resize((input.len() / width + kernel - 1) * step, 0.0);
        for (row, padded) in input
            .chunks_exact(width)
            .zip(padded.chunks_exact_mut(step).skip(half))
        {
            padded[half..half + width].copy_from_slice(row);
        }
        let taps = depthwise.taps_of(c);
        let bias = V::splat(depthwise.bias[c]);
        for (y, out) in out.chunks_exact_mut(width).enumerate() {
            for (tile, out) in out.chunks_mut(TOGETHER * V::LANES).enumerate() {
                let x = tile * TOGETHER * V::LANES;
                let mut sums = [bias; TOGETHER];
                for (i, taps) in taps.chunks_exact(kernel).enumerate() {
                    let row = &padded[(y + i) * step..(y + i + 1) * step];
                    for (j, &tap) in taps.iter().enumerate() {
                        let tap = V::splat(tap);
                        for (n, sum) in sums.iter_mut().enumerate() {
                            *sum = V::from_slice(&row[x + j + n * V::LANES..]).mul_add(tap, *sum);
                        }
                    }
                }
                for (sum, out) in sums.iter().zip(out.chunks_mut(V::LANES)) {
                    sum.to_slice(out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_depthwise_convolution_equals_its_reference_on_every_path_and_size() {
        let value = |i: usize| (i as f32 * 1.3).sin();
        for kernel in [3, 7] {
            let taps = (0..2 * kernel * kernel).map(value).collect();
            let depthwise = Depthwise {
                kernel,
                taps,
                bias: vec![0.3, -0.1],
            };
            for size in [[1, 1], [1, 19], [21, 1], [5, 16], [9, 70], [3, 131]] {
                let input: Vec<f32> = (0..size[0] * size[1]).map(value).collect();
                for (path, c) in CpuPath::available()
                    .into_iter()
                    .flat_map(|p| [(p, 0), (p, 1)])
                {
                    let mut out = vec![f32::NAN; input.len()];
                    depthwise.plane(c, &input, size[1], &mut out, &mut Vec::new(), path);
                    for (fast, exact) in out.iter().zip(depthwise.reference(c, &input, size)) {
                        // 49 roundings of sums below 10.
                        assert!((f64::from(*fast) - exact).abs() < 1e-5, "{path:?} {size:?}");
                    }
                }
            }
        }
    }
}
