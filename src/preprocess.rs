//! A camera image as the network's input: resized, in the weights' colour order, normalised.

use rayon::prelude::*;

use crate::bilinear::{Tap, Taps};
use crate::image::ImageView;

/// Output rows that one task makes; neighbours within share converted source rows.
const BAND_ROWS: usize = 16;

/// How the weights want their input, from their metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct InputNormalisation {
    /// For each input channel, its place in RGB: `[0, 1, 2]` is `rgb`, `[2, 1, 0]` is `bgr`.
    pub rgb_places: [usize; 3],
    /// Mean of each input channel, on 0-255.
    pub mean: [f32; 3],
    /// Standard deviation of each input channel, on 0-255.
    pub std: [f32; 3],
}

/// Which part of the network's input the image fills, `[height, width]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputFit {
    /// Size of the network's input.
    pub network: [usize; 2],
    /// Size that the image is resized to; at most the network's. What is left at the right and
    /// at the bottom repeats the image's border.
    pub image: [usize; 2],
}

/// Returns the network's input `[3, H, W]`, f32, `(value - mean) / std`, for `image`.
///
/// Bilinear with half-pixel centres, aspect not kept; an image of the network's size is copied
/// exactly.
pub fn input_from_image(
    image: &ImageView<'_>,
    fit: InputFit,
    normalisation: &InputNormalisation,
) -> Vec<f32> {
    let [height, width] = fit.network;
    let rows = Taps::new(image.height(), fit.image[0]);
    let columns = Taps::new(image.width(), fit.image[1]);
    let mut input = vec![0.0; 3 * height * width];
    let (first, rest) = input.split_at_mut(height * width);
    let (second, third) = rest.split_at_mut(height * width);
    let band = BAND_ROWS * width;
    first
        .par_chunks_mut(band)
        .zip(second.par_chunks_mut(band))
        .zip(third.par_chunks_mut(band))
        .enumerate()
        .for_each(|(index, ((first, second), third))| {
            let mut source = SourceRows::new(image, &columns, normalisation);
            for row in 0..first.len() / width {
                let y = (index * BAND_ROWS + row).min(fit.image[0] - 1);
                let place = row * width..(row + 1) * width;
                source.write(
                    rows.at(y),
                    [
                        &mut first[place.clone()],
                        &mut second[place.clone()],
                        &mut third[place],
                    ],
                );
            }
        });
    input
}

/// Source rows, converted, resampled along the columns and normalised; the last two are kept.
struct SourceRows<'a> {
    image: &'a ImageView<'a>,
    columns: &'a Taps,
    normalisation: &'a InputNormalisation,
    rgb: Vec<[u8; 3]>,
    channel: Vec<f32>,
    /// The rows held, by source row, and their channels one after another.
    held: [(usize, Vec<f32>); 2],
}

impl<'a> SourceRows<'a> {
    fn new(
        image: &'a ImageView<'a>,
        columns: &'a Taps,
        normalisation: &'a InputNormalisation,
    ) -> Self {
        let row = || (usize::MAX, vec![0.0; 3 * columns.len()]);
        let width = image.width();
        Self {
            image,
            columns,
            normalisation,
            rgb: vec![[0; 3]; width],
            channel: vec![0.0; width],
            held: [row(), row()],
        }
    }

    /// Writes the row at `tap` to the three channels' output rows, the border repeated.
    fn write(&mut self, tap: Tap, output: [&mut [f32]; 3]) {
        let slots = [self.hold(tap.low), self.hold(tap.high)];
        let width = self.columns.len();
        for (c, output) in output.into_iter().enumerate() {
            let [low, high] = slots.map(|slot| &self.held[slot].1[c * width..(c + 1) * width]);
            let (inside, border) = output.split_at_mut(width);
            tap.mix_rows(low, high, inside);
            border.fill(inside[width - 1]);
        }
    }

    /// Returns the slot that holds source row `y`, converting it if it is not there.
    ///
    /// Rows come in rising order and a tap's two are equal or neighbours, so a row's parity
    /// gives it a slot that the other row of the tap does not need.
    fn hold(&mut self, y: usize) -> usize {
        let slot = y % 2;
        if self.held[slot].0 == y {
            return slot;
        }
        self.image.rgb_row(y, &mut self.rgb);
        let width = self.columns.len();
        let InputNormalisation {
            rgb_places,
            mean,
            std,
        } = self.normalisation;
        for c in 0..3 {
            let (place, mean, scale) = (rgb_places[c], mean[c], 1.0 / std[c]);
            for (value, rgb) in self.channel.iter_mut().zip(&self.rgb) {
                *value = (f32::from(rgb[place]) - mean) * scale;
            }
            let output = &mut self.held[slot].1[c * width..(c + 1) * width];
            self.columns.resample(&self.channel, output);
        }
        self.held[slot].0 = y;
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{ImageError, PixelFormat};

    const PLAIN: InputNormalisation = InputNormalisation {
        rgb_places: [0, 1, 2],
        mean: [0.0; 3],
        std: [1.0; 3],
    };

    fn pixels(n: usize) -> Vec<u8> {
        (0..n).map(|i| (i * 37 % 251) as u8).collect()
    }

    #[test]
    fn an_image_of_the_networks_size_is_copied_channel_by_channel() -> Result<(), ImageError> {
        let bytes = pixels(3 * 5 * 40);
        let view = ImageView::from_rgb8(5, 40, &bytes)?;
        let fit = InputFit {
            network: [40, 5],
            image: [40, 5],
        };
        let bgr = InputNormalisation {
            rgb_places: [2, 1, 0],
            mean: [8.0; 3],
            std: [2.0; 3],
        };
        let input = input_from_image(&view, fit, &bgr);
        for (i, value) in input.iter().enumerate() {
            let (c, pixel) = (i / 200, i % 200);
            assert_eq!(*value, (f32::from(bytes[3 * pixel + 2 - c]) - 8.0) / 2.0);
        }
        Ok(())
    }

    #[test]
    fn resizing_agrees_with_the_rule_at_every_pixel() -> Result<(), ImageError> {
        let (w, h) = (23, 51);
        let bytes = pixels(w * h);
        let view = ImageView::new(PixelFormat::Mono8, w, h, w, &bytes)?;
        for image in [[17, 9], [51, 40], [120, 23], [1, 1]] {
            let input = input_from_image(
                &view,
                InputFit {
                    network: image,
                    image,
                },
                &PLAIN,
            );
            let at = |o: usize, n_in: usize, n_out: usize| {
                let at = ((o as f64 + 0.5) * n_in as f64 / n_out as f64 - 0.5)
                    .clamp(0.0, n_in as f64 - 1.0);
                (at as usize, (at as usize + 1).min(n_in - 1), at.fract())
            };
            for y in 0..image[0] {
                for x in 0..image[1] {
                    let (y0, y1, fy) = at(y, h, image[0]);
                    let (x0, x1, fx) = at(x, w, image[1]);
                    let p = |y: usize, x: usize| f64::from(bytes[y * w + x]);
                    let want = (1.0 - fy) * ((1.0 - fx) * p(y0, x0) + fx * p(y0, x1))
                        + fy * ((1.0 - fx) * p(y1, x0) + fx * p(y1, x1));
                    let got = f64::from(input[y * image[1] + x]);
                    // Two f32 mixes of values up to 255: a few units in the last place.
                    assert!((got - want).abs() < 1e-4, "{image:?} {y} {x}: {got} {want}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn padding_repeats_the_border() -> Result<(), ImageError> {
        let bytes = pixels(3 * 3);
        let view = ImageView::new(PixelFormat::Mono8, 3, 3, 3, &bytes)?;
        let input = input_from_image(
            &view,
            InputFit {
                network: [5, 6],
                image: [3, 3],
            },
            &PLAIN,
        );
        for y in 0..5 {
            for x in 0..6 {
                assert_eq!(input[y * 6 + x], f32::from(bytes[y.min(2) * 3 + x.min(2)]));
            }
        }
        Ok(())
    }
}
