//! What OCSF 1.9 adds for agents: the object `ai_agent` under the profile `ai_operation`, and in evidences.
//!
//! Everything else is as in 1.8; a receiver that knows no 1.9 keeps getting that by the format `ocsf`.

use serde_json::{Value, json};

use super::{object, pruned};
use crate::export::record::{Parts, Record};

/// The version of the schema.
const VERSION: &str = "1.9.0";

/// `record` as an OCSF 1.9 event.
#[must_use]
pub fn object_with_agent(record: &Record) -> Value {
    let mut event = object(record);
    let agent = agent(&record.parts());
    let Some(fields) = event.as_object_mut() else { return event };
    if let Some(metadata) = fields.get_mut("metadata") {
        metadata["version"] = VERSION.into();
    }
    let Some(agent) = agent else { return event };
    let evidences = fields.get_mut("evidences").and_then(Value::as_array_mut);
    if let Some(evidence) = evidences.and_then(|evidences| evidences.first_mut()) {
        evidence["ai_agent"] = agent;
        return event;
    }
    // Signs of life and notes of the monitor are done by no agent, and are of another category.
    if fields.get("category_uid").and_then(Value::as_u64) != Some(6) {
        fields.insert("ai_agent".into(), agent);
        if let Some(Value::Array(profiles)) = fields.get_mut("metadata").map(|all| &mut all["profiles"]) {
            profiles.insert(0, "ai_operation".into());
        }
    }
    event
}

/// The agent that did it, or that started the server that did it; `None` where none is known.
fn agent(parts: &Parts<'_>) -> Option<Value> {
    let workload = parts.workload;
    if workload.kind == *"agent" {
        return Some(pruned(json!({
            "uid": workload.id.to_string(),
            "instance_uid": workload.instance.to_string(),
            "name": workload.name.to_string(),
            "type_id": 0,
            "type": "Unknown",
        })));
    }
    let parent = workload.parent.as_ref()?;
    Some(pruned(json!({
        "uid": parent.to_string(),
        "name": workload.client.as_ref().map(ToString::to_string),
        "type_id": 0,
        "type": "Unknown",
    })))
}
