//! Events, findings and the summary as JSON, one object a line, by the contract that `schema/` publishes.
//!
//! Bytes that are not UTF-8 survive: every text that stems from a monitored process is written as
//! [`crate::event::escape`] does (`\xNN` for such bytes and for characters that act on a terminal, `\\` for a
//! backslash) and [`crate::event::unescape`] reads it back. Numbers are whole and may exceed 2^53.
//! Within a schema version fields may be added, never renamed or removed.

mod declared;
mod heartbeat;
mod lines;
mod object;
#[cfg(test)]
mod tests;
mod value;

use crate::{
    event::{Event, Finding},
    inventory::declared::DeclaredServer,
    render::{Origin, Summary},
};
use declared::DeclaredServerLine;
pub use heartbeat::{Checkpoint, Heartbeat};
use lines::{EventLine, FindingLine, SummaryLine};

/// Schema of [`event`] lines.
pub const EVENT_SCHEMA: &str = "mcp-monitor/event/v1";
/// Schema of [`finding`] lines.
pub const FINDING_SCHEMA: &str = "mcp-monitor/finding/v1";
/// Schema of [`summary`] lines.
pub const SUMMARY_SCHEMA: &str = "mcp-monitor/summary/v1";
/// Schema of [`declared_server`] lines.
pub const DECLARED_SERVER_SCHEMA: &str = "mcp-monitor/declared-server/v1";

/// Appends `event` as a line.
pub fn event(line: &mut Vec<u8>, origin: &Origin, event: &Event) {
    append(line, &EventLine::new(origin, event));
}

/// Appends a sign of life as a line: `event` says by whom and when.
pub fn heartbeat(line: &mut Vec<u8>, origin: &Origin, event: &Event, heartbeat: &Heartbeat) {
    append(line, &EventLine::heartbeat(origin, event, heartbeat));
}

/// Appends `finding` as a line.
pub fn finding(line: &mut Vec<u8>, origin: &Origin, finding: &Finding) {
    append(line, &FindingLine::new(origin, finding));
}

/// Appends `summary` as a line.
pub fn summary(line: &mut Vec<u8>, origin: &Origin, summary: &Summary) {
    append(line, &SummaryLine::new(origin, summary));
}

/// Appends `server` as a line; `user` is the name of its uid.
pub fn declared_server(line: &mut Vec<u8>, server: &DeclaredServer, user: Option<&str>) {
    append(line, &DeclaredServerLine::new(server, user));
}

fn append(line: &mut Vec<u8>, object: &impl serde::Serialize) {
    let start = line.len();
    // Writing into memory does not fail, and no type here refuses to be serialised; should one ever, half an
    // object must not reach the reader.
    if serde_json::to_writer(&mut *line, object).is_err() {
        line.truncate(start);
        line.extend_from_slice(b"{\"schema\":\"mcp-monitor/error/v1\"}");
    }
    line.push(b'\n');
}

/// The JSON Schema of each kind of line, by the name of its file under `schema/`.
#[must_use]
pub fn schemas() -> [(&'static str, schemars::Schema); 4] {
    let generate = || schemars::generate::SchemaSettings::draft2020_12().for_serialize().into_generator();
    [
        ("event.v1.json", generate().into_root_schema_for::<EventLine<'static>>()),
        ("finding.v1.json", generate().into_root_schema_for::<FindingLine<'static>>()),
        ("summary.v1.json", generate().into_root_schema_for::<SummaryLine<'static>>()),
        ("declared-server.v1.json", generate().into_root_schema_for::<DeclaredServerLine<'static>>()),
    ]
}
