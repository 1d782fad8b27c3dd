//! What is known of one instance beside its events: how it is judged, where its work and its own files lie, what it
//! is declared to do. Told by [`Judge::describe`] when the instance becomes known; without it an instance is judged
//! by the kind that its events carry and by what the command line declares.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use super::{
    Judge, JudgeError,
    allowed::{Allowed, Declared},
};
use crate::{
    event::WorkloadKind,
    expectation::glob::{is_below, trim_slashes},
};

/// Instances that are described at once; one more is refused and counted, and is judged by its events alone.
const INSTANCES_MAX: usize = 4096;
/// Directories that are kept of one instance.
const DIRECTORIES_MAX: usize = 32;

/// What the inventory knows of an instance.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// How it is judged. An agent that a server or a package's install script started is judged as a server, whatever
    /// kind its events show to people.
    pub kind: WorkloadKind,
    /// The client that declares or started it, such as `claude-code`.
    pub client: Option<String>,
    /// The home directory that it works with, if it is none of the host's.
    pub home: Option<PathBuf>,
    /// Where its work lies.
    pub workspaces: Vec<PathBuf>,
    /// Directories that are its own: an agent's state, a server's package.
    pub own_directories: Vec<PathBuf>,
    /// What it is declared to do, by whom; in the order in which they decide.
    pub declared: Vec<Declared>,
}

/// A [`Context`] made ready for judging.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub(super) kind: Option<WorkloadKind>,
    pub(super) workspaces: Vec<Vec<u8>>,
    pub(super) own_directories: Vec<Vec<u8>>,
    pub(super) declared: Vec<Allowed>,
}

impl Scope {
    /// The path lies where the instance works.
    pub(super) fn is_in_workspace(&self, path: &[u8]) -> bool {
        self.workspaces.iter().any(|place| is_below(path, place))
    }

    /// The path lies in a directory of the instance itself.
    pub(super) fn is_own(&self, path: &[u8]) -> bool {
        self.own_directories.iter().any(|place| is_below(path, place))
    }
}

/// The instances that are described.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    by_instance: HashMap<Arc<str>, Arc<Scope>>,
    unknown: Arc<Scope>,
    refused: u64,
}

impl Scopes {
    pub(super) fn get(&self, instance: &str) -> Arc<Scope> {
        Arc::clone(self.by_instance.get(instance).unwrap_or(&self.unknown))
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    pub(super) fn forget(&mut self, instance: &str) {
        self.by_instance.remove(instance);
    }
}

impl Judge {
    /// Says what is known of an instance; may be said again when more is known. Events that were judged before keep
    /// their verdicts.
    pub fn describe(&mut self, instance: &str, context: Context) -> Result<(), JudgeError> {
        let Context { kind, client: _, home, workspaces, own_directories, declared } = context;
        let declared = declared
            .into_iter()
            .map(|declared| Allowed::new(declared, self.secrets.catalogue()))
            .collect::<Result<_, _>>()?;
        let scopes = &mut self.scopes;
        if scopes.by_instance.len() >= INSTANCES_MAX && !scopes.by_instance.contains_key(instance) {
            scopes.refused += 1;
            return Ok(());
        }
        let scope = Scope {
            kind: Some(kind),
            workspaces: directories(workspaces),
            own_directories: directories(own_directories),
            declared,
        };
        scopes.by_instance.insert(instance.into(), Arc::new(scope));
        if let Some(home) = home {
            self.secrets.add_home(&home);
        }
        Ok(())
    }

    /// Forgets what was said of an instance that has ended. What it did is forgotten with its last process.
    pub fn forget(&mut self, instance: &str) {
        self.scopes.forget(instance);
    }
}

/// Absolute directories that are not the whole host.
fn directories(paths: Vec<PathBuf>) -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut kept = Vec::new();
    for path in paths {
        let bytes = trim_slashes(path.as_os_str().as_bytes());
        if bytes.len() > 1 && path.is_absolute() && kept.len() < DIRECTORIES_MAX {
            kept.push(bytes.to_vec());
        }
    }
    kept
}
