//! What the parameters set, and their defaults.

use super::super::per_output::PerOutput;
use super::area::AreaSettings;

/// What the node is set to; [`Settings::default`] holds every parameter's default.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Names of the cameras; empty for one without a name.
    pub cameras: Vec<String>,
    /// Path of the weights.
    pub weights: String,
    /// Where the network runs, as [`crate::segmenter::DeviceChoice`] reads it.
    pub device: String,
    /// Threads of the network on the CPU; 0 for one a core.
    pub threads: i64,
    /// The network's input size, as [`crate::segmenter::NetworkSize`] reads it.
    pub network_size: String,
    /// `auto`, `raw` or `compressed`.
    pub image_transport: String,
    /// `auto`, `reliable` or `best_effort`.
    pub image_qos: String,
    /// Most pixels that an image may have.
    pub max_pixels: i64,
    /// Oldest image that is still segmented, milliseconds; 0 for any.
    pub max_age_ms: i64,
    /// Age at which a mask is late, milliseconds; 0 for none.
    pub deadline_ms: i64,
    /// Most messages a second of each output; 0 for as many as there are images.
    pub max_rate_hz: PerOutput<f64>,
    /// Share of the class colours in the overlay, 0 to 1.
    pub overlay_alpha: f64,
    /// Classes that a vehicle may drive on; empty for those that the weights name.
    pub drivable_classes: Vec<String>,
    /// Autoware's ids of classes, each `NAME=ID`.
    pub autoware_label_ids: Vec<String>,
    /// The drivable area.
    pub area: AreaSettings,
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
            cameras: Vec::new(),
            weights: String::new(),
            device: "auto".into(),
            threads: 0,
            network_size: "train".into(),
            image_transport: "auto".into(),
            image_qos: "auto".into(),
            max_pixels: 16_000_000,
            max_age_ms: 1000,
            deadline_ms: 1000,
            max_rate_hz: PerOutput::default(),
            overlay_alpha: 0.5,
            drivable_classes: Vec::new(),
            autoware_label_ids: Vec::new(),
            area: AreaSettings::default(),
            use_sim_time: false,
            autostart: true,
            bond_timeout: 4.0,
            bond_heartbeat_period: 0.1,
        }
    }
}
