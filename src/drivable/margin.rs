//! Ground that things take beyond their outline: around feet, and in gaps between blocked cells.

use super::feet::{Feet, Foot};
use super::lattice::CellLattice;
use super::observe::Evidence;
use super::scene::Scene;
use super::surface::Surface;

/// Free cells in a row between two blocked ones that are taken to be under one body.
const GAP_CELLS: usize = 2;
/// Half of the longest thing with a margin, metres: so far beside a foot its lowest is looked for.
const HALF_RIDER_M: f64 = 0.6;
/// So high over the ground someone's lowest pixel may be, metres: a sole, a raised foot.
const SOLE_M: f64 = 0.03;

/// The ground around feet.
pub(super) struct Margin<'a> {
    pub(super) scene: &'a Scene<'a>,
    pub(super) feet: &'a Feet,
    /// Ground point under the camera.
    pub(super) foot_m: [f64; 2],
    /// Over the squared range, a cell's share of a pixel's length on the ground.
    pub(super) weight_m2: f64,
}

impl Margin<'_> {
    /// Takes the ground around the foot of someone whose outline is thinner than what they need:
    /// discs from the line between their feet as far back as they reach.
    pub(super) fn take(&self, foot: &Foot, lattice: &CellLattice, evidence: &mut [Evidence]) {
        let Surface::Standing(standing) = *self.scene.surface(foot.row, foot.column) else {
            return;
        };
        if standing.margin_m <= 0.0 {
            return;
        }
        let Some(point) = self.scene.point(foot.row, foot.column) else {
            return;
        };
        let depth_m = self.scene.view.optical_from_ground(point)[2];
        let reach = HALF_RIDER_M * self.scene.view.camera().focal_px()[0] / depth_m;
        let lowest = self.feet.lowest_row(foot.row, foot.column, reach as usize);
        let Some(point) = lowest.and_then(|row| self.scene.point(row, foot.column)) else {
            return;
        };
        let away = [0, 1].map(|i| point[i] - self.foot_m[i]);
        let range_m = away[0].hypot(away[1]);
        let is_near = range_m < self.scene.horizon_m && range_m > 0.0;
        if !is_near {
            return;
        }
        let weight = (self.weight_m2 / (range_m * range_m)).min(1.0) as f32;
        let mut take = |middle: [f64; 2], radius_m: f64| {
            lattice.for_each_within(middle, radius_m, |at| {
                if let Some(cell) = evidence.get_mut(at) {
                    *cell = Evidence::Taken { weight };
                }
            });
        };
        // The rest of someone whom the image's edge cuts may lie to any side of what shows.
        let last = self.scene.mask.width.saturating_sub(1);
        if foot.column.min(last.saturating_sub(foot.column)) <= reach as usize {
            take(point, standing.margin_m + 0.5 * standing.depth_m);
        }
        let back_m = (standing.depth_m - standing.margin_m).max(0.0);
        // Seen at a height, a foot seems to stand farther away.
        let front_m = range_m * SOLE_M / self.scene.view.height_m();
        let discs = ((back_m + front_m) / standing.margin_m)
            .ceil()
            .clamp(1.0, 64.0);
        for disc in 0..=discs as usize {
            let behind = ((back_m + front_m) * disc as f64 / discs - front_m) / range_m;
            let middle = [0, 1].map(|i| point[i] + away[i] * behind);
            take(middle, standing.margin_m);
        }
    }
}

/// Free cells between two blocked ones, along x or y, are under what blocks them.
pub(super) fn close_gaps(evidence: &mut [Evidence], blocked: &mut Vec<bool>, columns: usize) {
    blocked.clear();
    blocked.extend(
        (evidence.iter()).map(|cell| matches!(cell, Evidence::Taken { .. } | Evidence::Overhung)),
    );
    let is_blocked = |at: Option<usize>| at.and_then(|at| blocked.get(at)) == Some(&true);
    let is_enclosed = |at: usize, step: usize| {
        (1..=GAP_CELLS).any(|k| is_blocked(at.checked_sub(k * step)))
            && (1..=GAP_CELLS).any(|k| is_blocked(at.checked_add(k * step)))
    };
    for (at, cell) in evidence.iter_mut().enumerate() {
        let is_free = matches!(cell, Evidence::Ground { cost: 0, .. });
        if is_free && (is_enclosed(at, 1) || is_enclosed(at, columns)) {
            *cell = Evidence::Overhung;
        }
    }
}
