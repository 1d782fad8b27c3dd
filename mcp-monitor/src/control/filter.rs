//! What of all events and findings is asked for. The same filter asks a stream of lines, the monitor and a store.
//!
//! Conditions of different kinds all have to hold; of several values of one kind one has to. The field names are the
//! parameters of the API.

use crate::{
    event::{FindingState, Rule, Severity, Verdict},
    render::read::{self, Text},
    store::{self, Wanted, query::BEGINNING_MIN},
};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fmt::Display, str::FromStr as _};
use utoipa::IntoParams;

/// Bytes that one value of a filter may have.
const VALUE_BYTES_MAX: usize = 4096;
/// Values that one condition may have.
const VALUES_MAX: usize = 64;

/// A query. Lists are separated by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Not before this time (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Before this time (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Workloads by name, id, instance, or the beginning of an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Kinds of events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `expected`, `unexpected`, `forbidden`, `unjudged`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Findings of this severity and above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Findings in these states: `open`, `acknowledged`, `suppressed`, `closed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Events or findings by id or its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Process ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// Process ids with their descendants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// Containers, by id or its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Pods, as NAME or NAMESPACE/NAME.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Users, by name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A path, as a glob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A destination: NAME, *.NAME, ADDRESS or NETWORK/PREFIX, each with :PORT or without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
}

/// Why a filter is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A value is not of its kind.
    #[error("{condition}: {value:?} is not {expected}")]
    Value {
        /// Which condition.
        condition: &'static str,
        /// What was given.
        value: String,
        /// What it has to be.
        expected: String,
    },
    /// More than is looked at.
    #[error("{0}: at most {VALUES_MAX} values of {VALUE_BYTES_MAX} bytes each")]
    TooMuch(&'static str),
}

/// A filter made ready to be asked often.
#[derive(Clone, Debug)]
pub struct Matcher {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    workloads: Vec<String>,
    kinds: Vec<String>,
    verdicts: Vec<Verdict>,
    rules: Vec<String>,
    severity: Option<Severity>,
    states: Vec<FindingState>,
    ids: Vec<String>,
    pids: Vec<u32>,
    trees: Vec<u32>,
    containers: Vec<String>,
    pods: Vec<String>,
    users: Vec<String>,
    paths: Option<GlobSet>,
    destinations: Vec<Wanted>,
}

impl Filter {
    /// Made ready.
    pub fn matcher(&self) -> Result<Matcher, FilterError> {
        let known = |verdict: &str| {
            [Verdict::Expected, Verdict::Unexpected, Verdict::Forbidden, Verdict::Unjudged]
                .into_iter()
                .find(|known| known.name() == verdict)
                .ok_or("expected, unexpected, forbidden or unjudged")
        };
        let severity = |word: &str| {
            [Severity::Low, Severity::Medium, Severity::High, Severity::Critical]
                .into_iter()
                .find(|known| known.name() == word)
                .ok_or("low, medium, high or critical")
        };
        let pid = |text: &str| text.parse::<u32>().map_err(|_| "a process id");
        let rule = |text: &str| {
            Rule::ALL
                .iter()
                .find(|rule| rule.id() == text)
                .map(|rule| rule.id().to_owned())
                .ok_or_else(|| format!("a rule: {}", Rule::ALL.map(Rule::id).join(", ")))
        };
        let state = |word: &str| {
            FindingState::ALL
                .into_iter()
                .find(|known| known.name() == word)
                .ok_or("open, acknowledged, suppressed or closed")
        };
        let id = |text: &str| {
            if text.len() >= BEGINNING_MIN
                && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
            {
                return Ok(text.to_ascii_lowercase());
            }
            Err("an id, or at least four letters of its beginning")
        };
        let any = |text: &str| Ok::<_, String>(text.to_owned());
        Ok(Matcher {
            since: self.since,
            until: self.until,
            workloads: values("workload", self.workload.as_ref(), any)?,
            kinds: values("kind", self.kind.as_ref(), any)?,
            verdicts: values("verdict", self.verdict.as_ref(), known)?,
            rules: values("rule", self.rule.as_ref(), rule)?,
            severity: values("severity", self.severity.as_ref(), severity)?.into_iter().min(),
            states: values("state", self.state.as_ref(), state)?,
            ids: values("id", self.id.as_ref(), id)?,
            pids: values("pid", self.pid.as_ref(), pid)?,
            trees: values("tree", self.tree.as_ref(), pid)?,
            containers: values("container", self.container.as_ref(), any)?,
            pods: values("pod", self.pod.as_ref(), any)?,
            users: values("user", self.user.as_ref(), any)?,
            paths: paths(self.path.as_deref())?,
            destinations: values("destination", self.destination.as_ref(), Wanted::from_str)?,
        })
    }
}

fn values<Value, Error: Display>(
    condition: &'static str,
    text: Option<&String>,
    parse: impl Fn(&str) -> Result<Value, Error>,
) -> Result<Vec<Value>, FilterError> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let given: Vec<_> = text.split(',').map(str::trim).filter(|value| !value.is_empty()).collect();
    if given.len() > VALUES_MAX || given.iter().any(|value| value.len() > VALUE_BYTES_MAX) {
        return Err(FilterError::TooMuch(condition));
    }
    given
        .into_iter()
        .map(|value| {
            parse(value).map_err(|expected| FilterError::Value {
                condition,
                value: value.to_owned(),
                expected: expected.to_string(),
            })
        })
        .collect()
}

/// A comma may be part of a path, and of a glob in braces: there is one glob.
fn paths(text: Option<&str>) -> Result<Option<GlobSet>, FilterError> {
    let Some(text) = text else { return Ok(None) };
    if text.len() > VALUE_BYTES_MAX {
        return Err(FilterError::TooMuch("path"));
    }
    let wrong = |error: globset::Error| FilterError::Value {
        condition: "path",
        value: text.to_owned(),
        expected: format!("a glob: {error}"),
    };
    let glob = GlobBuilder::new(text).literal_separator(true).build().map_err(wrong)?;
    GlobSetBuilder::new().add(glob).build().map(Some).map_err(wrong)
}

impl Matcher {
    /// True when nothing is left out.
    #[must_use]
    pub fn wants_all(&self) -> bool {
        let Self {
            since,
            until,
            workloads,
            kinds,
            verdicts,
            rules,
            severity,
            states,
            ids,
            pids,
            trees,
            containers,
            pods,
            users,
            paths,
            destinations,
        } = self;
        let words = [workloads, kinds, rules, ids, containers, pods, users];
        since.is_none()
            && until.is_none()
            && words.iter().all(|values| values.is_empty())
            && verdicts.is_empty()
            && severity.is_none()
            && states.is_empty()
            && pids.is_empty()
            && trees.is_empty()
            && paths.is_none()
            && destinations.is_empty()
    }

    /// True when `event` is asked for.
    #[must_use]
    pub fn event(&self, event: &read::Event) -> bool {
        let destination = event.network.as_ref();
        self.since.is_none_or(|since| event.time >= since)
            && self.until.is_none_or(|until| event.time < until)
            && one_of(&self.kinds, |kind| event.kind == **kind)
            && one_of(&self.verdicts, |verdict| event.verdict() == Some(*verdict))
            && one_of(&self.rules, |rule| event.rule.as_ref().is_some_and(|of| of == rule.as_str()))
            && self.severity.is_none()
            && self.states.is_empty()
            && one_of(&self.ids, |id| event.id.as_bytes().starts_with(id.as_bytes()))
            && self.common(&event.workload, &event.process)
            && self.file(event.file.as_ref(), event.exec.as_ref(), destination)
            && self.network(destination, event.dns.as_ref())
    }

    /// True when `finding` is asked for.
    #[must_use]
    pub fn finding(&self, finding: &read::Finding) -> bool {
        self.since.is_none_or(|since| finding.last_seen >= since)
            && self.until.is_none_or(|until| finding.first_seen < until)
            && one_of(&self.kinds, |kind| finding.kind == **kind)
            && one_of(&self.rules, |rule| finding.rule == **rule)
            && one_of(&self.states, |state| finding.state == *state.name())
            && one_of(&self.ids, |id| finding.id.as_bytes().starts_with(id.as_bytes()))
            && self.severity.is_none_or(|severity| finding.severity().is_none_or(|of| of >= severity))
            && self.common(&finding.workload, &finding.process)
            && self.file(finding.file.as_ref(), finding.exec.as_ref(), finding.network.as_ref())
            && self.network(finding.network.as_ref(), finding.dns.as_ref())
    }

    /// True when a workload's name or id is asked for.
    #[must_use]
    pub fn workload(&self, workload: &read::Workload) -> bool {
        one_of(&self.workloads, |wanted| is_workload(workload, wanted))
    }

    fn common(&self, workload: &read::Workload, process: &read::Process) -> bool {
        self.workload(workload)
            && one_of(&self.pids, |pid| process.pid == *pid)
            && one_of(&self.trees, |pid| {
                process.pid == *pid || process.ancestors.iter().any(|ancestor| ancestor.pid == *pid)
            })
            && one_of(&self.users, |user| {
                process.user.as_ref().is_some_and(|name| name == user.as_str())
                    || user.parse() == Ok(process.uid)
            })
            && one_of(&self.containers, |id| {
                process.container.as_ref().is_some_and(|of| of.id.as_bytes().starts_with(id.as_bytes()))
            })
            && one_of(&self.pods, |wanted| {
                let Some(container) = &process.container else { return false };
                let Some(pod) = &container.pod else { return false };
                match wanted.split_once('/') {
                    Some((namespace, name)) => {
                        pod == name && container.namespace.as_ref().is_some_and(|of| of == namespace)
                    }
                    None => pod == wanted.as_str(),
                }
            })
    }

    fn file(
        &self,
        file: Option<&read::File>,
        exec: Option<&read::Exec>,
        network: Option<&read::Network>,
    ) -> bool {
        use std::os::unix::ffi::OsStrExt as _;
        let Some(globs) = &self.paths else { return true };
        // What has no name is at no path.
        let matches =
            |path: &Text| !path.is_empty() && globs.is_match(std::ffi::OsStr::from_bytes(path.as_bytes()));
        let in_file = |file: &read::File| matches(&file.path) || file.target.as_ref().is_some_and(matches);
        file.is_some_and(in_file)
            || exec.is_some_and(|exec| in_file(&exec.executable) || exec.script.as_ref().is_some_and(in_file))
            || network.and_then(|network| network.path.as_ref()).is_some_and(matches)
            || network.and_then(|network| network.abstract_name.as_ref()).is_some_and(|name| {
                // As ss(8) writes abstract names.
                globs.is_match(std::ffi::OsStr::from_bytes(&[b"@", name.as_bytes()].concat()))
            })
    }

    fn network(&self, network: Option<&read::Network>, dns: Option<&read::Dns>) -> bool {
        // A name that acts on a terminal is compared as it is written.
        let text = |name: &Text| name.escaped().into_owned();
        one_of(&self.destinations, |wanted| {
            network
                .is_some_and(|of| wanted.matches(of.address, of.port, of.name.as_ref().map(text).as_deref()))
                || dns.is_some_and(|dns| wanted.matches(None, None, Some(&text(&dns.question))))
        })
    }
}

/// True when `wanted` is a workload's name, its instance, its id or the beginning of one.
#[must_use]
pub fn is_workload(workload: &read::Workload, wanted: &str) -> bool {
    let read::Workload { name, id, instance, .. } = workload;
    store::query::is_workload(wanted.as_bytes(), name.as_bytes(), id.as_bytes(), instance.as_bytes())
}

/// The same of texts.
#[must_use]
pub fn is_workload_named(wanted: &str, name: &str, instance: &str) -> bool {
    name == wanted || (wanted.len() >= BEGINNING_MIN && instance.starts_with(wanted))
}

fn one_of<Value>(values: &[Value], matches: impl FnMut(&Value) -> bool) -> bool {
    values.is_empty() || values.iter().any(matches)
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
