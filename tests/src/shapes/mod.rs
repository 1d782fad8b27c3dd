//! Process shapes: how servers and agents are really started, and what the monitor must take them for.

mod bench;
mod docker;
mod plan;
mod talk;

pub use bench::{Bench, Outcome};
pub(crate) use docker::Docker;
