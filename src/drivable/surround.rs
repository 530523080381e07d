//! What several cameras see of the ground, told as one. Their frames come one after the other, and one
//! alone shows one side.

use super::lattice::CellLattice;
use super::observe::Evidence;

/// For how long a camera's last look stands beside newer ones, nanoseconds: two frames of a camera of
/// 5 Hz, and less than what decays in the grid.
const HOLDS_NS: i64 = 500_000_000;

/// The last look of each camera.
#[derive(Clone, Debug, Default)]
pub struct Surround {
    looks: Vec<Option<Look>>,
    merged: Vec<Evidence>,
}

/// What one frame said about each cell.
#[derive(Clone, Debug)]
struct Look {
    stamp_ns: i64,
    lattice: CellLattice,
    evidence: Vec<Evidence>,
}

impl Surround {
    /// Returns what so many cameras see before their first frames: nothing.
    pub fn new(cameras: usize) -> Self {
        Self {
            looks: vec![None; cameras],
            merged: Vec::new(),
        }
    }

    /// Forgets every look, for when the clock or the odometry was set.
    pub fn clear(&mut self) {
        self.looks.fill(None);
    }

    /// Takes in what the camera in this place says about each cell of `lattice`, and returns what all
    /// of them say: of two looks at a cell the one that shows more of it, and of two that show it the
    /// worse. Other cameras' looks from more than half a second before `now_ns` do not count, nor do
    /// those on cells of another size.
    ///
    /// A camera alone is told as it is.
    pub fn take_in<'a>(
        &'a mut self,
        camera: usize,
        [stamp_ns, now_ns]: [i64; 2],
        lattice: &CellLattice,
        evidence: &'a [Evidence],
    ) -> &'a [Evidence] {
        if self.looks.len() < 2 {
            return evidence;
        }
        self.merged.clear();
        self.merged.extend_from_slice(evidence);
        for (place, look) in self.looks.iter().enumerate() {
            let Some(look) = look.as_ref().filter(|_| place != camera) else {
                continue;
            };
            if now_ns.saturating_sub(look.stamp_ns) <= HOLDS_NS {
                look.add_to(&mut self.merged, lattice);
            }
        }
        if let Some(place) = self.looks.get_mut(camera) {
            let mut kept = place.take().map_or_else(Vec::new, |look| look.evidence);
            kept.clear();
            kept.extend_from_slice(evidence);
            *place = Some(Look {
                stamp_ns,
                lattice: *lattice,
                evidence: kept,
            });
        }
        &self.merged
    }
}

impl Look {
    /// Adds what it says to `merged`, which is about the cells of `lattice`.
    fn add_to(&self, merged: &mut [Evidence], lattice: &CellLattice) {
        if self.lattice.cell_m != lattice.cell_m {
            return;
        }
        // Both are on whole cells.
        let [right, up] = [0, 1].map(|i| {
            let cells = (self.lattice.origin_m[i] - lattice.origin_m[i]) / lattice.cell_m;
            cells.round() as i64
        });
        let columns = places(right, self.lattice.columns, lattice.columns);
        for row in places(up, self.lattice.rows, lattice.rows) {
            let to = row * lattice.columns;
            let from = (row as i64 - up) * self.lattice.columns as i64 - right;
            let from = (from + columns.start as i64) as usize;
            let own = self.evidence.get(from..from + columns.len());
            let place = merged.get_mut(to + columns.start..to + columns.end);
            for (place, own) in place.into_iter().flatten().zip(own.into_iter().flatten()) {
                if weight_of(own) > weight_of(place) {
                    *place = *own;
                }
            }
        }
    }
}

/// The places among `count` at which `others` that begin at `offset` have one, too.
fn places(offset: i64, others: usize, count: usize) -> std::ops::Range<usize> {
    let count = count as i64;
    let start = offset.clamp(0, count);
    let end = (offset.saturating_add(others as i64)).clamp(start, count);
    start as usize..end as usize
}

/// The larger, the more a look says, and the worse.
fn weight_of(evidence: &Evidence) -> i16 {
    match evidence {
        Evidence::Unseen => 0,
        Evidence::Hidden => 1,
        Evidence::Ground { cost, .. } => 2 + i16::from(*cost),
        Evidence::Overhung => 200,
        Evidence::Taken { .. } => 201,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;
    const FREE: Evidence = Evidence::Ground {
        cost: 0,
        weight: 1.0,
    };
    const KERB: Evidence = Evidence::Ground {
        cost: 80,
        weight: 1.0,
    };
    const TAKEN: Evidence = Evidence::Taken { weight: 1.0 };
    const HIDDEN: Evidence = Evidence::Hidden;
    const UNSEEN: Evidence = Evidence::Unseen;

    fn lattice(x: i64, y: i64, columns: usize, rows: usize) -> CellLattice {
        CellLattice {
            origin_m: [x, y].map(|cells| cells as f64 * 0.1),
            cell_m: 0.1,
            columns,
            rows,
        }
    }

    #[test]
    fn of_two_looks_the_one_that_shows_more_counts_and_of_two_that_show_it_the_worse() {
        let cells = lattice(0, 0, 6, 1);
        let mut surround = Surround::new(2);
        let left = [UNSEEN, HIDDEN, FREE, FREE, TAKEN, HIDDEN];
        let front = [FREE, FREE, TAKEN, KERB, HIDDEN, UNSEEN];
        assert_eq!(surround.take_in(0, [0, 0], &cells, &left), left);
        let all = surround.take_in(1, [10 * MS, 10 * MS], &cells, &front);
        assert_eq!(all, [FREE, FREE, TAKEN, KERB, TAKEN, HIDDEN]);
        // A camera's own new look takes the place of its last.
        let all = surround.take_in(0, [20 * MS, 20 * MS], &cells, &[UNSEEN; 6]);
        assert_eq!(all, front);
    }

    #[test]
    fn what_was_seen_too_long_ago_or_is_forgotten_does_not_count() {
        let cells = lattice(0, 0, 2, 1);
        for (later_ms, counts) in [(500, true), (501, false)] {
            let mut surround = Surround::new(2);
            surround.take_in(0, [0, 0], &cells, &[FREE; 2]);
            let now = later_ms * MS;
            let all = surround.take_in(1, [now, now], &cells, &[UNSEEN; 2]);
            assert_eq!(all == [FREE; 2], counts, "{later_ms} ms later");
            surround.clear();
            surround.take_in(0, [now, now], &cells, &[FREE; 2]);
            surround.clear();
            let all = surround.take_in(1, [now, now], &cells, &[UNSEEN; 2]);
            assert_eq!(all, [UNSEEN; 2]);
        }
    }

    #[test]
    fn looks_stay_where_they_were_when_the_grid_moves() {
        let seen = [TAKEN, FREE, KERB, HIDDEN, FREE, TAKEN];
        for (x, y, expected) in [
            (0, 0, seen),
            (1, 0, [FREE, KERB, UNSEEN, FREE, TAKEN, UNSEEN]),
            (-1, 1, [UNSEEN, HIDDEN, FREE, UNSEEN, UNSEEN, UNSEEN]),
            (0, -1, [UNSEEN, UNSEEN, UNSEEN, TAKEN, FREE, KERB]),
            (9, 9, [UNSEEN; 6]),
            (i64::from(i32::MAX), -9, [UNSEEN; 6]),
        ] {
            let mut surround = Surround::new(2);
            surround.take_in(0, [0, 0], &lattice(7, -4, 3, 2), &seen);
            let moved = lattice(7 + x, -4 + y, 3, 2);
            let all = surround.take_in(1, [0, 0], &moved, &[UNSEEN; 6]);
            assert_eq!(all, expected, "moved by {x}, {y}");
        }
    }

    #[test]
    fn a_camera_alone_is_told_as_it_is() {
        let cells = lattice(0, 0, 2, 1);
        let mut surround = Surround::new(1);
        surround.take_in(0, [0, 0], &cells, &[TAKEN; 2]);
        assert_eq!(surround.take_in(0, [1, 1], &cells, &[FREE; 2]), [FREE; 2]);
        assert!(surround.merged.is_empty(), "nothing is copied for it");
    }
}
