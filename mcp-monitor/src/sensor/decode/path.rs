//! Paths of records: leaf first on the wire, root first here.
//!
//! A component that no directory can hold (empty, `.`, `..`, or with a `/`: the made-up name of a memory file) is
//! kept without its slash and makes the path `unresolved`, so that a name can never pass for a place.

use std::sync::Arc;

use mcp_monitor_common::record::{
    PATH_AS_GIVEN, PATH_DELETED, PATH_OUTSIDE_ROOT, PATH_TRUNCATED, PATH_UNMOUNTED, PATH_UNREADABLE,
    PathSlice,
};

use super::{DecodeError, Tail};
use crate::event::{Bytes, FilePath};

/// What stands for a `/` inside a component.
const SLASH_IN_NAME: u8 = b'\\';

/// True when nothing was written there at all. A walk that ends at the root at once looks the same.
pub(super) fn is_absent(slice: PathSlice) -> bool {
    slice.bytes.length_bytes == 0 && slice.flags == 0
}

/// Decodes a path; no bytes and no flags are the root itself. A relative name as given by user memory is joined to
/// the directory that follows it; it stays `unresolved`.
pub(super) fn decode(tail: Tail<'_>, slice: PathSlice) -> Result<FilePath, DecodeError> {
    let bytes = tail.slice(slice.bytes)?;
    let has = |flag| slice.flags & flag != 0;
    let mut path = FilePath {
        bytes: Bytes::default(),
        truncated: has(PATH_TRUNCATED),
        unresolved: has(PATH_AS_GIVEN | PATH_UNREADABLE),
        deleted: has(PATH_DELETED),
        outside_root: has(PATH_OUTSIDE_ROOT | PATH_UNMOUNTED),
    };
    if has(PATH_AS_GIVEN) {
        let name = until_nul(bytes);
        let directory = bytes.get(name.len() + 1..);
        if name.first() == Some(&b'/') {
            path.bytes = Bytes::new(&join(b"", name));
        } else if let Some(directory) = directory.filter(|_| !name.is_empty() && !has(PATH_UNREADABLE)) {
            let mut from = FilePath { truncated: path.truncated, ..FilePath::default() };
            walk(directory, &mut from);
            path.bytes = Bytes::new(&join(from.bytes.as_slice(), name));
            path.truncated |= from.truncated;
        } else {
            path.bytes = Bytes::new(name);
        }
    } else if !bytes.is_empty() {
        walk(bytes, &mut path);
    } else if !has(PATH_UNREADABLE | PATH_TRUNCATED | PATH_UNMOUNTED) {
        path.bytes = Bytes::new(b"/");
    }
    Ok(path)
}

/// Decodes text that looks like a path and need not be one: what a symbolic link points to.
pub(super) fn decode_text(tail: Tail<'_>, slice: PathSlice) -> Result<FilePath, DecodeError> {
    let bytes = Bytes::new(until_nul(tail.slice(slice.bytes)?));
    Ok(FilePath { bytes, unresolved: true, ..FilePath::default() })
}

/// The bytes before the first NUL.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Turns leaf-first components round, in one allocation: each component and its NUL become a slash and the
/// component. A cut path gets no slash at its begin, since what stood before is not known.
fn walk(bytes: &[u8], path: &mut FilePath) {
    if bytes.is_empty() {
        path.bytes = Bytes::new(if path.truncated { b"" } else { b"/" });
        return;
    }
    let (components, complete) = match bytes.strip_suffix(&[0]) {
        Some(components) => (components, true),
        None => (bytes, false),
    };
    path.truncated |= !complete;
    let length = if path.truncated { components.len() } else { components.len() + 1 };
    // Right length, wrong content: every byte is overwritten below.
    let mut text: Arc<[u8]> = bytes.get(..length).unwrap_or(components).into();
    if let Some(text) = Arc::get_mut(&mut text) {
        let mut end = text.len();
        for component in components.split(|byte| *byte == 0) {
            let begin = end.saturating_sub(component.len());
            if let Some(place) = text.get_mut(begin..end)
                && place.len() == component.len()
            {
                place.copy_from_slice(component);
                if !is_name(component) {
                    path.unresolved = true;
                    for byte in place.iter_mut().filter(|byte| **byte == b'/') {
                        *byte = SLASH_IN_NAME;
                    }
                }
            }
            end = begin;
            if let Some(slash) = end.checked_sub(1).and_then(|at| text.get_mut(at)) {
                *slash = b'/';
                end -= 1;
            }
        }
    }
    path.bytes = Bytes(text);
}

fn is_name(component: &[u8]) -> bool {
    !matches!(component, b"" | b"." | b"..") && !component.contains(&b'/')
}

/// `name` from `directory`, without `.`, `..` and doubled slashes. By text alone: symbolic links are not followed.
#[must_use]
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let absolute = name.first() == Some(&b'/') || directory.first() == Some(&b'/');
    let start: &[u8] = if name.first() == Some(&b'/') { b"" } else { directory };
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in start.split(|byte| *byte == b'/').chain(name.split(|byte| *byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => match parts.last() {
                Some(last) if *last != b".." => {
                    parts.pop();
                }
                _ if absolute => {}
                _ => parts.push(part),
            },
            _ => parts.push(part),
        }
    }
    let mut joined = Vec::with_capacity(directory.len() + name.len() + 1);
    for (index, part) in parts.iter().enumerate() {
        if absolute || index > 0 {
            joined.push(b'/');
        }
        joined.extend_from_slice(part);
    }
    if joined.is_empty() && absolute {
        joined.push(b'/');
    }
    joined
}
