//! Who listens on this host: the TCP listeners of the net namespaces that matter, each with its process. Read from
//! `/proc` in one go, bounded; a look costs a walk over every process's descriptors, so it is taken on a thread of its
//! own and seldom.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::read;
use crate::event::{Bytes, ProcessId};

/// Bytes of a socket table that are read.
const TABLE_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Processes and descriptors that a look passes over.
const PROCESSES_MAX: usize = 32 * 1024;
const DESCRIPTORS_MAX: usize = 4096;
/// Net namespaces that one look goes into.
const NAMESPACES_MAX: usize = 64;
/// `TCP_LISTEN` in the tables of `/proc/PID/net`.
const LISTENING: &str = "0A";

/// A listener and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// In which net namespace.
    pub net_namespace: u32,
    /// On which port.
    pub port: u16,
    /// Other hosts can reach it: its address is not a loopback one.
    pub exposed: bool,
    /// Whose.
    pub process: ProcessId,
    /// Its program; empty when it could not be read.
    pub executable: Bytes,
}

/// The listeners in the net namespace of this process and in those of `viewers`.
#[must_use]
pub fn look(viewers: &[ProcessId]) -> Vec<Listener> {
    let mut sockets = HashMap::new();
    let mut namespaces = Vec::new();
    let own = ProcessId(std::process::id());
    for viewer in std::iter::once(&own).chain(viewers) {
        let Some(namespace) = net_namespace(*viewer) else { continue };
        if namespaces.contains(&namespace) || namespaces.len() >= NAMESPACES_MAX {
            continue;
        }
        namespaces.push(namespace);
        for table in ["net/tcp", "net/tcp6"] {
            let bytes = read::bounded(&of(*viewer).join(table), TABLE_MAX_BYTES).unwrap_or_default();
            let listening = listening(&String::from_utf8_lossy(&bytes));
            sockets.extend(
                listening.into_iter().map(|(inode, (port, exposed))| (inode, (namespace, port, exposed))),
            );
        }
    }
    holders(&sockets)
}

fn of(process: ProcessId) -> PathBuf {
    Path::new("/proc").join(process.0.to_string())
}

fn net_namespace(process: ProcessId) -> Option<u32> {
    let inode = fs::metadata(of(process).join("ns/net")).ok()?.ino();
    u32::try_from(inode).ok()
}

/// Inode numbers and ports of the listening sockets of a table, and whether other hosts can reach them.
fn listening(table: &str) -> HashMap<u64, (u16, bool)> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (Some(local), Some(&LISTENING), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9))
        else {
            return None;
        };
        let (address, port) = local.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some((inode.parse().ok()?, (port, !is_loopback(address))))
    };
    table.lines().skip(1).filter_map(line).collect()
}

/// An address as the tables write it: words of four bytes in the order of this machine.
fn is_loopback(address: &str) -> bool {
    let bytes = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match address.len() {
        8 => bytes(0).is_some_and(|bytes| bytes[0] == 127),
        32 => {
            let all: Option<Vec<u8>> =
                (0..4).map(|index| bytes(index * 8)).collect::<Option<Vec<_>>>().map(|words| words.concat());
            let Some(octets) = all.and_then(|all| <[u8; 16]>::try_from(all).ok()) else { return false };
            std::net::IpAddr::from(octets).to_canonical().is_loopback()
        }
        _ => false,
    }
}

/// The processes that hold `sockets`; of several that share one the first.
fn holders(sockets: &HashMap<u64, (u32, u16, bool)>) -> Vec<Listener> {
    let mut found: HashMap<(u32, u16), Listener> = HashMap::new();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    for entry in processes.filter_map(Result::ok).take(PROCESSES_MAX) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else { continue };
        for descriptor in descriptors.filter_map(Result::ok).take(DESCRIPTORS_MAX) {
            let Some(&(net_namespace, port, exposed)) =
                socket_inode(&descriptor.path()).and_then(|inode| sockets.get(&inode))
            else {
                continue;
            };
            let known = found.entry((net_namespace, port)).or_insert_with(|| {
                use std::os::unix::ffi::OsStrExt as _;
                let executable = fs::read_link(entry.path().join("exe")).unwrap_or_default();
                let executable = Bytes::new(executable.as_os_str().as_bytes());
                Listener { net_namespace, port, exposed, process: ProcessId(pid), executable }
            });
            known.exposed |= exposed;
        }
    }
    found.into_values().collect()
}

fn socket_inode(descriptor: &Path) -> Option<u64> {
    let link = fs::read_link(descriptor).ok()?;
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn our_own_listener_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let own = ProcessId(std::process::id());
        let found = look(&[own]);
        let listener =
            found.iter().find(|listener| listener.port == port && listener.process == own).unwrap();
        assert_eq!(Some(listener.net_namespace), net_namespace(own));
        assert!(!listener.executable.is_empty());
        assert!(!listener.exposed);
    }

    #[test]
    fn others_reach_what_is_no_loopback_address() {
        for address in ["0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"] {
            assert!(is_loopback(address), "{address}");
        }
        for address in ["00000000", "0A01A8C0", "00000000000000000000000000000000", "x", ""] {
            assert!(!is_loopback(address), "{address}");
        }
    }

    proptest! {
        #[test]
        fn any_table_is_survived(text in "\\PC{0,200}") {
            let _ = listening(&format!("header\n{text}"));
        }
    }
}
