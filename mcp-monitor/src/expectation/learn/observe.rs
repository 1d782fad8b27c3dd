//! What the recorded events of one workload come to.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    expectation::network::is_own_host,
    render::read::{Event, File, Network},
};

/// Distinct paths, programs or destinations that are kept of each kind.
const KEPT_MAX: usize = 200_000;
/// Deeds that are listed as never learnt.
const NEVER_MAX: usize = 200;
/// Arguments that are looked at for folders.
const ROOTS_MAX: usize = 64;

/// How often something was seen, and by how many instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Occurrences.
    pub count: u64,
    /// Instances.
    pub instances: BTreeSet<Vec<u8>>,
}

impl Evidence {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.instances.extend(other.instances.iter().cloned());
    }
}

/// Things with their evidence.
pub type Seen<Key = Vec<u8>> = BTreeMap<Key, Evidence>;

/// Where something went.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// Name, or address when no name is known.
    pub host: String,
    /// Port.
    pub port: Option<u16>,
    /// UDP and not TCP.
    pub udp: bool,
    /// A name was known.
    pub named: bool,
}

/// What was seen of one workload.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// Its name.
    pub name: String,
    /// Its client.
    pub client: Option<String>,
    /// Its packages.
    pub packages: BTreeSet<String>,
    /// Its instances.
    pub instances: BTreeSet<Vec<u8>>,
    /// Events, repeats included.
    pub events: u64,
    /// First and last event.
    pub span: Option<(Timestamp, Timestamp)>,
    /// Where its first processes were started.
    pub workspaces: BTreeSet<Vec<u8>>,
    /// Absolute paths among the arguments of its first processes.
    pub roots: BTreeSet<Vec<u8>>,
    /// Read.
    pub reads: Seen,
    /// Changed.
    pub writes: Seen,
    /// Run.
    pub programs: Seen,
    /// Gone to.
    pub destinations: Seen<Destination>,
    /// Sockets in the file system; abstract ones begin with `@`.
    pub sockets: Seen,
    /// Listeners that others can reach.
    pub listeners: Seen<String>,
    /// Who connected: `localhost`, `unix` or an address.
    pub clients: Seen<String>,
    /// What is never learnt: rule and reason.
    pub never: Seen<(String, String)>,
    /// What was not seen: cause and how many.
    pub gaps: BTreeMap<String, u64>,
    /// What the record itself lacks, in words.
    pub unseen: Vec<String>,
}

impl Observation {
    /// Takes an event in.
    pub fn note(&mut self, event: &Event) {
        let instance = event.workload.instance.as_bytes();
        self.events += event.count;
        self.span =
            Some(self.span.map_or((event.time, event.time), |(first, last)| {
                (first.min(event.time), last.max(event.time))
            }));
        if self.instances.len() < KEPT_MAX {
            self.instances.insert(instance.to_vec());
        }
        if let Some(coverage) = &event.coverage {
            // A weaker mechanism is the same on every run and stands in the summary of each.
            if coverage.cause != *"weaker-mechanism" {
                *self.gaps.entry(coverage.cause.escaped().into_owned()).or_default() += coverage.count.max(1);
            }
            return;
        }
        self.note_root(event);
        if let Some(rule) = &event.rule
            && !is_learnable(rule.as_bytes(), event.decision.source.as_bytes())
        {
            let reason = event.decision.reason.escaped();
            let key = (rule.escaped().into_owned(), reason.chars().take(160).collect());
            add(&mut self.never, key, event, NEVER_MAX);
            return;
        }
        if is_somebody_elses(event) || !matches!(event.result.as_bytes(), b"ok" | b"permitted" | b"") {
            return;
        }
        let kind = event.kind.as_bytes();
        if let Some(exec) = &event.exec {
            let file = exec.script.as_ref().filter(|script| is_certain(script)).unwrap_or(&exec.executable);
            if is_certain(file) {
                let full = !add(&mut self.programs, file.path.as_bytes().to_vec(), event, KEPT_MAX);
                self.full_if(full);
            }
        } else if let Some(file) = &event.file {
            self.note_file(event, kind, file);
        } else if let Some(network) = &event.network {
            self.note_network(event, kind, network);
        }
    }

    fn full_if(&mut self, full: bool) {
        if full {
            *self.gaps.entry(String::from("too-much-to-keep")).or_default() += 1;
        }
    }

    /// The first process of an instance says where it works and what it was given.
    fn note_root(&mut self, event: &Event) {
        if !event.process.ancestors.is_empty() || event.kind != *"exec" {
            return;
        }
        if let Some(directory) = &event.process.cwd
            && self.workspaces.len() < ROOTS_MAX
        {
            self.workspaces.insert(directory.as_bytes().to_vec());
        }
        for argument in event.process.args.iter().skip(1).take(ROOTS_MAX) {
            let given = argument.as_bytes();
            // Both `/data` and `--root=/data`.
            let path = given.iter().position(|&byte| byte == b'=').and_then(|at| given.get(at + 1..));
            let path = path.filter(|path| path.starts_with(b"/")).unwrap_or(given);
            if path.starts_with(b"/") && self.roots.len() < ROOTS_MAX {
                self.roots.insert(crate::expectation::glob::normalise(path, b"/"));
            }
        }
        self.packages.extend(super::propose::packages(event));
    }

    fn note_file(&mut self, event: &Event, kind: &[u8], file: &File) {
        let path = file.path.as_bytes().to_vec();
        if !is_certain(file) || !is_on_disk(file) {
            return;
        }
        let has = |word: &str| file.access.iter().any(|access| *access == *word);
        let changes = has("write") || has("create") || has("truncate");
        let mut full = false;
        match kind {
            b"open" if has("path") => {}
            b"open" | b"receive" if changes => full |= !add(&mut self.writes, path, event, KEPT_MAX),
            b"open" | b"receive" => full |= !add(&mut self.reads, path, event, KEPT_MAX),
            b"rename" | b"link" => {
                if kind == b"rename" {
                    full |= !add(&mut self.writes, path, event, KEPT_MAX);
                }
                if let Some(target) =
                    file.target.as_ref().filter(|target| target.as_bytes().starts_with(b"/"))
                {
                    full |= !add(&mut self.writes, target.as_bytes().to_vec(), event, KEPT_MAX);
                }
            }
            b"symlink" | b"unlink" | b"truncate" | b"chmod" => {
                full |= !add(&mut self.writes, path, event, KEPT_MAX);
            }
            _ => {}
        }
        self.full_if(full);
    }

    fn note_network(&mut self, event: &Event, kind: &[u8], network: &Network) {
        let udp = network.transport == *"udp";
        let full = match (kind, network.address, network.port) {
            (b"connect" | b"send", Some(address), Some(port)) if port != 0 => {
                let named = network.name.is_some()
                    && network
                        .name_confidence
                        .as_ref()
                        .is_some_and(|confidence| *confidence != *"unresolved");
                let host = match &network.name {
                    Some(name) if named => name.escaped().into_owned(),
                    _ => address.to_string(),
                };
                !add(
                    &mut self.destinations,
                    Destination { host, port: Some(port), udp, named },
                    event,
                    KEPT_MAX,
                )
            }
            (b"listen", Some(address), Some(port)) if !address.is_loopback() => {
                let host = if address.is_unspecified() {
                    String::from("*")
                } else {
                    bracketed(&address.to_string())
                };
                !add(&mut self.listeners, format!("{host}:{port}"), event, KEPT_MAX)
            }
            (b"accept", Some(address), _) => {
                let who = if is_own_host(address) { String::from("localhost") } else { address.to_string() };
                !add(&mut self.clients, who, event, KEPT_MAX)
            }
            (b"accept", None, _) if network.transport == *"unix-stream" => {
                !add(&mut self.clients, String::from("unix"), event, KEPT_MAX)
            }
            (b"connect" | b"send", None, _) if !network.unresolved => {
                let path = network.path.as_ref().map(|path| path.as_bytes().to_vec());
                let name = || Some([b"@", network.abstract_name.as_ref()?.as_bytes()].concat());
                match path.filter(|path| !path.is_empty()).or_else(name) {
                    Some(path) => !add(&mut self.sockets, path, event, KEPT_MAX),
                    None => false,
                }
            }
            _ => false,
        };
        self.full_if(full);
    }
}

/// An IPv6 address in brackets.
#[must_use]
pub fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn add<Key: Ord>(seen: &mut Seen<Key>, key: Key, event: &Event, most: usize) -> bool {
    if seen.len() >= most && !seen.contains_key(&key) {
        return false;
    }
    let evidence = seen.entry(key).or_default();
    evidence.count += event.count;
    evidence.instances.insert(event.workload.instance.as_bytes().to_vec());
    true
}

/// Findings that a proposal may take in; see [`crate::expectation::file::review`].
fn is_learnable(rule: &[u8], source: &[u8]) -> bool {
    match rule {
        b"unknown-egress" => !source.starts_with(b"destination:"),
        b"unexpected-write" => !source.starts_with(b"system:"),
        b"unexpected-exec" | b"unexpected-read" | b"unexpected-client" | b"exposed-listener" => true,
        _ => false,
    }
}

/// What the runtime, the launcher or the instance's own nature already explain.
fn is_somebody_elses(event: &Event) -> bool {
    let source = event.decision.source.as_bytes();
    let built_in = [b"profile:".as_slice(), b"launch", b"owner", b"resolvers", b"context"];
    built_in.iter().any(|prefix| source.starts_with(prefix))
        || source == b"default" && event.verdict == *"expected"
}

fn is_certain(file: &File) -> bool {
    !file.truncated && !file.unresolved && !file.deleted && file.path.as_bytes().starts_with(b"/")
}

/// Regular files and directories; what the mechanism did not tell counts as such.
fn is_on_disk(file: &File) -> bool {
    file.mode.as_ref().is_none_or(|mode| {
        let mode = mode.as_bytes();
        mode.len() < 5 || mode.starts_with(b"100") || mode.len() == 5 && mode.starts_with(b"4")
    })
}
