//! Points of one frame for costmaps: what stands, and what is clear.

use super::lattice::CellLattice;
use super::observe::Evidence;

/// Returns the middles of the cells in which `mark_cost` or more begins: those beside a cell seen
/// as cheaper ground. Two-dimensional, in the grid's frame, metres.
///
/// At a mark cost of 100 these are the feet of what stands; at 80, kerbs as well.
pub fn obstacle_points(
    evidence: &[Evidence],
    lattice: &CellLattice,
    mark_cost: i8,
) -> Vec<[f64; 2]> {
    let is_marked = |cell: &Evidence| match cell {
        Evidence::Taken { .. } | Evidence::Overhung => true,
        Evidence::Ground { cost, .. } => *cost >= mark_cost,
        Evidence::Unseen | Evidence::Hidden => false,
    };
    let is_cheaper = |at: Option<usize>| {
        let cell = at.and_then(|at| evidence.get(at));
        cell.is_some_and(|cell| matches!(cell, Evidence::Ground { cost, .. } if *cost < mark_cost))
    };
    let columns = lattice.columns;
    let begins = |at: usize| {
        let column = at % columns;
        is_cheaper((column > 0).then(|| at - 1))
            || is_cheaper((column + 1 < columns).then_some(at + 1))
            || is_cheaper(at.checked_sub(columns))
            || is_cheaper(Some(at + columns))
    };
    (evidence.iter().enumerate())
        .filter(|(at, cell)| is_marked(cell) && begins(*at))
        .map(|(at, _)| lattice.centre_m(at / columns, at % columns))
        .collect()
}

/// Returns the middles of the cells seen as free, one of `every` along x and y, in the grid's frame,
/// metres.
pub fn drivable_points(
    evidence: &[Evidence],
    lattice: &CellLattice,
    every: usize,
) -> Vec<[f64; 2]> {
    let every = every.max(1);
    let columns = lattice.columns;
    (evidence.iter().enumerate())
        .filter(|(at, cell)| {
            let is_free = matches!(cell, Evidence::Ground { cost: 0, .. });
            is_free && (at / columns).is_multiple_of(every) && (at % columns).is_multiple_of(every)
        })
        .map(|(at, _)| lattice.centre_m(at / columns, at % columns))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Evidence = Evidence::Ground {
        cost: 0,
        weight: 1.0,
    };
    const PAVEMENT: Evidence = Evidence::Ground {
        cost: 80,
        weight: 1.0,
    };
    const TAKEN: Evidence = Evidence::Taken { weight: 1.0 };

    fn lattice(columns: usize, rows: usize) -> CellLattice {
        CellLattice {
            origin_m: [0.0; 2],
            cell_m: 1.0,
            columns,
            rows,
        }
    }

    #[test]
    fn marked_are_the_cells_where_what_blocks_begins() {
        let row = [FREE, TAKEN, TAKEN, Evidence::Hidden, PAVEMENT, TAKEN];
        let evidence = [row, row].concat();
        let marked = obstacle_points(&evidence, &lattice(6, 2), 100);
        assert_eq!(marked, [[1.5, 0.5], [5.5, 0.5], [1.5, 1.5], [5.5, 1.5]]);
        let with_kerbs = obstacle_points(&[FREE, PAVEMENT, PAVEMENT], &lattice(3, 1), 80);
        assert_eq!(with_kerbs, [[1.5, 0.5]]);
        assert!(obstacle_points(&[FREE, PAVEMENT], &lattice(2, 1), 100).is_empty());
    }

    #[test]
    fn rows_of_the_grid_do_not_touch_around_its_edge() {
        // The last cell of the first row and the first of the second are no neighbours.
        let evidence = [Evidence::Hidden, TAKEN, FREE, Evidence::Hidden];
        let marked = obstacle_points(&evidence, &lattice(2, 2), 100);
        assert!(marked.is_empty(), "{marked:?}");
    }

    #[test]
    fn clearing_points_are_the_free_cells_one_of_every() {
        let evidence = [FREE, FREE, TAKEN, FREE, FREE, FREE, FREE, FREE];
        let all = drivable_points(&evidence, &lattice(4, 2), 1);
        assert_eq!(all.len(), 7);
        let some = drivable_points(&evidence, &lattice(4, 2), 2);
        assert_eq!(
            some,
            [[0.5, 0.5]],
            "row 0, columns 0 and 2, of which 2 is taken"
        );
    }
}
