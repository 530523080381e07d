//! A label mask over the ground, as a camera sees it.

use super::camera::RayTable;
use super::ground::GroundView;
use super::surface::{Surface, SurfaceTable};
use crate::labels::LabelMask;

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

    /// Returns whether a pixel shows something that stands.
    #[inline]
    pub(super) fn stands_at(&self, row: usize, column: usize) -> bool {
        matches!(self.surface(row, column), Surface::Standing(_))
    }

    /// Returns the pixel of a point at a height over a ground point, whose optical coordinates are
    /// given; beyond the image's edge, the one on it.
    #[inline]
    pub(super) fn place_over(&self, optical: [f64; 3], height_m: f64) -> Option<[usize; 2]> {
        let up = self.view.optical_up();
        let lifted = [0, 1, 2].map(|i| optical[i] + height_m * up[i]);
        let camera = self.view.camera();
        camera
            .pixel_from_ray(lifted)
            .map(|pixel| camera.nearest_place(pixel))
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
        let (dx, dy) = (x - foot[0], y - foot[1]);
        // `hypot` is slower and guards against overflow alone.
        Some((dx * dx + dy * dy).sqrt())
    }

    /// The highest row that may show what is lower than the camera over ground nearer than the
    /// horizon, within 8 rows: that of the farthest ground.
    pub(super) fn first_ground_row(&self) -> usize {
        let (width, height) = (self.mask.width, self.mask.height);
        let shows_ground = |row: &usize| {
            (0..width)
                .step_by(16)
                .any(|column| self.point(*row, column).is_some())
        };
        let row = (0..height).step_by(8).find(shows_ground);
        row.unwrap_or(height).saturating_sub(8)
    }
}

/// Distances to feet: all cells behind one ask for the same.
pub(super) struct FootRanges<'a> {
    scene: &'a Scene<'a>,
    /// Each column's last asked row and its distance, metres.
    last: Vec<(usize, Option<f64>)>,
}

impl<'a> FootRanges<'a> {
    pub(super) fn new(scene: &'a Scene<'a>) -> Self {
        Self {
            scene,
            last: vec![(usize::MAX, None); scene.mask.width],
        }
    }

    /// As `Scene::range_m`.
    #[inline]
    pub(super) fn range_m(&mut self, row: usize, column: usize) -> Option<f64> {
        let last = self.last.get_mut(column)?;
        if last.0 != row {
            *last = (row, self.scene.range_m(row, column));
        }
        last.1
    }
}
