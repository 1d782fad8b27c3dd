//! What a workload may do, and whether an event keeps to it.
//!
//! [`Judge`] is the stage: it gives each [`Event`](crate::event::Event) a verdict, the reason for it and, where one
//! was broken, the rule. What it knows stands in the data files of `mcp-monitor/data`, read once: the secrets
//! catalogue ([`catalogue`], [`secrets`]), programs ([`program`]), commands ([`commands`]) and
//! names that programs take ([`disguise`]), runtime profiles ([`profile`]), places
//! ([`places`]) and networks ([`network`], [`names`], [`destinations`]). Nothing here resolves a name, and
//! only [`scan`] looks at the host: at directories and metadata, never into files.

pub mod catalogue;
pub mod commands;
pub mod data;
pub mod destinations;
pub mod disguise;
pub mod file;
pub mod glob;
pub mod judge;
pub mod learn;
pub mod lineage;
pub mod names;
pub mod network;
pub mod places;
pub mod profile;
pub mod program;
pub mod scan;
pub mod secrets;
pub mod settings;

pub use judge::{
    Context, Declared, ForeignListener, Judge, JudgeConfig, JudgeCounts, JudgeError, Monitor, Touched,
};
pub use network::{Egress, EgressError};
