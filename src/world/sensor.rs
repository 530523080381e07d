//! From radiance to bytes: lens blur, vignetting, exposure, tone curve and noise.

use super::geometry::Vec3;
use super::random::hash;

const CURVE_STEPS: usize = 4096;

/// A camera's rendering of light.
pub(crate) struct Sensor {
    curve: Vec<f32>,
    noise: f32,
    vignette: f32,
    blur: f32,
}

impl Sensor {
    pub(crate) fn new(draws: &mut super::random::Draws) -> Self {
        let contrast = draws.between(1.0, 1.35);
        let gamma = 1.0 / draws.between(2.05, 2.35);
        Self {
            curve: tone_curve(contrast, gamma),
            noise: draws.between(1.2, 3.6),
            vignette: draws.between(0.05, 0.3),
            blur: draws.between(0.08, 0.2),
        }
    }

    /// This camera as varied worlds have it: more contrast, and less blur or sharpened edges.
    pub(crate) fn varied(self, draws: &mut super::random::Draws) -> Self {
        let (blur, contrast) = (draws.between(-0.07, 0.14), draws.between(1.1, 1.9));
        let gamma = 1.0 / draws.between(2.0, 2.4);
        Self {
            curve: tone_curve(contrast, gamma),
            blur,
            ..self
        }
    }

    /// One row of RGB bytes from the radiance of the whole image.
    pub(crate) fn develop_row(
        &self,
        out: &mut [u8],
        row: usize,
        width: usize,
        radiance: &[Vec3],
        gain: f32,
        seed: u64,
    ) {
        let height = radiance.len() / width;
        let line = |r: usize| &radiance[r * width..(r + 1) * width];
        let (above, here, below) = (
            line(row.saturating_sub(1)),
            line(row),
            line((row + 1).min(height - 1)),
        );
        let (centre_x, centre_y) = (width as f32 * 0.5, height as f32 * 0.5);
        let dy = (row as f32 - centre_y) / centre_y;
        // One weight for the four neighbours: a light lens blur.
        let (side, middle) = (self.blur, 1.0 - 4.0 * self.blur);
        let middle = middle.max(0.2);
        let scale = gain / (middle + 4.0 * side);
        for (column, pixel) in out.chunks_exact_mut(3).enumerate() {
            let (l, r) = (column.saturating_sub(1), (column + 1).min(width - 1));
            let around = above[column] + below[column] + here[l] + here[r];
            let dx = (column as f32 - centre_x) / centre_x;
            let falloff = 1.0 - self.vignette * 0.5 * (dx * dx + dy * dy);
            let light = (here[column] * middle + around * side) * (scale * falloff);
            let bits = hash(seed, (row * width + column) as u64);
            for (k, (value, byte)) in [light.x, light.y, light.z]
                .into_iter()
                .zip(pixel)
                .enumerate()
            {
                let step = (value.clamp(0.0, 1.0) * (CURVE_STEPS - 1) as f32) as usize;
                let tone = self.curve[step];
                // Sum of three uniforms: near enough to a normal draw.
                let part = bits >> (21 * k);
                let draw = (part & 127) + ((part >> 7) & 127) + ((part >> 14) & 127);
                let noise = (draw as f32 - 190.5) * (1.0 / 63.5) * self.noise;
                let quiet = 1.0 - 0.7 * (tone * (1.0 / 255.0));
                *byte = (tone + noise * quiet).clamp(0.0, 255.0) as u8;
            }
        }
    }
}

/// Bytes of linear light in `CURVE_STEPS` steps from 0 to 1.
fn tone_curve(contrast: f32, gamma: f32) -> Vec<f32> {
    (0..CURVE_STEPS)
        .map(|i| {
            let linear = i as f32 / (CURVE_STEPS - 1) as f32;
            let plain = linear.powf(gamma);
            let bent = plain + (contrast - 1.0) * (plain - 0.45) * (1.0 - plain) * plain * 4.0;
            bent.clamp(0.0, 1.0) * 255.0
        })
        .collect()
}

/// Exposure drift of a frame: within an eighth of a stop, slow.
pub(crate) fn drift(seed: u64, seconds: f64) -> f32 {
    let slow = super::random::smooth_noise(seed ^ 71, seconds / 4.0) as f32;
    1.0 + 0.08 * slow
}
