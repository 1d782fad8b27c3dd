//! Bounded reads of files that somebody else wrote.

use std::{fs::File, io::Read as _, os::unix::fs::OpenOptionsExt as _, path::Path};

/// At most `most_bytes` of a file; `None` when it cannot be read. Never waits for a pipe's other end.
pub(super) fn bounded(path: &Path, most_bytes: u64) -> Option<Vec<u8>> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(most_bytes).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
