//! Destinations: what a declaration may say, and addresses that mean something by themselves.
//! Data: `mcp-monitor/data/metadata.yaml`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::Deserialize;

use super::{
    data::{DataError, parse},
    glob::Globs,
};

/// A destination cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "destination `{text}`: {problem} (a destination is HOST, HOST:PORT, *.example.com:PORT, ADDRESS, ADDRESS:PORT, [IPV6]:PORT, NETWORK/BITS, NETWORK/BITS:PORT or unix:PATH)"
)]
pub struct EgressError {
    text: String,
    problem: String,
}

impl EgressError {
    /// What is wrong with it.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

/// One declared destination.
#[derive(Clone, Debug)]
pub enum Egress {
    /// A name. A first label `*` stands for one or more labels, another `*` for exactly one.
    Name(Vec<String>, Option<u16>),
    /// One address.
    Address(IpAddr, Option<u16>),
    /// A network: address and bits.
    Network(IpAddr, u8, Option<u16>),
    /// `AF_UNIX`: a glob on the path, `@` first for abstract names.
    Unix(Globs),
}

impl FromStr for Egress {
    type Err = EgressError;

    fn from_str(text: &str) -> Result<Self, EgressError> {
        let failed = |problem: String| EgressError { text: text.to_owned(), problem };
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with(['/', '@', '*']) {
                return Err(failed(String::from(
                    "a socket's path begins with `/`, an abstract name with `@`",
                )));
            }
            return Globs::new([(path, 0)]).map(Self::Unix).map_err(|error| failed(error.to_string()));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(failed(format!("leave out `{scheme}://` and the path")));
        }
        let (host, port) = split_port(text).map_err(failed)?;
        if let Some((network, bits)) = host.split_once('/') {
            // Both `[2001:db8::]/32` and `[2001:db8::/32]` are written.
            let network = network.trim_start_matches('[').trim_end_matches(']');
            let bits = bits.trim_end_matches(']');
            let address: IpAddr =
                network.parse().map_err(|_| failed(format!("`{network}` is no address")))?;
            let bits: u8 = bits.parse().map_err(|_| failed(format!("`{bits}` is no number of bits")))?;
            return self::network(address, bits, port).map_err(failed);
        }
        if let Ok(address) = strip_brackets(host).parse::<IpAddr>() {
            return Ok(Self::Address(fold(address), port));
        }
        name(host, port).map_err(failed)
    }
}

fn strip_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// `HOST:PORT`, where a bare IPv6 address has colons of its own.
fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let address = text.split('/').next().unwrap_or(text);
    if address.parse::<Ipv6Addr>().is_ok() && !text.rsplit('/').next().unwrap_or_default().contains(':') {
        return Ok((text, None));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text, None));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let number = port.parse().ok().filter(|&number: &u16| number != 0);
            number.map(|number| (host, Some(number))).ok_or_else(|| format!("`{port}` is no port"))
        }
        _ => Ok((text, None)),
    }
}

fn network(address: IpAddr, bits: u8, port: Option<u16>) -> Result<Egress, String> {
    let (address, bits) = match (address, fold(address)) {
        (IpAddr::V6(_), folded @ IpAddr::V4(_)) if bits >= 96 => (folded, bits - 96),
        _ => (address, bits),
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    if bits > most {
        return Err(format!("a network of this kind has at most {most} bits"));
    }
    let first = masked(address, bits);
    if first != address {
        return Err(format!("{address} is not the first address of its network; write {first}/{bits}"));
    }
    if bits == 0 {
        return Err(String::from(
            "this is every address; a monitor that expects everything has nothing to tell",
        ));
    }
    Ok(Egress::Network(address, bits, port))
}

fn name(host: &str, port: Option<u16>) -> Result<Egress, String> {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if host.is_empty() {
        return Err(String::from("there is no host"));
    }
    if !host.is_ascii() {
        return Err(String::from("write the name in its `xn--` form"));
    }
    let labels: Vec<String> = host.split('.').map(str::to_owned).collect();
    for label in &labels {
        let good = !label.is_empty()
            && label.len() < 64
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !good && label != "*" {
            return Err(if label.contains('*') {
                String::from("`*` stands for whole labels only, as in `*.example.com`")
            } else {
                format!("`{label}` is no part of a host name")
            });
        }
    }
    if labels.iter().all(|label| label == "*") {
        return Err(String::from(
            "this is every host; a monitor that expects everything has nothing to tell",
        ));
    }
    if labels.last().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(String::from("this is neither an address nor a name"));
    }
    Ok(Egress::Name(labels, port))
}

impl Egress {
    /// The host, and the port apart.
    #[must_use]
    pub fn without_port(self) -> (Self, Option<u16>) {
        match self {
            Self::Name(labels, port) => (Self::Name(labels, None), port),
            Self::Address(address, port) => (Self::Address(address, None), port),
            Self::Network(address, bits, port) => (Self::Network(address, bits, None), port),
            Self::Unix(globs) => (Self::Unix(globs), None),
        }
    }

    /// The destination is this address and port.
    #[must_use]
    pub fn is_address(&self, address: IpAddr, port: u16) -> bool {
        match self {
            Self::Address(declared, declared_port) => *declared == address && port_fits(*declared_port, port),
            Self::Network(network, bits, declared_port) => {
                network.is_ipv4() == address.is_ipv4()
                    && masked(address, *bits) == *network
                    && port_fits(*declared_port, port)
            }
            Self::Name(..) | Self::Unix(_) => false,
        }
    }

    /// The destination names exactly this address, as what is forbidden needs.
    #[must_use]
    pub fn names_address(&self, address: IpAddr, port: u16) -> bool {
        matches!(self, Self::Address(..)) && self.is_address(address, port)
    }

    /// The destination is this name (lower case, without a dot at its end) and port.
    #[must_use]
    pub fn is_name(&self, name: &[u8], port: u16) -> bool {
        let Self::Name(labels, declared_port) = self else { return false };
        if !port_fits(*declared_port, port) {
            return false;
        }
        let given: Vec<&[u8]> = name.split(|&byte| byte == b'.').collect();
        let fits = |declared: &String, label: &&[u8]| {
            declared == "*" || declared.as_bytes().eq_ignore_ascii_case(label)
        };
        match labels.split_first() {
            Some((first, rest)) if first == "*" => {
                given.len() > rest.len()
                    && rest
                        .iter()
                        .zip(given.iter().skip(given.len() - rest.len()))
                        .all(|(declared, label)| fits(declared, label))
            }
            _ => {
                given.len() == labels.len()
                    && labels.iter().zip(&given).all(|(declared, label)| fits(declared, label))
            }
        }
    }

    /// The destination is this socket in the file system, or with `@` this abstract one.
    #[must_use]
    pub fn is_socket(&self, path: &[u8]) -> bool {
        matches!(self, Self::Unix(globs) if globs.is_match(path))
    }
}

/// A port that was left out is every port. 0 is what `getaddrinfo` asks the way to.
fn port_fits(declared: Option<u16>, port: u16) -> bool {
    declared.is_none_or(|declared| declared == port)
}

/// IPv4 in IPv6 as IPv4.
#[must_use]
pub fn fold(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The first address of the network of this many bits that `address` lies in.
#[must_use]
pub fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

/// Reaches this host: loopback, and the unspecified address, which the kernel takes for it.
#[must_use]
pub fn is_own_host(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified()
}

/// An address that is not on the public network.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let shared = masked(IpAddr::V4(address), 10) == IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0));
            address.is_private() || address.is_link_local() || shared
        }
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetadataFile {
    metadata: Vec<MetadataText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetadataText {
    address: String,
    service: String,
}

/// Addresses at which clouds hand out credentials.
#[derive(Debug)]
pub struct Metadata(Vec<(IpAddr, String)>);

impl Metadata {
    /// The addresses of `metadata.yaml`.
    pub fn embedded() -> Result<Self, DataError> {
        const FILE: &str = "metadata.yaml";
        let file: MetadataFile = parse(FILE, include_str!("../../data/metadata.yaml"))?;
        let addresses = file.metadata.into_iter().map(|MetadataText { address, service }| {
            let parsed = address.parse().map_err(|_| DataError::Undefined {
                file: FILE,
                what: "address",
                name: address,
            })?;
            Ok((fold(parsed), service))
        });
        addresses.collect::<Result<_, DataError>>().map(Self)
    }

    /// The service at `address`.
    #[must_use]
    pub fn service(&self, address: IpAddr) -> Option<&str> {
        // Scope and IPv4-compatible forms do not matter: canonical addresses are compared.
        self.0.iter().find(|(known, _)| *known == address).map(|(_, service)| service.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn egress(text: &str) -> Egress {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn names() {
        assert!(egress("API.github.com:443").is_name(b"api.github.com", 443));
        assert!(!egress("api.github.com:443").is_name(b"api.github.com", 80));
        assert!(egress("api.github.com").is_name(b"api.github.com", 80));
        assert!(!egress("github.com").is_name(b"api.github.com", 80));
        assert!(!egress("github.com").is_name(b"evilgithub.com", 80));
        assert!(egress("*.example.com").is_name(b"a.example.com", 1));
        assert!(egress("*.example.com").is_name(b"a.b.example.com", 1));
        assert!(!egress("*.example.com").is_name(b"example.com", 1));
        assert!(!egress("*.example.com").is_name(b"aexample.com", 1));
        assert!(egress("a.*.example.com").is_name(b"a.b.example.com", 1));
        assert!(!egress("a.*.example.com").is_name(b"a.b.c.example.com", 1));
    }

    #[test]
    fn addresses() {
        assert!(egress("10.0.0.0/8:5432").is_address(ip("10.9.9.9"), 5432));
        assert!(!egress("10.0.0.0/8:5432").is_address(ip("11.0.0.1"), 5432));
        assert!(egress("::ffff:1.2.3.4").is_address(ip("1.2.3.4"), 9));
        assert!(egress("[2001:db8::1]:443").is_address(ip("2001:db8::1"), 443));
        assert!(egress("2001:db8::/32").is_address(ip("2001:db8::9"), 443));
        assert!(egress("[2001:db8::/32]:443").is_address(ip("2001:db8::9"), 443));
        assert!(egress("2001:db8::1").is_address(ip("2001:db8::1"), 80));
        assert!(!egress("0.0.0.0/1").names_address(ip("127.0.0.1"), 1));
        assert!(egress("::ffff:10.0.0.0/104").is_address(ip("10.1.1.1"), 1));
        assert!(egress("unix:/run/x/*.sock").is_socket(b"/run/x/a.sock"));
        assert!(!egress("unix:/run/x/*.sock").is_socket(b"/run/x/y/a.sock"));
    }

    #[test]
    fn mistakes_are_explained() {
        for (text, hint) in [
            ("https://a.b/c", "leave out"),
            ("10.0.0.1/8", "write 10.0.0.0/8"),
            ("a.b:99999", "no port"),
            ("*", "every host"),
            ("0.0.0.0/0", "every address"),
            ("a*.b", "whole labels"),
            ("", "no host"),
            ("1.2.3", "neither"),
            ("unix:run/x", "begins with"),
            ("ä.de", "xn--"),
            ("10.0.0.0/99", "at most 32"),
        ] {
            let error = text.parse::<Egress>().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn metadata() {
        let metadata = Metadata::embedded().unwrap();
        assert!(metadata.service(ip("169.254.169.254")).is_some());
        assert!(metadata.service(ip("fd00:ec2::254")).is_some());
        assert!(metadata.service(fold(ip("::ffff:169.254.169.254"))).is_some());
        assert!(metadata.service(ip("169.254.1.1")).is_none());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Egress>();
        }
    }
}
