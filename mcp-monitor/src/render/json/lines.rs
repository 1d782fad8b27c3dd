//! The three kinds of lines: event, finding, summary.

use super::{
    EVENT_SCHEMA, FINDING_SCHEMA, Heartbeat, SUMMARY_SCHEMA,
    object::{Coverage, Objects},
    value::{Host, Monitor, ProcessReference, ProcessValue, ResultWord, Text, Time, WorkloadValue},
};
use crate::{
    event::{Decision, Event, Finding, Outcome},
    render::{Origin, Summary, object},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{borrow::Cow, ops::Not};

/// Why the verdict is what it is, and what was done.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Decision")]
pub(super) struct DecisionValue<'a> {
    source: &'a str,
    /// Which text of an expectation's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<&'a str>,
    /// The deciding line of an expectation's file, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    /// In words.
    reason: Text<'a>,
    #[schemars(extend("enum" = ["observed", "denied", "killed"]))]
    action: &'static str,
}

impl<'a> DecisionValue<'a> {
    fn new(decision: &'a Decision, outcome: Outcome) -> Self {
        Self {
            source: &decision.source,
            revision: decision.revision.as_deref(),
            line: decision.line,
            reason: Text(decision.reason.as_bytes()),
            action: if outcome == Outcome::Denied { "denied" } else { "observed" },
        }
    }
}

/// One thing that a process of a workload did.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "mcp-monitor event, version 1")]
pub(super) struct EventLine<'a> {
    #[schemars(extend("const" = EVENT_SCHEMA))]
    schema: &'static str,
    id: &'a str,
    time: Time,
    /// Nanoseconds since boot, suspend included.
    boot_ns: u64,
    /// Counts the records of `lane`; a gap is a loss.
    sequence: u64,
    lane: u32,
    kind: &'static str,
    host: Host<'a>,
    monitor: Monitor<'a>,
    workload: WorkloadValue<'a>,
    /// Kernel-issued id of the subtree of processes.
    segment: u64,
    process: ProcessValue<'a>,
    thread: u32,
    #[serde(flatten)]
    objects: Objects<'a>,
    result: ResultWord,
    #[schemars(extend("enum" = ["expected", "unexpected", "forbidden", "unjudged"]))]
    verdict: &'static str,
    decision: DecisionValue<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'static str>,
    /// The kernel program that saw it; `procfs` and `agent` where none did.
    mechanism: &'static str,
    /// How many occurrences this line stands for.
    count: u64,
    /// Of a sign of life, which is sent to sinks and not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    heartbeat: Option<&'a Heartbeat>,
    /// Of a self-test, not of real activity.
    #[serde(skip_serializing_if = "Not::not")]
    test: bool,
}

impl<'a> EventLine<'a> {
    pub(super) fn new(origin: &'a Origin, event: &'a Event) -> Self {
        Self {
            schema: EVENT_SCHEMA,
            id: &event.id,
            time: Time(origin.time(event.boot_ns)),
            boot_ns: event.boot_ns.0,
            sequence: event.sequence,
            lane: event.lane,
            kind: event.action.kind(),
            host: Host::new(origin),
            monitor: Monitor::new(origin),
            workload: WorkloadValue::new(&event.workload),
            segment: event.segment.0,
            process: ProcessValue::new(&event.process, &origin.pods),
            thread: event.thread.0,
            objects: Objects::new(&event.action),
            result: ResultWord(event.outcome),
            verdict: event.verdict.name(),
            decision: DecisionValue::new(&event.decision, event.outcome),
            rule: event.rule.map(crate::event::Rule::id),
            mechanism: event.mechanism,
            count: event.count,
            heartbeat: None,
            test: origin.test,
        }
    }

    /// `event` as a sign of life.
    pub(super) fn heartbeat(origin: &'a Origin, event: &'a Event, heartbeat: &'a Heartbeat) -> Self {
        let objects = Objects::default();
        Self { kind: "heartbeat", objects, heartbeat: Some(heartbeat), ..Self::new(origin, event) }
    }
}

/// Place in MITRE ATT&CK.
#[derive(Serialize, JsonSchema)]
struct Attack<'a> {
    technique: &'a str,
    tactic: &'a str,
}

/// Who dealt with a finding. It stands in what is asked of the monitor or its store, and in what sinks get once somebody
/// did.
#[derive(Serialize, JsonSchema)]
struct Handling {
    /// User id.
    uid: u32,
    /// When.
    time: String,
    /// In the operator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When a suppression ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

/// What a person is told: events of one kind under one rule, deduplicated. A later line with the same id
/// replaces an earlier one.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "mcp-monitor finding, version 1")]
pub(super) struct FindingLine<'a> {
    #[schemars(extend("const" = FINDING_SCHEMA))]
    schema: &'static str,
    id: &'a str,
    rule: &'static str,
    #[schemars(extend("enum" = ["low", "medium", "high", "critical"]))]
    severity: &'static str,
    #[schemars(extend("enum" = ["open", "acknowledged", "suppressed", "closed"]))]
    state: &'static str,
    first_seen: Time,
    last_seen: Time,
    count: u64,
    /// Kind of the first event.
    kind: &'static str,
    host: Host<'a>,
    monitor: Monitor<'a>,
    workload: WorkloadValue<'a>,
    process: ProcessValue<'a>,
    #[serde(flatten)]
    objects: Objects<'a>,
    result: ResultWord,
    decision: DecisionValue<'a>,
    attack: Attack<'a>,
    title: Text<'a>,
    message: Text<'a>,
    advice: Text<'a>,
    /// Ids of the first events.
    events: &'a [String],
    /// Who dealt with it: added by the store, which alone knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    handling: Option<Handling>,
    #[serde(skip_serializing_if = "Not::not")]
    test: bool,
}

impl<'a> FindingLine<'a> {
    pub(super) fn new(origin: &'a Origin, finding: &'a Finding) -> Self {
        Self {
            schema: FINDING_SCHEMA,
            id: &finding.id,
            rule: finding.rule.id(),
            severity: finding.severity.name(),
            state: finding.state.name(),
            first_seen: Time(origin.time(finding.first_seen)),
            last_seen: Time(origin.time(finding.last_seen)),
            count: finding.count,
            kind: finding.action.kind(),
            host: Host::new(origin),
            monitor: Monitor::new(origin),
            workload: WorkloadValue::new(&finding.workload),
            process: ProcessValue::new(&finding.process, &origin.pods),
            objects: Objects::new(&finding.action),
            result: ResultWord(finding.outcome),
            decision: DecisionValue::new(&finding.decision, finding.outcome),
            attack: Attack { technique: &finding.technique, tactic: &finding.tactic },
            title: Text(finding.title.as_bytes()),
            message: Text(finding.message.as_bytes()),
            advice: Text(finding.advice.as_bytes()),
            events: &finding.events,
            handling: None,
            test: origin.test,
        }
    }
}

/// How many events of a kind got a verdict.
#[derive(Serialize, JsonSchema)]
struct EventCount {
    kind: &'static str,
    #[schemars(extend("enum" = ["expected", "unexpected", "forbidden", "unjudged"]))]
    verdict: &'static str,
    count: u64,
}

/// A finding in short.
#[derive(Serialize, JsonSchema)]
struct FindingRow<'a> {
    id: &'a str,
    rule: &'static str,
    severity: &'static str,
    count: u64,
    workload: Text<'a>,
    process: ProcessReference<'a>,
    /// Path, address or name.
    object: String,
    reason: Text<'a>,
}

/// What was lost.
#[derive(Serialize, JsonSchema)]
struct LossRow<'a> {
    cause: &'a str,
    /// Absent: of the whole host, charged to every workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<Text<'a>>,
    count: u64,
}

/// What could not be seen of a workload.
#[derive(Serialize, JsonSchema)]
struct CoverageRow<'a> {
    workload: Text<'a>,
    #[serde(flatten)]
    note: Coverage<'a>,
}

/// The end of a stream.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "mcp-monitor summary, version 1")]
pub(super) struct SummaryLine<'a> {
    #[schemars(extend("const" = SUMMARY_SCHEMA))]
    schema: &'static str,
    time: Time,
    started: Time,
    duration_ns: u64,
    host: Host<'a>,
    monitor: Monitor<'a>,
    total_events: u64,
    total_lost: u64,
    events: Vec<EventCount>,
    findings: Vec<FindingRow<'a>>,
    losses: Vec<LossRow<'a>>,
    coverage: Vec<CoverageRow<'a>>,
    /// Coverage notes beyond those listed.
    coverage_more: u64,
    /// Why the watch ended.
    end: Cow<'a, str>,
    #[serde(skip_serializing_if = "Not::not")]
    test: bool,
}

impl<'a> SummaryLine<'a> {
    pub(super) fn new(origin: &'a Origin, summary: &'a Summary) -> Self {
        let events = summary.events.iter().map(|(&(kind, verdict), &count)| EventCount {
            kind,
            verdict: verdict.name(),
            count,
        });
        let findings = summary.findings.iter().map(|finding| FindingRow {
            id: &finding.id,
            rule: finding.rule.id(),
            severity: finding.severity.name(),
            count: finding.count,
            workload: Text(finding.workload.name.as_bytes()),
            process: ProcessReference::new(
                finding.process.key,
                Text::unless_empty(&finding.process.executable),
            ),
            object: object::of_action(&finding.action),
            reason: Text(finding.decision.reason.as_bytes()),
        });
        let losses = summary.losses.iter().map(|loss| LossRow {
            cause: loss.cause,
            workload: loss.workload.as_ref().map(|name| Text(name.as_bytes())),
            count: loss.count,
        });
        let coverage = summary.coverage.iter().map(|(workload, note)| CoverageRow {
            workload: Text(workload.as_bytes()),
            note: Coverage::new(note),
        });
        Self {
            schema: SUMMARY_SCHEMA,
            time: Time(origin.time(summary.ended)),
            started: Time(origin.time(summary.started)),
            duration_ns: summary.ended.0.saturating_sub(summary.started.0),
            host: Host::new(origin),
            monitor: Monitor::new(origin),
            total_events: summary.total_events(),
            total_lost: summary.total_lost(),
            events: events.collect(),
            findings: findings.collect(),
            losses: losses.collect(),
            coverage: coverage.collect(),
            coverage_more: summary.coverage_more,
            end: summary.end.as_str().into(),
            test: origin.test,
        }
    }
}
