//! Destinations of an expectation: a host, ports and a protocol, and many of them at once.
//!
//! A host is what [`Egress`] understands. Names and addresses are found by table, wildcards by the labels that they end
//! with, networks by the number of their bits, so that a look-up does not grow with the number of destinations.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    ops::RangeInclusive,
};

use crate::{
    event::Transport,
    expectation::network::{Egress, fold, masked},
};

/// Protocols that a destination may be limited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP, MPTCP included.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The protocol of a transport, if it is one of these.
    #[must_use]
    pub fn of(transport: Transport) -> Option<Self> {
        match transport {
            Transport::Tcp => Some(Self::Tcp),
            Transport::Udp => Some(Self::Udp),
            _ => None,
        }
    }
}

/// One declared destination.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The host, without a port.
    pub host: Egress,
    /// Ports and protocol.
    pub way: Way,
}

/// How a host is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    ports: Option<RangeInclusive<u16>>,
    protocol: Option<Protocol>,
}

impl Way {
    /// This port, over this protocol, is meant.
    #[must_use]
    pub fn is(&self, port: u16, protocol: Option<Protocol>) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.contains(&port))
            && self.protocol.is_none_or(|declared| Some(declared) == protocol)
    }

    /// The protocol is meant; the port says nothing.
    fn is_protocol(&self, protocol: Option<Protocol>) -> bool {
        self.protocol.is_none_or(|declared| Some(declared) == protocol)
    }
}

/// Understands `HOST[:PORT|:FIRST-LAST][/tcp|/udp]`.
pub fn parse(text: &str) -> Result<Destination, String> {
    if text.starts_with("unix:") {
        return Err(String::from("sockets in the file system belong under `unix`"));
    }
    let (rest, protocol) = match text.rsplit_once('/') {
        Some((rest, "tcp")) => (rest, Some(Protocol::Tcp)),
        Some((rest, "udp")) => (rest, Some(Protocol::Udp)),
        Some((_, word))
            if word.starts_with(|first: char| first.is_ascii_alphabetic()) && !text.contains("://") =>
        {
            return Err(format!("`{word}` is no protocol; there are: tcp, udp"));
        }
        _ => (text, None),
    };
    let (host, ports) = split_range(rest)?;
    let host: Egress =
        host.parse().map_err(|error: crate::expectation::EgressError| error.problem().to_owned())?;
    let (host, port) = host.without_port();
    if let Egress::Name(labels, _) = &host {
        public_suffix(labels)?;
    }
    let ports = ports.or_else(|| port.map(|port| port..=port));
    Ok(Destination { host, way: Way { ports, protocol } })
}

/// Takes `:FIRST-LAST` off. A single port is left to [`Egress`], which knows the colons of IPv6.
fn split_range(text: &str) -> Result<(&str, Option<RangeInclusive<u16>>), String> {
    let Some((host, range)) = text.rsplit_once(':') else { return Ok((text, None)) };
    let Some((first, last)) = range.split_once('-') else { return Ok((text, None)) };
    let number = |word: &str| {
        word.parse().ok().filter(|port: &u16| *port != 0).ok_or_else(|| format!("`{word}` is no port"))
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("the range {first}-{last} is empty; write {last}-{first}"));
    }
    Ok((host, Some(first..=last)))
}

/// A wildcard over a suffix below which anybody can register a name stands for everybody.
fn public_suffix(labels: &[String]) -> Result<(), String> {
    let Some(("*", rest)) = labels.split_first().map(|(first, rest)| (first.as_str(), rest)) else {
        return Ok(());
    };
    let rest = rest.join(".");
    let is_public = psl::suffix(rest.as_bytes())
        .is_some_and(|suffix| suffix.typ() == Some(psl::Type::Icann) && suffix.as_bytes() == rest.as_bytes());
    if is_public {
        return Err(format!(
            "anybody can register a name below `{rest}`; name the domain, as in `*.example.{rest}`"
        ));
    }
    Ok(())
}

/// Ways with the lines on which they stand.
type Ways = Vec<(Way, u32)>;

/// Many destinations, each with the line on which it stands.
#[derive(Clone, Debug, Default)]
pub struct Destinations {
    names: HashMap<Box<[u8]>, Ways>,
    below: HashMap<Box<[u8]>, Ways>,
    patterns: Vec<(Destination, u32)>,
    addresses: HashMap<IpAddr, Ways>,
    networks: BTreeMap<(bool, u8), HashMap<IpAddr, Ways>>,
}

impl Destinations {
    /// The destinations with their lines.
    #[must_use]
    pub fn new<'all>(all: impl IntoIterator<Item = (&'all Destination, u32)>) -> Self {
        let mut this = Self::default();
        for (destination, line) in all {
            let way = (destination.way.clone(), line);
            match &destination.host {
                Egress::Name(labels, _) => match labels.split_first() {
                    Some((first, rest)) if first == "*" && !rest.iter().any(|label| label == "*") => {
                        this.below.entry(rest.join(".").into_bytes().into()).or_default().push(way);
                    }
                    _ if labels.iter().any(|label| label == "*") => {
                        this.patterns.push((destination.clone(), line));
                    }
                    _ => this.names.entry(labels.join(".").into_bytes().into()).or_default().push(way),
                },
                Egress::Address(address, _) => this.addresses.entry(*address).or_default().push(way),
                Egress::Network(address, bits, _) => {
                    let networks = this.networks.entry((address.is_ipv4(), *bits)).or_default();
                    networks.entry(*address).or_default().push(way);
                }
                Egress::Unix(_) => {}
            }
        }
        this
    }

    /// The line that allows this name. Without a port any will do.
    #[must_use]
    pub fn name(&self, name: &[u8], port: Option<u16>, protocol: Option<Protocol>) -> Option<u32> {
        let name = name.to_ascii_lowercase();
        if let Some(line) = self.names.get(name.as_slice()).and_then(|ways| find(ways, port, protocol)) {
            return Some(line);
        }
        let mut rest = name.as_slice();
        while let Some(dot) = rest.iter().position(|&byte| byte == b'.') {
            rest = rest.get(dot + 1..)?;
            if let Some(line) = self.below.get(rest).and_then(|ways| find(ways, port, protocol)) {
                return Some(line);
            }
        }
        let fits = |(destination, _): &&(Destination, u32)| {
            destination.host.is_name(&name, port.unwrap_or(0)) && fits(&destination.way, port, protocol)
        };
        self.patterns.iter().find(fits).map(|(_, line)| *line)
    }

    /// The line that names exactly this address.
    #[must_use]
    pub fn exact(&self, address: IpAddr, port: Option<u16>, protocol: Option<Protocol>) -> Option<u32> {
        find(self.addresses.get(&fold(address))?, port, protocol)
    }

    /// The line that allows this address, by itself or by its network.
    #[must_use]
    pub fn address(&self, address: IpAddr, port: Option<u16>, protocol: Option<Protocol>) -> Option<u32> {
        let address = fold(address);
        self.exact(address, port, protocol).or_else(|| {
            // The narrowest first.
            self.networks.iter().rev().filter(|((is_ipv4, _), _)| *is_ipv4 == address.is_ipv4()).find_map(
                |((_, bits), networks)| find(networks.get(&masked(address, *bits))?, port, protocol),
            )
        })
    }
}

fn fits(way: &Way, port: Option<u16>, protocol: Option<Protocol>) -> bool {
    port.map_or_else(|| way.is_protocol(protocol), |port| way.is(port, protocol))
}

fn find(ways: &[(Way, u32)], port: Option<u16>, protocol: Option<Protocol>) -> Option<u32> {
    ways.iter().find(|(way, _)| fits(way, port, protocol)).map(|(_, line)| *line)
}
