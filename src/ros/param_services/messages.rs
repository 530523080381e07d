//! Parameters as the messages of rcl_interfaces have them.

use r2r::rcl_interfaces::msg::{
    FloatingPointRange, IntegerRange, ListParametersResult, Parameter as ParameterMessage,
    ParameterDescriptor, ParameterValue,
};

use super::super::params::{Change, PARAMETERS, Parameters, Range, Settings, Value};

/// Numbers of the types, from `rcl_interfaces/msg/ParameterType`.
mod parameter_type {
    pub(super) const NOT_SET: u8 = 0;
    pub(super) const BOOL: u8 = 1;
    pub(super) const INTEGER: u8 = 2;
    pub(super) const DOUBLE: u8 = 3;
    pub(super) const STRING: u8 = 4;
    pub(super) const STRING_ARRAY: u8 = 9;
}

/// Returns the value of an override from the command line or a parameter file.
pub(in super::super) fn value_from_override(value: &r2r::ParameterValue) -> Value {
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

/// Returns a parameter with its value; `None` where there is none of that name.
pub(super) fn message(name: &str, parameters: &Parameters) -> Option<ParameterMessage> {
    Some(ParameterMessage {
        name: name.to_owned(),
        value: value_message(Some(parameters.get(name)?)),
    })
}

/// Returns a value; `None` as one that is not set.
pub(super) fn value_message(value: Option<Value>) -> ParameterValue {
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

/// Returns the number of a value's type.
pub(super) fn type_number(value: &Value) -> u8 {
    match value {
        Value::Truth(_) => parameter_type::BOOL,
        Value::Integer(_) => parameter_type::INTEGER,
        Value::Real(_) => parameter_type::DOUBLE,
        Value::Text(_) => parameter_type::STRING,
        Value::Texts(_) => parameter_type::STRING_ARRAY,
        Value::NotSet | Value::Foreign(_) => parameter_type::NOT_SET,
    }
}

/// Returns the value of a message.
pub(super) fn value_from_message(value: ParameterValue) -> Value {
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
pub(super) fn descriptor(name: &str) -> ParameterDescriptor {
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
        read_only: matches!(parameter.change, Change::Never(_)),
        ..Default::default()
    };
    if let Change::Never(_) = parameter.change {
        descriptor.additional_constraints = parameter.change.to_string();
    }
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

/// Returns the names below the prefixes, at most `depth` levels deep where it is not 0, as rclcpp has
/// it; and the prefixes of those names.
pub(super) fn listed(prefixes: &[String], depth: u64) -> ListParametersResult {
    let shallow = |name: &str| depth == 0 || (name.matches('.').count() as u64) < depth;
    let below = |name: &str, prefix: &String| match name.strip_prefix(prefix.as_str()) {
        Some("") => true,
        Some(rest) => rest.starts_with('.') && shallow(rest),
        None => false,
    };
    let asked = |name: &&str| match prefixes {
        [] => shallow(name),
        _ => prefixes.iter().any(|prefix| below(name, prefix)),
    };
    let names = PARAMETERS.iter().map(|parameter| parameter.name);
    let names: Vec<_> = names.filter(asked).map(str::to_owned).collect();
    let mut prefixes: Vec<_> = (names.iter())
        .filter_map(|name| Some(name.rsplit_once('.')?.0.to_owned()))
        .collect();
    prefixes.dedup();
    ListParametersResult { names, prefixes }
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
    fn names_are_listed_below_prefixes_and_down_to_a_depth() {
        let names = |prefixes: &[&str], depth| {
            let prefixes: Vec<_> = prefixes.iter().map(|text| (*text).to_owned()).collect();
            listed(&prefixes, depth).names
        };
        assert_eq!(names(&[], 0).len(), PARAMETERS.len());
        assert!(names(&[], 1).iter().all(|name| !name.contains('.')));
        assert_eq!(names(&[], 2).len(), PARAMETERS.len());
        assert_eq!(names(&["overlay"], 0), ["overlay.max_rate_hz"]);
        // The separator after the prefix counts as a level, as it does in rclcpp.
        assert!(names(&["overlay"], 1).is_empty());
        assert_eq!(names(&["overlay_alpha"], 1), ["overlay_alpha"]);
        let prefixes = listed(&[], 0).prefixes;
        let of_masks = ["label_mask", "confidence", "drivable_mask", "overlay"];
        assert_eq!(prefixes[..4], of_masks);
        assert!(prefixes.iter().any(|prefix| prefix == "grid"));
    }

    #[test]
    fn descriptors_carry_ranges_and_the_read_only_flag() {
        let autostart = descriptor("autostart");
        assert!(autostart.read_only && autostart.type_ == parameter_type::BOOL);
        let reason = "read-only: asked once, at the start";
        assert_eq!(autostart.additional_constraints, reason);
        let threads = descriptor("threads");
        assert!(!threads.read_only && threads.type_ == parameter_type::INTEGER);
        assert_eq!(threads.integer_range[0].to_value, 256);
        let alpha = descriptor("overlay_alpha");
        assert!(!alpha.read_only && alpha.floating_point_range[0].to_value == 1.0);
        let qos = descriptor("image_qos");
        assert_eq!(qos.additional_constraints, "auto, reliable, best_effort");
        assert_eq!(descriptor("nothing").type_, parameter_type::NOT_SET);
    }
}
