//! `ecmnet_node`: the ROS 2 node.
//!
//! The program exists without the feature `ros` too, where it only says so: cargo-ament-build does not
//! install a program with `required-features`, though they be default ones.

use std::process::ExitCode;

#[cfg(feature = "ros")]
mod node;

#[cfg(feature = "ros")]
fn main() -> ExitCode {
    node::main()
}

#[cfg(not(feature = "ros"))]
fn main() -> ExitCode {
    eprintln!("ecmnet_node: built without ROS 2; build it with the feature `ros`");
    ExitCode::from(2)
}
