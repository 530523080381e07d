//! Why transforms are not taken in, and not found.

/// Why a transform cannot be taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransformError {
    /// A number that is not finite, or a quaternion of length zero.
    #[error("the transform from {parent} to {child} holds numbers that are no pose")]
    NoPose {
        /// Its parent frame.
        parent: String,
        /// Its child frame.
        child: String,
    },
    /// A frame without a name, or one that is its own parent.
    #[error("the transform from {parent:?} to {child:?} does not name two frames")]
    Names {
        /// Its parent frame.
        parent: String,
        /// Its child frame.
        child: String,
    },
}

/// Why there is no transform between two frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// A frame that no transform has named.
    #[error("no transform from {source_frame} to {target}: frame {missing} is not known")]
    Unknown {
        /// The frame to express things in.
        target: String,
        /// The frame that they are given in.
        source_frame: String,
        /// The one of them that is not known.
        missing: String,
    },
    /// Two trees, or a loop.
    #[error("no transform from {source_frame} to {target}: they are not connected")]
    Unconnected {
        /// The frame to express things in.
        target: String,
        /// The frame that they are given in.
        source_frame: String,
    },
    /// A frame's poses are all later than the stamp, or have a gap there.
    #[error(
        "no transform from {source_frame} to {target}: {child} in {parent} is not known {} ms before \
         the next pose", late_ns / 1_000_000
    )]
    TooEarly {
        /// The frame to express things in.
        target: String,
        /// The frame that they are given in.
        source_frame: String,
        /// The edge's parent.
        parent: String,
        /// The edge's child.
        child: String,
        /// From the stamp to the pose that is next, nanoseconds.
        late_ns: i64,
    },
    /// A frame's newest pose is too old.
    #[error(
        "no transform from {source_frame} to {target}: the newest pose of {child} in {parent} is \
         {} ms old", age_ns / 1_000_000
    )]
    TooOld {
        /// The frame to express things in.
        target: String,
        /// The frame that they are given in.
        source_frame: String,
        /// The edge's parent.
        parent: String,
        /// The edge's child.
        child: String,
        /// From the newest pose to the stamp, nanoseconds.
        age_ns: i64,
    },
}

impl LookupError {
    /// Returns whether a later message may bring what is missing, so that waiting helps.
    pub fn may_come(&self) -> bool {
        !matches!(self, Self::TooEarly { .. })
    }

    /// Returns a short name to count the error under.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "tf_unknown_frame",
            Self::Unconnected { .. } => "tf_unconnected",
            Self::TooEarly { .. } => "tf_too_early",
            Self::TooOld { .. } => "tf_too_old",
        }
    }
}
