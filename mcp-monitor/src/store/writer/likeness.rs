//! Which findings one suppression is meant for.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::chain::Digest;
use crate::event::Rule;

/// What of a finding's line makes another one like it, and what it is asked for by.
#[derive(Deserialize)]
pub(super) struct Likeness<'a> {
    rule: &'a str,
    kind: &'a str,
    #[serde(borrow)]
    workload: Id<'a>,
    pub(super) process: Uid,
    #[serde(borrow)]
    decision: Source<'a>,
    file: Option<Path<'a>>,
    exec: Option<Program<'a>>,
    network: Option<Peer<'a>>,
    coverage: Option<Cause<'a>>,
}

#[derive(Deserialize)]
struct Id<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

#[derive(Deserialize)]
pub(super) struct Uid {
    pub(super) uid: u32,
}

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(borrow)]
    source: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Path<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Program<'a> {
    #[serde(borrow)]
    executable: Path<'a>,
    script: Option<Path<'a>>,
}

#[derive(Deserialize)]
struct Peer<'a> {
    address: Option<Cow<'a, str>>,
    port: Option<u16>,
    path: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    #[serde(rename = "abstract")]
    abstract_name: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Cause<'a> {
    #[serde(borrow)]
    cause: Cow<'a, str>,
}

impl Likeness<'_> {
    /// The same for findings that one suppression is meant for: rule, workload, what decided, and target.
    pub(super) fn text(&self) -> String {
        let target = if let Some(file) = &self.file {
            file.path.to_string()
        } else if let Some(exec) = &self.exec {
            exec.script.as_ref().unwrap_or(&exec.executable).path.to_string()
        } else if let Some(peer) = &self.network {
            let host = peer.name.as_deref().or(peer.address.as_deref());
            let host = host.or(peer.path.as_deref()).or(peer.abstract_name.as_deref());
            format!("{}:{}", host.unwrap_or_default(), peer.port.unwrap_or(0))
        } else if let Some(coverage) = &self.coverage {
            coverage.cause.to_string()
        } else {
            String::new()
        };
        let all = [self.rule, self.kind, &self.workload.id, &self.decision.source, &target].join("\0");
        hex::encode(&Digest::of(all.as_bytes()).0[..16])
    }
}

/// What the finding of `line` is like; nothing for what is no finding.
pub(super) fn likeness_of(line: &str) -> String {
    serde_json::from_str::<Likeness<'_>>(line).map(|likeness| likeness.text()).unwrap_or_default()
}

/// A rule of one workload, which a suppression may also be meant for. No likeness looks so.
pub(super) fn scope(rule: &str, workload: &str) -> String {
    format!("{rule}+{workload}")
}

/// The scopes that a finding lies in: the workload may have been named by id or by name.
pub(super) fn scopes(rule: &str, id: &str, name: &str) -> [String; 2] {
    [scope(rule, id), scope(rule, name)]
}

/// A monitor that is blind or tampered with says so, whoever wants it silent.
pub(super) fn may_be_suppressed(rule: &str) -> bool {
    rule != Rule::CoverageLoss.id() && rule != MONITOR_TAMPER
}

/// By its word, so that it holds whether this version finds it or another one did.
const MONITOR_TAMPER: &str = "monitor-tamper";
