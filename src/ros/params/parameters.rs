//! The values of one node's parameters, and the rules by which they change.

use super::{PARAMETERS, Parameter, Settings, Value};
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
    #[error("parameter '{name}' is read-only: set it when the node is started")]
    ReadOnly {
        /// The parameter.
        name: &'static str,
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

impl Parameters {
    /// Returns the defaults with `overrides` applied in order; errs at the first that does not fit.
    pub fn from_overrides(
        overrides: impl IntoIterator<Item = (String, Value)>,
    ) -> Result<Self, ParameterError> {
        let mut parameters = Self::default();
        for (name, value) in overrides {
            parameters.settings = parameters.with(find(&name)?, value)?;
        }
        Ok(parameters)
    }

    /// Tells which classes there are, once the weights are loaded; errs where
    /// `drivable_classes` names another.
    pub fn admit_classes(&mut self, classes: ClassTable) -> Result<(), ParameterError> {
        self.classes = Some(classes);
        let drivable = find("drivable_classes")?;
        self.settings = self.with(drivable, drivable.value(&self.settings))?;
        Ok(())
    }

    /// Forgets the classes, once the weights are gone.
    pub fn forget_classes(&mut self) {
        self.classes = None;
    }

    /// Returns the values in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
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

    /// Sets parameters of a running node, all or none; errs at the first that does not fit.
    pub fn set(
        &mut self,
        changes: impl IntoIterator<Item = (String, Value)>,
    ) -> Result<(), ParameterError> {
        let mut changed = self.clone();
        for (name, value) in changes {
            let parameter = find(&name)?;
            if !parameter.live {
                let name = parameter.name;
                return Err(ParameterError::ReadOnly { name });
            }
            changed.settings = changed.with(parameter, value)?;
        }
        *self = changed;
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
            ("weight", text("x"), "there are weights, device"),
        ] {
            let refusal = Parameters::from_overrides([(name.to_owned(), value)]);
            let sentence = refusal.map_or_else(|error| error.to_string(), |_| "accepted".into());
            assert!(sentence.contains(said), "{name}: {sentence}");
        }
    }

    #[test]
    fn a_running_node_takes_all_changes_or_none() -> Result<(), ParameterError> {
        let mut parameters = running();
        let alpha = || ("overlay_alpha".to_owned(), Value::Real(0.25));
        let refused = parameters.set([alpha(), ("threads".to_owned(), Value::Integer(1))]);
        assert_eq!(refused, Err(ParameterError::ReadOnly { name: "threads" }));
        assert_eq!(parameters, running());
        parameters.set([alpha()])?;
        assert_eq!(parameters.get("overlay_alpha"), Some(Value::Real(0.25)));
        Ok(())
    }

    #[test]
    fn drivable_classes_are_the_weights_own_unless_chosen() -> Result<(), ParameterError> {
        let mut parameters = running();
        assert_eq!(parameters.drivable(), [false, true, false]);
        let chosen = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            ("drivable_classes".to_owned(), Value::Texts(names))
        };
        parameters.set([chosen(&["Road", "Pavement"])])?;
        assert_eq!(parameters.drivable(), [false, true, true]);
        let refused = parameters
            .set([chosen(&["road"])])
            .err()
            .map(|error| error.to_string());
        assert!(refused.is_some_and(|sentence| sentence.contains("Sky, Road, Pavement")));
        Ok(())
    }
}
