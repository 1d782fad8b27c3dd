//! Files as objects of events.

use super::Bytes;

/// What makes a file that file. See [`mcp_monitor_common::record::FileIdentity`].
pub use mcp_monitor_common::record::FileIdentity;

/// A path as a kernel walk or user memory gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilePath {
    /// Root first, as seen from the process's root; empty when unknown.
    pub bytes: Bytes,
    /// Components nearest to the root are missing: the text starts with `…/`-less remaining components.
    pub truncated: bool,
    /// From user memory or put together from such; never trusted to be `expected`.
    pub unresolved: bool,
    /// The name was removed.
    pub deleted: bool,
    /// Not reachable from the process's root; seen from the root of the mount namespace or unmounted.
    pub outside_root: bool,
}

/// How a file is used. A set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Content is read.
    pub read: bool,
    /// Content is written.
    pub write: bool,
    /// Executed or mapped executable.
    pub execute: bool,
    /// Only the path is used (`O_PATH`).
    pub path_only: bool,
    /// The file is made if it is not there.
    pub create: bool,
    /// The content is cut off.
    pub truncate: bool,
}

/// A file as an object of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileObject {
    /// Where.
    pub path: FilePath,
    /// Which; `None` when the mechanism could not resolve it.
    pub identity: Option<FileIdentity>,
    /// The directory that holds the name.
    pub parent: Option<FileIdentity>,
    /// Rename, link: the new place. Symlink: what it points to.
    pub target: Option<FilePath>,
    /// Rename, link: the directory of the new name.
    pub target_parent: Option<FileIdentity>,
    /// Rename: the object that is replaced.
    pub replaced: Option<FileIdentity>,
    /// How it is used.
    pub access: Access,
    /// `f_flags`, new mode or `prot`, by kind.
    pub flags: u32,
    /// `i_mode`.
    pub mode: u32,
    /// `i_nlink`.
    pub links: u32,
    /// `s_magic`.
    pub filesystem_magic: u64,
    /// The kernel found it in the published secret set.
    pub marked_secret: bool,
}
