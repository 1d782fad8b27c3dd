//! Reading foreign files: regular ones, bounded, never through a link at their end.

use std::{
    fs::{self, OpenOptions},
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Bytes of a file that are looked at.
const FILE_MAX_BYTES: u64 = 4 << 20;
/// Entries of a directory that are looked at.
const ENTRIES_MAX: usize = 4096;

/// The lines of a text file; none when it cannot be read.
pub(super) fn lines(path: &Path) -> Vec<String> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(path) else { return Vec::new() };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Vec::new();
    }
    let mut bytes = Vec::new();
    if file.take(FILE_MAX_BYTES).read_to_end(&mut bytes).is_err() {
        return Vec::new();
    }
    String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
}

/// The paths in a directory, in order; none when it cannot be read.
pub(super) fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().take(ENTRIES_MAX).map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Lines with their numbers.
pub(super) fn numbered(path: &Path) -> impl Iterator<Item = (u32, String)> {
    (1_u32..).zip(lines(path))
}

/// A name that a secret's variable has.
pub(super) fn is_secret_name(name: &str) -> bool {
    const PARTS: [&str; 10] = [
        "TOKEN",
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "API_KEY",
        "APIKEY",
        "PRIVATE_KEY",
        "ACCESS_KEY",
        "CREDENTIAL",
        "AUTHORIZATION",
    ];
    // What names a file or a limit is no secret.
    const NOT: [&str; 8] = ["_FILE", "_PATH", "_DIR", "MAX_TOKENS", "TOKEN_LIMIT", "TOKENS", "_URL", "_TTL"];
    let name = name.to_uppercase().replace('-', "_");
    PARTS.iter().any(|part| name.contains(part)) && !NOT.iter().any(|ending| name.ends_with(ending))
}

/// The value stands there itself: no variable, no placeholder.
pub(super) fn is_literal(value: &str) -> bool {
    const REFERENCES: [&str; 6] = ["${", "$", "{env:", "{file:", "<", "%"];
    let value = value.trim();
    let scheme = ["Bearer ", "Basic ", "token "].into_iter().find_map(|scheme| value.strip_prefix(scheme));
    let value = scheme.unwrap_or(value);
    !value.is_empty() && !REFERENCES.iter().any(|reference| value.starts_with(reference))
}
