//! ECMNet (arXiv 2506.08629) and its weights.

pub mod metadata;
pub mod weights;

pub use metadata::{ColourOrder, MetadataError, Plan, WeightsMetadata};
pub use weights::{Parameter, Weights, WeightsError};
