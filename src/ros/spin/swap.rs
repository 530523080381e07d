//! Parameters while the node runs, and the network that takes the place of another for them.

use std::mem;

use super::super::error::NodeError;
use super::super::loading::Loading;
use super::super::start_block::start_block;
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
}
