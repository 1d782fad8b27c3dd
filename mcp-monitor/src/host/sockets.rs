//! What the host knows about addresses: its resolvers, its hosts file, and who listens on its loopback.

use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use super::read;
use crate::event::{Bytes, ProcessId};

/// Bytes of a configuration file that are read.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes of a socket table that are read.
const TABLE_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Addresses of a hosts file that are kept.
const HOSTS_MAX: usize = 64 * 1024;
/// Processes and descriptors that a search for a listener looks at.
const PROCESSES_MAX: usize = 32 * 1024;
const DESCRIPTORS_MAX: usize = 4096;
/// How often the hosts file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
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

/// The host's hosts file, read again when it changes.
#[derive(Debug)]
pub struct Hosts {
    path: PathBuf,
    names: HashMap<IpAddr, Bytes>,
    modified: Option<SystemTime>,
    looked: Option<Instant>,
}

impl Default for Hosts {
    fn default() -> Self {
        Self::new("/etc/hosts")
    }
}

impl Hosts {
    /// This hosts file; a missing one has no names.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), names: HashMap::new(), modified: None, looked: None }
    }

    /// The first name of an address.
    pub fn name(&mut self, address: IpAddr) -> Option<Bytes> {
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            self.looked = Some(Instant::now());
            let modified = fs::metadata(&self.path).and_then(|metadata| metadata.modified()).ok();
            if modified.is_some() && modified != self.modified {
                self.modified = modified;
                self.names = parse_hosts(&read::bounded(&self.path, FILE_MAX_BYTES).unwrap_or_default());
            }
        }
        self.names.get(&address).cloned()
    }
}

fn parse_hosts(bytes: &[u8]) -> HashMap<IpAddr, Bytes> {
    let mut names = HashMap::new();
    for line in String::from_utf8_lossy(bytes).lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let (Some(address), Some(name)) = (words.next(), words.next()) else { continue };
        let Ok(address) = address.split('%').next().unwrap_or_default().parse::<IpAddr>() else { continue };
        if names.len() < HOSTS_MAX {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            names.entry(address.to_canonical()).or_insert_with(|| Bytes::from(name.as_str()));
        }
    }
    names
}

/// The process that listens at an address in the network namespace of `viewer`; best effort: it looks at every
/// process that it may, and takes the first that holds the socket.
#[must_use]
pub fn listener(viewer: ProcessId, address: IpAddr, port: u16) -> Option<ProcessId> {
    let network = Path::new("/proc").join(viewer.0.to_string()).join("net");
    let inode = ["tcp", "tcp6"].into_iter().find_map(|table| {
        let bytes = read::bounded(&network.join(table), TABLE_MAX_BYTES)?;
        listening_inode(&String::from_utf8_lossy(&bytes), address, port)
    })?;
    holder(&format!("socket:[{inode}]"))
}

/// The inode of the listening socket that would take a connection to the address.
fn listening_inode(table: &str, address: IpAddr, port: u16) -> Option<u64> {
    let mut wildcard = None;
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (Some(local), Some(&"0A"), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9)) else {
            continue;
        };
        let Some((bound, bound_port)) = parse_local(local) else { continue };
        let Ok(inode) = inode.parse() else { continue };
        if bound_port != port {
            continue;
        }
        if bound == address {
            return Some(inode);
        }
        if bound.is_unspecified() {
            wildcard = Some(inode);
        }
    }
    wildcard
}

/// `0100007F:1F90`: each group of four bytes in host byte order.
fn parse_local(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for group in address.as_bytes().chunks(8) {
        let group = u32::from_str_radix(std::str::from_utf8(group).ok()?, 16).ok()?;
        bytes.extend_from_slice(&group.to_ne_bytes());
    }
    let address = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)).to_canonical(),
        _ => return None,
    };
    Some((address, port))
}

fn holder(socket: &str) -> Option<ProcessId> {
    let processes = fs::read_dir("/proc").ok()?;
    processes.filter_map(Result::ok).take(PROCESSES_MAX).find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let descriptors = fs::read_dir(entry.path().join("fd")).ok()?;
        descriptors
            .filter_map(Result::ok)
            .take(DESCRIPTORS_MAX)
            .any(|descriptor| {
                fs::read_link(descriptor.path())
                    .is_ok_and(|link| link.as_os_str().as_bytes() == socket.as_bytes())
            })
            .then_some(ProcessId(pid))
    })
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

    #[test]
    fn names_of_a_file() {
        let names = parse_hosts(
            b"127.0.0.1 LocalHost me\n10.1.1.1\tdb.internal. # x\n#1.1.1.1 no\n::1 localhost\nx y\n",
        );
        assert_eq!(names[&"127.0.0.1".parse::<IpAddr>().unwrap()], "localhost".into());
        assert_eq!(names[&"10.1.1.1".parse::<IpAddr>().unwrap()], "db.internal".into());
        assert_eq!(names.len(), 3);
    }

    #[test]
    fn our_own_listener_is_found() {
        for address in ["127.0.0.1", "0.0.0.0"] {
            let listener_socket = std::net::TcpListener::bind((address, 0)).unwrap();
            let port = listener_socket.local_addr().unwrap().port();
            let own = ProcessId(std::process::id());
            assert_eq!(listener(own, "127.0.0.1".parse().unwrap(), port), Some(own));
        }
        assert_eq!(listener(ProcessId(std::process::id()), "127.0.0.1".parse().unwrap(), 1), None);
    }

    proptest! {
        #[test]
        fn any_file_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,200}") {
            let _ = (parse_resolvers(&bytes), parse_hosts(&bytes));
            let _ = listening_inode(&format!("header\n{text}"), IpAddr::V4(Ipv4Addr::LOCALHOST), 80);
            let _ = parse_local(&text);
        }
    }
}
