//! Rulings on what stays on this host: loopback, and sockets in the file system. Whose a loopback listener is comes
//! from the listeners of the workloads themselves, and from [`Judge::take_listeners`] for all others: the judge looks
//! at nothing by itself.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{Case, Judge, Ruling, egress::socket_path, is_certain};
use crate::{
    event::{Endpoint, Event, NetworkObject, Outcome, Process, ProcessId, Rule, Verdict},
    expectation::{
        catalogue::BelowAgent,
        lineage::{Image, Phase},
    },
};

/// Listeners that are remembered; the oldest is forgotten, and then a connection to it is found.
const LISTENERS_MAX: usize = 16 * 1024;
/// Listeners of processes outside every workload that are kept.
const FOREIGN_MAX: usize = 16 * 1024;

/// Net namespaces that are looked into.
const NAMESPACES_MAX: usize = 64;

/// A TCP listener of a process that belongs to no workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignListener {
    /// In which net namespace.
    pub net_namespace: u32,
    /// On which port.
    pub port: u16,
    /// Whose.
    pub process: ProcessId,
    /// Its program.
    pub executable: crate::event::Bytes,
}

/// What somebody listens on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Listening {
    /// A TCP port in a net namespace.
    Port(u32, u16),
    /// A socket in the file system, or with `@` an abstract one.
    Socket(Vec<u8>),
}

/// A listener of a workload.
#[derive(Debug)]
struct Owner {
    instance: Arc<str>,
    workload: String,
    process: Arc<Process>,
}

/// Who listens where.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    own: HashMap<Listening, Owner>,
    order: VecDeque<Listening>,
    foreign: HashMap<(u32, u16), ForeignListener>,
    /// A process that is or was in a net namespace of a workload.
    viewers: HashMap<u32, ProcessId>,
    forgotten: u64,
}

impl Listeners {
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Remembers through whom a net namespace can be looked at.
    pub(super) fn note_namespace(&mut self, process: &Process) {
        let full = self.viewers.len() >= NAMESPACES_MAX;
        if !full || self.viewers.contains_key(&process.net_namespace) {
            self.viewers.insert(process.net_namespace, process.key.pid);
        }
    }

    /// Remembers a listener of a workload.
    pub(super) fn note(&mut self, network: &NetworkObject, event: &Event, image: &Image) {
        let Some(listening) = listening(network, event) else { return };
        let owner = Owner {
            instance: Arc::clone(&image.instance),
            workload: event.workload.name.clone(),
            process: Arc::clone(&event.process),
        };
        if self.own.insert(listening.clone(), owner).is_some() {
            return;
        }
        self.order.push_back(listening);
        if self.order.len() > LISTENERS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.own.remove(&oldest);
            self.forgotten += 1;
        }
    }

    /// Forgets the listeners of an instance that ended.
    pub(super) fn forget(&mut self, instance: &str) {
        self.own.retain(|_, owner| owner.instance.as_ref() != instance);
        let own = &self.own;
        self.order.retain(|listening| own.contains_key(listening));
    }

    fn is_own(&self, listening: &Listening, instance: &str) -> bool {
        self.own.get(listening).is_some_and(|owner| owner.instance.as_ref() == instance)
    }

    /// In words whose a port is, if that is known.
    fn whose(&self, net_namespace: u32, port: u16) -> Option<String> {
        if let Some(owner) = self.own.get(&Listening::Port(net_namespace, port)) {
            let Owner { workload, process, .. } = owner;
            let workload = crate::event::escape(workload.as_bytes());
            let program = crate::finding::message::program(process);
            return Some(format!("{program} (pid {}) of {workload} listens there", process.key.pid.0));
        }
        let ForeignListener { process, executable, .. } = self.foreign.get(&(net_namespace, port))?;
        Some(format!("{} (pid {}) listens there", executable.escaped(), process.0))
    }
}

impl Judge {
    /// A process in each net namespace in which a workload was seen: listeners there matter.
    pub fn viewers(&self) -> impl Iterator<Item = ProcessId> + '_ {
        self.listeners.viewers.values().copied()
    }

    /// Takes over who listens on this host, in place of what an earlier look found.
    pub fn take_listeners(&mut self, found: Vec<ForeignListener>) {
        let foreign = &mut self.listeners.foreign;
        foreign.clear();
        for listener in found.into_iter().take(FOREIGN_MAX) {
            foreign.insert((listener.net_namespace, listener.port), listener);
        }
    }

    pub(super) fn judge_loopback(&self, case: &Case, port: u16, asks_the_way: bool) -> Ruling {
        let event = case.event;
        let net_namespace = event.process.net_namespace;
        if self.listeners.is_own(&Listening::Port(net_namespace, port), &case.image.instance) {
            return Ruling::expected("default", "a listener of the same workload");
        }
        if asks_the_way || event.outcome == Outcome::Failed(libc::ECONNREFUSED) {
            let reason = if asks_the_way { "asks for the way" } else { "nothing listens there" };
            return Ruling::unjudged(reason);
        }
        let whose = self.listeners.whose(net_namespace, port);
        if case.agent {
            let whose = whose.map_or_else(String::new, |whose| format!("; {whose}"));
            return Ruling::unjudged(format!("an agent may talk to a program of this host{whose}"));
        }
        let whose = whose.map_or_else(
            || String::from("which may be a way out"),
            |whose| format!("{whose}, and it may be a way out"),
        );
        let what = format!("port {port} of this host is a loopback listener outside the workload: {whose}");
        Ruling::broken(Rule::UnknownEgress, Verdict::Unexpected, "default", what)
    }

    pub(super) fn judge_socket(&self, case: &Case, endpoint: &Endpoint, path: &[u8]) -> Ruling {
        let (event, image) = (case.event, &case.image);
        let shown = crate::event::escape(path);
        let certain = match endpoint {
            Endpoint::UnixPath(path, _) => is_certain(path),
            Endpoint::UnixAbstract(_) => true,
            _ => false,
        };
        let declares = |allowed: &&super::Allowed| allowed.egress.iter().any(|egress| egress.is_socket(path));
        if certain && let Some(allowed) = self.allowed(case).find(declares) {
            return Ruling::expected(allowed.source.clone(), "a declared socket");
        }
        if let Some((index, escape)) = self.places.escape(path, self.secrets.homes()) {
            let what = format!("asked {} at {shown}", escape.title);
            if certain
                && image.phase == Phase::Launch
                && let Some(pair) = self.profiles.launch_escape(&image.programs, index)
            {
                return Ruling::expected(pair.to_owned(), format!("{what}; the launcher needs it"));
            }
            if case.agent {
                if certain && image.programs.iter().any(|program| escape.owners.contains(program)) {
                    return Ruling::expected("owner", format!("{what}; that is what the program is for"));
                }
                if escape.agents == BelowAgent::Recorded {
                    return Ruling::unjudged(format!("{what}; agents do that all day"));
                }
            }
            let source = format!("escape:{}", escape.id);
            return Ruling::broken(Rule::LineageEscape, Verdict::Forbidden, source, what)
                .tried(event.outcome);
        }
        if self.profiles.is_harmless_socket(path) {
            return if certain {
                Ruling::expected("profile:generic", "what the C library itself needs")
            } else {
                Ruling::unjudged("the path is not certain")
            };
        }
        if self.listeners.is_own(&Listening::Socket(path.to_vec()), &image.instance) {
            return Ruling::expected("default", "a listener of the same workload");
        }
        if case.agent {
            return Ruling::unjudged("an agent may talk to a program of this host");
        }
        // No finding. A proxy behind a unix socket is a way out as one on loopback is, but the two differ in what is
        // known: no tier sees who listens on a unix socket, so a server's own (multiprocessing, IPC of editors and
        // language servers, a database beside it) looks as a stranger's does, and ordinary programs talk to dozens
        // (nscd, journald, X11, sound, …). Only services that are known to act for others are found, above; the
        // rest is told as unexpected, so that it can be asked for and declared.
        let what = format!("{shown} is a socket that is not declared; who listens there is not known");
        Ruling { rule: None, ..Ruling::broken(Rule::UnknownEgress, Verdict::Unexpected, "default", what) }
            .tried(event.outcome)
    }
}

fn listening(network: &NetworkObject, event: &Event) -> Option<Listening> {
    match &network.remote {
        Endpoint::Internet(_, port) => {
            let port = if *port == 0 { network.local.map_or(0, |(_, port)| port) } else { *port };
            Some(Listening::Port(event.process.net_namespace, port)).filter(|_| port != 0)
        }
        endpoint => socket_path(endpoint, event).map(Listening::Socket),
    }
}
