//! What the node does on its way from one lifecycle state to another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::bond::Bond;
use super::super::error::NodeError;
use super::super::lifecycle::{ChangeRequest, Outcome, State, StateMachine, Transition};
use super::super::loading::Loading;
use super::super::start_block::start_block;
use super::{CameraIntake, SpinThread};
use crate::segmenter::Segmenter;

/// How long a deactivation waits for the other side of the bond to part, too.
const PART_WITHIN: Duration = Duration::from_millis(500);

/// Where the node stands in its lifecycle.
pub(in super::super) struct Management {
    machine: StateMachine,
    /// Labels of the transitions that the node asks of itself.
    own_requests: VecDeque<&'static str>,
    under_way: Option<UnderWay>,
    activated: Instant,
    /// The bond of the last activation.
    pub(super) bond: Option<Bond>,
}

/// A transition that is not over.
struct UnderWay {
    /// `None` where the node itself asked.
    request: Option<ChangeRequest>,
    /// Why it failed, where its error is being processed.
    fault: Option<NodeError>,
    work: Work,
}

/// What a transition waits for.
enum Work {
    /// Its own beginning.
    Nothing,
    /// The network.
    Loading(Loading),
    /// The other side of the bond, until this moment.
    Parting { until: Instant },
    /// The frame that is in the network, after which the network is freed.
    Freeing(Option<Arc<Segmenter>>),
}

/// Why a transition was not done, and what the state machine makes of it.
struct Undone {
    outcome: Outcome,
    fault: NodeError,
}

impl Undone {
    /// The node is as it was before.
    fn failure(fault: NodeError) -> Self {
        let outcome = Outcome::Failure;
        Self { outcome, fault }
    }

    /// The node may have done half of it.
    fn error(fault: NodeError) -> Self {
        let outcome = Outcome::Error;
        Self { outcome, fault }
    }
}

impl Management {
    /// Returns the management of an unconfigured node, which goes on to active by itself or waits
    /// to be told.
    pub(in super::super) fn new(autostart: bool) -> Self {
        let own_requests = if autostart {
            VecDeque::from(["configure", "activate"])
        } else {
            VecDeque::new()
        };
        Self {
            machine: StateMachine::default(),
            own_requests,
            under_way: None,
            activated: Instant::now(),
            bond: None,
        }
    }

    /// Returns how long the node has been active; `None` where it is not.
    pub(super) fn active_for(&self) -> Option<Duration> {
        (self.machine.state() == State::Active).then(|| self.activated.elapsed())
    }

    /// Returns whether a transition is under way, or comes at once.
    pub(super) fn is_between_states(&self) -> bool {
        self.under_way.is_some() || !self.own_requests.is_empty()
    }

    /// Returns what is to be done next: a transition of the node's own accord.
    fn next_own(&mut self) -> Option<Transition> {
        let label = self.own_requests.pop_front()?;
        self.machine.requested(0, label)
    }
}

impl SpinThread {
    /// Answers lifecycle requests and goes on with the transition under way; errs where a transition
    /// that nobody else asked for cannot be done.
    pub(super) fn manage(&mut self) -> Result<(), NodeError> {
        self.wiring.lifecycle.answer(self.management.machine);
        if self.management.under_way.is_none() && self.swap.is_none() {
            if let Some(transition) = self.management.next_own() {
                self.begin(transition, None);
            } else if let Some(request) = self.wiring.lifecycle.next_change() {
                self.begin_requested(request);
            }
        }
        let Some(under_way) = self.management.under_way.take() else {
            return Ok(());
        };
        let UnderWay {
            request,
            fault,
            work,
        } = under_way;
        match self.progress(work) {
            Ok(None) => self.conclude(request, fault),
            Ok(Some(work)) => {
                self.management.under_way = Some(UnderWay {
                    request,
                    fault,
                    work,
                });
                Ok(())
            }
            Err(undone) => self.undo(request, undone),
        }
    }

    fn begin_requested(&mut self, request: ChangeRequest) {
        let asked = &request.message.transition;
        match (self.management.machine).requested(asked.id, &asked.label) {
            Some(transition) => self.begin(transition, Some(request)),
            None => {
                let state = self.management.machine.state().label();
                let (id, label) = (asked.id, &asked.label);
                let sentence =
                    format!("no transition {id} '{label}' leaves the state {state}: refused");
                self.log.warn(&sentence);
                self.wiring.lifecycle.conclude(request, false);
            }
        }
    }

    fn begin(&mut self, transition: Transition, request: Option<ChangeRequest>) {
        self.follow(transition);
        let work = match self.management.machine.state() {
            State::Deactivating => {
                self.deactivate();
                Work::Parting {
                    until: Instant::now() + PART_WITHIN,
                }
            }
            State::CleaningUp => Work::Freeing(self.take_network()),
            State::ShuttingDown => {
                self.deactivate();
                Work::Freeing(self.take_network())
            }
            _ => Work::Nothing,
        };
        self.management.under_way = Some(UnderWay {
            request,
            fault: None,
            work,
        });
    }

    /// Goes on with the work of the state that the node is in; `None` once it is done.
    fn progress(&mut self, work: Work) -> Result<Option<Work>, Undone> {
        match (work, self.management.machine.state()) {
            (Work::Nothing, State::Configuring) => {
                let loading = Loading::start(self.parameters.settings());
                Ok(Some(Work::Loading(loading)))
            }
            (Work::Nothing, State::Activating) => {
                self.activate();
                Ok(None)
            }
            (Work::Nothing, _) => Ok(None),
            (Work::Loading(loading), _) => match loading.outcome() {
                None => Ok(Some(Work::Loading(loading))),
                Some(loaded) => loaded
                    .map_err(Undone::failure)
                    .and_then(|segmenter| self.configure(segmenter))
                    .map(|()| None),
            },
            (Work::Parting { until }, _) => {
                let bond = self.management.bond.as_ref();
                let over = bond.is_none_or(Bond::is_dead) || Instant::now() >= until;
                Ok((!over).then_some(Work::Parting { until }))
            }
            (Work::Freeing(network), _) => {
                let in_use = |network: &Arc<Segmenter>| Arc::strong_count(network) > 1;
                let waits = network.as_ref().is_some_and(in_use) || self.has_retired_networks();
                Ok(waits.then_some(Work::Freeing(network)))
            }
        }
    }

    /// Ends a transition, or the processing of its error, and answers who asked for it.
    fn conclude(
        &mut self,
        request: Option<ChangeRequest>,
        fault: Option<NodeError>,
    ) -> Result<(), NodeError> {
        self.follow_outcome(Outcome::Success);
        self.answer(request, fault)
    }

    /// Takes back what was done of a transition.
    fn undo(&mut self, request: Option<ChangeRequest>, undone: Undone) -> Result<(), NodeError> {
        let Undone { outcome, fault } = undone;
        self.follow_outcome(outcome);
        if self.management.machine.state() != State::ErrorProcessing {
            return self.answer(request, Some(fault));
        }
        self.deactivate();
        self.management.under_way = Some(UnderWay {
            request,
            fault: Some(fault),
            work: Work::Freeing(self.take_network()),
        });
        Ok(())
    }

    fn answer(
        &mut self,
        request: Option<ChangeRequest>,
        fault: Option<NodeError>,
    ) -> Result<(), NodeError> {
        let sentence = fault.as_ref().map(ToString::to_string);
        self.shared.surroundings.send_modify(|surroundings| {
            surroundings.fault.clone_from(&sentence);
        });
        match (request, fault) {
            (Some(request), None) => self.wiring.lifecycle.conclude(request, true),
            (Some(request), Some(fault)) => {
                self.log.error(&fault.to_string());
                self.wiring.lifecycle.conclude(request, false);
            }
            (None, None) => {}
            (None, Some(fault)) => return Err(fault),
        }
        Ok(())
    }

    fn follow_outcome(&mut self, outcome: Outcome) {
        if let Some(transition) = self.management.machine.transition_of(outcome) {
            self.follow(transition);
        }
    }

    fn follow(&mut self, transition: Transition) {
        self.management.machine.follow(transition);
        self.wiring.lifecycle.announce(transition);
        let state = self.management.machine.state();
        if state.is_primary() {
            self.log.info(&format!("the node is {}", state.label()));
        }
        self.shared
            .surroundings
            .send_modify(|surroundings| surroundings.state = state);
    }

    /// Takes a network that has been loaded; nothing is kept of one whose classes do not fit.
    fn configure(&mut self, segmenter: Segmenter) -> Result<(), Undone> {
        self.parameters
            .admit_classes(segmenter.classes().clone())
            .map_err(|refusal| {
                self.parameters.forget_classes();
                Undone::failure(refusal.into())
            })?;
        self.log
            .info(&start_block(&self.resolver, &self.parameters, &segmenter));
        self.put_network(segmenter).map_err(Undone::error)
    }

    fn activate(&mut self) {
        let now = Instant::now();
        // A bond that is still parting would tell the new one's other side that this one is dead.
        self.management.bond = (self.parameters.settings().bond_times())
            .map(|times| Bond::start(self.resolver.name(), times, now));
        self.management.activated = now;
        self.looked = None;
        self.shared.open();
    }

    fn deactivate(&mut self) {
        self.shared.close();
        for camera in self.wiring.cameras.each_mut() {
            *camera = CameraIntake::default();
        }
        self.wiring.transforms = None;
        self.shared.placement.clear();
        self.shared.surroundings.send_modify(|surroundings| {
            for camera in surroundings.cameras.each_mut() {
                camera.camera_info.clear();
            }
        });
        self.break_bond();
    }
}
