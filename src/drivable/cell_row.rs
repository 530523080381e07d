//! A row of cells as a camera sees them: the same few sums for each, over many cells at once.

use super::lattice::CellLattice;
use super::scene::Scene;

/// Ground at less optical depth than this is not looked at, metres.
const NEAREST_M: f64 = 0.1;

/// Where the middles of a row's cells are for a camera; keeps its buffers from row to row.
#[derive(Clone, Debug, Default)]
pub(super) struct CellRow {
    /// x of the middles, the same in all rows, metres.
    x_m: Vec<f64>,
    optical: [Vec<f64>; 3],
    squared_m2: Vec<f64>,
    pixels: [Vec<f64>; 2],
}

/// A cell that a pixel shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenCell {
    /// Optical coordinates of its middle, metres.
    pub(super) optical: [f64; 3],
    /// Squared distance over the ground from the camera, square metres.
    pub(super) squared_m2: f64,
    /// Row and column of the pixel.
    pub(super) place: [usize; 2],
}

impl CellRow {
    /// Makes room for the rows of `lattice`.
    pub(super) fn fit(&mut self, lattice: &CellLattice) {
        self.x_m.clear();
        let columns = 0..lattice.columns;
        (self.x_m).extend(columns.map(|column| lattice.centre_m(0, column)[0]));
        let coordinates = self.optical.iter_mut().chain(&mut self.pixels);
        for values in coordinates.chain([&mut self.squared_m2]) {
            values.resize(lattice.columns, 0.0);
        }
    }

    /// Looks at the row whose middles have a y, metres.
    pub(super) fn look(&mut self, scene: &Scene<'_>, y_m: f64) {
        let view = scene.view;
        for (values, [a, b, c]) in self.optical.iter_mut().zip(view.optical_rows()) {
            for (value, x_m) in values.iter_mut().zip(&self.x_m) {
                *value = a * x_m + b * y_m + c;
            }
        }
        let [foot_x, foot_y] = view.foot_m();
        let dy = y_m - foot_y;
        for (squared_m2, x_m) in self.squared_m2.iter_mut().zip(&self.x_m) {
            let dx = x_m - foot_x;
            *squared_m2 = dx * dx + dy * dy;
        }
        let [x, y, z] = &self.optical;
        let [u, v] = &mut self.pixels;
        view.camera().pixels_from_rays([x, y, z], [u, v]);
    }

    /// Returns the row's cells in their order; None for those that no pixel shows.
    pub(super) fn cells(&self, scene: &Scene<'_>) -> impl Iterator<Item = Option<SeenCell>> {
        let camera = scene.view.camera();
        let farthest_m2 = scene.horizon_m * scene.horizon_m;
        let [x, y, z] = &self.optical;
        let [u, v] = &self.pixels;
        let optical = x.iter().zip(y).zip(z);
        let cells = optical.zip(&self.squared_m2).zip(u.iter().zip(v));
        cells.map(move |((((x, y), z), squared_m2), (u, v))| {
            if *z < NEAREST_M || *squared_m2 > farthest_m2 {
                return None;
            }
            // NaN is in no image.
            let place = camera.place([*u, *v])?;
            Some(SeenCell {
                optical: [*x, *y, *z],
                squared_m2: *squared_m2,
                place,
            })
        })
    }
}
