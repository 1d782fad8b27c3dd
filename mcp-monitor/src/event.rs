//! The domain model: what happened, who did it, how it was judged. Depends on nothing but the wire's plain types.
//!
//! An [`Event`] is filled on its way: the sensor says what and which process, the host adds who that is, judgement
//! adds verdict and decision. Bytes from the kernel stay bytes ([`Bytes`]) until something shows them.
//! Everything here that stems from a monitored process is hostile text.

use std::{net::IpAddr, sync::Arc};

/// Bytes that need not be UTF-8: paths, arguments, names. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bytes(pub Arc<[u8]>);

impl Bytes {
    /// Copies `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text with every byte that is not UTF-8, is a control character or the escape character
    /// itself written as `\xNN` (`\\` for a backslash). Lossless, one line, moves no terminal.
    #[must_use]
    pub fn escaped(&self) -> String {
        escape(self.as_slice())
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?}", self.escaped())
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

/// See [`Bytes::escaped`].
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '\\' {
                text.push_str("\\\\");
            } else if character.is_control() || is_invisible(character) {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    // Writing into a String cannot fail.
                    let _ = write!(text, "\\x{byte:02x}");
                }
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            // Writing into a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The bytes that [`escape`] made `text` from; `None` when `text` is not of its making.
#[must_use]
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'\\' {
            bytes.push(first);
            rest = after;
            continue;
        }
        match after {
            [b'\\', tail @ ..] => {
                bytes.push(b'\\');
                rest = tail;
            }
            [b'x', high, low, tail @ ..] => {
                let digit =
                    |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
                bytes.push(digit(*high)? << 4 | digit(*low)?);
                rest = tail;
            }
            _ => return None,
        }
    }
    Some(bytes)
}

/// Characters that are no control characters but change how a line reads: direction marks, zero-width
/// characters, line and paragraph separators.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{61c}' | '\u{180e}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

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

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the watched process.
    Out,
    /// To the watched process.
    In,
}

/// How bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP, MPTCP included.
    Tcp,
    /// UDP.
    Udp,
    /// A raw socket, with its IP protocol.
    Raw(u16),
    /// `AF_UNIX` stream or seqpacket.
    UnixStream,
    /// `AF_UNIX` datagram.
    UnixDatagram,
    /// Anything else: address family and protocol.
    Other(u16, u16),
}

/// The other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Address (IPv4-mapped IPv6 folded into IPv4) and port.
    Internet(IpAddr, u16),
    /// A socket in the file system.
    UnixPath(FilePath, Option<FileIdentity>),
    /// An abstract socket, without the leading NUL.
    UnixAbstract(Bytes),
    /// A name as user memory gave it.
    UnixGiven(Bytes),
    /// A socket pair, an unbound peer, or a family that is not decoded.
    Unnamed,
}

/// How sure the name of an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameConfidence {
    /// The workload itself resolved the name to this address.
    WorkloadDns,
    /// The host's `/etc/hosts` says so.
    Host,
    /// Several names resolved to it.
    SharedAddress,
    /// No name is known.
    Unresolved,
}

/// A network event's object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkObject {
    /// Which way.
    pub direction: Direction,
    /// How.
    pub transport: Transport,
    /// The peer; for a listener our own address.
    pub remote: Endpoint,
    /// Our side, when known.
    pub local: Option<(IpAddr, u16)>,
    /// Name of the remote address.
    pub name: Option<Bytes>,
    /// How sure that is.
    pub name_confidence: NameConfidence,
    /// Close: bytes sent.
    pub bytes_sent: Option<u64>,
    /// Close: bytes received.
    pub bytes_received: Option<u64>,
    /// Tells sockets apart; never shown.
    pub socket: u64,
    /// Opened by `MSG_FASTOPEN`.
    pub fast_open: bool,
}

/// One record of a DNS answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsObject {
    /// The resolver.
    pub server: (IpAddr, u16),
    /// The name that was asked for, lower case, without the last dot. Masked.
    pub question: Bytes,
    /// Addresses it resolved to, with their time to live.
    pub addresses: Vec<(IpAddr, u32)>,
    /// `NOERROR`, `NXDOMAIN` …
    pub response_code: u16,
}

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

/// What kind of workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadKind {
    /// An MCP server, or whatever `watch` runs: judged by expectation.
    Server,
    /// An agent runner: judged by consequence.
    Agent,
}

/// The workload and instance that an event belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Stable hash of what it is.
    pub id: String,
    /// One running lineage.
    pub instance: String,
    /// Kind.
    pub kind: WorkloadKind,
    /// Name for people.
    pub name: String,
}

/// The result of judging.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Allowed by expectation, profile, owner or declaration.
    Expected,
    /// Not allowed.
    Unexpected,
    /// Wrong unless expected by name.
    Forbidden,
    /// Not judged.
    Unjudged,
}

impl Verdict {
    /// The word in the JSON contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expected => "expected",
            Self::Unexpected => "unexpected",
            Self::Forbidden => "forbidden",
            Self::Unjudged => "unjudged",
        }
    }
}

/// Why the verdict is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where the deciding line stands: `profile:node`, `command-line`, `catalogue`, `owner`, `default` …
    pub source: String,
    /// In words.
    pub reason: String,
}

/// A judged event's rule, when it broke one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// A secret was opened by somebody who does not own it.
    SecretRead,
    /// A destination that is not expected.
    UnknownEgress,
    /// A cloud metadata service.
    MetadataEgress,
    /// Another process's environment or memory.
    ProcessSnoop,
    /// A place that makes code run later.
    PersistenceWrite,
    /// Work handed to something outside the lineage.
    LineageEscape,
    /// A program without a file, or in a hidden or temporary place.
    HiddenExec,
    /// A listener on all interfaces.
    ExposedListener,
    /// Something could not be seen.
    CoverageLoss,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 9] = [
        Self::SecretRead,
        Self::UnknownEgress,
        Self::MetadataEgress,
        Self::ProcessSnoop,
        Self::PersistenceWrite,
        Self::LineageEscape,
        Self::HiddenExec,
        Self::ExposedListener,
        Self::CoverageLoss,
    ];

    /// The stable id.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::SecretRead => "secret-read",
            Self::UnknownEgress => "unknown-egress",
            Self::MetadataEgress => "metadata-egress",
            Self::ProcessSnoop => "process-snoop",
            Self::PersistenceWrite => "persistence-write",
            Self::LineageEscape => "lineage-escape",
            Self::HiddenExec => "hidden-exec",
            Self::ExposedListener => "exposed-listener",
            Self::CoverageLoss => "coverage-loss",
        }
    }
}

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Worth a look today.
    Medium,
    /// Worth a look now.
    High,
    /// Worth waking somebody.
    Critical,
}

impl Severity {
    /// The word in the JSON contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
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

/// Where a finding stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FindingState {
    /// Nobody has dealt with it.
    #[default]
    Open,
    /// Somebody has.
    Closed,
}

impl FindingState {
    /// The word in the JSON contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// What a person is told: events of one kind under one rule, deduplicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Sortable, unique: time-ordered UUID.
    pub id: String,
    /// Which rule.
    pub rule: Rule,
    /// How bad.
    pub severity: Severity,
    /// Where it stands.
    pub state: FindingState,
    /// The first event.
    pub first_seen: BootNs,
    /// The latest event.
    pub last_seen: BootNs,
    /// How many times.
    pub count: u64,
    /// For whom.
    pub workload: Arc<Workload>,
    /// Who did it first.
    pub process: Arc<Process>,
    /// The first event's object.
    pub action: Action,
    /// What came of the first event.
    pub outcome: Outcome,
    /// Why it is a finding.
    pub decision: Decision,
    /// ATT&CK technique, e.g. `T1552.004`.
    pub technique: String,
    /// ATT&CK tactic, e.g. `credential-access`.
    pub tactic: String,
    /// One line.
    pub title: String,
    /// What happened, in words.
    pub message: String,
    /// What to do.
    pub advice: String,
    /// Ids of the first events.
    pub events: Vec<String>,
}
