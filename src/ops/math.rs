//! Vectorised elementary functions.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape};
use rayon::prelude::*;

use super::simd::{CpuPath, Kernel, Vector};
use super::tensor::{Map, output};

/// `e^x`, relative error below 2e-7 on [-87, 88]; x beyond that is clamped to it.
#[inline(always)]
pub(crate) fn exp<V: Vector>(x: V) -> V {
    // e^x = 2^n * e^r with |r| at most ln(2) / 2; ln(2) in two parts so that n * ln(2) is exact enough.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Taylor's series of e^r to the 7th power: its remainder is below 6e-9 on that interval.
    const COEFFICIENTS: [f32; 6] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0];
    let x = V::splat(-87.0).max(x);
    let x = V::splat(88.0).min(x);
    let n = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
    let r = n.mul_add(V::splat(-LN2_HIGH), x);
    let r = n.mul_add(V::splat(-LN2_LOW), r);
    let mut series = V::splat(1.0 / 5040.0);
    for coefficient in COEFFICIENTS {
        series = series.mul_add(r, V::splat(coefficient));
    }
    series.mul_add(r, V::splat(1.0)).mul(n.exp2_of_whole())
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid<V: Vector>(x: V) -> V {
    let one = V::splat(1.0);
    one.div(one.add(exp(V::splat(0.0).sub(x))))
}

/// `x * sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu<V: Vector>(x: V) -> V {
    x.mul(sigmoid(x))
}

/// `ln(1 + e^x)`, absolute error below 3e-7 or relative below 1e-6.
#[inline(always)]
pub(crate) fn softplus<V: Vector>(x: V) -> V {
    // max(x, 0) + ln(1 + t), t = e^-|x| in (0, 1]; ln(1 + t) = 2 artanh(t / (2 + t)), an odd series
    // in s = t / (2 + t) of at most 1/3: the first left out term is below 2e-8.
    let zero = V::splat(0.0);
    let negative_abs = x.min(zero.sub(x));
    let t = exp(negative_abs);
    let s = t.div(t.add(V::splat(2.0)));
    let square = s.mul(s);
    let mut series = V::splat(2.0 / 13.0);
    for odd in [11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        series = series.mul_add(square, V::splat(2.0 / odd));
    }
    series.mul_add(s, zero.max(x))
}

/// `x * Phi(x)` with the exact error function, absolute error below 3e-7 * |x|.
#[inline(always)]
pub(crate) fn gelu<V: Vector>(x: V) -> V {
    // Abramowitz and Stegun 7.1.26: erf(u) = 1 - poly(t) e^(-u^2), t = 1 / (1 + p u), u >= 0.
    const P: f32 = 0.327_591_1;
    const A: [f32; 4] = [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];
    let (zero, one) = (V::splat(0.0), V::splat(1.0));
    let u = x
        .max(zero.sub(x))
        .mul(V::splat(std::f32::consts::FRAC_1_SQRT_2));
    let t = one.div(u.mul_add(V::splat(P), one));
    let mut poly = V::splat(1.061_405_4);
    for a in A {
        poly = poly.mul_add(t, V::splat(a));
    }
    let tail = poly.mul(t).mul(exp(zero.sub(u.mul(u)))).mul(V::splat(0.5));
    // Phi(|x|) = 1 - tail; x Phi(x) = max(x, 0) - |x| tail for both signs.
    zero.max(x).sub(x.max(zero.sub(x)).mul(tail))
}

/// A function of one value; as a Candle op, of each value of a map `[1, c, h, w]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// `e^x`.
    Exp,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `x * sigmoid(x)`.
    Silu,
    /// `ln(1 + e^x)`.
    Softplus,
    /// `x * Phi(x)`, Phi the normal distribution, by the error function.
    Gelu,
}

impl CustomOp1 for Function {
    fn name(&self) -> &'static str {
        "function"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let map = Map::of(self.name(), storage, layout)?;
        let mut out = map.data.to_vec();
        apply_in_place(*self, &mut out, CpuPath::best());
        Ok(output(out, map.channels, map.size))
    }
}

/// Applies `function` to each of `values`.
pub(crate) fn apply_in_place(function: Function, values: &mut [f32], path: CpuPath) {
    /// Values of one task: a few microseconds of work.
    const PART: usize = 1 << 13;
    let parts = values.par_chunks_mut(PART);
    parts.for_each(|values| path.run(Apply { function, values }));
}

pub(crate) struct Apply<'a> {
    pub(crate) function: Function,
    pub(crate) values: &'a mut [f32],
}

impl Kernel for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        match self.function {
            Function::Exp => apply::<V>(self.values, exp),
            Function::Sigmoid => apply::<V>(self.values, sigmoid),
            Function::Silu => apply::<V>(self.values, silu),
            Function::Softplus => apply::<V>(self.values, softplus),
            Function::Gelu => apply::<V>(self.values, gelu),
        }
    }
}

#[inline(always)]
fn apply<V: Vector>(values: &mut [f32], function: impl Fn(V) -> V) {
    for part in values.chunks_mut(V::LANES) {
        function(V::from_slice(part)).to_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(function: Function, exact: impl Fn(f64) -> f64, absolute: f64, relative: f64) {
        let inputs: Vec<f32> = (-20_000..=20_000).map(|i| i as f32 * 0.004).collect();
        for path in CpuPath::available() {
            let mut values = inputs.clone();
            path.run(Apply {
                function,
                values: &mut values,
            });
            for (&x, &y) in inputs.iter().zip(&values) {
                let exact = exact(f64::from(x));
                let error = (f64::from(y) - exact).abs();
                assert!(
                    error <= absolute + relative * exact.abs(),
                    "{path:?} {function:?}({x}) = {y}, exactly {exact}"
                );
            }
        }
    }

    #[test]
    fn exp_is_within_two_ten_millionths() {
        assert_close(Function::Exp, f64::exp, 0.0, 2e-7);
    }

    #[test]
    fn sigmoid_and_silu_follow_exp() {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        assert_close(Function::Sigmoid, sigmoid, 0.0, 5e-7);
        assert_close(Function::Silu, |x| x * sigmoid(x), 0.0, 5e-7);
    }

    #[test]
    fn softplus_is_right_where_it_is_tiny_and_where_it_is_linear() {
        assert_close(Function::Softplus, |x| x.exp().ln_1p(), 0.0, 1e-6);
    }

    #[test]
    fn gelu_is_the_exact_one() {
        // Phi by its series where it converges fast, by symmetry: erf from its Taylor series.
        let phi = |x: f64| {
            if x.abs() > 6.0 {
                return if x > 0.0 { 1.0 } else { 0.0 };
            }
            let mut term = x;
            let mut sum = x;
            for k in 1..200 {
                term *= x * x / f64::from(2 * k + 1);
                sum += term;
            }
            0.5 + sum * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
        };
        assert_close(Function::Gelu, |x| x * phi(x), 2e-6, 3e-7);
    }

    #[test]
    fn nan_is_seen_after_every_function() {
        for path in CpuPath::available() {
            for function in [
                Function::Exp,
                Function::Sigmoid,
                Function::Silu,
                Function::Softplus,
                Function::Gelu,
            ] {
                let mut values = [f32::NAN; 3];
                path.run(Apply {
                    function,
                    values: &mut values,
                });
                assert!(values.iter().all(|x| x.is_nan()), "{path:?} {function:?}");
            }
        }
    }
}
