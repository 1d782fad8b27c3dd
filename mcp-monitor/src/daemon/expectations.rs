//! The expectations in force, and which instance goes by which. The set is read at the start and again when a file of
//! it changes; one that has mistakes leaves the old one in force and is told of.

use std::{
    ffi::OsString,
    fmt::Write as _,
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
    inventory::{
        declared::Transport,
        live::{
            instance::{Instance, Origin},
            package::Package,
            program::{Execution, identify},
            tools::Tools,
        },
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

/// An instance and what is known of it.
#[derive(Debug)]
struct Described {
    instance: String,
    subject: Subject,
    /// The command line of the monitor names it: a file with one document means it, whatever its name is.
    named: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Expectations {
    source: Option<ExpectationSource>,
    set: Set,
    instances: Vec<Described>,
    watch: Option<Inotify>,
    /// What is in force was told to who records it.
    told: bool,
}

/// Bytes of the words about a set.
const WORDS_MAX: usize = 2048;

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

    /// An instance that the command line names is judged by the expectation that means it, now and after each change
    /// of the set.
    pub(super) fn describe(&mut self, judge: &mut Judge, instance: &str, subject: Subject) {
        self.keep(judge, Described { instance: instance.to_owned(), subject, named: true });
    }

    /// The same for one that was found on the host, each time when more is known of it.
    pub(super) fn describe_found(&mut self, judge: &mut Judge, instance: &str, subject: Subject) {
        self.keep(judge, Described { instance: instance.to_owned(), subject, named: false });
    }

    /// The instance is gone.
    pub(super) fn forget(&mut self, instance: &str) {
        self.instances.retain(|known| known.instance != instance);
    }

    fn keep(&mut self, judge: &mut Judge, mut described: Described) {
        if let Some(known) = self.instances.iter().find(|known| known.instance == described.instance) {
            // Its first process may have gone meanwhile: what it executed is still true.
            let executable = &mut described.subject.executable;
            *executable = executable.take().or_else(|| known.subject.executable.clone());
            if known.subject == described.subject {
                return;
            }
        }
        self.forget(&described.instance);
        self.apply(judge, &described);
        self.instances.push(described);
    }

    /// Reads the set again if a file of it changed.
    /// Whether a changed set was taken; `None` when nothing changed.
    pub(super) fn poll(&mut self, judge: &mut Judge) -> Option<bool> {
        let changed = if let Some(watch) = &self.watch {
            watch.read_events().is_ok_and(|events| !events.is_empty())
        } else {
            // The directory may come later.
            self.watch_place();
            self.watch.is_some()
        };
        changed.then(|| self.reload(judge)).flatten()
    }

    /// What is in force in words, when that is new.
    pub(super) fn news(&mut self) -> Option<String> {
        (!std::mem::replace(&mut self.told, true)).then(|| self.in_words()).flatten()
    }

    /// The files in force with their digests; `None` when expectations come from nowhere.
    fn in_words(&self) -> Option<String> {
        let source = self.source.as_ref()?;
        let mut files: Vec<_> = self.set.all().iter().map(|one| &one.file).collect();
        files.dedup();
        let mut words = format!("{} expectations of {}", self.set.all().len(), source.place().display());
        for file in files {
            // One that was taken away meanwhile is told with the next change.
            let digest = std::fs::read(file).map_or_else(
                |_| "gone".to_owned(),
                |text| {
                    use sha2::Digest as _;
                    hex::encode(sha2::Sha256::digest(&text))
                },
            );
            // Writing into a String cannot fail.
            let _ = write!(words, ", {} sha256 {digest}", file.display());
            if words.len() > WORDS_MAX {
                words.truncate(words.floor_char_boundary(WORDS_MAX));
                words.push('…');
                break;
            }
        }
        Some(words)
    }

    /// Takes a new set, as a whole or not at all.
    pub(super) fn reload(&mut self, judge: &mut Judge) -> Option<bool> {
        let source = self.source.as_ref()?;
        match source.load() {
            Ok(set) => {
                self.set = set;
                self.told = false;
                say(&format!("{} expectation(s) in force", self.set.all().len()));
                let instances = std::mem::take(&mut self.instances);
                for described in &instances {
                    self.apply(judge, described);
                }
                self.instances = instances;
                Some(true)
            }
            Err(error) => {
                let mistakes = error.to_string();
                say("the changed expectations are not taken, the ones before stay in force:");
                mistakes.lines().for_each(say);
                Some(false)
            }
        }
    }

    fn apply(&self, judge: &mut Judge, described: &Described) {
        let Described { instance, subject, .. } = described;
        let expectation = self.select(described);
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

    fn select(&self, described: &Described) -> Option<&Arc<Expectation>> {
        match (&self.source, self.set.all()) {
            (Some(ExpectationSource::File(_)), [only]) if described.named => Some(only),
            _ => self.set.select(&described.subject),
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
            program.package.iter().map(Package::key).collect()
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

/// What is known of an instance that was found, beside what only the host can say of it now.
pub(super) fn subject_of_instance(
    instance: &Instance,
    parent: Option<&Instance>,
    executable: Option<Vec<u8>>,
    workspaces: Vec<PathBuf>,
    home: Option<PathBuf>,
) -> Subject {
    let command = match &instance.origin {
        Origin::Declared(server) => match &server.transport {
            Transport::Stdio { command, .. } => command.literal().map(<[u8]>::to_vec),
            Transport::Remote { .. } => None,
        },
        Origin::Named | Origin::Agent | Origin::Configured | Origin::Undeclared => None,
    };
    Subject {
        name: instance.workload.name.clone(),
        client: instance.workload.client.clone(),
        parent: parent.map(|parent| parent.workload.name.clone()),
        command,
        packages: instance.package.iter().map(Package::key).collect(),
        image: instance.image.clone(),
        labels: instance.labels.clone(),
        unit: instance.unit.clone(),
        executable,
        user: instance.user.clone(),
        workspaces,
        caches: home.iter().map(|home| home.join(".cache")).collect(),
        home,
        ..Subject::default()
    }
}

/// Talk goes to standard error.
fn say(message: &str) {
    use std::io::Write as _;
    // Nobody to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "mcp-monitor: {}", escape(message.as_bytes()));
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::{
        event::{BootNs, ProcessId, ProcessKey, Workload, WorkloadKind},
        expectation::JudgeConfig,
        inventory::live::{
            instance::{Rate, State},
            tools::Runtime,
        },
    };

    fn instance(name: &str, package: &str) -> Instance {
        let workload = Workload {
            id: "w".into(),
            instance: "i".into(),
            kind: WorkloadKind::Server,
            name: name.into(),
            client: Some("codex".into()),
            ..Workload::default()
        };
        Instance {
            id: "i".into(),
            workload: Arc::new(workload),
            origin: Origin::Undeclared,
            parent: None,
            client_process: None,
            root: ProcessKey { pid: ProcessId(7), start: BootNs(1), exec_id: 1 },
            runtime: Runtime::default(),
            launcher: None,
            package: Package::new("npm", package, Some("1.2.3")),
            program: Bytes::default(),
            address: None,
            working_directory: Bytes::default(),
            uid: 1000,
            user: Some("ann".into()),
            container: None,
            container_name: None,
            labels: Vec::new(),
            unit: None,
            image: None,
            state: State::Running,
            started: BootNs(1),
            ended: None,
            bootstrap: false,
            processes: 1,
            earlier: 0,
            version_before: None,
            events: Rate::default(),
            findings: Rate::default(),
            coverage: VecDeque::new(),
        }
    }

    fn found(name: &str, package: &str) -> Subject {
        subject_of_instance(
            &instance(name, package),
            Some(&instance("shop agent", "agent")),
            Some(b"/usr/bin/node".to_vec()),
            vec!["/home/ann/shop".into()],
            Some("/home/ann".into()),
        )
    }

    /// The file of the expectation that an instance goes by.
    fn chosen(expectations: &Expectations, instance: &str) -> Option<String> {
        let described = expectations.instances.iter().find(|known| known.instance == instance).unwrap();
        let expectation = expectations.select(described)?;
        Some(expectation.file.file_name().unwrap().to_str().unwrap().to_owned())
    }

    fn judge() -> Judge {
        Judge::new(JudgeConfig {
            homes: vec!["/home/ann".into()],
            resolvers: Vec::new(),
            hosts: String::new(),
            allow_egress: Vec::new(),
            allow_read: Vec::new(),
            allow_secrets: Vec::new(),
            monitor: crate::expectation::Monitor::of_this_process(),
        })
        .unwrap()
    }

    fn write(directory: &Path, name: &str, text: &str) {
        std::fs::write(directory.join(name), format!("apiVersion: mcp-monitor/v1\n{text}")).unwrap();
    }

    #[test]
    fn what_is_found_on_the_host_goes_by_the_most_specific_expectation_that_means_it() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "package.yaml", "match: {package: \"npm:@scope/files\"}\n");
        write(
            directory.path(),
            "below.yaml",
            "match: {package: \"npm:@scope/files\"}\nwhen: {parent: shop agent, user: ann, client: codex}\n",
        );
        write(directory.path(), "exe.yaml", "match: {exe: /usr/bin/node}\n");
        let source = ExpectationSource::Directory(directory.path().to_owned());
        let mut expectations = Expectations::first(Some(source)).unwrap();
        let mut judge = judge();
        expectations.describe_found(&mut judge, "one", found("files", "@scope/files"));
        assert_eq!(chosen(&expectations, "one").as_deref(), Some("below.yaml"));
        expectations.describe_found(&mut judge, "two", found("other", "other"));
        assert_eq!(chosen(&expectations, "two").as_deref(), Some("exe.yaml"));

        // A launcher is known better when its package is.
        expectations.describe_found(&mut judge, "two", found("files", "@scope/files"));
        assert_eq!(chosen(&expectations, "two").as_deref(), Some("below.yaml"));
        assert_eq!(expectations.instances.len(), 2);

        expectations.describe_found(&mut judge, "three", found("other", "other"));
        expectations.describe_found(
            &mut judge,
            "three",
            Subject { executable: None, ..found("other", "other") },
        );
        assert_eq!(chosen(&expectations, "three").as_deref(), Some("exe.yaml"), "its first process is gone");
        expectations.forget("three");

        write(directory.path(), "named.yaml", "workload: files\n");
        expectations.poll(&mut judge);
        assert_eq!(
            chosen(&expectations, "one").as_deref(),
            Some("named.yaml"),
            "after a change of the set, too"
        );

        expectations.forget("one");
        expectations.forget("two");
        assert!(expectations.instances.is_empty());
    }

    #[test]
    fn the_file_for_a_command_is_not_taken_for_what_it_starts() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "one.yaml", "workload: server\n");
        let source = ExpectationSource::File(directory.path().join("one.yaml"));
        let mut expectations = Expectations::first(Some(source)).unwrap();
        let mut judge = judge();
        expectations.describe(&mut judge, "command", Subject { name: "sh".into(), ..Subject::default() });
        expectations.describe_found(&mut judge, "below", found("files", "@scope/files"));
        assert_eq!(chosen(&expectations, "command").as_deref(), Some("one.yaml"));
        assert_eq!(chosen(&expectations, "below"), None);
    }
}
