//! A depthwise 3x1 and then a depthwise 1x3 convolution, each with bias and PReLU, plane by plane.

use super::activation::prelu;
use super::simd::{CpuPath, Kernel, Vector};

/// One depthwise strip of three taps, batch norm folded in.
#[derive(Debug, Clone, PartialEq)]
pub struct Strip {
    /// Three taps a channel, `[c, 3]`.
    pub taps: Vec<[f32; 3]>,
    /// One addend a channel.
    pub bias: Vec<f32>,
    /// One PReLU slope a channel.
    pub slope: Vec<f32>,
}

/// A column strip and a row strip of one dilation, zero padded by it.
#[derive(Debug, Clone)]
pub struct StripConv {
    /// 3x1: along a column.
    pub vertical: Strip,
    /// 1x3: along a row.
    pub horizontal: Strip,
    /// Distance of two taps, in pixels, for both.
    pub dilation: usize,
}

impl StripConv {
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
            strips: self,
            c,
            input,
            width,
            out,
            padded,
        });
    }

    /// Computes channel `c`'s plane per element in f64: the specification of the fast path.
    pub fn reference(&self, c: usize, input: &[f64], [height, width]: [usize; 2]) -> Vec<f64> {
        let along = |strip: &Strip, plane: &[f64], step: [usize; 2]| -> Vec<f64> {
            let at = |y: usize, x: usize| {
                let inside = y < height && x < width;
                if inside { plane[y * width + x] } else { 0.0 }
            };
            (0..height * width)
                .map(|i| {
                    let (y, x) = (i / width, i % width);
                    let [low, middle, high] = strip.taps[c].map(f64::from);
                    let sum = low * at(y.wrapping_sub(step[0]), x.wrapping_sub(step[1]))
                        + middle * at(y, x)
                        + high * at(y + step[0], x + step[1])
                        + f64::from(strip.bias[c]);
                    if sum < 0.0 {
                        f64::from(strip.slope[c]) * sum
                    } else {
                        sum
                    }
                })
                .collect()
        };
        let columns = along(&self.vertical, input, [self.dilation, 0]);
        along(&self.horizontal, &columns, [0, self.dilation])
    }
}

struct Plane<'a> {
    strips: &'a StripConv,
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
        let Self {
            strips,
            c,
            input,
            width,
            out,
            padded,
        } = self;
        let d = strips.dilation;
        // A row with `d` zeros on each side, then a row of zeros that stands for rows outside.
        padded.clear();
        padded.resize(2 * d + 2 * width, 0.0);
        let (padded, zeros) = padded.split_at_mut(2 * d + width);
        let row = |y: Option<usize>| {
            y.and_then(|y| input.get(y * width..(y + 1) * width))
                .unwrap_or(zeros)
        };
        for (y, out) in out.chunks_exact_mut(width).enumerate() {
            let rows = [row(y.checked_sub(d)), row(Some(y)), row(Some(y + d))];
            mix(&strips.vertical, c, rows, &mut padded[d..d + width]);
            let shifted = [0, d, 2 * d].map(|from| &padded[from..from + width]);
            mix(&strips.horizontal, c, shifted, out);
        }
    }
}

/// Writes `prelu(taps . rows + bias)`. The compiler vectorises it for the path that it is inlined into.
#[inline(always)]
fn mix(strip: &Strip, c: usize, [low, middle, high]: [&[f32]; 3], out: &mut [f32]) {
    let [a, b, d] = strip.taps[c];
    let (bias, slope) = (strip.bias[c], strip.slope[c]);
    for (((out, low), middle), high) in out.iter_mut().zip(low).zip(middle).zip(high) {
        *out = prelu(a * low + b * middle + d * high + bias, slope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_equal_their_reference_on_every_path_and_size() {
        let value = |i: usize| (i as f32 * 1.7).sin();
        let strip = |seed: usize| Strip {
            taps: vec![[value(seed), value(seed + 1), value(seed + 2)]; 2],
            bias: vec![0.1, -0.2],
            slope: vec![0.25, -0.1],
        };
        for dilation in [1, 2, 32] {
            let strips = StripConv {
                vertical: strip(1),
                horizontal: strip(9),
                dilation,
            };
            for size in [[1, 1], [1, 17], [33, 1], [5, 7], [40, 70], [64, 16]] {
                let input: Vec<f32> = (0..size[0] * size[1]).map(value).collect();
                let wide: Vec<f64> = input.iter().map(|&x| f64::from(x)).collect();
                for (path, c) in CpuPath::available()
                    .into_iter()
                    .flat_map(|p| [(p, 0), (p, 1)])
                {
                    let mut out = vec![f32::NAN; input.len()];
                    strips.plane(c, &input, size[1], &mut out, &mut Vec::new(), path);
                    for (fast, exact) in out.iter().zip(strips.reference(c, &wide, size)) {
                        // Eight roundings of values below 4.
                        assert!((f64::from(*fast) - exact).abs() < 4e-6, "{path:?} {size:?}");
                    }
                }
            }
        }
    }
}
