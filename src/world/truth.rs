//! The true drivable area: what the ground around the vehicle is, where the camera sees it.

use super::camera::Intrinsics;
use super::layout::Ground;
use super::scene::{Class, Footprint, Thing};
use super::shade::Shader;
use crate::pose::Pose;

/// Free road.
pub const CELL_FREE: i8 = 0;
/// The footprint of an obstacle.
pub const CELL_OBSTACLE: i8 = 100;
/// Ground that is no road: pavement, verge, lawn.
pub const CELL_OTHER_GROUND: i8 = 80;
/// Not seen by the camera.
pub const CELL_UNSEEN: i8 = -1;

/// Extent of the truth grid in base_link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GridExtent {
    /// Side of a cell, metres.
    pub resolution_m: f64,
    /// Reach ahead of base_link, metres.
    pub ahead_m: f64,
    /// Reach to each side, metres.
    pub aside_m: f64,
}

impl Default for GridExtent {
    fn default() -> Self {
        Self {
            resolution_m: 0.2,
            ahead_m: 40.0,
            aside_m: 12.0,
        }
    }
}

/// A nav_msgs/OccupancyGrid's contents, in base_link.
#[derive(Clone, Debug, PartialEq)]
pub struct TruthGrid {
    /// Side of a cell, metres.
    pub resolution_m: f64,
    /// Cells along x.
    pub width: u32,
    /// Cells along y.
    pub height: u32,
    /// x and y of the corner of cell (0, 0) in base_link, metres.
    pub origin_m: [f64; 2],
    /// Row-major, x fastest: 0 free road, 100 obstacle, 80 other ground, -1 not visible.
    pub cells: Vec<i8>,
}

impl TruthGrid {
    /// Point of base_link's xy plane in the middle of a cell.
    pub fn centre_m(&self, column: u32, row: u32) -> [f64; 2] {
        [
            self.origin_m[0] + (column as f64 + 0.5) * self.resolution_m,
            self.origin_m[1] + (row as f64 + 0.5) * self.resolution_m,
        ]
    }
}

/// Something that stands in the way, seen or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Obstacle {
    /// Its class.
    pub class: Class,
    /// The ground that it stands on, in base_link.
    pub footprint: Footprint,
}

/// What the camera saw, pixel by pixel.
pub(crate) struct View<'a> {
    pub(crate) camera: &'a Intrinsics,
    pub(crate) optical_in_world: Pose,
    /// Distance along the optical axis, metres; infinite for sky.
    pub(crate) depth: &'a [f32],
    /// Index of the thing, `NO_THING` for ground and sky.
    pub(crate) thing: &'a [u32],
}

/// Pixel that shows no thing.
pub(crate) const NO_THING: u32 = u32::MAX;

/// The grid around `base_in_world`. A ground cell is seen where the camera's ray to its centre
/// reaches the ground there; an obstacle's cell where that ray ends on the obstacle itself.
pub(crate) fn truth_grid(
    extent: &GridExtent,
    base_in_world: &Pose,
    view: &View<'_>,
    things: &[&Thing],
    shader: &Shader<'_>,
) -> TruthGrid {
    let width = (extent.ahead_m / extent.resolution_m).round() as u32;
    let height = (2.0 * extent.aside_m / extent.resolution_m).round() as u32;
    let mut grid = TruthGrid {
        resolution_m: extent.resolution_m,
        width,
        height,
        origin_m: [0.0, -extent.aside_m],
        cells: vec![CELL_UNSEEN; (width * height) as usize],
    };
    let world_in_optical = view.optical_in_world.inverse();
    let near = nearby(extent, base_in_world, things);
    for row in 0..height {
        for column in 0..width {
            let [x, y] = grid.centre_m(column, row);
            let p = on_ground(base_in_world, x, y);
            let value = cell(
                p,
                &world_in_optical,
                view,
                &near,
                things,
                shader,
                extent.resolution_m,
            );
            grid.cells[(row * width + column) as usize] = value;
        }
    }
    grid
}

fn cell(
    p: [f64; 2],
    world_in_optical: &Pose,
    view: &View<'_>,
    near: &[u32],
    things: &[&Thing],
    shader: &Shader<'_>,
    resolution_m: f64,
) -> i8 {
    let q = [p[0] as f32, p[1] as f32];
    let ground = shader
        .course
        .locate(q[0], q[1])
        .map(|road| shader.layout.ground_at(road.s, road.d));
    let ground = ground.map_or(Ground::Grass, |point| point.ground);
    let z = if ground == Ground::Road {
        0.0
    } else {
        super::layout::KERB_HEIGHT_M as f64
    };
    let local = world_in_optical.apply([p[0], p[1], z]);
    let Some([u, v]) = view.camera.pixel_from_point(local) else {
        return CELL_UNSEEN;
    };
    let at = v.round() as usize * view.camera.width as usize + u.round() as usize;
    let (Some(&depth), Some(&seen)) = (view.depth.get(at), view.thing.get(at)) else {
        return CELL_UNSEEN;
    };
    // Half a cell: an obstacle marks every cell that it reaches into.
    let margin = resolution_m as f32 * 0.5;
    let obstacle = near
        .iter()
        .find(|&&index| things[index as usize].footprint.covers(q, margin));
    if let Some(&index) = obstacle {
        let on_it = near
            .iter()
            .any(|&k| k == seen && things[k as usize].footprint.covers(q, margin));
        return if on_it || reaches(depth, local[2]) && seen == NO_THING || seen == index {
            CELL_OBSTACLE
        } else {
            CELL_UNSEEN
        };
    }
    if seen != NO_THING || !reaches(depth, local[2]) {
        return CELL_UNSEEN;
    }
    if ground == Ground::Road {
        CELL_FREE
    } else {
        CELL_OTHER_GROUND
    }
}

/// Whether a ray that ends at `depth` gets as far as `z`: within 3 %, the spread of a pixel.
fn reaches(depth: f32, z: f64) -> bool {
    depth as f64 > z * 0.97 - 0.1
}

/// The ground point whose base_link x and y are given, for a tilted base_link.
fn on_ground(base: &Pose, x: f64, y: f64) -> [f64; 2] {
    let r = &base.rotation;
    // Height along base_link's z at which the point meets the plane z = 0.
    let height = -(base.translation[2] + r[2][0] * x + r[2][1] * y) / r[2][2];
    let p = base.apply([x, y, height]);
    [p[0], p[1]]
}

/// The things around `base_in_world` that stand in the way, whether the camera sees them or not.
pub(crate) fn obstacles(
    extent: &GridExtent,
    base_in_world: &Pose,
    things: &[&Thing],
) -> Vec<Obstacle> {
    let world_in_base = base_in_world.inverse();
    let base_from_world = |[x, y]: [f32; 2]| {
        let p = world_in_base.apply([x as f64, y as f64, 0.0]);
        [p[0] as f32, p[1] as f32]
    };
    nearby(extent, base_in_world, things)
        .into_iter()
        .filter_map(|index| {
            let thing = things[index as usize];
            Some(Obstacle {
                class: thing.parts.first()?.class,
                footprint: thing.footprint.moved(base_from_world),
            })
        })
        .collect()
}

fn nearby(extent: &GridExtent, base: &Pose, things: &[&Thing]) -> Vec<u32> {
    let reach = (extent.ahead_m + extent.aside_m) as f32;
    let (x, y) = (base.translation[0] as f32, base.translation[1] as f32);
    (0..things.len() as u32)
        .filter(|&index| {
            let thing = things[index as usize];
            if matches!(thing.footprint, Footprint::Nothing) {
                return false;
            }
            let (dx, dy) = (thing.centre.x - x, thing.centre.y - y);
            (dx * dx + dy * dy).sqrt() < reach + thing.radius_m
        })
        .collect()
}
