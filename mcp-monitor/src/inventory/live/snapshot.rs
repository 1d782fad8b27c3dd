//! What is told of the workloads at one moment: the answer of the running monitor, and what `workloads` shows.
//!
//! Text of foreign origin is escaped already, so that it may be shown anywhere.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    instance::{Instance, Origin},
    registry::Registry,
};
use crate::{
    event::{Bytes, WorkloadKind, escape},
    host::clock::Clock,
    inventory::declared::Transport,
};

/// The name of this form.
pub const SCHEMA: &str = "mcp-monitor/inventory/v1";

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// [`SCHEMA`].
    pub schema: String,
    /// When, RFC 3339.
    pub time: String,
    /// The tier in use.
    pub tier: String,
    /// Instances, in the order of their starts.
    pub instances: Vec<InstanceView>,
    /// Declared servers of which no instance is known.
    pub idle: Vec<DeclaredView>,
    /// What looks like a server and is unknown.
    pub unmatched: Vec<UnmatchedView>,
    /// Ended instances that are no longer known.
    pub forgotten: u64,
    /// Instances that were not kept, since there are too many.
    pub refused: u64,
}

/// One instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceView {
    /// The workload's id.
    pub workload: String,
    /// The instance's id.
    pub instance: String,
    /// The id of the instance that started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// `server` or `agent`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// `agent`, `declared`, `undeclared` or `named`.
    pub origin: String,
    /// `running`, `orphan` or `ended`.
    pub state: String,
    /// The declaration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared: Option<DeclaredView>,
    /// Runtime.
    pub runtime: String,
    /// Launcher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launcher: Option<String>,
    /// Package, without version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Version of the instance before, if it was another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_before: Option<String>,
    /// Program, script or module.
    pub program: String,
    /// Where it passes on to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// First process.
    pub pid: u32,
    /// Processes that live.
    pub processes: u32,
    /// User.
    pub user: String,
    /// Working directory.
    pub working_directory: String,
    /// Container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The container's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// Image of the container that it runs in or started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The container's labels, `NAME=VALUE`, masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The systemd unit that it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Start, RFC 3339.
    pub started: String,
    /// End, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Instances of the workload before this one.
    pub restarts: u64,
    /// Events.
    pub events: u64,
    /// Events in the last minute.
    pub events_per_minute: u64,
    /// Findings.
    pub findings: u64,
    /// What was not seen.
    pub coverage: Vec<CoverageView>,
}

/// What was not seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CoverageView {
    /// Cause.
    pub cause: String,
    /// In words.
    pub what: String,
}

/// A declaration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeclaredView {
    /// Its id, which is the workload's.
    pub id: String,
    /// Client.
    pub client: String,
    /// Name.
    pub name: String,
    /// `user`, `project` …
    pub scope: String,
    /// File.
    pub file: String,
    /// Line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Key.
    pub key: String,
    /// `approved`, `not-approved`, `disabled` or `unknown`.
    pub approval: String,
    /// Why.
    pub approval_reason: String,
    /// `stdio` or `remote`.
    pub transport: String,
    /// The address of a remote one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The declaration that the client takes instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overridden_by: Option<String>,
    /// Names of its variables.
    pub environment_names: Vec<String>,
}

/// Something that looks like a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnmatchedView {
    /// Name.
    pub name: String,
    /// Process.
    pub pid: u32,
    /// Executable.
    pub program: String,
    /// Masked arguments.
    pub arguments: Vec<String>,
    /// Client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Instance below which it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Start, RFC 3339.
    pub started: String,
}

impl Snapshot {
    /// What `registry` knows now; `declared` is every declaration.
    #[must_use]
    pub fn of(
        registry: &Registry,
        declared: &[crate::inventory::declared::DeclaredServer],
        clock: Clock,
        tier: &str,
    ) -> Self {
        let now = Clock::now();
        let time = |at| clock.timestamp(at).to_string();
        let known: std::collections::HashSet<&str> =
            registry.instances().map(|instance| instance.workload.id.as_str()).collect();
        Self {
            schema: SCHEMA.to_owned(),
            time: time(now),
            tier: tier.to_owned(),
            instances: registry.instances().map(|instance| view(instance, clock)).collect(),
            idle: declared
                .iter()
                .filter(|server| !known.contains(server.id.to_string().as_str()))
                .map(declared_view)
                .collect(),
            unmatched: registry
                .suspects()
                .listed()
                .into_iter()
                .map(|suspect| UnmatchedView {
                    name: suspect.name.escaped(),
                    pid: suspect.process.pid.0,
                    program: suspect.program.escaped(),
                    arguments: suspect.arguments.iter().map(Bytes::escaped).collect(),
                    client: suspect.client.clone(),
                    parent: suspect.parent.as_deref().map(str::to_owned),
                    started: time(suspect.since),
                })
                .collect(),
            forgotten: registry.counts().forgotten,
            refused: registry.counts().refused,
        }
    }
}

fn view(instance: &Instance, clock: Clock) -> InstanceView {
    let now = Clock::now();
    let workload = &instance.workload;
    InstanceView {
        workload: workload.id.clone(),
        instance: workload.instance.clone(),
        parent: instance.parent.as_deref().map(str::to_owned),
        kind: match workload.kind {
            WorkloadKind::Agent => "agent",
            WorkloadKind::Server => "server",
        }
        .to_owned(),
        name: escape(workload.name.as_bytes()),
        client: workload.client.clone(),
        origin: instance.origin.name().to_owned(),
        state: instance.state.name().to_owned(),
        declared: match &instance.origin {
            Origin::Declared(server) => Some(declared_view(server)),
            _ => None,
        },
        runtime: instance.runtime.name().to_owned(),
        launcher: instance.launcher.clone(),
        package: instance.package.as_ref().map(super::package::Package::key),
        version: instance.package.as_ref().and_then(|package| package.version.clone()),
        version_before: instance.version_before.clone(),
        program: instance.program.escaped(),
        address: instance.address.as_ref().map(Bytes::escaped),
        pid: instance.root.pid.0,
        processes: instance.processes,
        user: instance.user.as_ref().map_or_else(|| instance.uid.to_string(), |user| escape(user.as_bytes())),
        working_directory: instance.working_directory.escaped(),
        container: instance.container.clone(),
        container_name: instance.container_name.as_ref().map(|name| escape(name.as_bytes())),
        image: instance.image.as_ref().map(|image| escape(image.as_bytes())),
        labels: instance
            .labels
            .iter()
            .map(|(name, value)| escape(format!("{name}={value}").as_bytes()))
            .collect(),
        unit: instance.unit.as_ref().map(|unit| escape(unit.as_bytes())),
        started: clock.timestamp(instance.started).to_string(),
        ended: instance.ended.map(|ended| clock.timestamp(ended).to_string()),
        restarts: instance.earlier,
        events: instance.events.total,
        events_per_minute: instance.events.per_minute(now),
        findings: instance.findings.total,
        coverage: instance
            .coverage
            .iter()
            .map(|(cause, what)| CoverageView { cause: (*cause).to_owned(), what: escape(what.as_bytes()) })
            .collect(),
    }
}

fn declared_view(server: &crate::inventory::declared::DeclaredServer) -> DeclaredView {
    let (transport, url) = match &server.transport {
        Transport::Stdio { .. } => ("stdio", None),
        Transport::Remote { url, .. } => ("remote", Some(escape(url.as_bytes()))),
    };
    let path = |path: &std::path::Path| {
        use std::os::unix::ffi::OsStrExt as _;
        escape(path.as_os_str().as_bytes())
    };
    DeclaredView {
        id: server.id.to_string(),
        client: server.client.to_string(),
        name: escape(server.name.as_bytes()),
        scope: server.scope.word().to_owned(),
        file: path(&server.place.path),
        line: server.place.line,
        key: escape(server.place.key.as_bytes()),
        approval: server.approval.state.name().to_owned(),
        approval_reason: escape(server.approval.why.as_bytes()),
        transport: transport.to_owned(),
        url,
        overridden_by: server.overridden_by.as_ref().map(|place| path(&place.path)),
        environment_names: server.environment_names.iter().map(|name| escape(name.as_bytes())).collect(),
    }
}
