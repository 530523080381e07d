//! Every parameter: its name, its range, and whether it may change while the node runs.

use super::super::cameras::check_names;
use super::area_table::{self, AREA_PARAMETERS};
use super::{Change, Parameter, Range, Value};
use crate::autoware::AutowareIds;
use crate::segmenter::{DeviceChoice, NetworkSize};

/// Rates that an output can be held to.
const MAX_RATE_HZ: Range = Range::Real {
    from: 0.0,
    to: 1000.0,
};

/// Every parameter, in the order in which people read them.
pub const PARAMETERS: [Parameter; NODE_PARAMETERS.len() + area_table::COUNT] = {
    let mut all = [NODE_PARAMETERS[0]; NODE_PARAMETERS.len() + area_table::COUNT];
    let mut at = 0;
    while at < all.len() {
        all[at] = match at.checked_sub(NODE_PARAMETERS.len()) {
            None => NODE_PARAMETERS[at],
            Some(after) => AREA_PARAMETERS[after],
        };
        at += 1;
    }
    all
};

/// Those of masks and node.
const NODE_PARAMETERS: [Parameter; 22] = [
    Parameter {
        name: "weights",
        range: Range::Any,
        change: Change::Loads,
        description: "Weights, a .safetensors file of this project's format",
        get: |settings| Value::Text(settings.weights.clone()),
        set: |settings, value| value.store_text(&mut settings.weights),
    },
    Parameter {
        name: "device",
        range: Range::Form("auto, cpu, cuda or cuda:N"),
        change: Change::Loads,
        description: "Where the network runs; auto takes a GPU that works, else the CPU",
        get: |settings| Value::Text(settings.device.clone()),
        set: |settings, value| value.store_parsed::<DeviceChoice>(&mut settings.device),
    },
    Parameter {
        name: "threads",
        range: Range::Integer { from: 0, to: 256 },
        change: Change::Loads,
        description: "Threads of the network on the CPU; 0 for one a core",
        get: |settings| Value::Integer(settings.threads),
        set: |settings, value| value.store_integer(&mut settings.threads),
    },
    Parameter {
        name: "network_size",
        range: Range::Form("train, native or HxW"),
        change: Change::Loads,
        description: "Size that images are resized to: the weights' own, the image's, or a fixed one",
        get: |settings| Value::Text(settings.network_size.clone()),
        set: |settings, value| value.store_parsed::<NetworkSize>(&mut settings.network_size),
    },
    Parameter {
        name: "cameras",
        range: Range::Any,
        change: Change::Never("topics are made once, at the start"),
        description: "Names of several cameras, below which each has its topics; empty for one, whose topics have no such part",
        get: |settings| Value::Texts(settings.cameras.clone()),
        set: |settings, value| {
            value.store_texts(&mut settings.cameras)?;
            check_names(&settings.cameras)
        },
    },
    Parameter {
        name: "image_transport",
        range: Range::OneOf(&["auto", "raw", "compressed"]),
        change: Change::Live,
        description: "Image, CompressedImage, or whichever the live topic has",
        get: |settings| Value::Text(settings.image_transport.clone()),
        set: |settings, value| value.store_text(&mut settings.image_transport),
    },
    Parameter {
        name: "image_qos",
        range: Range::OneOf(&["auto", "reliable", "best_effort"]),
        change: Change::Live,
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
        change: Change::Live,
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
        change: Change::Live,
        description: "Oldest image that is still segmented, by the ROS clock; 0 for any",
        get: |settings| Value::Integer(settings.max_age_ms),
        set: |settings, value| value.store_integer(&mut settings.max_age_ms),
    },
    Parameter {
        name: "deadline_ms",
        range: Range::Integer {
            from: 0,
            to: 60_000,
        },
        change: Change::Live,
        description: "Age of an image at which its mask is late, and diagnostics warn; 0 for none",
        get: |settings| Value::Integer(settings.deadline_ms),
        set: |settings, value| value.store_integer(&mut settings.deadline_ms),
    },
    Parameter {
        name: "label_mask.max_rate_hz",
        range: MAX_RATE_HZ,
        change: Change::Live,
        description: "Most messages a second on ~/label_mask; 0.0 for one of every image",
        get: |settings| Value::Real(settings.max_rate_hz.label_mask),
        set: |settings, value| value.store_real(&mut settings.max_rate_hz.label_mask),
    },
    Parameter {
        name: "confidence.max_rate_hz",
        range: MAX_RATE_HZ,
        change: Change::Live,
        description: "Most messages a second on ~/confidence; 0.0 for one of every image",
        get: |settings| Value::Real(settings.max_rate_hz.confidence),
        set: |settings, value| value.store_real(&mut settings.max_rate_hz.confidence),
    },
    Parameter {
        name: "drivable_mask.max_rate_hz",
        range: MAX_RATE_HZ,
        change: Change::Live,
        description: "Most messages a second on ~/drivable_mask; 0.0 for one of every image",
        get: |settings| Value::Real(settings.max_rate_hz.drivable_mask),
        set: |settings, value| value.store_real(&mut settings.max_rate_hz.drivable_mask),
    },
    Parameter {
        name: "overlay.max_rate_hz",
        range: MAX_RATE_HZ,
        change: Change::Live,
        description: "Most messages a second on ~/overlay; 0.0 for one of every image",
        get: |settings| Value::Real(settings.max_rate_hz.overlay),
        set: |settings, value| value.store_real(&mut settings.max_rate_hz.overlay),
    },
    Parameter {
        name: "autoware.max_rate_hz",
        range: MAX_RATE_HZ,
        change: Change::Live,
        description: "Most messages a second on ~/autoware/mask; 0.0 for one of every image",
        get: |settings| Value::Real(settings.max_rate_hz.autoware_mask),
        set: |settings, value| value.store_real(&mut settings.max_rate_hz.autoware_mask),
    },
    Parameter {
        name: "overlay_alpha",
        range: Range::Real { from: 0.0, to: 1.0 },
        change: Change::Live,
        description: "Share of the class colours in the overlay",
        get: |settings| Value::Real(settings.overlay_alpha),
        set: |settings, value| value.store_real(&mut settings.overlay_alpha),
    },
    Parameter {
        name: "drivable_classes",
        range: Range::Form("names of the weights' classes"),
        change: Change::Live,
        description: "Classes that the vehicle may drive on; empty for those that the weights name",
        get: |settings| Value::Texts(settings.drivable_classes.clone()),
        set: |settings, value| value.store_texts(&mut settings.drivable_classes),
    },
    Parameter {
        name: "autoware.label_ids",
        range: Range::Form("NAME=ID, 0 to 255"),
        change: Change::Live,
        description: "Autoware's ids of classes in ~/autoware/mask; the others are 0, unknown",
        get: |settings| Value::Texts(settings.autoware_label_ids.clone()),
        set: |settings, value| {
            let mut entries = Vec::new();
            value.store_texts(&mut entries)?;
            AutowareIds::check(&entries).map_err(|error| error.to_string())?;
            settings.autoware_label_ids = entries;
            Ok(())
        },
    },
    Parameter {
        name: "use_sim_time",
        range: Range::Any,
        change: Change::Live,
        description: "Whether time comes from /clock",
        get: |settings| Value::Truth(settings.use_sim_time),
        set: |settings, value| value.store_truth(&mut settings.use_sim_time),
    },
    Parameter {
        name: "autostart",
        range: Range::Any,
        change: Change::Never("asked once, at the start"),
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
        change: Change::Never("a bond keeps the times that the node began with"),
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
        change: Change::Never("a bond keeps the times that the node began with"),
        description: "Seconds from one heartbeat of the bond to the next; 0.0 for no bond",
        get: |settings| Value::Real(settings.bond_heartbeat_period),
        set: |settings, value| value.store_real(&mut settings.bond_heartbeat_period),
    },
];
