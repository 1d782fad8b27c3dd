//! Open Cybersecurity Schema Framework 1.8: findings as Detection Finding, events as File System, Process, Network or
//! DNS Activity, notes of what was not seen as Application Lifecycle.
//!
//! Profiles in use: `container`, `host`, `linux/linux_users`, `security_control`. What the schema has no place for stands
//! under `unmapped`. Tests check every class against JSON Schemas generated from the official schema.

mod activity;
mod agent;
mod finding;
mod objects;

pub use agent::object_with_agent;
use serde_json::{Map, Value, json};

use super::{failure, pruned};
use crate::{
    event::Severity,
    export::record::{Body, Parts, Record},
};

/// The version of the schema.
pub const VERSION: &str = "1.8.0";

/// A class of the schema with one of its activities.
#[derive(Clone, Copy)]
struct Class {
    category: u32,
    uid: u32,
    name: &'static str,
    activity: u32,
    activity_name: &'static str,
}

impl Class {
    const fn file(activity: u32, activity_name: &'static str) -> Self {
        Self { category: 1, uid: 1001, name: "File System Activity", activity, activity_name }
    }

    const fn process(activity: u32, activity_name: &'static str) -> Self {
        Self { category: 1, uid: 1007, name: "Process Activity", activity, activity_name }
    }

    const fn network(activity: u32, activity_name: &'static str) -> Self {
        Self { category: 4, uid: 4001, name: "Network Activity", activity, activity_name }
    }

    const fn dns(activity: u32, activity_name: &'static str) -> Self {
        Self { category: 4, uid: 4003, name: "DNS Activity", activity, activity_name }
    }

    const fn application(activity: u32, activity_name: &'static str) -> Self {
        Self { category: 6, uid: 6002, name: "Application Lifecycle", activity, activity_name }
    }

    const fn finding(activity: u32, activity_name: &'static str) -> Self {
        Self { category: 2, uid: 2004, name: "Detection Finding", activity, activity_name }
    }
}

/// `record` as an OCSF event.
#[must_use]
pub fn object(record: &Record) -> Value {
    let fields = match record.body() {
        Body::Event(event) => activity::fields(record, event),
        Body::Finding(finding) => finding::fields(record, finding),
    };
    pruned(fields)
}

/// What every event has, merged with `more`.
fn with_base(record: &Record, class: Class, more: Value) -> Value {
    let parts = record.parts();
    let (severity_id, severity) = severity(record);
    let (action_id, action, disposition_id, disposition) = decision(&parts, record.is_finding());
    let mut fields = json!({
        "category_uid": class.category,
        "category_name": match class.category {
            1 => "System Activity",
            2 => "Findings",
            4 => "Network Activity",
            _ => "Application Activity",
        },
        "class_uid": class.uid,
        "class_name": class.name,
        "activity_id": class.activity,
        "activity_name": class.activity_name,
        "type_uid": class.uid * 100 + class.activity,
        "type_name": format!("{}: {}", class.name, if class.activity == 99 { "Other" } else { class.activity_name }),
        "severity_id": severity_id,
        "severity": severity,
        "time": record.time().as_millisecond(),
        "count": parts.count,
        "message": parts.sentence(),
        "metadata": metadata(record, &parts),
        "device": objects::device(&parts),
        "action_id": action_id,
        "action": action,
        "disposition_id": disposition_id,
        "disposition": disposition,
        "policy": {"name": parts.decision.source.to_string(), "desc": parts.decision.reason.to_string()},
        "is_alert": parts.rule.is_some(),
        "observables": objects::observables(&parts),
        "unmapped": unmapped(record, &parts),
    });
    if parts.decision.source.is_empty()
        && let Some(fields) = fields.as_object_mut()
    {
        fields.remove("policy");
    }
    if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
        fields.extend(more);
    }
    fields
}

fn severity(record: &Record) -> (u32, &'static str) {
    match record.severity() {
        None => (1, "Informational"),
        Some(Severity::Low) => (2, "Low"),
        Some(Severity::Medium) => (3, "Medium"),
        Some(Severity::High) => (4, "High"),
        Some(Severity::Critical) => (5, "Critical"),
    }
}

/// What was done about it, in the words of the `security_control` profile.
fn decision(parts: &Parts<'_>, finding: bool) -> (u32, &'static str, u32, &'static str) {
    match parts.decision.action.as_bytes() {
        b"denied" | b"killed" => (2, "Denied", 2, "Blocked"),
        _ if finding => (3, "Observed", 19, "Alert"),
        _ if parts.rule.is_some() => (3, "Observed", 15, "Detected"),
        _ => (3, "Observed", 17, "Logged"),
    }
}

/// Whether it succeeded, for classes whose status that is.
fn status(parts: &Parts<'_>) -> Map<String, Value> {
    let result = parts.result.to_string();
    let (id, word) = match parts.succeeded() {
        Some(true) => (1, "Success"),
        Some(false) => (2, "Failure"),
        None => (0, "Unknown"),
    };
    let mut fields = Map::new();
    fields.insert("status_id".into(), id.into());
    fields.insert("status".into(), word.into());
    if let Some(code) = failure(&result) {
        fields.insert("status_code".into(), code.into());
    }
    if !result.is_empty() {
        fields.insert("status_detail".into(), result.into());
    }
    fields
}

fn product(parts: &Parts<'_>) -> Value {
    json!({
        "name": "mcp-monitor",
        "uid": "mcp-monitor",
        "vendor_name": "mcp-monitor",
        "version": parts.monitor.version.to_string(),
    })
}

fn metadata(record: &Record, parts: &Parts<'_>) -> Value {
    json!({
        "version": VERSION,
        "product": product(parts),
        "profiles": ["container", "host", "linux/linux_users", "security_control"],
        "uid": record.delivery_id(),
        "original_event_uid": parts.id.to_string(),
        "log_name": if record.is_finding() { "finding" } else { "event" },
        "log_provider": "mcp-monitor",
        "event_code": parts.rule.unwrap_or(parts.kind).to_string(),
        "sequence": parts.sequence,
        "original_time": record.time().to_string(),
        "labels": parts.test.then_some(["test"]),
    })
}

/// What the schema has no place for: who the workload is, the verdict, and how it was seen.
fn unmapped(record: &Record, parts: &Parts<'_>) -> Value {
    let (verdict, mechanism) = match record.body() {
        Body::Event(event) => (Some(event.verdict.to_string()), Some(event.mechanism.to_string())),
        Body::Finding(_) => (None, None),
    };
    json!({
        "workload": {
            "id": parts.workload.id.to_string(),
            "instance": parts.workload.instance.to_string(),
            "kind": parts.workload.kind.to_string(),
            "name": parts.workload.name.to_string(),
            "client": parts.workload.client.as_ref().map(ToString::to_string),
            "parent": parts.workload.parent.as_ref().map(ToString::to_string),
        },
        "kind": parts.kind.to_string(),
        "verdict": verdict,
        "mechanism": mechanism,
        "tier": parts.monitor.tier.to_string(),
        "way": parts.way.map(ToString::to_string),
        "file_access": parts.file.map(|file| file.access.iter().map(ToString::to_string).collect::<Vec<_>>()),
        "name_confidence": parts.network.and_then(|network| network.name_confidence.as_ref()).map(ToString::to_string),
        "coverage": parts.coverage.map(|note| json!({
            "cause": note.cause.to_string(), "what": note.what.to_string(), "count": note.count,
        })),
        "heartbeat": parts.heartbeat.map(|beat| {
            beat.pairs().into_iter().map(|(key, value)| (key.to_owned(), Value::String(value))).collect::<Map<_, _>>()
        }),
        "test": parts.test.then_some(true),
    })
}
