//! What can be asked, and what comes back.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::{FindingState, Severity, Verdict};

/// Rows that one answer holds at most.
pub const LIMIT_MAX: usize = 100_000;
/// Values that one criterion of a filter holds at most.
pub const VALUES_MAX: usize = 256;
/// Letters of an id that say which one is meant.
pub const BEGINNING_MIN: usize = 4;

/// True when `wanted` is a workload's name, its id, or the beginning of its id or of its instance.
#[must_use]
pub fn is_workload(wanted: &[u8], name: &[u8], id: &[u8], instance: &[u8]) -> bool {
    let begins = |of: &[u8]| wanted.len() >= BEGINNING_MIN && of.starts_with(wanted);
    name == wanted || id == wanted || begins(id) || begins(instance)
}

/// The place of a row in the order in which rows were recorded: unique in a store, growing, never used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub u64);

/// Which events. Criteria are combined by *and*, the values of one criterion by *or*; an empty one holds for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Names of workloads, their ids or instances, or beginnings of these ids ([`is_workload`]).
    pub workload: Vec<String>,
    /// Kinds of the JSON contract, e.g. `open`.
    pub kind: Vec<String>,
    /// Verdicts.
    pub verdict: Vec<Verdict>,
    /// Ids of rules, e.g. `secret-read`.
    pub rule: Vec<String>,
    /// Processes, themselves.
    pub pid: Vec<u32>,
    /// Processes with all their descendants.
    pub tree: Vec<ProcessFilter>,
    /// Ids of containers, or their beginnings.
    pub container: Vec<String>,
    /// User names or numbers.
    pub user: Vec<String>,
    /// What this user's processes did, and what could not be seen of instances that this user began, whatever else is
    /// asked: for readers who may see only their own.
    pub only_uid: Option<u32>,
    /// Globs for paths, byte by byte: files, targets of renames and links, programs that were executed, unix sockets
    /// (abstract ones as `@NAME`). `*` stays within a directory, `**` does not; `\\` takes a special character as it is.
    pub path: Vec<String>,
    /// Destinations: `ADDRESS`, `NETWORK/PREFIX`, `NAME`, `*.NAME`, each with or without `:PORT` (IPv6 with a
    /// port in brackets). Names that were asked for in DNS count, too.
    pub destination: Vec<String>,
    /// Text anywhere in the line, as the contract writes it.
    pub text: Option<String>,
}

/// A process and its descendants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessFilter {
    /// Process id.
    pub pid: u32,
    /// Nanoseconds from boot to its start; `None` for every process that had this id.
    pub start: Option<u64>,
}

/// In which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The newest row first.
    #[default]
    NewestFirst,
    /// The oldest row first; the way to follow.
    OldestFirst,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Which events.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// How many rows at most.
    pub limit: usize,
    /// Only rows beyond this one, in the direction of `order`.
    pub after: Option<Cursor>,
    /// How long the search may take; what was found until then is answered.
    pub budget: Duration,
    /// With the lines. Where rows alone are wanted, the index answers by itself.
    pub lines: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            order: Order::default(),
            limit: 100,
            after: None,
            budget: Duration::from_secs(10),
            lines: true,
        }
    }
}

/// A recorded event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its place.
    pub cursor: Cursor,
    /// The JSON object as it was recorded, one line without its end; nothing when lines were not asked for.
    pub line: String,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The rows, in the order that was asked for.
    pub rows: Vec<Row>,
    /// Where to go on: give it as [`Query::after`].
    pub next: Option<Cursor>,
    /// True when there is nothing more beyond `next` now; false when the limit or the budget ended the search.
    pub complete: bool,
}

/// What events are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CountBy {
    /// Workload (its id).
    Workload,
    /// Instance.
    Instance,
    /// Kind of event.
    Kind,
    /// Verdict.
    Verdict,
    /// Rule; events that broke none are left out.
    Rule,
    /// Path; events without one are left out.
    Path,
    /// Destination; events without one are left out.
    Destination,
    /// The program that did it.
    Program,
    /// Minute, as seconds since 1970.
    Minute,
    /// Hour, as seconds since 1970.
    Hour,
}

/// One line of counted events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The value that was counted by.
    pub key: String,
    /// Occurrences, repeats included.
    pub events: u64,
    /// Rows.
    pub rows: u64,
}

/// Bytes between a workload and a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Workload id.
    pub workload: String,
    /// Workload name.
    pub workload_name: String,
    /// `NAME:PORT` or `ADDRESS:PORT`.
    pub destination: String,
    /// Connections that ended.
    pub connections: u64,
    /// Bytes out.
    pub bytes_sent: u64,
    /// Bytes in.
    pub bytes_received: u64,
    /// When the destination was first seen.
    pub first: Timestamp,
    /// When it was last seen.
    pub last: Timestamp,
}

/// A workload's touch of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Touch {
    /// The path.
    pub path: String,
    /// Workload id.
    pub workload: String,
    /// Workload name.
    pub workload_name: String,
    /// The program that did it.
    pub program: String,
    /// Kind of event.
    pub kind: String,
    /// Verdict.
    pub verdict: String,
    /// Occurrences.
    pub events: u64,
    /// First.
    pub first: Timestamp,
    /// Last.
    pub last: Timestamp,
    /// The newest row.
    pub row: Cursor,
}

/// How many events got which verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerdictCounts {
    /// `expected`.
    pub expected: u64,
    /// `unjudged`.
    pub unjudged: u64,
    /// `unexpected`.
    pub unexpected: u64,
    /// `forbidden`.
    pub forbidden: u64,
}

/// A process that did something, one for each program that it executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessRow {
    /// Process id.
    pub pid: u32,
    /// Nanoseconds from boot to its start.
    pub start: u64,
    /// Counts the programs it executed.
    pub exec_id: u32,
    /// Boot id: starts of different boots cannot be compared.
    pub boot: String,
    /// The process it descends from, if that belongs to the lineage: pid and start.
    pub parent: Option<(u32, u64)>,
    /// The program.
    pub exe: String,
    /// Its masked arguments.
    pub args: Vec<String>,
    /// User id.
    pub uid: u32,
    /// User name.
    pub user: Option<String>,
    /// Container id.
    pub container: Option<String>,
    /// Workload id.
    pub workload: String,
    /// Workload name.
    pub workload_name: String,
    /// Instance.
    pub instance: String,
    /// Its first event.
    pub first: Timestamp,
    /// Its last event.
    pub last: Timestamp,
    /// What it did, by verdict.
    pub verdicts: VerdictCounts,
}

/// An instance of a workload that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkloadRow {
    /// Workload id.
    pub workload: String,
    /// Instance.
    pub instance: String,
    /// `server` or `agent`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// The client that declares or started it.
    pub client: Option<String>,
    /// Id of the workload that started it.
    pub parent: Option<String>,
    /// First event.
    pub first: Timestamp,
    /// Last event.
    pub last: Timestamp,
    /// What it did, by verdict.
    pub verdicts: VerdictCounts,
}

/// Which findings. Combined as those of [`Filter`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FindingFilter {
    /// Last seen not before.
    pub since: Option<Timestamp>,
    /// First seen before.
    pub until: Option<Timestamp>,
    /// States.
    pub state: Vec<FindingState>,
    /// Ids of rules.
    pub rule: Vec<String>,
    /// This severity and above.
    pub severity: Option<Severity>,
    /// Names of workloads, their ids or instances, or beginnings of these ids ([`is_workload`]).
    pub workload: Vec<String>,
    /// Ids of findings, or their beginnings.
    pub id: Vec<String>,
    /// Only of this user's processes.
    pub only_uid: Option<u32>,
    /// Those that changed after this number of the store's changes ([`FindingRow::change`]): the way to follow.
    pub changed_after: Option<u64>,
    /// How many at most; 0 for as many as there may be.
    pub limit: usize,
    /// In which order of their last occurrence; of their changes when `changed_after` is given.
    pub order: Order,
}

/// A recorded finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingRow {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: FindingState,
    /// Grows with each change of any finding.
    pub change: u64,
    /// The JSON object of the contract with its present state and count, one line without its end. Who dealt with it
    /// stands under `handling`: `uid`, `time`, `reason`, `until`.
    pub line: String,
}
