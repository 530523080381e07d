//! Rows of every pixel format as packed RGB.

use super::{ImageView, PixelFormat};

/// Writes row `y` (below the height) of `image` as RGB, one entry a pixel.
pub(super) fn rgb_row(image: &ImageView<'_>, y: usize, rgb: &mut [[u8; 3]]) {
    let width = image.width;
    let row = &image.data[y * image.step..];
    let rgb = &mut rgb[..width];
    match image.format {
        PixelFormat::Rgb8 => packed_row::<3>(row, rgb, [0, 1, 2]),
        PixelFormat::Bgr8 => packed_row::<3>(row, rgb, [2, 1, 0]),
        PixelFormat::Rgba8 => packed_row::<4>(row, rgb, [0, 1, 2]),
        PixelFormat::Bgra8 => packed_row::<4>(row, rgb, [2, 1, 0]),
        PixelFormat::Mono8 => packed_row::<1>(row, rgb, [0, 0, 0]),
        PixelFormat::Uyvy => yuv422_row(row, rgb, [1, 0, 3, 2]),
        PixelFormat::Yuyv => yuv422_row(row, rgb, [0, 1, 2, 3]),
        PixelFormat::Nv12 => nv_row(
            image,
            y,
            rgb,
            Chroma {
                rows_shift: 1,
                pixels_shift: 1,
                u: 0,
            },
        ),
        PixelFormat::Nv21 => nv_row(
            image,
            y,
            rgb,
            Chroma {
                rows_shift: 1,
                pixels_shift: 1,
                u: 1,
            },
        ),
        PixelFormat::Nv24 => nv_row(
            image,
            y,
            rgb,
            Chroma {
                rows_shift: 0,
                pixels_shift: 0,
                u: 0,
            },
        ),
        PixelFormat::BayerRggb8 => bayer_row(image, y, rgb, 0, 0),
        PixelFormat::BayerGrbg8 => bayer_row(image, y, rgb, 1, 0),
        PixelFormat::BayerGbrg8 => bayer_row(image, y, rgb, 0, 1),
        PixelFormat::BayerBggr8 => bayer_row(image, y, rgb, 1, 1),
    }
}

fn packed_row<const N: usize>(row: &[u8], rgb: &mut [[u8; 3]], order: [usize; 3]) {
    for (out, pixel) in rgb.iter_mut().zip(row.chunks_exact(N)) {
        *out = order.map(|channel| pixel[channel]);
    }
}

/// `order` holds the places of Y0, U, Y1 and V in a block of four bytes.
fn yuv422_row(row: &[u8], rgb: &mut [[u8; 3]], order: [usize; 4]) {
    for (out, block) in rgb.chunks_exact_mut(2).zip(row.chunks_exact(4)) {
        let [y0, u, y1, v] = order.map(|place| block[place]);
        out[0] = rgb_from_yuv(y0, u, v);
        out[1] = rgb_from_yuv(y1, u, v);
    }
}

/// The chroma plane of a semi-planar format: its subsampling, and U's place in a pair.
struct Chroma {
    rows_shift: usize,
    pixels_shift: usize,
    u: usize,
}

fn nv_row(image: &ImageView<'_>, y: usize, rgb: &mut [[u8; 3]], chroma: Chroma) {
    let luma = &image.data[y * image.step..][..image.width];
    // A full-resolution chroma row holds two bytes a pixel, so it spans two steps.
    let chroma_step = if chroma.pixels_shift == 0 {
        2 * image.step
    } else {
        image.step
    };
    let plane = &image.data[image.height * image.step..];
    let pairs = &plane[(y >> chroma.rows_shift) * chroma_step..];
    for (x, (out, &luma)) in rgb.iter_mut().zip(luma).enumerate() {
        let pair = 2 * (x >> chroma.pixels_shift);
        *out = rgb_from_yuv(luma, pairs[pair + chroma.u], pairs[pair + 1 - chroma.u]);
    }
}

/// BT.601, limited range, in OpenCV's 20-bit fixed point, so that colours equal cv_bridge's.
fn rgb_from_yuv(y: u8, u: u8, v: u8) -> [u8; 3] {
    const SHIFT: i32 = 20;
    const HALF: i32 = 1 << (SHIFT - 1);
    let luma = (i32::from(y) - 16).max(0) * 1_220_542 + HALF;
    let u = i32::from(u) - 128;
    let v = i32::from(v) - 128;
    [
        luma + 1_673_527 * v,
        luma - 852_492 * v - 409_993 * u,
        luma + 2_116_026 * u,
    ]
    .map(|channel| (channel >> SHIFT).clamp(0, 255) as u8)
}

/// Bilinear demosaicing; red sits where column parity is `red_x` and row parity is `red_y`.
fn bayer_row(image: &ImageView<'_>, y: usize, rgb: &mut [[u8; 3]], red_x: usize, red_y: usize) {
    let (width, height) = (image.width, image.height);
    let row = |y: usize| &image.data[y * image.step..][..width];
    let (above, here, below) = (
        row(mirrored_before(y, height)),
        row(y),
        row(mirrored_after(y, height)),
    );
    let red_row = y % 2 == red_y;
    for (x, out) in rgb.iter_mut().enumerate() {
        let (left, right) = (mirrored_before(x, width), mirrored_after(x, width));
        let mean2 = |a: u8, b: u8| (u16::from(a) + u16::from(b)).div_ceil(2) as u8;
        let mean4 = |a: u8, b: u8, c: u8, d: u8| {
            ((u16::from(a) + u16::from(b) + u16::from(c) + u16::from(d) + 2) / 4) as u8
        };
        let horizontal = mean2(here[left], here[right]);
        let vertical = mean2(above[x], below[x]);
        let diagonal = mean4(above[left], above[right], below[left], below[right]);
        let cross = mean4(here[left], here[right], above[x], below[x]);
        *out = match (red_row, x % 2 == red_x) {
            (true, true) => [here[x], cross, diagonal],
            (true, false) => [horizontal, here[x], vertical],
            (false, true) => [vertical, here[x], horizontal],
            (false, false) => [diagonal, cross, here[x]],
        };
    }
}

/// Returns the index before `i`, mirrored at the border so that the Bayer phase stays.
fn mirrored_before(i: usize, n: usize) -> usize {
    if i > 0 { i - 1 } else { 1.min(n - 1) }
}

/// Returns the index after `i`, mirrored at the border so that the Bayer phase stays.
fn mirrored_after(i: usize, n: usize) -> usize {
    if i + 1 < n {
        i + 1
    } else {
        n.saturating_sub(2)
    }
}

#[cfg(test)]
mod tests {
    use crate::image::{ImageError, ImageView, PixelFormat};

    fn rgb(format: PixelFormat, w: usize, h: usize, step: usize, data: &[u8]) -> Vec<[u8; 3]> {
        ImageView::new(format, w, h, step, data)
            .map(|view| view.to_rgb8())
            .unwrap_or_default()
    }

    #[test]
    fn packed_formats_differ_only_in_order_and_padding_is_skipped() {
        let want = vec![[1, 2, 3], [4, 5, 6]];
        assert_eq!(
            rgb(PixelFormat::Rgb8, 1, 2, 5, &[1, 2, 3, 9, 9, 4, 5, 6]),
            want
        );
        assert_eq!(rgb(PixelFormat::Bgr8, 2, 1, 6, &[3, 2, 1, 6, 5, 4]), want);
        assert_eq!(
            rgb(PixelFormat::Rgba8, 2, 1, 8, &[1, 2, 3, 0, 4, 5, 6, 0]),
            want
        );
        assert_eq!(
            rgb(PixelFormat::Bgra8, 2, 1, 8, &[3, 2, 1, 0, 6, 5, 4, 0]),
            want
        );
        assert_eq!(
            rgb(PixelFormat::Mono8, 2, 1, 2, &[7, 8]),
            vec![[7; 3], [8; 3]]
        );
    }

    #[test]
    fn yuv_layouts_of_one_picture_agree() {
        // BT.601 limited range: Y 81, U 90, V 240 is pure red, Y 145, U 54, V 34 pure green.
        let red = [254, 0, 0];
        assert_eq!(
            rgb(PixelFormat::Uyvy, 2, 1, 4, &[90, 81, 240, 81]),
            vec![red; 2]
        );
        assert_eq!(
            rgb(PixelFormat::Yuyv, 2, 1, 4, &[81, 90, 81, 240]),
            vec![red; 2]
        );
        assert_eq!(
            rgb(PixelFormat::Nv12, 2, 2, 2, &[81, 81, 81, 81, 90, 240]),
            vec![red; 4]
        );
        assert_eq!(
            rgb(PixelFormat::Nv21, 2, 2, 2, &[81, 81, 81, 81, 240, 90]),
            vec![red; 4]
        );
        assert_eq!(
            rgb(PixelFormat::Nv24, 1, 2, 1, &[81, 81, 90, 240, 90, 240]),
            vec![red; 2]
        );
        assert_eq!(
            rgb(PixelFormat::Yuyv, 2, 1, 4, &[235, 128, 16, 128]),
            vec![[255; 3], [0; 3]]
        );
    }

    #[test]
    fn every_bayer_order_restores_a_flat_colour_at_every_border() -> Result<(), ImageError> {
        let colour = [200, 100, 50];
        for (format, order) in [
            (PixelFormat::BayerRggb8, [0, 1, 1, 2]),
            (PixelFormat::BayerBggr8, [2, 1, 1, 0]),
            (PixelFormat::BayerGrbg8, [1, 0, 2, 1]),
            (PixelFormat::BayerGbrg8, [1, 2, 0, 1]),
        ] {
            for (w, h) in [(2, 2), (5, 3), (4, 7)] {
                let data: Vec<u8> = (0..w * h)
                    .map(|i| colour[order[2 * ((i / w) % 2) + (i % w) % 2]])
                    .collect();
                let view = ImageView::new(format, w, h, w, &data)?;
                assert_eq!(view.to_rgb8(), vec![colour; w * h], "{format} {w}x{h}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_single_bayer_pixel_does_not_panic() -> Result<(), ImageError> {
        let view = ImageView::new(PixelFormat::BayerRggb8, 1, 1, 1, &[9])?;
        assert_eq!(view.to_rgb8().len(), 1);
        Ok(())
    }
}
