//! Who did it: ids, and a process as an event shows it.

use super::{Bytes, FileIdentity};

/// Host process id (`tgid` in the kernel's words).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub u32);

/// Host thread id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadId(pub u32);

/// Id of a subtree of processes, issued by the kernel programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId(pub u64);

/// Nanoseconds since boot, suspend included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootNs(pub u64);

/// A process that no other process will ever be: its id may be used again, its start may not, and each program
/// that it executes is told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// Host process id.
    pub pid: ProcessId,
    /// Start of the process.
    pub start: BootNs,
    /// Count of executed programs.
    pub exec_id: u32,
}

/// A process as an event shows it. Shared by all events of one program run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Who.
    pub key: ProcessKey,
    /// The program's path, empty if unknown.
    pub executable: Bytes,
    /// The program's identity.
    pub executable_identity: Option<FileIdentity>,
    /// The program's file has no name or lies in memory.
    pub executable_deleted: bool,
    /// The script, if the program is an interpreter that was started through one or given one.
    pub script: Option<Bytes>,
    /// The script's identity.
    pub script_identity: Option<FileIdentity>,
    /// Masked arguments.
    pub arguments: Vec<Bytes>,
    /// More arguments than were kept.
    pub arguments_truncated: bool,
    /// Working directory at exec.
    pub working_directory: Bytes,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// The user's name.
    pub user: Option<String>,
    /// Audit login uid.
    pub login_uid: Option<u32>,
    /// Audit session.
    pub session: Option<u32>,
    /// Terminal.
    pub tty: Option<Bytes>,
    /// cgroup path.
    pub cgroup: Bytes,
    /// Container id, from the cgroup path.
    pub container: Option<String>,
    /// Mount namespace.
    pub mount_namespace: u32,
    /// Pid namespace.
    pub pid_namespace: u32,
    /// The process id inside its own pid namespace; 0 when unknown.
    pub namespace_pid: u32,
    /// Net namespace.
    pub net_namespace: u32,
    /// Nearest first: processes of the lineage that this one descends from, as the kernel saw them fork.
    pub ancestors: Vec<(ProcessKey, Bytes)>,
    /// Labelled while it already ran, or known from procfs only.
    pub bootstrap: bool,
}
