//! What each class of a mask means to a vehicle: ground it may use, ground it should not, or
//! something that stands.

use crate::labels::ClassTable;

/// Cost of ground that a vehicle should stay off, where no other is given.
const OFF_ROAD_COST: i8 = 80;

/// What a class is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Surface {
    /// Lies on the ground plane: 0 is free, up to 99 the cost of driving there.
    Flat(i8),
    /// Stands on the ground and hides what is behind.
    Standing(Standing),
    /// Says nothing of the ground: sky, or no class.
    Void,
}

/// The build of things that stand, as far as one camera cannot see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// How far behind its foot a thing is taken to reach, metres; what is farther is in its shadow.
    pub depth_m: f64,
    /// How far around its foot the ground is taken too, metres.
    pub margin_m: f64,
    /// The wheels that carry it, if any.
    pub wheels: Option<Wheels>,
}

/// A body on wheels: ground shows below it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wheels {
    /// Height of the lower edge of a body 1.5 m high, metres: the most that is usual.
    pub clearance_m: f64,
    /// What it is more for each metre that the body is higher.
    pub rise: f64,
}

impl Wheels {
    /// Returns the height of the lower edge of a body so high, metres.
    #[inline]
    pub fn clearance_m(&self, height_m: f64) -> f64 {
        self.clearance_m + self.rise * (height_m - 1.5).max(0.0)
    }
}

impl Standing {
    /// A wall, a pole, a fence: what is seen is where it stands.
    pub const WALL: Self = Self {
        depth_m: 0.5,
        margin_m: 0.0,
        wheels: None,
    };
    /// A house: nothing behind its front is ground.
    pub const HOUSE: Self = Self {
        depth_m: 10.0,
        ..Self::WALL
    };
    /// A fence or railings: ground shows through.
    pub const FENCE: Self = Self {
        depth_m: 10.0,
        ..Self::WALL
    };
    /// Lawns, hedges and trees, which are one class in most data sets.
    pub const VEGETATION: Self = Self {
        depth_m: 10.0,
        ..Self::WALL
    };
    /// From a car 1.5 m high (0.3 m clear) to a van (2.1 m; 0.38 m) and a lorry (3.4 m; 0.6 m, at which
    /// guards against running under begin).
    pub const VEHICLE: Self = Self {
        depth_m: 4.5,
        margin_m: 0.0,
        wheels: Some(Wheels {
            clearance_m: 0.305,
            rise: 0.165,
        }),
    };
    /// Someone on foot.
    pub const PEDESTRIAN: Self = Self {
        depth_m: 0.6,
        margin_m: 0.3,
        wheels: None,
    };
    /// Someone on two wheels, 1.8 m long.
    pub const RIDER: Self = Self {
        depth_m: 1.8,
        margin_m: 0.35,
        wheels: None,
    };
}

/// The surface of every class id.
#[derive(Clone, Debug, PartialEq)]
pub struct SurfaceTable {
    surfaces: [Surface; 256],
}

/// A rule cannot be used with the classes of the weights.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RuleError {
    /// It names no class.
    #[error("class_costs names {name}, which is not among the classes {}", classes.join(", "))]
    UnknownClass {
        /// The name.
        name: String,
        /// The classes there are.
        classes: Vec<String>,
    },
    /// A cost that a cell cannot have.
    #[error("class_costs gives {name} the cost {cost}; it must be 0 to 100")]
    Cost {
        /// The class.
        name: String,
        /// Its cost.
        cost: i64,
    },
}

impl SurfaceTable {
    /// Returns the table of `classes`: free where a class is drivable, else what its name says.
    pub fn new(classes: &ClassTable) -> Self {
        let mut surfaces = [Surface::Void; 256];
        let drivable = classes.drivable.iter().chain(std::iter::repeat(&false));
        for ((name, drivable), surface) in classes.names.iter().zip(drivable).zip(&mut surfaces) {
            *surface = if *drivable {
                Surface::Flat(0)
            } else {
                surface_from_name(name)
            };
        }
        Self { surfaces }
    }

    /// Returns the table with the costs of `class_costs`, 0 to 100: below 100 the class is ground of
    /// that cost; at 100 it stands, as its name says or else as a wall. Errs if a cost is out of
    /// range or its name no class.
    pub fn with_costs(
        mut self,
        classes: &ClassTable,
        class_costs: &[(String, i64)],
    ) -> Result<Self, RuleError> {
        for (name, cost) in class_costs {
            let id = classes.names.iter().position(|known| known == name);
            let surface = id.and_then(|id| self.surfaces.get_mut(id));
            let surface = surface.ok_or_else(|| RuleError::UnknownClass {
                name: name.clone(),
                classes: classes.names.clone(),
            })?;
            *surface = match cost {
                0..=99 => Surface::Flat(*cost as i8),
                100 => Surface::Standing(match surface_from_name(name) {
                    Surface::Standing(standing) => standing,
                    _ => Standing::WALL,
                }),
                _ => {
                    return Err(RuleError::Cost {
                        name: name.clone(),
                        cost: *cost,
                    });
                }
            };
        }
        Ok(self)
    }

    /// Returns the surface of a class id; of one that is no class, `Void`.
    #[inline]
    pub fn surface(&self, id: u8) -> &Surface {
        &self.surfaces[usize::from(id)]
    }
}

/// By the words that data sets of street scenes use; what they do not name stands in the way.
fn surface_from_name(name: &str) -> Surface {
    let name = name.to_lowercase();
    let is = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if is(&["sky", "void", "unlabel"]) {
        Surface::Void
    } else if is(&["pavement", "sidewalk", "terrain", "grass", "kerb", "curb"]) {
        Surface::Flat(OFF_ROAD_COST)
    } else if is(&["rider", "bicy", "cycl", "motorbike"]) {
        Surface::Standing(Standing::RIDER)
    } else if is(&["person", "pedestrian", "animal"]) {
        Surface::Standing(Standing::PEDESTRIAN)
    } else if is(&[
        "car", "truck", "bus", "vehicle", "train", "van", "lorry", "trailer",
    ]) {
        Surface::Standing(Standing::VEHICLE)
    } else if is(&["tree", "vegetation", "bush"]) {
        Surface::Standing(Standing::VEGETATION)
    } else if is(&["fence", "rail"]) {
        Surface::Standing(Standing::FENCE)
    } else if is(&["building", "wall", "house"]) {
        Surface::Standing(Standing::HOUSE)
    } else {
        Surface::Standing(Standing::WALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Result, ensure};

    fn classes() -> ClassTable {
        let names = [
            "Sky",
            "Road",
            "Pavement",
            "Tree",
            "Car",
            "Bicyclist",
            "Kiosk",
        ];
        ClassTable {
            names: names.map(str::to_owned).to_vec(),
            palette: vec![[0; 3]; names.len()],
            drivable: names.map(|name| name == "Road").to_vec(),
            ignore_id: 255,
        }
    }

    #[test]
    fn classes_are_told_apart_by_the_weights_and_their_names() {
        let table = SurfaceTable::new(&classes());
        assert_eq!(table.surface(0), &Surface::Void);
        assert_eq!(table.surface(1), &Surface::Flat(0));
        assert_eq!(table.surface(2), &Surface::Flat(OFF_ROAD_COST));
        assert_eq!(table.surface(3), &Surface::Standing(Standing::VEGETATION));
        assert_eq!(table.surface(4), &Surface::Standing(Standing::VEHICLE));
        assert_eq!(table.surface(5), &Surface::Standing(Standing::RIDER));
        assert_eq!(table.surface(6), &Surface::Standing(Standing::WALL));
        assert_eq!(table.surface(7), &Surface::Void, "no class has id 7");
    }

    #[test]
    fn costs_of_the_configuration_replace_the_defaults() -> Result<()> {
        let cost = |name: &str, cost| (name.to_owned(), cost);
        let with = |costs: &[_]| SurfaceTable::new(&classes()).with_costs(&classes(), costs);
        let table = with(&[cost("Pavement", 100), cost("Tree", 40), cost("Car", 100)])?;
        ensure!(table.surface(2) == &Surface::Standing(Standing::WALL));
        ensure!(table.surface(3) == &Surface::Flat(40));
        ensure!(table.surface(4) == &Surface::Standing(Standing::VEHICLE));
        let text = |costs: &[_]| with(costs).err().map(|e| e.to_string()).unwrap_or_default();
        ensure!(
            text(&[cost("Boat", 3)]).contains("Boat, which is not among the classes Sky, Road")
        );
        ensure!(text(&[cost("Tree", 101)]).contains("Tree the cost 101"));
        Ok(())
    }
}
