//! The monitor as a service of a host: what is told to the service manager, what the process gives away once it is
//! attached, and how it is put onto a host and taken off again.
//!
//! Promises that nothing here is needed for monitoring: without a service manager [`Manager`] is silent, and what a
//! kernel cannot enforce of the [`sandbox`] is said, not hidden.

pub mod install;
mod manager;
pub mod sandbox;

use std::path::PathBuf;

pub use manager::Manager;

/// How `run` behaves as a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Give away, once attached, what is not needed any more.
    pub sandbox: bool,
    /// The configuration that is read again on a reload.
    pub configuration: Option<PathBuf>,
}
