//! Free space as a laser scanner would see it.

use super::lattice::CellLattice;
use super::observe::Evidence;

/// The beams of a scan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScanFan {
    /// Where the beams start, in the grid's frame, metres.
    pub from_m: [f64; 2],
    /// Direction of the first beam, counter-clockwise from the grid's x axis, radians.
    pub first_rad: f64,
    /// From one beam to the next, radians.
    pub step_rad: f64,
    /// Beams.
    pub count: usize,
    /// Reach of a beam, metres.
    pub reach_m: f64,
}

/// Returns each beam's range, metres: to the nearest cell that is not free to drive, infinite where
/// all that is seen along the beam is free, NaN where nothing is seen along it (REP-117).
pub fn free_space_scan(evidence: &[Evidence], lattice: &CellLattice, fan: &ScanFan) -> Vec<f32> {
    (0..fan.count)
        .map(|beam| {
            let (sin, cos) = (fan.first_rad + beam as f64 * fan.step_rad).sin_cos();
            range_m(evidence, lattice, fan, [cos, sin])
        })
        .collect()
}

fn range_m(
    evidence: &[Evidence],
    lattice: &CellLattice,
    fan: &ScanFan,
    direction: [f64; 2],
) -> f32 {
    let stride_m = lattice.cell_m * 0.5;
    let steps = (fan.reach_m / stride_m).floor().max(0.0) as usize;
    let mut is_seen = false;
    for step in 0..=steps {
        let range_m = step as f64 * stride_m;
        let point = [0, 1].map(|i| fan.from_m[i] + range_m * direction[i]);
        let Some(at) = lattice.cell_at(point) else {
            continue;
        };
        match evidence.get(at) {
            Some(Evidence::Ground { cost: 0, .. }) => is_seen = true,
            Some(Evidence::Taken { .. } | Evidence::Overhung | Evidence::Ground { .. }) => {
                return range_m as f32;
            }
            // A shadow begins where what casts it was passed between two cells.
            Some(Evidence::Hidden) if is_seen => return range_m as f32,
            _ => {}
        }
    }
    if is_seen { f32::INFINITY } else { f32::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beam_ends_at_the_first_cell_that_is_not_free() {
        let lattice = CellLattice {
            origin_m: [0.0, -1.0],
            cell_m: 0.5,
            columns: 8,
            rows: 4,
        };
        let free = Evidence::Ground {
            cost: 0,
            weight: 1.0,
        };
        let mut evidence = vec![free; 32];
        for row in 0..4 {
            evidence[row * 8] = Evidence::Unseen;
            evidence[row * 8 + 7] = Evidence::Taken { weight: 1.0 };
        }
        evidence[16 + 4] = Evidence::Ground {
            cost: 80,
            weight: 1.0,
        };
        let fan = ScanFan {
            from_m: [0.25, 0.25],
            first_rad: 0.0,
            step_rad: std::f64::consts::FRAC_PI_2,
            count: 3,
            reach_m: 9.0,
        };
        let ranges = free_space_scan(&evidence, &lattice, &fan);
        // The pavement's cell begins at x = 2; half a cell is the stride.
        assert_eq!(ranges[0], 1.75);
        assert!(ranges[1].is_nan(), "along the unseen column");
        assert!(ranges[2].is_nan(), "out of the grid");
        let short = ScanFan {
            reach_m: 1.0,
            ..fan
        };
        assert_eq!(
            free_space_scan(&evidence, &lattice, &short)[0],
            f32::INFINITY
        );
    }
}
