//! The expectations in force, and which instance goes by which. The set is read at the start and again when a file of
//! it changes; one that has mistakes leaves the old one in force and is told of.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::DaemonError;
use crate::{
    event::{Bytes, escape},
    expectation::{
        Judge,
        file::{Compiled, Expectation, Set, Subject, set::SetError},
    },
    inventory::live::{
        program::{Execution, identify},
        tools::Tools,
    },
};

/// Where expectations come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectationSource {
    /// A directory: every workload goes by the one that means it.
    Directory(PathBuf),
    /// A file for the command that is watched: its only document, or the one that means the command.
    File(PathBuf),
}

impl ExpectationSource {
    fn place(&self) -> &Path {
        match self {
            Self::Directory(path) | Self::File(path) => path,
        }
    }

    fn load(&self) -> Result<Set, SetError> {
        match self {
            Self::Directory(path) => Set::load(path),
            Self::File(path) => Set::of_files(std::slice::from_ref(path)),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Expectations {
    source: Option<ExpectationSource>,
    set: Set,
    instances: Vec<(String, Subject)>,
    watch: Option<Inotify>,
}

impl Expectations {
    /// Reads the set; mistakes are an error here and nowhere later.
    pub(super) fn first(source: Option<ExpectationSource>) -> Result<Self, DaemonError> {
        let Some(source) = source else { return Ok(Self::default()) };
        let set = source.load().map_err(|error| match error {
            SetError::Load(mistakes) => {
                DaemonError::Usage(format!("expectations cannot be taken:\n{mistakes}"))
            }
            SetError::Data(error) => DaemonError::Judge(error.into()),
        })?;
        let mut this = Self { source: Some(source), set, ..Self::default() };
        this.watch_place();
        Ok(this)
    }

    /// An instance that is judged by the expectation that means it, now and after each change of the set.
    pub(super) fn describe(&mut self, judge: &mut Judge, instance: &str, subject: Subject) {
        self.instances.retain(|(known, _)| known != instance);
        self.apply(judge, instance, &subject);
        self.instances.push((instance.to_owned(), subject));
    }

    /// Reads the set again if a file of it changed.
    pub(super) fn poll(&mut self, judge: &mut Judge) {
        let changed = if let Some(watch) = &self.watch {
            watch.read_events().is_ok_and(|events| !events.is_empty())
        } else {
            // The directory may come later.
            self.watch_place();
            self.watch.is_some()
        };
        if changed {
            self.reload(judge);
        }
    }

    /// Takes a new set, as a whole or not at all.
    fn reload(&mut self, judge: &mut Judge) {
        let Some(source) = &self.source else { return };
        match source.load() {
            Ok(set) => {
                self.set = set;
                say(&format!("{} expectation(s) in force", self.set.all().len()));
                let instances = std::mem::take(&mut self.instances);
                for (instance, subject) in &instances {
                    self.apply(judge, instance, subject);
                }
                self.instances = instances;
            }
            Err(error) => {
                let mistakes = error.to_string();
                say("the changed expectations are not taken, the ones before stay in force:");
                mistakes.lines().for_each(say);
            }
        }
    }

    fn apply(&self, judge: &mut Judge, instance: &str, subject: &Subject) {
        let expectation = self.select(subject);
        let compiled = expectation.map(|expectation| Compiled::new(expectation, subject)).transpose();
        match compiled {
            Ok(compiled) => {
                for pattern in compiled.iter().flat_map(|compiled| &compiled.unbound) {
                    say(&format!(
                        "{}: `{pattern}` means nothing here: its directory is not known",
                        subject.name
                    ));
                }
                judge.expect(instance, compiled.map(Arc::new));
            }
            Err(error) => say(&format!("{}: the expectation cannot be used: {error}", subject.name)),
        }
    }

    fn select(&self, subject: &Subject) -> Option<&Arc<Expectation>> {
        match (&self.source, self.set.all()) {
            (Some(ExpectationSource::File(_)), [only]) => Some(only),
            _ => self.set.select(subject),
        }
    }

    fn watch_place(&mut self) {
        let Some(source) = &self.source else { return };
        let Ok(watch) = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC) else { return };
        // A file is replaced by editors: what matters happens in its directory.
        let place = match source {
            ExpectationSource::Directory(path) => path.as_path(),
            ExpectationSource::File(path) => match path.parent() {
                Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
                Some(parent) => parent,
                None => source.place(),
            },
        };
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ATTRIB;
        self.watch = watch.add_watch(place, flags).is_ok().then_some(watch);
    }
}

/// What is known of a command that somebody watches.
pub(super) fn subject_of_command(name: &str, arguments: &[OsString], home: Option<PathBuf>) -> Subject {
    let arguments: Vec<Bytes> = arguments.iter().map(|argument| Bytes::new(argument.as_bytes())).collect();
    let command = arguments.first().map(|first| first.as_slice().to_vec());
    let directory = std::env::current_dir().ok();
    let packages = Tools::embedded().map_or_else(
        |_| Vec::new(),
        |tools| {
            let program = identify(
                &tools,
                &Execution {
                    executable: command.as_deref().unwrap_or_default(),
                    script: None,
                    arguments: &arguments,
                    working_directory: directory.as_ref().map_or(&[], |path| path.as_os_str().as_bytes()),
                },
            );
            program.package.iter().map(crate::inventory::live::package::Package::key).collect()
        },
    );
    Subject {
        name: name.to_owned(),
        packages,
        executable: command.clone().filter(|path| path.starts_with(b"/")),
        command,
        workspaces: directory.into_iter().collect(),
        caches: home.iter().map(|home| home.join(".cache")).collect(),
        home,
        ..Subject::default()
    }
}

/// What is known of a process that runs already.
pub(super) fn subject_of_process(name: &str, pid: u32) -> Subject {
    let link = |what: &str| std::fs::read_link(format!("/proc/{pid}/{what}")).ok();
    Subject {
        name: name.to_owned(),
        executable: link("exe").map(|path| path.as_os_str().as_bytes().to_vec()),
        workspaces: link("cwd").into_iter().collect(),
        ..Subject::default()
    }
}

/// Talk goes to standard error.
fn say(message: &str) {
    use std::io::Write as _;
    // Nobody to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "mcp-monitor: {}", escape(message.as_bytes()));
}
