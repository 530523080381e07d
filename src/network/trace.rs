//! The named intermediates of one forward pass, for comparison with the reference network.

use std::fmt::Display;

use candle_core::Tensor;

use super::layers::ChannelOrder;
use crate::error::Result;

/// Collects intermediates, or nothing in an ordinary forward pass.
#[derive(Debug, Default)]
pub(crate) struct Trace(Option<Vec<(String, Tensor)>>);

impl Trace {
    /// Returns a trace that keeps nothing.
    pub(crate) fn off() -> Self {
        Self(None)
    }

    /// Returns a trace that keeps what it is given.
    pub(crate) fn on() -> Self {
        Self(Some(Vec::new()))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Keeps `tensor` under `name`.
    pub(crate) fn add(&mut self, name: impl Display, tensor: &Tensor) -> Result<()> {
        if let Some(kept) = &mut self.0 {
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
        self.0.unwrap_or_default()
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
