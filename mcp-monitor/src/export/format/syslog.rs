//! RFC 5424: header, structured data, and a message that is a sentence or one of the other formats.

use std::fmt::Write as _;

use serde::Deserialize;

use super::Format;
use crate::{
    event::Severity,
    export::record::{Body, Record},
    render::read::Heartbeat,
};

/// The number that RFC 5612 sets aside for examples. An organisation with a number of its own configures it.
pub const ENTERPRISE_NUMBER: u32 = 32473;
/// Facility `log audit`.
pub const FACILITY: u8 = 13;

/// What stands behind the structured data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Message {
    /// A sentence; the fields stand in the structured data.
    #[default]
    Text,
    /// The line of the contract.
    Native,
    /// OCSF.
    Ocsf,
    /// ECS.
    Ecs,
    /// CEF.
    Cef,
}

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Facility, 0 to 23.
    pub facility: u8,
    /// Private enterprise number of the structured data's id.
    pub enterprise_number: u32,
    /// What the message is.
    pub message: Message,
}

impl Default for Layout {
    fn default() -> Self {
        Self { facility: FACILITY, enterprise_number: ENTERPRISE_NUMBER, message: Message::Text }
    }
}

fn severity(record: &Record) -> u8 {
    match record.severity() {
        Some(Severity::Critical) => 2,
        Some(Severity::High) => 3,
        Some(Severity::Medium) => 4,
        Some(Severity::Low) => 5,
        None => 6,
    }
}

/// One message without framing.
#[must_use]
pub fn message(record: &Record, layout: &Layout) -> String {
    let parts = record.parts();
    let priority = u16::from(layout.facility.min(23)) * 8 + u16::from(severity(record));
    let mut text = format!(
        "<{priority}>1 {:.6} {} mcp-monitor {} {} ",
        record.time(),
        header(&parts.host.name.to_string(), 255),
        std::process::id(),
        header(&parts.rule.unwrap_or(parts.kind).to_string(), 32),
    );
    let _ = write!(text, "[mcp-monitor@{}", layout.enterprise_number);
    let mut put = |name: &str, value: &dyn std::fmt::Display| {
        let value = value.to_string();
        if !value.is_empty() {
            // Writing into a String cannot fail.
            let _ = write!(text, " {name}=\"{}\"", parameter(&value));
        }
    };
    put("id", parts.id);
    put("type", &if record.is_finding() { "finding" } else { "event" });
    put("kind", parts.kind);
    put("workload", &parts.workload.name);
    put("workloadId", &parts.workload.id);
    put("instance", &parts.workload.instance);
    put("host", &parts.host.id);
    put("pid", &parts.process.pid);
    if let Some(exe) = &parts.process.exe {
        put("exe", exe);
    }
    put("uid", &parts.process.uid);
    put("object", &parts.object());
    put("result", parts.result);
    put("decision", &parts.decision.action);
    put("count", &parts.count);
    match record.body() {
        Body::Event(event) => put("verdict", &event.verdict),
        Body::Finding(finding) => {
            put("severity", &finding.severity);
            put("state", &finding.state);
            put("technique", &finding.attack.technique);
            put("tactic", &finding.attack.tactic);
        }
    }
    if let Some(rule) = parts.rule {
        put("rule", rule);
    }
    for (name, value) in parts.heartbeat.map(Heartbeat::pairs).unwrap_or_default() {
        put(name, &value);
    }
    if parts.test {
        put("test", &true);
    }
    text.push_str("] ");
    let words = match layout.message {
        Message::Text => match record.body() {
            Body::Finding(finding) if !finding.message.is_empty() => finding.message.to_string(),
            _ => parts.sentence(),
        },
        Message::Native => Format::Native.line(record),
        Message::Ocsf => Format::Ocsf.line(record),
        Message::Ecs => Format::Ecs.line(record),
        Message::Cef => Format::Cef.line(record),
    };
    // The byte order mark says that what follows is UTF-8. A parser of JSON or CEF would stumble over it.
    if layout.message == Message::Text {
        text.push('\u{feff}');
    }
    text.extend(words.chars().map(|character| if character.is_control() { ' ' } else { character }));
    text
}

/// Printable ASCII, at most `most` characters; `-` when nothing is left.
fn header(value: &str, most: usize) -> String {
    let text: String = value.chars().filter(char::is_ascii_graphic).take(most).collect();
    if text.is_empty() { "-".into() } else { text }
}

/// A value of the structured data.
fn parameter(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '"' | '\\' | ']' => text.extend(['\\', character]),
            other if other.is_control() => text.push(' '),
            other => text.push(other),
        }
    }
    text
}
