//! The domain model: what happened, who did it, how it was judged. Depends on nothing but the wire's plain types.
//!
//! An [`Event`] is filled on its way: the sensor says what and which process, the host adds who that is, judgement
//! adds verdict and decision. Bytes from the kernel stay bytes ([`Bytes`]) until something shows them.
//! Everything here that stems from a monitored process is hostile text.

mod bytes;
mod exec;
mod file;
mod finding;
mod network;
mod process;
mod snoop;
mod verdict;
mod workload;

pub use bytes::{Bytes, escape, unescape};
pub use exec::{Descriptor, DescriptorKind, ExecObject};
pub use file::{Access, FileIdentity, FileObject, FilePath};
pub use finding::{Finding, FindingState};
pub use network::{Direction, DnsObject, Endpoint, NameConfidence, NetworkObject, Transport};
pub use process::{BootNs, Process, ProcessId, ProcessKey, SegmentId, ThreadId};
pub use snoop::{SnoopObject, SnoopWay};
pub use verdict::{Decision, Rule, Severity, Verdict};
pub use workload::{Workload, WorkloadKind};

use std::sync::Arc;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A child was created: its key.
    Fork(ProcessKey),
    /// A program was executed.
    Exec(Box<ExecObject>),
    /// A process ended with this wait status.
    Exit(u32),
    /// A file was opened.
    Open(FileObject),
    /// Renamed.
    Rename(FileObject),
    /// Hard link made.
    Link(FileObject),
    /// Symbolic link made.
    Symlink(FileObject),
    /// Name removed.
    Unlink(FileObject),
    /// Cut.
    Truncate(FileObject),
    /// Mode changed.
    Chmod(FileObject),
    /// Came in over a socket or out of another process.
    Receive(FileObject),
    /// Mapped executable.
    Map(FileObject),
    /// Connection out.
    Connect(NetworkObject),
    /// Datagram or raw packet out.
    Send(NetworkObject),
    /// Connection in.
    Accept(NetworkObject),
    /// Listener.
    Listen(NetworkObject),
    /// TCP connection ended.
    Close(NetworkObject),
    /// DNS answer.
    Dns(DnsObject),
    /// Access to another process.
    Snoop(SnoopObject),
    /// Something could not be seen.
    Coverage(CoverageNote),
}

impl Action {
    /// The kind's name in the JSON contract.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Fork(_) => "fork",
            Self::Exec(_) => "exec",
            Self::Exit(_) => "exit",
            Self::Open(_) => "open",
            Self::Rename(_) => "rename",
            Self::Link(_) => "link",
            Self::Symlink(_) => "symlink",
            Self::Unlink(_) => "unlink",
            Self::Truncate(_) => "truncate",
            Self::Chmod(_) => "chmod",
            Self::Receive(_) => "receive",
            Self::Map(_) => "map",
            Self::Connect(_) => "connect",
            Self::Send(_) => "send",
            Self::Accept(_) => "accept",
            Self::Listen(_) => "listen",
            Self::Close(_) => "close",
            Self::Dns(_) => "dns",
            Self::Snoop(_) => "snoop",
            Self::Coverage(_) => "coverage",
        }
    }

    /// The file, for the kinds that have one.
    #[must_use]
    pub fn file(&self) -> Option<&FileObject> {
        match self {
            Self::Open(file)
            | Self::Rename(file)
            | Self::Link(file)
            | Self::Symlink(file)
            | Self::Unlink(file)
            | Self::Truncate(file)
            | Self::Chmod(file)
            | Self::Receive(file)
            | Self::Map(file) => Some(file),
            Self::Exec(exec) => Some(&exec.executable),
            _ => None,
        }
    }

    /// The network object, for the kinds that have one.
    #[must_use]
    pub fn network(&self) -> Option<&NetworkObject> {
        match self {
            Self::Connect(network)
            | Self::Send(network)
            | Self::Accept(network)
            | Self::Listen(network)
            | Self::Close(network) => Some(network),
            _ => None,
        }
    }
}

/// What was not seen, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoverageNote {
    /// A loss cause, `weaker-mechanism`, `started-before`, `truncated` …
    pub cause: &'static str,
    /// In words.
    pub what: String,
    /// How many records, when counted.
    pub count: u64,
}

/// What came of the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Ok,
    /// Permitted; the mechanism does not see the end.
    Permitted,
    /// Asked for; the outcome follows in another event.
    Started,
    /// Failed with this errno (positive).
    Failed(i32),
    /// Refused by a kernel program of ours.
    Denied,
}

/// One thing that a process of a workload did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Sortable, unique: time-ordered UUID.
    pub id: String,
    /// When.
    pub boot_ns: BootNs,
    /// Sequence of the lane on which the record came.
    pub sequence: u64,
    /// CPU × slot, see the wire.
    pub lane: u32,
    /// What.
    pub action: Action,
    /// The thread that did it.
    pub thread: ThreadId,
    /// The segment it was done in.
    pub segment: SegmentId,
    /// Who.
    pub process: Arc<Process>,
    /// For whom.
    pub workload: Arc<Workload>,
    /// What came of it.
    pub outcome: Outcome,
    /// How many times.
    pub count: u64,
    /// The program that saw it; `procfs` when procfs replaced a record, `agent` for our own notes.
    pub mechanism: &'static str,
    /// Judged.
    pub verdict: Verdict,
    /// Why.
    pub decision: Decision,
    /// Which rule was broken.
    pub rule: Option<Rule>,
}
