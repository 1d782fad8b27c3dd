//! The judge: gives every event its verdict, the reason, and the rule that was broken.
//!
//! Promises: never panics, whatever the event says; opens nothing and resolves nothing; a truncated path or a name
//! that was not resolved is never `expected`; what the catalogue forbids is allowed only by name. Judges events in
//! the order in which they happened and keeps its state from them: secrets under other names, names of addresses,
//! listeners, phases.

mod allowed;
mod by_expectation;
mod bystander;
mod case;
mod commands;
mod context;
mod counts;
mod dns;
mod egress;
mod files;
mod local;
mod memory;
mod monitor;
mod process;
mod sequence;
#[cfg(test)]
mod tests;
mod touched;
mod writes;

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
};

pub use allowed::Declared;
pub use context::Context;
pub use counts::JudgeCounts;
pub use local::ForeignListener;
pub use monitor::Monitor;
pub use touched::Touched;

use super::{
    catalogue::Catalogue,
    commands::Commands,
    data::DataError,
    destinations::Destinations,
    disguise::Disguises,
    glob::Homes,
    lineage::{Image, Lineage},
    names::Names,
    network::{Egress, Metadata},
    places::Places,
    profile::Profiles,
    program::Programs,
    secrets::Secrets,
    settings::Settings,
};
use crate::event::{Action, BootNs, Decision, Event, FilePath, Outcome, ProcessKey, Rule, Severity, Verdict};
use allowed::Allowed;
use case::Case;
use context::Scopes;
use local::Listeners;

/// What the judge is told at the start.
#[derive(Clone, Debug, Default)]
pub struct JudgeConfig {
    /// Home directories of the host's users, and the `HOME` of what is watched.
    pub homes: Vec<PathBuf>,
    /// The host's resolvers, see [`crate::host::sockets::resolvers`].
    pub resolvers: Vec<IpAddr>,
    /// Text of `/etc/hosts`.
    pub hosts: String,
    /// Destinations that are declared.
    pub allow_egress: Vec<Egress>,
    /// Globs of files that may be read; a directory stands for everything in it.
    pub allow_read: Vec<String>,
    /// Secrets that may be read: ids of the catalogue, or paths.
    pub allow_secrets: Vec<String>,
    /// The monitor itself.
    pub monitor: Monitor,
}

/// The judge cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// A data file or a pattern is wrong.
    #[error(transparent)]
    Data(#[from] DataError),
    /// `--secret` names nothing.
    #[error("secret `{0}`: neither a path nor an entry of the secrets catalogue (entries: {1})")]
    UnknownSecret(String, String),
    /// `--allow-read` is relative.
    #[error("path `{0}`: must begin with `/`, `~/` or `**/`")]
    RelativePath(String),
}

/// What was found about one event.
struct Ruling {
    verdict: Verdict,
    source: Cow<'static, str>,
    reason: Cow<'static, str>,
    rule: Option<Rule>,
}

impl Ruling {
    fn expected(source: impl Into<Cow<'static, str>>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { verdict: Verdict::Expected, source: source.into(), reason: reason.into(), rule: None }
    }

    fn unjudged(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { verdict: Verdict::Unjudged, source: "default".into(), reason: reason.into(), rule: None }
    }

    fn broken(
        rule: Rule,
        verdict: Verdict,
        source: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { verdict, source: source.into(), reason: reason.into(), rule: Some(rule) }
    }

    /// The same without a finding: it was tried and did not come about.
    fn tried(mut self, outcome: Outcome) -> Self {
        if let Outcome::Failed(errno) = outcome {
            self.rule = None;
            self.verdict = if matches!(errno, libc::ENOENT | libc::ENOTDIR | libc::ENXIO) {
                Verdict::Unjudged
            } else {
                Verdict::Unexpected
            };
            self.reason =
                format!("{}; it failed: {}", self.reason, std::io::Error::from_raw_os_error(errno)).into();
        }
        self
    }
}

/// How long what is known of an instance is kept after its last process.
const ENDED_KEPT_NS: u64 = 30_000_000_000;
/// Ended instances that are kept.
const ENDED_MAX: usize = 4096;

/// The judging stage.
#[derive(Debug)]
pub struct Judge {
    programs: Programs,
    places: Places,
    profiles: Profiles,
    metadata: Metadata,
    secrets: Secrets,
    names: Names,
    lineage: Lineage,
    destinations: Destinations,
    commands: Commands,
    disguises: Disguises,
    resolvers: Vec<IpAddr>,
    command_line: Allowed,
    monitor: Monitor,
    scopes: Scopes,
    expectations: by_expectation::Expectations,
    listeners: Listeners,
    memory: memory::Memory,
    left: bystander::Left,
    settings: Settings,
    touched: touched::TouchedFiles,
    distrusted_answers: u64,
    ending: VecDeque<(BootNs, Arc<str>)>,
}

impl Judge {
    /// A judge that goes by the embedded data and `config`.
    pub fn new(config: JudgeConfig) -> Result<Self, JudgeError> {
        let JudgeConfig { homes, resolvers, hosts, allow_egress, allow_read, allow_secrets, monitor } =
            config;
        let homes = Homes::new(&homes);
        let programs = Programs::embedded()?;
        let catalogue = Catalogue::embedded(&programs)?;
        let places = Places::embedded(&programs)?;
        let disguises = Disguises::embedded()?;
        let settings = Settings::embedded(&programs)?;
        let profiles = Profiles::embedded(&programs, &catalogue, &places)?;
        let declared = Declared {
            source: String::from("command-line"),
            egress: allow_egress,
            read: allow_read,
            secrets: allow_secrets,
            ..Declared::default()
        };
        let command_line = Allowed::new(declared, &catalogue)?;
        Ok(Self {
            metadata: Metadata::embedded()?,
            secrets: Secrets::new(catalogue, homes),
            names: Names::new(&hosts),
            lineage: Lineage::default(),
            destinations: Destinations::embedded()?,
            commands: Commands::embedded(disguises.multicall())?,
            disguises,
            command_line,
            monitor,
            programs,
            places,
            profiles,
            resolvers,
            scopes: Scopes::default(),
            expectations: by_expectation::Expectations::default(),
            listeners: Listeners::default(),
            memory: memory::Memory::default(),
            left: bystander::Left::default(),
            settings,
            touched: touched::TouchedFiles::default(),
            distrusted_answers: 0,
            ending: VecDeque::new(),
        })
    }

    /// Takes over the text of the hosts file.
    pub fn take_hosts(&mut self, text: &str) {
        self.names.take_hosts(text);
    }

    /// The set of secrets, for scans and for the kernel's marks.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The set of secrets, to take over a scan.
    pub fn secrets_mut(&mut self) -> &mut Secrets {
        &mut self.secrets
    }

    /// Severities that differ from a rule's own, by [`Decision::source`].
    #[must_use]
    pub fn severities(&self) -> HashMap<String, Severity> {
        let secrets = self.secrets.catalogue().entries().filter_map(|(_, entry)| {
            entry.severity.map(|severity| (format!("catalogue:{}", entry.id), severity))
        });
        let escapes =
            self.places.escapes().iter().filter_map(|escape| {
                escape.severity.map(|severity| (format!("escape:{}", escape.id), severity))
            });
        let system =
            self.places.system_places().iter().filter_map(|place| {
                place.severity.map(|severity| (format!("system:{}", place.id), severity))
            });
        let by_place = secrets.chain(escapes).chain(system);
        let by_data = self.destinations.severities().chain(self.commands.severities());
        let by_data = by_data.chain(self.settings_severities());
        by_place.chain(by_data).chain(sequence::severities()).chain(dns::severities()).collect()
    }

    /// Techniques that differ from a rule's own, by [`Decision::source`].
    #[must_use]
    pub fn techniques(&self) -> HashMap<String, String> {
        let places = self.places.persistences().iter();
        let places = places.map(|place| (format!("persistence:{}", place.id), place.technique.clone()));
        places.chain(dns::techniques()).collect()
    }

    /// Sets verdict, decision, rule and the name of a network address, and keeps up with what happened.
    pub fn judge(&mut self, event: &mut Event) {
        let image = self.lineage.image(event, &self.programs, &self.profiles, self.secrets.homes());
        let scope = self.scopes.get(&event.workload.instance);
        let case = Case::new(event, image, scope);
        let (ruling, named) = self.rule(&case);
        let (ruling, line) = self.by_expectation(&case, ruling, named.as_ref());
        let ruling = self.in_sequence(&case, ruling, named.as_ref());
        if let Some(file) = case.event.action.file() {
            self.note_settings(&case, file);
        }
        let image = case.image;
        if let Some(named) = named {
            name(&mut event.action, &named);
        }
        event.verdict = ruling.verdict;
        let (line, revision) = line.filter(|_| ruling.source.starts_with("expectation:")).unzip();
        let (source, reason) = (ruling.source.into_owned(), ruling.reason.into_owned());
        event.decision = Decision { source, reason, line, revision };
        event.rule = ruling.rule;
        self.note_change(event, &image);
    }

    fn rule(&self, case: &Case) -> (Ruling, Option<super::names::Named>) {
        let ruling = match &case.event.action {
            Action::Open(_)
            | Action::Receive(_)
            | Action::Map(_)
            | Action::Rename(_)
            | Action::Link(_)
            | Action::Symlink(_)
            | Action::Unlink(_)
            | Action::Truncate(_)
            | Action::Chmod(_) => self.judge_file(case),
            Action::Exec(exec) => self.judge_exec(case, exec),
            Action::Connect(_)
            | Action::Send(_)
            | Action::Accept(_)
            | Action::Listen(_)
            | Action::Close(_) => return self.judge_network(case),
            Action::Dns(answer) => self.judge_answer(answer),
            Action::Snoop(snoop) => self.judge_snoop(case, snoop),
            Action::Coverage(note) => process::judge_coverage(note),
            Action::Fork(_) | Action::Exit(_) => Ruling::expected("default", "processes come and go"),
        };
        (ruling, None)
    }

    fn note_change(&mut self, event: &Event, image: &Image) {
        if matches!(event.outcome, Outcome::Ok | Outcome::Permitted) {
            self.secrets.note_change(&event.action, event.process.working_directory.as_slice());
            match &event.action {
                Action::Listen(network) => self.listeners.note(network, event, image),
                Action::Exec(_) => self.listeners.note_namespace(&event.process),
                Action::Connect(network) | Action::Send(network)
                    if egress::socket_path(&network.remote, event)
                        .is_some_and(|path| self.profiles.is_name_service(&path)) =>
                {
                    self.names.ask_unseen(&image.instance, event.boot_ns);
                }
                Action::Dns(answer) if self.is_resolver(answer.server.0, answer.server.1) => {
                    self.names.witness(&image.instance, event.process.key.pid, event.boot_ns, answer);
                }
                Action::Dns(_) => self.distrusted_answers += 1,
                _ => {}
            }
        }
        if let Some(ended) = self.lineage.note_change(event) {
            self.listeners.forget(&ended);
            self.ending.push_back((event.boot_ns, ended));
        }
        self.forget_ended(event.boot_ns);
    }

    /// What is known of an instance outlives it a little: the kernel tells of the end of its connections afterwards.
    fn forget_ended(&mut self, now: BootNs) {
        while let Some((at, _)) = self.ending.front()
            && (now.0.saturating_sub(at.0) > ENDED_KEPT_NS || self.ending.len() > ENDED_MAX)
        {
            let Some((_, ended)) = self.ending.pop_front() else { break };
            if self.lineage.has_members(&ended) {
                continue;
            }
            self.names.forget(&ended);
            self.scopes.forget(&ended);
            self.memory.forget(&ended);
            self.expectations.forget(&ended);
        }
    }

    /// The process runs a program that the inventory recognised: it owns what `program` of `programs.yaml` owns, until it
    /// executes another one.
    pub fn own(&mut self, process: ProcessKey, program: &str) {
        if let Ok(program) = self.programs.index(program, "agents.yaml") {
            self.lineage.own(process, program);
        }
    }

    /// Everything declared that counts for a case, each under its own name.
    fn allowed<'judge>(&'judge self, case: &'judge Case) -> impl Iterator<Item = &'judge Allowed> {
        std::iter::once(&self.command_line).chain(&case.scope.declared)
    }
}

/// The path of `path` in normal form, to match against: given text is put right, resolved paths are as they are.
fn plain<'path>(path: &'path FilePath, event: &Event) -> Cow<'path, [u8]> {
    super::secrets::plain(path, event.process.working_directory.as_slice())
}

/// Nothing about the path had to be guessed.
fn is_certain(path: &FilePath) -> bool {
    !path.truncated && !path.unresolved && !path.bytes.is_empty()
}

fn name(action: &mut Action, named: &super::names::Named) {
    if let Action::Connect(network)
    | Action::Send(network)
    | Action::Accept(network)
    | Action::Listen(network)
    | Action::Close(network) = action
    {
        network.name_confidence = named.confidence;
        network.name = named.names.last().cloned();
    }
}
