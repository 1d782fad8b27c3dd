//! Workloads and their instances: what is kept of each.

use std::{collections::VecDeque, sync::Arc};

use uuid::Uuid;

use super::{package::Package, program::Program, tools::Runtime};
use crate::{
    event::{BootNs, Bytes, ProcessKey, Workload, WorkloadKind},
    inventory::declared::DeclaredServer,
};

/// Names the space of ids: a version 5 UUID of `mcp-monitor/workload` in the URL name space.
const SPACE: Uuid = Uuid::from_u128(0x5d4c_6a52_8c6e_5b0e_a0a5_6a1b_95b1_6f57);
/// Notes of what was not seen that are kept of an instance.
const COVERAGE_MAX: usize = 16;
/// Nanoseconds of the window that rates are over.
const MINUTE_NS: u64 = 60_000_000_000;

/// How a workload came to be known.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// The command line of the monitor names it.
    Named,
    /// An agent runner.
    Agent,
    /// A server that a configuration declares.
    Declared(Arc<DeclaredServer>),
    /// An administrator names it.
    Configured,
    /// A server that none declares.
    Undeclared,
}

impl Origin {
    /// The word that people and programs read.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Agent => "agent",
            Self::Declared(_) => "declared",
            Self::Configured => "configured",
            Self::Undeclared => "undeclared",
        }
    }
}

/// How an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Some of its processes live, and so does its client.
    Running,
    /// It lives and its client has gone.
    Orphan,
    /// Its last process has gone.
    Ended,
}

impl State {
    /// The word that people and programs read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Orphan => "orphan",
            Self::Ended => "ended",
        }
    }
}

/// How many in the last minute, counted in two halves of what is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    minute: u64,
    now: u64,
    before: u64,
    /// All of them.
    pub total: u64,
}

impl Rate {
    /// `count` more.
    pub fn add(&mut self, count: u64, at: BootNs) {
        self.turn(at);
        self.now += count;
        self.total += count;
    }

    /// How many in the minute before `at`, as far as whole minutes tell.
    #[must_use]
    pub fn per_minute(mut self, at: BootNs) -> u64 {
        self.turn(at);
        let into = at.0 % MINUTE_NS;
        // Of the minute before, the part that is no longer than a minute ago.
        let rest = u128::from(self.before) * u128::from(MINUTE_NS - into) / u128::from(MINUTE_NS);
        self.now + u64::try_from(rest).unwrap_or(u64::MAX)
    }

    fn turn(&mut self, at: BootNs) {
        let minute = at.0 / MINUTE_NS;
        match minute.saturating_sub(self.minute) {
            0 => {}
            1 => (self.before, self.now) = (self.now, 0),
            _ => (self.before, self.now) = (0, 0),
        }
        self.minute = self.minute.max(minute);
    }
}

/// One running or ended lineage of a workload.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Under which it is kept.
    pub id: Arc<str>,
    /// As events show it.
    pub workload: Arc<Workload>,
    /// How it came to be known.
    pub origin: Origin,
    /// The instance that started it, if that is one.
    pub parent: Option<Arc<str>>,
    /// The process that is its client, if that is in no instance.
    pub client_process: Option<ProcessKey>,
    /// Its first process.
    pub root: ProcessKey,
    /// What executes it.
    pub runtime: Runtime,
    /// What fetched it.
    pub launcher: Option<String>,
    /// Its package, with the version as soon as it is known.
    pub package: Option<Package>,
    /// Its program, for people.
    pub program: Bytes,
    /// Where it passes on to.
    pub address: Option<Bytes>,
    /// Working directory at its start.
    pub working_directory: Bytes,
    /// Its user.
    pub uid: u32,
    /// The user's name.
    pub user: Option<String>,
    /// Container.
    pub container: Option<String>,
    /// The container's name.
    pub container_name: Option<String>,
    /// The image of the container that it runs in or started.
    pub image: Option<String>,
    /// The container's labels, their values masked.
    pub labels: Vec<(String, String)>,
    /// The systemd unit that it runs in.
    pub unit: Option<String>,
    /// How it is.
    pub state: State,
    /// When it was first seen.
    pub started: BootNs,
    /// When its last process ended.
    pub ended: Option<BootNs>,
    /// It ran before the monitor did.
    pub bootstrap: bool,
    /// Processes that live.
    pub processes: u32,
    /// Instances of the workload before this one.
    pub earlier: u64,
    /// The version that the one before had, if another.
    pub version_before: Option<String>,
    /// Events.
    pub events: Rate,
    /// Findings.
    pub findings: Rate,
    /// What was not seen.
    pub coverage: VecDeque<(&'static str, String)>,
}

impl Instance {
    /// Keeps a note of what was not seen, each once.
    pub fn note(&mut self, cause: &'static str, what: &str) {
        if self.coverage.iter().any(|(known, text)| *known == cause && text == what) {
            return;
        }
        if self.coverage.len() >= COVERAGE_MAX {
            self.coverage.pop_front();
        }
        self.coverage.push_back((cause, what.to_owned()));
    }

    /// True while processes of it live.
    #[must_use]
    pub fn lives(&self) -> bool {
        self.state != State::Ended
    }
}

/// The stable id of an agent of a user.
#[must_use]
pub fn agent_id(agent: &str, uid: u32) -> String {
    id(&[b"agent", agent.as_bytes(), uid.to_string().as_bytes()])
}

/// The stable id of a declared server.
#[must_use]
pub fn declared_id(server: &DeclaredServer) -> String {
    server.id.to_string()
}

/// The stable id of a server that nobody declared: what it is, whose, and of which client. Not its version, so that an
/// upgrade is the same server.
#[must_use]
pub fn undeclared_id(program: &Program, client: Option<&str>, uid: u32) -> String {
    let what = match (&program.package, &program.script, &program.module) {
        (Some(package), _, _) => package.key().into_bytes(),
        (None, Some(script), _) => script.as_slice().to_vec(),
        (None, None, Some(module)) => module.as_slice().to_vec(),
        (None, None, None) => program.executable.as_slice().to_vec(),
    };
    id(&[b"server", client.unwrap_or_default().as_bytes(), uid.to_string().as_bytes(), &what])
}

/// The stable id of a workload that an administrator names.
#[must_use]
pub fn configured_id(name: &str) -> String {
    id(&[b"configured", name.as_bytes()])
}

/// The stable id of a server that only its container's label names.
#[must_use]
pub fn labelled_id(name: &str, image: Option<&Package>) -> String {
    let image = image.map(Package::key).unwrap_or_default();
    id(&[b"container", name.as_bytes(), image.as_bytes()])
}

fn id(parts: &[&[u8]]) -> String {
    Uuid::new_v5(&SPACE, &parts.join(&0)).to_string()
}

/// A new instance's id.
#[must_use]
pub fn new_instance_id() -> String {
    Uuid::now_v7().to_string()
}

/// What an instance is to be judged as.
#[must_use]
pub fn is_agent(instance: &Instance) -> bool {
    instance.workload.kind == WorkloadKind::Agent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_forget() {
        let mut rate = Rate::default();
        let at = |seconds: u64| BootNs(seconds * 1_000_000_000);
        rate.add(60, at(30));
        assert_eq!(rate.per_minute(at(59)), 60);
        assert_eq!(rate.per_minute(at(90)), 30);
        assert_eq!(rate.per_minute(at(200)), 0);
        rate.add(1, at(500));
        assert_eq!((rate.per_minute(at(500)), rate.total), (1, 61));
    }
}
