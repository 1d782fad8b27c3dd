//! Rulings on the network: destinations, listeners, answers of resolvers. What stays on this host: [`super::local`].

use std::net::IpAddr;

use super::{Case, Judge, Ruling, plain};
use crate::{
    event::{
        Action, Bytes, Direction, DnsObject, Endpoint, Event, FilePath, NameConfidence, NetworkObject,
        Outcome, Rule, Transport, Verdict,
    },
    expectation::{
        lineage::Phase,
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
    pub(super) fn judge_network(&self, case: &Case) -> (Ruling, Option<Named>) {
        let (event, image) = (case.event, &case.image);
        let Some(network) = event.action.network() else { return (Ruling::unjudged("no address"), None) };
        if matches!(event.action, Action::Listen(_)) {
            return (judge_listener(case, network), None);
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
                let process = event.process.key.pid;
                let named = self.names.lookup(&image.instance, process, event.boot_ns, address);
                let mut ruling = self.judge_address(case, network, (address, *port), &named);
                if closed {
                    // The connection was found when it was made.
                    ruling.rule = None;
                }
                (ruling, Some(named))
            }
            endpoint => (self.judge_other(case, network, endpoint), None),
        }
    }

    fn judge_address(
        &self,
        case: &Case,
        network: &NetworkObject,
        (address, port): (IpAddr, u16),
        named: &Named,
    ) -> Ruling {
        let event = case.event;
        if matches!(network.transport, Transport::Tcp | Transport::Udp) && self.is_resolver(address, port) {
            return Ruling::expected("resolvers", "a resolver of the host");
        }
        if let Some(service) = self.metadata.service(address) {
            let by_address = |egress: &Egress| egress.names_address(address, port);
            if let Some(allowed) = self.allowed(case).find(|allowed| allowed.egress.iter().any(by_address)) {
                return Ruling::expected(allowed.source.clone(), format!("{service}; declared by address"));
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
        if let Some(source) = self.declared(case, address, port, any_port, named) {
            return Ruling::expected(source, "a declared destination");
        }
        if is_own_host(address) {
            return self.judge_loopback(case, port, asks_the_way);
        }
        if asks_the_way && port == 0 {
            return Ruling::unjudged("asks for the way; nothing is sent");
        }
        let (known_by, shown) = describe(named, address, port);
        let tail = failure(event.outcome);
        if let Some(destination) = self.destinations.find(&named.names) {
            let source = format!("destination:{}", destination.id);
            let what = format!("{shown} is {} and not declared ({known_by}){tail}", destination.title);
            return Ruling::broken(Rule::UnknownEgress, Verdict::Unexpected, source, what);
        }
        if case.agent && (!named.names.is_empty() || is_private(address)) {
            return Ruling::unjudged(format!("an agent may talk to {shown}"));
        }
        if case.agent && self.names.asked_unseen(&case.image.instance, event.boot_ns) {
            let what = format!(
                "{shown} has no name that was seen: the workload asks a service of the host for names, and its \
                 answers are not seen{tail}"
            );
            return Ruling::broken(
                Rule::UnknownEgress,
                Verdict::Unexpected,
                "destination:name-not-seen",
                what,
            );
        }
        if case.agent {
            let what = format!("{shown} is a public address that nobody named ({known_by}){tail}");
            return Ruling::broken(
                Rule::UnknownEgress,
                Verdict::Unexpected,
                "destination:bare-address",
                what,
            );
        }
        let tail = if port == DNS_PORT || port == 853 {
            format!("{tail}: a resolver that is not the host's")
        } else {
            tail
        };
        let launching =
            if case.image.phase == Phase::Launch { " while the server was being fetched" } else { "" };
        let what = format!("{shown} is not declared ({known_by}){launching}{tail}");
        Ruling::broken(Rule::UnknownEgress, Verdict::Unexpected, "default", what)
    }

    /// Who lets this workload go there. When several names share the address, every one must be let.
    fn declared(
        &self,
        case: &Case,
        address: IpAddr,
        port: u16,
        any_port: bool,
        named: &Named,
    ) -> Option<String> {
        let image = &case.image;
        let declared = self
            .allowed(case)
            .flat_map(|allowed| allowed.egress.iter().map(|egress| (egress, allowed.source.as_str())));
        let launch = self.profiles.launch_egress(&image.programs).filter(|_| image.phase == Phase::Launch);
        let all: Vec<(&Egress, &str)> = declared.chain(launch).collect();
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

    fn judge_other(&self, case: &Case, network: &NetworkObject, endpoint: &Endpoint) -> Ruling {
        if let Some(path) = socket_path(endpoint, case.event) {
            return self.judge_socket(case, endpoint, &path);
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

fn judge_listener(case: &Case, network: &NetworkObject) -> Ruling {
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
    if case.agent {
        return Ruling::unjudged("an agent may start development servers");
    }
    let who =
        if address.is_unspecified() { String::from("on every interface") } else { format!("on {address}") };
    let what = format!("listens {who}, port {port}: other hosts can reach it");
    Ruling::broken(Rule::ExposedListener, Verdict::Unexpected, "default", what).tried(case.event.outcome)
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
