//! Formats: how an event or finding is written for a receiver. Pure functions of a [`Record`]; each says which version
//! of which schema it follows.
//!
//! Everything that stems from a monitored process arrives as [`crate::render::read::Text`] and leaves escaped as the
//! contract has it (`\xNN`); each format adds the escaping of its own syntax, so that no name forges a field.

pub mod cef;
pub mod ecs;
pub mod ocsf;
pub mod syslog;

use serde::Deserialize;
use serde_json::Value;

use super::record::Record;

/// How lines for a receiver look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The lines of the contract, as they are.
    #[default]
    Native,
    /// Open Cybersecurity Schema Framework 1.8.
    Ocsf,
    /// The same in version 1.9, which knows agents.
    #[serde(rename = "ocsf-1.9")]
    OcsfWithAgents,
    /// Elastic Common Schema 9.4.
    Ecs,
    /// `ArcSight` Common Event Format.
    Cef,
}

impl Format {
    /// `record` as one line of text, without its end.
    #[must_use]
    pub fn line(self, record: &Record) -> String {
        match self {
            Self::Native => record.line().to_owned(),
            Self::Ocsf => ocsf::object(record).to_string(),
            Self::OcsfWithAgents => ocsf::object_with_agent(record).to_string(),
            Self::Ecs => ecs::object(record).to_string(),
            Self::Cef => cef::line(record),
        }
    }

    /// `record` as a JSON value; text formats become a string.
    #[must_use]
    pub fn value(self, record: &Record) -> Value {
        match self {
            // A record was read from this line; should that fail, its text still arrives.
            Self::Native => serde_json::from_str(record.line())
                .unwrap_or_else(|_| Value::String(record.line().to_owned())),
            Self::Ocsf => ocsf::object(record),
            Self::OcsfWithAgents => ocsf::object_with_agent(record),
            Self::Ecs => ecs::object(record),
            Self::Cef => Value::String(cef::line(record)),
        }
    }
}

/// Takes away what is null and what is empty: receivers count absent fields as unknown, and empty ones as known.
#[must_use]
fn pruned(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(key, value)| (key, pruned(value)))
                .filter(|(_, value)| !is_nothing(value))
                .collect(),
        ),
        Value::Array(items) => {
            Value::Array(items.into_iter().map(pruned).filter(|value| !is_nothing(value)).collect())
        }
        other => other,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The last name of a path, escaped.
fn name_of(path: &crate::render::read::Text) -> String {
    crate::event::escape(path.last_name())
}

/// The directory of a path, escaped.
fn directory_of(path: &crate::render::read::Text) -> Option<String> {
    let bytes = path.as_bytes();
    let end = bytes.iter().rposition(|byte| *byte == b'/')?;
    Some(crate::event::escape(&bytes[..end.max(1)]))
}

/// Arguments as one line, each quoted where it must be.
fn command_line(arguments: &[crate::render::read::Text]) -> Option<String> {
    let quoted = |argument: &crate::render::read::Text| {
        let text = argument.to_string();
        if text.is_empty() || text.contains([' ', '\'', '"']) {
            format!("'{}'", text.replace('\'', r"'\''"))
        } else {
            text
        }
    };
    (!arguments.is_empty()).then(|| arguments.iter().map(quoted).collect::<Vec<_>>().join(" "))
}

/// `checkpointRow` as `checkpoint_row`.
pub(super) fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for one in name.chars() {
        if one.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(one.to_ascii_lowercase());
    }
    text
}

/// The number of an errno name such as `ENOENT`, or the name itself.
fn failure(result: &str) -> Option<&str> {
    result.strip_prefix("failed:").or_else(|| (result == "denied").then_some("EPERM"))
}

#[cfg(test)]
mod tests;
