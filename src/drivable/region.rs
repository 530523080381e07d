//! Which of the free cells count: those the vehicle can reach, without specks and pinholes.

use super::grid::{DrivableGrid, FREE, UNKNOWN};

/// What is kept of the free cells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegionConfig {
    /// Free regions of which no cell is this near to base_link become unknown, metres; None keeps
    /// all.
    pub touching_m: Option<f64>,
    /// Unknown cells that free ones enclose become free up to this area, square metres.
    pub fill_holes_m2: f64,
    /// Smaller free regions become unknown, square metres.
    pub smallest_m2: f64,
}

impl Default for RegionConfig {
    fn default() -> Self {
        Self {
            touching_m: None,
            fill_holes_m2: 0.1,
            smallest_m2: 0.5,
        }
    }
}

/// Cells of one state that touch each other at their sides.
struct Region {
    cells: Vec<usize>,
    /// Whether the grid's edge, or a cell of a third state, touches it.
    is_open: bool,
}

/// Applies `config` to the free cells of `grid`; `base_m` is base_link's x and y in its frame.
/// What is blocked stays blocked: a hole is filled only where it is unknown.
pub fn keep_region(grid: &mut DrivableGrid, config: &RegionConfig, base_m: [f64; 2]) {
    let lattice = grid.lattice;
    let area_m2 = |region: &Region| region.cells.len() as f64 * lattice.cell_m * lattice.cell_m;
    for hole in regions(grid, UNKNOWN, FREE) {
        if !hole.is_open && area_m2(&hole) <= config.fill_holes_m2 {
            set(grid, &hole, FREE);
        }
    }
    for region in regions(grid, FREE, UNKNOWN) {
        let touches = config.touching_m.is_none_or(|reach_m| {
            region.cells.iter().any(|at| {
                let [x, y] = lattice.centre_m(at / lattice.columns, at % lattice.columns);
                (x - base_m[0]).hypot(y - base_m[1]) <= reach_m
            })
        });
        if !touches || area_m2(&region) < config.smallest_m2 {
            set(grid, &region, UNKNOWN);
        }
    }
}

fn set(grid: &mut DrivableGrid, region: &Region, value: i8) {
    for at in &region.cells {
        if let Some(cell) = grid.cells.get_mut(*at) {
            *cell = value;
        }
    }
}

/// The regions of cells that hold `state`; one is open unless only `other` surrounds it.
fn regions(grid: &DrivableGrid, state: i8, other: i8) -> Vec<Region> {
    let (columns, rows) = (grid.lattice.columns, grid.lattice.rows);
    let mut seen = vec![false; grid.cells.len()];
    let mut found = Vec::new();
    for start in 0..grid.cells.len() {
        if grid.cells[start] != state || seen[start] {
            continue;
        }
        let mut region = Region {
            cells: vec![start],
            is_open: false,
        };
        seen[start] = true;
        let mut next = 0;
        while let Some(&at) = region.cells.get(next) {
            next += 1;
            let (row, column) = (at / columns, at % columns);
            region.is_open |= row == 0 || column == 0 || row + 1 == rows || column + 1 == columns;
            let beside = [
                (column > 0).then(|| at - 1),
                (column + 1 < columns).then_some(at + 1),
                (row > 0).then(|| at - columns),
                (row + 1 < rows).then_some(at + columns),
            ];
            for neighbour in beside.into_iter().flatten() {
                let value = grid.cells[neighbour];
                region.is_open |= value != state && value != other;
                if value == state && !seen[neighbour] {
                    seen[neighbour] = true;
                    region.cells.push(neighbour);
                }
            }
        }
        found.push(region);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivable::grid::LETHAL;
    use crate::drivable::lattice::CellLattice;

    /// `.` free, `?` unknown, `#` lethal; cells of 1 m.
    fn kept(picture: &[&str], config: RegionConfig) -> String {
        let value = |b: u8| match b {
            b'.' => FREE,
            b'#' => LETHAL,
            _ => UNKNOWN,
        };
        let mut grid = DrivableGrid {
            lattice: CellLattice {
                origin_m: [0.0; 2],
                cell_m: 1.0,
                columns: picture[0].len(),
                rows: picture.len(),
            },
            cells: picture.concat().bytes().map(value).collect(),
        };
        keep_region(&mut grid, &config, [0.5, 0.5]);
        let letter = |cell: &i8| match *cell {
            FREE => '.',
            LETHAL => '#',
            _ => '?',
        };
        grid.cells.iter().map(letter).collect()
    }

    const ALL: RegionConfig = RegionConfig {
        touching_m: None,
        fill_holes_m2: 0.0,
        smallest_m2: 0.0,
    };

    #[test]
    fn holes_are_filled_up_to_their_size_but_never_what_is_blocked() {
        let picture = [".......", ".?.#.?.", "...?.?.", "......."];
        assert_eq!(kept(&picture, ALL), picture.concat());
        let one = RegionConfig {
            fill_holes_m2: 1.0,
            ..ALL
        };
        assert_eq!(kept(&picture, one), "..........#.?....?.?........");
        let two = RegionConfig {
            fill_holes_m2: 2.0,
            ..ALL
        };
        // The unknown cell below the blocked one may be its shadow.
        assert_eq!(kept(&picture, two), "..........#......?..........");
    }

    #[test]
    fn an_unknown_edge_of_the_grid_is_no_hole() {
        let config = RegionConfig {
            fill_holes_m2: 9.0,
            ..ALL
        };
        assert_eq!(kept(&["..?", "...", "..."], config), "..?......");
    }

    #[test]
    fn regions_that_are_too_small_or_out_of_reach_become_unknown() {
        let picture = ["..##.", "..##.", "####.", "..###"];
        let small = RegionConfig {
            smallest_m2: 3.0,
            ..ALL
        };
        assert_eq!(kept(&picture, small), "..##...##.####.??###");
        let touching = RegionConfig {
            touching_m: Some(2.0),
            ..ALL
        };
        assert_eq!(kept(&picture, touching), "..##?..##?####???###");
    }
}
