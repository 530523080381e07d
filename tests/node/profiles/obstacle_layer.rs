//! ObstacleLayer: marks by `obstacle_points`, clears by rays to `drivable_points`.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::super::parameters::set;
use super::{Contract, Costs, FRAMES, FREE, LETHAL, Tally};

#[test]
#[allow(
    clippy::print_stdout,
    reason = "the figures are worth more than the pass"
)]
fn an_obstacle_layers_costmap_is_marked_and_cleared_where_the_truth_says() -> Result<()> {
    let mut contract = Contract::start("nav2_obstacle", "obstacle_layer.py")?;
    let [mut found, mut astray, mut freed] = [Tally::default(); 3];
    for frame in 0..FRAMES {
        let costs = Costs::of(&contract.show(frame)?)?;
        let frame = &contract.drive.frames[frame];
        let feet = frame.feet().filter(|foot| costs.at(*foot).is_some());
        found.add(feet, |foot| costs.has_near(foot, LETHAL));
        let marks = costs.places(LETHAL);
        let told = marks.filter(|mark| frame.truth_at(*mark).is_some());
        astray.add(told, |mark| frame.is_amid_free(mark));
        freed.add(costs.inside(frame.visible_road()), |point| {
            costs.at(point) == Some(FREE)
        });
    }
    // All is lethal once: rays alone can make it free.
    contract.planner.ask("fill", json!({ "cost": LETHAL }))?;
    let costs = Costs::of(&contract.show(FRAMES - 1)?)?;
    let last = contract.drive.frames.last().context("a frame")?;
    let mut cleared = Tally::default();
    cleared.add(costs.inside(last.visible_road()), |point| {
        costs.at(point) == Some(FREE)
    });
    println!(
        "feet marked: {found}; marks astray: {astray}; road free: {freed}, of lethal: {cleared}"
    );
    // Poles and fences, the thinnest of what stands, have the masks' lowest IoU: 0.78.
    ensure!(found.all > 200 && found.share() >= 0.8, "{found}");
    ensure!(astray.all > 200 && astray.share() <= 0.1, "{astray}");
    ensure!(freed.all > 10_000 && freed.share() >= 0.92, "{freed}");
    ensure!(cleared.all > 2000 && cleared.share() >= 0.92, "{cleared}");
    Ok(())
}

#[test]
fn an_obstacle_layer_takes_points_that_lie_below_the_plane_of_its_frame() -> Result<()> {
    let mut contract = Contract::start("nav2_obstacle", "obstacle_layer.py")?;
    let low = json!({"name": "points.z_m", "value": {"type": 3, "double_value": -0.3}});
    let results = set(&mut contract.vehicle, json!([low]))?;
    ensure!(results[0]["successful"] == true, "{results:?}");
    let costs = Costs::of(&contract.show(1)?)?;
    let (marks, clear) = (costs.places(LETHAL).count(), costs.places(FREE).count());
    ensure!(marks > 20 && clear > 1000, "{marks} marks, {clear} clear");
    Ok(())
}
