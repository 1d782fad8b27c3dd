//! Access to another process.

use super::{BootNs, Bytes, ProcessId, SegmentId};

/// How another process was reached into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnoopWay {
    /// The kernel's access check (ptrace, `process_vm_*`, `pidfd_getfd`, `/proc/PID/mem`).
    AccessCheck,
    /// `ptrace`.
    Ptrace,
    /// `process_vm_readv`.
    ProcessVmRead,
    /// `process_vm_writev`.
    ProcessVmWrite,
    /// `pidfd_getfd`.
    PidfdGetfd,
    /// Open of a file such as `/proc/PID/environ`.
    ProcFile,
}

/// The target of a snoop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnoopObject {
    /// Whose.
    pub target: ProcessId,
    /// The target's start, if known.
    pub target_start: Option<BootNs>,
    /// The target's segment if it belongs to a lineage.
    pub target_segment: Option<SegmentId>,
    /// The target's program, if known.
    pub target_executable: Option<Bytes>,
    /// How.
    pub way: SnoopWay,
}
