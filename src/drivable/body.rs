//! Bodies on wheels over ground that shows below them. A camera sees the road under a bumper, and a
//! cell there is not free; only the body's build tells, and what of it is in the image.

use super::feet::Feet;
use super::observe::Scene;
use super::surface::{Surface, Wheels};

/// Heights above the ground, metres, at which every body on wheels has one: cars, and lorries whose
/// lower edge is high.
const BODY_LEVELS_M: [f64; 2] = [0.45, 0.8];
/// Heights, metres, by which a car is told from a van and a lorry.
const BODY_HEIGHTS_M: [f64; 4] = [1.5, 1.8, 2.3, 3.5];
/// So far beside a pixel a body's wheels are looked for, metres.
const HALF_BODY_M: f64 = 1.6;
/// Half of what hides a body only in part, such as a person before a car, metres.
const BEFORE_BODY_M: f64 = 0.4;

/// Columns that are told together to show a body or none.
const BLOCK_COLUMNS: usize = 16;
/// Blocks beside one within which a lifted point's pixel stays: lenses bend, cameras lean a little.
const NEAR_BLOCKS: usize = 2;

/// The bodies on wheels of one frame.
pub(super) struct Bodies<'a> {
    scene: &'a Scene<'a>,
    feet: &'a Feet,
    /// Optical coordinates of one metre upward.
    up: [f64; 3],
    /// For each block of columns, whether a body shows in it or near it.
    blocks: Vec<bool>,
}

impl<'a> Bodies<'a> {
    pub(super) fn new(scene: &'a Scene<'a>, feet: &'a Feet) -> Self {
        let up = scene.view.optical_up();
        let on_wheels: [bool; 256] = std::array::from_fn(
            |id| matches!(scene.surfaces.surface(id as u8), Surface::Standing(standing) if standing.wheels.is_some()),
        );
        let mut shows = vec![false; scene.mask.width.div_ceil(BLOCK_COLUMNS)];
        for row in scene
            .mask
            .ids
            .chunks_exact(scene.mask.width.max(1))
            .step_by(2)
        {
            for (block, shows) in row.chunks(BLOCK_COLUMNS).zip(&mut shows) {
                *shows |= block
                    .iter()
                    .step_by(4)
                    .any(|id| on_wheels[usize::from(*id)]);
            }
        }
        // A camera that leans has no upright columns.
        let is_upright = up[0].abs() < 0.08 * up[1].abs();
        let blocks = (0..shows.len())
            .map(|block| {
                let near = block.saturating_sub(NEAR_BLOCKS)..(block + NEAR_BLOCKS + 1);
                let near = near.start..near.end.min(shows.len());
                !is_upright || shows.get(near).is_some_and(|near| near.contains(&true))
            })
            .collect();
        Self {
            scene,
            feet,
            up,
            blocks,
        }
    }

    /// Whether a body stands over a ground point that shows below it: it does not if the point is
    /// nearer than the body's wheels by more than its overhang, nor if the point, lifted to the
    /// body's lower edge, is not on the body's image. `column` is that of the point's own pixel.
    #[inline]
    pub(super) fn overhang(&self, optical: [f64; 3], range_m: f64, column: usize) -> bool {
        if self.blocks.get(column / BLOCK_COLUMNS) != Some(&true) {
            return false;
        }
        let above = BODY_LEVELS_M
            .into_iter()
            .find_map(|level_m| self.wheels_over(optical, level_m));
        let Some((wheels, row, column)) = above else {
            return false;
        };
        let reach = HALF_BODY_M * self.scene.view.camera().focal_px()[0] / optical[2];
        let hull = self.feet.hull_row(row, column, reach as usize);
        let foot_m = hull.and_then(|hull| self.scene.range_m(hull.ceil() as usize, column));
        let Some(foot_m) = foot_m else {
            return false;
        };
        let [.., tallest_m] = BODY_HEIGHTS_M;
        if range_m < foot_m - wheels.overhang * tallest_m {
            return false;
        }
        let height_m = self.height_m(optical, range_m, foot_m);
        range_m > foot_m - wheels.overhang * height_m
            && self.stands_over(optical, wheels.clearance * height_m)
    }

    /// The wheels and the pixel of the body that shows at a height over a ground point, or just
    /// beside whatever hides it there.
    #[inline]
    fn wheels_over(&self, optical: [f64; 3], height_m: f64) -> Option<(Wheels, usize, usize)> {
        let [row, column] = self.place_over(optical, height_m)?;
        let wheels_at = |column: usize| match self.scene.surface(row, column) {
            Surface::Standing(standing) => standing.wheels.map(|wheels| (wheels, row, column)),
            _ => None,
        };
        if !matches!(self.scene.surface(row, column), Surface::Standing(_)) {
            return None;
        }
        wheels_at(column).or_else(|| {
            let aside = BEFORE_BODY_M * self.scene.view.camera().focal_px()[0] / optical[2];
            let last = self.scene.mask.width.saturating_sub(1);
            [0.5, 1.0].into_iter().find_map(|share| {
                let aside = (share * aside) as usize;
                wheels_at(column.saturating_sub(aside))
                    .or_else(|| wheels_at((column + aside).min(last)))
            })
        })
    }

    /// Whether anything that stands shows at a height over a ground point.
    #[inline]
    fn stands_over(&self, optical: [f64; 3], height_m: f64) -> bool {
        self.place_over(optical, height_m)
            .is_some_and(|[row, column]| {
                matches!(self.scene.surface(row, column), Surface::Standing(_))
            })
    }

    /// The least of `BODY_HEIGHTS_M` that a body does not reach, which stands at `foot_m` in the
    /// direction of a ground point at `range_m`.
    fn height_m(&self, optical: [f64; 3], range_m: f64, foot_m: f64) -> f64 {
        let down_m = self.scene.view.height_m();
        let farther = foot_m / range_m;
        // Seen from the camera, points of the ground differ by their offset from the point below it.
        let at_foot =
            [0, 1, 2].map(|i| (optical[i] + down_m * self.up[i]) * farther - down_m * self.up[i]);
        let [.., tallest_m] = BODY_HEIGHTS_M;
        BODY_HEIGHTS_M
            .into_iter()
            .find(|height_m| self.wheels_over(at_foot, *height_m).is_none())
            .unwrap_or(tallest_m)
    }

    /// The pixel of a point at a height over a ground point; beyond the image's edge, the one on it.
    #[inline]
    fn place_over(&self, optical: [f64; 3], height_m: f64) -> Option<[usize; 2]> {
        let lifted = [0, 1, 2].map(|i| optical[i] + height_m * self.up[i]);
        let camera = self.scene.view.camera();
        camera
            .pixel_from_ray(lifted)
            .map(|pixel| camera.nearest_place(pixel))
    }
}
