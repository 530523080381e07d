//! The node on a live ROS graph with a foreign peer (rclpy over Fast DDS).

mod graph;
mod images;
mod pictures;
#[path = "../parity/seeded.rs"]
mod seeded;
mod weights;
