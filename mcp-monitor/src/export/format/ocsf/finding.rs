//! Findings as Detection Findings.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{Class, objects, product, with_base};
use crate::{
    export::record::Record,
    finding::rules::{AttackName, RuleBook},
    render::read::{Finding, Text},
};

/// Techniques and tactics by id and name, as the rules have them.
static ATTACK: LazyLock<Vec<(AttackName, AttackName)>> = LazyLock::new(|| {
    // The data is embedded and its reading is tested: without it only names are missing.
    let texts = RuleBook::embedded().map(|book| book.texts().to_vec()).unwrap_or_default();
    texts.into_iter().map(|text| (text.technique, text.tactic)).collect()
});

pub(super) fn fields(record: &Record, finding: &Finding) -> Value {
    let parts = record.parts();
    let boot = objects::Boot(None);
    let class = match finding.state.as_bytes() {
        b"closed" => Class::finding(3, "Close"),
        _ if finding.count <= 1 => Class::finding(1, "Create"),
        _ => Class::finding(2, "Update"),
    };
    let (status_id, status) = match finding.state.as_bytes() {
        b"open" => (1, "New"),
        b"acknowledged" => (2, "In Progress"),
        b"suppressed" => (3, "Suppressed"),
        b"closed" => (4, "Resolved"),
        _ => (0, "Unknown"),
    };
    let attacks: Vec<_> = attack(finding).into_iter().collect();
    let evidence = json!({
        "actor": {"process": objects::process(parts.process, boot)},
        "file": parts.file.or(parts.exec.map(|exec| &exec.executable)).map(|file| objects::file(file, None)),
        "dst_endpoint": parts.network.and_then(objects::remote),
        "connection_info": parts.network.map(objects::connection),
        "query": parts.dns.map(|dns| json!({"hostname": dns.question.to_string()})),
        "process": parts.target_process.map(|target| objects::reference(target, boot)),
    });
    let related: Vec<_> = finding.events.iter().map(|id| json!({"uid": id.to_string()})).collect();
    with_base(
        record,
        class,
        json!({
            "status_id": status_id,
            "status": status,
            "message": finding.message.to_string(),
            "start_time": finding.first_seen.as_millisecond(),
            "end_time": finding.last_seen.as_millisecond(),
            "actor": {"process": objects::process(parts.process, boot)},
            "attacks": attacks,
            "evidences": [evidence],
            "remediation": (!finding.advice.is_empty()).then(|| json!({"desc": finding.advice.to_string()})),
            "resources": [{
                "uid": finding.workload.id.to_string(),
                "name": finding.workload.name.to_string(),
                "type": format!("MCP {}", finding.workload.kind),
                "labels": [format!("instance:{}", finding.workload.instance)],
            }],
            "finding_info": {
                "uid": finding.id.to_string(),
                "title": finding.title.to_string(),
                "desc": finding.message.to_string(),
                "types": [finding.rule.to_string()],
                "analytic": {
                    "type_id": 1,
                    "type": "Rule",
                    "uid": finding.rule.to_string(),
                    "name": finding.rule.to_string(),
                },
                "attacks": attacks,
                "created_time": finding.first_seen.as_millisecond(),
                "modified_time": finding.last_seen.as_millisecond(),
                "first_seen_time": finding.first_seen.as_millisecond(),
                "last_seen_time": finding.last_seen.as_millisecond(),
                "data_sources": ["eBPF"],
                "product": product(&parts),
                "related_events": related,
                "related_events_count": finding.events.len(),
            },
        }),
    )
}

/// The ATT&CK object; `None` without technique and tactic.
fn attack(finding: &Finding) -> Option<Value> {
    let known = |text: &Text, of: fn(&(AttackName, AttackName)) -> &AttackName| {
        let text = text.to_string();
        ATTACK.iter().map(of).find(|name| name.id == text || name.name == text).cloned()
    };
    let technique = &finding.attack.technique;
    let tactic = known(&finding.attack.tactic, |(_, tactic)| tactic)
        .map(|tactic| json!({"uid": tactic.id, "name": title(&tactic.name)}))
        .or_else(|| {
            (!finding.attack.tactic.is_empty()).then(|| json!({"name": finding.attack.tactic.to_string()}))
        });
    let id = technique.to_string();
    let name = known(technique, |(technique, _)| technique).map(|known| known.name);
    let (parent, sub) = match id.split_once('.') {
        Some((parent, _)) => (parent.to_owned(), Some(id.clone())),
        None => (id.clone(), None),
    };
    if tactic.is_none() && id.is_empty() {
        return None;
    }
    // Names of sub-techniques stand behind a colon: `Unsecured Credentials: Credentials In Files`.
    let (parent_name, sub_name) = match (&sub, &name) {
        (Some(_), Some(name)) => match name.split_once(": ") {
            Some((parent, sub)) => (Some(parent.to_owned()), Some(sub.to_owned())),
            None => (None, Some(name.clone())),
        },
        _ => (name, None),
    };
    Some(json!({
        "tactic": tactic,
        "technique": (!parent.is_empty()).then(|| json!({"uid": parent, "name": parent_name})),
        "sub_technique": sub.map(|sub| json!({"uid": sub, "name": sub_name})),
    }))
}

/// `credential-access` → `Credential Access`.
fn title(slug: &str) -> String {
    slug.split('-')
        .map(|word| {
            let mut characters = word.chars();
            characters
                .next()
                .map(|first| first.to_uppercase().collect::<String>() + characters.as_str())
                .unwrap_or_default()
        })
        .collect::<Vec<_>>()
        .join(" ")
}
