//! A destination that is asked for.

use std::{net::IpAddr, str::FromStr};

/// `NAME`, `*.NAME`, `ADDRESS` or `NETWORK/PREFIX`, each with `:PORT` or without (IPv6 with a port in brackets).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Network(IpAddr, u8),
    Name(String),
    /// Labels below the name.
    Below(String),
}

impl FromStr for Wanted {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "NAME, *.NAME, ADDRESS or NETWORK/PREFIX, with :PORT or without";
        let (host, port) = match text.rsplit_once(':') {
            // More colons: an address of IPv6 without a port, unless in brackets.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, Some(port.parse().map_err(|_| EXPECTED)?))
            }
            _ => (text, None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = if let Ok(address) = host.parse::<IpAddr>() {
            Host::Network(address, if address.is_ipv4() { 32 } else { 128 })
        } else if let Some((network, prefix)) = host.split_once('/') {
            let network: IpAddr = network.parse().map_err(|_| EXPECTED)?;
            let longest = if network.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.parse().ok().filter(|prefix| *prefix <= longest).ok_or(EXPECTED)?;
            Host::Network(network, prefix)
        } else if let Some(name) = host.strip_prefix("*.") {
            Host::Below(name.to_ascii_lowercase())
        } else if host.is_empty() {
            return Err(EXPECTED);
        } else {
            Host::Name(host.trim_end_matches('.').to_ascii_lowercase())
        };
        Ok(Self { host, port })
    }
}

impl Wanted {
    /// True for a destination with this address, port and name, as far as they are known.
    #[must_use]
    pub fn matches(&self, address: Option<IpAddr>, port: Option<u16>, name: Option<&str>) -> bool {
        if self.port.is_some() && self.port != port {
            return false;
        }
        let name = || name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        match &self.host {
            Host::Network(network, prefix) => {
                address.is_some_and(|address| within(address, *network, *prefix))
            }
            Host::Name(wanted) => name().is_some_and(|name| name == *wanted),
            Host::Below(parent) => name()
                .and_then(|name| Some(name.strip_suffix(parent.as_str())?.ends_with('.')))
                .unwrap_or(false),
        }
    }
}

fn within(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let same = |left: u128, right: u128, bits: u32| {
        let shift = bits - u32::from(prefix);
        shift >= 128 || left >> shift == right >> shift
    };
    match (address.to_canonical(), network.to_canonical()) {
        (IpAddr::V4(left), IpAddr::V4(right)) => {
            // A network of mapped addresses counts its bits from the front of the long form.
            let bits = if network.is_ipv4() { 32 } else { 128 };
            same(u32::from(left).into(), u32::from(right).into(), bits)
        }
        (IpAddr::V6(left), IpAddr::V6(right)) => same(left.into(), right.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_and_networks_with_and_without_a_port() {
        let is = |wanted: &str, address: &str, port: u16, name: Option<&str>| {
            wanted.parse::<Wanted>().unwrap().matches(address.parse().ok(), Some(port), name)
        };
        assert!(is("203.0.113.7", "203.0.113.7", 443, None));
        assert!(is("203.0.113.0/24:443", "203.0.113.7", 443, None));
        assert!(!is("203.0.113.0/24:80", "203.0.113.7", 443, None));
        assert!(is("[2001:db8::1]:443", "2001:db8::1", 443, None));
        assert!(is("203.0.113.7", "::ffff:203.0.113.7", 443, None), "an address in clothes of IPv6");
        assert!(is("::ffff:203.0.113.0/120", "203.0.113.7", 443, None));
        assert!(is("0.0.0.0/0", "203.0.113.7", 443, None) && !is("0.0.0.0/0", "::1", 443, None));
        assert!(is("API.example.com.", "", 443, Some("api.example.com")));
        assert!(is("*.example.com:443", "", 443, Some("a.b.Example.com")));
        assert!(!is("*.example.com", "", 443, Some("example.com")));
        for wrong in ["", ":443", "a:b", "10.0.0.0/33", "10.0.0.0/x"] {
            assert!(wrong.parse::<Wanted>().is_err(), "{wrong}");
        }
    }
}
