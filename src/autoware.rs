//! Masks in the form that Autoware's sensor fusion reads: the ids of its own classes, in runs.

use crate::labels::{ClassTable, LabelMask};
use crate::msg::{Header, Image, Message};

/// Autoware's id of what is none of its classes.
pub const UNKNOWN: u8 = 0;

/// Autoware's id of every class of a set of weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutowareIds {
    ids: [u8; 256],
    unmapped: Vec<String>,
}

/// An entry of the table that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AutowareIdError {
    /// Not a name and an id.
    #[error("'{text}' is not of the form 'NAME=ID' with an ID of 0 to 255")]
    Form {
        /// The entry.
        text: String,
    },
    /// A name that has an id already.
    #[error("'{name}' is there twice")]
    Twice {
        /// The name.
        name: String,
    },
}

impl AutowareIds {
    /// Returns the ids of `classes` by entries `NAME=ID`; what they do not name is [`UNKNOWN`], and
    /// names of no class say nothing: a table serves weights of several data sets. Errs as
    /// [`AutowareIds::check`] does.
    pub fn new(classes: &ClassTable, entries: &[String]) -> Result<Self, AutowareIdError> {
        let entries = parsed(entries)?;
        let mut ids = [UNKNOWN; 256];
        let mut unmapped = Vec::new();
        for (name, id) in classes.names.iter().zip(&mut ids) {
            match entries.iter().find(|(known, _)| known == name) {
                Some((_, known)) => *id = *known,
                None => unmapped.push(name.clone()),
            }
        }
        Ok(Self { ids, unmapped })
    }

    /// Errs at the first entry that is not `NAME=ID`, with an id of 0 to 255, or whose name is there
    /// already.
    pub fn check(entries: &[String]) -> Result<(), AutowareIdError> {
        parsed(entries).map(|_| ())
    }

    /// Returns the names of the classes that no entry names, which are published as [`UNKNOWN`].
    pub fn unmapped(&self) -> &[String] {
        &self.unmapped
    }

    /// Returns the id of a class; of an id that is no class, [`UNKNOWN`].
    #[inline]
    pub fn id(&self, class_id: u8) -> u8 {
        self.ids[usize::from(class_id)]
    }
}

/// Returns a mask as Autoware's detectors publish theirs: a serialised `sensor_msgs/Image` that says
/// `mono8`, width and height, and holds runs in place of pixels.
///
/// A run is five bytes: the id, and how many pixels have it, a little-endian i32. Runs go on from row
/// to row; their lengths add up to `width * height`, which their reader does not check.
pub fn image_from_mask(header: &Header, mask: &LabelMask, ids: &AutowareIds) -> Vec<u8> {
    let runs = runs_from_mask(mask, ids);
    Image {
        header: header.clone(),
        height: mask.height as u32,
        width: mask.width as u32,
        encoding: "mono8",
        is_bigendian: 0,
        step: mask.width as u32,
        data: &runs,
    }
    .to_cdr()
}

fn runs_from_mask(mask: &LabelMask, ids: &AutowareIds) -> Vec<u8> {
    let mut runs = Vec::new();
    // Of equal ids a run is at most as long as its length can tell.
    let alike = |a: &u8, b: &u8| ids.id(*a) == ids.id(*b);
    for run in mask.ids.chunk_by(alike) {
        for part in run.chunks(i32::MAX as usize) {
            runs.push(part.first().map_or(UNKNOWN, |class_id| ids.id(*class_id)));
            runs.extend((part.len() as i32).to_le_bytes());
        }
    }
    runs
}

fn parsed(entries: &[String]) -> Result<Vec<(&str, u8)>, AutowareIdError> {
    let mut parsed: Vec<(&str, u8)> = Vec::with_capacity(entries.len());
    for text in entries {
        let entry = text.rsplit_once('=').and_then(|(name, id)| {
            let name = name.trim();
            Some((name, id.trim().parse().ok()?)).filter(|_| !name.is_empty())
        });
        let (name, id) = entry.ok_or_else(|| AutowareIdError::Form { text: text.clone() })?;
        if parsed.iter().any(|(known, _)| *known == name) {
            return Err(AutowareIdError::Twice { name: name.into() });
        }
        parsed.push((name, id));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Result, ensure};

    fn classes(names: &[&str]) -> ClassTable {
        ClassTable {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            palette: vec![[0; 3]; names.len()],
            drivable: vec![false; names.len()],
            ignore_id: 255,
        }
    }

    fn entries(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// As the reader does: as many pixels as the runs say.
    fn pixels(runs: &[u8]) -> Vec<u8> {
        let of = |run: &[u8]| {
            let length = i32::from_le_bytes([run[1], run[2], run[3], run[4]]);
            std::iter::repeat_n(run[0], length as usize)
        };
        runs.chunks_exact(5).flat_map(of).collect()
    }

    #[test]
    fn runs_go_on_from_row_to_row_and_hold_every_pixel() -> Result<()> {
        let mask = LabelMask {
            width: 4,
            height: 3,
            ids: vec![0, 0, 1, 1, 1, 1, 2, 0, 3, 3, 3, 1],
        };
        let table = entries(&["Sky=15", "Road=9", "Path=9", "Boat=200"]);
        let ids = AutowareIds::new(&classes(&["Sky", "Road", "Path", "Boat"]), &table)?;
        let header = Header {
            stamp: crate::msg::Stamp {
                sec: 7,
                nanosec: 999_999_999,
            },
            frame_id: "camera_optical_frame".into(),
        };
        let message = image_from_mask(&header, &mask, &ids);
        let image = Image::from_cdr(&message)?;
        ensure!(image.header == header);
        ensure!((image.width, image.height, image.step) == (4, 3, 4) && image.encoding == "mono8");
        ensure!(
            pixels(image.data) == [15, 15, 9, 9, 9, 9, 9, 15, 200, 200, 200, 9],
            "ids that two classes share are one run"
        );
        ensure!(image.data.len() == 5 * 5, "{:?}", image.data);
        ensure!(image.data[..5] == [15, 2, 0, 0, 0]);
        Ok(())
    }

    #[test]
    fn a_mask_of_one_class_is_one_run_and_none_of_nothing() -> Result<()> {
        let ids = AutowareIds::new(&classes(&["Road"]), &entries(&["Road=9"]))?;
        let mask = |width, height| LabelMask {
            width,
            height,
            ids: vec![0; width * height],
        };
        let run = runs_from_mask(&mask(1280, 720), &ids);
        ensure!(run == [[9].as_slice(), &921_600i32.to_le_bytes()].concat());
        ensure!(runs_from_mask(&mask(1, 1), &ids) == [9, 1, 0, 0, 0]);
        ensure!(runs_from_mask(&mask(0, 0), &ids).is_empty());
        Ok(())
    }

    #[test]
    fn classes_that_no_entry_names_are_unknown_and_told() -> Result<()> {
        let table = entries(&[" Road = 9", "terrain=14"]);
        let ids = AutowareIds::new(&classes(&["Sky", "Road"]), &table)?;
        ensure!([ids.id(0), ids.id(1), ids.id(2), ids.id(255)] == [UNKNOWN, 9, UNKNOWN, UNKNOWN]);
        ensure!(ids.unmapped() == ["Sky"]);
        Ok(())
    }

    #[test]
    fn entries_that_are_no_name_and_id_are_refused() {
        for wrong in ["Road", "Road=", "Road=256", "Road=-1", "Road=road", "=3"] {
            let refused = AutowareIds::check(&entries(&["Sky=15", wrong]));
            let text = wrong.to_owned();
            assert_eq!(refused, Err(AutowareIdError::Form { text }));
        }
        let twice = AutowareIds::check(&entries(&["Road=0", "Road=9"]));
        assert_eq!(
            twice,
            Err(AutowareIdError::Twice {
                name: "Road".into()
            })
        );
    }
}
