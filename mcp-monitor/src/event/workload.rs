//! Workloads: what expectations are about.

/// What kind of workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WorkloadKind {
    /// An MCP server, or whatever `watch` runs: judged by expectation.
    #[default]
    Server,
    /// An agent runner: judged by consequence.
    Agent,
}

impl WorkloadKind {
    /// The word that people and programs read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Agent => "agent",
        }
    }
}

/// The workload and instance that an event belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Stable hash of what it is.
    pub id: String,
    /// One running lineage.
    pub instance: String,
    /// Kind.
    pub kind: WorkloadKind,
    /// Name for people.
    pub name: String,
    /// The client that declares or started it, e.g. `claude-code`.
    pub client: Option<String>,
    /// Id of the workload that started it.
    pub parent: Option<String>,
}
