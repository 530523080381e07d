//! The weights of EDABs as their kernels read them: `EdabWeights` of kernels/edab_weights.cuh.

use half::f16;

use crate::engine::pack::{fragments_from_conv, fragments_from_matrix};
use crate::error::Result;
use crate::network::layers::{ChannelOrder, Layers, columns_in_order, rows_in_order};
use crate::ops::ChannelActivation;
use crate::ops::conv::Geometry;

/// Bytes of one packed 16x8 operand.
const FRAGMENT: usize = 256;

/// Returns the bytes of one step's weights: `EdabWeights<channels>::bytes`.
pub(super) fn step_bytes(channels: usize) -> usize {
    dense_bytes(channels) + taps_bytes(channels)
}

/// Returns the bytes of what a dense step reads, at the beginning of a step's weights.
pub(super) fn dense_bytes(channels: usize) -> usize {
    (pre_offset(channels) + 3 * channels * 2).next_multiple_of(16)
}

/// Returns the bytes of a block's depthwise taps, at the end of a step's weights.
pub(super) fn taps_bytes(channels: usize) -> usize {
    channels / 2 * 20 * 2
}

/// Returns the weights of the steps of a stage, one after the other: one more than there are blocks, since
/// each ends a block and begins the next. `orders` are those of the channels before each block and after
/// the last, which `act` follows.
pub(super) fn stage_weights(
    layers: &Layers<'_>,
    orders: &[ChannelOrder],
    act: &ChannelActivation,
) -> Result<Vec<u8>> {
    let channels = orders[0].len();
    let last = orders.len() - 1;
    let mut bytes = Vec::with_capacity(orders.len() * step_bytes(channels));
    for (step, order) in orders.iter().enumerate() {
        let beginning = bytes.len();
        if step > 0 {
            bytes.extend(end_weights(&layers.pp(step - 1), &orders[step - 1])?);
        }
        bytes.resize(beginning + end_bytes(channels), 0);
        let next = (step < last).then(|| layers.pp(step));
        if let Some(block) = &next {
            bytes.extend(beginning_weights(block, order)?);
        }
        bytes.resize(beginning + pre_offset(channels), 0);
        bytes.extend(match &next {
            Some(block) => bytes_from_activation(&block.activation("pre", order)?),
            None => bytes_from_activation(act),
        });
        bytes.resize(beginning + dense_bytes(channels), 0);
        if let Some(block) = &next {
            let taps = depthwise_taps(block, channels / 2)?;
            bytes.extend(bytes_from_halfs(&rounded(&taps)));
        }
        bytes.resize(beginning + step_bytes(channels), 0);
    }
    Ok(bytes)
}

/// Returns the bytes of [`end_weights`].
fn end_bytes(channels: usize) -> usize {
    let (h, k) = (channels / 2, (channels / 2).div_ceil(16));
    let fragments = k * (channels / 8) + 2 * k * (h / 8);
    (fragments * FRAGMENT + 16 + 3 * h * 2).next_multiple_of(16)
}

/// Returns where the activation before a block lies in its step's weights.
fn pre_offset(channels: usize) -> usize {
    let h = channels / 2;
    let fragments = (channels / 16 + 2 * (3 * h).div_ceil(16)) * (h / 8);
    end_bytes(channels) + fragments * FRAGMENT + 2 * h * 4 + 2 * h * 2
}

/// `expand` and DDA's two halves as fragments; CA's taps, f32; `mid` as scale, shift, bend.
fn end_weights(layers: &Layers<'_>, order: &ChannelOrder) -> Result<Vec<u8>> {
    let (channels, h) = (order.len(), order.len() / 2);
    let expand = rows_in_order(layers.values("expand.weight", &[channels, h, 1, 1])?, order);
    let gate = layers.values("dda.conv.weight", &[h, 2 * h, 1, 1])?;
    let taps = layers.values("ca.conv.weight", &[1, 1, 3])?;
    let mid = layers.activation("mid", &ChannelOrder::natural(h))?;
    let mut bytes = bytes_from_halfs(&fragments_from_conv(&expand, channels, h, 1));
    for half in [0, h] {
        let half = fragments_from_matrix(h, h, |k, n| gate[n * 2 * h + half + k]);
        bytes.extend(bytes_from_halfs(&half));
    }
    bytes.extend(taps.iter().chain(&[0.0]).flat_map(|tap| tap.to_ne_bytes()));
    bytes.extend(bytes_from_activation(&mid));
    Ok(bytes)
}

/// `reduce`, `up1`, `up2` as fragments; both strips' bias, f32, and bend.
fn beginning_weights(layers: &Layers<'_>, order: &ChannelOrder) -> Result<Vec<u8>> {
    let (channels, h) = (order.len(), order.len() / 2);
    let natural = ChannelOrder::natural(h);
    let reduce = {
        let geometry = Geometry::square(channels, h, 1, 1);
        let weights = layers.values("reduce.weight", &[h, channels, 1, 1])?;
        columns_in_order(weights, order, &geometry)
    };
    let up1 = layers.folded("up1", Geometry::strip(h, h, [3, 1]), &natural)?;
    let up2 = layers.folded("up2", Geometry::strip(h, h, [1, 3]), &natural)?;
    let mut bytes = bytes_from_halfs(&fragments_from_conv(&reduce, h, channels, 1));
    for up in [&up1, &up2] {
        bytes.extend(bytes_from_halfs(&fragments_from_conv(&up.weights, h, h, 3)));
    }
    for values in [&up1.bias, &up2.bias] {
        bytes.extend(values.iter().flat_map(|value| value.to_ne_bytes()));
    }
    for slopes in [&up1.slope, &up2.slope] {
        bytes.extend(bytes_from_halfs(&rounded(&bends(slopes))));
    }
    Ok(bytes)
}

/// `[h/8, 20, 8]`: l1's three taps, bias and bend, then those of l2, g1 and g2.
fn depthwise_taps(layers: &Layers<'_>, h: usize) -> Result<Vec<f32>> {
    let kernels = [
        ("l1", [3, 1]),
        ("l2", [1, 3]),
        ("g1", [3, 1]),
        ("g2", [1, 3]),
    ];
    let mut out = vec![0.0; h * 20];
    for (i, (name, kernel)) in kernels.into_iter().enumerate() {
        let strip = layers.strip(name, h, kernel)?;
        for c in 0..h {
            let [a, b, d] = strip.taps[c];
            let values = [a, b, d, strip.bias[c], strip.slope[c] - 1.0];
            for (j, value) in values.into_iter().enumerate() {
                out[(c / 8 * 20 + i * 5 + j) * 8 + c % 8] = value;
            }
        }
    }
    Ok(out)
}

/// Returns the batch norm and PReLU that change nothing.
pub(super) fn identity(channels: usize) -> ChannelActivation {
    ChannelActivation {
        scale: vec![1.0; channels],
        shift: vec![0.0; channels],
        slope: vec![1.0; channels],
    }
}

fn bytes_from_activation(act: &ChannelActivation) -> Vec<u8> {
    let bends = bends(&act.slope);
    let values = [&act.scale, &act.shift, &bends];
    (values.into_iter())
        .flat_map(|values| bytes_from_halfs(&rounded(values)))
        .collect()
}

/// Returns PReLU slopes less one, as the kernels add them: `x + bend * min(x, 0)`.
fn bends(slopes: &[f32]) -> Vec<f32> {
    slopes.iter().map(|slope| slope - 1.0).collect()
}

fn rounded(values: &[f32]) -> Vec<f16> {
    values.iter().map(|value| f16::from_f32(*value)).collect()
}

fn bytes_from_halfs(halfs: &[f16]) -> Vec<u8> {
    halfs.iter().flat_map(|half| half.to_ne_bytes()).collect()
}
