//! SemanticSegmentationLayer: mask, confidence and organised cloud of one size, and LabelInfo.

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Contract, Costs, FRAMES, FREE, LETHAL, Tally, UNKNOWN};

#[test]
#[allow(
    clippy::print_stdout,
    reason = "the figures are worth more than the pass"
)]
fn a_semantic_layers_costmap_has_the_costs_of_the_ground_that_the_truth_tells() -> Result<()> {
    let mut contract = Contract::start("nav2_semantic", "semantic_layer.py")?;
    let [
        mut found,
        mut known,
        mut free,
        mut off_road,
        mut astray,
        mut freed,
    ] = [Tally::default(); 6];
    for frame in 0..FRAMES {
        let costs = Costs::of(&contract.show(frame)?)?;
        let frame = &contract.drive.frames[frame];
        let feet = frame.feet().filter(|foot| costs.at(*foot).is_some());
        found.add(feet, |foot| costs.has_near(foot, LETHAL));
        let standing = costs.inside(frame.visible_obstacles());
        freed.add(standing, |point| costs.at(point) == Some(FREE));
        let told = costs
            .places(LETHAL)
            .filter(|place| frame.truth_at(*place).is_some());
        astray.add(told, |place| frame.is_amid_free(place));
        let decided = |point: &[f64; 2]| costs.at(*point).is_some_and(|cost| cost != UNKNOWN);
        known.add(costs.inside(frame.visible_road()), |point| decided(&point));
        free.add(frame.visible_road().filter(decided), |point| {
            costs.at(point) == Some(FREE)
        });
        let off_road_is = |cost| matches!(cost, Some(120..=200));
        off_road.add(frame.visible_off_road().filter(decided), |point| {
            off_road_is(costs.at(point))
        });
    }
    let ignored = contract.planner.ask("ignored_classes", json!({}))?;
    ensure!(ignored == json!([]), "in no class type: {ignored}");
    println!(
        "feet marked: {found}; things freed: {freed}; marks astray: {astray}; road known: {known}, of it free: {free}; off road: {off_road}"
    );
    // Road shows below cars between their wheels, and a pixel is what it shows.
    ensure!(found.all > 200 && found.share() >= 0.7, "{found}");
    // A third were freed by the road that shows below cars, before it lost its points.
    ensure!(freed.all > 1000 && freed.share() <= 0.25, "{freed}");
    ensure!(astray.all > 100 && astray.share() <= 0.1, "{astray}");
    // At 10 m a pixel is 0.3 m of the road long, and frames are 4 m apart: cells between stay unknown.
    ensure!(known.share() >= 0.7, "{known}");
    ensure!(free.all > 10_000 && free.share() >= 0.92, "{free}");
    ensure!(
        off_road.all > 2000 && off_road.share() >= 0.92,
        "{off_road}"
    );
    Ok(())
}
