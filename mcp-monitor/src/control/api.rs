//! What the API says, as types: the server writes them, the client reads them, the published description of the API is
//! made from them. Names of monitored processes stand in them escaped.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request was not answered as asked.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// In words, with what to do.
    pub reason: String,
}

/// How the monitor is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// `mcp-monitor/status/v1`.
    pub schema: String,
    /// Version of the monitor.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Name of the host.
    pub host: String,
    /// The tier in use.
    pub tier: String,
    /// Since when, RFC 3339.
    pub started: String,
    /// Seconds since then.
    pub uptime_s: u64,
    /// The pipeline turned in the last seconds.
    pub alive: bool,
    /// Kernel programs are attached.
    pub ready: bool,
    /// Instances that run.
    pub instances_running: u64,
    /// Instances that were seen since the start.
    pub instances: u64,
    /// Labelled processes that live.
    pub processes: u64,
    /// Occurrences since the start, by verdict.
    pub events: VerdictCounts,
    /// Events in the last ten seconds, for each second.
    pub events_per_second: f64,
    /// Findings since the start, by severity. Those that are suppressed are counted, too.
    pub findings: SeverityCounts,
    /// Those of them that are held, by where they stand.
    #[serde(default)]
    pub finding_states: StateCounts,
    /// Records that did not come through since the start.
    pub losses: Vec<LossCount>,
    /// What the control socket itself could not keep up with.
    pub control: ControlStatus,
    /// What the monitor has given away since it is attached.
    #[serde(default)]
    pub sandbox: crate::service::sandbox::Report,
    /// What the monitor does not tell this user, in words; absent for root and the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_to: Option<String>,
}

/// How the control socket is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ControlStatus {
    /// Where it listens.
    pub socket: String,
    /// Connections that are open.
    pub connections: u64,
    /// Readers that follow.
    pub followers: u64,
    /// Events that wait to be taken in.
    pub queue: u64,
    /// Events that did not fit into the queue; they are missing from answers, not from the stream of `run`.
    pub queue_dropped: u64,
    /// Events that are held in memory.
    pub held: u64,
    /// Answers come from a store: everything that was recorded can be asked for.
    #[serde(default)]
    pub recorded: bool,
}

/// Occurrences by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerdictCounts {
    /// Allowed.
    pub expected: u64,
    /// Not allowed.
    pub unexpected: u64,
    /// Wrong unless named.
    pub forbidden: u64,
    /// Not judged.
    pub unjudged: u64,
}

/// Findings by severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SeverityCounts {
    /// Worth knowing.
    pub low: u64,
    /// Worth a look today.
    pub medium: u64,
    /// Worth a look now.
    pub high: u64,
    /// Worth waking somebody.
    pub critical: u64,
}

/// Findings by where they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateCounts {
    /// Nobody has dealt with them.
    pub open: u64,
    /// Somebody looks after them.
    pub acknowledged: u64,
    /// Not to be told, for a reason and a time.
    pub suppressed: u64,
    /// Dealt with.
    pub closed: u64,
}

/// Records that did not come through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LossCount {
    /// Why.
    pub cause: String,
    /// How many.
    pub count: u64,
}

/// Every workload that was seen.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Workloads {
    /// `mcp-monitor/workloads/v1`.
    pub schema: String,
    /// One an instance, the latest first.
    pub workloads: Vec<WorkloadRow>,
    /// Instances that were forgotten since there are too many.
    pub forgotten: u64,
}

/// One instance of a workload.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct WorkloadRow {
    /// Stable id of the workload.
    pub id: String,
    /// Of this instance.
    pub instance: String,
    /// Name for people.
    pub name: String,
    /// `server` or `agent`.
    pub kind: String,
    /// The client that declares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Id of the workload that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// User id of its first process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Name of that user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Container of its first process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// It has living processes.
    pub running: bool,
    /// Frozen by an operator.
    #[serde(default)]
    pub paused: bool,
    /// Living processes that were seen.
    pub processes: u64,
    /// First event, RFC 3339.
    pub first_seen: String,
    /// Latest event, RFC 3339.
    pub last_seen: String,
    /// Occurrences by verdict.
    pub events: VerdictCounts,
    /// Events in the last ten seconds, for each second.
    pub events_per_second: f64,
    /// Findings by severity.
    pub findings: SeverityCounts,
    /// Records of it that were lost.
    pub lost: u64,
    /// Things that could not be seen of it; `coverage` lists them.
    pub not_seen: u64,
    /// Places it talked to, those with most events first.
    pub destinations: Vec<DestinationRow>,
}

/// A place that a workload talked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DestinationRow {
    /// `NAME:PORT` or `ADDRESS:PORT`.
    pub destination: String,
    /// The worst verdict of it.
    pub verdict: String,
    /// Events.
    pub count: u64,
    /// Bytes that went out on connections that ended.
    pub bytes_sent: u64,
    /// Bytes that came in on connections that ended.
    pub bytes_received: u64,
}

/// What could not be seen.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Coverage {
    /// `mcp-monitor/coverage/v1`.
    pub schema: String,
    /// The tier in use.
    pub tier: String,
    /// By workload and cause.
    pub rows: Vec<CoverageRow>,
    /// Notes beyond those that are kept.
    pub more: u64,
}

/// One thing that could not be seen of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CoverageRow {
    /// Name of the workload.
    pub workload: String,
    /// Its instance.
    pub instance: String,
    /// A cause of loss, `weaker-mechanism`, `started-before` …
    pub cause: String,
    /// In words.
    pub what: String,
    /// How many records, when counted.
    pub count: u64,
}

/// What an operator wants done, and why.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Why; it is recorded with who asked.
    pub reason: String,
    /// Until when, RFC 3339; for a suppression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// Findings of one rule and one workload that are not to be told, or are to be told again.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Suppression {
    /// Id of the rule.
    pub rule: String,
    /// Id or name of the workload.
    pub workload: String,
    /// Why; it is recorded with who asked.
    pub reason: String,
    /// Until when, RFC 3339; a year at most. Left out where a suppression is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// A proposal that somebody made the expectation in force.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    /// For which workload, or in which file.
    pub workload: String,
    /// The file and its digest.
    pub what: String,
}

/// What became of a wish.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// In words.
    pub what: String,
    /// Processes that were concerned.
    #[serde(default)]
    pub processes: u64,
}

/// What `mcp-monitor top` shows.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Top {
    /// `mcp-monitor/top/v1`.
    pub schema: String,
    /// How the monitor is.
    pub status: Status,
    /// Instances, the latest first.
    pub workloads: Vec<WorkloadRow>,
    /// Findings, the one seen last first.
    pub findings: Vec<FindingRow>,
}

/// A finding in short.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct FindingRow {
    /// Id.
    pub id: String,
    /// Broken rule.
    pub rule: String,
    /// How bad.
    pub severity: String,
    /// Where it stands.
    #[serde(default)]
    pub state: String,
    /// Name of the workload.
    pub workload: String,
    /// Its instance.
    pub instance: String,
    /// Process.
    pub pid: u32,
    /// Path, address or name.
    pub object: String,
    /// In words.
    pub message: String,
    /// How many times.
    pub count: u64,
    /// When it was last seen, RFC 3339.
    pub last_seen: String,
}

impl FindingRow {
    pub(super) fn new(finding: &crate::event::Finding, origin: &crate::render::Origin) -> Self {
        let text = |text: &String| crate::event::escape(text.as_bytes());
        Self {
            id: finding.id.clone(),
            rule: finding.rule.id().into(),
            severity: finding.severity.name().into(),
            state: finding.state.name().into(),
            workload: text(&finding.workload.name),
            instance: text(&finding.workload.instance),
            pid: finding.process.key.pid.0,
            object: crate::render::object_of(&finding.action),
            message: text(&finding.message),
            count: finding.count,
            last_seen: origin.time(finding.last_seen).to_string(),
        }
    }
}

/// What a host offers.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Doctor {
    /// `mcp-monitor/host/v1`.
    pub schema: String,
    /// Kernel release.
    pub kernel: String,
    /// Machine.
    pub machine: String,
    /// The tier in use.
    pub tier: String,
    /// One thing that was looked at each.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What.
    pub name: String,
    /// `ok`, `warn`, `fail`.
    pub state: String,
    /// What was found.
    pub found: String,
    /// What follows, where something is amiss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consequence: Option<String>,
    /// A command that repairs it, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<String>,
}
