//! A mask drawn over its image.

use rayon::prelude::*;

use crate::image::ImageView;
use crate::labels::{ClassTable, LabelMask};

/// Returns packed RGB, `[height, width, 3]`: the image with each class's colour laid over it.
///
/// `alpha` is the colour's share, 0 (image only) to 1 (colours only). The mask must have the
/// image's size; ids without a colour leave the image as it is.
pub fn overlay_from_mask(
    image: &ImageView<'_>,
    mask: &LabelMask,
    classes: &ClassTable,
    alpha: f32,
) -> Vec<u8> {
    let share = (alpha.clamp(0.0, 1.0) * 256.0).round() as u16;
    let width = image.width();
    let mut overlay = vec![0; 3 * width * image.height()];
    overlay
        .par_chunks_exact_mut(3 * width)
        .zip(mask.ids.par_chunks_exact(width))
        .enumerate()
        .for_each(|(y, (output, ids))| {
            let mut rgb = vec![[0; 3]; width];
            image.rgb_row(y, &mut rgb);
            for ((out, pixel), id) in output.chunks_exact_mut(3).zip(rgb).zip(ids) {
                let colour = classes
                    .palette
                    .get(usize::from(*id))
                    .copied()
                    .unwrap_or(pixel);
                for c in 0..3 {
                    let mixed = u16::from(pixel[c]) * (256 - share) + u16::from(colour[c]) * share;
                    out[c] = (mixed >> 8) as u8;
                }
            }
        });
    overlay
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageError;

    #[test]
    fn alpha_runs_from_the_image_to_the_colours() -> Result<(), ImageError> {
        let classes = ClassTable {
            names: vec!["Road".into()],
            palette: vec![[128, 64, 200]],
            drivable: vec![true],
            ignore_id: 11,
        };
        let bytes = [10, 20, 30, 40, 50, 60];
        let view = ImageView::from_rgb8(2, 1, &bytes)?;
        let mask = LabelMask {
            width: 2,
            height: 1,
            ids: vec![0, 0],
        };
        assert_eq!(overlay_from_mask(&view, &mask, &classes, 0.0), bytes);
        let colours = overlay_from_mask(&view, &mask, &classes, 1.0);
        assert_eq!(colours, [128, 64, 200, 128, 64, 200]);
        assert_eq!(
            overlay_from_mask(&view, &mask, &classes, 0.5)[..3],
            [69, 42, 115]
        );
        Ok(())
    }
}
