//! Randomness by integer hashing: a value depends on its seed and key alone, never on call order
//! elsewhere, so that any frame can be made alone and on any number of threads.

/// Well-mixed 64 bits from a seed and a key (splitmix64's finaliser).
#[inline]
pub(crate) fn hash(seed: u64, key: u64) -> u64 {
    let mut x = seed ^ key.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Uniform in [0, 1) from the top 24 bits of a hash.
#[inline]
pub(crate) fn unit_from_bits(bits: u64) -> f32 {
    (bits >> 40) as f32 * (1.0 / 16_777_216.0)
}

/// Largest whole number not above `x`, for |x| below 2^31: without SSE4.1 `f32::floor` is a call.
#[inline]
pub(crate) fn floor(x: f32) -> i32 {
    let whole = x as i32;
    whole - ((whole as f32) > x) as i32
}

/// Uniform in [0, 1) for a lattice cell.
#[inline]
pub(crate) fn unit_at(seed: u32, i: i32, j: i32) -> f32 {
    let key = ((i as u32 as u64) << 32) | j as u32 as u64;
    unit_from_bits(hash(seed as u64, key))
}

/// One-dimensional value noise in [-1, 1], smooth, with lattice points at the integers.
pub(crate) fn smooth_noise(seed: u64, x: f64) -> f64 {
    let cell = x.floor();
    let f = x - cell;
    let at = |i: f64| unit_from_bits(hash(seed, i as i64 as u64)) as f64 * 2.0 - 1.0;
    let w = f * f * f * (f * (f * 6.0 - 15.0) + 10.0);
    at(cell) * (1.0 - w) + at(cell + 1.0) * w
}

/// A stream of draws from one seed.
pub(crate) struct Draws {
    seed: u64,
    count: u64,
}

impl Draws {
    /// The stream `stream` of `seed`; different streams are independent.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self {
            seed: hash(seed, stream ^ 0x5EED_0000_0000),
            count: 0,
        }
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.count += 1;
        hash(self.seed, self.count)
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f32 {
        unit_from_bits(self.bits())
    }

    /// Uniform in [low, high).
    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    pub(crate) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// Uniform in 0..n (n > 0).
    pub(crate) fn index(&mut self, n: usize) -> usize {
        ((self.unit() * n as f32) as usize).min(n.saturating_sub(1))
    }

    /// One of `choices`, which must not be empty.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_repeats_and_two_streams_differ() {
        let draw = |stream| {
            let mut draws = Draws::new(7, stream);
            (0..8).map(|_| draws.bits()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn smooth_noise_is_continuous_and_bounded() {
        for i in -200..200 {
            let x = i as f64 * 0.37;
            assert!(smooth_noise(3, x).abs() <= 1.0);
            assert!((smooth_noise(3, x) - smooth_noise(3, x + 1e-6)).abs() < 1e-4);
        }
    }
}
