//! The quality of service that a topic was offered with, as rosbag2 stores it.

/// A publisher's quality of service; `ros2 bag play` publishes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Qos {
    /// Whether lost messages are sent again.
    pub reliable: bool,
    /// Whether late subscribers get the last messages.
    pub transient_local: bool,
    /// Messages that are kept.
    pub depth: u32,
}

impl Qos {
    /// Reliable, volatile, keep_last 10: what most topics use.
    pub const DEFAULT: Self = Self {
        reliable: true,
        transient_local: false,
        depth: 10,
    };

    /// Reliable, transient_local, keep_last 1: `/tf_static`, maps and label tables.
    pub const LATCHED: Self = Self {
        reliable: true,
        transient_local: true,
        depth: 1,
    };

    /// Best effort, volatile, keep_last 5: sensors.
    pub const SENSOR_DATA: Self = Self {
        reliable: false,
        transient_local: false,
        depth: 5,
    };

    /// Returns the profile as YAML, a list of one, each line behind `indent` spaces.
    pub(super) fn to_yaml(self, indent: usize) -> String {
        let Self {
            reliable,
            transient_local,
            depth,
        } = self;
        let reliability = if reliable { "reliable" } else { "best_effort" };
        let durability = if transient_local {
            "transient_local"
        } else {
            "volatile"
        };
        // The largest nanoseconds that rmw holds, which it takes for "no limit".
        let unlimited = "\n    sec: 9223372036\n    nsec: 854775807";
        let yaml = format!(
            "- history: keep_last\n  depth: {depth}\n  reliability: {reliability}\n  \
             durability: {durability}\n  deadline:{unlimited}\n  lifespan:{unlimited}\n  \
             liveliness: automatic\n  liveliness_lease_duration:{unlimited}\n  \
             avoid_ros_namespace_conventions: false\n"
        );
        yaml.lines()
            .map(|line| format!("{:indent$}{line}\n", ""))
            .collect()
    }
}
