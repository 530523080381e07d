//! Points of one frame for costmaps: what stands, what is clear, and the mask on the ground.

use super::feet::Feet;
use super::lattice::CellLattice;
use super::observe::{Evidence, Scene};
use super::surface::Surface;

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

/// A mask, its confidence and the ground under it, of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct GroundMask {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Class ids, `[height, width]`.
    pub ids: Vec<u8>,
    /// Confidence, `[height, width]`; empty where none is given.
    pub confidence: Vec<u8>,
    /// Points in the camera's optical frame, `[height, width]`, metres: where a pixel of flat
    /// ground, or the foot of what stands, is. NaN elsewhere: above feet, in the sky, beyond the
    /// horizon, on the vehicle itself.
    pub points: Vec<[f32; 3]>,
}

/// Returns the scene's mask at `width` pixels a row and the height in proportion, each pixel that of
/// the mask in the middle of its block. `confidence` is `[height, width]` of the mask, or empty;
/// `feet` are of the same mask.
pub fn ground_mask(scene: &Scene<'_>, feet: &Feet, confidence: &[u8], width: usize) -> GroundMask {
    let mask = scene.mask;
    let width = width.clamp(1, mask.width.max(1));
    let height = (mask.height * width / mask.width.max(1)).max(1);
    let mut out = GroundMask {
        width,
        height,
        ids: Vec::with_capacity(width * height),
        confidence: Vec::new(),
        points: Vec::with_capacity(width * height),
    };
    for y in 0..height {
        let row = (2 * y + 1) * mask.height / (2 * height);
        let below = (2 * y + 3) * mask.height / (2 * height);
        for x in 0..width {
            let column = (2 * x + 1) * mask.width / (2 * width);
            let at = row * mask.width + column;
            let id = mask.ids.get(at).copied().unwrap_or(u8::MAX);
            out.ids.push(id);
            out.confidence.extend(confidence.get(at));
            let is_own = scene.ego_mask.get(at).is_some_and(|own| *own != 0);
            let place = match scene.surfaces.surface(id) {
                _ if is_own => None,
                Surface::Void => None,
                Surface::Flat(_) => Some(row),
                // The run's lowest pixel of this size stands for its foot.
                Surface::Standing(_) => feet.foot_row(row, column).filter(|foot| *foot < below),
            };
            let point = place.and_then(|row| optical_point(scene, row, column));
            out.points.push(point.unwrap_or([f32::NAN; 3]));
        }
    }
    out
}

/// The ground point that a pixel shows, in the optical frame.
fn optical_point(scene: &Scene<'_>, row: usize, column: usize) -> Option<[f32; 3]> {
    let point = scene.view.point_from_ray(scene.rays.ray(row, column)?)?;
    let foot = scene.view.foot_m();
    let range_m = (point[0] - foot[0]).hypot(point[1] - foot[1]);
    let optical = scene.view.optical_from_ground([point[0], point[1]]);
    (range_m < scene.horizon_m).then(|| optical.map(|v| v as f32))
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
