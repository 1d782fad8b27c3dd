//! Who resolves names on this host.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use super::read;

/// Bytes of a configuration file that are read.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Resolvers that answer where the host says nothing about them: systemd-resolved's and Docker's own.
const WELL_KNOWN_RESOLVERS: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11)),
];

/// The resolvers of the host.
#[must_use]
pub fn resolvers() -> Vec<IpAddr> {
    let mut found = WELL_KNOWN_RESOLVERS.to_vec();
    for path in ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"] {
        found.extend(parse_resolvers(&read::bounded(Path::new(path), FILE_MAX_BYTES).unwrap_or_default()));
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn parse_resolvers(bytes: &[u8]) -> Vec<IpAddr> {
    String::from_utf8_lossy(bytes)
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next()? == "nameserver").then_some(())?;
            // A zone of a link-local address names an interface.
            words.next()?.split('%').next()?.parse().ok()
        })
        .map(|address: IpAddr| address.to_canonical())
        .take(64)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn resolvers_of_a_file() {
        let file = b"# nameserver 9.9.9.9\nnameserver 10.0.0.1\n nameserver fe80::1%eth0 x\nnameserver x\nsearch y\n";
        let expected: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "fe80::1".parse().unwrap()];
        assert_eq!(parse_resolvers(file), expected);
    }

    proptest! {
        #[test]
        fn any_file_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_resolvers(&bytes);
        }
    }
}
