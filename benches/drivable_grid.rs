//! How long a frame takes to become a grid of 20 m x 20 m in cells of 0.1 m on one core, how long its
//! pitch takes to be corrected, and how long a camera's table of rays takes to make.
//!
//! `cargo bench --no-default-features --bench drivable_grid -- --seed 100 --frames 30` renders made
//! frames of 1280x720 with true labels and prints medians and p95.

#![allow(clippy::print_stdout, reason = "a bench's output")]

use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use ecmnet_ros::ImageView;
use ecmnet_ros::drivable::camera::{CalibratedImage, Camera, RayTable};
use ecmnet_ros::drivable::grid::{GridConfig, RollingGrid};
use ecmnet_ros::drivable::ground::{GroundAttitude, GroundPlane, GroundView};
use ecmnet_ros::drivable::observe::{Observer, Scene};
use ecmnet_ros::drivable::pitch::{PitchFrame, PitchTracker, PitchZero};
use ecmnet_ros::drivable::surface::SurfaceTable;
use ecmnet_ros::msg::CameraInfo;
use ecmnet_ros::world::{World, WorldConfig, optical_in_link};
use score::{classes, true_mask};

#[path = "../tests/drivable/score.rs"]
#[allow(dead_code, reason = "the bench shares the classes and masks alone")]
mod score;

/// Updates timed on each frame; the fastest counts, for the machine may do other things.
const REPEATS: usize = 5;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 100)]
    seed: u64,
    #[arg(long, default_value_t = 30)]
    frames: u64,
    /// How far ahead of the vehicle the grid's middle lies, metres.
    #[arg(long, default_value_t = 10.0)]
    ahead: f64,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let world = World::new(&WorldConfig {
        seed: options.seed,
        width: 1280,
        height: 720,
        hfov_deg: 70.0,
        pixel_aspect: Some(1.0),
        camera_height_m: 1.5,
        ..WorldConfig::default()
    })?;
    let first = world.frame(0).camera;
    let info = CameraInfo {
        width: first.width,
        height: first.height,
        distortion_model: "plumb_bob".to_owned(),
        d: first.distortion.to_vec(),
        k: first.k(),
        ..CameraInfo::default()
    };
    let image = CalibratedImage {
        frame_id: "",
        width: first.width,
        height: first.height,
        rectified: false,
    };
    let camera = Camera::new(&info, image)?;
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let mut tables: Vec<f64> = Vec::new();
    for _ in 0..REPEATS {
        let start = Instant::now();
        one.install(|| RayTable::new(&camera));
        tables.push(start.elapsed().as_secs_f64() * 1e3);
    }
    tables.sort_by(f64::total_cmp);
    let rays = RayTable::new(&camera);
    let surfaces = SurfaceTable::new(&classes());
    let mut observer = Observer::default();
    let mut grid = RollingGrid::new(GridConfig {
        ahead_m: options.ahead,
        ..GridConfig::default()
    })?;
    let mut updates = Vec::new();
    let zeros = [PitchZero::Mean, PitchZero::VanishingPoint];
    let mut trackers = zeros.map(|_| PitchTracker::default());
    let mut corrections = zeros.map(|_| Vec::new());
    for index in 0..options.frames {
        let frame = world.frame(index * 12);
        let mask = true_mask(&frame)?;
        let base = frame.base_in_odom;
        let optical = base.then(&frame.camera_in_base).then(&optical_in_link());
        let mut fastest = f64::INFINITY;
        for _ in 0..REPEATS {
            let start = Instant::now();
            let plane = GroundPlane::under(&base, GroundAttitude::Level);
            let view = GroundView::new(&camera, &optical, plane).context("no view")?;
            let scene = Scene {
                view: &view,
                rays: &rays,
                mask: &mask,
                surfaces: &surfaces,
                ego_mask: &[],
                horizon_m: 25.0,
            };
            grid.follow(&base);
            let evidence = observer.observe(&scene, &grid.lattice());
            grid.fuse(frame.stamp_ns, evidence)?;
            std::hint::black_box(grid.drivable());
            fastest = fastest.min(start.elapsed().as_secs_f64() * 1e3);
        }
        updates.push(fastest);
        let (width, height) = (first.width as usize, first.height as usize);
        let image = ImageView::from_rgb8(width, height, &frame.rgb)?;
        let luma_row = image.green_rows();
        let pitch_frame = PitchFrame {
            // As if one frame followed the other at 15 Hz: only then are they compared.
            stamp_ns: index as i64 * 66_666_667,
            camera: &camera,
            optical_in_fixed: optical,
            up: [0.0, 0.0, 1.0],
            luma_row: &luma_row,
            mask: &mask,
            surfaces: &surfaces,
        };
        for ((tracker, zero), times) in trackers.iter_mut().zip(zeros).zip(&mut corrections) {
            let before = tracker.clone();
            let mut fastest = f64::INFINITY;
            for _ in 0..REPEATS {
                *tracker = before.clone();
                let start = Instant::now();
                std::hint::black_box(tracker.pitch_rad(&pitch_frame, zero));
                fastest = fastest.min(start.elapsed().as_secs_f64() * 1e3);
            }
            times.push(fastest);
        }
    }
    println!(
        "grid update, 20 m x 20 m at 0.1 m, 1280x720, one core, {} frames, fastest of {REPEATS} each: \
         median {:.2} ms, p95 {:.2} ms",
        options.frames,
        at(&mut updates, 0.5),
        at(&mut updates, 0.95)
    );
    for (name, times) in ["image", "vanishing_point"].iter().zip(&mut corrections) {
        println!(
            "pitch_correction {name}: median {:.2} ms, p95 {:.2} ms",
            at(times, 0.5),
            at(times, 0.95)
        );
    }
    println!(
        "table of rays, 1280x720, one core: fastest of {REPEATS} {:.0} ms",
        tables.first().copied().unwrap_or(f64::NAN)
    );
    Ok(())
}

/// The value that a share of `values` does not exceed; NaN for none.
fn at(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len().saturating_sub(1) as f64 * share).round() as usize;
    values.get(place).copied().unwrap_or(f64::NAN)
}
