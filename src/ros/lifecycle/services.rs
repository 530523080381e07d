//! The five services by which others manage the node, and `~/transition_event`.

use r2r::lifecycle_msgs::msg::{
    State as StateMessage, Transition as TransitionMessage, TransitionDescription, TransitionEvent,
};
use r2r::lifecycle_msgs::srv::{
    ChangeState, GetAvailableStates, GetAvailableTransitions, GetState,
};
use r2r::{Publisher, QosProfile, ServiceRequest};

use super::super::error::NodeError;
use super::super::log::Log;
use super::super::requests::{Requests, next, reply, service};
use super::{STATES, State, StateMachine, TRANSITIONS, Transition};

/// A request for a transition, to be answered once it is over.
pub(in super::super) type ChangeRequest = ServiceRequest<ChangeState::Service>;

/// The services of one node; all of rcl's default QoS.
pub(in super::super) struct LifecycleServices {
    log: Log,
    change_state: Requests<ChangeState::Service>,
    get_state: Requests<GetState::Service>,
    get_available_states: Requests<GetAvailableStates::Service>,
    get_available_transitions: Requests<GetAvailableTransitions::Service>,
    get_transition_graph: Requests<GetAvailableTransitions::Service>,
    events: Publisher<TransitionEvent>,
}

impl LifecycleServices {
    /// Creates the services and the topic below the node's name.
    pub(in super::super) fn create(node: &mut r2r::Node, log: Log) -> Result<Self, NodeError> {
        let qos = QosProfile::services_default;
        Ok(Self {
            log,
            change_state: service::<ChangeState::Service>(node, "~/change_state", qos())?,
            get_state: service::<GetState::Service>(node, "~/get_state", qos())?,
            get_available_states: service::<GetAvailableStates::Service>(
                node,
                "~/get_available_states",
                qos(),
            )?,
            get_available_transitions: service::<GetAvailableTransitions::Service>(
                node,
                "~/get_available_transitions",
                qos(),
            )?,
            get_transition_graph: service::<GetAvailableTransitions::Service>(
                node,
                "~/get_transition_graph",
                qos(),
            )?,
            events: node
                .create_publisher("~/transition_event", QosProfile::default())
                .map_err(NodeError::ros("create the publisher of transition_event"))?,
        })
    }

    /// Answers every question that has come.
    pub(in super::super) fn answer(&mut self, machine: StateMachine) {
        while let Some(request) = next(&mut self.get_state) {
            let current_state = state_message(machine.state());
            reply(&self.log, request, GetState::Response { current_state });
        }
        while let Some(request) = next(&mut self.get_available_states) {
            let available_states = STATES.map(state_message).to_vec();
            reply(
                &self.log,
                request,
                GetAvailableStates::Response { available_states },
            );
        }
        while let Some(request) = next(&mut self.get_available_transitions) {
            reply(&self.log, request, described(machine.available()));
        }
        while let Some(request) = next(&mut self.get_transition_graph) {
            reply(&self.log, request, described(TRANSITIONS.into_iter()));
        }
    }

    /// Returns the next request for a transition; those behind it wait for it to be over.
    pub(in super::super) fn next_change(&mut self) -> Option<ChangeRequest> {
        next(&mut self.change_state)
    }

    /// Answers a request for a transition.
    pub(in super::super) fn conclude(&self, request: ChangeRequest, success: bool) {
        reply(&self.log, request, ChangeState::Response { success });
    }

    /// Publishes that the node has gone from one state to another. As with rcl, whose event this is,
    /// the time and the transition stay empty.
    pub(in super::super) fn announce(&self, transition: Transition) {
        let event = TransitionEvent {
            start_state: state_message(transition.start),
            goal_state: state_message(transition.goal),
            ..Default::default()
        };
        if let Err(error) = self.events.publish(&event) {
            let sentence = format!("a transition event was not published: {error}");
            self.log.warn_throttled("transition_events", &sentence);
        }
    }
}

fn described(transitions: impl Iterator<Item = Transition>) -> GetAvailableTransitions::Response {
    GetAvailableTransitions::Response {
        available_transitions: transitions.map(description).collect(),
    }
}

fn description(transition: Transition) -> TransitionDescription {
    TransitionDescription {
        transition: TransitionMessage {
            id: transition.id,
            label: transition.label.to_owned(),
        },
        start_state: state_message(transition.start),
        goal_state: state_message(transition.goal),
    }
}

fn state_message(state: State) -> StateMessage {
    StateMessage {
        id: state as u8,
        label: state.label().to_owned(),
    }
}
