//! How far the far landscape has moved up or down from frame to frame.
//!
//! Far from the camera a picture moves up and down only by rotation. Around the horizon, vertical
//! strips of the picture are compared from frame to frame; their common shift, less what the
//! transforms tell of the rotation, is the change of pitch. What nears the camera spreads away from
//! the horizon, which is fitted beside the shift.

use super::pitch::PitchFrame;
use crate::pose::Pose;

/// Strips of the picture that are compared, and the columns of each.
const STRIPS: usize = 14;
const STRIP_COLUMNS: usize = 40;
/// Rows above and below the horizon.
const HALF_ROWS: usize = 72;
const ROWS: usize = 2 * HALF_ROWS + 1;
/// Greatest shift from one frame to the next, rows.
const REACH_ROWS: i64 = 12;
/// Strips that must agree.
const FEWEST_STRIPS: usize = 4;

/// Mean brightness of each row of each strip, around the horizon.
type Profiles = Vec<[f32; ROWS]>;

/// The strips of the last frame.
#[derive(Clone, Debug, Default)]
pub(super) struct HorizonStrips {
    before: Option<Before>,
}

#[derive(Clone, Debug)]
struct Before {
    optical_in_fixed: Pose,
    profiles: Profiles,
    /// The row that the profiles are around.
    row: i64,
}

impl HorizonStrips {
    /// Forgets the last frame.
    pub(super) fn reset(&mut self) {
        self.before = None;
    }

    /// Keeps the strips of a frame around the horizon's pixel straight ahead, and returns how far the camera
    /// has turned down since the frame before beyond what the transforms tell, radians; None where the two
    /// show nothing to go by.
    pub(super) fn change_rad(&mut self, frame: &PitchFrame<'_>, horizon: [f64; 2]) -> Option<f64> {
        let row = horizon[1].round() as i64;
        let first_column = horizon[0] as i64 - (STRIPS * STRIP_COLUMNS / 2) as i64;
        let before = self.before.take();
        let change = before.and_then(|before| change_rad(frame, &before, horizon, first_column));
        self.before = profiles(frame, first_column, row).map(|profiles| Before {
            optical_in_fixed: frame.optical_in_fixed,
            profiles,
            row,
        });
        change.filter(|change| change.is_finite())
    }
}

/// Change of the untold pitch since `before`, radians.
fn change_rad(
    frame: &PitchFrame<'_>,
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
fn profiles(frame: &PitchFrame<'_>, first_column: i64, row: i64) -> Option<Profiles> {
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
    let mut luma = vec![0; width as usize];
    for index in 0..ROWS {
        (frame.luma_row)(first_row as usize + index, &mut luma);
        let strips = luma[first_column as usize..].chunks_exact(STRIP_COLUMNS);
        for (profile, strip) in profiles.iter_mut().zip(strips) {
            let sum: u32 = strip.iter().map(|value| u32::from(*value)).sum();
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
