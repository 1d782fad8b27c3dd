//! Recorded events against a candidate: what would be found, and what would no longer be.
//!
//! The record says how an event was judged; what the candidate makes of that is asked of the same code that judges. What
//! an earlier expectation or the command line had allowed is judged as if it had not been.

use std::collections::BTreeMap;

use crate::{
    event::{Bytes, NameConfidence, Rule, Verdict},
    expectation::{
        catalogue::Catalogue,
        file::{Base, Compiled, Deed, destination::Protocol, review::Egress},
        glob::Homes,
        network::{Metadata, is_own_host},
    },
    render::read::{Event, File, Network, Text},
};

/// Findings of one kind, as a replay tells them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Occurrences.
    pub count: u64,
    /// The first event.
    pub event: String,
}

/// What a candidate would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Events that were looked at.
    pub events: u64,
    /// Would be found and was not: rule and object.
    pub found: BTreeMap<(String, String), Change>,
    /// Was found and would not be any more.
    pub silent: BTreeMap<(String, String), Change>,
    /// Found before and after.
    pub kept: BTreeMap<(String, String), Change>,
}

/// What a replay goes by beside the candidate.
#[derive(Debug)]
pub struct Ground {
    catalogue: Catalogue,
    metadata: Metadata,
    homes: Homes,
}

impl Ground {
    /// The embedded data, and the homes of the host's users.
    pub fn new(homes: Homes) -> Result<Self, crate::expectation::data::DataError> {
        let embedded = crate::expectation::file::set::Embedded::new()?;
        Ok(Self { catalogue: embedded.catalogue, metadata: Metadata::embedded()?, homes })
    }
}

impl Replay {
    /// Takes in an event of a workload that no candidate means: it was found as it was found.
    pub fn note_unmeant(&mut self, event: &Event) {
        self.events += event.count;
        let Some(rule) = &event.rule else { return };
        let change = self.kept.entry((rule.escaped().into_owned(), event.object())).or_default();
        change.count += event.count;
        if change.event.is_empty() {
            change.event = event.id.escaped().into_owned();
        }
    }

    /// Takes in an event of the workload that the candidate means.
    pub fn note(&mut self, event: &Event, candidate: &Compiled, ground: &Ground) {
        self.events += event.count;
        let before = event.rule.as_ref().map(|rule| rule.escaped().into_owned());
        let after = rule_after(event, candidate, ground, before.as_ref());
        let key = |rule: &String| (rule.clone(), event.object());
        let (changes, key) = match (&before, &after) {
            (None, None) => return,
            (None, Some(rule)) => (&mut self.found, key(rule)),
            (Some(rule), None) => (&mut self.silent, key(rule)),
            (Some(_), Some(rule)) => (&mut self.kept, key(rule)),
        };
        let change = changes.entry(key).or_default();
        change.count += event.count;
        if change.event.is_empty() {
            change.event = event.id.escaped().into_owned();
        }
    }
}

/// The rule that would be broken, of an event that had broken `before`.
fn rule_after(
    event: &Event,
    candidate: &Compiled,
    ground: &Ground,
    before: Option<&String>,
) -> Option<String> {
    let mut source = event.decision.source.escaped().into_owned();
    let mut verdict = event.verdict().unwrap_or(Verdict::Unjudged);
    let known = |rule: &Text| Rule::ALL.into_iter().find(|known| rule.as_bytes() == known.id().as_bytes());
    let mut rule = event.rule.as_ref().and_then(known);
    if before.is_some() && rule.is_none() {
        return before.cloned();
    }
    if event.kind == *"close" && before.is_none() {
        // The connection was judged when it was made.
        return None;
    }
    if source == "command-line" || source.starts_with("expectation:") {
        (verdict, rule, source) = without_declarations(event, ground);
    }
    let name = event.network.as_ref().and_then(|network| network.name.as_ref());
    let names: Vec<Bytes> = name.map(|name| Bytes::new(name.as_bytes())).into_iter().collect();
    let base = Base { verdict, rule, source: &source };
    let failed = event.result.as_bytes().starts_with(b"failed");
    let reviewed = with_deed(event, base, &names, ground, |deed| {
        candidate.review(deed, base, || event.time, &ground.homes)
    });
    let after = match reviewed {
        // It was tried and did not come about.
        Some(_) if failed && base.rule.is_none() => None,
        Some(reviewed) => reviewed.rule,
        None => base.rule,
    };
    after.map(|rule| rule.id().to_owned())
}

/// How it would have been judged if nobody had declared anything.
fn without_declarations(event: &Event, ground: &Ground) -> (Verdict, Option<Rule>, String) {
    if let Some(file) = &event.file
        && let Some(index) = ground.catalogue.match_path(file.path.as_bytes(), &ground.homes)
        && let Some(entry) = ground.catalogue.entry(index)
    {
        return (Verdict::Forbidden, Some(Rule::SecretRead), format!("catalogue:{}", entry.id));
    }
    let outwards = matches!(event.kind.as_bytes(), b"connect" | b"send");
    if let Some(address) = event.network.as_ref().and_then(|network| network.address).filter(|_| outwards) {
        return match ground.metadata.service(address) {
            Some(_) => (Verdict::Forbidden, Some(Rule::MetadataEgress), "catalogue:metadata".into()),
            None => (Verdict::Unexpected, Some(Rule::UnknownEgress), "default".into()),
        };
    }
    if event.kind == *"listen"
        && let Some(address) = event.network.as_ref().and_then(|network| network.address)
        && !is_own_host(address)
    {
        return (Verdict::Unexpected, Some(Rule::ExposedListener), "default".into());
    }
    (Verdict::Unjudged, None, "default".into())
}

fn with_deed<T>(
    event: &Event,
    base: Base,
    names: &[Bytes],
    ground: &Ground,
    with: impl FnOnce(&Deed) -> Option<T>,
) -> Option<T> {
    if base.source == "launch" || event.coverage.is_some() {
        return None;
    }
    let kind = event.kind.as_bytes();
    if let Some(exec) = &event.exec {
        let file = exec.script.as_ref().filter(|script| is_certain(script)).unwrap_or(&exec.executable);
        return is_certain(file).then(|| with(&Deed::Exec(file.path.as_bytes()))).flatten();
    }
    if let Some(file) = &event.file {
        return is_certain(file).then(|| file_deed(kind, file, base, ground, with)).flatten();
    }
    network_deed(kind, event.network.as_ref()?, names, with)
}

fn file_deed<T>(
    kind: &[u8],
    file: &File,
    base: Base,
    ground: &Ground,
    with: impl FnOnce(&Deed) -> Option<T>,
) -> Option<T> {
    let path = file.path.as_bytes();
    if base.rule == Some(Rule::SecretRead) {
        let entry = base.source.strip_prefix("catalogue:").and_then(|id| ground.catalogue.find(id))?;
        return with(&Deed::Secret(entry, path));
    }
    let on_disk = file.mode.as_ref().is_none_or(|mode| {
        let mode = mode.as_bytes();
        mode.len() < 5 || mode.starts_with(b"100") || mode.len() == 5 && mode.starts_with(b"4")
    });
    let has = |word: &str| file.access.iter().any(|access| *access == *word);
    let changes = has("write") || has("create") || has("truncate");
    let target = file.target.iter().map(|target| target.as_bytes().to_vec());
    let paths: Vec<Vec<u8>> = match kind {
        _ if !on_disk => return None,
        b"open" if has("path") => return None,
        b"open" | b"receive" if changes => vec![path.to_vec()],
        b"open" | b"receive" => return with(&Deed::Read(path)),
        b"rename" => std::iter::once(path.to_vec()).chain(target).collect(),
        b"link" => target.collect(),
        b"symlink" | b"unlink" | b"truncate" | b"chmod" => vec![path.to_vec()],
        _ => return None,
    };
    with(&Deed::Write(&paths))
}

fn network_deed<T>(
    kind: &[u8],
    network: &Network,
    names: &[Bytes],
    with: impl FnOnce(&Deed) -> Option<T>,
) -> Option<T> {
    let protocol = match network.transport.as_bytes() {
        b"tcp" => Some(Protocol::Tcp),
        b"udp" => Some(Protocol::Udp),
        _ => None,
    };
    let confidence = match network.name_confidence.as_ref().map(Text::as_bytes) {
        Some(b"host") => NameConfidence::Host,
        // Of names that share the address the line has one.
        Some(b"workload-dns" | b"shared-address") => NameConfidence::WorkloadDns,
        _ => NameConfidence::Unresolved,
    };
    let deed = match (kind, network.address) {
        (b"connect" | b"send" | b"close", Some(address)) => {
            let port = network.port.filter(|port| *port != 0);
            Deed::Egress(Egress { address, port, protocol, names, confidence })
        }
        (b"listen", Some(address)) => Deed::Listen(address, network.port?, protocol),
        (b"accept", address) => {
            let over_file = network.transport == *"unix-stream";
            (address.is_some() || over_file).then_some(Deed::Accept(address))?
        }
        (b"connect" | b"send", None) if !network.unresolved => {
            let path = network.path.as_ref().filter(|path| !path.is_empty())?;
            return with(&Deed::Socket(path.as_bytes()));
        }
        _ => return None,
    };
    with(&deed)
}

fn is_certain(file: &File) -> bool {
    !file.truncated && !file.unresolved && !file.deleted && file.path.as_bytes().starts_with(b"/")
}
