//! What one frame says about each cell of a grid: cells are looked up in the mask, not pixels thrown
//! at cells, so that far away a pixel fills every cell that it covers.

use super::body::Bodies;
use super::camera::RayTable;
use super::feet::{Feet, Foot};
use super::ground::GroundView;
use super::lattice::CellLattice;
use super::surface::{Surface, SurfaceTable};
use crate::labels::LabelMask;

/// Ground at less optical depth than this is not looked at, metres.
const NEAREST_M: f64 = 0.1;
/// Free cells in a row between two blocked ones that are taken to be under one body.
const GAP_CELLS: usize = 2;
/// Half of the longest thing with a margin, metres: so far beside a foot its lowest is looked for.
const HALF_RIDER_M: f64 = 0.6;

/// What a frame says about a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Evidence {
    /// Not seen: outside the view, too far, or behind the vehicle's own bonnet.
    #[default]
    Unseen,
    /// Behind something that stands.
    Hidden,
    /// Seen as ground.
    Ground {
        /// 0 free, to 99.
        cost: i8,
        /// How much of a pixel's length on the ground the cell is, at most 1.
        weight: f32,
    },
    /// Taken by something that stands.
    Taken {
        /// As of `Ground`.
        weight: f32,
    },
    /// Ground that shows, but so near below a body that the body may be over it.
    Overhung,
}

/// A mask over the ground.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The camera over the ground.
    pub view: &'a GroundView<'a>,
    /// The camera's rays.
    pub rays: &'a RayTable,
    /// The mask, of the camera's size.
    pub mask: &'a LabelMask,
    /// What its classes are.
    pub surfaces: &'a SurfaceTable,
    /// Pixels that show the vehicle itself, non-zero, `[height, width]`; empty for none.
    pub ego_mask: &'a [u8],
    /// Ground farther from the camera than this is not looked at, metres.
    pub horizon_m: f64,
}

impl Scene<'_> {
    /// Returns what a pixel shows; nothing where it shows the vehicle itself.
    #[inline]
    pub(super) fn surface(&self, row: usize, column: usize) -> &Surface {
        let at = row * self.mask.width + column;
        if self.ego_mask.get(at).is_some_and(|own| *own != 0) {
            return &Surface::Void;
        }
        let id = self.mask.ids.get(at);
        id.map_or(&Surface::Void, |id| self.surfaces.surface(*id))
    }

    /// Returns the ground point that a pixel shows, if it shows the ground.
    #[inline]
    pub(super) fn point(&self, row: usize, column: usize) -> Option<[f64; 2]> {
        let ray = self.rays.ray(row, column)?;
        let [x, y, _] = self.view.point_from_ray(ray)?;
        Some([x, y])
    }

    /// Returns the distance over the ground from the camera to what a pixel shows of it, metres.
    #[inline]
    pub(super) fn range_m(&self, row: usize, column: usize) -> Option<f64> {
        let ([x, y], foot) = (self.point(row, column)?, self.view.foot_m());
        Some((x - foot[0]).hypot(y - foot[1]))
    }

    /// The highest row that may show ground nearer than the horizon, within 8 rows.
    fn first_ground_row(&self) -> usize {
        let (width, height) = (self.mask.width, self.mask.height);
        let shows_ground = |row: &usize| {
            (0..width).step_by(16).any(|column| {
                let range_m = self.range_m(*row, column);
                range_m.is_some_and(|range_m| range_m < self.horizon_m)
            })
        };
        let row = (0..height).step_by(8).find(shows_ground);
        row.unwrap_or(height).saturating_sub(8)
    }
}

/// Lays masks on the ground; keeps its buffers from frame to frame.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    feet: Feet,
    evidence: Vec<Evidence>,
    blocked: Vec<bool>,
}

impl Observer {
    /// Returns what `scene` says about each cell of `lattice`, row by row.
    pub fn observe(&mut self, scene: &Scene<'_>, lattice: &CellLattice) -> &[Evidence] {
        let first_row = scene.first_ground_row();
        self.feet.find(scene.mask, scene.surfaces, first_row);
        let look = Look {
            scene,
            feet: &self.feet,
            bodies: Bodies::new(scene, &self.feet),
            foot_m: scene.view.foot_m(),
            weight_m2: lattice.cell_m * scene.view.height_m() * scene.view.camera().focal_px()[1],
        };
        self.evidence.clear();
        for row in 0..lattice.rows {
            let cells = 0..lattice.columns;
            self.evidence
                .extend(cells.map(|column| look.evidence(lattice.centre_m(row, column))));
        }
        close_gaps(&mut self.evidence, &mut self.blocked, lattice.columns);
        for foot in self.feet.all() {
            look.take_margin(foot, lattice, &mut self.evidence);
        }
        &self.evidence
    }

    /// Returns what the last frame said about each cell.
    pub fn evidence(&self) -> &[Evidence] {
        &self.evidence
    }

    /// Returns where things meet the ground in the mask last observed.
    pub fn feet(&self) -> &Feet {
        &self.feet
    }
}

struct Look<'a> {
    scene: &'a Scene<'a>,
    feet: &'a Feet,
    bodies: Bodies<'a>,
    /// Ground point under the camera.
    foot_m: [f64; 2],
    /// Over the squared range, a cell's share of a pixel's length on the ground.
    weight_m2: f64,
}

impl Look<'_> {
    #[inline]
    fn evidence(&self, point: [f64; 2]) -> Evidence {
        let Scene {
            view, horizon_m, ..
        } = *self.scene;
        let optical = view.optical_from_ground(point);
        let (dx, dy) = (point[0] - self.foot_m[0], point[1] - self.foot_m[1]);
        let squared = dx * dx + dy * dy;
        if optical[2] < NEAREST_M || squared > horizon_m * horizon_m {
            return Evidence::Unseen;
        }
        let camera = view.camera();
        let pixel = camera.pixel_from_ray(optical);
        let Some([row, column]) = pixel.and_then(|pixel| camera.place(pixel)) else {
            return Evidence::Unseen;
        };
        let weight = (self.weight_m2 / squared).min(1.0) as f32;
        match *self.scene.surface(row, column) {
            Surface::Void => Evidence::Unseen,
            Surface::Standing(standing) => {
                let foot_row = self.feet.foot_row(row, column);
                let foot_m = foot_row.and_then(|row| self.scene.range_m(row, column));
                if foot_m.is_none_or(|foot_m| squared.sqrt() <= foot_m + standing.depth_m) {
                    Evidence::Taken { weight }
                } else {
                    Evidence::Hidden
                }
            }
            Surface::Flat(_) if self.bodies.overhang(optical, squared.sqrt()) => Evidence::Overhung,
            Surface::Flat(cost) => Evidence::Ground { cost, weight },
        }
    }

    /// Takes the ground around the foot of someone whose outline is thinner than what they need:
    /// discs from the line between their feet as far back as they reach.
    fn take_margin(&self, foot: &Foot, lattice: &CellLattice, evidence: &mut [Evidence]) {
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
        let back_m = (standing.depth_m - standing.margin_m).max(0.0);
        let discs = (back_m / standing.margin_m).ceil().clamp(1.0, 64.0);
        for disc in 0..=discs as usize {
            let behind = back_m * disc as f64 / discs / range_m;
            let middle = [0, 1].map(|i| point[i] + away[i] * behind);
            lattice.for_each_within(middle, standing.margin_m, |at| {
                if let Some(cell) = evidence.get_mut(at) {
                    *cell = Evidence::Taken { weight };
                }
            });
        }
    }
}

/// Free cells between two blocked ones, along x or y, are under what blocks them.
fn close_gaps(evidence: &mut [Evidence], blocked: &mut Vec<bool>, columns: usize) {
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
