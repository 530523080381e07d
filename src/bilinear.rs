//! Bilinear resampling along one axis: half-pixel centres, borders repeated, no prefilter.
//!
//! The same rule as `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`:
//! output `o` of `n_out` reads at `(o + 0.5) * n_in / n_out - 0.5`.

/// For each output place, the two input places that it mixes and the second one's share.
#[derive(Clone, Debug, PartialEq)]
pub struct Taps {
    taps: Vec<Tap>,
    identity: bool,
}

/// Where one output reads: `(1 - share) * input[low] + share * input[high]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tap {
    /// The input place at or before.
    pub low: usize,
    /// The input place after, or `low` again at the border.
    pub high: usize,
    /// The share of `high`, in `[0, 1)`.
    pub share: f32,
}

impl Taps {
    /// Returns the taps from `n_in` (at least one) places to `n_out`.
    pub fn new(n_in: usize, n_out: usize) -> Self {
        let scale = n_in as f64 / n_out as f64;
        let last = n_in.saturating_sub(1);
        let taps = (0..n_out)
            .map(|out| {
                let at = ((out as f64 + 0.5) * scale - 0.5).max(0.0);
                let low = (at as usize).min(last);
                Tap {
                    low,
                    high: (low + 1).min(last),
                    share: (at - low as f64) as f32,
                }
            })
            .collect();
        Self {
            taps,
            identity: n_in == n_out,
        }
    }

    /// Returns the first `n` taps.
    pub fn cropped(mut self, n: usize) -> Self {
        self.taps.truncate(n);
        self
    }

    /// Returns the tap of output `out`.
    pub fn at(&self, out: usize) -> Tap {
        self.taps[out]
    }

    /// Returns the number of output places.
    pub fn len(&self) -> usize {
        self.taps.len()
    }

    /// Returns whether there is no output place.
    pub fn is_empty(&self) -> bool {
        self.taps.is_empty()
    }

    /// Writes the resampled `input` row to `output`, one value a tap.
    pub fn resample(&self, input: &[f32], output: &mut [f32]) {
        if self.identity {
            let n = self.taps.len();
            output[..n].copy_from_slice(&input[..n]);
            return;
        }
        for (out, tap) in output.iter_mut().zip(&self.taps) {
            *out = lerp(input[tap.low], input[tap.high], tap.share);
        }
    }
}

impl Tap {
    /// Writes the mix of two rows of one length to `output`.
    pub fn mix_rows(&self, low: &[f32], high: &[f32], output: &mut [f32]) {
        if self.share == 0.0 {
            output.copy_from_slice(&low[..output.len()]);
            return;
        }
        for ((out, low), high) in output.iter_mut().zip(low).zip(high) {
            *out = lerp(*low, *high, self.share);
        }
    }
}

fn lerp(low: f32, high: f32, share: f32) -> f32 {
    low * (1.0 - share) + high * share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resampled(input: &[f32], n: usize) -> Vec<f32> {
        let mut output = vec![f32::NAN; n];
        Taps::new(input.len(), n).resample(input, &mut output);
        output
    }

    #[test]
    fn resampling_agrees_with_torch() {
        // F.interpolate(torch.tensor([[[1., 2., 4.]]]), size=n, mode="linear")
        assert_eq!(
            resampled(&[1.0, 2.0, 4.0], 6),
            [1.0, 1.25, 1.75, 2.5, 3.5, 4.0]
        );
        assert_eq!(resampled(&[1.0, 2.0, 4.0], 1), [2.0]);
        assert_eq!(resampled(&[1.0, 2.0, 4.0], 2), [1.25, 3.5]);
        assert_eq!(resampled(&[3.0], 4), [3.0; 4]);
    }

    #[test]
    fn the_same_size_is_the_same_bytes() {
        let row: Vec<f32> = (0..37).map(|i| (i as f32).sin()).collect();
        assert_eq!(resampled(&row, 37), row);
    }
}
