//! What each server was and what it did, so that a server that changed and does something new since is told: a package
//! that was taken over, a program that was exchanged, an entry that was rewritten.
//!
//! Kept by workload: its *nature* (package version, program files, image, declaration) and the traits of its behaviour
//! (places it goes to, programs it runs, directories it writes in, ports it listens on). A change without new behaviour
//! is told once and low; each trait that is new after a change is a finding that says what changed. Bounded; a workload
//! with more traits than are kept is no longer judged by them, since what is missing would look new.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::target;
use crate::{
    event::{Action, Endpoint, Event, Outcome, Rule, Severity, Verdict, WorkloadKind, escape},
    expectation::network::{fold, is_own_host},
};

/// Workloads that are remembered; the one seen last the longest ago goes.
const WORKLOADS_MAX: usize = 2048;
/// Traits of a workload that are remembered.
const TRAITS_MAX: usize = 1024;
/// Program files of a workload that are remembered.
const PROGRAMS_MAX: usize = 16;
/// How long after a change new behaviour is put down to it.
const CHANGE_COUNTS: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Bytes of a history file that are read.
const FILE_MAX_BYTES: u64 = 256 << 20;
/// The form of the file.
const SCHEMA: &str = "mcp-monitor/servers/v1";
/// Source of the decision on a change alone.
const INFORMATIONAL: &str = "change:nothing-new";
/// Source of the decision on new behaviour after a change.
const GAINED: &str = "change:gained";

/// Severities that differ from the rule's own, by the source of the decision.
pub fn severities() -> impl Iterator<Item = (String, Severity)> {
    [(INFORMATIONAL.to_owned(), Severity::Low)].into_iter()
}

/// What a server is, as far as it is known now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nature {
    /// Package with its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Program files by path, each with what tells one content from another.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub programs: BTreeMap<String, String>,
    /// Image, with its digest where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Where its declaration stands, and a hash of what it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declaration: Option<(String, String)>,
}

impl Nature {
    /// Takes in what is known now and says what is other than before.
    fn take(&mut self, now: Self) -> Vec<String> {
        let mut changes = Vec::new();
        if let Some(package) = now.package {
            match &self.package {
                Some(before) if *before != package => {
                    changes.push(format!("{before} became {package}"));
                }
                _ => {}
            }
            self.package = Some(package);
        }
        for (path, mark) in now.programs {
            match self.programs.get(&path) {
                Some(before) if *before != mark => {
                    changes.push(format!("{} is another file", escape(path.as_bytes())));
                }
                _ => {}
            }
            if self.programs.len() < PROGRAMS_MAX || self.programs.contains_key(&path) {
                self.programs.insert(path, mark);
            }
        }
        if let Some(image) = now.image {
            match &self.image {
                Some(before) if *before != image => {
                    changes.push(format!(
                        "image {} became {}",
                        escape(before.as_bytes()),
                        escape(image.as_bytes())
                    ));
                }
                _ => {}
            }
            self.image = Some(image);
        }
        if let Some((place, hash)) = now.declaration {
            match &self.declaration {
                Some((_, before)) if *before != hash => {
                    changes.push(format!("its entry in {place} was changed"));
                }
                _ => {}
            }
            self.declaration = Some((place, hash));
        }
        changes
    }
}

/// What tells one content of a file from another, without reading it.
#[must_use]
pub fn mark(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path).ok()?;
    metadata.is_file().then(|| {
        format!(
            "{}:{}:{}:{}.{}",
            metadata.dev(),
            metadata.ino(),
            metadata.size(),
            metadata.mtime(),
            metadata.mtime_nsec()
        )
    })
}

/// A change that is still looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Change {
    what: Vec<String>,
    at: Timestamp,
    gained: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct History {
    nature: Nature,
    traits: BTreeSet<String>,
    /// More traits than are kept.
    #[serde(default)]
    full: bool,
    instances: u64,
    seen: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    change: Option<Change>,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    schema: String,
    servers: BTreeMap<String, History>,
}

/// Why histories cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file.
    #[error("{path}: {source}; what servers were before is not known", path = .0.display(), source = .1)]
    File(PathBuf, std::io::Error),
    /// What stands in it.
    #[error("{path}: {source}; what servers were before is not known, and the file is written anew", path = .0.display(), source = .1)]
    Content(PathBuf, serde_json::Error),
}

/// The histories of all servers.
#[derive(Debug, Default)]
pub struct Changes {
    servers: BTreeMap<String, History>,
    /// The workload of each instance that lives, and what is to be told of it.
    instances: HashMap<Arc<str>, Living>,
    changed: bool,
}

#[derive(Debug)]
struct Living {
    workload: String,
    untold: Vec<String>,
}

impl Changes {
    /// The histories that `path` keeps; none when there is no such file.
    pub fn load(path: &Path) -> Result<Self, HistoryError> {
        use std::io::Read as _;
        let failed = |error| HistoryError::File(path.to_owned(), error);
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        file.take(FILE_MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        let file: File =
            serde_json::from_slice(&bytes).map_err(|error| HistoryError::Content(path.to_owned(), error))?;
        Ok(Self { servers: file.servers, ..Self::default() })
    }

    /// The histories as a file, when they changed since the last time.
    pub fn unsaved(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let file = File { schema: SCHEMA.to_owned(), servers: self.servers.clone() };
        // Texts and numbers only: nothing here refuses to be written.
        serde_json::to_vec(&file).ok()
    }

    /// What an instance is, as far as it is known now; to be called again when more is.
    pub fn describe(&mut self, workload: &str, instance: &str, nature: Nature, now: Timestamp) {
        let is_new = !self.instances.contains_key(instance);
        if !self.servers.contains_key(workload) && self.servers.len() >= WORKLOADS_MAX {
            let oldest =
                self.servers.iter().min_by_key(|(_, history)| history.seen).map(|(id, _)| id.clone());
            if let Some(oldest) = oldest {
                self.servers.remove(&oldest);
            }
        }
        let history = self.servers.entry(workload.to_owned()).or_insert_with(|| History {
            nature: Nature::default(),
            traits: BTreeSet::new(),
            full: false,
            instances: 0,
            seen: now,
            change: None,
        });
        history.instances += u64::from(is_new);
        history.seen = now;
        let changes = history.nature.take(nature);
        let living = self
            .instances
            .entry(instance.into())
            .or_insert_with(|| Living { workload: workload.to_owned(), untold: Vec::new() });
        if !changes.is_empty() {
            living.untold.extend(changes.iter().cloned());
            history.change = Some(Change { what: changes, at: now, gained: BTreeSet::new() });
        }
        self.changed = true;
    }

    /// The instance is gone.
    pub fn forget(&mut self, instance: &str) {
        self.instances.remove(instance);
    }

    /// Takes in a judged event: a change that was not told yet and what is new since one become findings.
    pub fn review(&mut self, event: &mut Event, now: Timestamp) {
        if event.workload.kind != WorkloadKind::Server {
            return;
        }
        let Some(living) = self.instances.get_mut(event.workload.instance.as_str()) else { return };
        let Some(history) = self.servers.get_mut(&living.workload) else { return };
        if event.rule.is_none()
            && !living.untold.is_empty()
            && matches!(event.action, Action::Exec(_) | Action::Open(_))
        {
            let what = std::mem::take(&mut living.untold).join("; ");
            event.rule = Some(Rule::ServerChanged);
            INFORMATIONAL.clone_into(&mut event.decision.source);
            event.decision.reason =
                format!("{what}. Nothing new was seen of it yet; what it gains is told as it comes");
            return;
        }
        let Some(deed) = deed(event) else { return };
        if history.full || history.traits.contains(&deed) {
            return;
        }
        if let Some(change) = &mut history.change
            && history.instances > 1
            && now.duration_since(change.at) <= CHANGE_COUNTS
        {
            let since = format!("since {}: {deed}", change.what.join("; "));
            change.gained.insert(deed.clone());
            match event.rule {
                // Whoever wrote the expectation knew of it.
                None if event.decision.source.starts_with("expectation:") => {}
                None => {
                    let others = change.gained.iter().filter(|gained| **gained != deed).count();
                    let more =
                        if others > 0 { format!("; {others} other new thing(s)") } else { String::new() };
                    event.rule = Some(Rule::ServerChanged);
                    event.verdict = Verdict::Unexpected;
                    GAINED.clone_into(&mut event.decision.source);
                    event.decision.reason = format!("does what it never did {since}{more}");
                }
                Some(_) => {
                    let reason = &mut event.decision.reason;
                    reason.push_str("; it never did that before ");
                    reason.push_str(since.split(':').next().unwrap_or_default());
                }
            }
        }
        if history.traits.len() >= TRAITS_MAX {
            history.full = true;
        } else {
            history.traits.insert(deed);
        }
        self.changed = true;
    }
}

/// The trait that an event is of, in words; `None` for what is not remembered: reading is too various to be one.
fn deed(event: &Event) -> Option<String> {
    if !matches!(event.outcome, Outcome::Ok | Outcome::Permitted | Outcome::Started)
        || event.decision.source == "launch"
    {
        return None;
    }
    let built_in = ["profile:", "resolvers", "owner", "context"];
    if event.verdict == Verdict::Expected
        && built_in.iter().any(|begin| event.decision.source.starts_with(begin))
    {
        return None;
    }
    match &event.action {
        Action::Exec(exec) => {
            let file = exec.script.as_ref().unwrap_or(&exec.executable);
            (!file.path.unresolved).then(|| format!("runs {}", general(file.path.bytes.as_slice())))
        }
        Action::Connect(network) | Action::Send(network) => match &network.remote {
            Endpoint::Internet(address, port) if *port != 0 => {
                let address = fold(*address);
                if is_own_host(address) {
                    return None;
                }
                let host =
                    network.name.as_ref().map_or_else(|| address.to_string(), crate::event::Bytes::escaped);
                Some(format!("goes to {host}:{port}"))
            }
            Endpoint::UnixPath(path, _) if !path.unresolved && !path.bytes.is_empty() => {
                Some(format!("goes to {}", general(path.bytes.as_slice())))
            }
            _ => None,
        },
        Action::Listen(network) => match &network.remote {
            Endpoint::Internet(address, port) if !address.is_loopback() => {
                Some(format!("listens on port {port}"))
            }
            _ => None,
        },
        action => {
            let file = action.file()?;
            let access = &file.access;
            let changes = access.write
                || access.create
                || access.truncate
                || !matches!(action, Action::Open(_) | Action::Receive(_) | Action::Map(_));
            let path = file.path.bytes.as_slice();
            let passing: [&[u8]; 5] = [b"/tmp/", b"/var/tmp/", b"/dev/", b"/proc/", b"/run/"];
            if !changes
                || file.path.unresolved
                || !path.starts_with(b"/")
                || passing.iter().any(|place| path.starts_with(place))
            {
                return None;
            }
            let directory =
                path.iter().rposition(|byte| *byte == b'/').and_then(|at| path.get(..at)).unwrap_or(path);
            Some(format!("writes in {}", general(directory)))
        }
    }
}

fn general(path: &[u8]) -> String {
    escape(&target::general_path(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + seconds).unwrap()
    }

    fn nature(version: &str) -> Nature {
        Nature { package: Some(format!("npm:mail@{version}")), ..Nature::default() }
    }

    /// An event of the server that nobody found fault with.
    fn event(wanted: impl Fn(&Action) -> bool, change: impl Fn(&mut Action)) -> Event {
        let mut event = sample::events().into_iter().find(|event| wanted(&event.action)).unwrap();
        let mut workload = (*event.workload).clone();
        workload.kind = WorkloadKind::Server;
        workload.instance = "i".into();
        event.workload = Arc::new(workload);
        event.rule = None;
        event.outcome = Outcome::Ok;
        event.verdict = Verdict::Unjudged;
        event.decision.source = "default".into();
        change(&mut event.action);
        event
    }

    fn goes(name: &str) -> Event {
        event(
            |action| matches!(action, Action::Connect(network) if matches!(network.remote, Endpoint::Internet(..))),
            |action| {
                if let Action::Connect(network) = action {
                    network.remote = Endpoint::Internet("192.0.2.7".parse().unwrap(), 443);
                    network.name = Some(name.into());
                }
            },
        )
    }

    fn runs() -> Event {
        event(|action| matches!(action, Action::Exec(_)), |_| {})
    }

    fn reviewed(changes: &mut Changes, mut event: Event, seconds: i64) -> Event {
        changes.review(&mut event, at(seconds));
        event
    }

    /// A server with a past.
    fn known() -> Changes {
        let mut changes = Changes::default();
        changes.describe("w", "i", nature("1.0.15"), at(0));
        assert_eq!(reviewed(&mut changes, runs(), 1).rule, None);
        assert_eq!(reviewed(&mut changes, goes("api.example"), 1).rule, None);
        changes.forget("i");
        changes
    }

    #[test]
    fn a_new_version_that_does_nothing_new_is_told_once_and_low() {
        let mut changes = known();
        changes.describe("w", "i", nature("1.0.16"), at(100));
        let told = reviewed(&mut changes, runs(), 101);
        assert_eq!((told.rule, told.decision.source.as_str()), (Some(Rule::ServerChanged), INFORMATIONAL));
        assert!(
            told.decision.reason.contains("npm:mail@1.0.15 became npm:mail@1.0.16"),
            "{}",
            told.decision.reason
        );
        assert_eq!(reviewed(&mut changes, runs(), 102).rule, None);
        assert_eq!(reviewed(&mut changes, goes("api.example"), 103).rule, None);
    }

    #[test]
    fn what_a_changed_server_gains_is_a_finding_that_says_so() {
        let mut changes = known();
        changes.describe("w", "i", nature("1.0.16"), at(100));
        reviewed(&mut changes, runs(), 101);
        let gained = reviewed(&mut changes, goes("evil.example"), 102);
        assert_eq!((gained.rule, gained.verdict), (Some(Rule::ServerChanged), Verdict::Unexpected));
        assert!(gained.decision.reason.contains("goes to evil.example:443"), "{}", gained.decision.reason);
        assert_eq!(reviewed(&mut changes, goes("evil.example"), 103).rule, None, "told once");
        let mut found = goes("other.example");
        found.rule = Some(Rule::UnknownEgress);
        let found = reviewed(&mut changes, found, 104);
        assert_eq!(found.rule, Some(Rule::UnknownEgress), "its own rule says more");
        assert!(found.decision.reason.contains("never did that before"), "{}", found.decision.reason);
    }

    #[test]
    fn new_behaviour_without_a_change_and_long_after_one_is_no_finding() {
        let mut changes = known();
        changes.describe("w", "i", nature("1.0.15"), at(100));
        assert_eq!(reviewed(&mut changes, goes("evil.example"), 102).rule, None);
        changes.forget("i");
        changes.describe("w", "i", nature("1.0.16"), at(200));
        reviewed(&mut changes, runs(), 201);
        assert_eq!(reviewed(&mut changes, goes("late.example"), 200 + 15 * 86_400).rule, None);
    }

    #[test]
    fn what_is_not_known_is_no_change_and_files_count_by_their_path() {
        let mut nature = Nature::default();
        let with = |path: &str, mark: &str| Nature {
            programs: BTreeMap::from([(path.to_owned(), mark.to_owned())]),
            ..Nature::default()
        };
        assert!(nature.take(with("/npx", "1")).is_empty());
        assert!(nature.take(with("/server.js", "7")).is_empty());
        assert!(nature.take(Nature::default()).is_empty());
        assert!(nature.take(with("/npx", "1")).is_empty());
        assert_eq!(nature.take(with("/server.js", "8")), ["/server.js is another file"]);
    }

    #[test]
    fn histories_survive_a_restart() {
        let mut changes = known();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("servers.json");
        std::fs::write(&path, changes.unsaved().unwrap()).unwrap();
        assert!(changes.unsaved().is_none(), "nothing changed since");
        let mut changes = Changes::load(&path).unwrap();
        changes.describe("w", "i", nature("2.0.0"), at(100));
        assert_eq!(reviewed(&mut changes, runs(), 101).rule, Some(Rule::ServerChanged));
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(Changes::load(&path), Err(HistoryError::Content(..))));
        assert!(Changes::load(&directory.path().join("none")).is_ok());
    }
}
