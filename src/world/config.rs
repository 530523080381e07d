//! The settings of a made world, and which can be rendered.

use super::light::Weather;
use super::truth::GridExtent;

/// What to render.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorldConfig {
    /// The drive; every seed is another town, light and camera.
    pub seed: u64,
    /// Image width, pixels.
    pub width: u32,
    /// Image height, pixels.
    pub height: u32,
    /// Frames a second.
    pub rate_hz: f64,
    /// Horizontal field of view before distortion, degrees.
    pub hfov_deg: f64,
    /// fx / fy: 1 for square pixels. None shows a 16:9 picture whatever the size, as CamVid's
    /// camera does: 0.75 at 960x720, 1 at 1920x1080.
    pub pixel_aspect: Option<f64>,
    /// Camera pitch, degrees, positive looking down.
    pub pitch_deg: f64,
    /// Camera yaw, degrees, positive looking to the left.
    pub yaw_deg: f64,
    /// How far the camera nods about `pitch_deg`, degrees, as a sine that no pose tells.
    pub nod_deg: f64,
    /// How often it nods, Hz.
    pub nod_hz: f64,
    /// Camera height over the ground, metres.
    pub camera_height_m: f64,
    /// plumb_bob: k1, k2, p1, p2, k3.
    pub distortion: [f64; 5],
    /// The weather, or None for the seed's own.
    pub weather: Option<Weather>,
    /// More kinds of fences, signs, masts, people, fronts, vehicles, paint and light than a drive
    /// has: frames to train on. Another town for the same seed.
    pub varied: bool,
    /// Extent of the truth grid.
    pub grid: GridExtent,
    /// Stamp of frame 0, nanoseconds since the epoch.
    pub start_ns: i64,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            width: 960,
            height: 720,
            rate_hz: 15.0,
            hfov_deg: 58.0,
            pixel_aspect: None,
            pitch_deg: 0.0,
            yaw_deg: 0.0,
            nod_deg: 0.0,
            nod_hz: 1.0,
            camera_height_m: 1.4,
            distortion: [-0.08, 0.02, 0.0004, -0.0003, 0.0],
            weather: None,
            varied: false,
            grid: GridExtent::default(),
            start_ns: 1_700_000_000_000_000_000,
        }
    }
}

/// Why a world cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// A setting outside what can be rendered.
    #[error("world setting {name} is {value}; it must be {range}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What is accepted.
        range: &'static str,
    },
}

/// Width over height of a pixel.
pub(super) fn pixel_aspect(config: &WorldConfig) -> f64 {
    let picture = config.width as f64 / config.height as f64;
    config.pixel_aspect.unwrap_or(picture / (16.0 / 9.0))
}

/// Errs on a setting that cannot be rendered.
pub(super) fn check(config: &WorldConfig) -> Result<(), WorldError> {
    let within = |name, value: f64, low: f64, high: f64, range| {
        if (low..=high).contains(&value) {
            Ok(())
        } else {
            Err(WorldError::Setting { name, value, range })
        }
    };
    within(
        "width",
        config.width as f64,
        64.0,
        8192.0,
        "64 to 8192 pixels",
    )?;
    within(
        "height",
        config.height as f64,
        64.0,
        8192.0,
        "64 to 8192 pixels",
    )?;
    within("rate_hz", config.rate_hz, 0.1, 1000.0, "0.1 to 1000 Hz")?;
    within(
        "hfov_deg",
        config.hfov_deg,
        20.0,
        110.0,
        "20 to 110 degrees",
    )?;
    within("pixel_aspect", pixel_aspect(config), 0.5, 2.0, "0.5 to 2")?;
    within(
        "pitch_deg",
        config.pitch_deg,
        -30.0,
        45.0,
        "-30 to 45 degrees",
    )?;
    within(
        "yaw_deg",
        config.yaw_deg,
        -180.0,
        180.0,
        "-180 to 180 degrees",
    )?;
    within("nod_deg", config.nod_deg, 0.0, 5.0, "0 to 5 degrees")?;
    within("nod_hz", config.nod_hz, 0.0, 10.0, "0 to 10 Hz")?;
    within(
        "camera_height_m",
        config.camera_height_m,
        0.3,
        5.0,
        "0.3 to 5 m",
    )?;
    within(
        "grid.resolution_m",
        config.grid.resolution_m,
        0.02,
        5.0,
        "0.02 to 5 m",
    )?;
    within(
        "grid.ahead_m",
        config.grid.ahead_m,
        1.0,
        200.0,
        "1 to 200 m",
    )?;
    within(
        "grid.aside_m",
        config.grid.aside_m,
        1.0,
        100.0,
        "1 to 100 m",
    )
}
