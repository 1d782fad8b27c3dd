//! What can go wrong with the store, in words that say what to do.

use std::{io, path::PathBuf};

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file was written by a newer version.
    #[error(
        "{} has schema {found}, and this version of mcp-monitor knows schemas up to {known}. Use the version that \
         wrote it, or give another --store DIR",
        path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema that is known here.
        known: u32,
    },
    /// A database that is not one of ours.
    #[error("{} is not a store of mcp-monitor", path.display())]
    NotAStore {
        /// Which file.
        path: PathBuf,
    },
    /// There is nothing.
    #[error("there is no store at {}. `mcp-monitor run` makes one; --store DIR names another", path.display())]
    Missing {
        /// Where.
        path: PathBuf,
    },
    /// Not for this user.
    #[error("{} may not be read: the store belongs to root. Use sudo, or ask the daemon", path.display())]
    NotPermitted {
        /// Which file.
        path: PathBuf,
    },
    /// Another process writes there.
    #[error("{} is written by another process (pid {pid}). End it first, or give another --store DIR", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who, as far as it is known.
        pid: String,
    },
    /// A file or directory.
    #[error("{}: cannot {what}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The database.
    #[error("{}: cannot {what}: {source}", path.display())]
    Database {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rusqlite::Error,
    },
    /// What was stored cannot be read back.
    #[error("{}: row {row} is damaged: {what}. `mcp-monitor verify` says more", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which row.
        row: u64,
        /// What is wrong with it.
        what: String,
    },
    /// A filter, an id or a state that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// There is no such finding.
    #[error("there is no finding {0}. `mcp-monitor findings` lists them")]
    NoFinding(String),
    /// Nothing is suppressed so.
    #[error("{0} is not suppressed. `mcp-monitor findings --state suppressed` lists what is")]
    NoSuppression(String),
    /// The writer does not answer, or has ended.
    #[error("the store does not answer: {0}")]
    NoAnswer(&'static str),
}

impl StoreError {
    /// True when it is for want of room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Database { source, .. } => {
                source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
            }
            Self::File { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}
