//! Real MCP servers under the monitor and under strace at once: what strace saw has to be among the events.

mod compare;
mod events;
mod plan;
mod run;
mod strace;

pub use run::{Place, Session, Verdict};
