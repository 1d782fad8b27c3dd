//! Which declared server an execution is.
//!
//! Every command line that was looked through is compared with the declared one as it is written; what a launcher
//! made of it is compared by package, script or program. The most specific declaration wins: of the client that is
//! the parent, of the nearest project folder, with the same arguments.

use std::{
    collections::{HashMap, HashSet},
    os::unix::ffi::OsStrExt as _,
    sync::Arc,
};

use super::{
    package::last_name,
    program::{Execution, Program, identify},
    tools::{Tools, without_version},
};
use crate::{
    event::Bytes,
    expectation::glob::{is_below, normalise},
    inventory::declared::{ApprovalState, ArgumentPattern, Declarations, DeclaredServer, Transport},
};

/// Where an execution took place, as far as declarations care.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting<'a> {
    /// The client below which it was executed.
    pub client: Option<&'a str>,
    /// Its user.
    pub uid: u32,
    /// The client's user, when the server was started as another one.
    pub client_uid: Option<u32>,
    /// Working directory.
    pub working_directory: &'a [u8],
    /// Mount namespace; `None` for the host's own.
    pub mount_namespace: Option<u64>,
}

/// How well a declaration fits; more is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    command: u32,
    own_client: bool,
    folder_bytes: usize,
    own_user: bool,
    effective: bool,
}

/// The command line is the declared one, word for word.
const SAME_WORDS: u32 = 4;
/// The same package, script, module or program, with the same arguments.
const SAME_ARGUMENTS: u32 = 3;
/// The same package, script or module, with other arguments.
const SAME_PROGRAM: u32 = 2;

/// One declaration with what its command comes to.
#[derive(Debug)]
struct Entry {
    server: Arc<DeclaredServer>,
    words: Vec<ArgumentPattern>,
    program: Program,
    script: Option<Vec<u8>>,
}

/// Every declaration, by what an execution may be known by.
#[derive(Debug, Default)]
pub struct Matcher {
    entries: Vec<Entry>,
    by_key: HashMap<Vec<u8>, Vec<usize>>,
}

impl Matcher {
    /// A matcher of these declarations.
    #[must_use]
    pub fn new(declarations: &Declarations, tools: &Tools) -> Self {
        let mut matcher = Self::default();
        for server in &declarations.servers {
            let Transport::Stdio { command, arguments, working_directory } = &server.transport else {
                continue;
            };
            let words: Vec<ArgumentPattern> = std::iter::once(command).chain(arguments).cloned().collect();
            let shown: Vec<Bytes> = words.iter().map(|word| word.shown().clone()).collect();
            let directory = working_directory.as_ref().and_then(|directory| directory.literal());
            let folder = server.project.as_ref().or(server.home.as_ref());
            let directory =
                directory.or_else(|| folder.map(|path| path.as_os_str().as_bytes())).unwrap_or_default();
            let program = identify(
                tools,
                &Execution {
                    executable: shown.first().map(Bytes::as_slice).unwrap_or_default(),
                    script: None,
                    arguments: &shown,
                    working_directory: directory,
                },
            );
            let script = program.script.as_ref().map(|script| normalise(script.as_slice(), directory));
            let entry = Entry { server: Arc::new(server.clone()), words, program, script };
            let index = matcher.entries.len();
            for key in entry.keys() {
                matcher.by_key.entry(key).or_default().push(index);
            }
            matcher.entries.push(entry);
        }
        matcher
    }

    /// The declaration that fits best.
    #[must_use]
    pub fn find(
        &self,
        executable: &[u8],
        program: &Program,
        setting: &Setting<'_>,
    ) -> Option<Arc<DeclaredServer>> {
        let candidates: HashSet<usize> = keys(executable, program)
            .iter()
            .filter_map(|key| self.by_key.get(key))
            .flatten()
            .copied()
            .collect();
        let mut best: Option<(Fit, usize)> = None;
        for index in candidates {
            let Some(fit) = self.entries.get(index).and_then(|entry| entry.fit(executable, program, setting))
            else {
                continue;
            };
            // Of equals the one that was declared first, so that the answer does not depend on chance.
            let better = best.is_none_or(|(best, at)| fit > best || (fit == best && index < at));
            if better {
                best = Some((fit, index));
            }
        }
        best.and_then(|(_, index)| self.entries.get(index)).map(|entry| Arc::clone(&entry.server))
    }

    /// Last names of the commands that clients other than these declare, as they stand in the files.
    pub fn command_names<'a>(&'a self, except: &'a HashSet<&str>) -> impl Iterator<Item = &'a [u8]> {
        self.entries
            .iter()
            .filter(|entry| !except.contains(entry.server.client.as_str()))
            .filter_map(|entry| entry.words.first().and_then(ArgumentPattern::last_name))
    }

    /// True when nothing is declared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Entry {
    fn keys(&self) -> HashSet<Vec<u8>> {
        let mut keys = keys(&[], &self.program);
        if let Some(name) = self.words.first().and_then(ArgumentPattern::last_name) {
            keys.insert([b"word:", name].concat());
        }
        if let Some(script) = &self.script {
            keys.insert([b"script:", script.as_slice()].concat());
        }
        keys
    }

    fn fit(&self, executable: &[u8], program: &Program, setting: &Setting<'_>) -> Option<Fit> {
        let server = &self.server;
        let own_user =
            server.uid == Some(setting.uid) || (server.uid.is_some() && server.uid == setting.client_uid);
        if server.uid.is_some() && !own_user {
            return None;
        }
        if server.mount_namespace != setting.mount_namespace && server.mount_namespace.is_some() {
            return None;
        }
        let folder = server.scope.folder().map(|path| path.as_os_str().as_bytes());
        if folder.is_some_and(|folder| !is_below(setting.working_directory, folder)) {
            return None;
        }
        let command = self.command(executable, program)?;
        let own_client = setting.client == Some(server.client.as_str());
        Some(Fit {
            command,
            own_client,
            folder_bytes: folder.map_or(0, <[u8]>::len),
            own_user,
            effective: server.overridden_by.is_none() && server.approval.state != ApprovalState::Disabled,
        })
    }

    fn command(&self, executable: &[u8], program: &Program) -> Option<u32> {
        let (command, arguments) = self.words.split_first()?;
        let is_command = |name: &[u8]| {
            command.matches(name)
                || command.last_name().is_some_and(|wanted| {
                    wanted == last_name(name)
                        || wanted == without_version(last_name(name)) && !wanted.is_empty()
                })
        };
        let same_words = program.levels.iter().enumerate().any(|(level, (name, words))| {
            let named = is_command(name.as_slice()) || (level == 0 && is_command(executable));
            named && agree(arguments, words)
        });
        if same_words {
            return Some(SAME_WORDS);
        }
        let declared = &self.program;
        let same_program = match (&declared.package, &declared.script, &declared.module) {
            (Some(package), _, _) => {
                program.package.as_ref().is_some_and(|other| other.key() == package.key())
            }
            (None, Some(_), _) => program.script.as_ref().map(Bytes::as_slice) == self.script.as_deref(),
            (None, None, Some(module)) => program.module.as_ref() == Some(module),
            // A program of its own is told by its name and its arguments together.
            (None, None, None) => {
                let same_name = !declared.executable_name().is_empty()
                    && (declared.executable_name() == program.executable_name()
                        || Some(declared.executable_name()) == program.script_name());
                return (same_name && !declared.code && !declared.shell_text && self.same_arguments(program))
                    .then_some(SAME_ARGUMENTS);
            }
        };
        same_program.then(|| if self.same_arguments(program) { SAME_ARGUMENTS } else { SAME_PROGRAM })
    }

    /// What follows the program, as patterns: the last words of the declared command.
    fn same_arguments(&self, program: &Program) -> bool {
        let count = self.program.arguments.len();
        let first = self.words.len().saturating_sub(count);
        self.words.get(first..).is_some_and(|patterns| agree(patterns, &program.arguments))
    }
}

fn agree(patterns: &[ArgumentPattern], words: &[Bytes]) -> bool {
    patterns.len() == words.len()
        && patterns.iter().zip(words).all(|(pattern, word)| pattern.matches(word.as_slice()))
}

/// Everything by which an execution may be looked up.
fn keys(executable: &[u8], program: &Program) -> HashSet<Vec<u8>> {
    let mut keys = HashSet::new();
    let word = |name: &[u8]| [b"word:", last_name(name)].concat();
    for (name, _) in &program.levels {
        keys.insert(word(name.as_slice()));
        keys.insert(word(without_version(last_name(name.as_slice()))));
    }
    keys.insert(word(executable));
    keys.insert(word(program.executable.as_slice()));
    if let Some(package) = &program.package {
        keys.insert([b"package:", package.key().as_bytes()].concat());
    }
    if let Some(script) = &program.script {
        keys.insert([b"script:", script.as_slice()].concat());
        keys.insert(word(script.as_slice()));
    }
    if let Some(module) = &program.module {
        keys.insert([b"module:", module.as_slice()].concat());
    }
    keys.remove(&b"word:"[..]);
    keys
}

#[cfg(test)]
#[path = "matching_tests.rs"]
mod tests;
