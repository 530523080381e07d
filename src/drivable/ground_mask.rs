//! The mask on the ground: class, confidence and place of each pixel, for costmaps that read classes.

use super::feet::Feet;
use super::lattice::CellLattice;
use super::observe::{Evidence, Scene};
use super::surface::Surface;
use crate::labels::LabelMask;

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
    /// horizon, on the vehicle itself, and on ground that shows below a body.
    pub points: Vec<[f32; 3]>,
}

/// What was found of the ground that a scene shows.
#[derive(Clone, Copy, Debug)]
pub struct FoundGround<'a> {
    /// Feet of the scene's mask.
    pub feet: &'a Feet,
    /// The cells that were looked at.
    pub lattice: &'a CellLattice,
    /// What the scene says about each.
    pub evidence: &'a [Evidence],
}

impl FoundGround<'_> {
    /// Returns whether a point of the grid's frame, metres, is taken or may have a body over it; false
    /// outside the cells.
    fn is_taken(&self, point_m: [f64; 2]) -> bool {
        let cell = self.lattice.cell_at(point_m);
        let evidence = cell.and_then(|cell| self.evidence.get(cell));
        matches!(evidence, Some(Evidence::Taken { .. } | Evidence::Overhung))
    }
}

/// Returns `labels` at `width` pixels a row and the height in proportion, each pixel that of the mask in
/// the middle of its block, with the place that the scene's mask, of the same size, gives it: what that
/// one is not sure of has a class, but no point. `confidence` is `[height, width]` of them, or empty.
///
/// A costmap that reads classes at points would free a car's own place by the road that shows between
/// its wheels: such ground has no point.
pub fn ground_mask(
    scene: &Scene<'_>,
    found: &FoundGround<'_>,
    labels: &LabelMask,
    confidence: &[u8],
    width: usize,
) -> GroundMask {
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
            let [label, id] =
                [labels, mask].map(|mask| mask.ids.get(at).copied().unwrap_or(u8::MAX));
            out.ids.push(label);
            out.confidence.extend(confidence.get(at));
            let is_own = scene.ego_mask.get(at).is_some_and(|own| *own != 0);
            let place = match scene.surfaces.surface(id) {
                _ if is_own => None,
                Surface::Void => None,
                Surface::Flat(_) => {
                    ground_point(scene, row, column).filter(|point| !found.is_taken(*point))
                }
                // The run's lowest pixel of this size stands for its foot.
                Surface::Standing(_) => (found.feet.foot_row(row, column))
                    .filter(|foot| *foot < below)
                    .and_then(|foot| ground_point(scene, foot, column)),
            };
            let point = place.map(|point| scene.view.optical_from_ground(point).map(|v| v as f32));
            out.points.push(point.unwrap_or([f32::NAN; 3]));
        }
    }
    out
}

/// The ground that a pixel shows, within the horizon, in the grid's frame.
fn ground_point(scene: &Scene<'_>, row: usize, column: usize) -> Option<[f64; 2]> {
    let point = scene.view.point_from_ray(scene.rays.ray(row, column)?)?;
    let foot = scene.view.foot_m();
    let range_m = (point[0] - foot[0]).hypot(point[1] - foot[1]);
    (range_m < scene.horizon_m).then_some([point[0], point[1]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivable::observe::Observer;
    use crate::drivable::street::{Block, CAR, ROAD, SKY, Street, WALL};
    use anyhow::{Result, ensure};

    /// The costmap's mask at half of the size, all pixels 200 of 255 sure.
    fn cloud(street: &Street) -> Result<GroundMask> {
        let lattice = CellLattice {
            origin_m: [0.0, -10.0],
            cell_m: 0.1,
            columns: 200,
            rows: 200,
        };
        street.with_scene(&[], |scene| {
            let mut observer = Observer::default();
            observer.observe(scene, &lattice);
            let found = FoundGround {
                feet: observer.feet(),
                lattice: &lattice,
                evidence: observer.evidence(),
            };
            ground_mask(scene, &found, scene.mask, &vec![200; 640 * 360], 320)
        })
    }

    #[test]
    fn the_masks_cloud_lies_on_the_ground_and_on_feet_alone() -> Result<()> {
        let wall = Block {
            x: [8.0, 8.2],
            y: [-1.0, 1.0],
            z: [0.0, 1.8],
            id: WALL,
        };
        let cloud = cloud(&Street::new(&[wall])?)?;
        ensure!((cloud.width, cloud.height) == (320, 180));
        ensure!(cloud.points.len() == 320 * 180 && cloud.ids.len() == 320 * 180);
        ensure!(cloud.confidence == vec![200; 320 * 180]);
        let mut feet_met = 0;
        for (at, (point, id)) in cloud.points.iter().zip(&cloud.ids).enumerate() {
            let [x, y, z] = *point;
            match *id {
                SKY => ensure!(x.is_nan()),
                WALL if x.is_nan() => {}
                WALL => {
                    feet_met += 1;
                    // Half a pixel of 0.09 m, and the 2 rows that a pixel of this size is.
                    ensure!((z - 8.0).abs() < 0.2 && x.abs() < 1.1, "{point:?}");
                }
                _ if x.is_nan() => {
                    // Rows up to 112 show what is beyond the horizon; cells at the wall are its own,
                    // as are those behind its edges, which are 57 columns from the middle.
                    let [row, column] = [at / 320, at % 320].map(|at| 2.0 * at as f64 + 1.0);
                    let ahead_m = 1.5 * 457.0 / (row - 179.5);
                    let is_beside = (column - 319.5).abs() < 57.0 + 3.0;
                    let is_its_own = (7.5..8.5).contains(&ahead_m) || is_beside;
                    ensure!(at / 320 < 112 || is_its_own, "{ahead_m} m, {column}");
                }
                _ => ensure!((y - 1.5).abs() < 1e-3, "the optical y axis points down"),
            }
        }
        // 2 m at 8 m and 457 pixels are 114 columns of 640.
        ensure!((54..=60).contains(&feet_met), "{feet_met} feet");
        Ok(())
    }

    #[test]
    fn road_that_shows_below_a_car_has_no_point_in_the_masks_cloud() -> Result<()> {
        let car = Block {
            x: [8.0, 12.0],
            y: [-0.9, 0.9],
            z: [0.25, 1.5],
            id: CAR,
        };
        let cloud = cloud(&Street::new(&[car])?)?;
        let of_road = cloud.points.iter().zip(&cloud.ids);
        let of_road = of_road.filter(|([x, ..], id)| **id == ROAD && !x.is_nan());
        let (mut before, mut beside) = (0, 0);
        for ([x, _, z], _) in of_road {
            let is_below = (8.1..11.9).contains(z) && x.abs() < 0.8;
            ensure!(!is_below, "a point of the road below the car at {z} m");
            before += u32::from((5.0..7.5).contains(z) && x.abs() < 0.8);
            beside += u32::from((8.0..12.0).contains(z) && (1.5..2.5).contains(&x.abs()));
        }
        ensure!(before > 500 && beside > 100, "{before} {beside}");
        Ok(())
    }
}
