//! From the words of records to the words of events: what happened, and what came of it.

use mcp_monitor_common::record::{HEADER_DENIED, RESULT_PERMITTED, RecordKind};

use crate::{
    event::{Action, Outcome},
    sensor::decode::{FileRecord, NetworkRecord},
};

pub(super) fn file_action(kind: RecordKind, file: FileRecord) -> Option<(Action, i32)> {
    let action = match kind {
        RecordKind::Open => Action::Open,
        RecordKind::Rename => Action::Rename,
        RecordKind::Link => Action::Link,
        RecordKind::Symlink => Action::Symlink,
        RecordKind::Unlink => Action::Unlink,
        RecordKind::Truncate => Action::Truncate,
        RecordKind::Chmod => Action::Chmod,
        RecordKind::Receive => Action::Receive,
        RecordKind::Map => Action::Map,
        _ => return None,
    };
    Some((action(file.object), file.result))
}

pub(super) fn network_action(kind: RecordKind, network: NetworkRecord) -> Option<(Action, i32)> {
    let action = match kind {
        RecordKind::Connect => Action::Connect,
        RecordKind::Send => Action::Send,
        RecordKind::Accept => Action::Accept,
        RecordKind::Listen => Action::Listen,
        RecordKind::Close => Action::Close,
        _ => return None,
    };
    Some((action(network.object), network.result))
}

pub(super) fn outcome(action: &Action, result: i32, flags: u16) -> Outcome {
    match result {
        _ if flags & HEADER_DENIED != 0 => Outcome::Denied,
        RESULT_PERMITTED if matches!(action, Action::Connect(_)) => Outcome::Started,
        RESULT_PERMITTED => Outcome::Permitted,
        error if error < 0 => Outcome::Failed(error.checked_neg().unwrap_or(i32::MAX)),
        _ => Outcome::Ok,
    }
}
