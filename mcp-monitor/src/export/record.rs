//! What is delivered: a line of the contract with what formats and filters need of it.

use std::{borrow::Cow, sync::Arc};

use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    event::Severity,
    render::{
        json::{EVENT_SCHEMA, FINDING_SCHEMA},
        read::{
            Coverage, Decision, Dns, Event, Exec, File, Finding, Heartbeat, Host, Monitor, Network, Process,
            ProcessReference, Text, Workload,
        },
    },
};

/// The longest line that is delivered; the contract's own are far shorter.
pub const LINE_BYTES_MAX: usize = 256 * 1024;

/// Why a line cannot be delivered.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not JSON, or not of the contract.
    #[error("not a line of mcp-monitor: {0}")]
    NotALine(#[from] serde_json::Error),
    /// Longer than [`LINE_BYTES_MAX`].
    #[error("the line has {0} bytes, more than any that mcp-monitor writes")]
    TooLong(usize),
    /// A schema that nobody delivers.
    #[error("schema {0:?} is not delivered")]
    Schema(String),
}

/// An event or a finding.
#[derive(Clone, Debug)]
pub enum Body {
    /// One thing that a process did.
    Event(Box<Event>),
    /// What a person is told.
    Finding(Box<Finding>),
}

/// A line on its way to a receiver. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Record {
    line: Arc<str>,
    body: Arc<Body>,
    delivery_id: Arc<str>,
}

#[derive(Deserialize)]
struct Schema<'a> {
    #[serde(borrow)]
    schema: Cow<'a, str>,
}

impl Record {
    /// Reads a line of the contract.
    pub fn parse(line: &str) -> Result<Self, RecordError> {
        let line = line.trim_end_matches(['\r', '\n']);
        if line.len() > LINE_BYTES_MAX {
            return Err(RecordError::TooLong(line.len()));
        }
        let Schema { schema } = serde_json::from_str(line)?;
        let body = match schema.as_ref() {
            EVENT_SCHEMA => Body::Event(serde_json::from_str(line)?),
            FINDING_SCHEMA => Body::Finding(serde_json::from_str(line)?),
            other => return Err(RecordError::Schema(other.chars().take(80).collect())),
        };
        let delivery_id = match &body {
            Body::Event(event) => event.id.to_string(),
            Body::Finding(finding) => {
                let version =
                    format!("{}\n{}\n{}\n{}", finding.id, finding.count, finding.state, finding.last_seen);
                Uuid::new_v5(&Uuid::NAMESPACE_OID, version.as_bytes()).to_string()
            }
        };
        // Written anew where somebody spread it over lines: one record is one line.
        let line = if line.contains(['\r', '\n']) {
            serde_json::to_string(&serde_json::from_str::<serde_json::Value>(line)?)?
        } else {
            line.to_owned()
        };
        Ok(Self { line: line.into(), body: Arc::new(body), delivery_id: delivery_id.into() })
    }

    /// The line as it was written, without its end.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// What it says.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The same for each delivery of the same line, and another for each state of a finding: what receivers
    /// tell duplicates by.
    #[must_use]
    pub fn delivery_id(&self) -> &str {
        &self.delivery_id
    }

    /// True for a finding.
    #[must_use]
    pub fn is_finding(&self) -> bool {
        matches!(*self.body, Body::Finding(_))
    }

    /// When: of an event its time, of a finding its latest occurrence.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        match &*self.body {
            Body::Event(event) => event.time,
            Body::Finding(finding) => finding.last_seen,
        }
    }

    /// How bad; an event that broke no rule is `None`.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        match &*self.body {
            Body::Finding(finding) => finding.severity(),
            Body::Event(event) => event
                .rule
                .as_ref()
                .map(|_| if event.verdict == *"forbidden" { Severity::High } else { Severity::Medium }),
        }
    }

    /// The parts that events and findings share.
    #[must_use]
    pub fn parts(&self) -> Parts<'_> {
        macro_rules! parts {
            ($of:expr, $rule:expr, $coverage:expr, $heartbeat:expr, $sequence:expr) => {
                Parts {
                    id: &$of.id,
                    kind: &$of.kind,
                    host: &$of.host,
                    monitor: &$of.monitor,
                    workload: &$of.workload,
                    process: &$of.process,
                    file: $of.file.as_ref(),
                    exec: $of.exec.as_ref(),
                    network: $of.network.as_ref(),
                    dns: $of.dns.as_ref(),
                    target_process: $of.target_process.as_ref(),
                    way: $of.way.as_ref(),
                    coverage: $coverage,
                    heartbeat: $heartbeat,
                    result: &$of.result,
                    decision: &$of.decision,
                    rule: $rule,
                    count: $of.count.max(1),
                    sequence: $sequence,
                    test: $of.test,
                }
            };
        }
        match &*self.body {
            Body::Event(event) => {
                let heartbeat = event.heartbeat.as_ref();
                parts!(event, event.rule.as_ref(), event.coverage.as_ref(), heartbeat, Some(event.sequence))
            }
            Body::Finding(finding) => parts!(finding, Some(&finding.rule), None, None, None),
        }
    }
}

/// What events and findings share.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Its id.
    pub id: &'a Text,
    /// Kind of the event, or of the finding's first one.
    pub kind: &'a Text,
    /// Where.
    pub host: &'a Host,
    /// Seen by.
    pub monitor: &'a Monitor,
    /// For whom.
    pub workload: &'a Workload,
    /// Who.
    pub process: &'a Process,
    /// Files.
    pub file: Option<&'a File>,
    /// Programs.
    pub exec: Option<&'a Exec>,
    /// The other end.
    pub network: Option<&'a Network>,
    /// Names.
    pub dns: Option<&'a Dns>,
    /// Another process.
    pub target_process: Option<&'a ProcessReference>,
    /// How that was reached into.
    pub way: Option<&'a Text>,
    /// What was not seen.
    pub coverage: Option<&'a Coverage>,
    /// A sign of life.
    pub heartbeat: Option<&'a Heartbeat>,
    /// What came of it.
    pub result: &'a Text,
    /// Why.
    pub decision: &'a Decision,
    /// The broken rule.
    pub rule: Option<&'a Text>,
    /// How many occurrences.
    pub count: u64,
    /// Place in its lane, of an event.
    pub sequence: Option<u64>,
    /// Of a self-test.
    pub test: bool,
}

impl Parts<'_> {
    /// Path, address or name of the object, escaped; empty when there is none.
    #[must_use]
    pub fn object(&self) -> String {
        if let Some(exec) = self.exec {
            return exec.script.as_ref().unwrap_or(&exec.executable).path.to_string();
        }
        if let Some(network) = self.network {
            let place = match (&network.name, network.address) {
                (Some(name), _) => name.to_string(),
                (None, Some(address)) => address.to_string(),
                (None, None) => match (&network.path, &network.abstract_name) {
                    (Some(path), _) => return path.to_string(),
                    (None, Some(name)) => return format!("@{name}"),
                    (None, None) => return network.transport.to_string(),
                },
            };
            return match network.port {
                Some(port) if place.contains(':') => format!("[{place}]:{port}"),
                Some(port) => format!("{place}:{port}"),
                None => place,
            };
        }
        if let Some(file) = self.file {
            return file.path.to_string();
        }
        if let Some(dns) = self.dns {
            return dns.question.to_string();
        }
        if let Some(note) = self.coverage {
            return note.what.to_string();
        }
        self.target_process.map(|target| format!("pid {}", target.pid)).unwrap_or_default()
    }

    /// Whether it succeeded; `None` where nobody knows.
    #[must_use]
    pub fn succeeded(&self) -> Option<bool> {
        match self.result.as_bytes() {
            b"ok" => Some(true),
            b"denied" => Some(false),
            other if other.starts_with(b"failed:") => Some(false),
            _ => None,
        }
    }

    /// What stands before a receiver's own words: one line in plain English, escaped.
    #[must_use]
    pub fn sentence(&self) -> String {
        let rule = self.rule.map(|rule| format!("{rule}: ")).unwrap_or_default();
        let result = match self.succeeded() {
            Some(false) => format!(" ({})", self.result),
            _ => String::new(),
        };
        let times = if self.count > 1 { format!(" ×{}", self.count) } else { String::new() };
        format!("{rule}{} {} {}{result}{times}", self.workload.name, self.kind, self.object())
    }
}
