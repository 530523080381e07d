//! Square cells on the ground.

/// A grid of square cells on the ground, axis-aligned in the grid's frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CellLattice {
    /// x and y of the corner of cell (0, 0), metres.
    pub origin_m: [f64; 2],
    /// Side of a cell, metres.
    pub cell_m: f64,
    /// Cells along x.
    pub columns: usize,
    /// Cells along y.
    pub rows: usize,
}

impl CellLattice {
    /// Returns the middle of a cell, metres.
    #[inline]
    pub fn centre_m(&self, row: usize, column: usize) -> [f64; 2] {
        [
            self.origin_m[0] + (column as f64 + 0.5) * self.cell_m,
            self.origin_m[1] + (row as f64 + 0.5) * self.cell_m,
        ]
    }

    /// Returns the index, row by row, of the cell that holds a point; None outside.
    #[inline]
    pub fn cell_at(&self, point_m: [f64; 2]) -> Option<usize> {
        let [column, row] = [0, 1].map(|i| (point_m[i] - self.origin_m[i]) / self.cell_m);
        let inside =
            column >= 0.0 && row >= 0.0 && column < self.columns as f64 && row < self.rows as f64;
        inside.then(|| row as usize * self.columns + column as usize)
    }

    /// Calls `take` with the index of each cell whose middle is within `radius_m` of a point.
    pub fn for_each_within(&self, [x, y]: [f64; 2], radius_m: f64, mut take: impl FnMut(usize)) {
        let span = |middle: f64, origin: f64, count: usize| {
            let low = ((middle - radius_m - origin) / self.cell_m)
                .floor()
                .max(0.0);
            let high = ((middle + radius_m - origin) / self.cell_m).ceil();
            low as usize..(high.max(0.0) as usize).min(count)
        };
        for row in span(y, self.origin_m[1], self.rows) {
            for column in span(x, self.origin_m[0], self.columns) {
                let [cx, cy] = self.centre_m(row, column);
                let (dx, dy) = (cx - x, cy - y);
                if dx * dx + dy * dy <= radius_m * radius_m {
                    take(row * self.columns + column);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_holds_its_middle_and_no_point_outside_is_in_one() {
        let lattice = CellLattice {
            origin_m: [-3.0, 7.0],
            cell_m: 0.25,
            columns: 5,
            rows: 3,
        };
        for row in 0..3 {
            for column in 0..5 {
                let middle = lattice.centre_m(row, column);
                assert_eq!(lattice.cell_at(middle), Some(row * 5 + column));
            }
        }
        for outside in [
            [-3.1, 7.1],
            [-2.9, 6.9],
            [-1.7, 7.1],
            [-2.9, 7.8],
            [f64::NAN, 7.1],
        ] {
            assert_eq!(lattice.cell_at(outside), None, "{outside:?}");
        }
    }

    #[test]
    fn the_cells_within_a_radius_are_a_disc_cut_by_the_edge() {
        let lattice = CellLattice {
            origin_m: [0.0; 2],
            cell_m: 1.0,
            columns: 4,
            rows: 4,
        };
        let within = |point, radius_m| {
            let mut cells = Vec::new();
            lattice.for_each_within(point, radius_m, |at| cells.push(at));
            cells
        };
        assert_eq!(within([1.5, 1.5], 1.0), [1, 4, 5, 6, 9]);
        assert_eq!(within([0.5, 0.5], 1.0), [0, 1, 4]);
        assert_eq!(within([-5.0, 0.5], 1.0), [0usize; 0]);
    }
}
