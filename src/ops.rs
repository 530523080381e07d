//! The network's operations as Candle custom ops: what stock Candle cannot do, or not fast enough.
//!
//! Each has a plain per-element CPU reference, which its tests compare the fast path with, on every
//! [`CpuPath`] that the machine has. All maps are f32, batch 1, channels first. Work is spread over the
//! rayon pool of the caller; the result does not depend on how many threads that has.

pub mod conv;
mod conv_chain;
mod math;
mod merge;
mod pipeline;
mod resize;
mod rows;
mod selective_scan;
mod simd;
mod strip_conv;
mod strip_mean;
mod tensor;

pub use conv_chain::{ConvChain, ResizedConvChain};
pub use selective_scan::{DIRECTIONS, STATES, SelectiveScan};
pub use simd::CpuPath;
pub use strip_conv::{Strip, StripConv};
