//! Requests to set parameters, one after the other: one that asks for another network is answered
//! once that is loaded, or cannot be.

use std::collections::VecDeque;

use r2r::rcl_interfaces::msg::{
    Parameter as ParameterMessage, ParameterEvent, SetParametersResult,
};
use r2r::rcl_interfaces::srv::{SetParameters, SetParametersAtomically};
use r2r::{Publisher, QosProfile, ServiceRequest};

use super::super::clock::time_from_stamp;
use super::super::error::NodeError;
use super::super::log::Log;
use super::super::params::{PARAMETERS, Parameters, Value};
use super::super::requests::{Requests, next, reply, service};
use super::Asked;
use super::messages::{message, value_from_message};
use crate::msg::Stamp;

/// The two services that set parameters, and `/parameter_events`.
pub(super) struct Setting {
    node: String,
    log: Log,
    set: Requests<SetParameters::Service>,
    set_atomically: Requests<SetParametersAtomically::Service>,
    events: Publisher<ParameterEvent>,
    job: Option<Job>,
}

/// A request that is not answered yet.
struct Job {
    from: Asker,
    /// Changes that are taken whole or not at all.
    left: VecDeque<Vec<(String, Value)>>,
    results: Vec<SetParametersResult>,
    /// What the network is being loaded for: the names that change, and the values then.
    loading: Option<(Vec<String>, Parameters)>,
}

/// Who is to be answered.
enum Asker {
    Each(ServiceRequest<SetParameters::Service>),
    Atomically(ServiceRequest<SetParametersAtomically::Service>),
}

impl Setting {
    /// Creates the services below the node's name, and announces every parameter as new.
    pub(super) fn create(
        node: &mut r2r::Node,
        log: Log,
        parameters: &Parameters,
        stamp: Stamp,
    ) -> Result<Self, NodeError> {
        let qos = QosProfile::parameters;
        let setting = Self {
            node: node
                .fully_qualified_name()
                .map_err(NodeError::ros("name the node"))?,
            log,
            set: service::<SetParameters::Service>(node, "~/set_parameters", qos())?,
            set_atomically: service::<SetParametersAtomically::Service>(
                node,
                "~/set_parameters_atomically",
                qos(),
            )?,
            events: node
                .create_publisher("/parameter_events", QosProfile::parameter_events())
                .map_err(NodeError::ros("create the publisher of /parameter_events"))?,
            job: None,
        };
        let new_parameters = PARAMETERS
            .iter()
            .filter_map(|parameter| message(parameter.name, parameters))
            .collect();
        setting.announce(ParameterEvent {
            new_parameters,
            ..setting.event(stamp)
        });
        Ok(setting)
    }

    /// Sets what has been asked for, up to a change that needs a network.
    pub(super) fn serve(&mut self, parameters: &mut Parameters, stamp: Stamp) -> Asked {
        let mut asked = Asked::default();
        while let Some(mut job) = self.job.take().or_else(|| self.next_job()) {
            if job.loading.is_some() {
                self.job = Some(job);
                break;
            }
            let Some(changes) = job.left.pop_front() else {
                self.answer(job);
                continue;
            };
            let names = changes.iter().map(|(name, _)| name.clone()).collect();
            match parameters.with_changes(&changes) {
                Err(refusal) => job.results.push(refused(refusal.to_string())),
                Ok(changed) if changed.loads => {
                    asked.load = Some(changed.parameters.settings().clone());
                    job.loading = Some((names, changed.parameters));
                }
                Ok(changed) => {
                    *parameters = changed.parameters;
                    asked.change = true;
                    job.results.push(self.granted(&names, parameters, stamp));
                }
            }
            self.job = Some(job);
        }
        asked
    }

    /// Returns the parameters that a network is being loaded for.
    pub(super) fn candidate(&self) -> Option<Parameters> {
        let (_, parameters) = self.job.as_ref()?.loading.as_ref()?;
        Some(parameters.clone())
    }

    /// Ends the wait for a network.
    pub(super) fn conclude_loading(
        &mut self,
        loaded: Result<(), String>,
        parameters: &Parameters,
        stamp: Stamp,
    ) {
        let Some(mut job) = self.job.take() else {
            return;
        };
        if let Some((names, _)) = job.loading.take() {
            job.results.push(match loaded {
                Ok(()) => self.granted(&names, parameters, stamp),
                Err(reason) => refused(format!("{reason}; the network in use stays")),
            });
        }
        self.job = Some(job);
    }

    fn next_job(&mut self) -> Option<Job> {
        let job = |from, left| Job {
            from,
            left,
            results: Vec::new(),
            loading: None,
        };
        if let Some(request) = next(&mut self.set) {
            let each = |change: &ParameterMessage| vec![change_from_message(change)];
            let left = request.message.parameters.iter().map(each).collect();
            return Some(job(Asker::Each(request), left));
        }
        let request = next(&mut self.set_atomically)?;
        let all = request.message.parameters.iter().map(change_from_message);
        let left = VecDeque::from([all.collect()]);
        Some(job(Asker::Atomically(request), left))
    }

    fn answer(&self, job: Job) {
        let mut results = job.results;
        match job.from {
            Asker::Each(request) => reply(&self.log, request, SetParameters::Response { results }),
            Asker::Atomically(request) => {
                let result = results.pop().unwrap_or_default();
                reply(
                    &self.log,
                    request,
                    SetParametersAtomically::Response { result },
                );
            }
        }
    }

    /// Announces parameters that have changed.
    fn granted(
        &self,
        names: &[String],
        parameters: &Parameters,
        stamp: Stamp,
    ) -> SetParametersResult {
        let changed = names.iter().filter_map(|name| message(name, parameters));
        self.announce(ParameterEvent {
            changed_parameters: changed.collect(),
            ..self.event(stamp)
        });
        SetParametersResult {
            successful: true,
            reason: String::new(),
        }
    }

    fn event(&self, stamp: Stamp) -> ParameterEvent {
        ParameterEvent {
            stamp: time_from_stamp(stamp),
            node: self.node.clone(),
            ..Default::default()
        }
    }

    fn announce(&self, event: ParameterEvent) {
        if let Err(error) = self.events.publish(&event) {
            let sentence = format!("a parameter event was not published: {error}");
            self.log.warn_throttled("parameter_events", &sentence);
        }
    }
}

fn change_from_message(change: &ParameterMessage) -> (String, Value) {
    (
        change.name.clone(),
        value_from_message(change.value.clone()),
    )
}

fn refused(reason: String) -> SetParametersResult {
    SetParametersResult {
        successful: false,
        reason,
    }
}
