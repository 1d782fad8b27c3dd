//! What servers were and did, kept from run to run beside the store: [`crate::finding::changes`] says what comes of it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::Write as _,
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    event::{Event, Workload, WorkloadKind, escape},
    expectation::file::set::revision,
    finding::changes::{Changes, Nature, mark},
    inventory::{
        declared::{DeclaredServer, Transport},
        live::instance::{Instance, Origin},
    },
};

/// Name of the file, in the store's directory.
const FILE: &str = "servers.json";
/// How often it is written when something changed.
const SAVE_EVERY: Duration = Duration::from_mins(1);
/// Words of a command that may be program files.
const WORDS_MAX: usize = 4;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Histories {
    changes: Changes,
    path: Option<PathBuf>,
    saved: Option<Instant>,
}

impl Histories {
    /// Those that the store's directory keeps; without one they last as long as the run.
    pub(super) fn open(store: Option<&PathBuf>) -> Self {
        let path = store.map(|directory| directory.join(FILE));
        let changes = path.as_deref().map(Changes::load).transpose().unwrap_or_else(|error| {
            say(&error.to_string());
            None
        });
        Self { changes: changes.unwrap_or_default(), path, saved: None }
    }

    /// What an instance of a server is, as far as it is known now.
    pub(super) fn describe(&mut self, workload: &Workload, nature: Nature) {
        if workload.kind == WorkloadKind::Server && !workload.id.is_empty() {
            self.changes.describe(&workload.id, &workload.instance, nature, Timestamp::now());
        }
    }

    /// The instance is gone.
    pub(super) fn forget(&mut self, instance: &str) {
        self.changes.forget(instance);
    }

    /// A judged event.
    pub(super) fn review(&mut self, event: &mut Event) {
        self.changes.review(event, Timestamp::now());
    }

    /// Writes what changed, on a thread of its own unless it is the last time.
    pub(super) fn save(&mut self, last: bool) {
        let Some(path) = &self.path else { return };
        if !last && self.saved.is_some_and(|saved| saved.elapsed() < SAVE_EVERY) {
            return;
        }
        let Some(bytes) = self.changes.unsaved() else { return };
        self.saved = Some(Instant::now());
        let path = path.clone();
        let save = move || {
            if let Err(error) = write(&path, &bytes) {
                say(&format!("{}: what servers are cannot be kept: {error}", path.display()));
            }
        };
        if last {
            save();
        } else if let Err(error) = std::thread::Builder::new().name("histories".to_owned()).spawn(save) {
            say(&format!("what servers are cannot be kept: {error}"));
        }
    }
}

/// A reader sees the old text or the new one.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension(format!("json.{}", std::process::id()));
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let written = file.write_all(bytes).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // That it could not be written is told already.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// What a command that somebody watches is.
pub(super) fn nature_of_command(arguments: &[OsString]) -> Nature {
    let here = std::env::current_dir().unwrap_or_default();
    let programs = arguments
        .iter()
        .take(WORDS_MAX)
        .filter(|word| !word.as_bytes().starts_with(b"-"))
        .filter_map(|word| marked(&here.join(word)));
    Nature { programs: programs.collect(), ..Nature::default() }
}

/// What an instance that was found is. Its files are looked at as the instance sees them.
pub(super) fn nature_of_instance(instance: &Instance) -> Nature {
    let package = instance.package.as_ref().filter(|package| {
        // A range or a tag is what was asked for and not what came.
        package
            .version
            .as_ref()
            .is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit()))
    });
    let mut programs = BTreeMap::new();
    let program = Path::new(std::ffi::OsStr::from_bytes(instance.program.as_slice()));
    if let Ok(relative) = program.strip_prefix("/") {
        let root = PathBuf::from(format!("/proc/{}/root", instance.root.pid.0));
        if let Some(mark) = mark(&root.join(relative)) {
            programs.insert(escape(instance.program.as_slice()), mark);
        }
    }
    let declaration = match &instance.origin {
        Origin::Declared(server) => Some(declaration(server)),
        Origin::Named | Origin::Agent | Origin::Configured | Origin::Undeclared => None,
    };
    Nature { package: package.map(ToString::to_string), programs, image: instance.image.clone(), declaration }
}

fn declaration(server: &DeclaredServer) -> (String, String) {
    let mut text = String::new();
    match &server.transport {
        Transport::Stdio { command, arguments, .. } => {
            for word in std::iter::once(command).chain(arguments) {
                text.push_str(&word.shown().escaped());
                text.push('\n');
            }
        }
        Transport::Remote { url, .. } => text.push_str(url),
    }
    for name in &server.environment_names {
        text.push_str(name);
        text.push('\n');
    }
    let place = escape(server.place.path.as_os_str().as_bytes());
    (place, revision(&text))
}

fn marked(path: &Path) -> Option<(String, String)> {
    Some((escape(path.as_os_str().as_bytes()), mark(path)?))
}

/// Talk: standard error, one line.
fn say(message: &str) {
    // Nobody to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "mcp-monitor: {message}");
}
