//! The rolling grid: what many frames say about each cell, as log-odds that fade. What is blocked is
//! remembered out of view; what is free there only until something could have come in.

use super::cell_memory::Cell;
pub use super::grid_config::{GridConfig, GridError};
use super::lattice::CellLattice;
use super::observe::Evidence;
use crate::pose::Pose;

/// A cell that is not decided.
pub const UNKNOWN: i8 = -1;
/// A cell that a vehicle may use.
pub const FREE: i8 = 0;
/// A cell that must not be entered.
pub const LETHAL: i8 = 100;

/// A grid that would lie more cells than this from the frame's origin is at no place: at 0.1 m it is
/// farther than the moon, and nearer a cell's place is exact.
const FARTHEST_CELLS: f64 = 1e10;

/// A published grid.
#[derive(Clone, Debug, PartialEq)]
pub struct DrivableGrid {
    /// Where its cells are, in the grid's frame.
    pub lattice: CellLattice,
    /// `UNKNOWN`, `FREE`, a cost from 1 to 99, or `LETHAL`; row-major, x fastest.
    pub cells: Vec<i8>,
}

/// An axis-aligned grid that follows the vehicle by whole cells.
#[derive(Clone, Debug)]
pub struct RollingGrid {
    config: GridConfig,
    /// Cell (0, 0) on the lattice of whole cells around the frame's origin.
    origin: [i64; 2],
    columns: usize,
    rows: usize,
    cells: Vec<Cell>,
    moved: Vec<Cell>,
    stamp_ns: Option<i64>,
    /// Part of a cell by which what may come in is ahead of the last whole one.
    entered: f64,
    /// Cells that what may come in reaches next, and after that.
    front: Vec<usize>,
    next_front: Vec<usize>,
}

impl RollingGrid {
    /// Returns an empty grid; errs on a setting out of range.
    pub fn new(config: GridConfig) -> Result<Self, GridError> {
        let [columns, rows] = config.check()?;
        Ok(Self {
            config,
            origin: [0; 2],
            columns,
            rows,
            cells: vec![Cell::default(); columns * rows],
            moved: Vec::new(),
            stamp_ns: None,
            entered: 0.0,
            front: Vec::new(),
            next_front: Vec::new(),
        })
    }

    /// Forgets everything, for when the clock or the odometry was set.
    pub fn clear(&mut self) {
        self.cells.fill(Cell::default());
        self.stamp_ns = None;
    }

    /// Moves the grid to the vehicle, by whole cells; what leaves it is forgotten. Returns false, with
    /// the grid empty and where it was, for a pose that is at no place: NaN, or absurdly far.
    pub fn follow(&mut self, base_in_grid: &Pose) -> bool {
        let m = self.config.resolution_m;
        let (sin, cos) = base_in_grid.yaw().sin_cos();
        let middle = [cos, sin];
        let half = [self.columns as f64 * 0.5, self.rows as f64 * 0.5];
        let corner = [0, 1].map(|i| {
            let centre_m = base_in_grid.translation[i] + self.config.ahead_m * middle[i];
            (centre_m / m - half[i]).round()
        });
        if !corner.iter().all(|cells| cells.abs() < FARTHEST_CELLS) {
            self.clear();
            return false;
        }
        let origin = corner.map(|cells| cells as i64);
        let by = [0, 1].map(|i| origin[i] - self.origin[i]);
        self.origin = origin;
        if by == [0, 0] {
            return true;
        }
        self.moved.clear();
        self.moved.resize(self.cells.len(), Cell::default());
        let kept_columns = overlap(by[0], self.columns);
        for row in overlap(by[1], self.rows) {
            let to = row * self.columns;
            let from = (row as i64 + by[1]) * self.columns as i64 + by[0];
            let from = (from + kept_columns.start as i64) as usize;
            let kept = self.cells.get(from..from + kept_columns.len());
            let place = self
                .moved
                .get_mut(to + kept_columns.start..to + kept_columns.end);
            if let (Some(place), Some(kept)) = (place, kept) {
                place.copy_from_slice(kept);
            }
        }
        std::mem::swap(&mut self.cells, &mut self.moved);
        true
    }

    /// Returns where the cells are now.
    pub fn lattice(&self) -> CellLattice {
        CellLattice {
            origin_m: self
                .origin
                .map(|cell| cell as f64 * self.config.resolution_m),
            cell_m: self.config.resolution_m,
            columns: self.columns,
            rows: self.rows,
        }
    }

    /// Takes in what a frame says about each cell of `lattice()`; frames of several cameras may have
    /// one stamp. A stamp before the last one empties the grid first. Errs, with nothing taken in,
    /// where the evidence is for another number of cells.
    pub fn fuse(&mut self, stamp_ns: i64, evidence: &[Evidence]) -> Result<(), GridError> {
        self.fuse_among(stamp_ns, evidence, evidence)
    }

    /// Takes in a frame as [`RollingGrid::fuse`] does, where `seen` is what all cameras say, this one
    /// among them: what another sees is not hidden, nor out of view.
    pub fn fuse_among(
        &mut self,
        stamp_ns: i64,
        evidence: &[Evidence],
        seen: &[Evidence],
    ) -> Result<(), GridError> {
        for evidence in [evidence, seen] {
            if evidence.len() != self.cells.len() {
                return Err(GridError::Cells {
                    cells: self.cells.len(),
                    got: evidence.len(),
                });
            }
        }
        if self.stamp_ns.is_some_and(|before| stamp_ns < before) {
            self.clear();
        }
        let elapsed_s = self
            .stamp_ns
            .map_or(0.0, |before| stamp_ns.saturating_sub(before) as f64 * 1e-9);
        self.stamp_ns = Some(stamp_ns);
        let keep = (-elapsed_s / self.config.decay_s).exp() as f32;
        for (cell, (evidence, seen)) in self.cells.iter_mut().zip(evidence.iter().zip(seen)) {
            cell.odds *= keep;
            if *evidence != Evidence::Hidden || *seen == Evidence::Hidden {
                cell.take(*evidence);
            }
        }
        self.entered += self.config.entry_mps * elapsed_s / self.config.resolution_m;
        let rings = self.entered.floor();
        self.entered -= rings;
        self.give_up_unseen(rings as usize, seen);
        Ok(())
    }

    /// Free cells that the frame does not see, and that lie within `rings` cells of one that is not
    /// free or of the grid's edge, become unknown.
    fn give_up_unseen(&mut self, rings: usize, evidence: &[Evidence]) {
        let (columns, rows) = (self.columns, self.rows);
        let beside = |at: usize| {
            let (row, column) = (at / columns, at % columns);
            let across = column.saturating_sub(1)..(column + 2).min(columns);
            let along = row.saturating_sub(1)..(row + 2).min(rows);
            along.flat_map(move |row| across.clone().map(move |column| row * columns + column))
        };
        let is_edge = |at: usize| {
            let (row, column) = (at / columns, at % columns);
            row == 0 || column == 0 || row + 1 == rows || column + 1 == columns
        };
        let is_free = |cells: &[Cell], at: usize| cells.get(at).is_some_and(Cell::is_free);
        let is_left = |cells: &[Cell], at: usize| {
            is_free(cells, at) && evidence.get(at) == Some(&Evidence::Unseen)
        };
        if rings == 0 {
            return;
        }
        self.front.clear();
        for (at, evidence) in evidence.iter().enumerate() {
            let is_left = *evidence == Evidence::Unseen && is_free(&self.cells, at);
            if is_left && (is_edge(at) || beside(at).any(|other| !is_free(&self.cells, other))) {
                self.front.push(at);
            }
        }
        for _ in 0..rings {
            for at in &self.front {
                if let Some(cell) = self.cells.get_mut(*at) {
                    cell.odds = 0.0;
                }
            }
            self.next_front.clear();
            for at in &self.front {
                let reached = beside(*at).filter(|other| is_left(&self.cells, *other));
                self.next_front.extend(reached);
            }
            self.next_front.sort_unstable();
            self.next_front.dedup();
            std::mem::swap(&mut self.front, &mut self.next_front);
            if self.front.is_empty() {
                break;
            }
        }
    }

    /// Returns the cells as they stand.
    pub fn drivable(&self) -> DrivableGrid {
        DrivableGrid {
            lattice: self.lattice(),
            cells: self.cells.iter().map(Cell::value).collect(),
        }
    }
}

/// The places of `count` that a move by `by` leaves filled.
fn overlap(by: i64, count: usize) -> std::ops::Range<usize> {
    let count = count as i64;
    let start = (-by).clamp(0, count);
    let end = (count - by).clamp(start, count);
    start as usize..end as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Result, ensure};

    const SECOND: i64 = 1_000_000_000;
    const SEEN_FREE: Evidence = Evidence::Ground {
        cost: FREE,
        weight: 1.0,
    };
    const SEEN_TAKEN: Evidence = Evidence::Taken { weight: 1.0 };

    fn grid() -> Result<RollingGrid, GridError> {
        RollingGrid::new(GridConfig {
            size_m: [1.0, 0.6],
            resolution_m: 0.2,
            entry_mps: 0.0,
            ..GridConfig::default()
        })
    }

    fn at(x: f64, y: f64) -> Pose {
        Pose::from_euler([x, y, 0.0], 0.0, 0.0, 0.0)
    }

    #[test]
    fn cells_are_unknown_until_seen_and_again_when_long_unseen() -> Result<()> {
        let mut grid = grid()?;
        ensure!(grid.drivable().cells == [UNKNOWN; 15]);
        let mut evidence = [Evidence::Unseen; 15];
        evidence[3] = SEEN_FREE;
        evidence[4] = Evidence::Ground {
            cost: 80,
            weight: 1.0,
        };
        evidence[5] = SEEN_TAKEN;
        evidence[6] = Evidence::Hidden;
        grid.fuse(0, &evidence)?;
        let cells = grid.drivable().cells;
        ensure!(
            cells[2..7] == [UNKNOWN, FREE, 80, LETHAL, UNKNOWN],
            "{cells:?}"
        );
        grid.fuse(SECOND, &[Evidence::Unseen; 15])?;
        ensure!(grid.drivable().cells[3..6] == [FREE, 80, LETHAL]);
        grid.fuse(6 * SECOND, &[Evidence::Unseen; 15])?;
        ensure!(
            grid.drivable().cells == [UNKNOWN; 15],
            "6 s are two decay times"
        );
        Ok(())
    }

    #[test]
    fn free_cells_out_of_view_last_until_something_could_have_come_in() -> Result<()> {
        let mut grid = RollingGrid::new(GridConfig {
            size_m: [1.1, 1.1],
            resolution_m: 0.1,
            entry_mps: 1.0,
            ..GridConfig::default()
        })?;
        let free = |grid: &RollingGrid| {
            let cells = grid.drivable().cells;
            cells.iter().filter(|cell| **cell == FREE).count()
        };
        let mut evidence = [SEEN_FREE; 121];
        evidence[60] = SEEN_TAKEN;
        grid.fuse(0, &evidence)?;
        ensure!(free(&grid) == 120);
        // In 0.1 s one cell from the edge, and from what stands in the middle.
        grid.fuse(SECOND / 10, &[Evidence::Unseen; 121])?;
        ensure!(free(&grid) == 9 * 9 - 3 * 3, "{}", free(&grid));
        // What is seen stays.
        let mut half = [Evidence::Unseen; 121];
        half[..55].fill(SEEN_FREE);
        grid.fuse(SECOND / 5, &half)?;
        ensure!(grid.drivable().cells[..55].iter().all(|cell| *cell == FREE));
        ensure!(grid.drivable().cells[60] == LETHAL);
        grid.fuse(SECOND, &[Evidence::Unseen; 121])?;
        ensure!(free(&grid) == 0 && grid.drivable().cells[60] == LETHAL);
        Ok(())
    }

    #[test]
    fn one_look_blocks_a_free_cell_and_a_shadow_makes_it_unknown() -> Result<()> {
        for (evidence, expected) in [
            (SEEN_TAKEN, LETHAL),
            (Evidence::Overhung, LETHAL),
            (Evidence::Hidden, UNKNOWN),
        ] {
            let mut grid = grid()?;
            for frame in 0..20 {
                grid.fuse(frame * SECOND / 15, &[SEEN_FREE; 15])?;
            }
            grid.fuse(2 * SECOND, &[evidence; 15])?;
            ensure!(grid.drivable().cells == [expected; 15], "{evidence:?}");
        }
        Ok(())
    }

    #[test]
    fn what_another_camera_sees_is_neither_hidden_nor_out_of_view() -> Result<()> {
        let mut grid = RollingGrid::new(GridConfig {
            size_m: [1.0, 0.6],
            resolution_m: 0.2,
            entry_mps: 100.0,
            ..GridConfig::default()
        })?;
        let mut front = [Evidence::Unseen; 15];
        front[..10].fill(SEEN_FREE);
        let mut left = [Evidence::Unseen; 15];
        left[8..12].fill(Evidence::Hidden);
        let mut both = front;
        both[10..12].fill(Evidence::Hidden);
        for at in [0, 1] {
            grid.fuse_among(2 * at * SECOND / 10, &front, &both)?;
            grid.fuse_among((2 * at + 1) * SECOND / 10, &left, &both)?;
            let cells = grid.drivable().cells;
            ensure!(cells[..10] == [FREE; 10] && cells[10..] == [UNKNOWN; 5]);
        }
        // Without the other, the shadow and the border take what it saw.
        grid.fuse(SECOND, &left)?;
        ensure!(grid.drivable().cells == [UNKNOWN; 15]);
        let short = grid.fuse_among(SECOND, &left, &both[1..]).err();
        ensure!(short == Some(GridError::Cells { cells: 15, got: 14 }));
        Ok(())
    }

    #[test]
    fn a_cell_that_something_left_is_free_again_in_two_frames() -> Result<()> {
        let mut grid = grid()?;
        for frame in 0..20 {
            grid.fuse(frame * SECOND / 15, &[SEEN_TAKEN; 15])?;
        }
        grid.fuse(20 * SECOND / 15, &[SEEN_FREE; 15])?;
        ensure!(grid.drivable().cells[0] != FREE);
        grid.fuse(21 * SECOND / 15, &[SEEN_FREE; 15])?;
        ensure!(grid.drivable().cells == [FREE; 15]);
        Ok(())
    }

    #[test]
    fn the_grid_moves_by_whole_cells_and_keeps_what_it_knows() -> Result<()> {
        let mut grid = grid()?;
        grid.follow(&at(10.03, -4.0));
        let [x, y] = grid.lattice().origin_m;
        let snapped = |m: f64| ((m / 0.2).round() - m / 0.2).abs() < 1e-9;
        ensure!(
            snapped(x) && snapped(y) && (x - 9.53).abs() <= 0.1,
            "{x} {y}"
        );
        let mut evidence = [Evidence::Unseen; 15];
        evidence[7] = SEEN_TAKEN;
        grid.fuse(0, &evidence)?;
        let [cx, cy] = grid.lattice().centre_m(1, 2);
        grid.follow(&at(10.23, -4.2));
        let cells = grid.drivable();
        ensure!(cells.cells[11] == LETHAL, "{:?}", cells.cells);
        let [nx, ny] = cells.lattice.centre_m(2, 1);
        ensure!(
            (nx - cx).abs() < 1e-9 && (ny - cy).abs() < 1e-9,
            "the same place"
        );
        grid.follow(&at(12.0, -4.2));
        ensure!(grid.drivable().cells == [UNKNOWN; 15], "out of the grid");
        grid.follow(&at(-1e9, 1e9));
        ensure!(grid.drivable().cells == [UNKNOWN; 15]);
        Ok(())
    }

    #[test]
    fn a_pose_that_is_at_no_place_empties_the_grid_and_is_told() -> Result<()> {
        for place in [f64::NAN, f64::INFINITY, 1e300, -1e300, 1e13] {
            for axis in [0, 1] {
                let mut grid = grid()?;
                ensure!(grid.follow(&at(7.0, 3.0)));
                grid.fuse(0, &[SEEN_TAKEN; 15])?;
                let before = grid.lattice();
                let mut pose = at(7.0, 3.0);
                pose.translation[axis] = place;
                ensure!(!grid.follow(&pose), "{pose:?}");
                ensure!(grid.lattice() == before && grid.drivable().cells == [UNKNOWN; 15]);
                ensure!(grid.follow(&at(-1e8, 3.0)), "the grid goes on");
                grid.fuse(SECOND, &[SEEN_FREE; 15])?;
                ensure!(grid.drivable().cells == [FREE; 15]);
            }
        }
        let mut turned = at(7.0, 3.0);
        turned.rotation = [[f64::NAN; 3]; 3];
        ensure!(!grid()?.follow(&turned));
        Ok(())
    }

    #[test]
    fn the_middle_lies_ahead_along_the_heading() -> Result<()> {
        let mut grid = RollingGrid::new(GridConfig {
            ahead_m: 8.0,
            ..GridConfig::default()
        })?;
        let left = Pose::from_euler([0.0; 3], 0.0, 0.0, std::f64::consts::FRAC_PI_2);
        grid.follow(&left);
        let [x, y] = grid.lattice().origin_m;
        ensure!((x + 10.0).abs() < 1e-9 && (y + 2.0).abs() < 1e-9, "{x} {y}");
        Ok(())
    }

    #[test]
    fn time_set_back_empties_the_grid() -> Result<()> {
        let mut grid = grid()?;
        grid.fuse(10 * SECOND, &[SEEN_FREE; 15])?;
        grid.fuse(9 * SECOND, &[Evidence::Unseen; 15])?;
        ensure!(grid.drivable().cells == [UNKNOWN; 15]);
        Ok(())
    }

    #[test]
    fn settings_out_of_range_and_evidence_of_another_size_are_refused() -> Result<()> {
        let refused = |change: &dyn Fn(&mut GridConfig)| {
            let mut config = GridConfig::default();
            change(&mut config);
            RollingGrid::new(config)
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default()
        };
        ensure!(refused(&|c| c.resolution_m = 0.0).contains("grid.resolution_m is 0"));
        ensure!(refused(&|c| c.size_m = [20.0, f64::NAN]).contains("grid.size_m is NaN"));
        ensure!(refused(&|c| c.size_m = [1500.0, 1500.0]).contains("4 million"));
        ensure!(refused(&|c| c.decay_s = 0.0).contains("grid.decay_s"));
        ensure!(refused(&|c| c.entry_mps = -1.0).contains("grid.entry_mps is -1"));
        let error = grid()?.fuse(0, &[SEEN_FREE; 3]).err();
        ensure!(error == Some(GridError::Cells { cells: 15, got: 3 }));
        Ok(())
    }
}
