//! The monitor as an object of what it watches: its process, its program, its files.

use std::{os::unix::ffi::OsStrExt as _, path::PathBuf};

use crate::{event::ProcessId, expectation::glob::is_below};

/// The monitor itself.
#[derive(Clone, Debug, Default)]
pub struct Monitor {
    /// Its process.
    pub process: Option<ProcessId>,
    /// Its program, settings and records, beside the usual places.
    pub places: Vec<PathBuf>,
}

impl Monitor {
    /// The running monitor, with its program.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self {
            process: Some(ProcessId(std::process::id())),
            places: std::env::current_exe().into_iter().collect(),
        }
    }

    pub(super) fn owns(&self, path: &[u8]) -> bool {
        self.places.iter().any(|place| is_below(path, place.as_os_str().as_bytes()))
    }

    pub(super) fn is_process(&self, process: ProcessId) -> bool {
        self.process == Some(process)
    }
}
