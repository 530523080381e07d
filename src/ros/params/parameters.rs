//! The values of one node's parameters, and the rules by which they change.

use super::{Change, PARAMETERS, Parameter, Settings, Value};
use crate::drivable::surface::SurfaceTable;
use crate::labels::ClassTable;

/// Why a parameter was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// There is no such parameter.
    #[error("there is no parameter '{name}'; there are {}", names().join(", "))]
    Unknown {
        /// The name that was given.
        name: String,
    },
    /// It is fixed once the node runs.
    #[error("parameter '{name}' is read-only, {reason}: set it when the node is started")]
    ReadOnly {
        /// The parameter.
        name: &'static str,
        /// Why it is.
        reason: &'static str,
    },
    /// The value is of another type, or not one of those that it takes.
    #[error("parameter '{name}' was not set: {reason}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
}

/// The parameters' values of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    settings: Settings,
    classes: Option<ClassTable>,
}

/// What a change makes of the parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The parameters with the change.
    pub parameters: Parameters,
    /// Whether a network must be loaded, and its classes admitted, before they hold.
    pub loads: bool,
}

impl Parameters {
    /// Returns the defaults with `overrides` applied in order; errs at the first that does not fit.
    pub fn from_overrides(
        overrides: impl IntoIterator<Item = (String, Value)>,
    ) -> Result<Self, ParameterError> {
        let mut parameters = Self::default();
        for (name, value) in overrides {
            parameters.settings = parameters.with(find(&name)?, value)?;
        }
        parameters.check_area()?;
        Ok(parameters)
    }

    /// Tells which classes there are, once the weights are loaded; errs where
    /// `drivable_classes` names another.
    pub fn admit_classes(&mut self, classes: ClassTable) -> Result<(), ParameterError> {
        self.classes = Some(classes);
        let drivable = find("drivable_classes")?;
        self.settings = self.with(drivable, drivable.value(&self.settings))?;
        self.check_area()
    }

    /// Forgets the classes, once the weights are gone.
    pub fn forget_classes(&mut self) {
        self.classes = None;
    }

    /// Returns the values in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the classes, with the choice of those that a vehicle may drive on; `None` where no
    /// weights are loaded.
    pub fn chosen_classes(&self) -> Option<ClassTable> {
        let classes = self.classes.as_ref()?;
        Some(ClassTable {
            drivable: self.drivable(),
            ..classes.clone()
        })
    }

    /// Returns whether a vehicle may drive on it, by class id.
    pub fn drivable(&self) -> Vec<bool> {
        let Some(classes) = &self.classes else {
            return Vec::new();
        };
        let chosen = &self.settings.drivable_classes;
        if chosen.is_empty() {
            return classes.drivable.clone();
        }
        classes
            .names
            .iter()
            .map(|name| chosen.contains(name))
            .collect()
    }

    /// Returns the value of a parameter, or `None` where there is none of that name.
    pub fn get(&self, name: &str) -> Option<Value> {
        let parameter = find(name).ok()?;
        Some(parameter.value(&self.settings))
    }

    /// Returns the parameters of a running node with all of the changes; errs at the first that
    /// does not fit.
    ///
    /// Where a network is loaded and they ask for another, class names are checked with that one's.
    pub fn with_changes(&self, changes: &[(String, Value)]) -> Result<Changed, ParameterError> {
        let mut parameters = self.clone();
        let loads = self.classes.is_some()
            && (changes.iter())
                .any(|(name, _)| find(name).is_ok_and(|found| found.change == Change::Loads));
        if loads {
            parameters.forget_classes();
        }
        for (name, value) in changes {
            let parameter = find(name)?;
            if let Change::Never(reason) = parameter.change {
                let name = parameter.name;
                return Err(ParameterError::ReadOnly { name, reason });
            }
            parameters.settings = parameters.with(parameter, value.clone())?;
        }
        parameters.check_area()?;
        Ok(Changed { parameters, loads })
    }

    /// Errs where what the parameters say of the drivable area does not go together, or does not fit
    /// the classes.
    fn check_area(&self) -> Result<(), ParameterError> {
        let refused = |name, reason| ParameterError::Value { name, reason };
        let area = &self.settings.area;
        if self.settings.cameras.len() > 1 && area.camera_height_m > 0.0 {
            let reason = "it tells one camera's place, and there are several: let TF tell them";
            return Err(refused("camera.height_m", reason.to_owned()));
        }
        let config = area.config();
        let config = config.map_err(|reason| refused("class_costs", reason))?;
        config
            .grid
            .check()
            .map_err(|error| refused("grid.resolution_m", error.to_string()))?;
        if let Some(classes) = &self.classes {
            SurfaceTable::new(classes)
                .with_costs(classes, &config.class_costs)
                .map_err(|error| refused("class_costs", error.to_string()))?;
        }
        Ok(())
    }

    fn with(&self, parameter: &Parameter, value: Value) -> Result<Settings, ParameterError> {
        let refused = |reason| ParameterError::Value {
            name: parameter.name,
            reason,
        };
        if !parameter.range.admits(&value) {
            let range = parameter.range;
            return Err(refused(format!("{value} is not in its range, {range}")));
        }
        let mut settings = self.settings.clone();
        (parameter.set)(&mut settings, value).map_err(refused)?;
        if let Some(classes) = &self.classes {
            let stranger = |name: &&String| !classes.names.contains(name);
            if let Some(name) = settings.drivable_classes.iter().find(stranger) {
                let known = classes.names.join(", ");
                return Err(refused(format!(
                    "the weights have no class '{name}'; they have {known}"
                )));
            }
        }
        Ok(settings)
    }
}

fn find(name: &str) -> Result<&'static Parameter, ParameterError> {
    PARAMETERS
        .iter()
        .find(|parameter| parameter.name == name)
        .ok_or_else(|| ParameterError::Unknown { name: name.into() })
}

fn names() -> Vec<&'static str> {
    PARAMETERS.iter().map(|parameter| parameter.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn running() -> Parameters {
        let classes = ClassTable {
            names: vec!["Sky".into(), "Road".into(), "Pavement".into()],
            palette: vec![[0; 3]; 3],
            drivable: vec![false, true, false],
            ignore_id: 255,
        };
        Parameters {
            classes: Some(classes),
            ..Default::default()
        }
    }

    #[test]
    fn every_default_is_admitted_by_its_own_range_and_setter() -> Result<(), ParameterError> {
        let defaults = Settings::default();
        let overrides = PARAMETERS
            .iter()
            .map(|parameter| (parameter.name.to_owned(), parameter.value(&defaults)));
        assert_eq!(
            Parameters::from_overrides(overrides)?,
            Parameters::default()
        );
        Ok(())
    }

    #[test]
    fn wrong_values_are_refused_with_what_would_be_right() {
        for (name, value, said) in [
            (
                "threads",
                text("2"),
                "it takes integer, but was given string",
            ),
            ("overlay_alpha", Value::Integer(1), "write 1.0"),
            ("overlay_alpha", Value::Real(1.5), "0.0 to 1.0"),
            ("overlay_alpha", Value::Real(f64::NAN), "0.0 to 1.0"),
            ("max_pixels", Value::Integer(0), "1 to 268435456"),
            ("image_qos", text("best"), "auto, reliable, best_effort"),
            (
                "use_sim_time",
                Value::Foreign("double array"),
                "double array",
            ),
            ("weights", Value::NotSet, "not set"),
            (
                "autoware.label_ids",
                Value::Texts(vec!["Sky=15".into(), "Road=256".into()]),
                "'Road=256' is not of the form 'NAME=ID' with an ID of 0 to 255",
            ),
            ("weight", text("x"), "there are weights, device"),
        ] {
            let refusal = Parameters::from_overrides([(name.to_owned(), value)]);
            let sentence = refusal.map_or_else(|error| error.to_string(), |_| "accepted".into());
            assert!(sentence.contains(said), "{name}: {sentence}");
        }
    }

    #[test]
    fn a_running_node_takes_all_changes_or_none() -> Result<(), ParameterError> {
        let alpha = ("overlay_alpha".to_owned(), Value::Real(0.25));
        let autostart = ("autostart".to_owned(), Value::Truth(false));
        let refused = running().with_changes(&[alpha.clone(), autostart]);
        assert!(matches!(refused, Err(ParameterError::ReadOnly { .. })));
        let changed = running().with_changes(&[alpha])?;
        assert!(!changed.loads);
        let now = changed.parameters.get("overlay_alpha");
        assert_eq!(now, Some(Value::Real(0.25)));
        Ok(())
    }

    #[test]
    fn other_weights_are_loaded_before_class_names_are_checked() -> Result<(), ParameterError> {
        let weights = ("weights".to_owned(), text("other.safetensors"));
        let classes = Value::Texts(vec!["asphalt".into()]);
        let both = [weights, ("drivable_classes".to_owned(), classes)];
        let mut changed = running().with_changes(&both)?;
        assert!(changed.loads);
        let names = || vec!["sky".into(), "asphalt".into()];
        let of_file = |names| ClassTable {
            names,
            palette: vec![[0; 3]; 2],
            drivable: vec![false; 2],
            ignore_id: 255,
        };
        changed.parameters.admit_classes(of_file(names()))?;
        assert_eq!(changed.parameters.drivable(), [false, true]);
        let none = vec!["sky".into(), "road".into()];
        assert!(changed.parameters.admit_classes(of_file(none)).is_err());
        // Before the first network there is none to load anew.
        assert!(!Parameters::default().with_changes(&both)?.loads);
        Ok(())
    }

    #[test]
    fn what_is_said_of_the_drivable_area_must_go_together() -> Result<(), ParameterError> {
        let real = |name: &str, value| (name.to_owned(), Value::Real(value));
        let wide = [real("grid.size_x_m", 500.0), real("grid.size_y_m", 500.0)];
        let refused = running().with_changes(&wide).err();
        let sentence = refused.map(|error| error.to_string()).unwrap_or_default();
        assert!(sentence.contains("4 million cells"), "{sentence}");
        let coarse = [wide.to_vec(), vec![real("grid.resolution_m", 0.5)]].concat();
        running().with_changes(&coarse)?;
        for (cost, said) in [
            ("Boat=3", "Sky, Road"),
            ("Road", "NAME=COST"),
            ("Road=101", "101"),
        ] {
            let costs = Value::Texts(vec![cost.into()]);
            let refused = running()
                .with_changes(&[("class_costs".into(), costs)])
                .err();
            let sentence = refused.map(|error| error.to_string()).unwrap_or_default();
            assert!(sentence.contains(said), "{cost}: {sentence}");
        }
        let costs = Value::Texts(vec!["Pavement=30".into()]);
        running().with_changes(&[("class_costs".into(), costs)])?;
        Ok(())
    }

    #[test]
    fn what_is_of_one_camera_alone_is_refused_for_several() -> Result<(), ParameterError> {
        let cameras = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            ("cameras".to_owned(), Value::Texts(names))
        };
        let height = ("camera.height_m".to_owned(), Value::Real(1.5));
        Parameters::from_overrides([cameras(&["front"]), height.clone()])?;
        let both = cameras(&["front", "left"]);
        let refused = Parameters::from_overrides([both.clone(), height.clone()]).err();
        let sentence = refused.map(|error| error.to_string()).unwrap_or_default();
        assert!(sentence.contains("let TF tell them"), "{sentence}");
        let running_both = Parameters::from_overrides([both])?;
        assert!(running_both.with_changes(&[height]).is_err());
        let twice = Parameters::from_overrides([cameras(&["left", "left"])]).err();
        let sentence = twice.map(|error| error.to_string()).unwrap_or_default();
        assert!(
            sentence.contains("two cameras are named 'left'"),
            "{sentence}"
        );
        let more = running().with_changes(&[cameras(&["rear"])]);
        assert!(matches!(more, Err(ParameterError::ReadOnly { .. })));
        Ok(())
    }

    #[test]
    fn drivable_classes_are_the_weights_own_unless_chosen() -> Result<(), ParameterError> {
        let parameters = running();
        assert_eq!(parameters.drivable(), [false, true, false]);
        let chosen = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            ("drivable_classes".to_owned(), Value::Texts(names))
        };
        let changed = parameters.with_changes(&[chosen(&["Road", "Pavement"])])?;
        assert_eq!(changed.parameters.drivable(), [false, true, true]);
        let refused = parameters
            .with_changes(&[chosen(&["road"])])
            .err()
            .map(|error| error.to_string());
        assert!(refused.is_some_and(|sentence| sentence.contains("Sky, Road, Pavement")));
        Ok(())
    }
}
