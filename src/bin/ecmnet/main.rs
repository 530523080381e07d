//! `ecmnet`: segment images, score drives, measure and inspect, without a ROS graph.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod doctor;
mod eval;
mod info;
mod network;
mod output;
mod progress;
mod segment;
mod world;

/// Version and commit, as `--version` prints them.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ECMNET_COMMIT"), ")");

/// ECMNet semantic segmentation: images in, label masks out.
#[derive(Debug, Parser)]
#[command(name = "ecmnet", version = VERSION, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Segment images: DIR/<name>_labels.png (8-bit class ids) and DIR/<name>_overlay.png
    Segment(segment::Arguments),
    /// Score masks against the labels of a rosbag2 bag or of a list of files
    Eval(Box<eval::Arguments>),
    /// Measure the time from an image on the host to its mask on the host
    Bench(bench::Arguments),
    /// Say what is in a weights file
    Info(info::Arguments),
    /// Check what this machine offers: ROS 2, weights, processor, GPU
    Doctor(doctor::Arguments),
    /// Record a drive through a made world, with true labels and drivable area, as a rosbag2 bag
    World(world::Arguments),
}

/// Exit status 0, 1 where something failed, 2 where the command line is wrong (clap's own).
fn main() -> ExitCode {
    let command = CommandLine::parse().command;
    let result = match &command {
        Command::Segment(arguments) => segment::run(arguments),
        Command::Eval(arguments) => eval::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Info(arguments) => info::run(arguments),
        Command::Doctor(arguments) => doctor::run(arguments),
        Command::World(arguments) => world::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", output::sentence(&error));
            ExitCode::FAILURE
        }
    }
}
