//! The node's parameters: the one place that holds their names, types, defaults, ranges, and
//! which of them may change while the node runs.

mod parameters;
mod value;

pub use parameters::{ParameterError, Parameters};
pub use value::{Range, Value};

use crate::segmenter::{DeviceChoice, NetworkSize};

/// What the node is set to; [`Settings::default`] holds every parameter's default.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Path of the weights.
    pub weights: String,
    /// Where the network runs, as [`DeviceChoice`] reads it.
    pub device: String,
    /// Threads of the network on the CPU; 0 for one a core.
    pub threads: i64,
    /// The network's input size, as [`NetworkSize`] reads it.
    pub network_size: String,
    /// `auto`, `raw` or `compressed`.
    pub image_transport: String,
    /// `auto`, `reliable` or `best_effort`.
    pub image_qos: String,
    /// Most pixels that an image may have.
    pub max_pixels: i64,
    /// Oldest image that is still segmented, milliseconds; 0 for any.
    pub max_age_ms: i64,
    /// Share of the class colours in the overlay, 0 to 1.
    pub overlay_alpha: f64,
    /// Classes that a vehicle may drive on; empty for those that the weights name.
    pub drivable_classes: Vec<String>,
    /// Whether time comes from `/clock`.
    pub use_sim_time: bool,
    /// Whether the node configures and activates itself.
    pub autostart: bool,
    /// Silence after which a lifecycle manager takes the node for dead, seconds; 0 for no bond.
    pub bond_timeout: f64,
    /// Time from one heartbeat of the bond to the next, seconds; 0 for no bond.
    pub bond_heartbeat_period: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            weights: String::new(),
            device: "auto".into(),
            threads: 0,
            network_size: "train".into(),
            image_transport: "auto".into(),
            image_qos: "auto".into(),
            max_pixels: 16_000_000,
            max_age_ms: 1000,
            overlay_alpha: 0.5,
            drivable_classes: Vec::new(),
            use_sim_time: false,
            autostart: true,
            bond_timeout: 4.0,
            bond_heartbeat_period: 0.1,
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
    /// Whether it may change while the node runs.
    pub live: bool,
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

/// Every parameter, in the order in which people read them.
pub const PARAMETERS: [Parameter; 14] = [
    Parameter {
        name: "weights",
        range: Range::Any,
        live: false,
        description: "Weights, a .safetensors file of this project's format",
        get: |settings| Value::Text(settings.weights.clone()),
        set: |settings, value| value.store_text(&mut settings.weights),
    },
    Parameter {
        name: "device",
        range: Range::Form("auto, cpu, cuda or cuda:N"),
        live: false,
        description: "Where the network runs; auto takes a GPU that works, else the CPU",
        get: |settings| Value::Text(settings.device.clone()),
        set: |settings, value| value.store_parsed::<DeviceChoice>(&mut settings.device),
    },
    Parameter {
        name: "threads",
        range: Range::Integer { from: 0, to: 256 },
        live: false,
        description: "Threads of the network on the CPU; 0 for one a core",
        get: |settings| Value::Integer(settings.threads),
        set: |settings, value| value.store_integer(&mut settings.threads),
    },
    Parameter {
        name: "network_size",
        range: Range::Form("train, native or HxW"),
        live: false,
        description: "Size that images are resized to: the weights' own, the image's, or a fixed one",
        get: |settings| Value::Text(settings.network_size.clone()),
        set: |settings, value| value.store_parsed::<NetworkSize>(&mut settings.network_size),
    },
    Parameter {
        name: "image_transport",
        range: Range::OneOf(&["auto", "raw", "compressed"]),
        live: true,
        description: "Image, CompressedImage, or whichever the live topic has",
        get: |settings| Value::Text(settings.image_transport.clone()),
        set: |settings, value| value.store_text(&mut settings.image_transport),
    },
    Parameter {
        name: "image_qos",
        range: Range::OneOf(&["auto", "reliable", "best_effort"]),
        live: true,
        description: "Reliability asked of the camera; auto takes what its publisher offers",
        get: |settings| Value::Text(settings.image_qos.clone()),
        set: |settings, value| value.store_text(&mut settings.image_qos),
    },
    Parameter {
        name: "max_pixels",
        range: Range::Integer {
            from: 1,
            to: 268_435_456,
        },
        live: true,
        description: "Most pixels of an image; larger ones are dropped before they are decoded",
        get: |settings| Value::Integer(settings.max_pixels),
        set: |settings, value| value.store_integer(&mut settings.max_pixels),
    },
    Parameter {
        name: "max_age_ms",
        range: Range::Integer {
            from: 0,
            to: 60_000,
        },
        live: true,
        description: "Oldest image that is still segmented, by the ROS clock; 0 for any",
        get: |settings| Value::Integer(settings.max_age_ms),
        set: |settings, value| value.store_integer(&mut settings.max_age_ms),
    },
    Parameter {
        name: "overlay_alpha",
        range: Range::Real { from: 0.0, to: 1.0 },
        live: true,
        description: "Share of the class colours in the overlay",
        get: |settings| Value::Real(settings.overlay_alpha),
        set: |settings, value| value.store_real(&mut settings.overlay_alpha),
    },
    Parameter {
        name: "drivable_classes",
        range: Range::Form("names of the weights' classes"),
        live: true,
        description: "Classes that the vehicle may drive on; empty for those that the weights name",
        get: |settings| Value::Texts(settings.drivable_classes.clone()),
        set: |settings, value| value.store_texts(&mut settings.drivable_classes),
    },
    Parameter {
        name: "use_sim_time",
        range: Range::Any,
        live: true,
        description: "Whether time comes from /clock",
        get: |settings| Value::Truth(settings.use_sim_time),
        set: |settings, value| value.store_truth(&mut settings.use_sim_time),
    },
    Parameter {
        name: "autostart",
        range: Range::Any,
        live: false,
        description: "Whether the node configures and activates itself; false where a lifecycle manager does",
        get: |settings| Value::Truth(settings.autostart),
        set: |settings, value| value.store_truth(&mut settings.autostart),
    },
    Parameter {
        name: "bond_timeout",
        range: Range::Real {
            from: 0.0,
            to: 3600.0,
        },
        live: false,
        description: "Seconds without a heartbeat after which a lifecycle manager takes the node for dead; 0.0 for no bond",
        get: |settings| Value::Real(settings.bond_timeout),
        set: |settings, value| value.store_real(&mut settings.bond_timeout),
    },
    Parameter {
        name: "bond_heartbeat_period",
        range: Range::Real {
            from: 0.0,
            to: 60.0,
        },
        live: false,
        description: "Seconds from one heartbeat of the bond to the next; 0.0 for no bond",
        get: |settings| Value::Real(settings.bond_heartbeat_period),
        set: |settings, value| value.store_real(&mut settings.bond_heartbeat_period),
    },
];

/// Returns the parameters as a Markdown table, for the README.
pub fn markdown_table() -> String {
    let defaults = Settings::default();
    let mut table = String::from(
        "| Parameter | Type | Default | Range | While running | What it does |\n\
         |---|---|---|---|---|---|\n",
    );
    for parameter in &PARAMETERS {
        let default = parameter.value(&defaults);
        let live = if parameter.live { "live" } else { "read-only" };
        table += &format!(
            "| `{}` | {} | `{default}` | {} | {live} | {} |\n",
            parameter.name,
            default.type_name(),
            parameter.range,
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
