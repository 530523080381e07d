//! The network in use: given to the inference thread, taken from it, and changed for another while
//! the node runs, where parameters ask for that.

use std::mem;
use std::sync::Arc;

use super::super::diagnostics::NetworkIdentity;
use super::super::error::NodeError;
use super::super::loading::Loading;
use super::super::start_block::{device, start_block};
use super::SpinThread;
use crate::segmenter::Segmenter;

impl SpinThread {
    /// Answers parameter requests; errs where ROS refuses simulated time.
    ///
    /// Nothing is set while a transition is under way, and none begins while a network is loaded:
    /// whoever asks for one has to wait for the other.
    pub(super) fn serve_parameters(&mut self) -> Result<(), NodeError> {
        self.wiring.services.answer(&self.parameters);
        let stamp = self.wiring.clock.now().unwrap_or_default();
        if let Some(loading) = &self.swap {
            let Some(loaded) = loading.outcome() else {
                return Ok(());
            };
            self.swap = None;
            let swapped = loaded.and_then(|segmenter| self.swap_network(segmenter));
            let told = swapped.map_err(|error| error.to_string());
            if let Err(reason) = &told {
                self.log
                    .warn(&format!("{reason}; the network in use stays"));
            }
            self.wiring
                .services
                .conclude_loading(told, &self.parameters, stamp);
            self.wiring.follow_time(&self.parameters)?;
        }
        if self.management.is_between_states() {
            return Ok(());
        }
        let asked = self.wiring.services.set(&mut self.parameters, stamp);
        if let Some(settings) = asked.load {
            self.swap = Some(Loading::start(&settings));
        }
        if asked.change {
            self.renew_choices();
            self.wiring.follow_time(&self.parameters)?;
        }
        Ok(())
    }

    /// Puts a network into the place of the old one, with the parameters that it was loaded for.
    fn swap_network(&mut self, segmenter: Segmenter) -> Result<(), NodeError> {
        // Where the ROS node was renewed since, whoever asked is gone with the old one.
        let Some(mut parameters) = self.wiring.services.candidate() else {
            return Ok(());
        };
        parameters.admit_classes(segmenter.classes().clone())?;
        let before = mem::replace(&mut self.parameters, parameters);
        let block = start_block(&self.resolver, &self.parameters, &segmenter);
        if let Err(error) = self.put_network(segmenter) {
            self.parameters = before;
            return Err(error);
        }
        self.log.info(&block);
        Ok(())
    }

    /// Takes the network from the inference thread, which may still have a frame in it.
    pub(super) fn take_network(&mut self) -> Option<Arc<Segmenter>> {
        self.parameters.forget_classes();
        self.shared
            .surroundings
            .send_modify(|surroundings| surroundings.network = None);
        Some(self.choices.send_replace(None)?.segmenter)
    }

    /// Gives the inference thread a network, from its next frame on, and tells its classes.
    pub(super) fn put_network(&mut self, segmenter: Segmenter) -> Result<(), NodeError> {
        self.shared.outputs().publish_classes(segmenter.classes())?;
        let network = NetworkIdentity {
            device: device(&segmenter),
            dtype: segmenter.dtype(),
            weights_sha256: segmenter.weights_sha256().to_owned(),
            weights_licence: segmenter.metadata().licence.clone(),
        };
        self.shared
            .surroundings
            .send_modify(|surroundings| surroundings.network = Some(network));
        let choices = Some(self.choices_of(Arc::new(segmenter)));
        if let Some(old) = self.choices.send_replace(choices) {
            self.retired.retain(|network| network.strong_count() > 0);
            self.retired.push(Arc::downgrade(&old.segmenter));
        }
        Ok(())
    }

    /// Returns whether a network is still there whose place another one took: the inference thread
    /// ends its frame with the network that it began it with.
    pub(super) fn has_retired_networks(&self) -> bool {
        (self.retired.iter()).any(|network| network.strong_count() > 0)
    }
}
