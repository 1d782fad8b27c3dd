//! Counts that the kernel kept instead of records, turned into events.
//!
//! The first of many equal opens or sends is sent whole; its event stays here as the template of those that are
//! only counted. Bounded; what finds no template is counted, so that the loss is known.

use std::collections::HashMap;

use mcp_monitor_common::{
    limits::RELIEF_MAX,
    map::ReliefKey,
    record::{NetworkBody, RecordKind},
};

use crate::{
    event::{BootNs, Event, ProcessId, ProcessKey},
    sensor::decode::{Record, RecordBody},
};

/// `AF_UNIX`.
const FAMILY_UNIX: u16 = 1;

/// What tells counted things of one process apart, as far as a record and its key agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    exec_id: u32,
    kind: u32,
    flags: u32,
    object: [u64; 4],
}

/// See the module.
#[derive(Debug, Default)]
pub struct ReliefTable {
    templates: HashMap<(ProcessId, BootNs), HashMap<Place, Event>>,
    kept: usize,
    refused: u64,
    unplaced: u64,
}

impl ReliefTable {
    /// Keeps the event of a record whose repetitions are counted.
    pub(super) fn keep(&mut self, process: ProcessKey, place: Place, event: &Event) {
        if self.kept >= usize::try_from(RELIEF_MAX).unwrap_or(usize::MAX) {
            self.refused += 1;
            return;
        }
        let places = self.templates.entry((process.pid, process.start)).or_default();
        if places.insert(place, event.clone()).is_none() {
            self.kept += 1;
        }
    }

    /// True when the template of a key is known.
    pub(super) fn has_template(&self, key: &ReliefKey) -> bool {
        let process = (ProcessId(key.tgid), BootNs(key.start_boottime_ns));
        self.templates.get(&process).is_some_and(|places| places.contains_key(&place_of_key(key)))
    }

    /// The template of a key, if it is known.
    pub(super) fn template(&mut self, key: &ReliefKey, count: u64) -> Option<&Event> {
        let process = (ProcessId(key.tgid), BootNs(key.start_boottime_ns));
        let found = self.templates.get(&process).and_then(|places| places.get(&place_of_key(key)));
        if found.is_none() {
            self.unplaced = self.unplaced.saturating_add(count);
        }
        found
    }

    /// True if something is kept for the process.
    #[must_use]
    pub fn knows(&self, process: ProcessKey) -> bool {
        self.templates.contains_key(&(process.pid, process.start))
    }

    /// Forgets what a process that ended left behind.
    pub fn forget(&mut self, process: ProcessKey) {
        if let Some(places) = self.templates.remove(&(process.pid, process.start)) {
            self.kept -= places.len();
        }
    }

    /// Templates that found no place.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Occurrences that were counted and could not be told.
    #[must_use]
    pub fn unplaced(&self) -> u64 {
        self.unplaced
    }
}

/// The place that the kernel's key of this record has; see `file.rs`, `egress.rs` and `unix.rs` of the kernel
/// programs.
pub(super) fn place_of(record: &Record) -> Option<Place> {
    let (flags, object) = match &record.body {
        RecordBody::File(file) => {
            let identity = file.object.identity.unwrap_or_default();
            let parent = file.object.parent.unwrap_or_default();
            let device = u64::from(identity.device) << 32 | u64::from(identity.generation);
            let flags = access_bits(file.object.access) | file.object.flags << 8;
            (flags, [identity.inode, device, parent.inode, file.name_hash])
        }
        RecordBody::Network(network) => network_place(&network.wire),
        _ => return None,
    };
    Some(Place { exec_id: record.header.exec_id, kind: u32::from(record.header.kind), flags, object })
}

fn network_place(body: &NetworkBody) -> (u32, [u64; 4]) {
    if body.family == FAMILY_UNIX {
        return (u32::from(FAMILY_UNIX), [0, body.socket, 0, 0]);
    }
    let [low, high] = halves(body.remote_address);
    let flags = u32::from(body.protocol) | u32::from(body.family) << 16;
    (flags, [low, high, u64::from(body.remote_port), u64::from(body.flags)])
}

fn place_of_key(key: &ReliefKey) -> Place {
    let mut object = key.object;
    if key.kind == RecordKind::Send as u32 && key.flags == u32::from(FAMILY_UNIX) {
        // The address of the peer is not in the record.
        let [peer, ..] = &mut object;
        *peer = 0;
    }
    Place { exec_id: key.exec_id, kind: key.kind, flags: key.flags, object }
}

/// An address as the kernel programs read it, two words in host byte order.
fn halves(address: [u8; 16]) -> [u64; 2] {
    let word = |from: usize| {
        let mut bytes = [0; 8];
        bytes.iter_mut().zip(address.iter().skip(from)).for_each(|(to, byte)| *to = *byte);
        u64::from_ne_bytes(bytes)
    };
    [word(0), word(8)]
}

fn access_bits(access: crate::event::Access) -> u32 {
    use mcp_monitor_common::record::{
        ACCESS_CREATE, ACCESS_EXECUTE, ACCESS_PATH, ACCESS_READ, ACCESS_TRUNCATE, ACCESS_WRITE,
    };
    [
        (access.read, ACCESS_READ),
        (access.write, ACCESS_WRITE),
        (access.execute, ACCESS_EXECUTE),
        (access.path_only, ACCESS_PATH),
        (access.create, ACCESS_CREATE),
        (access.truncate, ACCESS_TRUNCATE),
    ]
    .into_iter()
    .fold(0, |bits, (set, bit)| if set { bits | bit } else { bits })
}
