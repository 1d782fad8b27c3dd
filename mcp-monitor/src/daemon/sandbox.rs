//! The sandbox's place in the wiring: which directories the stages still write to.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _, path::PathBuf};

use super::{DaemonError, Settings};
use crate::{export::Config, host::kernel::Facts, service::sandbox};

/// Gives away what the stages do not need, if it is wanted.
pub(super) fn enter(settings: &Settings) -> Result<sandbox::Report, DaemonError> {
    // Asked while there are privileges.
    Facts::at_start();
    if !settings.service.sandbox {
        return Ok(sandbox::off());
    }
    if let Some(store) = &settings.store {
        // It must be there to be allowed; the store makes it the same way.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&store.directory);
        made.map_err(|error| {
            DaemonError::Usage(format!("the store {} cannot be made: {error}", store.directory.display()))
        })?;
    }
    Ok(sandbox::enter(&writable(settings)))
}

/// Directories that are written to after the start: the store with what sinks remember, the socket's, those of files
/// that sinks write.
fn writable(settings: &Settings) -> Vec<PathBuf> {
    let store = settings.store.iter().map(|store| store.directory.clone());
    let socket = settings.control.iter().filter_map(|control| control.socket.parent()).map(PathBuf::from);
    let files = settings.sinks.iter().flat_map(Config::directories);
    let mut all: Vec<PathBuf> = store.chain(socket).chain(files).collect();
    all.sort();
    all.dedup();
    all
}
