//! The convolution per element, as its definition says.

use super::Conv;
use crate::ops::activation::ChannelActivation;

impl Conv {
    /// Computes the convolution of `input` `[in, h, w]` per element in f64: the specification that the
    /// fast paths are tested against. Returns `[out, h', w']`.
    pub fn reference(
        &self,
        input: &[f32],
        [height, width]: [usize; 2],
        residual: Option<&[f32]>,
    ) -> Vec<f64> {
        let geometry = &self.geometry;
        let [out_height, out_width] = geometry.out_size([height, width]);
        let [kernel_rows, kernel_columns] = geometry.kernel;
        let mut out = Vec::with_capacity(geometry.out_channels * out_height * out_width);
        for o in 0..geometry.out_channels {
            for (y, x) in (0..out_height).flat_map(|y| (0..out_width).map(move |x| (y, x))) {
                let mut sum = 0.0;
                for c in 0..geometry.in_channels {
                    for (i, j) in
                        (0..kernel_rows).flat_map(|i| (0..kernel_columns).map(move |j| (i, j)))
                    {
                        let [row, column] = [(y, i, 0), (x, j, 1)].map(|(at, tap, axis)| {
                            (at * geometry.stride + tap * geometry.dilation[axis])
                                .wrapping_sub(geometry.padding(axis))
                        });
                        if row < height && column < width {
                            let value = f64::from(input[(c * height + row) * width + column]);
                            let value = activated(self.prologue.as_ref(), c, value);
                            let tap = (o * geometry.in_channels + c) * geometry.taps()
                                + i * kernel_columns
                                + j;
                            sum += f64::from(self.weights[tap]) * value;
                        }
                    }
                }
                let epilogue = &self.epilogue;
                sum += f64::from(epilogue.bias.get(o).copied().unwrap_or(0.0));
                if let Some(&slope) = epilogue.slope.get(o) {
                    sum = prelu(sum, slope);
                }
                if let Some(residual) = residual {
                    sum += f64::from(residual[(o * out_height + y) * out_width + x]);
                }
                out.push(activated(epilogue.post.as_ref(), o, sum));
            }
        }
        out
    }
}

fn activated(activation: Option<&ChannelActivation>, c: usize, value: f64) -> f64 {
    activation.map_or(value, |a| {
        prelu(
            f64::from(a.scale[c]) * value + f64::from(a.shift[c]),
            a.slope[c],
        )
    })
}

fn prelu(value: f64, slope: f32) -> f64 {
    if value < 0.0 {
        f64::from(slope) * value
    } else {
        value
    }
}
