//! The CPU's vector units behind one trait, chosen at run time.
//!
//! A [`Kernel`] is written once, generic over [`Vector`]; [`CpuPath::run`] calls it inside a function
//! that is compiled for the chosen instruction set, so the whole kernel is inlined and vectorised there.

#![allow(
    unsafe_code,
    reason = "vector loads and stores, and calls into functions of one target feature"
)]

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
mod x86;

/// The instruction set that the CPU operations are computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuPath {
    /// Four lanes of what every target has.
    Portable,
    /// Eight lanes, x86-64 with AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Sixteen lanes, x86-64 with AVX-512 F.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl CpuPath {
    /// Returns the widest path that this CPU has.
    pub fn best() -> Self {
        static BEST: OnceLock<CpuPath> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().last().copied().unwrap_or(Self::Portable))
    }

    /// Returns every path that this CPU has, narrowest first.
    pub fn available() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
        let mut paths = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if fma {
                paths.push(Self::Avx2);
            }
            if fma && is_x86_feature_detected!("avx512f") {
                paths.push(Self::Avx512);
            }
        }
        paths
    }

    /// Returns its name: `avx512`, `avx2` or `portable`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
        }
    }

    /// Returns how many f32 lanes a vector has.
    pub fn lanes(self) -> usize {
        match self {
            Self::Portable => Portable::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86::Avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => x86::Avx512::LANES,
        }
    }

    /// Runs `kernel` compiled for this path.
    ///
    /// # Panics
    /// If this CPU lacks the path's instructions; paths from [`CpuPath::available`] never do.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[cfg(target_arch = "x86_64")]
        assert!(
            self == Self::Portable || self == Self::best() || Self::available().contains(&self),
            "{self:?} is not available on this CPU"
        );
        match self {
            Self::Portable => kernel.run::<Portable>(),
            // SAFETY: the assertion above found the instructions on this CPU.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { x86::run_avx2(kernel) },
            // SAFETY: the assertion above found the instructions on this CPU.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { x86::run_avx512(kernel) },
        }
    }
}

/// A computation written once for every [`Vector`].
///
/// `run` and what it calls must be `#[inline(always)]`: only code inlined into the function of a path
/// is compiled with that path's instructions.
pub(crate) trait Kernel {
    type Output;

    fn run<V: Vector>(self) -> Self::Output;
}

/// A vector of `LANES` f32.
///
/// Invariant: a value exists only inside a [`Kernel`] that runs on its path, so its instructions are
/// there.
pub(crate) trait Vector: Copy {
    const LANES: usize;

    fn splat(x: f32) -> Self;
    /// # Safety
    /// `from` is valid for reading `LANES` f32; no alignment is needed.
    unsafe fn load(from: *const f32) -> Self;
    /// # Safety
    /// `from` is valid for reading one f32; no alignment is needed.
    unsafe fn splat_from(from: *const f32) -> Self;
    /// # Safety
    /// `to` is valid for writing `LANES` f32; no alignment is needed.
    unsafe fn store(self, to: *mut f32);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// `self * factor + addend`, with one rounding where the path has FMA.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    fn max(self, other: Self) -> Self;
    fn min(self, other: Self) -> Self;
    /// The nearest whole number, for |self| below 2^22.
    fn round(self) -> Self;
    /// `2^self`, for whole numbers from -126 to 127.
    fn exp2_of_whole(self) -> Self;

    /// Reads a full vector from the head of `from`, or its `from.len()` lanes with zeros after them.
    #[inline(always)]
    fn from_slice(from: &[f32]) -> Self {
        if from.len() >= Self::LANES {
            // SAFETY: the slice holds LANES f32.
            return unsafe { Self::load(from.as_ptr()) };
        }
        let mut lanes = [0.0; MAX_LANES];
        lanes[..from.len()].copy_from_slice(from);
        // SAFETY: LANES is at most MAX_LANES.
        unsafe { Self::load(lanes.as_ptr()) }
    }

    /// Writes as many lanes as `to` takes.
    #[inline(always)]
    fn to_slice(self, to: &mut [f32]) {
        if to.len() >= Self::LANES {
            // SAFETY: the slice takes LANES f32.
            return unsafe { self.store(to.as_mut_ptr()) };
        }
        let mut lanes = [0.0; MAX_LANES];
        // SAFETY: LANES is at most MAX_LANES.
        unsafe { self.store(lanes.as_mut_ptr()) };
        to.copy_from_slice(&lanes[..to.len()]);
    }

    /// `self` where positive, `slope * self` where negative.
    #[inline(always)]
    fn prelu(self, slope: Self) -> Self {
        // `min` and `max` return their second operand where one is NaN: a NaN stays seen.
        let zero = Self::splat(0.0);
        zero.min(self).mul_add(slope, zero.max(self))
    }
}

/// The widest vector of any path.
pub(crate) const MAX_LANES: usize = 16;

/// Four lanes in plain Rust.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 4]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Vector for Portable {
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises 4 readable f32.
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn splat_from(from: *const f32) -> Self {
        // SAFETY: the caller promises one readable f32.
        Self([unsafe { from.read_unaligned() }; 4])
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises 4 writable f32.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) };
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // Two roundings: f32::mul_add is a library call where the target has no FMA.
        self.mul(factor).add(addend)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn round(self) -> Self {
        // Adding 1.5 * 2^23 leaves no bits for a fraction.
        const SHIFT: f32 = 12_582_912.0;
        Self(self.0.map(|x| (x + SHIFT) - SHIFT))
    }

    #[inline(always)]
    fn exp2_of_whole(self) -> Self {
        Self(
            self.0
                .map(|x| f32::from_bits(((x as i32 + 127) as u32) << 23)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Arithmetic<'a>(&'a [f32], &'a mut [f32]);

    impl Kernel for Arithmetic<'_> {
        type Output = ();

        #[inline(always)]
        fn run<V: Vector>(self) {
            for (x, y) in self.0.chunks(V::LANES).zip(self.1.chunks_mut(V::LANES)) {
                let x = V::from_slice(x);
                let half = x.div(V::splat(2.0)).sub(V::splat(1.0)).round();
                half.exp2_of_whole()
                    .mul_add(x, x.prelu(V::splat(0.25)))
                    .to_slice(y);
            }
        }
    }

    #[test]
    fn every_path_computes_the_same_lanes_and_tails() {
        let x: Vec<f32> = (0..37).map(|i| i as f32 - 17.6).collect();
        for path in CpuPath::available() {
            for n in 0..x.len() {
                let mut y = vec![f32::NAN; n];
                path.run(Arithmetic(&x[..n], &mut y));
                for (x, y) in x.iter().zip(y) {
                    let exact = ((x / 2.0 - 1.0).round_ties_even()).exp2() * x
                        + if *x < 0.0 { 0.25 * x } else { *x };
                    // Two roundings in the portable path, one with FMA.
                    assert!(
                        (y - exact).abs() <= 1e-6 * exact.abs(),
                        "{path:?}: f({x}) = {y}"
                    );
                }
            }
        }
    }
}
