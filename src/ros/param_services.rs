//! The six parameter services of rcl_interfaces, and `/parameter_events`.

use r2r::rcl_interfaces::msg::{
    FloatingPointRange, IntegerRange, ListParametersResult, Parameter as ParameterMessage,
    ParameterDescriptor, ParameterEvent, ParameterValue, SetParametersResult,
};
use r2r::rcl_interfaces::srv::{
    DescribeParameters, GetParameterTypes, GetParameters, ListParameters, SetParameters,
    SetParametersAtomically,
};
use r2r::{Publisher, QosProfile, ServiceRequest, WrappedServiceTypeSupport};

use super::error::NodeError;
use super::log::Log;
use super::params::{PARAMETERS, Parameters, Range, Settings, Value};
use super::requests::{Requests, next, service};
use crate::msg::Stamp;

/// Numbers of the types, from `rcl_interfaces/msg/ParameterType`.
mod parameter_type {
    pub(super) const NOT_SET: u8 = 0;
    pub(super) const BOOL: u8 = 1;
    pub(super) const INTEGER: u8 = 2;
    pub(super) const DOUBLE: u8 = 3;
    pub(super) const STRING: u8 = 4;
    pub(super) const STRING_ARRAY: u8 = 9;
}

/// The services of one node.
pub(super) struct ParameterServices {
    node: String,
    log: Log,
    get: Requests<GetParameters::Service>,
    get_types: Requests<GetParameterTypes::Service>,
    describe: Requests<DescribeParameters::Service>,
    list: Requests<ListParameters::Service>,
    set: Requests<SetParameters::Service>,
    set_atomically: Requests<SetParametersAtomically::Service>,
    events: Publisher<ParameterEvent>,
}

impl ParameterServices {
    /// Creates the services below the node's name, and announces every parameter as new.
    pub(super) fn create(
        node: &mut r2r::Node,
        log: Log,
        parameters: &Parameters,
        stamp: Stamp,
    ) -> Result<Self, NodeError> {
        let events = node
            .create_publisher("/parameter_events", QosProfile::parameter_events())
            .map_err(NodeError::ros("create the publisher of /parameter_events"))?;
        let qos = QosProfile::parameters;
        let services = Self {
            node: node
                .fully_qualified_name()
                .map_err(NodeError::ros("name the node"))?,
            log,
            get: service::<GetParameters::Service>(node, "~/get_parameters", qos())?,
            get_types: service::<GetParameterTypes::Service>(node, "~/get_parameter_types", qos())?,
            describe: service::<DescribeParameters::Service>(node, "~/describe_parameters", qos())?,
            list: service::<ListParameters::Service>(node, "~/list_parameters", qos())?,
            set: service::<SetParameters::Service>(node, "~/set_parameters", qos())?,
            set_atomically: service::<SetParametersAtomically::Service>(
                node,
                "~/set_parameters_atomically",
                qos(),
            )?,
            events,
        };
        let new_parameters = PARAMETERS
            .iter()
            .filter_map(|parameter| message(parameter.name, parameters))
            .collect();
        services.announce(ParameterEvent {
            new_parameters,
            ..services.event(stamp)
        });
        Ok(services)
    }

    /// Answers the requests that have come, without waiting; changed parameters are announced
    /// with `stamp`. Returns whether a change was asked for.
    pub(super) fn serve(&mut self, parameters: &mut Parameters, stamp: Stamp) -> bool {
        let mut change = false;
        while let Some(request) = next(&mut self.get) {
            let value = |name: &String| value_message(parameters.get(name));
            let values = request.message.names.iter().map(value).collect();
            self.reply(request, GetParameters::Response { values });
        }
        while let Some(request) = next(&mut self.get_types) {
            let type_of = |name: &String| value_message(parameters.get(name)).type_;
            let types = request.message.names.iter().map(type_of).collect();
            self.reply(request, GetParameterTypes::Response { types });
        }
        while let Some(request) = next(&mut self.describe) {
            let names = &request.message.names;
            let descriptors = names.iter().map(|name| descriptor(name)).collect();
            self.reply(request, DescribeParameters::Response { descriptors });
        }
        while let Some(request) = next(&mut self.list) {
            let result = listed(&request.message.prefixes);
            self.reply(request, ListParameters::Response { result });
        }
        while let Some(request) = next(&mut self.set) {
            change = true;
            let changes = request.message.parameters.clone();
            let results = changes
                .into_iter()
                .map(|change| self.set(vec![change], parameters, stamp))
                .collect();
            self.reply(request, SetParameters::Response { results });
        }
        while let Some(request) = next(&mut self.set_atomically) {
            change = true;
            let changes = request.message.parameters.clone();
            let result = self.set(changes, parameters, stamp);
            self.reply(request, SetParametersAtomically::Response { result });
        }
        change
    }

    fn set(
        &self,
        changes: Vec<ParameterMessage>,
        parameters: &mut Parameters,
        stamp: Stamp,
    ) -> SetParametersResult {
        let names: Vec<_> = changes.iter().map(|change| change.name.clone()).collect();
        let changes = changes
            .into_iter()
            .map(|change| (change.name, value_from_message(change.value)));
        if let Err(refusal) = parameters.set(changes) {
            return SetParametersResult {
                successful: false,
                reason: refusal.to_string(),
            };
        }
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
            stamp: r2r::builtin_interfaces::msg::Time {
                sec: stamp.sec,
                nanosec: stamp.nanosec,
            },
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

    fn reply<T>(&self, request: ServiceRequest<T>, response: T::Response)
    where
        T: WrappedServiceTypeSupport + 'static,
    {
        if let Err(error) = request.respond(response) {
            let sentence = format!("a reply to a parameter request was not sent: {error}");
            self.log.warn_throttled("parameter_replies", &sentence);
        }
    }
}

/// Returns the value of an override from the command line or a parameter file.
pub(super) fn value_from_override(value: &r2r::ParameterValue) -> Value {
    match value {
        r2r::ParameterValue::NotSet => Value::NotSet,
        r2r::ParameterValue::Bool(truth) => Value::Truth(*truth),
        r2r::ParameterValue::Integer(integer) => Value::Integer(*integer),
        r2r::ParameterValue::Double(real) => Value::Real(*real),
        r2r::ParameterValue::String(text) => Value::Text(text.clone()),
        r2r::ParameterValue::StringArray(texts) => Value::Texts(texts.clone()),
        other => Value::Foreign(other.type_name()),
    }
}

fn message(name: &str, parameters: &Parameters) -> Option<ParameterMessage> {
    Some(ParameterMessage {
        name: name.to_owned(),
        value: value_message(Some(parameters.get(name)?)),
    })
}

fn value_message(value: Option<Value>) -> ParameterValue {
    let mut message = ParameterValue {
        type_: value.as_ref().map_or(parameter_type::NOT_SET, type_number),
        ..Default::default()
    };
    match value {
        Some(Value::Truth(truth)) => message.bool_value = truth,
        Some(Value::Integer(integer)) => message.integer_value = integer,
        Some(Value::Real(real)) => message.double_value = real,
        Some(Value::Text(text)) => message.string_value = text,
        Some(Value::Texts(texts)) => message.string_array_value = texts,
        Some(Value::NotSet | Value::Foreign(_)) | None => {}
    }
    message
}

fn type_number(value: &Value) -> u8 {
    match value {
        Value::Truth(_) => parameter_type::BOOL,
        Value::Integer(_) => parameter_type::INTEGER,
        Value::Real(_) => parameter_type::DOUBLE,
        Value::Text(_) => parameter_type::STRING,
        Value::Texts(_) => parameter_type::STRING_ARRAY,
        Value::NotSet | Value::Foreign(_) => parameter_type::NOT_SET,
    }
}

fn value_from_message(value: ParameterValue) -> Value {
    match value.type_ {
        parameter_type::NOT_SET => Value::NotSet,
        parameter_type::BOOL => Value::Truth(value.bool_value),
        parameter_type::INTEGER => Value::Integer(value.integer_value),
        parameter_type::DOUBLE => Value::Real(value.double_value),
        parameter_type::STRING => Value::Text(value.string_value),
        parameter_type::STRING_ARRAY => Value::Texts(value.string_array_value),
        _ => Value::Foreign("an array of another type"),
    }
}

/// Returns the descriptor of a parameter; one without a type where there is none of that name.
fn descriptor(name: &str) -> ParameterDescriptor {
    let Some(parameter) = PARAMETERS.iter().find(|parameter| parameter.name == name) else {
        return ParameterDescriptor {
            name: name.to_owned(),
            ..Default::default()
        };
    };
    let mut descriptor = ParameterDescriptor {
        name: name.to_owned(),
        type_: type_number(&parameter.value(&Settings::default())),
        description: parameter.description.to_owned(),
        read_only: !parameter.live,
        ..Default::default()
    };
    match parameter.range {
        Range::Any => {}
        Range::Integer { from, to } => descriptor.integer_range.push(IntegerRange {
            from_value: from,
            to_value: to,
            step: 0,
        }),
        Range::Real { from, to } => descriptor.floating_point_range.push(FloatingPointRange {
            from_value: from,
            to_value: to,
            step: 0.0,
        }),
        Range::OneOf(_) | Range::Form(_) => {
            descriptor.additional_constraints = parameter.range.to_string();
        }
    }
    descriptor
}

/// Returns the names below the prefixes. Every name here is one word, so that the depth which a
/// request may give has nothing to leave out.
fn listed(prefixes: &[String]) -> ListParametersResult {
    let asked = |name: &&str| prefixes.is_empty() || prefixes.iter().any(|prefix| prefix == name);
    let names = PARAMETERS.iter().map(|parameter| parameter.name);
    ListParametersResult {
        names: names.filter(asked).map(str::to_owned).collect(),
        prefixes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_its_message() {
        for value in [
            Value::NotSet,
            Value::Truth(true),
            Value::Integer(-3),
            Value::Real(0.25),
            Value::Text("cpu".into()),
            Value::Texts(vec!["Road".into()]),
        ] {
            assert_eq!(
                value_from_message(value_message(Some(value.clone()))),
                value
            );
        }
    }

    #[test]
    fn descriptors_carry_ranges_and_the_read_only_flag() {
        let threads = descriptor("threads");
        assert!(threads.read_only && threads.type_ == parameter_type::INTEGER);
        assert_eq!(threads.integer_range[0].to_value, 256);
        let alpha = descriptor("overlay_alpha");
        assert!(!alpha.read_only && alpha.floating_point_range[0].to_value == 1.0);
        let qos = descriptor("image_qos");
        assert_eq!(qos.additional_constraints, "auto, reliable, best_effort");
        assert_eq!(descriptor("nothing").type_, parameter_type::NOT_SET);
    }
}
