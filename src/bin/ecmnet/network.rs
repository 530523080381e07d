//! The options of every command that runs the network.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ecmnet_ros::segmenter::{DeviceChoice, NetworkSize, Segmenter, SegmenterOptions};
use ecmnet_ros::weights_path::{DEFAULT_WEIGHTS, weights_path};

#[derive(Debug, Args)]
pub(crate) struct NetworkArguments {
    /// Weights file; by default the CamVid weights that come with the package
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    /// Where the network runs: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    pub(crate) device: DeviceChoice,
    /// CPU threads; by default one for each core
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Size at which the network sees an image: native, train or HxW; by default train, for bench
    /// its --size
    #[arg(long, value_name = "SIZE")]
    pub(crate) network_size: Option<NetworkSize>,
}

impl NetworkArguments {
    /// Returns the weights file that was named, or the one that comes with the package.
    pub(crate) fn weights(&self) -> Result<PathBuf> {
        match &self.weights {
            Some(path) => Ok(path.clone()),
            None => Ok(weights_path(DEFAULT_WEIGHTS)?),
        }
    }

    /// Returns a segmenter; tells on standard error where `auto` did not take a GPU, and under
    /// which terms the weights may be used.
    pub(crate) fn segmenter(&self, default_size: NetworkSize) -> Result<Segmenter> {
        let segmenter = Segmenter::new(&SegmenterOptions {
            weights: self.weights()?,
            device: self.device,
            threads: self.threads.map(NonZeroUsize::get),
            network_size: self.network_size.unwrap_or(default_size),
        })?;
        if let Some(note) = segmenter.device_note() {
            eprintln!("note: running on the CPU, as {note}");
        }
        let licence = &segmenter.metadata().licence;
        if licence.starts_with("research-only") {
            eprintln!("note: the licence of these weights is: {licence}");
        }
        Ok(segmenter)
    }
}
