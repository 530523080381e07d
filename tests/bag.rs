//! Reading and writing rosbag2 bags.

#[path = "bag/read.rs"]
mod read;
#[path = "bag/writer.rs"]
mod writer;
