//! The drivable grid against the truth of made drives: camera 1.5 m high, 1280x720, 70 degrees wide.
//! `examples/drivable_score.rs` scores a thousand frames; these are few enough for every run.

#[path = "drivable/score.rs"]
mod score;

use anyhow::{Result, ensure};
use score::{Chain, Drive, Score, made_world, median, true_mask};

#[test]
fn with_true_labels_and_poses_the_grid_is_the_ground() -> Result<()> {
    let mut score = Score::default();
    for seed in [100, 106, 109] {
        let drive = Drive {
            seed,
            frames: 35,
            nod_deg: 0.0,
            nod_hz: 0.0,
            is_tracked: false,
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

#[test]
fn a_nod_of_half_a_degree_that_no_transform_tells_is_corrected() -> Result<()> {
    let drive = Drive {
        seed: 104,
        frames: 75,
        nod_deg: 0.5,
        nod_hz: 1.0,
        is_tracked: true,
    };
    let (mut corrected, mut left_alone) = (Score::default(), Score::default());
    let world = made_world(&drive)?;
    let first = world.frame(0);
    let (mut tracked, mut told) = (Chain::new(&first, true)?, Chain::new(&first, false)?);
    for index in 0..drive.frames {
        let frame = world.frame(index);
        let mask = true_mask(&frame)?;
        // The tracker knows a nod once it has seen a few seconds of it.
        let is_scored = index >= 30;
        corrected.add_frame(&mut tracked, &frame, &mask, is_scored)?;
        left_alone.add_frame(&mut told, &frame, &mask, is_scored)?;
    }
    for (errors, bound_m) in corrected.boundary.iter().zip([0.5, 1.5]) {
        for values in [
            &errors.lateral_m,
            &errors.along_m,
            &errors.beside_m,
            &errors.ahead_m,
        ] {
            ensure!(
                median(values) <= bound_m,
                "{} over {bound_m}",
                median(values)
            );
        }
    }
    let share = |score: &Score| score.right as f64 / score.visible as f64;
    ensure!(
        share(&corrected) > share(&left_alone),
        "{} corrected, {} not",
        share(&corrected),
        share(&left_alone)
    );
    Ok(())
}
