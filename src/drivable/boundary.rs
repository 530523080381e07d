//! The outline of the free region, as a polygon.

use super::grid::{DrivableGrid, FREE};

/// Steps along the sides of cells: +x, +y, -x, -y.
const STEPS: [[i64; 2]; 4] = [[1, 0], [0, 1], [-1, 0], [0, -1]];

/// Returns the outer outline of the free region that has a cell nearest to a point and within
/// `reach_m` of it, counter-clockwise, in the grid's frame, metres: the corners of its cells, less
/// those that lie within `tolerance_m` of the line between their neighbours. Holes are left out.
/// Empty where no free cell is in reach.
pub fn drivable_boundary(
    grid: &DrivableGrid,
    from_m: [f64; 2],
    reach_m: f64,
    tolerance_m: f64,
) -> Vec<[f64; 2]> {
    let lattice = grid.lattice;
    let Some(start) = nearest_free(grid, from_m, reach_m) else {
        return Vec::new();
    };
    let outline = traced(grid, start);
    let metres: Vec<[f64; 2]> = outline
        .iter()
        .map(|corner| [0, 1].map(|i| lattice.origin_m[i] + corner[i] as f64 * lattice.cell_m))
        .collect();
    thinned(&metres, tolerance_m)
}

fn nearest_free(grid: &DrivableGrid, [x, y]: [f64; 2], reach_m: f64) -> Option<[i64; 2]> {
    let lattice = grid.lattice;
    let distance = |at: usize| {
        let [cx, cy] = lattice.centre_m(at / lattice.columns, at % lattice.columns);
        (cx - x).hypot(cy - y)
    };
    let free = grid
        .cells
        .iter()
        .enumerate()
        .filter(|(_, cell)| **cell == FREE);
    let (at, _) = free
        .map(|(at, _)| (at, distance(at)))
        .filter(|(_, distance_m)| *distance_m <= reach_m)
        .min_by(|a, b| a.1.total_cmp(&b.1))?;
    Some([(at % lattice.columns) as i64, (at / lattice.columns) as i64])
}

fn is_free(grid: &DrivableGrid, [column, row]: [i64; 2]) -> bool {
    let (columns, rows) = (grid.lattice.columns as i64, grid.lattice.rows as i64);
    let inside = (0..columns).contains(&column) && (0..rows).contains(&row);
    inside && grid.cells.get((row * columns + column) as usize) == Some(&FREE)
}

/// Corners of the outer outline around the region of a free cell, with free cells on its left; each
/// a turn. Cells that touch at a corner alone are apart.
fn traced(grid: &DrivableGrid, cell: [i64; 2]) -> Vec<[i64; 2]> {
    let [column, row] = outermost(grid, cell);
    // Along the lower side of the region's lowest cell, with the cell on the left.
    let (start, mut heading) = ([column, row], 0);
    let mut at = start;
    let mut corners = vec![start];
    loop {
        let [dx, dy] = STEPS[heading];
        at = [at[0] + dx, at[1] + dy];
        // The cells ahead, to the left and to the right of the direction of travel.
        let ahead = |side: [i64; 2]| {
            let cell = [0, 1].map(|i| {
                // A corner's cells lie half a cell from it along each axis.
                at[i] + (STEPS[heading][i] + side[i] - 1).div_euclid(2)
            });
            is_free(grid, cell)
        };
        let left = STEPS[(heading + 1) % 4];
        let right = STEPS[(heading + 3) % 4];
        let turned = match (ahead(left), ahead(right)) {
            (false, _) => (heading + 1) % 4,
            (true, false) => heading,
            (true, true) => (heading + 3) % 4,
        };
        if at == start && turned == 0 {
            return corners;
        }
        if turned != heading {
            corners.push(at);
        }
        heading = turned;
    }
}

/// The cell of a region with the lowest row, and of those the lowest column.
fn outermost(grid: &DrivableGrid, cell: [i64; 2]) -> [i64; 2] {
    let mut seen = std::collections::HashSet::from([cell]);
    let mut open = vec![cell];
    let mut lowest = cell;
    while let Some(at) = open.pop() {
        if [at[1], at[0]] < [lowest[1], lowest[0]] {
            lowest = at;
        }
        for step in STEPS {
            let beside = [at[0] + step[0], at[1] + step[1]];
            if is_free(grid, beside) && seen.insert(beside) {
                open.push(beside);
            }
        }
    }
    lowest
}

/// Douglas and Peucker's thinning of a closed line, from its first point and the one farthest from
/// it.
fn thinned(points: &[[f64; 2]], tolerance_m: f64) -> Vec<[f64; 2]> {
    let Some(first) = points.first() else {
        return Vec::new();
    };
    let far = (0..points.len())
        .max_by(|a, b| {
            let away = |at: usize| (points[at][0] - first[0]).hypot(points[at][1] - first[1]);
            away(*a).total_cmp(&away(*b))
        })
        .unwrap_or(0);
    let mut closed = points.to_vec();
    closed.push(*first);
    let mut keep = vec![false; closed.len()];
    keep[0] = true;
    keep[far] = true;
    let mut spans = vec![(0, far), (far, closed.len() - 1)];
    while let Some((from, to)) = spans.pop() {
        let farthest = (from + 1..to)
            .map(|at| (at, distance_to_line(closed[at], closed[from], closed[to])))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((at, distance_m)) = farthest
            && distance_m > tolerance_m
        {
            keep[at] = true;
            spans.extend([(from, at), (at, to)]);
        }
    }
    let kept = points.iter().zip(&keep).filter(|(_, keep)| **keep);
    kept.map(|(point, _)| *point).collect()
}

fn distance_to_line(p: [f64; 2], a: [f64; 2], b: [f64; 2]) -> f64 {
    let (along, to) = ([b[0] - a[0], b[1] - a[1]], [p[0] - a[0], p[1] - a[1]]);
    let length = along[0].hypot(along[1]);
    if length == 0.0 {
        return to[0].hypot(to[1]);
    }
    ((along[0] * to[1] - along[1] * to[0]) / length).abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivable::grid::UNKNOWN;
    use crate::drivable::lattice::CellLattice;

    /// `.` free; the picture's first row is row 0, at y = 10.
    fn grid(picture: &[&str]) -> DrivableGrid {
        DrivableGrid {
            lattice: CellLattice {
                origin_m: [5.0, 10.0],
                cell_m: 0.5,
                columns: picture[0].len(),
                rows: picture.len(),
            },
            cells: picture
                .concat()
                .bytes()
                .map(|b| if b == b'.' { FREE } else { UNKNOWN })
                .collect(),
        }
    }

    fn area(polygon: &[[f64; 2]]) -> f64 {
        let next = polygon.iter().cycle().skip(1);
        polygon
            .iter()
            .zip(next)
            .map(|(a, b)| 0.5 * (a[0] * b[1] - a[1] * b[0]))
            .sum()
    }

    #[test]
    fn a_rectangle_has_four_corners_counter_clockwise() {
        let outline = drivable_boundary(
            &grid(&["####", "#..#", "#..#", "#..#"]),
            [5.0, 10.0],
            9.0,
            0.0,
        );
        assert_eq!(
            outline,
            [[5.5, 10.5], [6.5, 10.5], [6.5, 12.0], [5.5, 12.0]]
        );
        assert_eq!(area(&outline), 1.5);
    }

    #[test]
    fn the_outline_encloses_the_region_with_its_holes_and_no_other() {
        let picture = ["....#..", ".##.#..", ".#..#..", "....#.."];
        let outline = drivable_boundary(&grid(&picture), [5.0, 10.0], 9.0, 0.0);
        assert_eq!(area(&outline), 16.0 * 0.25);
        let other = drivable_boundary(&grid(&picture), [9.0, 10.0], 9.0, 0.0);
        assert_eq!(area(&other), 8.0 * 0.25);
    }

    #[test]
    fn cells_that_touch_at_a_corner_are_apart() {
        let outline = drivable_boundary(&grid(&[".#", "#."]), [5.1, 10.1], 1.0, 0.0);
        assert_eq!(
            outline,
            [[5.0, 10.0], [5.5, 10.0], [5.5, 10.5], [5.0, 10.5]]
        );
    }

    #[test]
    fn a_staircase_becomes_a_line_within_the_tolerance() {
        let picture = [".#####", "..####", "...###", "....##", ".....#", "......"];
        let exact = drivable_boundary(&grid(&picture), [5.0, 10.0], 9.0, 0.0);
        let thin = drivable_boundary(&grid(&picture), [5.0, 10.0], 9.0, 0.5);
        assert_eq!(exact.len(), 14);
        assert!(thin.len() <= 5, "{thin:?}");
        assert!((area(&thin) - area(&exact)).abs() < 1.0);
    }

    #[test]
    fn where_nothing_is_free_in_reach_there_is_no_outline() {
        let picture = ["#####.", "######"];
        assert!(drivable_boundary(&grid(&picture), [5.0, 10.0], 1.0, 0.1).is_empty());
        assert!(drivable_boundary(&grid(&["##"]), [5.0, 10.0], 9.0, 0.1).is_empty());
    }

    #[test]
    fn any_shape_is_traced_once_around() {
        // A fixed mix of cells, as ugly as they come.
        for seed in 0..200u64 {
            let letters: Vec<String> = (0..8)
                .map(|row| {
                    (0..8)
                        .map(|column| {
                            let mixed =
                                (seed * 64 + row * 8 + column).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                            if (mixed >> 33) % 5 < 3 { '.' } else { '#' }
                        })
                        .collect()
                })
                .collect();
            let picture: Vec<&str> = letters.iter().map(String::as_str).collect();
            let outline = drivable_boundary(&grid(&picture), [7.0, 12.0], 9.0, 0.0);
            assert!(
                area(&outline) >= 0.25 && outline.len().is_multiple_of(2),
                "seed {seed}"
            );
        }
    }
}
