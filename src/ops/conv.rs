//! Dense convolution of `[c, h, w]` f32 maps, row by row, with what stands before and after it fused.
//!
//! `out = post(prelu(w * pre(x) + bias) + residual)`, each of `pre`, `prelu`, `residual` and `post`
//! optional, accumulated in f32 over input channels, then kernel rows, then kernel columns.
//! [`reference`](Conv::reference) is the same per element, in f64.

use super::activation::ChannelActivation;
use super::rows::Rows;
use super::simd::{CpuPath, Vector};

mod kernel;
mod reference;

/// A convolution's geometry. Axes are `[rows, columns]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Channels of the map it reads.
    pub in_channels: usize,
    /// Channels of the map it writes.
    pub out_channels: usize,
    /// Taps on each axis, odd.
    pub kernel: [usize; 2],
    /// Step on both axes, 1 or 2.
    pub stride: usize,
    /// Distance of two taps, in pixels. The zero padding is `dilation * (kernel / 2)`.
    pub dilation: [usize; 2],
}

impl Geometry {
    /// Returns the geometry of a square kernel without dilation.
    pub fn square(in_channels: usize, out_channels: usize, kernel: usize, stride: usize) -> Self {
        Self {
            in_channels,
            out_channels,
            kernel: [kernel; 2],
            stride,
            dilation: [1; 2],
        }
    }

    /// Returns the geometry of a kernel of `[rows, columns]` taps, stride 1, without dilation.
    pub fn strip(in_channels: usize, out_channels: usize, kernel: [usize; 2]) -> Self {
        Self {
            in_channels,
            out_channels,
            kernel,
            stride: 1,
            dilation: [1; 2],
        }
    }

    /// Returns the output's `[h, w]` for an input of `[h, w]`.
    pub fn out_size(&self, size: [usize; 2]) -> [usize; 2] {
        size.map(|n| n.div_ceil(self.stride))
    }

    fn padding(&self, axis: usize) -> usize {
        self.dilation[axis] * (self.kernel[axis] / 2)
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
}

/// What is added to and done after a convolution, per output channel.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Epilogue {
    /// One addend a channel; empty for none.
    pub bias: Vec<f32>,
    /// One PReLU slope a channel; empty for no activation.
    pub slope: Vec<f32>,
    /// After the residual.
    pub post: Option<ChannelActivation>,
}

/// A convolution with its weights packed for one [`CpuPath`].
#[derive(Debug, Clone)]
pub struct Conv {
    geometry: Geometry,
    path: CpuPath,
    /// Plain weights `[out, in, kh, kw]`, for the reference.
    weights: Vec<f32>,
    /// `[out / OUT_BLOCK, in, kh, kw, OUT_BLOCK]`, the last block filled up with zeros.
    packed: Vec<f32>,
    prologue: Option<ChannelActivation>,
    epilogue: Epilogue,
}

impl Conv {
    /// Packs `weights` `[out, in, kh, kw]`.
    ///
    /// # Panics
    /// If a length does not fit `geometry`, a kernel side is even, or the stride is neither 1 nor 2:
    /// the network's own shapes, which its weights were checked against.
    pub fn new(
        geometry: Geometry,
        weights: Vec<f32>,
        prologue: Option<ChannelActivation>,
        epilogue: Epilogue,
        path: CpuPath,
    ) -> Self {
        let Geometry {
            in_channels,
            out_channels,
            kernel,
            stride,
            ..
        } = geometry;
        assert!(kernel.iter().all(|k| k % 2 == 1) && (1..=2).contains(&stride));
        assert_eq!(weights.len(), out_channels * in_channels * geometry.taps());
        for (values, channels) in [
            (Some(&epilogue.bias).filter(|v| !v.is_empty()), out_channels),
            (
                Some(&epilogue.slope).filter(|v| !v.is_empty()),
                out_channels,
            ),
            (prologue.as_ref().map(|p| &p.slope), in_channels),
            (epilogue.post.as_ref().map(|p| &p.slope), out_channels),
        ] {
            assert!(values.is_none_or(|v| v.len() == channels));
        }
        let per_out = in_channels * geometry.taps();
        let block = kernel::out_block(path);
        let mut packed = vec![0.0; out_channels.div_ceil(block) * block * per_out];
        for (o, row) in weights.chunks_exact(per_out).enumerate() {
            let (b, lane) = (o / block, o % block);
            for (k, &weight) in row.iter().enumerate() {
                packed[(b * per_out + k) * block + lane] = weight;
            }
        }
        Self {
            geometry,
            path,
            weights,
            packed,
            prologue,
            epilogue,
        }
    }

    /// Returns the geometry.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Returns the instruction set that the weights are packed for.
    pub fn path(&self) -> CpuPath {
        self.path
    }

    /// Returns the input rows that output row `y` reads, some perhaps outside the map.
    pub(crate) fn rows_read(&self, y: usize) -> std::ops::Range<isize> {
        let first = (y * self.geometry.stride) as isize - self.geometry.padding(0) as isize;
        let span = (self.geometry.kernel[0] - 1) * self.geometry.dilation[0] + 1;
        first..first + span as isize
    }

    /// Writes output row `y`: `out[o]` is the row of output channel `o`.
    #[inline(always)]
    pub(crate) fn row<V: Vector>(
        &self,
        input: &Rows<'_>,
        y: usize,
        residual: Option<&Rows<'_>>,
        out: &mut [&mut [f32]],
        patch: &mut Vec<f32>,
    ) {
        kernel::row::<V>(self, input, y, residual, out, patch);
    }
}
