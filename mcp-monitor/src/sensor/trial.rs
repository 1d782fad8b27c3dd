//! What a trial of every mechanism on this host came to. `doctor` shows it.

use mcp_monitor_common::mechanism::{Observation, Tier};

/// The result of trying every program of the table once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// The strongest tier whose core programs attached and fired; `None` when none did.
    pub tier: Option<Tier>,
    /// One row per program and tier tried.
    pub programs: Vec<ProgramTrial>,
}

/// One program's trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramTrial {
    /// The program, as in [`mcp_monitor_common::mechanism::PROGRAMS`].
    pub name: &'static str,
    /// What it is for.
    pub observation: Observation,
    /// The tier it was tried for; the tier in use for programs of all tiers.
    pub tier: Tier,
    /// What came of it.
    pub state: ProgramState,
}

/// What came of a program's trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramState {
    /// Loaded, attached, and where a canary exists it fired.
    Attached,
    /// Not loaded, not attached, or silent: why.
    Refused(String),
    /// A stronger tier or an earlier refusal made it needless.
    NotTried,
}
