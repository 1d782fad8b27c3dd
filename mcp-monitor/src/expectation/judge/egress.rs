//! Rulings on the network: destinations, loopback, sockets in the file system, listeners, answers of resolvers.

use std::net::IpAddr;

use super::{Judge, Listening, Ruling, plain};
use crate::{
    event::{
        Action, Bytes, Direction, DnsObject, Endpoint, Event, FilePath, NameConfidence, NetworkObject,
        Outcome, Rule, Transport, Verdict, WorkloadKind,
    },
    expectation::{
        catalogue::BelowAgent,
        lineage::{Image, Phase},
        names::Named,
        network::{Egress, fold, is_own_host, is_private},
        secrets::without_var_run,
    },
};

/// Port of DNS.
const DNS_PORT: u16 = 53;

/// The other end of a socket in the file system, or with `@` an abstract one; `None` for others.
pub(super) fn socket_path(endpoint: &Endpoint, event: &Event) -> Option<Vec<u8>> {
    match endpoint {
        Endpoint::UnixPath(path, _) if !path.bytes.is_empty() => {
            Some(without_var_run(&plain(path, event)).to_vec())
        }
        Endpoint::UnixGiven(bytes) if !bytes.is_empty() => {
            let path = FilePath { bytes: bytes.clone(), unresolved: true, ..FilePath::default() };
            Some(without_var_run(&plain(&path, event)).to_vec())
        }
        Endpoint::UnixAbstract(name) => {
            let mut path = vec![b'@'];
            path.extend_from_slice(name.as_slice());
            Some(path)
        }
        _ => None,
    }
}

impl Judge {
    /// The ruling, and the name of the address where there is one.
    pub(super) fn judge_network(&self, event: &Event, image: &Image) -> (Ruling, Option<Named>) {
        let Some(network) = event.action.network() else { return (Ruling::unjudged("no address"), None) };
        if matches!(event.action, Action::Listen(_)) {
            return (judge_listener(event, network), None);
        }
        if network.direction == Direction::In || matches!(event.action, Action::Accept(_)) {
            return (Ruling::unjudged("came in"), None);
        }
        let closed = matches!(event.action, Action::Close(_));
        match &network.remote {
            // The socket that stands for all paths of an MPTCP connection changes state beside the path's own, which
            // names where it goes. Nothing is reached at port 0 of no address.
            Endpoint::Internet(address, 0)
                if network.transport == Transport::Tcp && address.is_unspecified() =>
            {
                (Ruling::unjudged("names no destination; the paths of an MPTCP connection do"), None)
            }
            Endpoint::Internet(address, port) => {
                let address = fold(*address);
                let mut named =
                    self.names.lookup(&image.instance, event.process.key.pid, event.boot_ns, address);
                if named.names.is_empty()
                    && let Some(name) = &network.name
                {
                    // An earlier stage knows more, and believes no one else than this one does.
                    named = Named { names: vec![name.clone()], confidence: network.name_confidence };
                }
                let mut ruling = self.judge_address(event, network, (address, *port), &named, image);
                if closed {
                    // The connection was found when it was made.
                    ruling.rule = None;
                }
                (ruling, Some(named))
            }
            endpoint => (self.judge_other(event, network, endpoint, image), None),
        }
    }

    fn judge_address(
        &self,
        event: &Event,
        network: &NetworkObject,
        (address, port): (IpAddr, u16),
        named: &Named,
        image: &Image,
    ) -> Ruling {
        if matches!(network.transport, Transport::Tcp | Transport::Udp) && self.is_resolver(address, port) {
            return Ruling::expected("resolvers", "a resolver of the host");
        }
        if let Some(service) = self.metadata.service(address) {
            if self.allow_egress.iter().any(|egress| egress.names_address(address, port)) {
                return Ruling::expected("command-line", format!("{service}; declared by address"));
            }
            let what = format!(
                "contacted the {service}, which hands out the machine's credentials{}",
                failure(event.outcome)
            );
            return Ruling::broken(Rule::MetadataEgress, Verdict::Forbidden, "catalogue:metadata", what);
        }
        // `getaddrinfo` connects a datagram socket to see the way there; nothing is sent.
        let asks_the_way = network.transport == Transport::Udp && matches!(event.action, Action::Connect(_));
        let any_port =
            asks_the_way && matches!(port, 0 | u16::MAX) || matches!(network.transport, Transport::Raw(_));
        if let Some(source) = self.declared(image, address, port, any_port, named) {
            return Ruling::expected(source, "a declared destination");
        }
        if is_own_host(address) {
            return self.judge_loopback(event, port, image, asks_the_way);
        }
        if asks_the_way && port == 0 {
            return Ruling::unjudged("asks for the way; nothing is sent");
        }
        let (known_by, shown) = describe(named, address, port);
        if event.workload.kind == WorkloadKind::Agent && (!named.names.is_empty() || is_private(address)) {
            return Ruling::unjudged(format!("an agent may talk to {shown}"));
        }
        let launching = if image.phase == Phase::Launch { " while the server was being fetched" } else { "" };
        let what = format!("{shown} is not declared ({known_by}){launching}{}", failure(event.outcome));
        Ruling::broken(Rule::UnknownEgress, Verdict::Unexpected, "default", what)
    }

    /// Who lets this workload go there. When several names share the address, every one must be let.
    fn declared(
        &self,
        image: &Image,
        address: IpAddr,
        port: u16,
        any_port: bool,
        named: &Named,
    ) -> Option<String> {
        let command_line = self.allow_egress.iter().map(|egress| (egress, "command-line"));
        let launch = self.profiles.launch_egress(&image.programs).filter(|_| image.phase == Phase::Launch);
        let all: Vec<(&Egress, &str)> = command_line.chain(launch).collect();
        let fits = |egress: &Egress, name: &[u8]| match egress {
            Egress::Name(_, Some(declared)) if any_port => egress.is_name(name, *declared),
            egress => egress.is_name(name, port),
        };
        let at = |egress: &Egress| match egress {
            Egress::Address(_, Some(declared)) | Egress::Network(_, _, Some(declared)) if any_port => {
                egress.is_address(address, *declared)
            }
            egress => egress.is_address(address, port),
        };
        if let Some((_, source)) = all.iter().find(|(egress, _)| at(egress)) {
            return Some((*source).to_owned());
        }
        let by_name =
            |name: &[u8]| all.iter().find(|(egress, _)| fits(egress, name)).map(|(_, source)| *source);
        let sources: Vec<Option<&str>> = named.names.iter().map(|name| by_name(name.as_slice())).collect();
        let enough = match named.confidence {
            // The host's file gives an address several names that all mean the same machine.
            NameConfidence::Host => sources.iter().any(Option::is_some),
            NameConfidence::SharedAddress if sources.len() < 2 => false,
            _ => !sources.is_empty() && sources.iter().all(Option::is_some),
        };
        sources.into_iter().flatten().next().filter(|_| enough).map(str::to_owned)
    }

    fn judge_loopback(&self, event: &Event, port: u16, image: &Image, asks_the_way: bool) -> Ruling {
        let listening = Listening::Port(event.process.net_namespace, port);
        if self.listeners.get(&listening).is_some_and(|owner| *owner == image.instance) {
            return Ruling::expected("default", "a listener of the same workload");
        }
        if asks_the_way || event.outcome == Outcome::Failed(libc::ECONNREFUSED) {
            let reason = if asks_the_way { "asks for the way" } else { "nothing listens there" };
            return Ruling::unjudged(reason);
        }
        if event.workload.kind == WorkloadKind::Agent {
            return Ruling::unjudged("an agent may talk to a program of this host");
        }
        let what = format!(
            "port {port} of this host is a loopback listener outside the workload, which may be a way out"
        );
        Ruling::broken(Rule::UnknownEgress, Verdict::Unexpected, "default", what)
    }

    fn judge_other(
        &self,
        event: &Event,
        network: &NetworkObject,
        endpoint: &Endpoint,
        image: &Image,
    ) -> Ruling {
        if let Some(path) = socket_path(endpoint, event) {
            return self.judge_socket(event, endpoint, &path, image);
        }
        match network.transport {
            Transport::UnixStream | Transport::UnixDatagram => {
                Ruling::expected("default", "a socket pair, or a socket without a name")
            }
            Transport::Other(family, _) if self.profiles.is_harmless_family(family) => {
                Ruling::expected("profile:generic", "a socket that reaches nobody")
            }
            Transport::Tcp | Transport::Udp => Ruling::unjudged("no address"),
            Transport::Raw(_) | Transport::Other(..) => {
                let what = "sent by a raw or unusual socket without an address";
                Ruling::broken(Rule::UnknownEgress, Verdict::Unexpected, "default", what)
            }
        }
    }

    fn judge_socket(&self, event: &Event, endpoint: &Endpoint, path: &[u8], image: &Image) -> Ruling {
        let shown = crate::event::escape(path);
        let certain = match endpoint {
            Endpoint::UnixPath(path, _) => super::is_certain(path),
            Endpoint::UnixAbstract(_) => true,
            _ => false,
        };
        if certain && self.allow_egress.iter().any(|egress| egress.is_socket(path)) {
            return Ruling::expected("command-line", "a declared socket");
        }
        if let Some((index, escape)) = self.places.escape(path, self.secrets.homes()) {
            let what = format!("asked {} at {shown}", escape.title);
            if certain
                && image.phase == Phase::Launch
                && let Some(pair) = self.profiles.launch_escape(&image.programs, index)
            {
                return Ruling::expected(pair.to_owned(), format!("{what}; the launcher needs it"));
            }
            if event.workload.kind == WorkloadKind::Agent {
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
        if self.listeners.get(&Listening::Socket(path.to_vec())).is_some_and(|owner| *owner == image.instance)
        {
            return Ruling::expected("default", "a listener of the same workload");
        }
        if event.workload.kind == WorkloadKind::Agent {
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

    /// An address and port at which the host resolves names.
    pub(super) fn is_resolver(&self, address: IpAddr, port: u16) -> bool {
        port == DNS_PORT && self.resolvers.contains(&fold(address))
    }

    pub(super) fn judge_answer(&self, answer: &DnsObject) -> Ruling {
        if self.is_resolver(answer.server.0, answer.server.1) {
            return Ruling::expected("resolvers", "an answer of the host's resolver");
        }
        Ruling::unjudged("an answer of somebody who is no resolver of the host; not believed")
    }
}

fn judge_listener(event: &Event, network: &NetworkObject) -> Ruling {
    let Endpoint::Internet(address, port) = &network.remote else {
        return Ruling::unjudged("a socket in the file system");
    };
    let (address, port) = match network.local {
        Some((local, local_port)) if address.is_unspecified() && *port == 0 => (fold(local), local_port),
        _ => (fold(*address), *port),
    };
    if address.is_loopback() {
        return Ruling::unjudged("only this host can reach it");
    }
    if event.workload.kind == WorkloadKind::Agent {
        return Ruling::unjudged("an agent may start development servers");
    }
    let who =
        if address.is_unspecified() { String::from("on every interface") } else { format!("on {address}") };
    let what = format!("listens {who}, port {port}: other hosts can reach it");
    Ruling::broken(Rule::ExposedListener, Verdict::Unexpected, "default", what).tried(event.outcome)
}

/// How the destination is known, and how to show it.
fn describe(named: &Named, address: IpAddr, port: u16) -> (&'static str, String) {
    let at = std::net::SocketAddr::new(address, port);
    let shown: Vec<String> = named.names.iter().map(Bytes::escaped).collect();
    let shown = shown.join(", ");
    match named.confidence {
        NameConfidence::Unresolved => ("no name is known", at.to_string()),
        NameConfidence::WorkloadDns => ("the workload resolved the name", format!("{shown} ({at})")),
        NameConfidence::Host => ("the name stands in /etc/hosts", format!("{shown} ({at})")),
        NameConfidence::SharedAddress => ("several names share the address", format!("{shown} ({at})")),
    }
}

fn failure(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed(errno) => format!("; it failed: {}", std::io::Error::from_raw_os_error(errno)),
        _ => String::new(),
    }
}
