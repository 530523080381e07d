//! The weights of an EDAB as its kernels read them: `Weights` of kernels/edab_dense.cu.

use half::f16;

use crate::engine::pack::{fragments_from_conv, fragments_from_matrix};
use crate::error::Result;
use crate::network::layers::{ChannelOrder, Layers, columns_in_order, rows_in_order};
use crate::ops::ChannelActivation;
use crate::ops::conv::Geometry;

/// Bytes of one packed 16x8 operand.
const FRAGMENT: usize = 256;

/// Returns the bytes of [`leave_weights`].
pub(super) fn leave_bytes(channels: usize) -> usize {
    let (h, k) = (channels / 2, (channels / 2).div_ceil(16));
    let fragments = k * (channels / 8) + 2 * k * (h / 8);
    (fragments * FRAGMENT + 16 + (3 * h + 3 * channels) * 2).next_multiple_of(16)
}

/// Returns the bytes of [`enter_weights`].
pub(super) fn enter_bytes(channels: usize) -> usize {
    let h = channels / 2;
    let fragments = (channels / 16 + 2 * (3 * h).div_ceil(16)) * (h / 8);
    (fragments * FRAGMENT + 2 * h * 4 + (2 * h + 3 * channels) * 2).next_multiple_of(16)
}

/// `reduce`, `up1`, `up2` as fragments; both strips' bias, f32, and slope; `pre`'s scale, shift, slope.
pub(super) fn enter_weights(layers: &Layers<'_>, order: &ChannelOrder) -> Result<Vec<u8>> {
    let (channels, h) = (order.len(), order.len() / 2);
    let natural = ChannelOrder::natural(h);
    let reduce = {
        let geometry = Geometry::square(channels, h, 1, 1);
        let weights = layers.values("reduce.weight", &[h, channels, 1, 1])?;
        columns_in_order(weights, order, &geometry)
    };
    let up1 = layers.folded("up1", Geometry::strip(h, h, [3, 1]), &natural)?;
    let up2 = layers.folded("up2", Geometry::strip(h, h, [1, 3]), &natural)?;
    let pre = layers.activation("pre", order)?;
    let mut bytes = bytes_from_halfs(&fragments_from_conv(&reduce, h, channels, 1));
    bytes.extend(bytes_from_halfs(&fragments_from_conv(
        &up1.weights,
        h,
        h,
        3,
    )));
    bytes.extend(bytes_from_halfs(&fragments_from_conv(
        &up2.weights,
        h,
        h,
        3,
    )));
    for values in [&up1.bias, &up2.bias] {
        bytes.extend(values.iter().flat_map(|value| value.to_ne_bytes()));
    }
    for values in [&up1.slope, &up2.slope, &pre.scale, &pre.shift, &pre.slope] {
        bytes.extend(bytes_from_halfs(&rounded(values)));
    }
    bytes.resize(enter_bytes(channels), 0);
    Ok(bytes)
}

/// `expand` and DDA's two halves as fragments; CA's taps, f32; `mid` and what follows, as scale, shift,
/// slope.
pub(super) fn leave_weights(
    layers: &Layers<'_>,
    order: &ChannelOrder,
    act: &ChannelActivation,
) -> Result<Vec<u8>> {
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
    for act in [&mid, act] {
        for values in [&act.scale, &act.shift, &act.slope] {
            bytes.extend(bytes_from_halfs(&rounded(values)));
        }
    }
    bytes.resize(leave_bytes(channels), 0);
    Ok(bytes)
}

/// `[h/8, 20, 8]`: l1's three taps, bias and slope, then those of l2, g1 and g2.
pub(super) fn depthwise_taps(layers: &Layers<'_>, h: usize) -> Result<Vec<f32>> {
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
            let values = [a, b, d, strip.bias[c], strip.slope[c]];
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

fn rounded(values: &[f32]) -> Vec<f16> {
    values.iter().map(|value| f16::from_f32(*value)).collect()
}

fn bytes_from_halfs(halfs: &[f16]) -> Vec<u8> {
    halfs.iter().flat_map(|half| half.to_ne_bytes()).collect()
}
