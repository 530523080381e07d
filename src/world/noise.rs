//! Tileable noise, computed once: lookups at shading time are a few nanoseconds and cost no
//! trigonometry.

use super::random::{floor, hash, unit_at, unit_from_bits};

const SIDE: usize = 256;
const LEVELS: usize = 8;

/// A periodic 256x256 texture in [0, 1] with a chain of averaged levels.
pub(crate) struct NoiseTile {
    levels: Vec<Vec<f32>>,
}

impl NoiseTile {
    /// Independent texels: grain.
    pub(crate) fn white(seed: u64) -> Self {
        let base = (0..SIDE * SIDE)
            .map(|i| unit_from_bits(hash(seed, i as u64)))
            .collect();
        Self::with_levels(base)
    }

    /// Fractal value noise: `octaves` octaves from `cells` lattice cells a side upward, stretched
    /// to fill [0, 1].
    pub(crate) fn fractal(seed: u64, cells: usize, octaves: usize) -> Self {
        let mut base = vec![0.0f32; SIDE * SIDE];
        let mut amplitude = 1.0;
        for octave in 0..octaves {
            let period = (cells << octave).min(SIDE) as i32;
            let scale = period as f32 / SIDE as f32;
            let lattice = |i: i32, j: i32| {
                unit_at(
                    seed as u32 ^ octave as u32,
                    i.rem_euclid(period),
                    j.rem_euclid(period),
                )
            };
            for (at, texel) in base.iter_mut().enumerate() {
                let x = (at % SIDE) as f32 * scale;
                let y = (at / SIDE) as f32 * scale;
                let (i, j) = (x.floor(), y.floor());
                let fade = |f: f32| f * f * (3.0 - 2.0 * f);
                let (fx, fy) = (fade(x - i), fade(y - j));
                let (i, j) = (i as i32, j as i32);
                let top = lattice(i, j) * (1.0 - fx) + lattice(i + 1, j) * fx;
                let low = lattice(i, j + 1) * (1.0 - fx) + lattice(i + 1, j + 1) * fx;
                *texel += amplitude * (top * (1.0 - fy) + low * fy);
            }
            amplitude *= 0.55;
        }
        let low = base.iter().copied().fold(f32::MAX, f32::min);
        let high = base.iter().copied().fold(f32::MIN, f32::max);
        for texel in &mut base {
            *texel = (*texel - low) / (high - low);
        }
        Self::with_levels(base)
    }

    fn with_levels(base: Vec<f32>) -> Self {
        let mut levels = vec![base];
        for level in 1..LEVELS {
            let side = SIDE >> level;
            let finer = &levels[level - 1];
            let coarser = (0..side * side)
                .map(|at| {
                    let i = (at / side) * 2 * (side * 2) + (at % side) * 2;
                    (finer[i] + finer[i + 1] + finer[i + side * 2] + finer[i + side * 2 + 1]) * 0.25
                })
                .collect();
            levels.push(coarser);
        }
        Self { levels }
    }

    /// Bilinear value at texel coordinates (u, v), averaged over about `footprint` texels.
    #[inline]
    pub(crate) fn at(&self, u: f32, v: f32, footprint: f32) -> f32 {
        let level = (footprint.max(1.0).to_bits() >> 23).saturating_sub(127) as usize;
        let level = level.min(LEVELS - 1);
        let side = SIDE >> level;
        let texels = &self.levels[level];
        let scale = 1.0 / (1u32 << level) as f32;
        let (x, y) = (u * scale, v * scale);
        let (i, j) = (floor(x), floor(y));
        let (fx, fy) = (x - i as f32, y - j as f32);
        let mask = side - 1;
        let (i, j) = (i as usize & mask, j as usize & mask);
        let (i1, j1) = ((i + 1) & mask, (j + 1) & mask);
        let top = texels[j * side + i] * (1.0 - fx) + texels[j * side + i1] * fx;
        let low = texels[j1 * side + i] * (1.0 - fx) + texels[j1 * side + i1] * fx;
        top * (1.0 - fy) + low * fy
    }
}

/// The tiles that surfaces draw on.
pub(crate) struct NoiseTiles {
    /// Independent grain.
    pub(crate) grain: NoiseTile,
    /// Broad clouds: 4 cells a side and upward.
    pub(crate) broad: NoiseTile,
    /// Fine mottling: 32 cells a side and upward.
    pub(crate) fine: NoiseTile,
}

impl NoiseTiles {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            grain: NoiseTile::white(hash(seed, 11)),
            broad: NoiseTile::fractal(hash(seed, 12), 4, 6),
            fine: NoiseTile::fractal(hash(seed, 13), 32, 3),
        }
    }
}
