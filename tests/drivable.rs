//! The drivable grid against the truth of made drives: camera 1.5 m high, 1280x720, 70 degrees wide.
//! `examples/drivable_score.rs` scores a thousand frames; these are few enough for every run.

#[path = "drivable/score.rs"]
mod score;

use anyhow::{Result, ensure};
use ecmnet_ros::drivable::pitch::PitchZero;
use score::{Chain, Drive, KNOWN_FROM, Score, made_world, median, true_mask};

#[test]
fn with_true_labels_and_poses_the_grid_is_the_ground() -> Result<()> {
    let mut score = Score::default();
    for seed in [100, 106, 109] {
        let drive = Drive {
            seed,
            frames: 35,
            nod_deg: 0.0,
            nod_hz: 0.0,
            mount_error_deg: 0.0,
            correction: None,
        };
        score.add(&drive, true_mask)?;
    }
    let share = |part: u64| part as f64 / score.visible as f64;
    ensure!(score.visible > 1_000_000, "{} cells", score.visible);
    ensure!(
        share(score.decided) >= 0.95,
        "{} decided",
        share(score.decided)
    );
    ensure!(share(score.right) >= 0.95, "{} right", share(score.right));
    ensure!(score.wrong.is_empty(), "{:?}", score.wrong);
    for (errors, bound_m) in score.boundary.iter().zip([0.1, 0.3]) {
        let (lateral_m, along_m) = (median(&errors.lateral_m), median(&errors.along_m));
        ensure!(
            errors.lateral_m.len() > 1000,
            "{} cells",
            errors.lateral_m.len()
        );
        ensure!(
            lateral_m <= bound_m && along_m <= bound_m,
            "{lateral_m} {along_m}"
        );
    }
    Ok(())
}

/// A mounting that is this far off in the transforms, degrees, and what corrects it.
type Mounting = (f64, Option<PitchZero>);

/// Scores one drive as it is laid on the ground by each of some mountings.
fn scored<const N: usize>(drive: &Drive, mountings: [Mounting; N]) -> Result<[Score; N]> {
    let world = made_world(drive)?;
    let first = world.frame(0);
    let mut runs = Vec::new();
    for (mount_error_deg, correction) in mountings {
        let chain = Chain::new(
            &first,
            &Drive {
                mount_error_deg,
                correction,
                ..*drive
            },
        )?;
        runs.push((chain, Score::default()));
    }
    for index in 0..drive.frames {
        let frame = world.frame(index);
        let mask = true_mask(&frame)?;
        for (chain, score) in &mut runs {
            score.add_frame(chain, &frame, &mask, index >= KNOWN_FROM)?;
        }
    }
    let mut scores = runs.into_iter().map(|(_, score)| score);
    Ok(std::array::from_fn(|_| scores.next().unwrap_or_default()))
}

/// A drive of five seconds, of which three are scored.
fn nodding(seed: u64, nod_deg: f64) -> Drive {
    Drive {
        seed,
        frames: 75,
        nod_deg,
        nod_hz: 1.0,
        mount_error_deg: 0.0,
        correction: None,
    }
}

/// Whether the boundary is within 0.5 m at 10 m and 1.5 m at 20 m, by every measure.
fn is_within_bounds(score: &Score) -> bool {
    let bands = score.boundary.iter().zip([0.5, 1.5]);
    bands.into_iter().all(|(errors, bound_m)| {
        let all = [
            &errors.lateral_m,
            &errors.along_m,
            &errors.beside_m,
            &errors.ahead_m,
        ];
        all.iter().all(|values| median(values) <= bound_m)
    })
}

fn share_right(score: &Score) -> f64 {
    score.right as f64 / score.visible as f64
}

#[test]
fn a_nod_of_half_a_degree_that_no_transform_tells_is_corrected() -> Result<()> {
    let mountings = [
        (0.0, None),
        (0.0, Some(PitchZero::Mean)),
        (0.0, Some(PitchZero::VanishingPoint)),
    ];
    let [left_alone, corrected @ ..] = scored(&nodding(104, 0.5), mountings)?;
    for score in &corrected {
        ensure!(is_within_bounds(score), "{:?}", score.boundary);
        let (right, trusting) = (share_right(score), share_right(&left_alone));
        ensure!(right > trusting, "{right} corrected, {trusting} not");
    }
    Ok(())
}

#[test]
fn a_mounting_a_degree_off_is_found_from_the_vanishing_point_and_by_nothing_else() -> Result<()> {
    let by_lines = Some(PitchZero::VanishingPoint);
    let mountings = [
        (1.0, by_lines),
        (-1.0, by_lines),
        (1.0, Some(PitchZero::Mean)),
        (1.0, None),
        (-1.0, None),
    ];
    for nod_deg in [0.5, 0.0] {
        let [down, up, others @ ..] = scored(&nodding(106, nod_deg), mountings)?;
        for score in [&down, &up] {
            // What is asked is 0.2 degrees; half of the frames are found within a quarter of it.
            let missed_deg = median(&score.pitch_miss_deg);
            ensure!(missed_deg < 0.1, "{missed_deg} deg");
            let most_deg = score.pitch_miss_deg.iter().fold(0.0, |a: f64, b| a.max(*b));
            ensure!(most_deg < 0.2, "{most_deg} deg in one frame");
            ensure!(is_within_bounds(score), "{:?}", score.boundary);
        }
        for score in &others {
            ensure!(!is_within_bounds(score), "the bounds tell nothing");
            let (right, left_alone) = (share_right(&up), share_right(score));
            ensure!(right > left_alone + 0.03, "{right} against {left_alone}");
        }
    }
    Ok(())
}

#[test]
fn where_the_transforms_are_right_the_vanishing_point_changes_little() -> Result<()> {
    let mountings = [(0.0, None), (0.0, Some(PitchZero::VanishingPoint))];
    let [trusting, corrected] = scored(&nodding(104, 0.0), mountings)?;
    let missed_deg = median(&corrected.pitch_miss_deg);
    ensure!(missed_deg < 0.1, "{missed_deg} deg");
    let (right, before) = (share_right(&corrected), share_right(&trusting));
    ensure!(right > before - 0.003, "{right}, {before} as TF has it");
    for (corrected, trusting) in corrected.boundary.iter().zip(&trusting.boundary) {
        let lateral_m = [corrected, trusting].map(|errors| median(&errors.lateral_m));
        // Half a cell.
        ensure!(lateral_m[0] < lateral_m[1] + 0.05, "{lateral_m:?} m");
    }
    Ok(())
}
