//! The confusion matrix and the scores that come from it.

/// Why a label image cannot be compared with a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelProblem {
    /// The label has another size than the mask.
    #[error("the label is {}x{}, but the image is {}x{}", label[0], label[1], image[0], image[1])]
    Size {
        /// Width and height of the label.
        label: [usize; 2],
        /// Width and height of the image.
        image: [usize; 2],
    },
    /// An id is neither a class nor the ignored one.
    #[error(
        "the label holds id {id}, which is neither a class (0 to {last}) nor ignore_id {ignore_id}"
    )]
    Id {
        /// The id.
        id: u8,
        /// The last class.
        last: usize,
        /// The id that is ignored.
        ignore_id: u8,
    },
}

/// Pixels counted by their true and their predicted class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    ignore_id: u8,
    /// `[truth, prediction]`, row-major.
    pixels: Vec<u64>,
}

impl Confusion {
    /// Returns an empty matrix of `classes` x `classes`; pixels of truth `ignore_id` are dropped.
    pub fn new(classes: usize, ignore_id: u8) -> Self {
        Self {
            classes,
            ignore_id,
            pixels: vec![0; classes * classes],
        }
    }

    /// Counts the pixels of an image; `truth` and `predicted` are its ids, row by row.
    ///
    /// Errs, and counts nothing, if an id of either is neither a class nor (in the truth) the
    /// ignored one. Both must have the same length; surplus pixels are not looked at.
    pub fn add(&mut self, truth: &[u8], predicted: &[u8]) -> Result<(), LabelProblem> {
        let mut pairs = vec![0_u64; 256 * 256];
        for (truth, predicted) in truth.iter().zip(predicted) {
            pairs[256 * usize::from(*truth) + usize::from(*predicted)] += 1;
        }
        let ignored = usize::from(self.ignore_id);
        let rows = || pairs.chunks_exact(256).enumerate();
        for (truth, row) in rows().filter(|(truth, _)| *truth != ignored) {
            let unknown = row.iter().enumerate().find(|(predicted, pixels)| {
                **pixels > 0 && (truth >= self.classes || *predicted >= self.classes)
            });
            if let Some((predicted, _)) = unknown {
                let id = if truth >= self.classes {
                    truth
                } else {
                    predicted
                };
                return Err(LabelProblem::Id {
                    id: id as u8,
                    last: self.classes.saturating_sub(1),
                    ignore_id: self.ignore_id,
                });
            }
        }
        for (truth, row) in rows().filter(|(truth, _)| *truth != ignored) {
            let counted = self.pixels.chunks_exact_mut(self.classes).nth(truth);
            for (sum, pixels) in counted.into_iter().flatten().zip(row) {
                *sum += pixels;
            }
        }
        Ok(())
    }

    /// Returns a matrix of the same classes with nothing counted.
    pub fn emptied(&self) -> Self {
        Self::new(self.classes, self.ignore_id)
    }

    /// Adds the counts of a matrix of the same classes.
    pub fn merge(&mut self, other: &Self) {
        for (sum, pixels) in self.pixels.iter_mut().zip(&other.pixels) {
            *sum += pixels;
        }
    }

    /// Returns the number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Returns the pixels of true class `truth` that were predicted as each class.
    pub fn row(&self, truth: usize) -> &[u64] {
        self.pixels
            .chunks_exact(self.classes.max(1))
            .nth(truth)
            .unwrap_or_default()
    }

    /// Returns each class's intersection over union, 0 to 1; `None` where neither truth nor
    /// prediction has the class.
    pub fn iou(&self) -> Vec<Option<f64>> {
        (0..self.classes)
            .map(|class| {
                let hits = self.row(class)[class];
                let truth: u64 = self.row(class).iter().sum();
                let predicted: u64 = (0..self.classes).map(|row| self.row(row)[class]).sum();
                ratio(hits, truth + predicted - hits)
            })
            .collect()
    }

    /// Returns the mean of [`Confusion::iou`] over the classes that have one; `None` if none has.
    pub fn miou(&self) -> Option<f64> {
        let present: Vec<f64> = self.iou().into_iter().flatten().collect();
        (!present.is_empty()).then(|| present.iter().sum::<f64>() / present.len() as f64)
    }

    /// Returns the share of pixels that are predicted right, 0 to 1; `None` without pixels.
    pub fn pixel_accuracy(&self) -> Option<f64> {
        let hits = (0..self.classes).map(|class| self.row(class)[class]).sum();
        ratio(hits, self.pixels.iter().sum())
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_counted_by_hand() -> Result<(), LabelProblem> {
        let mut confusion = Confusion::new(4, 9);
        // Class 0: 2 of 3 right, once predicted for class 1. Class 2 is only predicted, class 3
        // is nowhere, and the two pixels of id 9 do not count.
        confusion.add(&[0, 0, 0, 1, 1, 9, 9], &[0, 0, 2, 0, 1, 1, 3])?;
        assert_eq!(
            confusion.iou(),
            [Some(2.0 / 4.0), Some(1.0 / 2.0), Some(0.0), None]
        );
        assert_eq!(confusion.miou(), Some(1.0 / 3.0));
        assert_eq!(confusion.pixel_accuracy(), Some(3.0 / 5.0));
        let mut twice = confusion.clone();
        twice.merge(&confusion);
        assert_eq!((twice.row(0)[2], twice.miou()), (2, confusion.miou()));
        Ok(())
    }

    #[test]
    fn nothing_counted_gives_null_and_not_zero() -> Result<(), LabelProblem> {
        let mut confusion = Confusion::new(2, 7);
        confusion.add(&[7, 7], &[0, 1])?;
        assert_eq!(confusion.iou(), [None, None]);
        assert_eq!((confusion.miou(), confusion.pixel_accuracy()), (None, None));
        Ok(())
    }

    #[test]
    fn an_id_that_is_no_class_is_named_and_nothing_is_counted() {
        let mut confusion = Confusion::new(2, 255);
        let text = |problem: LabelProblem| problem.to_string();
        let truth = confusion.add(&[0, 13], &[0, 1]).map_err(text);
        assert!(truth.is_err_and(|text| text.contains("id 13") && text.contains("0 to 1")));
        let predicted = confusion.add(&[0, 1], &[0, 2]).map_err(text);
        assert!(predicted.is_err_and(|text| text.contains("id 2")));
        assert_eq!(confusion, Confusion::new(2, 255));
    }

    #[test]
    fn an_ignored_id_that_is_also_a_number_below_the_classes_is_dropped() -> Result<(), LabelProblem>
    {
        let mut confusion = Confusion::new(3, 0);
        confusion.add(&[0, 1], &[2, 1])?;
        assert_eq!(confusion.iou(), [None, Some(1.0), None]);
        Ok(())
    }
}
