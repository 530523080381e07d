//! The transform tree: poses of frames in their parents over time, and lookups between any two.

use std::collections::{HashMap, VecDeque};

pub use error::{LookupError, TransformError};

use crate::pose::Pose;

mod error;

/// A stamp this far behind a frame's newest one means that time was set back, not that messages
/// came out of order.
const SET_BACK_NS: i64 = 1_000_000_000;
/// Frames from one to the root; more is a loop.
const DEEPEST: usize = 64;

/// How long a buffer remembers and believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransformLimits {
    /// Poses older than a frame's newest by more are forgotten, nanoseconds.
    pub history_ns: i64,
    /// A frame's newest pose holds for so long after its stamp, and two poses this far apart are
    /// not interpolated, nanoseconds.
    pub max_age_ns: i64,
}

impl Default for TransformLimits {
    fn default() -> Self {
        Self {
            history_ns: 10_000_000_000,
            max_age_ns: 200_000_000,
        }
    }
}

/// A buffer of transforms, as of `/tf` and `/tf_static`. Frame names go without a leading slash.
#[derive(Clone, Debug, Default)]
pub struct TransformBuffer {
    limits: TransformLimits,
    /// By child frame.
    edges: HashMap<String, Edge>,
}

#[derive(Clone, Debug)]
struct Edge {
    parent: String,
    poses: Poses,
}

#[derive(Clone, Debug)]
enum Poses {
    Fixed(Pose),
    /// In the order of their stamps; never empty.
    Moving(VecDeque<(i64, Pose)>),
}

/// Why an edge has no pose at a stamp.
enum Miss {
    Early(i64),
    Old(i64),
}

impl TransformBuffer {
    /// Returns an empty buffer.
    pub fn new(limits: TransformLimits) -> Self {
        Self {
            limits,
            edges: HashMap::new(),
        }
    }

    /// Takes in a pose that holds at all times, as of `/tf_static`.
    pub fn insert_static(
        &mut self,
        parent: &str,
        child: &str,
        child_in_parent: Option<Pose>,
    ) -> Result<(), TransformError> {
        let (parent, child, pose) = checked(parent, child, child_in_parent)?;
        let edge = Edge {
            parent: parent.to_owned(),
            poses: Poses::Fixed(pose),
        };
        self.edges.insert(child.to_owned(), edge);
        Ok(())
    }

    /// Takes in a pose at a stamp, as of `/tf`; of two with one stamp the later message wins.
    ///
    /// A stamp more than a second behind the frame's newest one empties the frame's history, as does
    /// another parent: what was known was of another time or tree.
    pub fn insert(
        &mut self,
        parent: &str,
        child: &str,
        stamp_ns: i64,
        child_in_parent: Option<Pose>,
    ) -> Result<(), TransformError> {
        let (parent, child, pose) = checked(parent, child, child_in_parent)?;
        if let Some(Edge {
            parent: known,
            poses: Poses::Moving(poses),
        }) = self.edges.get_mut(child)
        {
            let newest = poses.back().map_or(stamp_ns, |(stamp, _)| *stamp);
            if known == parent && stamp_ns > newest - SET_BACK_NS {
                let place = poses.partition_point(|(stamp, _)| *stamp < stamp_ns);
                match poses.get_mut(place) {
                    Some(held) if held.0 == stamp_ns => held.1 = pose,
                    _ => poses.insert(place, (stamp_ns, pose)),
                }
                let oldest = newest.max(stamp_ns).saturating_sub(self.limits.history_ns);
                while poses.front().is_some_and(|(stamp, _)| *stamp < oldest) {
                    poses.pop_front();
                }
                return Ok(());
            }
        }
        let edge = Edge {
            parent: parent.to_owned(),
            poses: Poses::Moving(VecDeque::from([(stamp_ns, pose)])),
        };
        self.edges.insert(child.to_owned(), edge);
        Ok(())
    }

    /// Forgets all but the static transforms, for when the clock was set.
    pub fn forget_moving(&mut self) {
        self.edges
            .retain(|_, edge| matches!(edge.poses, Poses::Fixed(_)));
    }

    /// Returns the pose of frame `source` in frame `target` at a stamp, through their nearest common
    /// ancestor: positions interpolated linearly, rotations along the arc.
    pub fn lookup(&self, target: &str, source: &str, stamp_ns: i64) -> Result<Pose, LookupError> {
        let (target, source) = (bare(target), bare(source));
        if target == source {
            return Ok(Pose::IDENTITY);
        }
        let ends = || (target.to_owned(), source.to_owned());
        for frame in [target, source] {
            let is_parent = || self.edges.values().any(|edge| edge.parent == frame);
            if !self.edges.contains_key(frame) && !is_parent() {
                let (target, source_frame) = ends();
                return Err(LookupError::Unknown {
                    target,
                    source_frame,
                    missing: frame.to_owned(),
                });
            }
        }
        let unconnected = || {
            let (target, source_frame) = ends();
            LookupError::Unconnected {
                target,
                source_frame,
            }
        };
        let of_target = self.ancestors(target).ok_or_else(unconnected)?;
        let of_source = self.ancestors(source).ok_or_else(unconnected)?;
        let (up_source, up_target) =
            nearest_common(&of_source, &of_target).ok_or_else(unconnected)?;
        let in_ancestor = |frames: &[&str]| {
            frames.iter().try_fold(Pose::IDENTITY, |below, child| {
                self.pose_in_parent(child, stamp_ns)
                    .map(|pose| pose.then(&below))
                    .map_err(|(parent, miss)| {
                        let (target, source_frame) = ends();
                        let (parent, child) = (parent.to_owned(), (*child).to_owned());
                        match miss {
                            Miss::Early(late_ns) => LookupError::TooEarly {
                                target,
                                source_frame,
                                parent,
                                child,
                                late_ns,
                            },
                            Miss::Old(age_ns) => LookupError::TooOld {
                                target,
                                source_frame,
                                parent,
                                child,
                                age_ns,
                            },
                        }
                    })
            })
        };
        let source_in_ancestor = in_ancestor(of_source.get(..up_source).unwrap_or_default())?;
        let target_in_ancestor = in_ancestor(of_target.get(..up_target).unwrap_or_default())?;
        Ok(target_in_ancestor.inverse().then(&source_in_ancestor))
    }

    /// Returns the stamp up to which the pose of one frame in another is known, nanoseconds: the oldest
    /// of the newest poses on the way, `i64::MAX` where all are fixed. None where they are not
    /// connected.
    pub fn known_until(&self, target: &str, source: &str) -> Option<i64> {
        let of_target = self.ancestors(bare(target))?;
        let of_source = self.ancestors(bare(source))?;
        let (up_source, up_target) = nearest_common(&of_source, &of_target)?;
        let on_the_way = of_source.iter().take(up_source);
        (on_the_way.chain(of_target.iter().take(up_target))).try_fold(i64::MAX, |least, child| {
            match &self.edges.get(*child)?.poses {
                Poses::Fixed(_) => Some(least),
                Poses::Moving(poses) => Some(least.min(poses.back()?.0)),
            }
        })
    }

    /// Sets how long the buffer remembers and believes, from now on.
    pub fn set_limits(&mut self, limits: TransformLimits) {
        self.limits = limits;
    }

    /// The frame and its ancestors up to the root; None in a loop.
    fn ancestors<'a>(&'a self, frame: &'a str) -> Option<Vec<&'a str>> {
        let mut frames = vec![frame];
        let mut at = frame;
        while let Some(edge) = self.edges.get(at) {
            at = &edge.parent;
            frames.push(at);
            if frames.len() > DEEPEST {
                return None;
            }
        }
        Some(frames)
    }

    fn pose_in_parent(&self, child: &str, stamp_ns: i64) -> Result<Pose, (&str, Miss)> {
        let Some(edge) = self.edges.get(child) else {
            return Err(("", Miss::Old(i64::MAX)));
        };
        match &edge.poses {
            Poses::Fixed(pose) => Ok(*pose),
            Poses::Moving(poses) => self
                .pose_at(poses, stamp_ns)
                .map_err(|miss| (edge.parent.as_str(), miss)),
        }
    }

    fn pose_at(&self, poses: &VecDeque<(i64, Pose)>, stamp_ns: i64) -> Result<Pose, Miss> {
        let place = poses.partition_point(|(stamp, _)| *stamp <= stamp_ns);
        let before = place.checked_sub(1).and_then(|place| poses.get(place));
        let max_age_ns = self.limits.max_age_ns;
        match (before, poses.get(place)) {
            (Some((stamp, pose)), _) if *stamp == stamp_ns => Ok(*pose),
            (Some((a, from)), Some((b, to))) if b - a <= max_age_ns => {
                let share = (stamp_ns - a) as f64 / (b - a) as f64;
                Ok(from.interpolated(to, share))
            }
            (Some((stamp, pose)), _) if stamp_ns - stamp <= max_age_ns => Ok(*pose),
            (_, Some((next, _))) => Err(Miss::Early(next - stamp_ns)),
            (Some((newest, _)), None) => Err(Miss::Old(stamp_ns - newest)),
            (None, None) => Err(Miss::Old(i64::MAX)),
        }
    }
}

/// How many edges up each of two lines of ancestors their nearest common frame is.
fn nearest_common(a: &[&str], b: &[&str]) -> Option<(usize, usize)> {
    (a.iter().enumerate())
        .find_map(|(up, frame)| Some((up, b.iter().position(|other| other == frame)?)))
}

fn bare(frame: &str) -> &str {
    frame.strip_prefix('/').unwrap_or(frame)
}

fn checked<'a>(
    parent: &'a str,
    child: &'a str,
    pose: Option<Pose>,
) -> Result<(&'a str, &'a str, Pose), TransformError> {
    let (parent, child) = (bare(parent), bare(child));
    let owned = || (parent.to_owned(), child.to_owned());
    if parent.is_empty() || child.is_empty() || parent == child {
        let (parent, child) = owned();
        return Err(TransformError::Names { parent, child });
    }
    let (parent_name, child_name) = owned();
    let pose = pose.ok_or(TransformError::NoPose {
        parent: parent_name,
        child: child_name,
    })?;
    Ok((parent, child, pose))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, Result, ensure};

    const MS: i64 = 1_000_000;

    fn at(x: f64, yaw: f64) -> Option<Pose> {
        Some(Pose::from_euler([x, 0.0, 0.0], 0.0, 0.0, yaw))
    }

    /// odom -> base_link moving 1 m and 0.2 rad every 100 ms; base_link -> camera fixed.
    fn drive() -> Result<TransformBuffer> {
        let mut buffer = TransformBuffer::default();
        buffer.insert_static("base_link", "camera", at(1.5, 0.0))?;
        for k in 0..10 {
            buffer.insert(
                "odom",
                "/base_link",
                k * 100 * MS,
                at(k as f64, 0.2 * k as f64),
            )?;
        }
        Ok(buffer)
    }

    fn near(a: &Pose, b: &Pose) -> bool {
        let rotation = a.rotation.iter().flatten().zip(b.rotation.iter().flatten());
        let translation = a.translation.iter().zip(&b.translation);
        rotation
            .chain(translation)
            .all(|(a, b)| (a - b).abs() < 1e-9)
    }

    #[test]
    fn positions_and_rotations_are_interpolated_between_two_poses() -> Result<()> {
        let pose = drive()?.lookup("odom", "base_link", 425 * MS)?;
        ensure!(near(&pose, &at(4.25, 0.85).context("a pose")?), "{pose:?}");
        Ok(())
    }

    #[test]
    fn a_lookup_goes_through_the_common_ancestor_and_back() -> Result<()> {
        let mut buffer = drive()?;
        buffer.insert_static("base_link", "lidar", at(0.0, 1.0))?;
        let camera = buffer.lookup("lidar", "camera", 900 * MS)?;
        let expected = at(0.0, 1.0)
            .zip(at(1.5, 0.0))
            .map(|(a, b)| a.inverse().then(&b));
        ensure!(near(&camera, &expected.context("poses")?));
        let there = buffer.lookup("odom", "camera", 250 * MS)?;
        let back = buffer.lookup("camera", "odom", 250 * MS)?;
        ensure!(near(&there.then(&back), &Pose::IDENTITY));
        ensure!(near(
            &buffer.lookup("camera", "/camera", 0)?,
            &Pose::IDENTITY
        ));
        Ok(())
    }

    #[test]
    fn a_pose_is_known_until_the_oldest_of_the_newest_on_its_way() -> Result<()> {
        let mut buffer = drive()?;
        ensure!(buffer.known_until("odom", "camera") == Some(900 * MS));
        ensure!(buffer.known_until("base_link", "camera") == Some(i64::MAX));
        ensure!(buffer.known_until("camera", "camera") == Some(i64::MAX));
        ensure!(buffer.known_until("map", "camera").is_none());
        buffer.insert("map", "odom", 400 * MS, at(0.0, 0.0))?;
        ensure!(buffer.known_until("camera", "map") == Some(400 * MS));
        Ok(())
    }

    #[test]
    fn the_newest_pose_holds_for_the_age_limit_and_no_longer() -> Result<()> {
        let buffer = drive()?;
        let held = buffer.lookup("odom", "base_link", 1100 * MS)?;
        ensure!(near(&held, &at(9.0, 1.8).context("a pose")?));
        let error = buffer
            .lookup("odom", "camera", 1101 * MS)
            .err()
            .context("a pose too old")?;
        ensure!(error.reason() == "tf_too_old" && error.may_come());
        let text = error.to_string();
        ensure!(
            text.contains("from camera to odom") && text.contains("201 ms old"),
            "{text}"
        );
        Ok(())
    }

    #[test]
    fn before_the_first_pose_and_in_a_gap_there_is_none() -> Result<()> {
        let mut buffer = drive()?;
        let early = buffer
            .lookup("odom", "camera", -50 * MS)
            .err()
            .context("a pose too early")?;
        ensure!(early.reason() == "tf_too_early" && !early.may_come());
        buffer.insert("odom", "base_link", 2000 * MS, at(20.0, 0.0))?;
        ensure!(buffer.lookup("odom", "camera", 1050 * MS).is_ok(), "held");
        let gap = buffer
            .lookup("odom", "camera", 1500 * MS)
            .err()
            .context("a pose in a gap")?;
        ensure!(gap.to_string().contains("500 ms before"), "{gap}");
        Ok(())
    }

    #[test]
    fn time_set_back_forgets_what_was_later() -> Result<()> {
        let mut buffer = drive()?;
        // A little out of order is not a jump.
        buffer.insert("odom", "base_link", 450 * MS, at(4.5, 0.9))?;
        ensure!(buffer.lookup("odom", "camera", 800 * MS).is_ok());
        buffer.insert("odom", "base_link", -5000 * MS, at(70.0, 0.0))?;
        ensure!(buffer.lookup("odom", "camera", 800 * MS).is_err());
        let pose = buffer.lookup("odom", "base_link", -4900 * MS)?;
        ensure!(pose.translation[0] == 70.0);
        ensure!(
            buffer.lookup("base_link", "camera", 0).is_ok(),
            "static ones stay"
        );
        buffer.forget_moving();
        ensure!(buffer.lookup("odom", "camera", -5000 * MS).is_err());
        Ok(())
    }

    #[test]
    fn poses_older_than_the_history_are_forgotten() -> Result<()> {
        let mut buffer = TransformBuffer::new(TransformLimits {
            history_ns: 300 * MS,
            ..Default::default()
        });
        for k in 0..10 {
            buffer.insert("odom", "base_link", k * 100 * MS, at(k as f64, 0.0))?;
        }
        ensure!(buffer.lookup("odom", "base_link", 600 * MS).is_ok());
        ensure!(buffer.lookup("odom", "base_link", 590 * MS).is_err());
        Ok(())
    }

    #[test]
    fn frames_that_are_not_known_not_connected_or_looped_are_named() -> Result<()> {
        let mut buffer = drive()?;
        let error = buffer
            .lookup("map", "camera", 0)
            .err()
            .context("an unknown frame")?;
        ensure!(
            error
                .to_string()
                .contains("from camera to map: frame map is not known")
        );
        buffer.insert_static("map", "kiosk", at(0.0, 0.0))?;
        let error = buffer
            .lookup("map", "camera", 0)
            .err()
            .context("two trees")?;
        ensure!(error.reason() == "tf_unconnected");
        buffer.insert_static("kiosk", "map", at(0.0, 0.0))?;
        ensure!(buffer.lookup("map", "camera", 0).is_err(), "a loop ends");
        Ok(())
    }

    #[test]
    fn numbers_that_are_no_pose_and_nameless_frames_are_refused() -> Result<()> {
        let mut buffer = TransformBuffer::default();
        let nan = Pose::from_quaternion([f64::NAN, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]);
        let error = buffer
            .insert("odom", "base_link", 0, nan)
            .err()
            .context("NaN")?;
        ensure!(error.to_string().contains("from odom to base_link"));
        ensure!(buffer.insert_static("", "base_link", at(0.0, 0.0)).is_err());
        ensure!(buffer.insert_static("a", "/a", at(0.0, 0.0)).is_err());
        Ok(())
    }

    #[test]
    fn another_parent_replaces_the_old_one() -> Result<()> {
        let mut buffer = drive()?;
        buffer.insert("map", "base_link", 900 * MS, at(3.0, 0.0))?;
        ensure!(buffer.lookup("map", "camera", 900 * MS)?.translation[0] == 4.5);
        ensure!(buffer.lookup("odom", "camera", 900 * MS).is_err());
        Ok(())
    }
}
