//! The node's parameters: the one place that holds their names, types, defaults, ranges, and
//! which of them may change while the node runs.

use std::fmt;

mod area;
mod area_table;
mod parameters;
mod settings;
mod table;
mod value;

pub use area::AreaSettings;
pub use parameters::{Changed, ParameterError, Parameters};
pub use settings::Settings;
pub use table::PARAMETERS;
pub use value::{Range, Value};

/// How a parameter changes while the node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// At once.
    Live,
    /// Once a network has been loaded with it, which takes the old one's place between two frames.
    Loads,
    /// Not at all, for this reason.
    Never(&'static str),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live => f.write_str("live"),
            Self::Loads => f.write_str("live: loads the network anew"),
            Self::Never(reason) => write!(f, "read-only: {reason}"),
        }
    }
}

/// A parameter of the node.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// The values that it takes, beyond its type.
    pub range: Range,
    /// How it changes while the node runs.
    pub change: Change,
    /// What it does, one line.
    pub description: &'static str,
    get: fn(&Settings) -> Value,
    set: fn(&mut Settings, Value) -> Result<(), String>,
}

impl Parameter {
    /// Returns its value in `settings`.
    pub fn value(&self, settings: &Settings) -> Value {
        (self.get)(settings)
    }
}

/// Returns the parameters as a Markdown table, for the README.
pub fn markdown_table() -> String {
    let defaults = Settings::default();
    let mut table = String::from(
        "| Parameter | Type | Default | Range | While running | What it does |\n\
         |---|---|---|---|---|---|\n",
    );
    for parameter in &PARAMETERS {
        let default = parameter.value(&defaults);
        table += &format!(
            "| `{}` | {} | `{default}` | {} | {} | {} |\n",
            parameter.name,
            default.type_name(),
            parameter.range,
            parameter.change,
            parameter.description,
        );
    }
    table
}

/// Returns a parameter file that sets every parameter to its default.
pub fn defaults_file() -> String {
    let defaults = Settings::default();
    let mut file = String::from(
        "# Every parameter of ecmnet_node at its default.\n/**:\n  ros__parameters:\n",
    );
    for parameter in &PARAMETERS {
        let range = match parameter.range {
            Range::Any => String::new(),
            range => format!(": {range}"),
        };
        let default = parameter.value(&defaults);
        // The node has no weights of its own: whoever starts it names them, or this line does.
        let mark = if parameter.name == "weights" {
            "# "
        } else {
            ""
        };
        file += &format!(
            "    # {}{range}.\n    {mark}{}: {default}\n",
            parameter.description, parameter.name,
        );
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_parameter_file_holds_every_default() {
        assert_eq!(
            include_str!("../../config/ecmnet.param.yaml"),
            defaults_file()
        );
    }
}
