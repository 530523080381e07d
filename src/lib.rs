//! ROS 2 semantic segmentation from one camera, by ECMNet (arXiv 2506.08629) through Candle.
//!
//! Data moves one way, as values: `CDR bytes -> ImageView -> [1,3,H,W] -> logits -> LabelMask ->
//! CDR bytes`. Nothing here needs ROS except the module `ros`, behind the feature of that name.

pub mod autoware;
pub mod bag;
pub mod bilinear;
pub mod cdr;
pub mod decode;
pub mod drivable;
#[cfg(feature = "cuda")]
pub mod engine;
pub mod error;
pub mod eval;
pub mod image;
pub mod labels;
pub mod msg;
pub mod network;
pub mod ops;
pub mod overlay;
pub mod pose;
pub mod preprocess;
#[cfg(feature = "ros")]
pub mod ros;
pub mod segmenter;
pub mod transform;
pub mod weights_path;
pub mod world;

pub use error::{Error, Result};
pub use image::{ImageView, PixelFormat};
pub use labels::{ClassTable, Confidence, LabelMask};
pub use segmenter::{DeviceChoice, NetworkSize, Segmentation, Segmenter, SegmenterOptions};

// Unit tests make the same weights as those of tests/, by the same code.
#[cfg(test)]
extern crate self as ecmnet_ros;
#[cfg(test)]
#[path = "../tests/seeded/mod.rs"]
pub(crate) mod seeded;
