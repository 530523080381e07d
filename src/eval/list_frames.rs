//! Frames of a list file: lines of an image and its label.

use std::fs;
use std::path::{Path, PathBuf};

use super::frame::{MAX_PIXELS, reason_from_error};
use super::{EvalError, Frame, LabelImage, Picture, Step};
use crate::error::Error;
use crate::msg::Header;

/// Iterates the frames of a list in its order.
#[derive(Debug)]
pub struct ListFrames {
    root: PathBuf,
    frames: std::vec::IntoIter<(String, String)>,
}

impl ListFrames {
    /// Reads a list of lines `image label`, both relative to `root`; takes every `every`th.
    ///
    /// Errs if the list cannot be read, is empty, or has a line that is not two words.
    pub fn new(list: &Path, root: &Path, every: usize) -> Result<Self, EvalError> {
        let text = fs::read_to_string(list).map_err(|source| EvalError::file(list, source))?;
        let frames = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(number, line)| {
                let mut words = line.split_whitespace();
                match (words.next(), words.next(), words.next()) {
                    (Some(image), Some(label), None) => Ok((image.to_owned(), label.to_owned())),
                    _ => Err(EvalError::Line {
                        path: list.to_owned(),
                        line: number + 1,
                        needed: "an image, a space and its label".to_owned(),
                    }),
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let frames: Vec<_> = frames.into_iter().step_by(every.max(1)).collect();
        if frames.is_empty() {
            let why = format!("{} lists no frames", list.display());
            return Err(EvalError::NothingToScore { why });
        }
        Ok(Self {
            root: root.to_owned(),
            frames: frames.into_iter(),
        })
    }

    /// Returns how many frames are left.
    pub fn planned(&self) -> usize {
        self.frames.len()
    }

    /// A broken image leaves its frame out; a broken label ends the evaluation, as in a bag.
    fn step(&self, image: String, label: &str) -> Result<Step, EvalError> {
        let read = |relative: &str| {
            let path = self.root.join(relative);
            fs::read(&path).map_err(|source| EvalError::file(&path, source))
        };
        let file = read(&image)?;
        let truth = LabelImage::from_png(&read(label)?, MAX_PIXELS)
            .map_err(|source| EvalError::label(&image, source))?;
        Ok(match Picture::from_file_bytes(&file) {
            Ok(picture) => Step::Frame(Box::new(Frame {
                name: image,
                header: Header::default(),
                picture,
                truth: Some(truth),
                recorded: None,
            })),
            Err(error) => {
                let error = Error::from(error);
                Step::Skipped {
                    frame: image,
                    reason: reason_from_error(&error),
                    why: error.to_string(),
                }
            }
        })
    }
}

impl Iterator for ListFrames {
    type Item = Result<Step, EvalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (image, label) = self.frames.next()?;
        Some(self.step(image, &label))
    }
}
