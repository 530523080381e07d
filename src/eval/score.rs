//! What an evaluation has counted so far.

use std::collections::BTreeMap;

use super::{Confusion, EvalError, LabelImage, LabelProblem, LatencySample, Step};
use crate::labels::ClassTable;

/// The frames, pixels and times that have been counted.
#[derive(Clone, Debug)]
pub struct Score {
    /// Pixels by true and predicted class.
    pub confusion: Confusion,
    /// Frames that were segmented (and scored where there is truth).
    pub frames: u64,
    /// Frames that were left out, and other things that were, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// How long each frame took.
    pub latencies: Vec<LatencySample>,
}

impl Score {
    /// Returns a score of nothing for these classes.
    pub fn new(classes: &ClassTable) -> Self {
        Self {
            confusion: Confusion::new(classes.len(), classes.ignore_id),
            frames: 0,
            skipped: BTreeMap::new(),
            latencies: Vec::new(),
        }
    }

    /// Counts `count` more things left out for `reason`; nothing where it is zero.
    pub fn skip(&mut self, reason: &'static str, count: u64) {
        if count > 0 {
            *self.skipped.entry(reason).or_default() += count;
        }
    }

    /// Counts a skipped step.
    pub fn skip_step(&mut self, step: &Step) {
        if let Step::Skipped { reason, .. } = step {
            self.skip(reason, 1);
        }
    }

    /// Counts a frame's mask, and scores it against its truth where there is one; returns the
    /// frame's own confusion.
    ///
    /// Errs with the frame's name if the truth has another size, or if an id of either is no
    /// class; nothing is counted then.
    pub fn add(
        &mut self,
        frame: &str,
        truth: Option<&LabelImage>,
        mask: &LabelImage,
    ) -> Result<Confusion, EvalError> {
        let mut own = self.confusion.emptied();
        if let Some(truth) = truth {
            let problem = |source| EvalError::Comparison {
                frame: frame.to_owned(),
                source,
            };
            let [label, image] = [truth, mask].map(|image| [image.width, image.height]);
            if label != image {
                return Err(problem(LabelProblem::Size { label, image }));
            }
            own.add(&truth.ids, &mask.ids).map_err(problem)?;
            self.confusion.merge(&own);
        }
        self.frames += 1;
        Ok(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> ClassTable {
        ClassTable {
            names: vec!["Sky".into(), "Road".into()],
            palette: vec![[0; 3]; 2],
            drivable: vec![false, true],
            ignore_id: 2,
        }
    }

    fn image(width: usize, ids: &[u8]) -> LabelImage {
        LabelImage {
            width,
            height: ids.len() / width,
            ids: ids.to_vec(),
        }
    }

    #[test]
    fn a_label_of_another_size_names_the_frame_and_counts_nothing() -> anyhow::Result<()> {
        let mut score = Score::new(&classes());
        let mask = image(2, &[0, 0, 1, 1]);
        // The same number of pixels, turned.
        let error = score.add("5.25", Some(&image(4, &[0, 0, 1, 1])), &mask);
        let text = error
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(
            text.contains("5.25") && text.contains("4x1") && text.contains("2x2"),
            "{text}"
        );
        assert_eq!((score.frames, score.confusion.miou()), (0, None));
        let own = score.add("5.5", Some(&image(2, &[0, 2, 1, 0])), &mask)?;
        assert_eq!(own, score.confusion);
        assert_eq!(score.confusion.pixel_accuracy(), Some(2.0 / 3.0));
        Ok(())
    }
}
