//! The layout of maps between kernels, f16, channel-blocked `[c/8, h, w, 8]`, batch 1, for their tests.

use half::f16;

/// Returns planes `[c, h, w]` as a map `[c/8, h, w, 8]`, the last block filled up with zeros.
pub(crate) fn blocked_from_planes(planes: &[f32], area: usize) -> Vec<f16> {
    let channels = planes.len() / area;
    let mut map = vec![f16::ZERO; channels.next_multiple_of(8) * area];
    for (c, plane) in planes.chunks_exact(area).enumerate() {
        for (pixel, value) in plane.iter().enumerate() {
            map[(c / 8 * area + pixel) * 8 + c % 8] = f16::from_f32(*value);
        }
    }
    map
}

/// Returns a map `[c/8, h, w, 8]` as planes `[c, h, w]`.
pub(crate) fn planes_from_blocked(map: &[f16], area: usize) -> Vec<f32> {
    let channels = map.len() / area;
    let mut planes = vec![0.0; map.len()];
    for c in 0..channels {
        for pixel in 0..area {
            planes[c * area + pixel] = map[(c / 8 * area + pixel) * 8 + c % 8].to_f32();
        }
    }
    planes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_and_its_planes_hold_the_same_values() {
        let planes: Vec<f32> = (0..16 * 6).map(|i| i as f32).collect();
        let map = blocked_from_planes(&planes, 6);
        assert_eq!(map[(6 + 5) * 8 + 3].to_f32(), (11 * 6 + 5) as f32);
        assert_eq!(planes_from_blocked(&map, 6), planes);
        assert_eq!(blocked_from_planes(&[1.0, 2.0, 3.0], 3).len(), 24);
    }
}
