//! The judge: gives every event its verdict, the reason, and the rule that was broken.
//!
//! Promises: never panics, whatever the event says; opens nothing and resolves nothing; a truncated path or a name
//! that was not resolved is never `expected`; what the catalogue forbids is allowed only by name. Judges events in
//! the order in which they happened and keeps its state from them: secrets under other names, names of addresses,
//! listeners, phases.

mod egress;
mod files;
mod process;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
};

use super::{
    catalogue::{Catalogue, EntryIndex},
    data::DataError,
    glob::{Homes, PathGlobs},
    lineage::{Image, Lineage},
    names::Names,
    network::{Egress, Metadata},
    places::Places,
    profile::Profiles,
    program::Programs,
    secrets::Secrets,
};
use crate::event::{Action, Decision, Event, FilePath, Outcome, Rule, Severity, Verdict};

/// Listeners that are remembered; the oldest is forgotten, and then a connection to it is found.
const LISTENERS_MAX: usize = 16 * 1024;

/// What the judge is told at the start.
#[derive(Clone, Debug, Default)]
pub struct JudgeConfig {
    /// Home directories of the host's users, and the `HOME` of what is watched.
    pub homes: Vec<PathBuf>,
    /// The host's resolvers, see [`super::network::resolvers`].
    pub resolvers: Vec<IpAddr>,
    /// Text of `/etc/hosts`.
    pub hosts: String,
    /// Destinations that are declared.
    pub allow_egress: Vec<Egress>,
    /// Globs of files that may be read; a directory stands for everything in it.
    pub allow_read: Vec<String>,
    /// Secrets that may be read: ids of the catalogue, or paths.
    pub allow_secrets: Vec<String>,
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

/// What somebody listens on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Listening {
    /// A TCP port in a net namespace.
    Port(u32, u16),
    /// A socket in the file system, or with `@` an abstract one.
    Socket(Vec<u8>),
}

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
    resolvers: Vec<IpAddr>,
    allow_egress: Vec<Egress>,
    allow_read: PathGlobs,
    allow_secret_paths: PathGlobs,
    allow_secret_entries: Vec<EntryIndex>,
    listeners: HashMap<Listening, Arc<str>>,
    listener_order: VecDeque<Listening>,
    listeners_forgotten: u64,
}

/// What the judge could not keep in its bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JudgeLosses {
    /// Identities of secrets that were not learnt.
    pub secrets: u64,
    /// Names of addresses that were forgotten early.
    pub names: u64,
    /// Processes that were not remembered.
    pub processes: u64,
    /// Listeners that were forgotten.
    pub listeners: u64,
}

impl Judge {
    /// A judge that goes by the embedded data and `config`.
    pub fn new(config: JudgeConfig) -> Result<Self, JudgeError> {
        let JudgeConfig { homes, resolvers, hosts, allow_egress, allow_read, allow_secrets } = config;
        let homes = Homes::new(&homes);
        let programs = Programs::embedded()?;
        let catalogue = Catalogue::embedded(&programs)?;
        let places = Places::embedded(&programs)?;
        let profiles = Profiles::embedded(&programs, &catalogue, &places)?;
        let mut paths = Vec::new();
        let mut allow_secret_entries = Vec::new();
        for secret in allow_secrets {
            match (catalogue.find(&secret), pattern(&secret)) {
                (Some(entry), _) => allow_secret_entries.push(entry),
                (None, Some(path)) => paths.push(path),
                (None, None) => {
                    let ids: Vec<_> = catalogue.entries().map(|(_, entry)| entry.id.as_str()).collect();
                    return Err(JudgeError::UnknownSecret(secret, ids.join(", ")));
                }
            }
        }
        let mut reads = Vec::new();
        for text in allow_read {
            let path = pattern(&text).ok_or(JudgeError::RelativePath(text))?;
            reads.push(format!("{}/**", path.trim_end_matches('/')));
            reads.push(path);
        }
        Ok(Self {
            metadata: Metadata::embedded()?,
            secrets: Secrets::new(catalogue, homes),
            names: Names::new(&hosts),
            lineage: Lineage::default(),
            allow_read: PathGlobs::new(reads.iter().map(|text| (text.as_str(), 0)))?,
            allow_secret_paths: PathGlobs::new(paths.iter().map(|text| (text.as_str(), 0)))?,
            allow_secret_entries,
            programs,
            places,
            profiles,
            resolvers,
            allow_egress,
            listeners: HashMap::new(),
            listener_order: VecDeque::new(),
            listeners_forgotten: 0,
        })
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

    /// What could not be kept in bounds.
    #[must_use]
    pub fn losses(&self) -> JudgeLosses {
        JudgeLosses {
            secrets: self.secrets.refused(),
            names: self.names.forgotten(),
            processes: self.lineage.refused(),
            listeners: self.listeners_forgotten,
        }
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
        secrets.chain(escapes).collect()
    }

    /// Techniques that differ from a rule's own, by [`Decision::source`].
    #[must_use]
    pub fn techniques(&self) -> HashMap<String, String> {
        let places = self.places.persistences().iter();
        places.map(|place| (format!("persistence:{}", place.id), place.technique.clone())).collect()
    }

    /// Sets verdict, decision, rule and the name of a network address, and keeps up with what happened.
    pub fn judge(&mut self, event: &mut Event) {
        let image = self.lineage.image(event, &self.programs, &self.profiles, self.secrets.homes());
        let ruling = match &event.action {
            Action::Open(_)
            | Action::Receive(_)
            | Action::Map(_)
            | Action::Rename(_)
            | Action::Link(_)
            | Action::Symlink(_)
            | Action::Unlink(_)
            | Action::Truncate(_)
            | Action::Chmod(_) => self.judge_file(event, &image),
            Action::Exec(exec) => self.judge_exec(event, exec),
            Action::Connect(_)
            | Action::Send(_)
            | Action::Accept(_)
            | Action::Listen(_)
            | Action::Close(_) => {
                let (ruling, named) = self.judge_network(event, &image);
                if let Some(named) = named {
                    name(&mut event.action, &named);
                }
                ruling
            }
            Action::Dns(answer) => self.judge_answer(answer),
            Action::Snoop(snoop) => self.judge_snoop(event, snoop),
            Action::Coverage(note) => process::judge_coverage(note),
            Action::Fork(_) | Action::Exit(_) => Ruling::expected("default", "processes come and go"),
        };
        event.verdict = ruling.verdict;
        event.decision = Decision { source: ruling.source.into_owned(), reason: ruling.reason.into_owned() };
        event.rule = ruling.rule;
        self.note_change(event, &image);
    }

    fn note_change(&mut self, event: &Event, image: &Image) {
        if matches!(event.outcome, Outcome::Ok | Outcome::Permitted) {
            self.secrets.note_change(&event.action, event.process.working_directory.as_slice());
            match &event.action {
                Action::Listen(network) => {
                    if let Some(listening) = listening(network, event) {
                        self.remember_listener(listening, Arc::clone(&image.instance));
                    }
                }
                Action::Dns(answer) if self.is_resolver(answer.server.0, answer.server.1) => {
                    self.names.witness(&image.instance, event.process.key.pid, event.boot_ns, answer);
                }
                _ => {}
            }
        }
        if let Some(ended) = self.lineage.note_change(event) {
            self.names.forget(&ended);
            self.listeners.retain(|_, owner| *owner != ended);
            let listeners = &self.listeners;
            self.listener_order.retain(|listening| listeners.contains_key(listening));
        }
    }

    fn remember_listener(&mut self, listening: Listening, instance: Arc<str>) {
        if self.listeners.insert(listening.clone(), instance).is_some() {
            return;
        }
        self.listener_order.push_back(listening);
        if self.listener_order.len() > LISTENERS_MAX
            && let Some(oldest) = self.listener_order.pop_front()
        {
            self.listeners.remove(&oldest);
            self.listeners_forgotten += 1;
        }
    }
}

/// `~/x`, `${home}/x`, `/x` and `**/x` as patterns.
fn pattern(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix("~/") {
        return Some(format!("{}{rest}", super::glob::HOME));
    }
    (text.starts_with(['/']) || text.starts_with("**/") || text.starts_with(super::glob::HOME))
        .then(|| text.to_owned())
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

fn listening(network: &crate::event::NetworkObject, event: &Event) -> Option<Listening> {
    match &network.remote {
        crate::event::Endpoint::Internet(_, port) => {
            let port = if *port == 0 { network.local.map_or(0, |(_, port)| port) } else { *port };
            Some(Listening::Port(event.process.net_namespace, port)).filter(|_| port != 0)
        }
        endpoint => egress::socket_path(endpoint, event).map(Listening::Socket),
    }
}
