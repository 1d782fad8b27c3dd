//! What of a JSON line can be searched by: one way from line to columns, for writing, for lines from elsewhere, and
//! for verifying that the index says what the lines say.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{event::Verdict, render::json::EVENT_SCHEMA};

/// The searchable part of an event's line.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) time: Timestamp,
    pub(super) kind: Cow<'a, str>,
    pub(super) boot: Cow<'a, str>,
    pub(super) workload: WorkloadColumns<'a>,
    pub(super) process: ProcessColumns<'a>,
    pub(super) path: Option<Cow<'a, str>>,
    pub(super) target: Option<Cow<'a, str>>,
    pub(super) destination: Option<Destination<'a>>,
    pub(super) verdict: Verdict,
    pub(super) rule: Option<Cow<'a, str>>,
    pub(super) count: u64,
    pub(super) bytes_sent: Option<u64>,
    pub(super) bytes_received: Option<u64>,
}

/// The other end of a connection, or a name that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Destination<'a> {
    pub(super) address: Option<Cow<'a, str>>,
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) port: Option<u16>,
}

impl Destination<'_> {
    /// As people and tables name it.
    pub(super) fn text(&self) -> String {
        let host = self.name.as_deref().or(self.address.as_deref()).unwrap_or_default();
        match self.port {
            Some(port) if self.name.is_none() && host.contains(':') => format!("[{host}]:{port}"),
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct WorkloadColumns<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) instance: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    pub(super) client: Option<Cow<'a, str>>,
    pub(super) parent: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ProcessColumns<'a> {
    pub(super) pid: u32,
    pub(super) start: u64,
    pub(super) exec_id: u32,
    pub(super) exe: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) args: Option<&'a RawValue>,
    pub(super) uid: u32,
    pub(super) user: Option<Cow<'a, str>>,
    pub(super) container: Option<Container<'a>>,
    #[serde(default)]
    pub(super) ancestors: Vec<Ancestor>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Container<'a> {
    pub(super) id: Cow<'a, str>,
}

/// A forebear, nearest first.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Ancestor {
    pub(super) pid: u32,
    #[serde(default)]
    pub(super) start: u64,
}

#[derive(Deserialize)]
struct Line<'a> {
    schema: &'a str,
    #[serde(borrow)]
    id: Cow<'a, str>,
    time: Timestamp,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    host: Host<'a>,
    #[serde(borrow)]
    workload: WorkloadColumns<'a>,
    #[serde(borrow)]
    process: ProcessColumns<'a>,
    file: Option<File<'a>>,
    exec: Option<Exec<'a>>,
    network: Option<Network<'a>>,
    dns: Option<Dns<'a>>,
    verdict: &'a str,
    rule: Option<Cow<'a, str>>,
    #[serde(default = "once")]
    count: u64,
}

fn once() -> u64 {
    1
}

#[derive(Deserialize)]
struct Host<'a> {
    #[serde(borrow)]
    boot: Cow<'a, str>,
}

#[derive(Deserialize)]
struct File<'a> {
    path: Cow<'a, str>,
    target: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Exec<'a> {
    executable: File<'a>,
    script: Option<File<'a>>,
}

#[derive(Deserialize)]
struct Network<'a> {
    address: Option<Cow<'a, str>>,
    port: Option<u16>,
    name: Option<Cow<'a, str>>,
    path: Option<Cow<'a, str>>,
    #[serde(rename = "abstract")]
    abstract_name: Option<Cow<'a, str>>,
    bytes_sent: Option<u64>,
    bytes_received: Option<u64>,
}

#[derive(Deserialize)]
struct Dns<'a> {
    question: Cow<'a, str>,
}

impl<'a> Columns<'a> {
    /// Reads a line; `None` for what is no event of the contract.
    pub(super) fn of(line: &'a str) -> Option<Self> {
        let line: Line<'a> = serde_json::from_str(line).ok()?;
        if line.schema != EVENT_SCHEMA {
            return None;
        }
        let (mut path, mut target, mut destination) = (None, None, None);
        let (mut bytes_sent, mut bytes_received) = (None, None);
        if let Some(file) = line.file {
            (path, target) = (Some(file.path), file.target);
        } else if let Some(exec) = line.exec {
            (path, target) = (Some(exec.executable.path), exec.script.map(|script| script.path));
        } else if let Some(network) = line.network {
            (bytes_sent, bytes_received) = (network.bytes_sent, network.bytes_received);
            if network.address.is_some() || network.name.is_some() {
                destination =
                    Some(Destination { address: network.address, name: network.name, port: network.port });
            }
            // As ss(8) writes abstract names: no path of the file system begins so.
            path = network.path.or_else(|| network.abstract_name.map(|name| format!("@{name}").into()));
        } else if let Some(dns) = line.dns {
            destination = Some(Destination { address: None, name: Some(dns.question), port: None });
        }
        Some(Self {
            id: line.id,
            time: line.time,
            kind: line.kind,
            boot: line.host.boot,
            workload: line.workload,
            process: line.process,
            path: path.filter(|path| !path.is_empty()),
            target: target.filter(|target| !target.is_empty()),
            destination,
            verdict: verdict_of(line.verdict)?,
            rule: line.rule,
            count: line.count,
            bytes_sent,
            bytes_received,
        })
    }

    pub(super) fn time_ns(&self) -> i64 {
        nanoseconds(self.time)
    }
}

/// As times stand in the databases.
pub(super) fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(if time < Timestamp::UNIX_EPOCH {
        i64::MIN
    } else {
        i64::MAX
    })
}

/// Back again.
pub(super) fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The databases' integers have a sign.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Back again.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The number of a verdict in the databases; what wants attention is above [`NOTEWORTHY`].
pub(super) const fn verdict_number(verdict: Verdict) -> i64 {
    match verdict {
        Verdict::Expected => 0,
        Verdict::Unjudged => 1,
        Verdict::Unexpected => 2,
        Verdict::Forbidden => 3,
    }
}

/// The verdict of a number.
pub(super) const fn verdict_from(number: i64) -> Verdict {
    match number {
        0 => Verdict::Expected,
        2 => Verdict::Unexpected,
        3 => Verdict::Forbidden,
        _ => Verdict::Unjudged,
    }
}

fn verdict_of(word: &str) -> Option<Verdict> {
    [Verdict::Expected, Verdict::Unjudged, Verdict::Unexpected, Verdict::Forbidden]
        .into_iter()
        .find(|verdict| verdict.name() == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{json, sample};

    fn line(event: &crate::event::Event) -> String {
        let mut bytes = Vec::new();
        json::event(&mut bytes, &sample::origin(), event);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn every_kind_of_event_has_columns() {
        for event in sample::events() {
            let text = line(&event);
            let columns = Columns::of(text.trim_end()).unwrap_or_else(|| panic!("no columns for {text}"));
            assert_eq!(columns.kind, event.action.kind());
            assert_eq!(columns.verdict, event.verdict);
            assert_eq!(columns.process.pid, event.process.key.pid.0);
            assert_eq!(columns.process.ancestors.len(), 2);
            assert_eq!(columns.count, event.count);
            let named = text.contains("\"path\":") || text.contains("\"abstract\":");
            assert_eq!(columns.path.is_some(), named, "{text}");
        }
    }

    #[test]
    fn a_hostile_name_stays_what_it_was() {
        for name in sample::hostile_names() {
            let text = line(&sample::open(&name));
            let columns = Columns::of(text.trim_end()).unwrap();
            let expected = crate::event::escape(&name);
            assert_eq!(columns.path.as_deref().unwrap_or_default(), expected);
        }
    }

    #[test]
    fn what_is_no_event_has_none() {
        for text in ["", "{}", "[]", "null", "{\"schema\":\"mcp-monitor/finding/v1\"}", "\u{0}"] {
            assert!(Columns::of(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_destination_is_written_as_people_write_it() {
        let text = |address: Option<&'static str>, name: Option<&'static str>, port| {
            Destination { address: address.map(Cow::from), name: name.map(Cow::from), port }.text()
        };
        assert_eq!(text(Some("10.0.0.1"), None, Some(443)), "10.0.0.1:443");
        assert_eq!(text(Some("::1"), None, Some(443)), "[::1]:443");
        assert_eq!(text(Some("::1"), Some("a.example"), Some(443)), "a.example:443");
        assert_eq!(text(None, Some("a.example"), None), "a.example");
    }
}
