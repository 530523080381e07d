//! Layer norm over the channels of each pixel.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape};
use rayon::prelude::*;

use super::rows::bands_of_map;
use super::tensor::{Map, output};

/// Added to each pixel's variance.
const EPS: f64 = 1e-5;

/// `(x - mean) / sqrt(variance + 1e-5) * weight + bias` over the channels of each pixel of `[1, c, h, w]`.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    /// One factor a channel.
    pub weight: Vec<f32>,
    /// One addend a channel.
    pub bias: Vec<f32>,
}

impl CustomOp1 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let map = Map::with_channels(self.name(), storage, layout, self.weight.len())?;
        let [height, width] = map.size;
        let mut out = vec![0.0; map.data.len()];
        let bands = bands_of_map(&mut out, height, width, 1);
        bands.into_par_iter().for_each(|mut band| {
            let y = band.first_row;
            let rows = map.rows();
            let row = |c| rows.row(c, y as isize).unwrap_or_default();
            // Pixels side by side, in f64: sums over the channels of each.
            let mut mean = vec![0.0; width];
            let mut factor = vec![0.0; width];
            for c in 0..map.channels {
                for (sum, x) in mean.iter_mut().zip(row(c)) {
                    *sum += f64::from(*x);
                }
            }
            mean.iter_mut().for_each(|sum| *sum /= map.channels as f64);
            for c in 0..map.channels {
                for ((sum, mean), x) in factor.iter_mut().zip(&mean).zip(row(c)) {
                    *sum += (f64::from(*x) - mean).powi(2);
                }
            }
            for sum in &mut factor {
                *sum = 1.0 / (*sum / map.channels as f64 + EPS).sqrt();
            }
            for (c, out) in band.row(y).into_iter().enumerate() {
                let (weight, bias) = (f64::from(self.weight[c]), f64::from(self.bias[c]));
                for (((out, x), mean), factor) in out.iter_mut().zip(row(c)).zip(&mean).zip(&factor)
                {
                    *out = ((f64::from(*x) - mean) * factor * weight + bias) as f32;
                }
            }
        });
        Ok(output(out, map.channels, map.size))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    #[test]
    fn each_pixel_has_the_bias_as_mean_and_the_weight_as_deviation() -> anyhow::Result<()> {
        let (channels, height, width) = (48, 3, 5);
        let values: Vec<f32> = (0..channels * height * width)
            .map(|i| 3.0 + (i as f32 * 0.7).sin())
            .collect();
        let map = Tensor::from_vec(values, (1, channels, height, width), &Device::Cpu)?;
        let norm = LayerNorm {
            weight: vec![2.0; channels],
            bias: vec![-1.0; channels],
        };
        let out: Vec<f32> = map.apply_op1_no_bwd(&norm)?.flatten_all()?.to_vec1()?;
        for pixel in 0..height * width {
            let of_pixel = || (0..channels).map(|c| f64::from(out[c * height * width + pixel]));
            let mean = of_pixel().sum::<f64>() / channels as f64;
            let variance = of_pixel().map(|x| (x - mean).powi(2)).sum::<f64>() / channels as f64;
            // The deviation lacks what EPS takes from a variance of about 0.5.
            assert!((mean + 1.0).abs() < 1e-6 && (variance.sqrt() - 2.0).abs() < 1e-4);
        }
        Ok(())
    }
}
