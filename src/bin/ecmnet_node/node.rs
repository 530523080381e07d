//! The command line of the node.

use std::process::ExitCode;

use clap::Parser;
use ecmnet_ros::ros::{self, NodeError, RosArguments};

/// Publishes label masks of a camera's images, by ECMNet.
///
/// All else is set by ROS arguments: `--ros-args -p weights:=FILE -r image:=/camera/image_raw`.
#[derive(Parser)]
#[command(name = "ecmnet_node", version)]
struct Arguments {
    /// Prints the parameters as a Markdown table, and ends.
    #[arg(long)]
    print_parameters: bool,
    /// Prints a parameter file with every default, and ends.
    #[arg(long, conflicts_with = "print_parameters")]
    print_params_file: bool,
}

/// Runs the node until it is told to end.
pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ecmnet_node: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}

#[allow(clippy::print_stdout, reason = "these flags ask for it")]
fn run() -> Result<(), NodeError> {
    let ros_arguments = RosArguments::of_process()?;
    let own = ros_arguments.own.iter().map(String::as_str);
    let arguments = Arguments::parse_from(["ecmnet_node"].into_iter().chain(own));
    if arguments.print_parameters {
        print!("{}", ros::params::markdown_table());
        return Ok(());
    }
    if arguments.print_params_file {
        print!("{}", ros::params::defaults_file());
        return Ok(());
    }
    ros::run(&ros_arguments)
}
