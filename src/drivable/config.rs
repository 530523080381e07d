//! What a user says about the drivable area, checked as a whole.

use super::grid::{GridConfig, GridError, RollingGrid};
use super::region::RegionConfig;
use super::surface::{RuleError, SurfaceTable};
use crate::labels::ClassTable;

/// Settings of the drivable area.
#[derive(Clone, Debug, PartialEq)]
pub struct DrivableConfig {
    /// Extent and memory of the grid.
    pub grid: GridConfig,
    /// Ground farther from the camera than this is not looked at, metres; 1 to 200.
    pub horizon_m: f64,
    /// Which free cells count.
    pub region: RegionConfig,
    /// Costs of classes by name, 0 to 100; the others are as drivable as the weights and their names
    /// say.
    pub class_costs: Vec<(String, i64)>,
}

impl Default for DrivableConfig {
    fn default() -> Self {
        Self {
            grid: GridConfig::default(),
            horizon_m: 25.0,
            region: RegionConfig::default(),
            class_costs: Vec::new(),
        }
    }
}

/// Why there is no drivable area with these settings.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The grid cannot be made.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// A class cannot have its cost.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A setting out of range.
    #[error("{name} is {value}; it must be {range}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What is accepted.
        range: &'static str,
    },
}

impl DrivableConfig {
    /// Returns an empty grid and the table of surfaces for `classes`; errs on the first setting that is
    /// out of range or names no class.
    pub fn prepared(
        &self,
        classes: &ClassTable,
    ) -> Result<(RollingGrid, SurfaceTable), ConfigError> {
        let within = |name, value: f64, low: f64, high: f64, range| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(ConfigError::Setting { name, value, range })
            }
        };
        let metres = "1 to 200 m";
        within("grid.horizon_m", self.horizon_m, 1.0, 200.0, metres)?;
        let RegionConfig {
            touching_m,
            fill_holes_m2,
            smallest_m2,
        } = self.region;
        if let Some(touching_m) = touching_m {
            within("region.touching_m", touching_m, 0.0, 200.0, "0 to 200 m")?;
        }
        let area = "0 to 1000 m2";
        within("region.fill_holes_m2", fill_holes_m2, 0.0, 1000.0, area)?;
        within("region.smallest_m2", smallest_m2, 0.0, 1000.0, area)?;
        let grid = RollingGrid::new(self.grid)?;
        let surfaces = SurfaceTable::new(classes).with_costs(classes, &self.class_costs)?;
        Ok((grid, surfaces))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivable::surface::Surface;
    use anyhow::{Result, ensure};

    fn classes() -> ClassTable {
        ClassTable {
            names: vec!["Road".into(), "Pavement".into()],
            palette: vec![[0; 3]; 2],
            drivable: vec![true, false],
            ignore_id: 255,
        }
    }

    #[test]
    fn the_defaults_and_costs_by_name_are_accepted() -> Result<()> {
        let config = DrivableConfig {
            class_costs: vec![("Pavement".into(), 30)],
            ..DrivableConfig::default()
        };
        let (grid, surfaces) = config.prepared(&classes())?;
        ensure!(grid.lattice().columns == 200 && grid.lattice().rows == 200);
        ensure!(surfaces.surface(1) == &Surface::Flat(30));
        Ok(())
    }

    #[test]
    fn each_fault_names_its_setting_and_what_is_accepted() {
        let refused = |change: &dyn Fn(&mut DrivableConfig)| {
            let mut config = DrivableConfig::default();
            change(&mut config);
            let error = config.prepared(&classes()).err();
            error.map(|error| error.to_string()).unwrap_or_default()
        };
        let said = refused(&|c| c.horizon_m = f64::NAN);
        assert_eq!(said, "grid.horizon_m is NaN; it must be 1 to 200 m");
        assert!(refused(&|c| c.region.smallest_m2 = -1.0).contains("region.smallest_m2 is -1"));
        assert!(refused(&|c| c.region.fill_holes_m2 = 1e9).contains("0 to 1000 m2"));
        assert!(refused(&|c| c.region.touching_m = Some(-0.1)).contains("region.touching_m"));
        assert!(refused(&|c| c.grid.resolution_m = 0.0).contains("grid.resolution_m is 0"));
        assert!(refused(&|c| c.class_costs = vec![("Boat".into(), 1)]).contains("Boat"));
    }
}
