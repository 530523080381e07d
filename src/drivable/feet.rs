//! Where things that stand meet the ground in the image.

use super::surface::{Surface, SurfaceTable};
use crate::labels::LabelMask;

/// Columns that share a foot: 2 pixels are 2 cm at 10 m for a camera of 1000 pixels' focal length.
const STRIDE: usize = 2;
/// Columns that are compared with the row below at once.
pub(super) const PART: usize = 32;
/// Feet looked at to each side of a pixel.
const SAMPLES: usize = 12;
/// Marks a pixel that shows nothing that stands.
const NO_FOOT: u16 = u16::MAX;

/// The lowest pixel of a column's unbroken run of what stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foot {
    /// Its row.
    pub row: usize,
    /// Its column.
    pub column: usize,
    /// Its class.
    pub id: u8,
}

/// For every pixel of something that stands, the lowest row of its column's unbroken run.
#[derive(Clone, Debug, Default)]
pub struct Feet {
    columns: usize,
    first_row: usize,
    rows: Vec<u16>,
    feet: Vec<Foot>,
}

impl Feet {
    /// Finds the feet in the rows of `mask` from `first_row` down, in every second column; buffers
    /// are used again. A run that the image's lower edge cuts has its foot on that edge.
    pub fn find(&mut self, mask: &LabelMask, surfaces: &SurfaceTable, first_row: usize) {
        let stands: [bool; 256] =
            std::array::from_fn(|id| matches!(surfaces.surface(id as u8), Surface::Standing(_)));
        // Rows are held in 16 bits; no camera has more.
        let height = mask.height.min(usize::from(NO_FOOT));
        self.first_row = first_row.min(height);
        self.columns = mask.width.div_ceil(STRIDE);
        self.feet.clear();
        self.rows
            .resize(self.columns * (height - self.first_row), NO_FOOT);
        let mut below = vec![NO_FOOT; self.columns];
        // The row below, once there is one: equal labels have equal feet.
        let mut labels_below: &[u8] = &[];
        let labels = mask.ids.chunks_exact(mask.width.max(1));
        let rows = self.rows.chunks_exact_mut(self.columns.max(1));
        let from_below = labels.skip(self.first_row).zip(rows).enumerate().rev();
        for (index, (labels, rows)) in from_below {
            let row = index + self.first_row;
            let parts = labels.chunks(PART).zip(below.chunks_mut(PART / STRIDE));
            for (part, (labels, below)) in parts.enumerate() {
                let start = part * PART;
                if are_equal(labels_below.get(start..start + labels.len()), labels) {
                    continue;
                }
                let ids = labels.iter().step_by(STRIDE);
                for (column, (id, below)) in ids.zip(below).enumerate() {
                    *below = match (stands[usize::from(*id)], *below) {
                        (false, _) => NO_FOOT,
                        (true, NO_FOOT) => {
                            self.feet.push(Foot {
                                row,
                                column: start + column * STRIDE,
                                id: *id,
                            });
                            row as u16
                        }
                        (true, lowest) => lowest,
                    };
                }
            }
            rows.copy_from_slice(&below);
            labels_below = labels;
        }
    }

    /// Returns every run's lowest pixel, from the image's lowest row up.
    pub fn all(&self) -> &[Foot] {
        &self.feet
    }

    /// Returns the lowest row of what stands at a pixel, or None where nothing does.
    #[inline]
    pub fn foot_row(&self, row: usize, column: usize) -> Option<usize> {
        let sampled = column / STRIDE;
        let own = self.sampled_foot_row(row, sampled);
        // A slanting edge may cross between two of the columns.
        match own {
            None if !column.is_multiple_of(STRIDE) && sampled + 1 < self.columns => {
                self.sampled_foot_row(row, sampled + 1)
            }
            own => own,
        }
    }

    #[inline]
    fn sampled_foot_row(&self, row: usize, sampled: usize) -> Option<usize> {
        let index = row.checked_sub(self.first_row)?;
        let foot = *self.rows.get(index * self.columns + sampled)?;
        (foot != NO_FOOT).then_some(usize::from(foot))
    }

    /// Returns the lowest foot around a pixel, within `reach` columns and over gaps of less than a
    /// sixth of that; None where nothing stands at the pixel.
    pub fn lowest_row(&self, row: usize, column: usize, reach: usize) -> Option<usize> {
        let own = self.foot_row(row, column)?;
        let reach = reach.min(self.columns * STRIDE);
        let left = self.lowest_beside(row, reach, |away| column.checked_sub(away));
        let right = self.lowest_beside(row, reach, |away| Some(column + away));
        Some(left.into_iter().chain(right).fold(own, usize::max))
    }

    /// The lowest of the feet on one side of a pixel.
    #[inline]
    fn lowest_beside(
        &self,
        row: usize,
        reach: usize,
        at: impl Fn(usize) -> Option<usize>,
    ) -> Option<usize> {
        let step = (reach / SAMPLES).max(STRIDE);
        let mut lowest = None;
        let mut missed = 0;
        for index in 1..=SAMPLES {
            if index * step > reach.max(step) {
                break;
            }
            let Some(column) = at(index * step).filter(|at| at / STRIDE < self.columns) else {
                break;
            };
            match self.foot_row(row, column) {
                Some(foot) => (lowest, missed) = (lowest.max(Some(foot)), 0),
                None => missed += 1,
            }
            if missed == 2 {
                break;
            }
        }
        lowest
    }
}

/// Whether two parts of rows are equal; those of the usual length without a call.
#[inline]
pub(super) fn are_equal(part: Option<&[u8]>, other: &[u8]) -> bool {
    let whole = |part: &[u8]| part.first_chunk::<PART>().copied();
    match (part, part.and_then(whole), whole(other)) {
        (_, Some(part), Some(other)) => part == other,
        (part, ..) => part == Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::ClassTable;

    /// `.` road, `C` car, from a picture.
    fn feet(picture: &[&str], first_row: usize) -> Feet {
        let classes = ClassTable {
            names: vec!["Road".into(), "Car".into()],
            palette: vec![[0; 3]; 2],
            drivable: vec![true, false],
            ignore_id: 255,
        };
        let mask = LabelMask {
            width: picture[0].len(),
            height: picture.len(),
            ids: picture
                .concat()
                .bytes()
                .map(|b| u8::from(b == b'C'))
                .collect(),
        };
        let mut feet = Feet::default();
        feet.find(&mask, &SurfaceTable::new(&classes), first_row);
        feet
    }

    #[test]
    fn each_pixel_knows_the_foot_of_its_own_run() {
        let feet = feet(&["CC....", "......", "CC..CC", "CC..CC", "....CC"], 0);
        assert_eq!(feet.foot_row(0, 0), Some(0));
        assert_eq!(feet.foot_row(1, 0), None);
        assert_eq!(feet.foot_row(2, 1), Some(3));
        assert_eq!(feet.foot_row(2, 4), Some(4));
        assert_eq!((feet.foot_row(5, 0), feet.foot_row(0, 6)), (None, None));
        let rows: Vec<_> = feet.all().iter().map(|f| (f.row, f.column)).collect();
        assert_eq!(rows, [(4, 4), (3, 0), (0, 0)]);
    }

    #[test]
    fn rows_above_the_first_are_not_looked_at() {
        let feet = feet(&["CC..", "CC..", "CC.."], 2);
        assert_eq!((feet.foot_row(1, 0), feet.foot_row(2, 0)), (None, Some(2)));
        let nothing = self::feet(&["CC.."], 9);
        assert_eq!((nothing.foot_row(0, 0), nothing.all().len()), (None, 0));
    }

    /// A body 60 wide and 6 high on wheels at its ends, the right one lower; road beyond it.
    fn on_wheels() -> Feet {
        let body = "C".repeat(60) + &".".repeat(20);
        let both = "C".repeat(6) + &".".repeat(48) + &"C".repeat(6) + &".".repeat(20);
        let right = ".".repeat(54) + &"C".repeat(6) + &".".repeat(20);
        let rows: Vec<&str> = std::iter::repeat_n(body.as_str(), 6)
            .chain(std::iter::repeat_n(both.as_str(), 2))
            .chain(std::iter::repeat_n(right.as_str(), 4))
            .collect();
        feet(&rows, 0)
    }

    #[test]
    fn the_lowest_foot_is_looked_for_as_far_as_the_body_reaches() {
        let feet = on_wheels();
        assert_eq!(feet.foot_row(2, 30), Some(5), "the body's own lower edge");
        assert_eq!(feet.lowest_row(2, 30, 32), Some(11));
        assert_eq!(feet.lowest_row(2, 30, 8), Some(5), "no wheel in reach");
        assert_eq!(feet.lowest_row(2, 70, 8), None);
        assert_eq!(
            feet.lowest_row(2, 2, 64),
            Some(11),
            "beyond the image's edge nothing is"
        );
    }

    #[test]
    fn between_the_columns_looked_at_a_slanting_edge_has_a_foot() {
        let feet = feet(&["CCCC", "...C", "...C"], 0);
        assert_eq!(feet.foot_row(0, 1), Some(0));
        let slant = self::feet(&["....", "..CC"], 0);
        assert_eq!(
            (slant.foot_row(1, 1), slant.foot_row(1, 0)),
            (Some(1), None)
        );
    }
}
