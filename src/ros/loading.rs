//! A network that is loaded on a thread of its own, while the node goes on.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

use super::error::NodeError;
use super::params::{ParameterError, Settings};
use crate::segmenter::{Segmenter, SegmenterOptions};

/// A network on its way.
#[derive(Debug)]
pub(super) struct Loading {
    loaded: Receiver<Result<Segmenter, NodeError>>,
}

impl Loading {
    /// Begins to load what the settings name.
    pub(super) fn start(settings: &Settings) -> Self {
        let settings = settings.clone();
        let (sender, loaded) = channel();
        let refused = sender.clone();
        let thread = thread::Builder::new()
            .name("loading".into())
            .spawn(move || {
                // Where the node has ended, nobody waits for it.
                let _unwanted = sender.send(load(&settings));
            });
        if let Err(source) = thread {
            let what = "start a thread";
            let _kept = refused.send(Err(NodeError::System { what, source }));
        }
        Self { loaded }
    }

    /// Returns the network once it is loaded, or why it cannot be; `None` until then.
    pub(super) fn outcome(&self) -> Option<Result<Segmenter, NodeError>> {
        match self.loaded.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(NodeError::Thread { thread: "loading" })),
        }
    }
}

fn load(settings: &Settings) -> Result<Segmenter, NodeError> {
    Ok(Segmenter::new(&segmenter_options(settings)?)?)
}

fn segmenter_options(settings: &Settings) -> Result<SegmenterOptions, NodeError> {
    if settings.weights.is_empty() {
        return Err(NodeError::NoWeights);
    }
    let unusable = |name| move |reason| ParameterError::Value { name, reason };
    Ok(SegmenterOptions {
        weights: PathBuf::from(&settings.weights),
        device: settings.device.parse().map_err(unusable("device"))?,
        threads: usize::try_from(settings.threads).ok().filter(|n| *n > 0),
        network_size: settings
            .network_size
            .parse()
            .map_err(unusable("network_size"))?,
    })
}
