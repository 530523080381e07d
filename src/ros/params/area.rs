//! What the parameters set of the drivable area, and their defaults.

use crate::drivable::config::DrivableConfig;
use crate::drivable::grid::GridConfig;
use crate::drivable::region::RegionConfig;

/// What the drivable area is set to.
#[derive(Clone, Debug, PartialEq)]
pub struct AreaSettings {
    /// Whether the grid is kept while nobody reads it.
    pub enable: bool,
    /// The vehicle's frame, on the ground under it.
    pub base_frame: String,
    /// The frame of grid, points and outline; fixed, or `base_frame`.
    pub grid_frame: String,
    /// Extent of the grid along x, metres.
    pub size_x_m: f64,
    /// Extent of the grid along y, metres.
    pub size_y_m: f64,
    /// Side of a cell, metres.
    pub resolution_m: f64,
    /// How far ahead of the vehicle the grid's middle lies, metres.
    pub ahead_m: f64,
    /// Time after which what is not seen again counts for 1/e, seconds.
    pub decay_s: f64,
    /// How fast something may come into cells that are not seen, metres a second.
    pub entry_mps: f64,
    /// Ground farther from the camera is not looked at, metres.
    pub horizon_m: f64,
    /// Free regions farther from the vehicle do not count, metres; negative for all.
    pub touching_m: f64,
    /// Unknown holes in free regions that are filled, up to so many square metres.
    pub fill_holes_m2: f64,
    /// Free regions that are smaller do not count, square metres.
    pub smallest_m2: f64,
    /// Costs of classes, each `NAME=COST`, 0 to 100.
    pub class_costs: Vec<String>,
    /// Pixels that the network is less sure of say nothing, 0 to 1.
    pub min_confidence: f64,
    /// Picture of the image's size that is not black where the vehicle itself shows; empty for none.
    pub ego_mask: String,
    /// `auto`, `yes` or `no`: whether images are rectified.
    pub rectified: String,
    /// Height of the camera over the ground, metres; 0 where TF tells the camera's place.
    pub camera_height_m: f64,
    /// How far the camera is before `base_frame`, metres.
    pub camera_x_m: f64,
    /// How far the camera is to the left of `base_frame`, metres.
    pub camera_y_m: f64,
    /// How far the camera looks down, degrees.
    pub camera_pitch_deg: f64,
    /// How far the camera leans to the right, degrees.
    pub camera_roll_deg: f64,
    /// `level` or `base`: what the ground is parallel to.
    pub attitude: String,
    /// `off`, `image` or `vanishing_point`: whether pitch that TF does not tell is corrected, and from what.
    pub pitch_correction: String,
    /// How old a frame's last pose may be, milliseconds.
    pub transform_max_age_ms: i64,
    /// How long a frame waits for its pose, milliseconds.
    pub transform_wait_ms: i64,
    /// The cost from which on a cell is marked in the obstacle points.
    pub mark_cost: i64,
    /// One of so many cells along x and y is in the drivable points.
    pub drivable_every: i64,
    /// Height of the points in the grid's frame, metres.
    pub points_z_m: f64,
    /// Pixels a row of the masks and the cloud for costmaps.
    pub costmap_width: i64,
    /// How near to the vehicle the region begins whose outline is published, metres.
    pub boundary_reach_m: f64,
    /// How far the outline may be from the cells' sides, metres.
    pub boundary_tolerance_m: f64,
    /// The scan's angle to either side, degrees.
    pub scan_half_angle_deg: f64,
    /// From one beam of the scan to the next, degrees.
    pub scan_step_deg: f64,
}

impl Default for AreaSettings {
    fn default() -> Self {
        let DrivableConfig {
            grid,
            horizon_m,
            region,
            ..
        } = DrivableConfig::default();
        Self {
            enable: false,
            base_frame: "base_link".into(),
            grid_frame: "odom".into(),
            size_x_m: grid.size_m[0],
            size_y_m: grid.size_m[1],
            resolution_m: grid.resolution_m,
            ahead_m: grid.ahead_m,
            decay_s: grid.decay_s,
            entry_mps: grid.entry_mps,
            horizon_m,
            touching_m: region.touching_m.unwrap_or(-1.0),
            fill_holes_m2: region.fill_holes_m2,
            smallest_m2: region.smallest_m2,
            class_costs: Vec::new(),
            min_confidence: 0.0,
            ego_mask: String::new(),
            rectified: "auto".into(),
            camera_height_m: 0.0,
            camera_x_m: 0.0,
            camera_y_m: 0.0,
            camera_pitch_deg: 0.0,
            camera_roll_deg: 0.0,
            attitude: "level".into(),
            pitch_correction: "off".into(),
            transform_max_age_ms: 200,
            transform_wait_ms: 30,
            mark_cost: 100,
            drivable_every: 2,
            points_z_m: 0.3,
            costmap_width: 320,
            boundary_reach_m: 10.0,
            boundary_tolerance_m: 0.1,
            scan_half_angle_deg: 60.0,
            scan_step_deg: 0.5,
        }
    }
}

impl AreaSettings {
    /// Returns the settings of the library's part; errs at the first cost that is not `NAME=COST`.
    pub fn config(&self) -> Result<DrivableConfig, String> {
        let class_costs = self.class_costs.iter().map(|text| {
            let (name, cost) = text.rsplit_once('=')?;
            Some((name.trim().to_owned(), cost.trim().parse().ok()?))
        });
        let class_costs = (class_costs.zip(&self.class_costs))
            .map(|(cost, text)| {
                cost.ok_or_else(|| format!("'{text}' is not of the form 'NAME=COST'"))
            })
            .collect::<Result<_, _>>()?;
        Ok(DrivableConfig {
            grid: GridConfig {
                size_m: [self.size_x_m, self.size_y_m],
                resolution_m: self.resolution_m,
                ahead_m: self.ahead_m,
                decay_s: self.decay_s,
                entry_mps: self.entry_mps,
            },
            horizon_m: self.horizon_m,
            region: RegionConfig {
                touching_m: (self.touching_m >= 0.0).then_some(self.touching_m),
                fill_holes_m2: self.fill_holes_m2,
                smallest_m2: self.smallest_m2,
            },
            class_costs,
        })
    }

    /// Returns whether grid and points move with the vehicle, so that frames are not fused.
    pub fn moves_with_vehicle(&self) -> bool {
        self.grid_frame == self.base_frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_librarys() {
        assert_eq!(
            AreaSettings::default().config(),
            Ok(DrivableConfig::default())
        );
    }

    #[test]
    fn costs_are_read_by_name_and_others_refused() {
        let costs = |texts: &[&str]| {
            let settings = AreaSettings {
                class_costs: texts.iter().map(|text| (*text).to_owned()).collect(),
                ..AreaSettings::default()
            };
            settings.config().map(|config| config.class_costs)
        };
        let read = costs(&["Pavement=30", "a = b=100"]);
        assert_eq!(
            read,
            Ok(vec![("Pavement".into(), 30), ("a = b".into(), 100)])
        );
        for wrong in ["Pavement", "Pavement=", "Pavement=low"] {
            assert!(costs(&[wrong]).is_err_and(|reason| reason.contains(wrong)));
        }
    }
}
