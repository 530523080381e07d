//! Image messages as the peers take them: nested fields, bytes as base64.

use serde_json::{Value, json};

/// Returns an `rgb8` image of a gradient with noise, stamped now.
pub(crate) fn rgb_image(width: usize, height: usize) -> Value {
    image(width, height, "rgb8", 3 * width, &gradient(width, height))
}

/// Returns an image message, stamped now, in the frame `camera_optical_frame`.
pub(crate) fn image(
    width: usize,
    height: usize,
    encoding: &str,
    step: usize,
    data: &[u8],
) -> Value {
    json!({
        "header": {"stamp": "now", "frame_id": "camera_optical_frame"},
        "width": width,
        "height": height,
        "encoding": encoding,
        "step": step,
        "data": base64(data),
    })
}

/// Returns a compressed image message, stamped now.
pub(crate) fn compressed_image(format: &str, file: &[u8]) -> Value {
    json!({
        "header": {"stamp": "now", "frame_id": "camera_optical_frame"},
        "format": format,
        "data": base64(file),
    })
}

/// Returns packed RGB of a gradient with a pattern, `[height, width, 3]`.
pub(crate) fn gradient(width: usize, height: usize) -> Vec<u8> {
    (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .flat_map(|(x, y)| [x * 255 / width, y * 255 / height, (x * 7 + y * 13) % 256])
        .map(|value| value as u8)
        .collect()
}

/// Returns bytes as base64.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for (place, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = DIGITS[(bits >> shift & 63) as usize];
            text.push(if place <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

/// Returns the bytes of base64 text; what is no digit is skipped.
pub(crate) fn bytes_from_base64(text: &str) -> Vec<u8> {
    let mut bits = 0u32;
    let mut count = 0;
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for digit in text.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
