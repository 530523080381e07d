//! The network's operations as Candle custom ops: what stock Candle cannot do, or not fast enough.
//!
//! Each has a plain per-element CPU reference, which its tests compare the fast path with, on every
//! [`CpuPath`] that the machine has. All maps are f32, batch 1, channels first. Work is spread over the
//! rayon pool of the caller; the result does not depend on how many threads that has.

mod activation;
pub mod conv;
mod conv_chain;
mod depthwise;
mod layer_norm;
mod math;
mod merge;
mod pipeline;
mod pool;
mod resize;
mod rows;
mod selective_scan;
mod simd;
mod strip_conv;
mod strip_mean;
mod tensor;

pub use activation::ChannelActivation;
pub use conv_chain::{ConvChain, ResizedConvChain};
pub use depthwise::Depthwise;
pub use layer_norm::LayerNorm;
pub use math::Function;
pub use resize::Resize;
#[cfg(feature = "cuda")]
pub(crate) use selective_scan::kernel as scan_kernel;
pub use selective_scan::{DIRECTIONS, STATES, ScanOp, SelectiveScan};
pub use simd::CpuPath;
pub use strip_conv::{Strip, StripConv};

/// What the network's own ops are made of: maps as slices, rows and pipelines.
pub(crate) mod map {
    pub(crate) use super::math::apply_in_place;
    pub(crate) use super::merge::Merge;
    pub(crate) use super::pipeline::{Source, run, run_into};
    pub(crate) use super::pool::{adaptive_average_pool, max_pool};
    pub(crate) use super::rows::Rows;
    pub(crate) use super::selective_scan::{on_maps as scan_on_maps, transposed};
    pub(crate) use super::strip_mean::{mean, strip_means, sum};
    pub(crate) use super::tensor::{Map, output};
}
