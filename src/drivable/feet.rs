//! Where things that stand meet the ground in the image.

use super::surface::{Surface, SurfaceTable};
use crate::labels::LabelMask;

/// Columns that share a foot: 2 pixels are 2 cm at 10 m for a camera of 1000 pixels' focal length.
const STRIDE: usize = 2;
/// Feet looked at to each side of a pixel for their hull.
const SAMPLES: usize = 12;
/// Of those, the ones as near as a wheel is to its body's corner.
const CORNER_SAMPLES: usize = 3;
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
    last_row: usize,
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
        self.last_row = height.saturating_sub(1);
        self.columns = mask.width.div_ceil(STRIDE);
        self.feet.clear();
        self.rows
            .resize(self.columns * (height - self.first_row), NO_FOOT);
        let mut below = vec![NO_FOOT; self.columns];
        let labels = mask.ids.chunks_exact(mask.width.max(1));
        let rows = self.rows.chunks_exact_mut(self.columns.max(1));
        let from_below = labels.skip(self.first_row).zip(rows).enumerate().rev();
        for (index, (labels, feet)) in from_below {
            let row = index + self.first_row;
            let ids = labels.iter().step_by(STRIDE);
            for (column, ((id, foot), below)) in ids.zip(feet).zip(&mut below).enumerate() {
                *below = match (stands[usize::from(*id)], *below) {
                    (false, _) => NO_FOOT,
                    (true, NO_FOOT) => {
                        self.feet.push(Foot {
                            row,
                            column: column * STRIDE,
                            id: *id,
                        });
                        row as u16
                    }
                    (true, lowest) => lowest,
                };
                *foot = *below;
            }
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

    /// Returns the row, at a pixel's column, of the lower hull of the feet around the pixel: within
    /// `reach` columns and over gaps of less than a quarter of that. None where nothing stands at
    /// the pixel. A line on the ground is a line in the image, so between two wheels the hull is
    /// where the body's side stands over the ground. Where the image's edge cuts what stands there
    /// its nearest wheel may be out of view, and the hull is the image's lower edge.
    pub fn hull_row(&self, row: usize, column: usize, reach: usize) -> Option<f64> {
        let own = self.foot_row(row, column)? as f64;
        let (left, left_cut) = self.feet_beside(row, reach, |away| column.checked_sub(away));
        let (right, right_cut) = self.feet_beside(row, reach, |away| {
            Some(column + away).filter(|at| at / STRIDE < self.columns)
        });
        let mut hull = own;
        if left_cut || right_cut {
            return Some(self.last_row as f64);
        }
        // At a body's corner the wheel beside stands for what the body hides.
        let close = left
            .iter()
            .take(CORNER_SAMPLES)
            .chain(right.iter().take(CORNER_SAMPLES));
        hull = close
            .flatten()
            .fold(hull, |lowest, (_, row)| lowest.max(*row));
        for (left_away, left_row) in left.iter().flatten() {
            for (right_away, right_row) in right.iter().flatten() {
                let share = left_away / (left_away + right_away);
                hull = hull.max(left_row + (right_row - left_row) * share);
            }
        }
        Some(hull)
    }

    /// Returns the lowest foot around a pixel, within `reach` columns and over gaps of less than a
    /// quarter of that; None where nothing stands at the pixel.
    pub fn lowest_row(&self, row: usize, column: usize, reach: usize) -> Option<usize> {
        let own = self.foot_row(row, column)?;
        let (left, _) = self.feet_beside(row, reach, |away| column.checked_sub(away));
        let (right, _) = self.feet_beside(row, reach, |away| {
            Some(column + away).filter(|at| at / STRIDE < self.columns)
        });
        let beside = left.iter().chain(&right).flatten();
        Some(beside.fold(own, |lowest, (_, row)| lowest.max(*row as usize)))
    }

    /// Distance in columns and row of the feet on one side of a pixel, nearest first, and whether
    /// the image's edge cuts what stands there.
    #[inline]
    fn feet_beside(
        &self,
        row: usize,
        reach: usize,
        at: impl Fn(usize) -> Option<usize>,
    ) -> ([Option<(f64, f64)>; SAMPLES], bool) {
        let step = (reach / SAMPLES).max(STRIDE);
        let mut feet = [None; SAMPLES];
        let mut missed = 0;
        for (index, foot) in feet.iter_mut().enumerate() {
            let away = (index + 1) * step;
            let Some(column) = at(away) else {
                return (feet, missed == 0);
            };
            match self.foot_row(row, column) {
                Some(row) => (*foot, missed) = (Some((away as f64, row as f64)), 0),
                None => missed += 1,
            }
            if missed == 2 {
                break;
            }
        }
        (feet, false)
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
    fn between_two_wheels_the_hull_is_the_line_from_one_to_the_other() {
        let feet = on_wheels();
        assert_eq!(feet.foot_row(2, 30), Some(5), "the body's own lower edge");
        let middle = feet.hull_row(2, 34, 32);
        // From row 7 at column 2 to row 11 at column 54: 9.46 at column 34.
        assert!(
            middle.is_some_and(|row| (9.4..9.5).contains(&row)),
            "{middle:?}"
        );
        assert_eq!(feet.lowest_row(2, 30, 32), Some(11));
        assert_eq!(feet.lowest_row(2, 30, 8), Some(5), "no wheel in reach");
        assert_eq!(
            (feet.hull_row(2, 70, 8), feet.lowest_row(2, 70, 8)),
            (None, None)
        );
    }

    #[test]
    fn where_the_image_cuts_a_body_its_lowest_wheel_counts() {
        let feet = on_wheels();
        assert_eq!(feet.hull_row(2, 2, 64), Some(11.0));
    }
}
