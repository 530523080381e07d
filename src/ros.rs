//! The ROS 2 node: wiring only. Message contents cross into the rest of the library as plain
//! structs of [`crate::msg`]; no r2r type leaves this module.
//!
//! Three threads: the spin thread alone talks to r2r, follows the lifecycle and puts images into a
//! one-slot cell a camera; the inference thread takes the newest of the camera that has waited longest,
//! runs the network, lays the mask on the ground where somebody reads that, and publishes; the main
//! thread waits for signals and publishes diagnostics. Weights are loaded on a fourth.

mod area;
mod arguments;
mod bond;
mod cameras;
mod clock;
mod context;
mod diagnostics;
mod error;
mod graph;
mod inference;
mod intake;
mod lane;
mod latest;
mod ledger;
mod lifecycle;
mod loading;
mod log;
mod node;
mod outputs;
mod pace;
mod param_services;
pub mod params;
mod per_output;
mod placement;
mod rejection;
mod requests;
mod resolve;
mod shared;
mod spin;
mod start_block;

pub use arguments::RosArguments;
pub use error::NodeError;
pub use graph::{TopicPublisher, publishers_of_topic};
pub use node::run;
pub use per_output::PerOutput;
