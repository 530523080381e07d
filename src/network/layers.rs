//! A weights file's tensors as layers: batch norms folded, channels in the order they lie in memory.

use super::weights::{Weights, WeightsError};
use crate::ops::conv::{Conv, Epilogue, Geometry};
use crate::ops::{ChannelActivation, CpuPath, Strip};

/// Added to a batch norm's variance.
const BATCH_NORM_EPS: f64 = 1e-3;

/// For each channel as it lies in memory, its number in the reference network.
///
/// EDAB's channel shuffle only renames channels, so no data moves: the order changes, and with it the
/// rows and columns of the weights that come next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChannelOrder(Vec<usize>);

impl ChannelOrder {
    /// Returns the reference network's own order.
    pub(crate) fn natural(channels: usize) -> Self {
        Self((0..channels).collect())
    }

    /// Returns the order after the shuffle `out = [y[0::2], y[1::2]]`.
    pub(crate) fn shuffled(&self) -> Self {
        let half = self.0.len() / 2;
        Self(
            self.0
                .iter()
                .map(|c| if c % 2 == 0 { c / 2 } else { half + c / 2 })
                .collect(),
        )
    }

    /// Returns the order of `first` natural channels with this order's after them.
    pub(crate) fn after(&self, first: usize) -> Self {
        Self((0..first).chain(self.0.iter().map(|c| first + c)).collect())
    }

    /// Returns this order's channels with `last` natural ones after them.
    #[cfg(feature = "cuda")]
    pub(crate) fn before(&self, last: usize) -> Self {
        let len = self.0.len();
        Self(self.0.iter().copied().chain(len..len + last).collect())
    }

    /// Returns the number in the reference network of the channel at `place`.
    #[cfg(feature = "cuda")]
    pub(crate) fn channel(&self, place: usize) -> usize {
        self.0[place]
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns for each channel of the reference network where it lies in memory.
    pub(crate) fn places(&self) -> Vec<usize> {
        let mut places = vec![0; self.0.len()];
        for (place, &channel) in self.0.iter().enumerate() {
            places[channel] = place;
        }
        places
    }

    /// Returns per-channel `values` of the reference in this order.
    pub(crate) fn reorder<T: Copy>(&self, values: &[T]) -> Vec<T> {
        self.0.iter().map(|&channel| values[channel]).collect()
    }
}

/// A batch norm as `scale * x + shift`, in f64 so that folding it rounds once.
pub(crate) struct Norm {
    pub(crate) scale: Vec<f64>,
    pub(crate) shift: Vec<f64>,
}

/// A convolution with its batch norm folded in, and its PReLU.
pub(crate) struct FoldedConv {
    /// `[out, in, kh, kw]`.
    pub(crate) weights: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) slope: Vec<f32>,
}

/// The tensors below one name.
#[derive(Clone)]
pub(crate) struct Layers<'a> {
    weights: &'a Weights,
    prefix: String,
    path: CpuPath,
}

impl<'a> Layers<'a> {
    pub(crate) fn new(weights: &'a Weights, path: CpuPath) -> Self {
        Self {
            weights,
            prefix: String::new(),
            path,
        }
    }

    /// Returns the tensors below `name`.
    pub(crate) fn pp(&self, name: impl std::fmt::Display) -> Self {
        Self {
            prefix: format!("{}{name}.", self.prefix),
            ..self.clone()
        }
    }

    pub(crate) fn path(&self) -> CpuPath {
        self.path
    }

    /// Returns a tensor's elements; errs if it is missing or of another shape.
    pub(crate) fn values(&self, name: &str, shape: &[usize]) -> Result<&'a [f32], WeightsError> {
        self.weights
            .values(&format!("{}{name}", self.prefix), shape)
    }

    /// Returns the batch norm `name`.
    pub(crate) fn norm(&self, name: &str, channels: usize) -> Result<Norm, WeightsError> {
        let part = |part: &str| self.values(&format!("{name}.{part}"), &[channels]);
        let (gain, bias) = (part("weight")?, part("bias")?);
        let (mean, variance) = (part("running_mean")?, part("running_var")?);
        if variance.iter().any(|variance| *variance < 0.0) {
            let name = format!("{}{name}.running_var", self.prefix);
            return Err(WeightsError::NegativeVariance { name });
        }
        let scale: Vec<f64> = gain
            .iter()
            .zip(variance)
            .map(|(gain, variance)| {
                f64::from(*gain) / (f64::from(*variance) + BATCH_NORM_EPS).sqrt()
            })
            .collect();
        let shift = (bias.iter().zip(mean).zip(&scale))
            .map(|((bias, mean), scale)| f64::from(*bias) - f64::from(*mean) * scale)
            .collect();
        Ok(Norm { scale, shift })
    }

    /// Returns the batch norm and PReLU `name` over channels that lie in `order`.
    pub(crate) fn activation(
        &self,
        name: &str,
        order: &ChannelOrder,
    ) -> Result<ChannelActivation, WeightsError> {
        let layers = self.pp(name);
        let norm = layers.norm("bn", order.len())?;
        let rounded = |values: Vec<f64>| values.into_iter().map(|x| x as f32).collect::<Vec<_>>();
        Ok(ChannelActivation {
            scale: order.reorder(&rounded(norm.scale)),
            shift: order.reorder(&rounded(norm.shift)),
            slope: order.reorder(layers.values("act.weight", &[order.len()])?),
        })
    }

    /// Returns the convolution, batch norm and PReLU `name` (`conv_act` of the reference) that reads
    /// channels in `order`.
    pub(crate) fn conv_act(
        &self,
        name: &str,
        geometry: Geometry,
        order: &ChannelOrder,
        post: Option<ChannelActivation>,
    ) -> Result<Conv, WeightsError> {
        let FoldedConv {
            weights,
            bias,
            slope,
        } = self.folded(name, geometry, order)?;
        let epilogue = Epilogue { bias, slope, post };
        Ok(Conv::new(geometry, weights, None, epilogue, self.path))
    }

    /// Returns the weights of [`Layers::conv_act`], its batch norm folded into them.
    pub(crate) fn folded(
        &self,
        name: &str,
        geometry: Geometry,
        order: &ChannelOrder,
    ) -> Result<FoldedConv, WeightsError> {
        let layers = self.pp(name);
        let Geometry {
            in_channels,
            out_channels,
            kernel,
            ..
        } = geometry;
        let shape = [out_channels, in_channels, kernel[0], kernel[1]];
        let mut weights = columns_in_order(layers.values("0.weight", &shape)?, order, &geometry);
        let bias = fold(&mut weights, &layers.norm("1.bn", out_channels)?);
        let slope = layers.values("1.act.weight", &[out_channels])?.to_vec();
        Ok(FoldedConv {
            weights,
            bias,
            slope,
        })
    }

    /// Returns the depthwise strip, batch norm and PReLU `name` of three taps along one axis.
    pub(crate) fn strip(
        &self,
        name: &str,
        channels: usize,
        kernel: [usize; 2],
    ) -> Result<Strip, WeightsError> {
        let layers = self.pp(name);
        let mut weights = layers
            .values("0.weight", &[channels, 1, kernel[0], kernel[1]])?
            .to_vec();
        let bias = fold(&mut weights, &layers.norm("1.bn", channels)?);
        let (taps, _) = weights.as_chunks::<3>();
        let slope = layers.values("1.act.weight", &[channels])?.to_vec();
        Ok(Strip {
            taps: taps.to_vec(),
            bias,
            slope,
        })
    }

    /// Returns a 1x1 convolution of `weights` `[to, from]` with `bias`, empty for none.
    pub(crate) fn pointwise(&self, weights: Vec<f32>, bias: Vec<f32>, from: usize) -> Conv {
        let geometry = Geometry::square(from, weights.len() / from, 1, 1);
        let epilogue = Epilogue {
            bias,
            ..Epilogue::default()
        };
        Conv::new(geometry, weights, None, epilogue, self.path)
    }
}

/// Returns convolution weights `[out, in, kh, kw]` with their input channels in `order`.
pub(crate) fn columns_in_order(
    weights: &[f32],
    order: &ChannelOrder,
    geometry: &Geometry,
) -> Vec<f32> {
    let taps = geometry.kernel[0] * geometry.kernel[1];
    let rows = weights.chunks_exact(geometry.in_channels * taps);
    rows.flat_map(|row| order.0.iter().flat_map(|c| &row[c * taps..(c + 1) * taps]))
        .copied()
        .collect()
}

/// Returns weights `[out, n]` with their output channels in `order`.
pub(crate) fn rows_in_order(weights: &[f32], order: &ChannelOrder) -> Vec<f32> {
    let n = weights.len() / order.len();
    order
        .0
        .iter()
        .flat_map(|o| &weights[o * n..(o + 1) * n])
        .copied()
        .collect()
}

/// Multiplies each row of `weights` by the norm's scale; returns its shift as the bias.
pub(crate) fn fold(weights: &mut [f32], norm: &Norm) -> Vec<f32> {
    let n = weights.len() / norm.scale.len();
    for (row, scale) in weights.chunks_exact_mut(n).zip(&norm.scale) {
        row.iter_mut()
            .for_each(|weight| *weight = (f64::from(*weight) * scale) as f32);
    }
    norm.shift.iter().map(|shift| *shift as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shuffled_order_names_channels_as_the_reference_does() {
        // Values are the channels' numbers before the shuffle, [y[0::2], y[1::2]] after it.
        let order = ChannelOrder::natural(6).shuffled();
        let memory = [0, 1, 2, 3, 4, 5];
        let reference: Vec<i32> = order.places().iter().map(|&place| memory[place]).collect();
        assert_eq!(reference, [0, 2, 4, 1, 3, 5]);
        let twice = order.shuffled();
        let reference: Vec<i32> = twice.places().iter().map(|&place| memory[place]).collect();
        assert_eq!(reference, [0, 4, 3, 2, 1, 5]);
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn an_order_before_natural_channels_keeps_its_places() {
        let order = ChannelOrder(vec![1, 0]).before(2);
        assert_eq!(order, ChannelOrder(vec![1, 0, 2, 3]));
        assert_eq!(order.channel(0), 1);
    }

    #[test]
    fn an_order_after_natural_channels_keeps_its_places() {
        let order = ChannelOrder(vec![1, 0]).after(2);
        assert_eq!(order, ChannelOrder(vec![0, 1, 3, 2]));
        let geometry = Geometry::square(4, 1, 1, 1);
        assert_eq!(
            columns_in_order(&[10.0, 11.0, 12.0, 13.0], &order, &geometry),
            [10.0, 11.0, 13.0, 12.0]
        );
    }
}
