//! ROS name resolution: what a topic is called once the namespace and the remap rules of the
//! command line are applied, as rcl does it (its own resolver is out of r2r's reach).

use super::arguments::{RemapRule, RuleTarget};

/// Resolves the names that one node uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolver {
    node: String,
    namespace: String,
    rules: Vec<RemapRule>,
}

impl Resolver {
    /// Returns a resolver for the node `node` in `namespace` (`/` for none), both as they are
    /// after `__node` and `__ns` rules; `rules` in the order of the command line.
    pub(super) fn new(node: &str, namespace: &str, rules: &[RemapRule]) -> Self {
        Self {
            node: node.to_owned(),
            namespace: namespace.to_owned(),
            rules: rules.to_vec(),
        }
    }

    /// Returns the node's name without its namespace.
    pub(super) fn name(&self) -> &str {
        &self.node
    }

    /// Returns the node's fully qualified name.
    pub(super) fn node(&self) -> String {
        self.below_namespace(&self.node)
    }

    /// Returns the fully qualified name of a topic, remapped by the first rule that matches.
    pub(super) fn topic(&self, name: &str) -> String {
        let expanded = self.expanded(name);
        self.rules
            .iter()
            .filter(|rule| rule.target == RuleTarget::Topic)
            .filter(|rule| rule.node.as_ref().is_none_or(|node| *node == self.node))
            .find(|rule| self.expanded(&rule.from) == expanded)
            .map_or(expanded, |rule| self.expanded(&rule.to))
    }

    /// Returns the fully qualified name that a rule gives a topic; `None` where no rule names it.
    pub(super) fn remapped(&self, name: &str) -> Option<String> {
        let resolved = self.topic(name);
        (resolved != self.expanded(name)).then_some(resolved)
    }

    /// Returns the name with `~`, the substitutions and the namespace filled in.
    fn expanded(&self, name: &str) -> String {
        let name = name
            .replace("{node}", &self.node)
            .replace("{ns}", &self.namespace)
            .replace("{namespace}", &self.namespace);
        match name.strip_prefix('~') {
            Some(private) => format!("{}{private}", self.node()),
            None if name.starts_with('/') => name,
            None => self.below_namespace(&name),
        }
    }

    fn below_namespace(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::super::arguments::RosArguments;
    use super::*;

    /// Returns what this module makes of a node `ecmnet` and the names, as `resolve_names.py` does.
    fn resolved(arguments: &[&str], names: &[&str]) -> Vec<String> {
        let arguments = ["node"]
            .iter()
            .chain(arguments)
            .map(|text| (*text).to_owned());
        let rules = RosArguments::parse(arguments).rules;
        let renamed = |target| {
            let for_it = |rule: &&RemapRule| rule.node.as_deref().is_none_or(|n| n == "ecmnet");
            let rule = rules
                .iter()
                .filter(for_it)
                .find(|rule| rule.target == target);
            rule.map(|rule| rule.to.clone())
        };
        let node = renamed(RuleTarget::NodeName).unwrap_or_else(|| "ecmnet".into());
        let namespace = renamed(RuleTarget::Namespace).unwrap_or_else(|| "/".into());
        let resolver = Resolver::new(&node, &namespace, &rules);
        let names = names.iter().map(|name| resolver.topic(name));
        [resolver.node()].into_iter().chain(names).collect()
    }

    #[test]
    fn names_resolve_as_rcl_resolves_them() -> anyhow::Result<()> {
        let names = [
            "image",
            "~/label_mask",
            "/clock",
            "~/a/b",
            "/front",
            "{node}/x",
        ];
        let rules: [&[&str]; 16] = [
            &[],
            &["__ns:=/car"],
            &["__node:=seg"],
            &["__node:=seg", "__ns:=/a/b"],
            &["image:=/front/image_raw"],
            &["image:=front/image_raw", "__ns:=/car"],
            &["/car/image:=/x", "__ns:=/car"],
            &["/image:=/x", "__ns:=/car"],
            &["image:=/front", "/front:=/c"],
            &["~/label_mask:=mask", "__ns:=/car", "__node:=seg"],
            &["image:=~/private", "__node:=seg"],
            &["other:image:=/x", "ecmnet:image:=/y"],
            &["ecmnet:image:=/y", "__node:=seg"],
            &["seg:image:=/y", "__node:=seg"],
            &["rosservice://image:=/x"],
            &["rostopic://image:=/x", "image:=/second"],
        ];
        let mut cases: Vec<Vec<&str>> = rules
            .iter()
            .map(|rules| {
                let pairs = rules.iter().flat_map(|rule| ["-r", rule]);
                ["--ros-args"].into_iter().chain(pairs).collect()
            })
            .collect();
        cases.push(vec!["--ros-args", "--", "-r", "image:=/x"]);
        cases.push(vec!["image:=/old_style"]);
        cases.push(vec![
            "--ros-args",
            "--remap",
            "image:=/x",
            "--",
            "--ros-args",
            "-r",
            "a:=/b",
        ]);
        let asked: Vec<_> = cases.iter().map(|arguments| (arguments, names)).collect();
        let answers = rcl_answers(&serde_json::to_string(&asked)?)?;
        for (arguments, answer) in cases.iter().zip(answers) {
            assert_eq!(resolved(arguments, &names), answer, "{arguments:?}");
        }
        Ok(())
    }

    fn rcl_answers(cases: &str) -> anyhow::Result<Vec<Vec<String>>> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut peer = Command::new(root.join("scripts/ros_python"))
            .arg(root.join("tests/peers/resolve_names.py"))
            .env("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = peer.stdin.take() {
            stdin.write_all(cases.as_bytes())?;
        }
        let output = peer.wait_with_output()?;
        anyhow::ensure!(
            output.status.success(),
            "resolve_names.py ended with {}",
            output.status
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}
