//! Collision monitor: `obstacle_points` in a zone ahead.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Contract, DRIVE_ON_FREE_ROAD, DRIVE_UP_TO_SOMETHING, FRAMES};

/// So many cells of what stands in the zone are certain to stop the vehicle: two feet.
const CERTAIN: usize = 6;

/// What stands farther from the zone does not stop the vehicle, metres: a person is taken with a margin,
/// and with all that the picture's lower edge may hide.
const CLEAR_M: f64 = 1.0;

#[test]
fn a_collision_monitor_stops_for_what_the_truth_has_ahead() -> Result<()> {
    let frames = shown_frames(DRIVE_UP_TO_SOMETHING)?;
    let blocked: Vec<_> = frames
        .iter()
        .filter(|frame| frame.feet >= CERTAIN)
        .collect();
    ensure!(blocked.len() >= 2, "{frames:?}");
    ensure!(blocked.iter().all(|frame| frame.is_stopped), "{frames:?}");
    Ok(())
}

#[test]
fn a_collision_monitor_goes_on_where_the_truth_is_free_road() -> Result<()> {
    let frames = shown_frames(DRIVE_ON_FREE_ROAD)?;
    let free: Vec<_> = frames.iter().filter(|frame| frame.nearby == 0).collect();
    ensure!(free.len() >= 2, "{frames:?}");
    ensure!(free.iter().all(|frame| !frame.is_stopped), "{frames:?}");
    Ok(())
}

/// What the monitor did at a frame, and what the truth has there.
#[derive(Debug)]
#[allow(dead_code, reason = "a failure tells all of it")]
struct Shown {
    /// Cells in the zone where things that stand begin.
    feet: usize,
    /// Cells of things that stand in the zone or near it.
    nearby: usize,
    is_stopped: bool,
    told: Value,
}

fn shown_frames(seed: u64) -> Result<Vec<Shown>> {
    let mut contract = Contract::start_on(seed, "collision_monitor", "collision_monitor.py")?;
    let zone = Zone::of(&contract.planner.ask("corners", json!({}))?)?;
    let mut shown = Vec::new();
    for index in 0..FRAMES {
        let told = contract.show(index)?;
        let frame = &contract.drive.frames[index];
        let in_base = frame.base_in_odom.inverse();
        let holds = |[x, y]: [f64; 2], margin_m| {
            let [x, y, _] = in_base.apply([x, y, 0.0]);
            zone.holds([x, y], margin_m)
        };
        shown.push(Shown {
            feet: frame.feet().filter(|foot| holds(*foot, 0.0)).count(),
            nearby: (frame.visible_obstacles())
                .filter(|cell| holds(*cell, CLEAR_M))
                .count(),
            is_stopped: told["is_stopped"] == true,
            told,
        });
    }
    Ok(shown)
}

/// A zone with sides along the axes of base_link.
struct Zone {
    from: [f64; 2],
    to: [f64; 2],
}

impl Zone {
    fn of(corners: &Value) -> Result<Self> {
        let corners: Vec<[f64; 2]> = serde_json::from_value(corners.clone())?;
        ensure!(corners.len() == 4, "{corners:?}");
        let bound = |axis: usize, of: fn(f64, f64) -> f64| {
            corners
                .iter()
                .map(|corner| corner[axis])
                .reduce(of)
                .context("a corner")
        };
        Ok(Self {
            from: [bound(0, f64::min)?, bound(1, f64::min)?],
            to: [bound(0, f64::max)?, bound(1, f64::max)?],
        })
    }

    fn holds(&self, point: [f64; 2], margin_m: f64) -> bool {
        (0..2).all(|i| (self.from[i] - margin_m..=self.to[i] + margin_m).contains(&point[i]))
    }
}
