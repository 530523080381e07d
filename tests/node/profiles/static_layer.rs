//! StaticLayer: the latched grid with graded costs.

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::diagnostics::{value, watch};
use super::super::graph::wait_for;
use super::{Contract, Costs, FRAMES, FREE, LETHAL, Tally, UNKNOWN};

/// What 80 of 100 is of 254, the cost of pavements.
const OFF_ROAD: u8 = 203;

#[test]
fn a_static_layer_that_subscribes_late_gets_the_grid_that_nobody_read() -> Result<()> {
    let mut contract = Contract::start("nav2_static", "static_layer.py")?;
    let frame = &contract.drive.frames[0];
    let at_ns = frame.stamp.as_ns();
    watch(&mut contract.vehicle)?;
    wait_for("a grid that nobody reads", || {
        frame.play(&mut contract.vehicle)?;
        let arguments = json!({"topic": "/diagnostics", "timeout_s": 1.5});
        let status = contract.vehicle.ask("take_latest", arguments)?["status"][0].take();
        let place = json!({"target": "odom", "source": "base_link", "at_ns": at_ns});
        let is_placed = contract.planner.ask("has_place", place)? == true;
        let grids: u64 = value(&status, "drivable_area").parse().unwrap_or(0);
        Ok((is_placed && grids > 0).then_some(()))
    })?;
    // Until it has done with all that was played: what comes then is what is latched.
    let mut before = String::new();
    wait_for("a node that has nothing left to do", || {
        let status = contract.vehicle.take("/diagnostics")?["status"][0].take();
        let done = format!(
            "{} {}",
            value(&status, "received"),
            value(&status, "drivable_area")
        );
        let is_done = std::mem::replace(&mut before, done.clone()) == done;
        Ok(is_done.then_some(()))
    })?;
    contract.planner.ask("activate", json!({}))?;
    let update = json!({"at_ns": at_ns, "timeout_s": 30.0});
    let costs = Costs::of(&contract.planner.ask("update", update)?)?;
    ensure!(costs.places(FREE).count() > 1000);
    Ok(())
}

#[test]
#[allow(
    clippy::print_stdout,
    reason = "the figures are worth more than the pass"
)]
fn a_static_layers_costmap_is_graded_as_the_truth_is() -> Result<()> {
    let mut contract = Contract::start("nav2_static", "static_layer.py")?;
    contract.planner.ask("activate", json!({}))?;
    let [mut known, mut free, mut graded, mut off_road, mut feet] = [Tally::default(); 5];
    for frame in 0..FRAMES {
        let costs = Costs::of(&contract.show(frame)?)?;
        let frame = &contract.drive.frames[frame];
        let ground = frame.visible_road().chain(frame.visible_off_road());
        known.add(costs.inside(ground), |point| {
            costs.at(point) != Some(UNKNOWN)
        });
        free.add(costs.inside(frame.visible_road()), |point| {
            costs.at(point) == Some(FREE)
        });
        graded.add(costs.inside(frame.visible_off_road()), |point| {
            costs.at(point) == Some(OFF_ROAD)
        });
        off_road.add(costs.inside(frame.visible_off_road()), |point| {
            costs.at(point) != Some(FREE)
        });
        feet.add(costs.inside(frame.feet()), |foot| {
            costs.has_near(foot, LETHAL)
        });
    }
    println!(
        "ground known: {known}; road free: {free}; off road of cost {OFF_ROAD}: {graded}, not free: \
         {off_road}; feet lethal: {feet}"
    );
    ensure!(known.all > 10_000 && known.share() >= 0.95, "{known}");
    ensure!(free.all > 10_000 && free.share() >= 0.92, "{free}");
    // Pavements beside things that stand are lethal in the grid.
    ensure!(graded.share() >= 0.7, "{graded}");
    ensure!(
        off_road.all > 2000 && off_road.share() >= 0.92,
        "{off_road}"
    );
    ensure!(feet.all > 200 && feet.share() >= 0.8, "{feet}");
    Ok(())
}
