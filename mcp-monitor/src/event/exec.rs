//! What an exec started.

use super::{Bytes, FileObject, FilePath};

/// A descriptor as it stands at exec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// What it is.
    pub kind: DescriptorKind,
    /// `i_ino`.
    pub inode: u64,
    /// The peer socket's `i_ino`.
    pub peer_inode: Option<u64>,
    /// `s_dev`.
    pub device: u32,
}

/// Kinds of descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DescriptorKind {
    /// Not open.
    #[default]
    Closed,
    /// Pipe.
    Pipe,
    /// Socket.
    Socket,
    /// Terminal, `/dev/null` and the like.
    CharacterDevice,
    /// File.
    File,
    /// Something else.
    Other,
}

/// What an exec started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecObject {
    /// The program; for a script its interpreter.
    pub executable: FileObject,
    /// The script, with its identity where the mechanism gives it.
    pub script: Option<FileObject>,
    /// Masked arguments.
    pub arguments: Vec<Bytes>,
    /// More arguments than were kept.
    pub arguments_truncated: bool,
    /// What was asked to be executed, as given.
    pub given_name: Bytes,
    /// Working directory.
    pub working_directory: FilePath,
    /// Standard input.
    pub stdin: Descriptor,
    /// Standard output.
    pub stdout: Descriptor,
    /// Mount namespace.
    pub mount_namespace: u32,
    /// Pid namespace.
    pub pid_namespace: u32,
    /// Net namespace.
    pub net_namespace: u32,
}
