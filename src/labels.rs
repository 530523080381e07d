//! Logits to label masks: resized bilinearly to the image, then the largest class a pixel.

use rayon::prelude::*;

use crate::bilinear::Taps;
use crate::error::{Error, Result};
use crate::preprocess::InputFit;

/// Mask rows that one task makes; neighbours within share resampled logit rows.
const BAND_ROWS: usize = 16;

/// The classes of a set of weights, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassTable {
    /// Names, by class id.
    pub names: Vec<String>,
    /// Colours to draw the classes in, RGB, by class id.
    pub palette: Vec<[u8; 3]>,
    /// Whether a vehicle may drive there, by class id.
    pub drivable: Vec<bool>,
    /// The id that marks pixels without a label in ground truth; never in a mask.
    pub ignore_id: u8,
}

impl ClassTable {
    /// Returns the number of classes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Returns whether there is no class.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// A class id for every pixel of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMask {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Class ids, `[height, width]`, rows packed; every value is below the number of classes.
    pub ids: Vec<u8>,
}

/// How sure the network is of every pixel's class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confidence {
    /// `round(255 x largest softmax)` after temperature, `[height, width]`, rows packed.
    pub values: Vec<u8>,
}

/// The network's output before its last, bilinear upsampling.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    /// Classes, at least 1 and at most 255.
    pub classes: usize,
    /// Rows.
    pub height: usize,
    /// Values a row.
    pub width: usize,
    /// Before softmax, `[classes, height, width]`.
    pub values: Vec<f32>,
}

impl Logits {
    /// Adds to every class's logits its offset, `[classes]`: bilinear shares sum to 1, so the image's
    /// logits move by as much, up to rounding. Those of a class whose offset is 0 stay as they are.
    ///
    /// Errs if there is not one offset a class.
    pub fn add_offsets(&mut self, offsets: &[f32]) -> Result<()> {
        if offsets.len() != self.classes {
            return Err(Error::Shape {
                what: "the logit offsets".to_owned(),
                expected: format!("[{}]", self.classes),
                got: vec![offsets.len()],
            });
        }
        let planes = self.values.chunks_exact_mut(self.height * self.width);
        for (plane, offset) in planes.zip(offsets).filter(|(_, offset)| **offset != 0.0) {
            plane.iter_mut().for_each(|logit| *logit += offset);
        }
        Ok(())
    }
}

/// Returns the mask of an image of `width` x `height` pixels, and its confidence where
/// `temperature` is given.
///
/// The logits are resized to the network's input, cropped to what the image filled of it, resized
/// to the image, and compared; of equal ones the lowest id wins. Errs if a logit is not finite.
pub fn mask_from_logits(
    logits: &Logits,
    fit: InputFit,
    [height, width]: [usize; 2],
    temperature: Option<f32>,
) -> Result<(LabelMask, Option<Confidence>)> {
    if logits.values.iter().any(|value| !value.is_finite()) {
        return Err(Error::NotFinite { what: "logits" });
    }
    let resampling = Resampling::new(logits, fit, [height, width]);
    let mut ids = vec![0; height * width];
    let mut values = vec![
        0;
        if temperature.is_some() {
            height * width
        } else {
            0
        }
    ];
    let band = BAND_ROWS * width;
    let bands = height.div_ceil(BAND_ROWS);
    let ids_of_bands: Vec<_> = ids.chunks_mut(band).collect();
    let mut values_of_bands: Vec<_> = values.chunks_mut(band).map(Some).collect();
    values_of_bands.resize_with(bands, || None);
    ids_of_bands
        .into_par_iter()
        .zip(values_of_bands)
        .enumerate()
        .for_each(|(index, (ids, mut values))| {
            let mut rows = LogitRows::new(&resampling);
            for (row, ids) in ids.chunks_exact_mut(width).enumerate() {
                rows.load(index * BAND_ROWS + row);
                rows.write_ids(ids);
                if let (Some(values), Some(temperature)) = (&mut values, temperature) {
                    rows.write_confidence(temperature, &mut values[row * width..(row + 1) * width]);
                }
            }
        });
    let confidence = temperature.map(|_| Confidence { values });
    Ok((LabelMask { width, height, ids }, confidence))
}

/// The two resamplings, from the logits to the network's input and from there to the image.
struct Resampling<'a> {
    logits: &'a Logits,
    network_rows: Taps,
    network_columns: Taps,
    image_rows: Taps,
    image_columns: Taps,
}

impl<'a> Resampling<'a> {
    fn new(logits: &'a Logits, fit: InputFit, [height, width]: [usize; 2]) -> Self {
        Self {
            logits,
            network_rows: Taps::new(logits.height, fit.network[0]).cropped(fit.image[0]),
            network_columns: Taps::new(logits.width, fit.network[1]).cropped(fit.image[1]),
            image_rows: Taps::new(fit.image[0], height),
            image_columns: Taps::new(fit.image[1], width),
        }
    }
}

/// One image row of logits for every class, and the network rows that it mixes.
struct LogitRows<'a> {
    resampling: &'a Resampling<'a>,
    /// Network rows held, by their index, `[classes, network width]` each.
    held: [(usize, Vec<f32>); 2],
    narrow: Vec<f32>,
    mixed: Vec<f32>,
    /// `[classes, width]`.
    row: Vec<f32>,
    largest: Vec<f32>,
}

impl<'a> LogitRows<'a> {
    fn new(resampling: &'a Resampling<'a>) -> Self {
        let classes = resampling.logits.classes;
        let network_width = resampling.network_columns.len();
        let width = resampling.image_columns.len();
        let held = || (usize::MAX, vec![0.0; classes * network_width]);
        Self {
            resampling,
            held: [held(), held()],
            narrow: vec![0.0; resampling.logits.width],
            mixed: vec![0.0; network_width],
            row: vec![0.0; classes * width],
            largest: vec![0.0; width],
        }
    }

    /// Makes image row `y` the current one.
    fn load(&mut self, y: usize) {
        let tap = self.resampling.image_rows.at(y);
        let slots = [self.hold(tap.low), self.hold(tap.high)];
        let network_width = self.resampling.network_columns.len();
        let width = self.resampling.image_columns.len();
        for (class, row) in self.row.chunks_exact_mut(width).enumerate() {
            let place = class * network_width..(class + 1) * network_width;
            let [low, high] = slots.map(|slot| &self.held[slot].1[place.clone()]);
            tap.mix_rows(low, high, &mut self.mixed);
            self.resampling.image_columns.resample(&self.mixed, row);
        }
    }

    /// Returns the slot that holds network row `y`; a row's parity is its slot, since the two
    /// rows of a tap are equal or neighbours.
    fn hold(&mut self, y: usize) -> usize {
        let slot = y % 2;
        if self.held[slot].0 == y {
            return slot;
        }
        let Resampling {
            logits,
            network_rows,
            network_columns,
            ..
        } = self.resampling;
        let tap = network_rows.at(y);
        let planes = logits.values.chunks_exact(logits.height * logits.width);
        let outputs = self.held[slot].1.chunks_exact_mut(network_columns.len());
        for (plane, output) in planes.zip(outputs) {
            let [low, high] = [tap.low, tap.high].map(|y| &plane[y * logits.width..]);
            tap.mix_rows(low, high, &mut self.narrow);
            network_columns.resample(&self.narrow, output);
        }
        self.held[slot].0 = y;
        slot
    }

    fn write_ids(&mut self, ids: &mut [u8]) {
        let mut classes = self.row.chunks_exact(ids.len());
        if let Some(first) = classes.next() {
            self.largest.copy_from_slice(first);
        }
        ids.fill(0);
        for (class, logits) in (1..=u8::MAX).zip(classes) {
            for ((id, largest), logit) in ids.iter_mut().zip(&mut self.largest).zip(logits) {
                if *logit > *largest {
                    *largest = *logit;
                    *id = class;
                }
            }
        }
    }

    /// Writes the confidence of the classes that `write_ids` found.
    fn write_confidence(&self, temperature: f32, values: &mut [u8]) {
        let width = values.len();
        for (x, value) in values.iter_mut().enumerate() {
            let largest = self.largest[x];
            let sum: f32 = (self.row.iter().skip(x).step_by(width))
                .map(|logit| ((logit - largest) / temperature).exp())
                .sum();
            *value = (255.0 / sum).round() as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(classes: usize, height: usize, width: usize) -> Logits {
        let values = (0..classes * height * width)
            .map(|i| ((i * 7919 % 1013) as f32).sin() * 4.0)
            .collect();
        Logits {
            classes,
            height,
            width,
            values,
        }
    }

    /// Bilinear resize of one plane, written pixel by pixel in f64.
    fn resized(plane: &[f64], from: [usize; 2], to: [usize; 2]) -> Vec<f64> {
        let tap = |o: usize, n_in: usize, n_out: usize| {
            let at =
                ((o as f64 + 0.5) * n_in as f64 / n_out as f64 - 0.5).clamp(0.0, n_in as f64 - 1.0);
            (at as usize, (at as usize + 1).min(n_in - 1), at.fract())
        };
        let mut out = Vec::new();
        for y in 0..to[0] {
            for x in 0..to[1] {
                let (y0, y1, fy) = tap(y, from[0], to[0]);
                let (x0, x1, fx) = tap(x, from[1], to[1]);
                let p = |y: usize, x: usize| plane[y * from[1] + x];
                out.push(
                    (1.0 - fy) * ((1.0 - fx) * p(y0, x0) + fx * p(y0, x1))
                        + fy * ((1.0 - fx) * p(y1, x0) + fx * p(y1, x1)),
                );
            }
        }
        out
    }

    #[test]
    fn masks_equal_resize_then_argmax_and_confidence_is_the_largest_softmax() -> Result<()> {
        let logits = logits(5, 9, 11);
        for (network, image, size) in [
            ([18, 22], [18, 22], [18, 22]),
            ([18, 22], [18, 22], [37, 50]),
            ([17, 21], [17, 21], [9, 5]),
            ([18, 22], [15, 20], [15, 20]),
        ] {
            let fit = InputFit { network, image };
            let (mask, confidence) = mask_from_logits(&logits, fit, size, Some(1.5))?;
            let confidence = confidence.map(|c| c.values).unwrap_or_default();
            let planes: Vec<_> = logits
                .values
                .chunks_exact(99)
                .map(|plane| {
                    let plane: Vec<_> = plane.iter().map(|v| f64::from(*v)).collect();
                    let full = resized(&plane, [9, 11], network);
                    let kept: Vec<_> = (0..image[0])
                        .flat_map(|y| full[y * network[1]..][..image[1]].to_vec())
                        .collect();
                    resized(&kept, image, size)
                })
                .collect();
            for i in 0..size[0] * size[1] {
                let largest = planes.iter().map(|p| p[i]).fold(f64::MIN, f64::max);
                let got = planes[usize::from(mask.ids[i])][i];
                // f32 against f64: a tie within rounding may go either way.
                assert!(got >= largest - 1e-5, "{size:?} pixel {i}: {got} {largest}");
                let sum: f64 = planes.iter().map(|p| ((p[i] - largest) / 1.5).exp()).sum();
                assert!((f64::from(confidence[i]) - 255.0 / sum).abs() <= 0.501);
            }
        }
        Ok(())
    }

    #[test]
    fn offsets_move_whole_classes_and_zeros_move_no_bit() -> Result<()> {
        let before = logits(3, 2, 5);
        let mut after = before.clone();
        after.add_offsets(&[0.0, -0.0, 0.0])?;
        let bits = |logits: &Logits| -> Vec<u32> {
            logits.values.iter().map(|value| value.to_bits()).collect()
        };
        assert_eq!(bits(&after), bits(&before));
        after.add_offsets(&[0.0, -0.5, 2.0])?;
        for (i, (after, before)) in after.values.iter().zip(&before.values).enumerate() {
            assert_eq!(*after, before + [0.0, -0.5, 2.0][i / 10], "{i}");
        }
        assert!(matches!(
            after.add_offsets(&[1.0; 4]),
            Err(Error::Shape { .. })
        ));
        Ok(())
    }

    #[test]
    fn an_offset_decides_the_label_and_its_confidence_is_that_labels() -> Result<()> {
        // Wherever the first class led by less than 1, the second one wins, and by as much as is left.
        let mut logits = Logits {
            classes: 2,
            height: 1,
            width: 3,
            values: vec![3., 2.25, 1., 1., 2., 3.],
        };
        let fit = InputFit {
            network: [1, 3],
            image: [1, 3],
        };
        logits.add_offsets(&[-1.0, 0.0])?;
        let (mask, confidence) = mask_from_logits(&logits, fit, [1, 3], Some(2.0))?;
        assert_eq!(mask.ids, [0, 1, 1]);
        let sure = |lead: f64| (255.0 / (1.0 + (-lead / 2.0).exp())).round() as u8;
        let confidence = confidence.map(|confidence| confidence.values);
        assert_eq!(confidence, Some([1.0, 0.75, 3.0].map(sure).to_vec()));
        Ok(())
    }

    #[test]
    fn all_negative_logits_still_find_the_largest_and_ties_the_lowest_id() -> Result<()> {
        let logits = Logits {
            classes: 3,
            height: 1,
            width: 2,
            values: vec![-9., -5., -3., -5., -4., -5.],
        };
        let fit = InputFit {
            network: [1, 2],
            image: [1, 2],
        };
        let (mask, confidence) = mask_from_logits(&logits, fit, [1, 2], None)?;
        assert_eq!((mask.ids, confidence), (vec![1, 0], None));
        Ok(())
    }

    #[test]
    fn logits_that_are_not_finite_give_no_mask() {
        let mut bad = logits(2, 2, 2);
        bad.values[3] = f32::NAN;
        let fit = InputFit {
            network: [4, 4],
            image: [4, 4],
        };
        assert!(matches!(
            mask_from_logits(&bad, fit, [4, 4], None),
            Err(Error::NotFinite { .. })
        ));
    }
}
