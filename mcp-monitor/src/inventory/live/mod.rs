//! Which running processes are MCP servers and agent runners, and which server, started by whom.
//!
//! A program that is executed becomes a [`Program`](program::Program): what it is once wrappers, shells and launchers
//! are taken off. [`Classifier`](classify::Classifier) says what that means where it was started: an agent, a server
//! that a configuration declares, one that none declares, something that looks like one, or an ordinary program.
//! [`Registry`](registry::Registry) keeps the workloads and their instances, from their first instruction to the end
//! of their last process. What any of it is, is known by resolved paths and first arguments, never by a name that a
//! process gave itself.
//!
//! What is known of launchers, agents and servers stands in `data/launchers.yaml`, `data/agents.yaml` and
//! `data/servers.yaml`. No parser here panics, whatever a process puts into its arguments.

pub mod agents;
pub mod classify;
pub mod configured;
pub mod instance;
pub mod marks;
pub mod matching;
pub mod options;
pub mod package;
pub mod procfs;
pub mod program;
pub mod registry;
pub mod snapshot;
pub mod suspects;
pub mod tools;

pub use classify::Classifier;
pub use configured::Configured;
pub use registry::{Host, Registry, Step};
pub use snapshot::Snapshot;

#[cfg(test)]
mod testing;
