//! REP-2011 hashes of the message types that this project writes.

/// Returns the RIHS01 hash of a message type in ROS 2 Jazzy, empty where it is not known.
///
/// Only rosbag2's metadata holds it; players match types by name.
pub(super) fn type_hash(type_name: &str) -> &'static str {
    match type_name {
        "sensor_msgs/msg/Image" => {
            "RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47"
        }
        "sensor_msgs/msg/CompressedImage" => {
            "RIHS01_15640771531571185e2efc8a100baf923961a4d15d5569652e6cb6691e8e371a"
        }
        "sensor_msgs/msg/CameraInfo" => {
            "RIHS01_b3dfd68ff46c9d56c80fd3bd4ed22c7a4ddce8c8348f2f59c299e73118e7e275"
        }
        "tf2_msgs/msg/TFMessage" => {
            "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087"
        }
        "nav_msgs/msg/Odometry" => {
            "RIHS01_3cc97dc7fb7502f8714462c526d369e35b603cfc34d946e3f2eda2766dfec6e0"
        }
        "nav_msgs/msg/OccupancyGrid" => {
            "RIHS01_8d348150c12913a31ee0ec170fbf25089e4745d17035792a1ba94d6f0bc0cfc7"
        }
        "vision_msgs/msg/LabelInfo" => {
            "RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783"
        }
        _ => "",
    }
}
