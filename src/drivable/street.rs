//! A street of boxes and its exact mask, for the tests of what is made of a mask.

use anyhow::{Context, Result};

use super::camera::{Camera, RayTable};
use super::ground::{GroundAttitude, GroundPlane, GroundView, optical_in_base};
use super::observe::Scene;
use super::surface::SurfaceTable;
use crate::labels::{ClassTable, LabelMask};
use crate::msg::CameraInfo;
use crate::pose::Pose;

/// Ids of the street's classes.
pub(super) const ROAD: u8 = 0;
pub(super) const PAVEMENT: u8 = 1;
pub(super) const WALL: u8 = 2;
pub(super) const SKY: u8 = 3;
pub(super) const CAR: u8 = 4;
pub(super) const PERSON: u8 = 5;

/// An upright box on the ground: x and y, from and to, height over the ground, from and to.
pub(super) struct Block {
    pub(super) x: [f64; 2],
    pub(super) y: [f64; 2],
    pub(super) z: [f64; 2],
    pub(super) id: u8,
}

/// A level road 8 m wide with pavements and blocks, seen from 1.5 m.
pub(super) struct Street {
    pub(super) camera: Camera,
    rays: RayTable,
    surfaces: SurfaceTable,
    optical: Pose,
    pub(super) mask: LabelMask,
}

impl Street {
    /// The street with these on it.
    pub(super) fn new(blocks: &[Block]) -> Result<Self> {
        let info = CameraInfo {
            width: 640,
            height: 360,
            k: [457.0, 0.0, 319.5, 0.0, 457.0, 179.5, 0.0, 0.0, 1.0],
            ..CameraInfo::default()
        };
        let camera = Camera::of_own_images(&info)?;
        let optical = optical_in_base([0.0; 2], 1.5, 0.0, 0.0);
        let mut ids = Vec::with_capacity(640 * 360);
        for row in 0..360 {
            for column in 0..640 {
                let pixel = [f64::from(column), f64::from(row)];
                let ray = camera.ray_from_pixel(pixel).context("a ray")?;
                ids.push(id_along(optical.rotate(ray), blocks));
            }
        }
        let names = ["Road", "Pavement", "Wall", "Sky", "Car", "Person"];
        let classes = ClassTable {
            names: names.map(str::to_owned).to_vec(),
            palette: vec![[0; 3]; names.len()],
            drivable: names.map(|name| name == "Road").to_vec(),
            ignore_id: 255,
        };
        Ok(Self {
            rays: RayTable::new(&camera),
            camera,
            surfaces: SurfaceTable::new(&classes),
            optical,
            mask: LabelMask {
                width: 640,
                height: 360,
                ids,
            },
        })
    }

    /// Shows the street as a scene; `ego` is the mask of the vehicle itself, or empty.
    pub(super) fn with_scene<T>(
        &self,
        ego: &[u8],
        look: impl FnOnce(&Scene<'_>) -> T,
    ) -> Result<T> {
        let plane = GroundPlane::under(&Pose::IDENTITY, GroundAttitude::Level);
        let view = GroundView::new(&self.camera, &self.optical, plane).context("a view")?;
        Ok(look(&Scene {
            view: &view,
            rays: &self.rays,
            mask: &self.mask,
            surfaces: &self.surfaces,
            ego_mask: ego,
            horizon_m: 20.0,
        }))
    }
}

/// The class that a ray from (0, 0, 1.5) meets first.
fn id_along(ray: [f64; 3], blocks: &[Block]) -> u8 {
    let mut nearest = (f64::INFINITY, SKY);
    if ray[2] < -1e-6 {
        let steps = 1.5 / -ray[2];
        let id = if (steps * ray[1]).abs() < 4.0 {
            ROAD
        } else {
            PAVEMENT
        };
        nearest = (steps, id);
    }
    for block in blocks {
        let (mut enter, mut leave) = (0.0f64, f64::INFINITY);
        for (from, direction, [low, high]) in [
            (0.0, ray[0], block.x),
            (0.0, ray[1], block.y),
            (1.5, ray[2], block.z),
        ] {
            let (a, b) = ((low - from) / direction, (high - from) / direction);
            enter = enter.max(a.min(b));
            leave = leave.min(a.max(b));
        }
        if enter <= leave && enter < nearest.0 {
            nearest = (enter, block.id);
        }
    }
    nearest.1
}
