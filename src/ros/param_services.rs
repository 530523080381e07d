//! The six parameter services of rcl_interfaces, and `/parameter_events`.

mod messages;
mod setting;

use r2r::QosProfile;
use r2r::rcl_interfaces::srv::{
    DescribeParameters, GetParameterTypes, GetParameters, ListParameters,
};

use super::error::NodeError;
use super::log::Log;
use super::params::{Parameters, Settings};
use super::requests::{Requests, next, reply, service};
use crate::msg::Stamp;

pub(super) use messages::value_from_override;
use messages::{descriptor, listed, value_message};
use setting::Setting;

/// The services of one node.
pub(super) struct ParameterServices {
    log: Log,
    get: Requests<GetParameters::Service>,
    get_types: Requests<GetParameterTypes::Service>,
    describe: Requests<DescribeParameters::Service>,
    list: Requests<ListParameters::Service>,
    setting: Setting,
}

/// What requests to set parameters have come to.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Whether parameters have changed.
    pub change: bool,
    /// A network that is to be loaded with these settings; nothing further is set until
    /// [`ParameterServices::conclude_loading`].
    pub load: Option<Settings>,
}

impl ParameterServices {
    /// Creates the services below the node's name, and announces every parameter as new.
    pub(super) fn create(
        node: &mut r2r::Node,
        log: Log,
        parameters: &Parameters,
        stamp: Stamp,
    ) -> Result<Self, NodeError> {
        let qos = QosProfile::parameters;
        Ok(Self {
            log: log.clone(),
            get: service::<GetParameters::Service>(node, "~/get_parameters", qos())?,
            get_types: service::<GetParameterTypes::Service>(node, "~/get_parameter_types", qos())?,
            describe: service::<DescribeParameters::Service>(node, "~/describe_parameters", qos())?,
            list: service::<ListParameters::Service>(node, "~/list_parameters", qos())?,
            setting: Setting::create(node, log, parameters, stamp)?,
        })
    }

    /// Answers the questions that have come, without waiting.
    pub(super) fn answer(&mut self, parameters: &Parameters) {
        while let Some(request) = next(&mut self.get) {
            let value = |name: &String| value_message(parameters.get(name));
            let values = request.message.names.iter().map(value).collect();
            reply(&self.log, request, GetParameters::Response { values });
        }
        while let Some(request) = next(&mut self.get_types) {
            let type_of = |name: &String| value_message(parameters.get(name)).type_;
            let types = request.message.names.iter().map(type_of).collect();
            reply(&self.log, request, GetParameterTypes::Response { types });
        }
        while let Some(request) = next(&mut self.describe) {
            let names = &request.message.names;
            let descriptors = names.iter().map(|name| descriptor(name)).collect();
            reply(
                &self.log,
                request,
                DescribeParameters::Response { descriptors },
            );
        }
        while let Some(request) = next(&mut self.list) {
            let ListParameters::Request { prefixes, depth } = &request.message;
            let result = listed(prefixes, *depth);
            reply(&self.log, request, ListParameters::Response { result });
        }
    }

    /// Sets what has been asked for; changed parameters are announced with `stamp`.
    pub(super) fn set(&mut self, parameters: &mut Parameters, stamp: Stamp) -> Asked {
        self.setting.serve(parameters, stamp)
    }

    /// Returns the parameters as they are to be once the network that they ask for is loaded.
    pub(super) fn candidate(&self) -> Option<Parameters> {
        self.setting.candidate()
    }

    /// Tells what became of the network that was to be loaded: with `Ok` the parameters hold that
    /// it was loaded for, else they stay as they were for the reason given.
    pub(super) fn conclude_loading(
        &mut self,
        loaded: Result<(), String>,
        parameters: &Parameters,
        stamp: Stamp,
    ) {
        self.setting.conclude_loading(loaded, parameters, stamp);
    }
}
