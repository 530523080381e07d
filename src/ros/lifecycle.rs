//! The states of a managed node and the transitions between them: the state machine of
//! rcl_lifecycle, with its numbers, labels and order.
//!
//! <https://design.ros2.org/articles/node_lifecycle.html>

mod services;

pub(super) use services::{ChangeRequest, LifecycleServices};

/// A state of a managed node; the values are those of `lifecycle_msgs/State`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// No node is ever in it.
    Unknown = 0,
    /// The network is not loaded.
    #[default]
    Unconfigured = 1,
    /// The network is loaded, and nothing is published.
    Inactive = 2,
    /// Masks are published.
    Active = 3,
    /// All is freed for good.
    Finalized = 4,
    /// On the way from unconfigured to inactive.
    Configuring = 10,
    /// On the way from inactive to unconfigured.
    CleaningUp = 11,
    /// On the way to finalized.
    ShuttingDown = 12,
    /// On the way from inactive to active.
    Activating = 13,
    /// On the way from active to inactive.
    Deactivating = 14,
    /// A transition went wrong.
    ErrorProcessing = 15,
}

use State::{
    Activating, Active, CleaningUp, Configuring, Deactivating, ErrorProcessing, Finalized,
    Inactive, ShuttingDown, Unconfigured, Unknown,
};

/// Every state, in rcl's order.
pub(super) const STATES: [State; 11] = [
    Unknown,
    Unconfigured,
    Inactive,
    Active,
    Finalized,
    Configuring,
    CleaningUp,
    ShuttingDown,
    Activating,
    Deactivating,
    ErrorProcessing,
];

impl State {
    /// Returns the state's name.
    pub(super) fn label(self) -> &'static str {
        match self {
            Unknown => "unknown",
            Unconfigured => "unconfigured",
            Inactive => "inactive",
            Active => "active",
            Finalized => "finalized",
            Configuring => "configuring",
            CleaningUp => "cleaningup",
            ShuttingDown => "shuttingdown",
            Activating => "activating",
            Deactivating => "deactivating",
            ErrorProcessing => "errorprocessing",
        }
    }

    /// Returns whether it is one that a node stays in until it is told to leave it.
    pub(super) fn is_primary(self) -> bool {
        matches!(self, Unconfigured | Inactive | Active | Finalized)
    }
}

/// A way from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    /// Its number, from `lifecycle_msgs/Transition`.
    pub id: u8,
    /// Its name, which transitions from other states may share.
    pub label: &'static str,
    /// The state that it leaves.
    pub start: State,
    /// The state that it leads to.
    pub goal: State,
}

/// How what a transition asks for came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was done.
    Success,
    /// It could not be done, and the node is as it was before.
    Failure,
    /// It was done in part: all must be undone.
    Error,
}

impl Outcome {
    /// Returns the label of the transition that it leads to.
    fn label(self) -> &'static str {
        match self {
            Self::Success => SUCCESS,
            Self::Failure => FAILURE,
            Self::Error => ERROR,
        }
    }
}

const SUCCESS: &str = "transition_success";
const FAILURE: &str = "transition_failure";
const ERROR: &str = "transition_error";

/// Every transition, in rcl's order.
pub(super) const TRANSITIONS: [Transition; 25] = [
    way(1, "configure", Unconfigured, Configuring),
    way(10, SUCCESS, Configuring, Inactive),
    way(11, FAILURE, Configuring, Unconfigured),
    way(12, ERROR, Configuring, ErrorProcessing),
    way(2, "cleanup", Inactive, CleaningUp),
    way(20, SUCCESS, CleaningUp, Unconfigured),
    way(21, FAILURE, CleaningUp, Inactive),
    way(22, ERROR, CleaningUp, ErrorProcessing),
    way(3, "activate", Inactive, Activating),
    way(30, SUCCESS, Activating, Active),
    way(31, FAILURE, Activating, Inactive),
    way(32, ERROR, Activating, ErrorProcessing),
    way(4, "deactivate", Active, Deactivating),
    way(40, SUCCESS, Deactivating, Inactive),
    way(41, FAILURE, Deactivating, Active),
    way(42, ERROR, Deactivating, ErrorProcessing),
    way(5, "shutdown", Unconfigured, ShuttingDown),
    way(6, "shutdown", Inactive, ShuttingDown),
    way(7, "shutdown", Active, ShuttingDown),
    way(50, SUCCESS, ShuttingDown, Finalized),
    way(51, FAILURE, ShuttingDown, Finalized),
    way(52, ERROR, ShuttingDown, ErrorProcessing),
    way(60, SUCCESS, ErrorProcessing, Unconfigured),
    way(61, FAILURE, ErrorProcessing, Finalized),
    way(62, ERROR, ErrorProcessing, Finalized),
];

const fn way(id: u8, label: &'static str, start: State, goal: State) -> Transition {
    Transition {
        id,
        label,
        start,
        goal,
    }
}

/// The state that a node is in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StateMachine {
    state: State,
}

impl StateMachine {
    /// Returns the state.
    pub(super) fn state(self) -> State {
        self.state
    }

    /// Returns the transitions that leave the state.
    pub(super) fn available(self) -> impl Iterator<Item = Transition> {
        TRANSITIONS
            .into_iter()
            .filter(move |transition| transition.start == self.state)
    }

    /// Returns the transition of this number that leaves the state, or of this label where one is
    /// given: a label comes before the number, which a caller who names it leaves at 0.
    pub(super) fn requested(self, id: u8, label: &str) -> Option<Transition> {
        self.available().find(|transition| match label {
            "" => transition.id == id,
            _ => transition.label == label,
        })
    }

    /// Goes to the transition's goal; one that does not leave the state changes nothing.
    pub(super) fn follow(&mut self, transition: Transition) {
        if transition.start == self.state {
            self.state = transition.goal;
        }
    }

    /// Returns the transition that an outcome leads to; `None` in a state that asks for nothing.
    pub(super) fn transition_of(self, outcome: Outcome) -> Option<Transition> {
        self.available()
            .find(|transition| transition.label == outcome.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the states that a node goes through: each label is a transition from the one before.
    fn states_through(labels: &[&str]) -> Option<Vec<State>> {
        let mut machine = StateMachine::default();
        labels
            .iter()
            .map(|label| {
                machine.follow(machine.requested(0, label)?);
                Some(machine.state())
            })
            .collect()
    }

    #[test]
    fn a_node_comes_up_and_down_again() {
        let up_and_down = [
            "configure",
            SUCCESS,
            "activate",
            SUCCESS,
            "deactivate",
            SUCCESS,
            "cleanup",
            SUCCESS,
            "shutdown",
            SUCCESS,
        ];
        let states = states_through(&up_and_down).unwrap_or_default();
        let expected = [
            Configuring,
            Inactive,
            Activating,
            Active,
            Deactivating,
            Inactive,
            CleaningUp,
            Unconfigured,
            ShuttingDown,
            Finalized,
        ];
        assert_eq!(states, expected);
    }

    #[test]
    fn failures_go_back_and_errors_are_processed() {
        let last = |labels: &[&str]| states_through(labels)?.pop();
        assert_eq!(last(&["configure", FAILURE]), Some(Unconfigured));
        assert_eq!(
            last(&["configure", SUCCESS, "activate", ERROR, SUCCESS]),
            Some(Unconfigured)
        );
        assert_eq!(last(&["configure", ERROR, FAILURE]), Some(Finalized));
        assert_eq!(last(&["activate"]), None);
        assert_eq!(last(&["shutdown", SUCCESS, "configure"]), None);
    }

    #[test]
    fn a_label_comes_before_a_number() {
        let machine = StateMachine::default();
        let id = |id, label| machine.requested(id, label).map(|found| found.id);
        assert_eq!(id(1, ""), Some(1));
        assert_eq!(id(0, "shutdown"), Some(5));
        assert_eq!(id(1, "shutdown"), Some(5));
        assert_eq!(id(1, "activate"), None);
        assert_eq!(id(3, ""), None);
    }
}
