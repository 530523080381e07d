//! The camera's nodding that no transform tells, from the image itself.
//!
//! Far from the camera a picture moves up and down only by rotation. Around the horizon, vertical
//! strips of the picture are compared from frame to frame; their common shift, less what the
//! transforms tell of the rotation, is the change of pitch. What nears the camera spreads away from
//! the horizon, which is fitted beside the shift. The sum of the changes has no absolute zero, so
//! it is drawn to its own mean: a steady error of the mounting stays in the transforms.

use crate::pose::Pose;

use super::camera::Camera;

/// Strips of the picture that are compared, and the columns of each.
const STRIPS: usize = 14;
const STRIP_COLUMNS: usize = 40;
/// Rows above and below the horizon.
const HALF_ROWS: usize = 72;
const ROWS: usize = 2 * HALF_ROWS + 1;
/// Greatest shift from one frame to the next, rows.
const REACH_ROWS: i64 = 12;
/// Time in which the sum of changes, and the mean of the changes, forget, seconds.
const FORGET_S: f64 = 3.0;
/// Frames farther apart than this are not compared, seconds.
const LONGEST_GAP_S: f64 = 0.5;
/// Strips that must agree.
const FEWEST_STRIPS: usize = 4;
const LIMIT_RAD: f64 = 0.05;

/// Mean brightness of each row of each strip, around the horizon.
type Profiles = Vec<[f32; ROWS]>;

/// One frame, as far as the tracker looks at it.
pub struct PitchFrame<'a, L: Fn(usize, usize) -> u8> {
    /// Time of exposure, nanoseconds.
    pub stamp_ns: i64,
    /// The camera.
    pub camera: &'a Camera,
    /// The optical frame in a fixed one, as the transforms tell it.
    pub optical_in_fixed: Pose,
    /// Upward direction of the ground in the fixed frame, unit.
    pub up: [f64; 3],
    /// Brightness of a pixel of the image, by row and column.
    pub luma: L,
}

/// Follows the pitch that the transforms do not tell.
#[derive(Clone, Debug, Default)]
pub struct PitchTracker {
    before: Option<Before>,
    /// Sum of the changes, less what is forgotten.
    sum_rad: f64,
    mean_sum_rad: f64,
    mean_rate: f64,
}

#[derive(Clone, Debug)]
struct Before {
    stamp_ns: i64,
    optical_in_fixed: Pose,
    profiles: Profiles,
    /// The row that the profiles are around.
    row: i64,
}

impl PitchTracker {
    /// Forgets all frames, for when the clock was set or the camera changed.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Takes in a frame and returns how far the camera looks down beyond what the transforms tell,
    /// radians. Where the picture shows nothing to go by, the last value is drawn to zero.
    pub fn pitch_rad<L: Fn(usize, usize) -> u8>(&mut self, frame: &PitchFrame<'_, L>) -> f64 {
        let Some(horizon) = horizon_point(frame) else {
            self.reset();
            return 0.0;
        };
        let row = horizon[1].round() as i64;
        let first_column = horizon[0] as i64 - (STRIPS * STRIP_COLUMNS / 2) as i64;
        let elapsed_s = self
            .before
            .as_ref()
            .map(|before| (frame.stamp_ns - before.stamp_ns) as f64 * 1e-9);
        if let (Some(before), Some(elapsed_s)) = (&self.before, elapsed_s) {
            if !(elapsed_s > 0.0 && elapsed_s < LONGEST_GAP_S) {
                self.reset();
            } else {
                let change = change_rad(frame, before, horizon, first_column);
                self.follow(change, elapsed_s);
            }
        }
        self.before = profiles(frame, first_column, row).map(|profiles| Before {
            stamp_ns: frame.stamp_ns,
            optical_in_fixed: frame.optical_in_fixed,
            profiles,
            row,
        });
        (self.sum_rad - self.mean_sum_rad).clamp(-LIMIT_RAD, LIMIT_RAD)
    }

    fn follow(&mut self, change: Option<f64>, elapsed_s: f64) {
        let keep = (-elapsed_s / FORGET_S).exp();
        let rate = change.map_or(self.mean_rate, |change| change / elapsed_s);
        self.mean_rate = keep * self.mean_rate + (1.0 - keep) * rate;
        self.sum_rad = keep * (self.sum_rad + (rate - self.mean_rate) * elapsed_s);
        self.mean_sum_rad = keep * self.mean_sum_rad + (1.0 - keep) * self.sum_rad;
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

/// The image point on the horizon, straight ahead of the camera.
fn horizon_point<L: Fn(usize, usize) -> u8>(frame: &PitchFrame<'_, L>) -> Option<[f64; 2]> {
    let fixed_in_optical = frame.optical_in_fixed.inverse();
    let up = fixed_in_optical.rotate(frame.up);
    // The optical axis, less its part along the normal.
    let along = [0, 1, 2].map(|i| f64::from(u8::from(i == 2)) - up[2] * up[i]);
    frame.camera.pixel_from_ray(along)
}

/// Change of the untold pitch since `before`, radians.
fn change_rad<L: Fn(usize, usize) -> u8>(
    frame: &PitchFrame<'_, L>,
    before: &Before,
    horizon: [f64; 2],
    first_column: i64,
) -> Option<f64> {
    // Where the transforms say that the far point, which was straight ahead, is now.
    let ray = frame
        .camera
        .ray_from_pixel([horizon[0], before.row as f64])?;
    let now_in_before = before
        .optical_in_fixed
        .inverse()
        .then(&frame.optical_in_fixed);
    let told = frame
        .camera
        .pixel_from_ray(now_in_before.inverse().rotate(ray))?;
    let turned = (told[0] - horizon[0]).round() as i64;
    let row = told[1].round() as i64;
    let now = profiles(frame, first_column + turned, row)?;
    let mut shifts: Vec<(f64, f64)> = before
        .profiles
        .iter()
        .zip(&now)
        .filter_map(|(before, now)| shift_rows(before, now))
        .collect();
    if shifts.len() < FEWEST_STRIPS {
        return None;
    }
    let shift = weighted_median(&mut shifts) - (told[1] - row as f64);
    Some(-shift / frame.camera.focal_px()[1])
}

/// Profiles of strips from `first_column` on, around a row; None where they leave the image.
fn profiles<L: Fn(usize, usize) -> u8>(
    frame: &PitchFrame<'_, L>,
    first_column: i64,
    row: i64,
) -> Option<Profiles> {
    let [width, height] = frame.camera.size().map(i64::from);
    let first_row = row - HALF_ROWS as i64;
    let last_column = first_column + (STRIPS * STRIP_COLUMNS) as i64;
    let inside = first_row >= 0
        && first_row + ROWS as i64 <= height
        && first_column >= 0
        && last_column <= width;
    if !inside {
        return None;
    }
    let mut profiles = vec![[0.0; ROWS]; STRIPS];
    for index in 0..ROWS {
        for (strip, profile) in profiles.iter_mut().enumerate() {
            let first = first_column as usize + strip * STRIP_COLUMNS;
            let sum: u32 = (first..first + STRIP_COLUMNS)
                .map(|column| u32::from((frame.luma)(first_row as usize + index, column)))
                .sum();
            profile[index] = sum as f32 / STRIP_COLUMNS as f32;
        }
    }
    Some(profiles)
}

/// Rows by which `now` lies below `before` at the horizon, and how well that is known: a search by
/// whole rows, then Gauss-Newton on shift and spread about the middle. None without texture.
fn shift_rows(before: &[f32; ROWS], now: &[f32; ROWS]) -> Option<(f64, f64)> {
    let mut shift = whole_shift(before, now) as f64;
    let mut spread = 0.0;
    let mut certainty = 0.0;
    for _ in 0..8 {
        let (mut ss, mut sp, mut pp, mut se, mut pe) = (0.0, 0.0, 0.0, 0.0, 0.0);
        let mut squared = 0.0;
        let mut count = 0.0;
        for (index, value) in before.iter().enumerate() {
            let away = index as f64 - HALF_ROWS as f64;
            let at = index as f64 + shift + spread * away;
            let Some((there, slope)) = sample(now, at) else {
                continue;
            };
            let miss = f64::from(*value) - there;
            let weight = 1.0 / (1.0 + (miss / 12.0).powi(2));
            ss += weight * slope * slope;
            sp += weight * slope * slope * away;
            pp += weight * slope * slope * away * away;
            se += weight * slope * miss;
            pe += weight * slope * away * miss;
            squared += weight * miss * miss;
            count += 1.0;
        }
        let det = ss * pp - sp * sp;
        if count < ROWS as f64 * 0.6 || det.is_nan() || det < 1e-3 * ss * pp || ss < 50.0 {
            return None;
        }
        let step = (se * pp - pe * sp) / det;
        shift += step;
        spread = (spread + (pe * ss - se * sp) / det).clamp(-0.1, 0.1);
        certainty = det / pp / (squared / count + 1.0);
        if step.abs() < 1e-3 {
            break;
        }
    }
    (shift.abs() < REACH_ROWS as f64 + 2.0).then_some((shift, certainty))
}

/// The whole shift with the least difference of slopes.
fn whole_shift(before: &[f32; ROWS], now: &[f32; ROWS]) -> i64 {
    let reach = REACH_ROWS as usize;
    let slope = |p: &[f32; ROWS], i: usize| p[i + 1] - p[i];
    (-REACH_ROWS..=REACH_ROWS)
        .min_by(|a, b| {
            let difference = |shift: &i64| -> f32 {
                (reach..ROWS - 1 - reach)
                    .map(|i| (slope(before, i) - slope(now, (i as i64 + shift) as usize)).abs())
                    .sum()
            };
            difference(a).total_cmp(&difference(b))
        })
        .unwrap_or(0)
}

fn sample(profile: &[f32; ROWS], at: f64) -> Option<(f64, f64)> {
    if !(at >= 0.0 && at < (ROWS - 1) as f64) {
        return None;
    }
    let low = at as usize;
    let (a, b) = (f64::from(profile[low]), f64::from(profile[low + 1]));
    Some((a + (b - a) * (at - low as f64), b - a))
}

fn weighted_median(values: &mut [(f64, f64)]) -> f64 {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = values.iter().map(|(_, weight)| weight).sum::<f64>() * 0.5;
    let mut sum = 0.0;
    for (value, weight) in values.iter() {
        sum += weight;
        if sum >= half {
            return *value;
        }
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivable::ground::optical_in_base;
    use crate::msg::CameraInfo;
    use anyhow::{Result, ensure};

    const FRAME_NS: i64 = 66_666_667;

    fn camera() -> Result<Camera> {
        let info = CameraInfo {
            width: 1280,
            height: 720,
            k: [914.0, 0.0, 639.5, 0.0, 914.0, 359.5, 0.0, 0.0, 1.0],
            ..CameraInfo::default()
        };
        Ok(Camera::of_own_images(&info)?)
    }

    /// Brightness of a far landscape in a direction, smooth and without end.
    fn landscape(up: f64, aside: f64) -> f64 {
        128.0
            + 40.0 * (up * 90.0 + (aside * 7.0).sin()).sin()
            + 30.0 * (up * 37.0 + aside * 3.0).cos()
    }

    /// Follows a camera that looks at the landscape from `real` while the transforms tell `told`;
    /// returns the tracker's answer, frame by frame.
    fn followed(
        frames: i64,
        real: impl Fn(f64) -> Pose,
        told: impl Fn(f64) -> Pose,
    ) -> Result<Vec<f64>> {
        let camera = camera()?;
        let mut tracker = PitchTracker::default();
        Ok((0..frames)
            .map(|frame| {
                let stamp_ns = frame * FRAME_NS;
                let seconds = stamp_ns as f64 * 1e-9;
                let optical = real(seconds);
                let luma = |row: usize, column: usize| {
                    let ray = [
                        (column as f64 - 639.5) / 914.0,
                        (row as f64 - 359.5) / 914.0,
                        1.0,
                    ];
                    let [x, y, z] = optical.rotate(ray);
                    landscape(z / x, y / x).clamp(0.0, 255.0) as u8
                };
                tracker.pitch_rad(&PitchFrame {
                    stamp_ns,
                    camera: &camera,
                    optical_in_fixed: told(seconds),
                    up: [0.0, 0.0, 1.0],
                    luma,
                })
            })
            .collect())
    }

    fn level() -> Pose {
        optical_in_base([0.0; 2], 1.5, 0.02, 0.0)
    }

    fn nod_rad(seconds: f64) -> f64 {
        0.5f64.to_radians() * (std::f64::consts::TAU * seconds).sin()
    }

    #[test]
    fn a_nod_that_no_transform_tells_is_followed() -> Result<()> {
        let pitches = followed(90, |t| pitched_down(&level(), nod_rad(t)), |_| level())?;
        for (frame, pitch_rad) in pitches.iter().enumerate().skip(45) {
            let miss = (pitch_rad - nod_rad(frame as f64 * FRAME_NS as f64 * 1e-9)).abs();
            // What is drawn to the mean in a third of a period, and a hundredth of a pixel a frame.
            ensure!(
                miss < 0.12f64.to_radians(),
                "frame {frame}: {:.3} deg",
                miss.to_degrees()
            );
        }
        Ok(())
    }

    #[test]
    fn what_the_transforms_tell_is_not_corrected_again() -> Result<()> {
        let moving = |t: f64| {
            let turned = Pose::from_euler([0.0; 3], 0.0, nod_rad(t), 0.15 * t);
            turned.then(&level())
        };
        let pitches = followed(60, moving, moving)?;
        let most = pitches
            .iter()
            .fold(0.0f64, |most, pitch| most.max(pitch.abs()));
        ensure!(most < 0.05f64.to_radians(), "{:.3} deg", most.to_degrees());
        Ok(())
    }

    #[test]
    fn a_picture_without_texture_gives_no_pitch() -> Result<()> {
        let camera = camera()?;
        let mut tracker = PitchTracker::default();
        for frame in 0..30 {
            let pitch_rad = tracker.pitch_rad(&PitchFrame {
                stamp_ns: frame * FRAME_NS,
                camera: &camera,
                optical_in_fixed: pitched_down(&level(), nod_rad(frame as f64 / 15.0)),
                up: [0.0, 0.0, 1.0],
                luma: |_, _| 90,
            });
            ensure!(pitch_rad == 0.0);
        }
        Ok(())
    }

    #[test]
    fn a_gap_in_time_starts_anew() -> Result<()> {
        let camera = camera()?;
        let mut tracker = PitchTracker {
            sum_rad: 0.01,
            before: Some(Before {
                stamp_ns: 0,
                optical_in_fixed: level(),
                profiles: vec![[0.0; ROWS]; STRIPS],
                row: 360,
            }),
            ..PitchTracker::default()
        };
        let frame = PitchFrame {
            stamp_ns: 2_000_000_000,
            camera: &camera,
            optical_in_fixed: level(),
            up: [0.0, 0.0, 1.0],
            luma: |row: usize, _| (row % 251) as u8,
        };
        ensure!(tracker.pitch_rad(&frame) == 0.0);
        Ok(())
    }
}
