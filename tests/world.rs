//! The made world: deterministic, consistent with itself, and readable from its bag.

use anyhow::{Context, Result, ensure};
use ecmnet_ros::bag::Bag;
use ecmnet_ros::msg::{CameraInfo, Image, Message as _, OccupancyGrid, Odometry, TfMessage};
use ecmnet_ros::world::{
    CAMERA_INFO_TOPIC, CELL_FREE, CELL_OBSTACLE, CELL_OTHER_GROUND, CELL_UNSEEN, Class, GRID_TOPIC,
    IMAGE_TOPIC, LABELS_TOPIC, ODOMETRY_TOPIC, World, WorldConfig, WorldFrame, optical_in_link,
    record_drive,
};

fn small(seed: u64) -> WorldConfig {
    WorldConfig {
        seed,
        width: 320,
        height: 240,
        ..WorldConfig::default()
    }
}

fn frame_on(threads: usize, config: &WorldConfig, index: u64) -> Result<WorldFrame> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?;
    pool.install(|| Ok(World::new(config)?.frame(index)))
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_threads() -> Result<()> {
    // One seed with a sun, whose shadow map is filled in bands as well, and one without.
    for seed in [0, 1] {
        let one = frame_on(1, &small(seed), 40)?;
        let five = frame_on(5, &small(seed), 40)?;
        ensure!(one == five, "seed {seed} differs between 1 and 5 threads");
    }
    Ok(())
}

#[test]
fn a_frame_made_alone_equals_the_frame_of_the_sequence() -> Result<()> {
    let world = World::new(&small(4))?;
    let in_sequence: Vec<WorldFrame> = (0..4).map(|index| world.frame(index)).collect();
    let alone = World::new(&small(4))?.frame(3);
    ensure!(in_sequence[3] == alone);
    ensure!(in_sequence[2].rgb != alone.rgb, "the drive moves on");
    Ok(())
}

#[test]
fn two_seeds_are_two_drives() -> Result<()> {
    ensure!(World::new(&small(1))?.frame(0).rgb != World::new(&small(2))?.frame(0).rgb);
    Ok(())
}

#[test]
fn every_class_is_met_on_a_few_drives_and_no_other_id() -> Result<()> {
    let mut pixels = [0usize; 256];
    for seed in 0..4 {
        let world = World::new(&small(seed))?;
        for index in (0..1200).step_by(150) {
            for id in world.frame(index).labels {
                pixels[id as usize] += 1;
            }
        }
    }
    let total: usize = pixels.iter().sum();
    for (class, count) in pixels.iter().enumerate().take(Class::Unlabelled as usize) {
        // The rarest class of real street scenes covers about 3 pixels in a thousand.
        let share = *count as f64 / total as f64;
        ensure!(
            share > 1e-3,
            "class {class} covers {share:.5} of the drives"
        );
    }
    ensure!(
        pixels[Class::Unlabelled as usize + 1..]
            .iter()
            .all(|&n| n == 0)
    );
    Ok(())
}

#[test]
fn the_sky_is_brighter_than_the_road_in_every_weather() -> Result<()> {
    for seed in 0..8 {
        let frame = World::new(&small(seed))?.frame(10);
        let mean = |class: Class| {
            let green = frame.rgb.iter().skip(1).step_by(3);
            let values: Vec<f64> = green
                .zip(&frame.labels)
                .filter(|(_, id)| **id == class as u8)
                .map(|(value, _)| f64::from(*value))
                .collect();
            values.iter().sum::<f64>() / values.len().max(1) as f64
        };
        let (sky, road) = (mean(Class::Sky), mean(Class::Road));
        ensure!(
            sky > road + 30.0,
            "seed {seed}: sky {sky:.0}, road {road:.0}"
        );
    }
    Ok(())
}

/// Pixel of the ground under a point of base_link's xy plane, at a height over the road.
fn pixel_of(frame: &WorldFrame, x: f64, y: f64, height_m: f64) -> Option<usize> {
    let base = &frame.base_in_odom;
    let r = &base.rotation;
    let z = (height_m - base.translation[2] - r[2][0] * x - r[2][1] * y) / r[2][2];
    let optical = frame.camera_in_base.then(&optical_in_link());
    let [u, v] = frame
        .camera
        .pixel_from_point(optical.inverse().apply([x, y, z]))?;
    Some(v.round() as usize * frame.camera.width as usize + u.round() as usize)
}

#[test]
fn the_true_grid_agrees_with_the_labels_at_each_cells_pixel() -> Result<()> {
    let (mut free, mut other, mut obstacle, mut unseen) = ([0usize; 2], [0; 2], [0; 2], 0);
    for seed in 0..6 {
        let world = World::new(&small(seed))?;
        for index in [0, 200, 400] {
            let frame = world.frame(index);
            let grid = &frame.truth_grid;
            for row in 0..grid.height {
                for column in 0..grid.width {
                    let value = grid.cells[(row * grid.width + column) as usize];
                    let [x, y] = grid.centre_m(column, row);
                    if value == CELL_UNSEEN {
                        unseen += 1;
                        continue;
                    }
                    // Under a car's bumper the road shows: an obstacle is looked for at knee height.
                    let height_m = match value {
                        CELL_FREE => 0.0,
                        CELL_OTHER_GROUND => 0.12,
                        _ => 0.5,
                    };
                    let Some(at) = pixel_of(&frame, x, y, height_m) else {
                        continue;
                    };
                    let id = frame.labels[at];
                    let is = |classes: &[Class]| classes.iter().any(|class| *class as u8 == id);
                    let count = |tally: &mut [usize; 2], right: bool| {
                        tally[0] += usize::from(right);
                        tally[1] += 1;
                    };
                    match value {
                        CELL_FREE => count(&mut free, is(&[Class::Road])),
                        CELL_OTHER_GROUND => {
                            count(
                                &mut other,
                                is(&[Class::Pavement, Class::Tree, Class::Fence]),
                            );
                        }
                        CELL_OBSTACLE => {
                            count(
                                &mut obstacle,
                                !is(&[Class::Road, Class::Pavement, Class::Sky]),
                            );
                        }
                        _ => anyhow::bail!("a cell holds {value}"),
                    }
                }
            }
        }
    }
    let share = |[right, all]: [usize; 2]| right as f64 / all as f64;
    // A centre is rounded to one pixel, so cells at an edge may meet the neighbour's label, and
    // road seen through railings is labelled as the fence.
    ensure!(
        free[1] > 10_000 && share(free) > 0.99,
        "free road: {free:?}"
    );
    ensure!(
        other[1] > 10_000 && share(other) > 0.98,
        "other ground: {other:?}"
    );
    // An obstacle marks every cell it reaches into, so half a cell of ground beside it.
    ensure!(
        obstacle[1] > 2_000 && share(obstacle) > 0.80,
        "obstacles: {obstacle:?}"
    );
    ensure!(
        unseen > 10_000,
        "the camera does not see behind things: {unseen}"
    );
    Ok(())
}

#[test]
fn a_setting_that_cannot_be_rendered_is_refused_by_name() {
    let refused = World::new(&WorldConfig {
        hfov_deg: 179.0,
        ..small(0)
    });
    let text = refused.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(text.contains("hfov_deg") && text.contains("179"), "{text}");
}

#[test]
fn the_bag_gives_back_every_frame_with_its_truth() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("drive");
    let world = World::new(&small(2))?;
    let mut progress = Vec::new();
    record_drive(&world, 3, &path, |done| progress.push(done))?;
    ensure!(progress == [1, 2, 3]);
    let bag = Bag::open(&path)?;
    let topics = [
        "/tf",
        "/tf_static",
        ODOMETRY_TOPIC,
        CAMERA_INFO_TOPIC,
        GRID_TOPIC,
        LABELS_TOPIC,
        IMAGE_TOPIC,
    ];
    let frames: Vec<WorldFrame> = (0..3).map(|index| world.frame(index)).collect();
    let mut met = [0usize; 7];
    for message in bag.messages(&topics)? {
        let place = message.topic;
        let frame = frames
            .get(met[place])
            .context("more messages than frames")?;
        met[place] += 1;
        match place {
            0 => {
                let tf = TfMessage::from_cdr(&message.data)?;
                ensure!(tf.transforms[0].header.frame_id == "odom");
                ensure!(
                    tf.transforms[0].transform.translation.x == frame.base_in_odom.translation[0]
                );
            }
            1 => ensure!(TfMessage::from_cdr(&message.data)?.transforms.len() == 2),
            2 => ensure!(Odometry::from_cdr(&message.data)?.linear.x == frame.twist.linear[0]),
            3 => ensure!(CameraInfo::from_cdr(&message.data)?.k == frame.camera.k()),
            4 => ensure!(OccupancyGrid::from_cdr(&message.data)?.data == frame.truth_grid.cells),
            5 => ensure!(Image::from_cdr(&message.data)?.data == frame.labels),
            _ => {
                let image = Image::from_cdr(&message.data)?;
                ensure!(image.data == frame.rgb && image.header.stamp.as_ns() == frame.stamp_ns);
            }
        }
    }
    ensure!(met == [3, 1, 3, 3, 3, 3, 3], "messages a topic: {met:?}");
    Ok(())
}
