//! Where the lines along the road meet: a point of the horizon, and so the camera's pitch, absolutely.
//!
//! Each piece of a line votes, for every pitch of a row of them, for the direction in which it would run
//! over the ground. With the true pitch lines that lie beside one another run in one direction, kerbs as
//! well as markings and tyre tracks; with another they fan out. Pieces are compared within bands of
//! distance, so that a bend of the road, which turns all of a band alike, changes nothing, and a line
//! alone says nothing. Votes are kept for some seconds.

use super::road_lines::RoadLine;

/// Pitches that are voted for, from one to the next radians, and the highest.
const PITCHES: usize = 51;
const STEP_RAD: f64 = 0.2 * std::f64::consts::PI / 180.0;
/// Directions, from one to the next as tangents.
const DIRECTIONS: usize = 120;
const DIRECTION_STEP: f64 = 0.01;
/// Upper end of the farthest band in the level picture, the ratio of a band's ends, and their count.
const FIRST_BAND: f64 = 0.03;
const BAND_RATIO: f64 = 1.35;
const BANDS: usize = 11;
/// How many standard deviations of its direction a line's votes reach to either side, and the widest, in
/// steps of direction: what knows less votes for all.
const REACH_SIGMAS: f64 = 2.0;
const WIDEST: f64 = 12.0;
/// Time in which votes are forgotten, seconds.
const FORGET_S: f64 = 1.0;
/// Lines by which the best pitch must be ahead of all that are so many steps from it.
const LEAST_LEAD: f64 = 1.0;
const RIVAL_STEPS: usize = 8;

/// The votes of the last seconds.
#[derive(Clone, Debug)]
pub(super) struct VanishingPoint {
    /// Lines that agree, a frame, for each pitch.
    votes: [f64; PITCHES],
    /// What is to be added to the pitches: less than half a step.
    beyond_rad: f64,
}

impl Default for VanishingPoint {
    fn default() -> Self {
        Self {
            votes: [0.0; PITCHES],
            beyond_rad: 0.0,
        }
    }
}

impl VanishingPoint {
    /// Moves the votes with a camera that has turned down by `change_rad`.
    pub(super) fn turn(&mut self, change_rad: f64) {
        self.beyond_rad += change_rad;
        let steps = (self.beyond_rad / STEP_RAD).round();
        self.beyond_rad -= steps * STEP_RAD;
        let before = self.votes;
        for (index, votes) in self.votes.iter_mut().enumerate() {
            let from = index as f64 - steps;
            *votes = before[from.clamp(0.0, (PITCHES - 1) as f64) as usize];
        }
    }

    /// Takes in the lines of a frame, so long after the one before it.
    pub(super) fn take_in(&mut self, lines: &[RoadLine], elapsed_s: f64) {
        let keep = (-elapsed_s / FORGET_S).exp();
        for votes in &mut self.votes {
            *votes *= keep;
        }
        let mut bands: [Vec<&RoadLine>; BANDS] = Default::default();
        for line in lines {
            // The cast of a negative number or NaN is 0, of a large one the greatest.
            let band = ((line.at[1] / FIRST_BAND).ln() / BAND_RATIO.ln()) as usize;
            let is_known = line.at[1] > FIRST_BAND && reach(line, line.at[1]) <= WIDEST;
            if let Some(band) = bands.get_mut(band).filter(|_| is_known) {
                band.push(line);
            }
        }
        for band in bands.iter().filter(|band| band.len() > 1) {
            for index in 0..PITCHES {
                let agreed = most_agreed(band, self.pitch_at(index as f64));
                self.votes[index] += (1.0 - keep) * agreed;
            }
        }
    }

    /// Returns how far the camera looks down beyond what the transforms tell, radians; None while too few
    /// lines agree.
    pub(super) fn pitch_rad(&self) -> Option<f64> {
        // At an end of the row the true pitch may be beyond it.
        let best = (1..PITCHES - 1).max_by(|a, b| self.votes[*a].total_cmp(&self.votes[*b]))?;
        let [before, at, after] = [best - 1, best, best + 1].map(|index| self.votes[index]);
        let rivals = (self.votes.iter().enumerate())
            .filter(|(index, _)| index.abs_diff(best) >= RIVAL_STEPS);
        let most = rivals.fold(0.0f64, |most, (_, votes)| most.max(*votes));
        let is_found = at >= before && at >= after && at - most >= LEAST_LEAD;
        let aside = 0.5 * (after - before) / (2.0 * at - before - after).max(1e-9);
        is_found.then(|| self.pitch_at(best as f64 + aside.clamp(-0.5, 0.5)))
    }

    fn pitch_at(&self, index: f64) -> f64 {
        (index - (PITCHES / 2) as f64) * STEP_RAD + self.beyond_rad
    }
}

/// The most lines of a band that run in one direction over the ground, for a pitch.
fn most_agreed(band: &[&RoadLine], pitch_rad: f64) -> f64 {
    let horizon = -pitch_rad.tan();
    let mut votes = [0.0f32; DIRECTIONS];
    for line in band {
        let [x, y] = line.at;
        let down = y - horizon;
        if down <= 0.0 {
            continue;
        }
        let reach = reach(line, down);
        let middle = (x - down * line.slope) / DIRECTION_STEP + (DIRECTIONS / 2) as f64;
        let first = (middle - reach).ceil().max(0.0) as usize;
        let last = (middle + reach).floor().min((DIRECTIONS - 1) as f64);
        if last < first as f64 {
            continue;
        }
        // So two neighbours together have one vote of the line between them, wherever it is.
        let whole = 1.0 / (2.0 - 1.0 / reach);
        let range = first..=last as usize;
        for (votes, index) in votes[range.clone()].iter_mut().zip(range) {
            *votes += (whole * (1.0 - (index as f64 - middle).abs() / reach)) as f32;
        }
    }
    let pairs = votes.windows(2).map(|two| two[0] + two[1]);
    f64::from(pairs.fold(0.0f32, f32::max))
}

/// How far a line's votes reach to either side, seen so far below the horizon; steps of direction.
fn reach(line: &RoadLine, down: f64) -> f64 {
    (REACH_SIGMAS * down * line.slope_sigma / DIRECTION_STEP).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, Result, ensure};

    const EYE_M: f64 = 1.5;

    /// Pieces of lines so far to the right of the camera, metres, on a road that bends by so many radians
    /// a metre, seen by a camera that looks down beyond what the transforms tell.
    fn lines(right_m: &[f64], bend: f64, pitch_rad: f64) -> Vec<RoadLine> {
        let horizon = -pitch_rad.tan();
        let distances = (0..40).map(|index| 5.0 + 0.75 * f64::from(index));
        let pieces = distances.flat_map(|ahead_m| {
            right_m.iter().map(move |right_m| {
                let down = EYE_M / ahead_m;
                RoadLine {
                    at: [right_m / ahead_m + 0.5 * bend * ahead_m, down + horizon],
                    slope: right_m / EYE_M - 0.5 * bend * EYE_M / (down * down),
                    slope_sigma: 0.02,
                }
            })
        });
        pieces.collect()
    }

    fn found_deg(frames: &[Vec<RoadLine>]) -> Option<f64> {
        let mut point = VanishingPoint::default();
        for lines in frames {
            point.take_in(lines, 1.0 / 15.0);
        }
        point.pitch_rad().map(f64::to_degrees)
    }

    #[test]
    fn kerbs_of_straights_and_bends_tell_the_pitch() -> Result<()> {
        for pitch_deg in [0.0f64, 1.0, -1.0, 2.7, -4.0] {
            for bend in [0.0, 0.01, -0.02] {
                let frame = lines(&[-3.5, 0.2, 3.5, 5.5], bend, pitch_deg.to_radians());
                let found_deg = found_deg(&vec![frame; 30]).context("nothing found")?;
                // Half a step: a bend widens the votes of a band.
                ensure!(
                    (found_deg - pitch_deg).abs() < 0.1,
                    "{found_deg:.3} of {pitch_deg} deg, bend {bend}"
                );
            }
        }
        Ok(())
    }

    #[test]
    fn lines_that_run_elsewhere_do_not_move_it() -> Result<()> {
        let mut frame = lines(&[-3.5, 3.5], 0.0, 0.01);
        // As many shadows and cars as there are kerbs, each running where it likes.
        let stray = (0..frame.len()).map(|index| {
            let at = (index as f64 * 0.618).fract() - 0.5;
            RoadLine {
                at: [1.2 * at, 0.04 + 0.25 * (index as f64 * 0.414).fract()],
                slope: 6.0 * ((index as f64 * 0.732).fract() - 0.5),
                slope_sigma: 0.02,
            }
        });
        frame.extend(stray.collect::<Vec<_>>());
        let found_deg = found_deg(&vec![frame; 30]).context("nothing found")?;
        ensure!(
            (found_deg - 0.01f64.to_degrees()).abs() < 0.1,
            "{found_deg:.3} deg"
        );
        Ok(())
    }

    #[test]
    fn one_line_alone_tells_nothing_and_no_lines_are_soon_forgotten_votes() -> Result<()> {
        ensure!(found_deg(&vec![lines(&[2.0], 0.0, 0.01); 30]).is_none());
        ensure!(found_deg(&[]).is_none());
        let mut frames = vec![lines(&[-3.5, 0.2, 3.5], 0.0, 0.01); 30];
        ensure!(found_deg(&frames).is_some());
        frames.extend(vec![Vec::new(); 75]);
        ensure!(found_deg(&frames).is_none());
        Ok(())
    }

    #[test]
    fn votes_move_with_the_camera() -> Result<()> {
        let mut point = VanishingPoint::default();
        let frame = lines(&[-3.5, 0.2, 3.5], 0.0, 0.0);
        for _ in 0..30 {
            point.take_in(&frame, 1.0 / 15.0);
        }
        for change_deg in [0.3f64, 0.55, -1.4] {
            let before = point.pitch_rad().context("nothing found")?;
            point.turn(change_deg.to_radians());
            let after = point.pitch_rad().context("nothing found")?;
            ensure!((after - before - change_deg.to_radians()).abs() < 1e-9);
        }
        Ok(())
    }

    #[test]
    fn numbers_that_are_none_are_no_votes() -> Result<()> {
        let mut frame = lines(&[-3.5, 0.2, 3.5], 0.0, 0.01);
        for absurd in [f64::NAN, f64::INFINITY, -1e300, 1e300, 0.0] {
            for at in [[absurd, 0.1], [0.1, absurd]] {
                let line = RoadLine {
                    at,
                    slope: absurd,
                    slope_sigma: absurd,
                };
                frame.extend([
                    line,
                    RoadLine {
                        slope_sigma: 0.02,
                        ..line
                    },
                ]);
            }
        }
        let found_deg = found_deg(&vec![frame; 30]).context("nothing found")?;
        ensure!(
            (found_deg - 0.01f64.to_degrees()).abs() < 0.05,
            "{found_deg:.3} deg"
        );
        let mut point = VanishingPoint::default();
        point.turn(f64::NAN);
        point.turn(1e300);
        ensure!(point.pitch_rad().is_none());
        Ok(())
    }
}
