//! The named intermediates of one forward pass, for comparison with the reference network, and its
//! stages' times.

use std::fmt::Display;
use std::time::{Duration, Instant};

use candle_core::Tensor;

use super::layers::ChannelOrder;
use crate::error::Result;

/// What a forward pass keeps of its way besides its result.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    tensors: Option<Vec<(String, Tensor)>>,
    /// The stages that have ended, and when.
    stages: Vec<(&'static str, Instant)>,
}

impl Trace {
    /// Returns a trace that keeps no tensors.
    pub(crate) fn off() -> Self {
        Self::default()
    }

    /// Returns a trace that keeps what it is given.
    pub(crate) fn on() -> Self {
        Self {
            tensors: Some(Vec::new()),
            ..Self::default()
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.tensors.is_some()
    }

    /// Notes that the stage `name` has ended.
    pub(crate) fn stage_ended(&mut self, name: &'static str) {
        self.stages.push((name, Instant::now()));
    }

    /// Returns how long each stage took, the first from `start`.
    pub(crate) fn stage_times(&self, start: Instant) -> Vec<(&'static str, Duration)> {
        let starts = std::iter::once(start).chain(self.stages.iter().map(|(_, end)| *end));
        starts
            .zip(&self.stages)
            .map(|(start, (name, end))| (*name, *end - start))
            .collect()
    }

    /// Keeps `tensor` under `name`.
    pub(crate) fn add(&mut self, name: impl Display, tensor: &Tensor) -> Result<()> {
        if let Some(kept) = &mut self.tensors {
            kept.push((name.to_string(), tensor.copy()?));
        }
        Ok(())
    }

    /// Keeps `tensor` with its channels, which lie in `order`, brought into the reference's.
    pub(crate) fn add_in_order(
        &mut self,
        name: impl Display,
        tensor: &Tensor,
        order: &ChannelOrder,
    ) -> Result<()> {
        if self.is_on() {
            self.add(name, &in_natural_order(tensor, order)?)?;
        }
        Ok(())
    }

    /// Returns the intermediates in the order they were computed.
    pub(crate) fn into_tensors(self) -> Vec<(String, Tensor)> {
        self.tensors.unwrap_or_default()
    }
}

/// Returns a copy of `tensor` with its channels, which lie in `order`, in the reference's order.
pub(crate) fn in_natural_order(tensor: &Tensor, order: &ChannelOrder) -> Result<Tensor> {
    let places: Vec<u32> = order
        .places()
        .into_iter()
        .map(|place| place as u32)
        .collect();
    let places = Tensor::from_vec(places, order.len(), tensor.device())?;
    Ok(tensor.index_select(&places, 1)?)
}
