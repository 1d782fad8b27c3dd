//! A finding, read back.

use super::{
    Attack, Decision, Dns, Exec, File, Host, Monitor, Network, Process, ProcessReference, Text, Workload,
    object,
};
use crate::{
    event::Severity,
    render::human::{self, Block, Look},
};
use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;

/// What a person is told. A later one with the same id replaces an earlier one.
#[derive(Clone, Debug, Deserialize)]
pub struct Finding {
    /// Sortable, unique.
    pub id: Text,
    /// Broken rule.
    pub rule: Text,
    /// How bad.
    pub severity: Text,
    /// Where it stands.
    #[serde(default)]
    pub state: Text,
    /// First event.
    pub first_seen: Timestamp,
    /// Latest event.
    pub last_seen: Timestamp,
    /// How many times.
    #[serde(default)]
    pub count: u64,
    /// Kind of the first event.
    #[serde(default)]
    pub kind: Text,
    /// Where.
    #[serde(default)]
    pub host: Host,
    /// Seen by.
    #[serde(default)]
    pub monitor: Monitor,
    /// For whom.
    pub workload: Workload,
    /// Who did it first.
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
    /// What came of the first event.
    #[serde(default)]
    pub result: Text,
    /// Why.
    #[serde(default)]
    pub decision: Decision,
    /// Place in MITRE ATT&CK.
    #[serde(default)]
    pub attack: Attack,
    /// One line.
    #[serde(default)]
    pub title: Text,
    /// What happened.
    #[serde(default)]
    pub message: Text,
    /// What to do.
    #[serde(default)]
    pub advice: Text,
    /// Of a self-test.
    #[serde(default)]
    pub test: bool,
    /// Ids of the first events.
    #[serde(default)]
    pub events: Vec<Text>,
    /// Who dealt with it.
    pub handling: Option<Handling>,
}

/// Who dealt with a finding, and how.
#[derive(Clone, Debug, Deserialize)]
pub struct Handling {
    /// User id.
    pub uid: u32,
    /// When.
    pub time: Timestamp,
    /// In the operator's words.
    pub reason: Option<Text>,
    /// When a suppression ends.
    pub until: Option<Timestamp>,
}

impl Handling {
    /// `until TIME, by uid N: reason`, for people.
    fn in_words(&self, zone: &TimeZone) -> String {
        let time = |time: Timestamp| time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string();
        let until = self.until.map(|until| format!(" until {}", time(until))).unwrap_or_default();
        let reason = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("{until} by uid {} at {}{reason}", self.uid, time(self.time))
    }
}

/// Every severity, the least first.
pub(super) const SEVERITIES: [Severity; 4] =
    [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

impl Finding {
    /// The severity; `None` for one of a newer version.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        SEVERITIES.into_iter().find(|severity| self.severity == *severity.name())
    }

    /// Path, address or name of the object, in words for people.
    #[must_use]
    pub fn object(&self) -> String {
        object::of_finding(self)
    }

    /// Where it stands, unless it is open.
    #[must_use]
    pub fn standing(&self, zone: &TimeZone) -> Option<String> {
        if self.state.is_empty() || self.state == *"open" {
            return None;
        }
        let handling = self.handling.as_ref().map(|handling| handling.in_words(zone)).unwrap_or_default();
        Some(format!("{}{handling}", self.state))
    }

    /// As a block for people; `repeated` when it was shown before.
    #[must_use]
    pub fn for_people(&self, repeated: bool, look: &Look) -> String {
        let outcome = match self.result.as_bytes() {
            b"ok" | b"permitted" | b"" => None,
            other => Some(crate::event::escape(other.strip_prefix(b"failed:").unwrap_or(other))),
        };
        let block = Block {
            severity: self.severity(),
            severity_word: self.severity.escaped(),
            rule: self.rule.escaped(),
            count: self.count,
            object: self.object(),
            outcome,
            first_seen: self.first_seen,
            pid: self.process.pid,
            executable: self.process.exe.as_ref().map(Text::as_bytes).unwrap_or_default(),
            script: self.process.script.as_ref().map(Text::as_bytes),
            user: self.process.user().into(),
            title: self.title.as_bytes(),
            workload: self.workload.name.as_bytes(),
            kind: self.kind.escaped(),
            message: self.message.as_bytes(),
            reason: self.decision.reason.as_bytes(),
            advice: self.advice.as_bytes(),
            attack: format!("{} {}", self.attack.technique, self.attack.tactic),
            state: self.standing(&look.time_zone),
        };
        human::block(&block, repeated, look)
    }
}
