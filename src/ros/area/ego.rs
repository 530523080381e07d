//! The picture of the vehicle's own parts in view, read once.

use std::fs;

use super::super::inference::Choices;
use super::super::rejection::Rejection;
use crate::decode::DecodedImage;

/// The last picture that was asked for.
#[derive(Debug, Default)]
pub(super) struct EgoMask {
    path: String,
    size: [u32; 2],
    read: Option<Result<Vec<u8>, String>>,
}

impl EgoMask {
    /// Returns 1 for each pixel that shows the vehicle, `[height, width]`; empty where `path` is. Errs
    /// where the file is no picture of `[width, height]` pixels; it is read again when either changes.
    pub(super) fn of(
        &mut self,
        path: &str,
        size: [u32; 2],
        choices: &Choices,
    ) -> Result<&[u8], Rejection> {
        if path.is_empty() {
            return Ok(&[]);
        }
        if self.path != path || self.size != size {
            self.read = None;
            path.clone_into(&mut self.path);
            self.size = size;
        }
        let max_pixels = choices.settings.max_pixels as usize;
        let read = self
            .read
            .get_or_insert_with(|| read(path, size, max_pixels));
        match read {
            Ok(pixels) => Ok(pixels),
            Err(reason) => Err(Rejection::of(
                "ego_mask",
                format!("ego_mask {path}: {reason}"),
            )),
        }
    }
}

fn read(path: &str, [width, height]: [u32; 2], max_pixels: usize) -> Result<Vec<u8>, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let decoded = DecodedImage::from_file_bytes(&bytes, max_pixels).map_err(|e| e.to_string())?;
    let view = decoded.view().map_err(|error| error.to_string())?;
    let got = [view.width() as u32, view.height() as u32];
    if got != [width, height] {
        return Err(format!(
            "it has {}x{} pixels, the image {width}x{height}",
            got[0], got[1]
        ));
    }
    let is_own = |pixel: &[u8; 3]| u8::from(*pixel != [0; 3]);
    Ok(view.to_rgb8().iter().map(is_own).collect())
}
