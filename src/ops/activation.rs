//! A batch norm and PReLU per channel, on its own or fused into what is beside it.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape};
use rayon::prelude::*;

use super::tensor::{Map, output};

/// A per-channel `prelu(scale * x + shift)`: a batch norm without its statistics, and what follows it.
///
/// As a Candle op it maps `[1, c, h, w]` to the same shape.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelActivation {
    /// One factor a channel.
    pub scale: Vec<f32>,
    /// One addend a channel.
    pub shift: Vec<f32>,
    /// One PReLU slope a channel.
    pub slope: Vec<f32>,
}

impl ChannelActivation {
    /// Returns scale, shift and slope of channel `c`.
    #[inline(always)]
    pub(crate) fn of_channel(&self, c: usize) -> [f32; 3] {
        [self.scale[c], self.shift[c], self.slope[c]]
    }

    /// Applies it to values of channel `c`.
    #[inline(always)]
    pub(crate) fn apply(&self, c: usize, values: &mut [f32]) {
        let [scale, shift, slope] = self.of_channel(c);
        for value in values {
            *value = prelu(scale * *value + shift, slope);
        }
    }
}

/// `x` where positive, `slope * x` where negative; NaN stays NaN.
#[inline(always)]
pub(crate) fn prelu(x: f32, slope: f32) -> f32 {
    if x < 0.0 { slope * x } else { x }
}

impl CustomOp1 for ChannelActivation {
    fn name(&self) -> &'static str {
        "channel-activation"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let map = Map::with_channels(self.name(), storage, layout, self.slope.len())?;
        let mut out = map.data.to_vec();
        let planes = out.par_chunks_exact_mut(map.area());
        planes
            .enumerate()
            .for_each(|(c, plane)| self.apply(c, plane));
        Ok(output(out, map.channels, map.size))
    }
}
