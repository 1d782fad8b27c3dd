//! Records: what a kernel program writes into the ring buffer.
//!
//! A record is [`RecordHeader`], then the body of its kind, then a tail of bytes that [`Slice`]s point into.
//! Only used bytes are sent. Records of one task arrive in the order in which things happened.
//!
//! **Paths are leaf first**: `b"id_rsa\0.ssh\0user\0home\0"` is `/home/user/.ssh/id_rsa`. A walk goes from the
//! leaf to the root; turning the order round costs nothing in user space and a second pass in the kernel. A cut
//! path so always keeps its leaf.

/// What a record tells. The value stands in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum RecordKind {
    /// A child process was created. Body [`ForkBody`].
    Fork = 1,
    /// A file was accepted as program or interpreter of an exec that may still fail. Body [`FileBody`].
    /// Of the stages that precede an [`RecordKind::Exec`] of the same task the first is what was asked for (the
    /// script, if there is more than one) and the last is the program.
    ExecStage = 2,
    /// A program was executed. Body [`ExecBody`].
    Exec = 3,
    /// The last thread of a process ended. Body [`ExitBody`].
    Exit = 4,
    /// A segment was opened. Body [`SegmentBody`].
    Segment = 5,
    /// Body [`FileBody`].
    Open = 16,
    /// Body [`FileBody`] with `target`.
    Rename = 17,
    /// Body [`FileBody`] with `target` (the new name).
    Link = 18,
    /// Body [`FileBody`]: `path` is the new name, `target` what it points to, as given.
    Symlink = 19,
    /// Body [`FileBody`].
    Unlink = 20,
    /// Body [`FileBody`].
    Truncate = 21,
    /// Body [`FileBody`]; `flags` is the new mode.
    Chmod = 22,
    /// A file came in over a socket or out of another process. Body [`FileBody`].
    Receive = 23,
    /// An executable mapping of a file. Body [`FileBody`].
    Map = 24,
    /// A connection was asked for (`result` 1), or came about or failed. Body [`NetworkBody`].
    Connect = 32,
    /// A datagram or raw packet to an address. Body [`NetworkBody`].
    Send = 33,
    /// A connection was accepted. Body [`NetworkBody`].
    Accept = 34,
    /// A socket began to listen. Body [`NetworkBody`].
    Listen = 35,
    /// A TCP connection ended. Body [`NetworkBody`] with bytes.
    Close = 36,
    /// A DNS answer reached a process. Body [`DnsBody`].
    Dns = 37,
    /// Access to another process's memory or registers. Body [`SnoopBody`].
    Snoop = 48,
    /// The process began something that the mechanisms in use cannot follow. Body [`BlindBody`].
    Blind = 49,
}

impl RecordKind {
    /// Every kind, in the order of its value.
    pub const ALL: [Self; 22] = [
        Self::Fork,
        Self::ExecStage,
        Self::Exec,
        Self::Exit,
        Self::Segment,
        Self::Open,
        Self::Rename,
        Self::Link,
        Self::Symlink,
        Self::Unlink,
        Self::Truncate,
        Self::Chmod,
        Self::Receive,
        Self::Map,
        Self::Connect,
        Self::Send,
        Self::Accept,
        Self::Listen,
        Self::Close,
        Self::Dns,
        Self::Snoop,
        Self::Blind,
    ];

    /// The kind with this value, if there is one.
    #[must_use]
    pub fn from_value(value: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == value)
    }

    /// Bytes of the body. Exhaustive, so that a new kind must be sized here before it compiles.
    #[must_use]
    pub const fn body_bytes(self) -> usize {
        match self {
            Self::Fork => size_of::<ForkBody>(),
            Self::Exec => size_of::<ExecBody>(),
            Self::Exit => size_of::<ExitBody>(),
            Self::Segment => size_of::<SegmentBody>(),
            Self::ExecStage
            | Self::Open
            | Self::Rename
            | Self::Link
            | Self::Symlink
            | Self::Unlink
            | Self::Truncate
            | Self::Chmod
            | Self::Receive
            | Self::Map => size_of::<FileBody>(),
            Self::Connect | Self::Send | Self::Accept | Self::Listen | Self::Close => {
                size_of::<NetworkBody>()
            }
            Self::Dns => size_of::<DnsBody>(),
            Self::Snoop => size_of::<SnoopBody>(),
            Self::Blind => size_of::<BlindBody>(),
        }
    }
}

/// The first bytes of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of the whole record, header included.
    pub size_bytes: u32,
    /// A [`RecordKind`].
    pub kind: u16,
    /// [`HEADER_SECRET`] …
    pub flags: u16,
    /// CPU × [`crate::limits::SCRATCH_SLOTS`] + slot. Sequences are counted per lane, since only the owner of a
    /// scratch slot can count without an atomic that 5.10 lacks.
    pub lane: u32,
    /// Id of the program that wrote it, an index into [`crate::mechanism::PROGRAMS`].
    pub mechanism: u32,
    /// Counts every attempt on the lane, from 1. A gap is a loss.
    pub sequence: u64,
    /// `bpf_ktime_get_boot_ns`.
    pub boot_ns: u64,
    /// The segment of the process.
    pub segment: u64,
    /// The process's `start_boottime`, ns.
    pub start_boottime_ns: u64,
    /// Host process id.
    pub tgid: u32,
    /// Host thread id.
    pub tid: u32,
    /// `self_exec_id`: counts the programs that the process and its forebears executed.
    pub exec_id: u32,
    /// How many occurrences the record stands for; 1 or more.
    pub count: u32,
}

/// The object is in the published secret set.
pub const HEADER_SECRET: u16 = 1;
/// The hook refused the operation.
pub const HEADER_DENIED: u16 = 2;
/// Further occurrences are counted under the record's [`crate::map::ReliefKey`] instead of sent.
pub const HEADER_RELIEVED: u16 = 4;
/// The process was labelled by user space after it had started.
pub const HEADER_BOOTSTRAP: u16 = 8;
/// The process belongs to no lineage (segment 0): it touched a published secret, or executed a watched file.
pub const HEADER_BYSTANDER: u16 = 16;

/// A piece of the tail. Widen before adding: `offset + length_bytes` may exceed `u16`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// From the begin of the tail.
    pub offset: u16,
    /// Bytes.
    pub length_bytes: u16,
}

/// A path in the tail.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathSlice {
    /// Leaf-first components, each ended by NUL; see also [`PATH_AS_GIVEN`].
    pub bytes: Slice,
    /// [`PATH_TRUNCATED`] …
    pub flags: u16,
    /// Components in `bytes`.
    pub components: u16,
}

/// Components or bytes nearest to the root are missing.
pub const PATH_TRUNCATED: u16 = 1;
/// The walk ended at the root of the mount namespace without meeting the process's own root: the path is as the
/// mount namespace sees it.
pub const PATH_OUTSIDE_ROOT: u16 = 2;
/// Text from user memory as it was given and not resolved by the kernel: `bytes` is the text with its NUL, then, if
/// it is relative, the directory that it starts from, leaf first (`components` of it).
pub const PATH_AS_GIVEN: u16 = 4;
/// The name was removed from its directory.
pub const PATH_DELETED: u16 = 8;
/// The walk ended at a file system that is not mounted in the tree (memfd, pipe, detached mount).
pub const PATH_UNMOUNTED: u16 = 16;
/// Nothing could be read.
pub const PATH_UNREADABLE: u16 = 32;

/// What makes a file that file.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileIdentity {
    /// `i_ino`.
    pub inode: u64,
    /// `s_dev` in the kernel's encoding (12 bits major, 20 bits minor).
    pub device: u32,
    /// `i_generation`.
    pub generation: u32,
}

/// Body of the file kinds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileBody {
    /// The object; all zero when unresolved.
    pub file: FileIdentity,
    /// The directory that holds the name.
    pub parent: FileIdentity,
    /// Rename and link: the directory of the new name.
    pub target_parent: FileIdentity,
    /// Rename: the object that is replaced, if any.
    pub replaced: FileIdentity,
    /// `s_magic` of the file system, e.g. `0x9fa0` for procfs.
    pub filesystem_magic: u64,
    /// Open: `f_flags`. Chmod: the new mode. Map: `prot`. Receive: 0 `SCM_RIGHTS`, 1 `pidfd_getfd`.
    pub flags: u32,
    /// [`ACCESS_READ`] …
    pub access: u32,
    /// `i_mode`.
    pub mode: u32,
    /// 0 or a negative errno; [`RESULT_PERMITTED`] where the hook runs before the end of the operation.
    pub result: i32,
    /// The path; leaf first.
    pub path: PathSlice,
    /// Rename, link: the new path. Symlink: what it points to, as given.
    pub target: PathSlice,
    /// Relief: the name's length and hash, as in the key.
    pub name_hash: u64,
    /// `i_nlink`.
    pub links: u32,
    /// Explicit padding.
    pub reserved: u32,
}

/// Read.
pub const ACCESS_READ: u32 = 1;
/// Write.
pub const ACCESS_WRITE: u32 = 2;
/// Executed or mapped executable.
pub const ACCESS_EXECUTE: u32 = 4;
/// `O_PATH`: no access to the content.
pub const ACCESS_PATH: u32 = 8;
/// `O_CREAT` was given.
pub const ACCESS_CREATE: u32 = 16;
/// `O_TRUNC` was given.
pub const ACCESS_TRUNCATE: u32 = 32;

/// The hook runs after all permission checks and before the operation's own end: it was permitted, and the
/// mechanism does not see what came of it.
pub const RESULT_PERMITTED: i32 = 1;

/// An open file descriptor as it stands at exec.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescriptorIdentity {
    /// `i_ino`; for a pipe or socket the number that `/proc/PID/fd` shows.
    pub inode: u64,
    /// The peer socket's `i_ino`, 0 if none or unknown.
    pub peer_inode: u64,
    /// `s_dev`.
    pub device: u32,
    /// `i_mode`; 0 when the descriptor is closed.
    pub mode: u32,
}

/// Body of [`RecordKind::Exec`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecBody {
    /// The program's file (`bprm->file`: for a script its interpreter).
    pub executable: FileIdentity,
    /// Standard input.
    pub stdin: DescriptorIdentity,
    /// Standard output.
    pub stdout: DescriptorIdentity,
    /// `bpf_get_current_cgroup_id`, cgroup v2.
    pub cgroup_id: u64,
    /// `start_boottime` of the parent, ns.
    pub parent_start_boottime_ns: u64,
    /// `real_parent->tgid` at exec; evidence only, lineage never uses it.
    pub parent_tgid: u32,
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Audit login user id, `u32::MAX` when unset.
    pub login_uid: u32,
    /// Audit session id, `u32::MAX` when unset.
    pub session_id: u32,
    /// Inode number of the mount namespace.
    pub mount_namespace: u32,
    /// Inode number of the pid namespace.
    pub pid_namespace: u32,
    /// Inode number of the net namespace.
    pub net_namespace: u32,
    /// The process id inside its own pid namespace.
    pub namespace_pid: u32,
    /// `i_mode` of the program's file.
    pub mode: u32,
    /// `i_nlink` of the program's file: 0 for memfd and deleted files.
    pub links: u32,
    /// `s_magic` of the program's file system.
    pub filesystem_magic: u64,
    /// The program's path.
    pub path: PathSlice,
    /// Working directory.
    pub working_directory: PathSlice,
    /// cgroup path, leaf first.
    pub cgroup_path: PathSlice,
    /// `bprm->filename`: what was asked to be executed, as given.
    pub given_name: Slice,
    /// `bprm->interp` when it differs from `filename`: the interpreter as the script names it.
    pub interpreter_name: Slice,
    /// NUL-separated arguments.
    pub arguments: Slice,
    /// Name of the controlling terminal.
    pub tty: Slice,
    /// Bytes of all arguments; more than `arguments` holds means truncated.
    pub arguments_bytes: u32,
    /// Of the process and its segment: [`crate::map::LINEAGE_EXECUTED`] … and [`crate::map::SEGMENT_SPLIT`].
    pub lineage_flags: u32,
}

/// Body of [`RecordKind::Fork`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForkBody {
    /// The child's `start_boottime`, ns.
    pub child_start_boottime_ns: u64,
    /// The child's host process id.
    pub child_tgid: u32,
    /// The child's `self_exec_id`.
    pub child_exec_id: u32,
}

/// Body of [`RecordKind::Exit`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitBody {
    /// As `wait(2)` reports it: `code << 8 | signal`.
    pub exit_code: u32,
    /// Explicit padding.
    pub reserved: u32,
}

/// Body of [`RecordKind::Segment`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentBody {
    /// The segment out of which the new one (in the header) was opened; 0 when a watched program was executed outside
    /// every lineage.
    pub parent: u64,
}

/// Which way a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Direction {
    /// From the watched process.
    Out = 0,
    /// To the watched process.
    In = 1,
}

/// Body of the network kinds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkBody {
    /// Address of `struct sock`: tells sockets apart, never shown.
    pub socket: u64,
    /// Close: bytes sent.
    pub bytes_sent: u64,
    /// Close: bytes received.
    pub bytes_received: u64,
    /// The peer (or, for listen, zero); IPv4 mapped into IPv6.
    pub remote_address: [u8; 16],
    /// Our side, IPv4 mapped into IPv6.
    pub local_address: [u8; 16],
    /// Host byte order.
    pub remote_port: u16,
    /// Host byte order.
    pub local_port: u16,
    /// `AF_INET` (2), `AF_INET6` (10), `AF_UNIX` (1), …
    pub family: u16,
    /// `SOCK_STREAM` (1), `SOCK_DGRAM` (2), `SOCK_RAW` (3), …
    pub socket_type: u16,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// A [`Direction`].
    pub direction: u16,
    /// Connect: [`RESULT_PERMITTED`] when asked for, 0 when established, a negative errno when failed.
    pub result: i32,
    /// `AF_UNIX`: the peer's path.
    pub unix_path: PathSlice,
    /// `AF_UNIX`: the peer's abstract name, without the leading NUL, or the name as given.
    pub unix_name: Slice,
    /// [`NETWORK_UNIX_ABSTRACT`] …
    pub flags: u32,
    /// `AF_UNIX`: the peer socket's file, for identity.
    pub unix_file: FileIdentity,
}

/// `unix_name` is an abstract name.
pub const NETWORK_UNIX_ABSTRACT: u32 = 1;
/// `unix_name` or the address came from user memory.
pub const NETWORK_AS_GIVEN: u32 = 2;
/// Connection by `MSG_FASTOPEN`.
pub const NETWORK_FAST_OPEN: u32 = 4;
/// A whole packet of a raw or packet socket without an address.
pub const NETWORK_NO_ADDRESS: u32 = 8;

/// Body of [`RecordKind::Dns`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DnsBody {
    /// The resolver, IPv4 mapped into IPv6.
    pub server_address: [u8; 16],
    /// Bytes of the whole answer; more than `answer` holds means truncated.
    pub answer_bytes: u32,
    /// The resolver's port.
    pub server_port: u16,
    /// Explicit padding.
    pub reserved: u16,
    /// The DNS message.
    pub answer: Slice,
    /// Explicit padding.
    pub reserved_tail: u32,
}

/// Body of [`RecordKind::Snoop`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnoopBody {
    /// `start_boottime` of the target, ns; 0 if unknown.
    pub target_start_boottime_ns: u64,
    /// The target's segment, 0 when it belongs to none.
    pub target_segment: u64,
    /// The target's process id; with [`SNOOP_NAMESPACE_PID`] as the caller's pid namespace numbers it.
    pub target_tgid: u32,
    /// `PTRACE_MODE_*` of `include/linux/ptrace.h`, 0 if unknown.
    pub mode: u32,
    /// [`SNOOP_ACCESS_CHECK`] …
    pub way: u32,
    /// [`SNOOP_NAMESPACE_PID`] or 0.
    pub flags: u32,
    /// 0, a negative errno, or [`RESULT_PERMITTED`].
    pub result: i32,
    /// Explicit padding.
    pub reserved: u32,
}

/// `security_ptrace_access_check`: ptrace, `process_vm_*`, `pidfd_getfd`, `/proc/PID/mem`.
pub const SNOOP_ACCESS_CHECK: u32 = 0;
/// The system call `ptrace`.
pub const SNOOP_PTRACE: u32 = 1;
/// The system call `process_vm_readv`.
pub const SNOOP_PROCESS_VM_READ: u32 = 2;
/// The system call `process_vm_writev`.
pub const SNOOP_PROCESS_VM_WRITE: u32 = 3;
/// The system call `pidfd_getfd`.
pub const SNOOP_PIDFD_GETFD: u32 = 4;
/// `target_tgid` is numbered by the caller's pid namespace.
pub const SNOOP_NAMESPACE_PID: u32 = 1;

/// Body of [`RecordKind::Blind`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlindBody {
    /// [`BLIND_IO_URING`] …
    pub what: u32,
    /// Explicit padding.
    pub reserved: u32,
}

/// An `io_uring` was set up: opens into direct descriptors and changes of files through it are not seen.
pub const BLIND_IO_URING: u32 = 1;
/// A raw or packet socket was made: what is sent without an address of its own is not seen.
pub const BLIND_RAW_SOCKET: u32 = 2;

const _: () = assert!(size_of::<RecordHeader>() == 64);
const _: () = assert!(size_of::<FileBody>() == 120);
const _: () = assert!(size_of::<ExecBody>() == 184);
const _: () = assert!(size_of::<NetworkBody>() == 104);
const _: () = assert!(size_of::<DnsBody>() == 32);
const _: () = assert!(size_of::<SnoopBody>() == 40);
const _: () = assert!(size_of::<ForkBody>() == 16);
const _: () = assert!(size_of::<ExitBody>() == 8);
