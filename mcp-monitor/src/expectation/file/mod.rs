//! Expectations as files: YAML in `/etc/mcp-monitor/expectations.d`, several documents in each.
//!
//! [`Set::load`] reads a directory ([`read`]), understands every document ([`format`], [`check`]) and refuses the whole
//! set when anything is wrong, with every mistake at its file, line and column ([`error`]). [`Set::select`] finds the
//! most specific expectation of a workload ([`selector`]); [`Compiled`] is that expectation with its variables filled
//! in, ready to be asked about each thing that an instance does ([`compile`], [`review`]).
//!
//! Promises: a set is taken as a whole or not at all; nothing here runs, resolves or follows anything that a file
//! names; files are bounded in size and number; what the catalogue forbids is never allowed by a pattern.

pub mod check;
pub mod compile;
pub mod destination;
pub mod error;
pub mod format;
pub mod read;
pub mod review;
pub mod selector;
pub mod set;
#[cfg(test)]
mod tests;
pub mod times;

pub use check::{Expectation, Mode, Section};
pub use compile::{Compiled, Said};
pub use error::{LoadError, Mistake};
pub use review::{Base, Deed, Reviewed};
pub use selector::Subject;
pub use set::Set;

/// Where expectations are kept.
pub const DEFAULT_DIRECTORY: &str = "/etc/mcp-monitor/expectations.d";
