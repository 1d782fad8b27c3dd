//! An event, read back.

use super::{
    Coverage, Decision, Dns, Exec, Exit, File, Heartbeat, Host, Monitor, Network, Process, ProcessReference,
    Text, Workload, object,
};
use crate::{
    event::Verdict,
    render::human::{self, Look, Row},
};
use jiff::Timestamp;
use serde::Deserialize;

/// One thing that a process of a workload did.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// Sortable, unique.
    pub id: Text,
    /// When.
    pub time: Timestamp,
    /// Nanoseconds since boot.
    #[serde(default)]
    pub boot_ns: u64,
    /// What.
    pub kind: Text,
    /// Where.
    #[serde(default)]
    pub host: Host,
    /// Seen by.
    #[serde(default)]
    pub monitor: Monitor,
    /// For whom.
    pub workload: Workload,
    /// Who.
    pub process: Process,
    /// Files.
    pub file: Option<File>,
    /// Programs.
    pub exec: Option<Exec>,
    /// The other end.
    pub network: Option<Network>,
    /// Names.
    pub dns: Option<Dns>,
    /// Another process.
    pub target_process: Option<ProcessReference>,
    /// How that was reached into.
    pub way: Option<Text>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// What was not seen.
    pub coverage: Option<Coverage>,
    /// A sign of life.
    pub heartbeat: Option<Heartbeat>,
    /// What came of it.
    #[serde(default)]
    pub result: Text,
    /// Judged.
    #[serde(default)]
    pub verdict: Text,
    /// Why.
    #[serde(default)]
    pub decision: Decision,
    /// Broken rule.
    pub rule: Option<Text>,
    /// What saw it.
    #[serde(default)]
    pub mechanism: Text,
    /// Counts the records of a lane.
    #[serde(default)]
    pub sequence: u64,
    /// Of a self-test.
    #[serde(default)]
    pub test: bool,
    /// How many occurrences.
    #[serde(default = "one")]
    pub count: u64,
}

fn one() -> u64 {
    1
}

/// The verdict of a word; `None` for one of a newer version.
pub(in crate::render) fn verdict(word: &Text) -> Option<Verdict> {
    [Verdict::Expected, Verdict::Unexpected, Verdict::Forbidden, Verdict::Unjudged]
        .into_iter()
        .find(|verdict| *word == *verdict.name())
}

impl Event {
    /// The verdict; `None` for one of a newer version.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        verdict(&self.verdict)
    }

    /// Path, address or name of the object, in words for people.
    #[must_use]
    pub fn object(&self) -> String {
        object::in_words(self)
    }

    /// The destination as `NAME:PORT` or `ADDRESS:PORT`, when it is on a network.
    #[must_use]
    pub fn destination(&self) -> Option<String> {
        object::destination(self.network.as_ref()?)
    }

    /// Name of what came of it, when that is worth a word.
    #[must_use]
    pub fn outcome(&self) -> Option<String> {
        match self.result.as_bytes() {
            b"ok" | b"permitted" | b"" => None,
            other => Some(match other.strip_prefix(b"failed:") {
                Some(errno) => crate::event::escape(errno),
                None => crate::event::escape(other),
            }),
        }
    }

    /// As a row for people.
    pub(in crate::render) fn row(&self) -> Row<'_> {
        Row {
            time: self.time,
            instance: self.workload.instance.as_bytes(),
            workload: self.workload.name.escaped(),
            kind: self.kind.escaped(),
            verdict: self.verdict(),
            pid: self.process.pid,
            program: self.process.program(),
            described: object::described(self),
            result: self.outcome(),
            rule: self.rule.as_ref().map(Text::escaped),
            count: self.count,
        }
    }

    /// As a line for people, with its line feed.
    #[must_use]
    pub fn for_people(&self, look: &Look) -> String {
        human::row(&self.row(), look)
    }
}
