//! What an instance's expectation makes of a ruling. The rulings come first and know nothing of it: what the catalogue
//! forbids, what the runtime needs, what belongs to the instance. See [`crate::expectation::file::review`].

use std::{collections::HashMap, sync::Arc};

use super::{Case, Judge, Ruling, egress::socket_path, is_certain, plain, writes::changed_paths};
use crate::{
    event::{
        Access, Action, Endpoint, Event, FileObject, NameConfidence, NetworkObject, Outcome, Rule, Transport,
        Verdict,
    },
    expectation::{
        file::{Base, Compiled, Deed, destination::Protocol, review::Egress},
        lineage::Phase,
        names::Named,
        network::fold,
    },
};

/// Expectations that are kept; one more is refused and counted, and its instance is judged without.
const EXPECTATIONS_MAX: usize = 4096;
/// `S_IFMT` and the kinds that hold something to read.
const TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;

/// The expectations of the instances that have one.
#[derive(Debug, Default)]
pub(super) struct Expectations {
    by_instance: HashMap<Arc<str>, Arc<Compiled>>,
    refused: u64,
}

impl Expectations {
    pub(super) fn forget(&mut self, instance: &str) {
        self.by_instance.remove(instance);
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

impl Judge {
    /// Judges an instance by this expectation from now on; `None` takes it back.
    pub fn expect(&mut self, instance: &str, expectation: Option<Arc<Compiled>>) {
        let known = &mut self.expectations;
        match expectation {
            None => known.forget(instance),
            Some(_)
                if known.by_instance.len() >= EXPECTATIONS_MAX
                    && !known.by_instance.contains_key(instance) =>
            {
                known.refused += 1;
            }
            Some(expectation) => {
                known.by_instance.insert(instance.into(), expectation);
            }
        }
    }

    /// Expectations that could not be kept.
    #[must_use]
    pub fn refused_expectations(&self) -> u64 {
        self.expectations.refused()
    }

    /// The ruling with the expectation of the instance taken into account, and the deciding line.
    pub(super) fn by_expectation(
        &self,
        case: &Case,
        ruling: Ruling,
        named: Option<&Named>,
    ) -> (Ruling, Option<(u32, Arc<str>)>) {
        let event = case.event;
        let image = &case.image;
        let begins = is_beginning(case) && matches!(event.action, Action::Exec(_));
        if (begins || image.phase != Phase::Serve && !image.scripted)
            && ruling.verdict == Verdict::Unjudged
            && ruling.source == "default"
        {
            // Another profile's business; whoever learns from the record must be able to tell.
            return (Ruling { source: "launch".into(), ..ruling }, None);
        }
        let Some(expectation) = self.expectations.by_instance.get(event.workload.instance.as_str()) else {
            return (ruling, None);
        };
        let homes = self.secrets.homes();
        let base = Base { verdict: ruling.verdict, rule: ruling.rule, source: &ruling.source };
        let mut reviewed = None;
        self.with_deed(case, &base, named, |deed| {
            if let (Deed::Read(path), Some(runtime)) = (deed, expectation.runtime())
                && base.verdict == Verdict::Unjudged
                && self.profiles.reads(Some(runtime), path, homes).is_some()
            {
                return;
            }
            reviewed = expectation.review(deed, base, jiff::Timestamp::now, homes);
        });
        let Some(reviewed) = reviewed else { return (ruling, None) };
        let line = reviewed.line.map(|line| (line, Arc::clone(&expectation.expectation.revision)));
        let found = reviewed.rule.is_some() && ruling.rule.is_none();
        let reason = match reviewed.reason {
            Some(reason) if ruling.rule.is_some() => format!("{}; {reason}", ruling.reason).into(),
            Some(reason) => reason.into(),
            None => ruling.reason,
        };
        let by_catalogue = reviewed.rule.is_some() && ruling.source != "default" && ruling.rule.is_some();
        let source = if by_catalogue { ruling.source } else { expectation.source.to_string().into() };
        let ruling = Ruling { verdict: reviewed.verdict, source, reason, rule: reviewed.rule };
        (if found { ruling.tried(event.outcome) } else { ruling }, line)
    }

    /// Calls `with` what an event did, as far as an expectation may speak of it.
    fn with_deed(&self, case: &Case, base: &Base, named: Option<&Named>, with: impl FnOnce(&Deed)) {
        let event = case.event;
        if event.outcome == Outcome::Started {
            return;
        }
        match &event.action {
            Action::Exec(exec) => {
                let script = exec.script.as_ref().filter(|script| is_certain(&script.path));
                let file = script.unwrap_or(&exec.executable);
                if !is_beginning(case) && is_certain(&file.path) && base.rule != Some(Rule::SecretRead) {
                    with(&Deed::Exec(&plain(&file.path, event)));
                }
            }
            action => {
                if let Some(file) = action.file() {
                    self.file_deed(event, file, base, with);
                } else if let Some(network) = action.network() {
                    network_deed(event, network, base, named, with);
                }
            }
        }
    }

    fn file_deed(&self, event: &Event, file: &FileObject, base: &Base, with: impl FnOnce(&Deed)) {
        if !is_certain(&file.path) {
            return;
        }
        let path = plain(&file.path, event);
        if base.rule == Some(Rule::SecretRead) {
            let entry =
                base.source.strip_prefix("catalogue:").and_then(|id| self.secrets.catalogue().find(id));
            if let Some(entry) = entry {
                with(&Deed::Secret(entry, &path));
            }
            return;
        }
        let changed = changed_paths(event, file, &path);
        if !changed.is_empty() {
            // Devices such as /dev/null and the terminal are written by everybody.
            if file.mode & TYPE == 0 || matches!(file.mode & TYPE, REGULAR | DIRECTORY) {
                with(&Deed::Write(&changed));
            }
            return;
        }
        let Access { path_only, .. } = file.access;
        let holds_something = file.mode & TYPE == 0 || matches!(file.mode & TYPE, REGULAR | DIRECTORY);
        if matches!(event.action, Action::Open(_) | Action::Receive(_)) && !path_only && holds_something {
            with(&Deed::Read(&path));
        }
    }
}

/// The program that the instance begins with: no list names it.
fn is_beginning(case: &Case) -> bool {
    case.image.begins || case.image.scripted && !case.image.beside_script
}

fn network_deed(
    event: &Event,
    network: &NetworkObject,
    base: &Base,
    known: Option<&Named>,
    with: impl FnOnce(&Deed),
) {
    let protocol = Protocol::of(network.transport);
    match (&event.action, &network.remote) {
        (Action::Listen(_), Endpoint::Internet(address, port)) => {
            let (address, port) = match network.local {
                Some((local, local_port)) if address.is_unspecified() && *port == 0 => (local, local_port),
                _ => (*address, *port),
            };
            with(&Deed::Listen(fold(address), port, protocol));
        }
        (Action::Accept(_), Endpoint::Internet(address, _)) => with(&Deed::Accept(Some(fold(*address)))),
        (Action::Accept(_), _) if matches!(network.transport, Transport::UnixStream) => {
            with(&Deed::Accept(None));
        }
        (Action::Connect(_) | Action::Send(_) | Action::Close(_), Endpoint::Internet(address, port)) => {
            // `getaddrinfo` connects a datagram socket to see the way there; nothing is sent.
            let asks_the_way =
                network.transport == Transport::Udp && matches!(event.action, Action::Connect(_));
            let says_nothing = asks_the_way && matches!(*port, 0 | u16::MAX) || protocol.is_none();
            if *port == 0 && base.rule.is_none() {
                return;
            }
            let names = known.map(|known| known.names.as_slice()).unwrap_or_default();
            let confidence = known.map_or(NameConfidence::Unresolved, |known| known.confidence);
            let port = (!says_nothing).then_some(*port);
            with(&Deed::Egress(Egress { address: fold(*address), port, protocol, names, confidence }));
        }
        (Action::Connect(_) | Action::Send(_), endpoint) => {
            if let Some(path) =
                socket_path(endpoint, event).filter(|_| !matches!(endpoint, Endpoint::UnixGiven(_)))
            {
                with(&Deed::Socket(&path));
            }
        }
        _ => {}
    }
}
