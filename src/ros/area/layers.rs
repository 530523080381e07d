//! The messages of a frame that lies on the ground.

use super::super::outputs::{Messages, Wanted, image_message};
use super::super::params::AreaSettings;
use super::AreaFrame;
use crate::drivable::boundary::drivable_boundary;
use crate::drivable::config::DrivableConfig;
use crate::drivable::grid::RollingGrid;
use crate::drivable::ground_mask::{FoundGround, ground_mask};
use crate::drivable::lattice::CellLattice;
use crate::drivable::messages::{
    laser_scan, occupancy_grid, organised_cloud, point_cloud, polygon,
};
use crate::drivable::observe::{Evidence, Scene};
use crate::drivable::points::{drivable_points, obstacle_points};
use crate::drivable::region::keep_region;
use crate::drivable::scan::{ScanFan, free_space_scan};
use crate::msg::{Header, Message, Stamp};
use crate::pose::Pose;

/// What is known of the ground after a frame.
pub(super) struct Layers<'a> {
    /// The newest frame's.
    pub(super) stamp: Stamp,
    pub(super) settings: &'a AreaSettings,
    pub(super) config: &'a DrivableConfig,
    pub(super) grid: &'a RollingGrid,
    pub(super) lattice: CellLattice,
    /// The vehicle in the grid's frame.
    pub(super) base: Pose,
    /// What all cameras see.
    pub(super) evidence: &'a [Evidence],
}

impl Layers<'_> {
    /// Returns the messages that are wanted, but for those of the costmap's size.
    pub(super) fn messages(&self, wanted: Wanted) -> Messages {
        let settings = self.settings;
        let (evidence, lattice) = (self.evidence, &self.lattice);
        let [x, y, z] = self.base.translation;
        let cloud =
            |points: &[[f64; 2]]| point_cloud(self.in_grid(), points, settings.points_z_m).to_cdr();
        let mut messages = Messages::default();
        if wanted.drivable_area || wanted.drivable_boundary {
            let mut grid = self.grid.drivable();
            keep_region(&mut grid, &self.config.region, [x, y]);
            messages.drivable_boundary = wanted.drivable_boundary.then(|| {
                let (reach_m, tolerance_m) =
                    (settings.boundary_reach_m, settings.boundary_tolerance_m);
                let outline = drivable_boundary(&grid, [x, y], reach_m, tolerance_m);
                polygon(self.in_grid(), &outline, z).to_cdr()
            });
            messages.drivable_area =
                (wanted.drivable_area).then(|| occupancy_grid(self.in_grid(), grid, z).to_cdr());
        }
        messages.obstacle_points = wanted.obstacle_points.then(|| {
            let mark_cost = settings.mark_cost.clamp(1, 100) as i8;
            cloud(&obstacle_points(evidence, lattice, mark_cost))
        });
        messages.drivable_points = wanted.drivable_points.then(|| {
            let every = settings.drivable_every.max(1) as usize;
            cloud(&drivable_points(evidence, lattice, every))
        });
        messages.free_space_scan = wanted.free_space_scan.then(|| self.scan());
        messages
    }

    fn scan(&self) -> Vec<u8> {
        let half_rad = self.settings.scan_half_angle_deg.to_radians();
        let step_rad = self.settings.scan_step_deg.to_radians();
        let yaw_rad = self.base.yaw();
        let [x, y, _] = self.base.translation;
        let fan = ScanFan {
            from_m: [x, y],
            first_rad: yaw_rad - half_rad,
            step_rad,
            // A whole number of steps may come out a hair below it.
            count: (2.0 * half_rad / step_rad + 1e-6).floor() as usize + 1,
            reach_m: self.config.horizon_m,
        };
        let ranges = free_space_scan(self.evidence, &self.lattice, &fan);
        let header = self.header_in(&self.settings.base_frame);
        laser_scan(header, &fan, yaw_rad, ranges).to_cdr()
    }

    fn in_grid(&self) -> Header {
        self.header_in(&self.settings.grid_frame)
    }

    fn header_in(&self, frame: &str) -> Header {
        Header {
            stamp: self.stamp,
            frame_id: frame.to_owned(),
        }
    }
}

/// Adds mask, confidence and cloud of the costmap's size, where they are wanted; all of one frame.
pub(super) fn add_costmap(
    messages: &mut Messages,
    frame: &AreaFrame<'_>,
    scene: &Scene<'_>,
    found: &FoundGround<'_>,
    width: i64,
) {
    let wanted = frame.wanted;
    if !(wanted.costmap_label_mask || wanted.costmap_confidence || wanted.costmap_points) {
        return;
    }
    let segmentation = frame.segmentation;
    let confidence = segmentation.confidence.as_ref();
    let confidence = confidence.map_or(&[][..], |confidence| &confidence.values);
    let width = usize::try_from(width).unwrap_or(1);
    let mask = ground_mask(scene, found, &segmentation.mask, confidence, width);
    let size = [mask.width, mask.height];
    let mono = |rows: &[u8]| image_message(frame.header, size, "mono8", rows);
    messages.costmap_label_mask = wanted.costmap_label_mask.then(|| mono(&mask.ids));
    messages.costmap_confidence = wanted.costmap_confidence.then(|| mono(&mask.confidence));
    messages.costmap_points =
        (wanted.costmap_points).then(|| organised_cloud(frame.header.clone(), &mask).to_cdr());
}
