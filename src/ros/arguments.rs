//! The process's arguments: which belong to ROS, their remap rules, and the rest.

use std::env;

use super::error::NodeError;

/// The arguments of a ROS process, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RosArguments {
    /// Remap rules in the order given.
    pub rules: Vec<RemapRule>,
    /// Parameter files in the order given.
    pub params_files: Vec<String>,
    /// Whether `--disable-rosout-logs` is among them.
    pub rosout_disabled: bool,
    /// Arguments between `--ros-args` and `--` that ROS does not know.
    pub unknown: Vec<String>,
    /// Arguments that are not for ROS, without the program's name.
    pub own: Vec<String>,
}

/// A rule `[node:]from:=to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemapRule {
    /// The only node that it is for; `None` for all.
    pub node: Option<String>,
    /// What kind of name it changes.
    pub target: RuleTarget,
    /// The name that it matches, before expansion.
    pub from: String,
    /// What the name becomes, before expansion.
    pub to: String,
}

/// The kinds of names that remap rules change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleTarget {
    /// Topics (and services, unless the rule says `rostopic://`).
    Topic,
    /// Services alone (`rosservice://`).
    Service,
    /// The node's name (`__node`, `__name`).
    NodeName,
    /// The node's namespace (`__ns`).
    Namespace,
}

impl RosArguments {
    /// Sorts the arguments of this process; errs if one is not UTF-8, which rcl needs.
    pub fn of_process() -> Result<Self, NodeError> {
        let arguments: Result<Vec<_>, _> = env::args_os().map(|text| text.into_string()).collect();
        let arguments = arguments.map_err(|text| NodeError::Arguments {
            reason: format!("{} is not UTF-8", text.display()),
        })?;
        Ok(Self::parse(arguments))
    }

    /// Sorts the arguments of a process, its name first. What is malformed is left to rcl, which
    /// refuses it when the context is made.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Self {
        let mut sorted = Self::default();
        let mut in_ros_arguments = false;
        let mut arguments = arguments.into_iter().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--ros-args" => in_ros_arguments = true,
                // Rules without `--ros-args` are deprecated, and rcl still takes them.
                _ if !in_ros_arguments => match RemapRule::parse(&argument) {
                    Some(rule) => sorted.rules.push(rule),
                    None => sorted.own.push(argument),
                },
                "--" => in_ros_arguments = false,
                "-r" | "--remap" => {
                    let rule = arguments.next().and_then(|rule| RemapRule::parse(&rule));
                    sorted.rules.extend(rule);
                }
                "--params-file" => sorted.params_files.extend(arguments.next()),
                "-p" | "--param" | "-e" | "--enclave" | "--log-level" | "--log-config-file"
                | "--log-file-name" => {
                    arguments.next();
                }
                "--disable-rosout-logs" => sorted.rosout_disabled = true,
                "--enable-rosout-logs"
                | "--enable-stdout-logs"
                | "--disable-stdout-logs"
                | "--enable-external-lib-logs"
                | "--disable-external-lib-logs" => {}
                _ => sorted.unknown.push(argument),
            }
        }
        sorted
    }
}

impl RemapRule {
    fn parse(rule: &str) -> Option<Self> {
        let (from, to) = rule.split_once(":=")?;
        let (from, service) = match from.split_once("rosservice://") {
            Some((node, name)) => (format!("{node}{name}"), true),
            None => (from.replacen("rostopic://", "", 1), false),
        };
        let (node, from) = match from.split_once(':') {
            Some((node, name)) => (Some(node.to_owned()), name.to_owned()),
            None => (None, from),
        };
        let target = match from.as_str() {
            "__node" | "__name" => RuleTarget::NodeName,
            "__ns" => RuleTarget::Namespace,
            _ if service => RuleTarget::Service,
            _ => RuleTarget::Topic,
        };
        Some(Self {
            node,
            target,
            from,
            to: to.trim_start_matches("rostopic://").to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> RosArguments {
        RosArguments::parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn ros_arguments_end_at_two_dashes_and_may_come_again() {
        let line = "node --version --ros-args -p a:=1 --params-file f.yaml -- x --ros-args -r a:=b";
        let sorted = parse(line);
        assert_eq!(sorted.own, ["--version", "x"]);
        assert_eq!(sorted.params_files, ["f.yaml"]);
        assert_eq!(sorted.rules.len(), 1);
        assert!(sorted.unknown.is_empty());
        assert_eq!(parse("node --ros-args --what").unknown, ["--what"]);
    }

    #[test]
    fn rules_name_their_node_and_their_kind() {
        let sorted = parse(
            "n --ros-args -r a:__node:=b -r __ns:=/c -r d:rosservice://e:=f -r rostopic://g:=h",
        );
        let kinds: Vec<_> = sorted.rules.iter().map(|rule| rule.target).collect();
        use RuleTarget::{Namespace, NodeName, Service, Topic};
        assert_eq!(kinds, [NodeName, Namespace, Service, Topic]);
        let nodes: Vec<_> = sorted
            .rules
            .iter()
            .map(|rule| rule.node.as_deref())
            .collect();
        assert_eq!(nodes, [Some("a"), None, Some("d"), None]);
        assert_eq!(sorted.rules[3].from, "g");
    }
}
