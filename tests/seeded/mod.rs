//! Made weights and images, the same here and in `training/`.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::HashMap;

use anyhow::Result;
use ecmnet_ros::network::ECMNet;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// Returns number `i` of the stream `name`: FNV-1a of the name as the seed of splitmix64.
pub(crate) fn bits(name: &str, i: u64) -> u64 {
    let fnv = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3);
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    let mut z = seed.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Returns the made image `[height, width, 3]`, RGB.
pub(crate) fn image_bytes(height: usize, width: usize) -> Vec<u8> {
    (0..height * width * 3)
        .map(|i| {
            let (c, x, y) = (i % 3, i / 3 % width, i / 3 / width);
            let gradient = ((x * (c + 1) * 5) >> 3) + ((y * (3 - c) * 7) >> 3);
            ((gradient as u64 + (bits("image", i as u64) & 63)) & 255) as u8
        })
        .collect()
}

/// Returns a weights file of made values.
pub(crate) fn seeded_weights(plan: &str, classes: usize) -> Result<Vec<u8>> {
    seeded_weights_with(plan, classes, &[])
}

/// Returns a weights file of made values with `more` in its metadata; classes are "class 0" and so on.
pub(crate) fn seeded_weights_with(
    plan: &str,
    classes: usize,
    more: &[(&str, &str)],
) -> Result<Vec<u8>> {
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = ECMNet::tensor_shapes(classes)
        .into_iter()
        .map(|(name, shape)| {
            let (low, high) = range(&name, &shape);
            let unit = |i: usize| (bits(&name, i as u64) >> 40) as f64 / 16_777_216.0;
            let value = |i: usize| (low + (high - low) * unit(i)) as f32;
            let n = shape.iter().product::<usize>();
            let bytes = (0..n).flat_map(|i| value(i).to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>>>()?;
    let mut metadata = metadata(plan, classes)?;
    metadata.extend((more.iter()).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    Ok(safetensors::serialize(views, Some(metadata))?)
}

fn metadata(plan: &str, classes: usize) -> Result<HashMap<String, String>> {
    let names: Vec<String> = (0..classes).map(|i| format!("class {i}")).collect();
    let keys = [
        ("format", "1"),
        ("arch", "ecmnet"),
        ("plan", plan),
        ("classes", &serde_json::to_string(&names)?),
        (
            "palette",
            &serde_json::to_string(&vec![[128, 64, 128]; classes])?,
        ),
        ("ignore_id", "255"),
        ("drivable", "[]"),
        ("colour_order", "rgb"),
        ("mean", "[128.0, 128.0, 128.0]"),
        ("std", "[64.0, 64.0, 64.0]"),
        ("train_size", "[360, 480]"),
        ("dataset", "none"),
        ("licence", "Apache-2.0"),
        ("commit", "0000000"),
        ("miou", "0.0"),
        ("miou_on", "nothing"),
    ];
    Ok(keys
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into())
}

/// Returns the range of a tensor's values, as `training/` has it.
fn range(name: &str, shape: &[usize]) -> (f64, f64) {
    let around_zero = |a: f64| (-a, a);
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let fan_in = shape.iter().skip(1).product::<usize>() as f64;
    if ends(&["running_mean"]) {
        (-0.3, 0.3)
    } else if ends(&["running_var"]) {
        (0.5, 1.5)
    } else if ends(&["bn.weight", ".0.1.weight", "norm.weight"]) {
        (0.6, 1.4)
    } else if ends(&["bn.bias", ".0.1.bias", "norm.bias"]) {
        (-0.3, 0.3)
    } else if ends(&["act.weight"]) {
        (-0.1, 0.4)
    } else if ends(&["A_logs"]) {
        (0.0, 2.75)
    } else if ends(&["Ds"]) {
        (0.5, 1.5)
    } else if ends(&["dt_projs_bias"]) {
        (-5.0, -1.0)
    } else if ends(&["x_proj_weight"]) {
        around_zero((3.0_f64 / 96.0).sqrt())
    } else if ends(&["dt_projs_weight"]) {
        around_zero(1.0 / 3.0_f64.sqrt())
    } else if ends(&["expand.weight"]) && !name.starts_with("msau.") {
        around_zero((0.75 / fan_in).sqrt())
    } else if ends(&["weight"]) {
        around_zero((3.0 / fan_in).sqrt())
    } else {
        (-0.2, 0.2)
    }
}
