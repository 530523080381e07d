//! The node on a live ROS graph with a foreign peer (rclpy over Fast DDS).

mod bad_frames;
mod budget;
mod cameras;
mod diagnostics;
#[path = "../domain/mod.rs"]
mod domain;
mod drivable;
mod drive;
#[cfg(feature = "inject-faults")]
mod faults;
mod graph;
mod ground_settings;
mod images;
mod layouts;
mod lifecycle;
mod lifetime;
mod managed;
mod names;
mod outputs;
mod parameters;
mod pictures;
mod placement;
mod profiles;
mod security;
#[path = "../seeded/mod.rs"]
mod seeded;
mod slow_network;
mod start;
mod surround;
mod swap;
mod weights;
