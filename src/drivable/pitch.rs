//! The pitch of the camera that no transform tells, from the image itself.
//!
//! Two things tell of it. Changes of the landscape around the horizon follow a nod from frame to frame,
//! but their sum has no absolute zero ([`PitchZero::Mean`]: it is drawn to its own mean, and a steady error
//! of the mounting stays in the transforms). Lines along the road meet in a point of the horizon, whose
//! height is that zero ([`PitchZero::VanishingPoint`]): the changes carry the pitch from frame to frame, and
//! it is drawn to where the lines of the last seconds meet.

use super::camera::Camera;
use super::horizon_strips::HorizonStrips;
use super::level_picture::LevelPicture;
use super::road_lines::road_lines;
use super::surface::SurfaceTable;
use super::vanishing_point::VanishingPoint;
use crate::labels::LabelMask;
use crate::pose::Pose;

/// Time in which the sum of changes, and the mean of the changes, forget, seconds.
const FORGET_S: f64 = 3.0;
/// Frames farther apart than this are not compared, seconds.
const LONGEST_GAP_S: f64 = 0.5;
/// Farthest from the mean, and from what the transforms tell.
const LIMIT_RAD: f64 = 0.05;
const FARTHEST_RAD: f64 = 0.085;
/// Time in which the pitch is drawn to the vanishing point's, seconds.
const DRAWN_S: f64 = 0.25;
/// How fast at most, radians a second: 2 degrees.
const FASTEST_RADPS: f64 = 0.035;
/// Time over which the vanishing point's pitch is averaged, for when no lines are seen, seconds.
const STEADY_S: f64 = 10.0;

/// What the pitch is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PitchZero {
    /// Its own mean of the last seconds: nods alone are corrected, up to 2.9 degrees.
    Mean,
    /// The vanishing point of the lines along the road: a steady error of the mounting is corrected as well,
    /// up to 4.9 degrees in all. Without lines it stays what it was on average.
    VanishingPoint,
}

impl PitchZero {
    /// Returns what a kind of correction counts from: `image` or `vanishing_point`; None for any other name.
    pub fn of_correction(name: &str) -> Option<Self> {
        match name {
            "image" => Some(Self::Mean),
            "vanishing_point" => Some(Self::VanishingPoint),
            _ => None,
        }
    }
}

/// One frame, as far as the tracker looks at it.
#[derive(Clone, Copy)]
pub struct PitchFrame<'a> {
    /// Time of exposure, nanoseconds.
    pub stamp_ns: i64,
    /// The camera.
    pub camera: &'a Camera,
    /// The optical frame in a fixed one, as the transforms tell it.
    pub optical_in_fixed: Pose,
    /// Upward direction of the ground in the fixed frame, unit.
    pub up: [f64; 3],
    /// Writes the brightness of a row of the image, a byte for each column.
    pub luma_row: &'a dyn Fn(usize, &mut [u8]),
    /// The image's mask; lines are looked for where it shows flat ground.
    pub mask: &'a LabelMask,
    /// What the mask's classes are.
    pub surfaces: &'a SurfaceTable,
}

/// Follows the pitch that the transforms do not tell.
#[derive(Clone, Debug, Default)]
pub struct PitchTracker {
    stamp_ns: Option<i64>,
    zero: Option<PitchZero>,
    strips: HorizonStrips,
    nod: Nod,
    vanishing_point: VanishingPoint,
    /// Counted from the vanishing point.
    pitch_rad: f64,
    /// The mean of what the vanishing point told, over so many seconds.
    steady_rad: f64,
    steady_s: f64,
}

/// The sum of the changes, drawn to its own mean.
#[derive(Clone, Debug, Default)]
struct Nod {
    /// Sum of the changes, less what is forgotten.
    sum_rad: f64,
    mean_sum_rad: f64,
    mean_rate: f64,
}

impl PitchTracker {
    /// Forgets all frames, for when the clock was set or the camera changed.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Takes in a frame and returns how far the camera looks down beyond what the transforms tell,
    /// radians. Where the picture shows nothing to go by, the last value is drawn to zero, or to what the
    /// vanishing point told before. With another `zero` than before it begins anew.
    pub fn pitch_rad(&mut self, frame: &PitchFrame<'_>, zero: PitchZero) -> f64 {
        let Some(level) = LevelPicture::new(frame.camera, &frame.optical_in_fixed, frame.up) else {
            self.reset();
            return 0.0;
        };
        if self.zero.replace(zero).is_some_and(|before| before != zero) {
            self.reset();
            self.zero = Some(zero);
        }
        if self.stamp_ns != Some(frame.stamp_ns) {
            self.follow(frame, &level, zero);
        }
        match zero {
            PitchZero::Mean => self.nod.rad(),
            PitchZero::VanishingPoint => self.pitch_rad.clamp(-FARTHEST_RAD, FARTHEST_RAD),
        }
    }

    fn follow(&mut self, frame: &PitchFrame<'_>, level: &LevelPicture<'_>, zero: PitchZero) {
        let elapsed_s = self.elapsed_s(frame.stamp_ns);
        let change = self.change_rad(frame);
        if elapsed_s > 0.0 {
            self.nod.follow(change, elapsed_s);
        }
        if zero == PitchZero::VanishingPoint {
            // The mean of the changes is what nears the camera, not its turning.
            let change_rad = change.map_or(0.0, |change| change - self.nod.mean_rate * elapsed_s);
            self.vanishing_point.turn(change_rad);
            (self.vanishing_point).take_in(&road_lines(frame, level), elapsed_s);
            self.draw(change_rad, elapsed_s);
        }
    }

    /// Returns the time since the last frame; 0 for a first one. Frames too far apart are not compared.
    fn elapsed_s(&mut self, stamp_ns: i64) -> f64 {
        let before_ns = self.stamp_ns.replace(stamp_ns);
        let elapsed_s =
            before_ns.map_or(0.0, |before| stamp_ns.saturating_sub(before) as f64 * 1e-9);
        if elapsed_s < 0.0 {
            let zero = self.zero;
            self.reset();
            (self.stamp_ns, self.zero) = (Some(stamp_ns), zero);
            return 0.0;
        }
        if elapsed_s >= LONGEST_GAP_S {
            self.strips.reset();
            self.nod = Nod::default();
        }
        elapsed_s
    }

    fn change_rad(&mut self, frame: &PitchFrame<'_>) -> Option<f64> {
        // Around the horizon as it was last found: what is beside it moves by nearing, too.
        let optical = pitched_down(&frame.optical_in_fixed, self.pitch_rad);
        let level = LevelPicture::new(frame.camera, &optical, frame.up)?;
        let Some(horizon) = level.horizon_pixel() else {
            self.strips.reset();
            return None;
        };
        self.strips.change_rad(frame, horizon)
    }

    /// Moves the pitch by a change and draws it to the vanishing point's.
    fn draw(&mut self, change_rad: f64, elapsed_s: f64) {
        let found = self.vanishing_point.pitch_rad();
        if let Some(found_rad) = found {
            let elapsed_s = elapsed_s.min(LONGEST_GAP_S);
            self.steady_s = (self.steady_s + elapsed_s).min(STEADY_S);
            let share = (elapsed_s / self.steady_s.max(f64::MIN_POSITIVE)).min(1.0);
            self.steady_rad += share * (found_rad - self.steady_rad);
        }
        let drawn_to = found.unwrap_or(self.steady_rad + self.nod.rad());
        let moved = self.pitch_rad + change_rad;
        let most_rad = FASTEST_RADPS * elapsed_s;
        let way_rad = (drawn_to - moved) * (1.0 - (-elapsed_s / DRAWN_S).exp());
        self.pitch_rad = moved + way_rad.clamp(-most_rad, most_rad);
    }
}

impl Nod {
    fn follow(&mut self, change: Option<f64>, elapsed_s: f64) {
        let keep = (-elapsed_s / FORGET_S).exp();
        let rate = change.map_or(self.mean_rate, |change| change / elapsed_s);
        self.mean_rate = keep * self.mean_rate + (1.0 - keep) * rate;
        self.sum_rad = keep * (self.sum_rad + (rate - self.mean_rate) * elapsed_s);
        self.mean_sum_rad = keep * self.mean_sum_rad + (1.0 - keep) * self.sum_rad;
    }

    fn rad(&self) -> f64 {
        (self.sum_rad - self.mean_sum_rad).clamp(-LIMIT_RAD, LIMIT_RAD)
    }
}

/// Returns `optical_in_base` with the camera turned down by `pitch_rad` about its own x axis.
pub fn pitched_down(optical: &Pose, pitch_rad: f64) -> Pose {
    let (sin, cos) = pitch_rad.sin_cos();
    optical.then(&Pose {
        rotation: [[1.0, 0.0, 0.0], [0.0, cos, sin], [0.0, -sin, cos]],
        translation: [0.0; 3],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivable::drawn_road::{DrawnRoad, looking_down};
    use anyhow::{Result, ensure};

    const FRAME_NS: i64 = 66_666_667;

    /// Follows a camera that looks from `real` while the transforms tell `told`, both by time; returns the
    /// tracker's answers, frame by frame.
    fn followed(
        tracker: &mut PitchTracker,
        zero: PitchZero,
        road: &DrawnRoad,
        frames: std::ops::Range<i64>,
        [real, told]: [&dyn Fn(f64) -> Pose; 2],
    ) -> Vec<f64> {
        (frames.map(|frame| frame * FRAME_NS))
            .map(|stamp_ns| {
                let seconds = stamp_ns as f64 * 1e-9;
                road.with_frame(stamp_ns, &real(seconds), told(seconds), |frame| {
                    tracker.pitch_rad(frame, zero)
                })
            })
            .collect()
    }

    fn told(_: f64) -> Pose {
        looking_down(0.02, 0.0)
    }

    fn nod_rad(seconds: f64) -> f64 {
        0.5f64.to_radians() * (std::f64::consts::TAU * seconds).sin()
    }

    /// The greatest way of the answers from the true pitch, degrees.
    fn most_missed_deg(pitches: &[f64], first: i64, truth: impl Fn(f64) -> f64) -> f64 {
        let times = (first..).map(|frame| (frame * FRAME_NS) as f64 * 1e-9);
        let misses = pitches
            .iter()
            .zip(times)
            .map(|(pitch, t)| (pitch - truth(t)).abs());
        misses.fold(0.0, f64::max).to_degrees()
    }

    #[test]
    fn a_nod_that_no_transform_tells_is_followed() -> Result<()> {
        let road = DrawnRoad::new(0.0, 0.0)?;
        let real = |t| pitched_down(&told(t), nod_rad(t));
        for zero in [PitchZero::Mean, PitchZero::VanishingPoint] {
            let mut tracker = PitchTracker::default();
            let pitches = followed(&mut tracker, zero, &road, 0..90, [&real, &told]);
            let missed_deg = most_missed_deg(&pitches[45..], 45, nod_rad);
            // What is drawn to the mean in a third of a period, and a hundredth of a pixel a frame.
            ensure!(missed_deg < 0.12, "{missed_deg:.3} deg by {zero:?}");
        }
        Ok(())
    }

    #[test]
    fn what_the_transforms_tell_is_not_corrected_again() -> Result<()> {
        let road = DrawnRoad::new(0.0, 0.0)?;
        let moving = |t: f64| {
            let turned = Pose::from_euler([0.0; 3], 0.0, nod_rad(t), 0.15 * t);
            turned.then(&told(t))
        };
        for zero in [PitchZero::Mean, PitchZero::VanishingPoint] {
            let mut tracker = PitchTracker::default();
            let pitches = followed(&mut tracker, zero, &road, 0..60, [&moving, &moving]);
            let missed_deg = most_missed_deg(&pitches, 0, |_| 0.0);
            ensure!(missed_deg < 0.05, "{missed_deg:.3} deg by {zero:?}");
        }
        Ok(())
    }

    #[test]
    fn a_steady_error_of_the_mounting_is_found_where_lines_meet_and_only_there() -> Result<()> {
        let road = DrawnRoad::new(0.0, 70.0)?;
        for error_deg in [1.0f64, -2.5] {
            let error_rad = error_deg.to_radians();
            let real = |t| pitched_down(&told(t), error_rad + nod_rad(t));
            let mut tracker = PitchTracker::default();
            let by_lines = PitchZero::VanishingPoint;
            let pitches = followed(&mut tracker, by_lines, &road, 0..75, [&real, &told]);
            let missed_deg = most_missed_deg(&pitches[45..], 45, |t| error_rad + nod_rad(t));
            // A quarter of a step of the pitches that are voted for, and the nod's own miss.
            ensure!(
                missed_deg < 0.15,
                "{error_deg} deg missed by {missed_deg:.3}"
            );
            let fastest_rad = pitches.windows(2).map(|two| (two[1] - two[0]).abs());
            let fastest_deg = fastest_rad.fold(0.0, f64::max).to_degrees();
            // 2 degrees a second, and the nod's 3.1.
            ensure!(fastest_deg < 0.4, "a jump of {fastest_deg:.3} deg");
        }
        let real = |t| pitched_down(&told(t), 0.02 + nod_rad(t));
        let (mut tracker, zero) = (PitchTracker::default(), PitchZero::Mean);
        let pitches = followed(&mut tracker, zero, &road, 0..75, [&real, &told]);
        let missed_deg = most_missed_deg(&pitches[45..], 45, nod_rad);
        ensure!(missed_deg < 0.3, "the mean is off by {missed_deg:.3} deg");
        Ok(())
    }

    #[test]
    fn without_lines_the_pitch_stays_what_it_was() -> Result<()> {
        let mut road = DrawnRoad::new(0.0, 70.0)?;
        let error_rad = 1.0f64.to_radians();
        let real = |t| pitched_down(&told(t), error_rad);
        let (mut tracker, zero) = (PitchTracker::default(), PitchZero::VanishingPoint);
        followed(&mut tracker, zero, &road, 0..45, [&real, &told]);
        road.hide_ground();
        let pitches = followed(&mut tracker, zero, &road, 45..150, [&real, &told]);
        let missed_deg = most_missed_deg(&pitches, 45, |_| error_rad);
        // The nod that the first guess of the horizon feigns is forgotten by and by.
        ensure!(missed_deg < 0.2, "{missed_deg:.3} deg");
        // A pause is as good as frames without lines.
        let after = followed(&mut tracker, zero, &road, 300..301, [&real, &told]);
        ensure!(
            most_missed_deg(&after, 300, |_| error_rad) < 0.2,
            "{after:?}"
        );
        Ok(())
    }

    #[test]
    fn a_picture_without_texture_gives_no_pitch() -> Result<()> {
        let road = DrawnRoad::new(0.0, 0.0)?;
        let grey = |_: usize, luma: &mut [u8]| luma.fill(90);
        for zero in [PitchZero::Mean, PitchZero::VanishingPoint] {
            let mut tracker = PitchTracker::default();
            for index in 0..30 {
                let optical = pitched_down(&told(0.0), nod_rad(index as f64 / 15.0));
                let pitch_rad = road.with_frame(index * FRAME_NS, &optical, optical, |frame| {
                    let frame = PitchFrame {
                        luma_row: &grey,
                        ..*frame
                    };
                    tracker.pitch_rad(&frame, zero)
                });
                ensure!(pitch_rad == 0.0);
            }
        }
        Ok(())
    }

    #[test]
    fn a_gap_in_time_starts_the_nod_anew_and_the_same_stamp_again_changes_nothing() -> Result<()> {
        let road = DrawnRoad::new(0.0, 0.0)?;
        let real = |t| pitched_down(&told(t), nod_rad(t));
        let (mut tracker, zero) = (PitchTracker::default(), PitchZero::Mean);
        let pitches = followed(&mut tracker, zero, &road, 0..35, [&real, &told]);
        let again = followed(&mut tracker, zero, &road, 34..35, [&told, &told]);
        ensure!(
            again.last() == pitches.last() && again != [0.0],
            "{again:?}"
        );
        ensure!(followed(&mut tracker, zero, &road, 64..65, [&real, &told]) == [0.0]);
        Ok(())
    }
}
