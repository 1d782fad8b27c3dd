//! Mechanisms are data: every kernel program with the observation that it serves, the tier it belongs to, where
//! it is attached, and what it cannot see.

/// What is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Observation {
    /// Which process belongs to which segment.
    Lineage,
    /// Programs that are executed.
    Exec,
    /// Files that are opened.
    Open,
    /// Renames, links, symlinks, removals, truncation, mode changes.
    Change,
    /// Files that come in over sockets or out of other processes.
    Receive,
    /// Executable mappings.
    Map,
    /// TCP connections and datagram destinations.
    Egress,
    /// `AF_UNIX` connections and datagrams.
    Unix,
    /// Accepted connections.
    Accept,
    /// Listeners, results of connections, closes with bytes.
    SocketState,
    /// Access to other processes' memory and registers.
    Snoop,
    /// DNS answers.
    Dns,
    /// What `io_uring` did without a system call.
    IoUring,
}

impl Observation {
    /// Every observation, in the order in which people are shown them.
    pub const ALL: [Self; 13] = [
        Self::Lineage,
        Self::Exec,
        Self::Open,
        Self::Change,
        Self::Receive,
        Self::Map,
        Self::Egress,
        Self::Unix,
        Self::Accept,
        Self::SocketState,
        Self::Snoop,
        Self::Dns,
        Self::IoUring,
    ];

    /// The word for people, JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lineage => "lineage",
            Self::Exec => "exec",
            Self::Open => "open",
            Self::Change => "file-change",
            Self::Receive => "receive",
            Self::Map => "map",
            Self::Egress => "egress",
            Self::Unix => "unix",
            Self::Accept => "accept",
            Self::SocketState => "socket-state",
            Self::Snoop => "snoop",
            Self::Dns => "dns",
            Self::IoUring => "io-uring",
        }
    }
}

/// How strong a set of mechanisms is. The order is from weak to strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Tier {
    /// Raw tracepoints and cgroup programs; openly weaker.
    Tracepoint = 1,
    /// kprobes on the `security_*` functions.
    Probe = 2,
    /// BPF LSM programs.
    Lsm = 3,
}

impl Tier {
    /// Every tier, strongest first.
    pub const ALL: [Self; 3] = [Self::Lsm, Self::Probe, Self::Tracepoint];

    /// The word for people, JSON and options.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lsm => "lsm",
            Self::Probe => "probe",
            Self::Tracepoint => "tracepoint",
        }
    }
}

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// A BPF LSM hook.
    Lsm(&'static str),
    /// A kernel function.
    Kprobe(&'static str),
    /// A raw tracepoint.
    RawTracepoint(&'static str),
    /// The root of the cgroup v2 tree, for a `cgroup/connect4`-like hook.
    CgroupSockAddr,
    /// The root of the cgroup v2 tree, for incoming packets.
    CgroupSkbIngress,
}

/// One kernel program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// The function's name in the object.
    pub name: &'static str,
    /// What it is for.
    pub observation: Observation,
    /// The tiers that use it.
    pub tiers: &'static [Tier],
    /// Where it goes.
    pub attach: Attach,
    /// Without it the tier cannot be used at all.
    pub core: bool,
    /// Takes the place of this program, an index into [`PROGRAMS`], where the kernel pre-empts raw tracepoints.
    pub stands_in_for: Option<u32>,
}

const ALL: &[Tier] = &[Tier::Lsm, Tier::Probe, Tier::Tracepoint];
/// The tiers on the kernel's security hooks.
const HOOKS: &[Tier] = &[Tier::Lsm, Tier::Probe];
const LSM: &[Tier] = &[Tier::Lsm];
const PROBE: &[Tier] = &[Tier::Probe];
const TRACEPOINT: &[Tier] = &[Tier::Tracepoint];

macro_rules! programs {
    ($($id:ident $name:literal $observation:ident $tiers:ident $attach:expr, $need:ident $($of:ident)?;)+) => {
        /// Every kernel program; fork and exit first, since they are attached in this order.
        pub const PROGRAMS: &[Program] = &[$(Program {
            name: $name,
            observation: Observation::$observation,
            tiers: $tiers,
            attach: $attach,
            core: programs!(@need $need),
            stands_in_for: programs!(@of $($of)?),
        }),+];
        programs!(@index 0u32; $($id)+);
    };
    (@need core) => { true };
    (@need extra) => { false };
    (@need instead_of) => { false };
    (@of) => { None };
    (@of $of:ident) => { Some($of) };
    (@index $at:expr; $id:ident $($rest:ident)*) => {
        #[doc = "Index into [`PROGRAMS`], as records carry it."]
        pub const $id: u32 = $at;
        programs!(@index $at + 1; $($rest)*);
    };
    (@index $at:expr;) => {};
}

programs! {
    // Since 7.0 a raw tracepoint's program can be pre-empted in its run, and the kernel skips it for whoever comes to it
    // meanwhile on that processor (`__bpf_trace_run`, kernel/trace/bpf_trace.c). A kprobe runs with preemption disabled.
    PROBE_FORK "probe_fork" Lineage HOOKS Attach::Kprobe("wake_up_new_task"), instead_of LINEAGE_FORK;
    PROBE_EXIT "probe_exit" Lineage HOOKS Attach::Kprobe("exit_files"), instead_of LINEAGE_EXIT;
    PROBE_EXEC "probe_exec" Exec HOOKS Attach::Kprobe("finalize_exec"), instead_of LINEAGE_EXEC;
    LINEAGE_FORK "lineage_fork" Lineage ALL Attach::RawTracepoint("sched_process_fork"), core;
    LINEAGE_EXIT "lineage_exit" Lineage ALL Attach::RawTracepoint("sched_process_exit"), core;
    LINEAGE_EXEC "lineage_exec" Exec ALL Attach::RawTracepoint("sched_process_exec"), core;
    SOCKET_STATE "socket_state" SocketState ALL Attach::RawTracepoint("inet_sock_set_state"), core;
    LSM_BPRM_CHECK "lsm_bprm_check" Exec LSM Attach::Lsm("bprm_check_security"), core;
    LSM_FILE_OPEN "lsm_file_open" Open LSM Attach::Lsm("file_open"), core;
    LSM_FILE_RECEIVE "lsm_file_receive" Receive LSM Attach::Lsm("file_receive"), extra;
    LSM_MMAP_FILE "lsm_mmap_file" Map LSM Attach::Lsm("mmap_file"), extra;
    LSM_PATH_RENAME "lsm_path_rename" Change LSM Attach::Lsm("path_rename"), extra;
    LSM_PATH_LINK "lsm_path_link" Change LSM Attach::Lsm("path_link"), extra;
    LSM_PATH_SYMLINK "lsm_path_symlink" Change LSM Attach::Lsm("path_symlink"), extra;
    LSM_PATH_UNLINK "lsm_path_unlink" Change LSM Attach::Lsm("path_unlink"), extra;
    LSM_PATH_TRUNCATE "lsm_path_truncate" Change LSM Attach::Lsm("path_truncate"), extra;
    LSM_PATH_CHMOD "lsm_path_chmod" Change LSM Attach::Lsm("path_chmod"), extra;
    LSM_SOCKET_CONNECT "lsm_socket_connect" Egress LSM Attach::Lsm("socket_connect"), core;
    LSM_SOCKET_SENDMSG "lsm_socket_sendmsg" Egress LSM Attach::Lsm("socket_sendmsg"), core;
    LSM_UNIX_CONNECT "lsm_unix_connect" Unix LSM Attach::Lsm("unix_stream_connect"), extra;
    LSM_UNIX_SEND "lsm_unix_send" Unix LSM Attach::Lsm("unix_may_send"), extra;
    LSM_SOCK_GRAFT "lsm_sock_graft" Accept LSM Attach::Lsm("sock_graft"), extra;
    LSM_PTRACE_ACCESS "lsm_ptrace_access" Snoop LSM Attach::Lsm("ptrace_access_check"), extra;
    PROBE_BPRM_CHECK "probe_bprm_check" Exec PROBE Attach::Kprobe("security_bprm_check"), core;
    PROBE_FILE_OPEN "probe_file_open" Open PROBE Attach::Kprobe("security_file_open"), core;
    PROBE_FILE_RECEIVE "probe_file_receive" Receive PROBE Attach::Kprobe("security_file_receive"), extra;
    PROBE_MMAP_FILE "probe_mmap_file" Map PROBE Attach::Kprobe("security_mmap_file"), extra;
    PROBE_PATH_RENAME "probe_path_rename" Change PROBE Attach::Kprobe("security_path_rename"), extra;
    PROBE_PATH_LINK "probe_path_link" Change PROBE Attach::Kprobe("security_path_link"), extra;
    PROBE_PATH_SYMLINK "probe_path_symlink" Change PROBE Attach::Kprobe("security_path_symlink"), extra;
    PROBE_PATH_UNLINK "probe_path_unlink" Change PROBE Attach::Kprobe("security_path_unlink"), extra;
    PROBE_PATH_TRUNCATE "probe_path_truncate" Change PROBE Attach::Kprobe("security_path_truncate"), extra;
    PROBE_PATH_CHMOD "probe_path_chmod" Change PROBE Attach::Kprobe("security_path_chmod"), extra;
    PROBE_SOCKET_CONNECT "probe_socket_connect" Egress PROBE Attach::Kprobe("security_socket_connect"), core;
    PROBE_SOCKET_SENDMSG "probe_socket_sendmsg" Egress PROBE Attach::Kprobe("security_socket_sendmsg"), core;
    PROBE_UNIX_CONNECT "probe_unix_connect" Unix PROBE Attach::Kprobe("security_unix_stream_connect"), extra;
    PROBE_UNIX_SEND "probe_unix_send" Unix PROBE Attach::Kprobe("security_unix_may_send"), extra;
    PROBE_SOCK_GRAFT "probe_sock_graft" Accept PROBE Attach::Kprobe("security_sock_graft"), extra;
    PROBE_PTRACE_ACCESS "probe_ptrace_access" Snoop PROBE Attach::Kprobe("security_ptrace_access_check"), extra;
    SYSCALL_EXIT "syscall_exit" Open TRACEPOINT Attach::RawTracepoint("sys_exit"), core;
    IO_URING_COMPLETE "io_uring_complete" IoUring TRACEPOINT Attach::RawTracepoint("io_uring_complete"), extra;
    CGROUP_CONNECT4 "cgroup_connect4" Egress ALL Attach::CgroupSockAddr, extra;
    CGROUP_CONNECT6 "cgroup_connect6" Egress ALL Attach::CgroupSockAddr, extra;
    CGROUP_SENDMSG4 "cgroup_sendmsg4" Egress ALL Attach::CgroupSockAddr, extra;
    CGROUP_SENDMSG6 "cgroup_sendmsg6" Egress ALL Attach::CgroupSockAddr, extra;
    DNS_ANSWER "dns_answer" Dns ALL Attach::CgroupSkbIngress, extra;
}

/// No hook that every tier has is told of them; what connects to them is.
const LISTENS_UNSEEN: (Observation, &str) =
    (Observation::Unix, "unix sockets that listen, and so whose they are");

/// No mechanism looks at changes of rights.
const PROTECTS_UNSEEN: (Observation, &str) =
    (Observation::Map, "memory that is made executable after it was mapped (mprotect)");

/// What a tier cannot see by its nature, whatever else works: `(observation, what is not seen)`.
#[must_use]
pub const fn blind_spots(tier: Tier) -> &'static [(Observation, &'static str)] {
    match tier {
        Tier::Lsm | Tier::Probe => &[
            (Observation::Open, "opens that fail before the security hook (no such file, permission denied)"),
            (Observation::Open, "what an open that was permitted came to in the file system"),
            LISTENS_UNSEEN,
            PROTECTS_UNSEEN,
        ],
        Tier::Tracepoint => &[
            (Observation::Open, "io_uring opens into direct descriptors"),
            (
                Observation::Open,
                "a sibling thread that swaps the descriptor between open and system call exit",
            ),
            (Observation::Exec, "identity of a script (its name is known as it was given)"),
            (
                Observation::Change,
                "identity of what was renamed, linked, removed or changed (names as given)",
            ),
            (Observation::Change, "changes made through io_uring"),
            (Observation::Change, "modes changed through a descriptor, directories removed"),
            (
                Observation::Receive,
                "descriptors received through io_uring, by 32-bit calls, or with any but the first of several messages",
            ),
            (Observation::Egress, "raw sockets"),
            PROTECTS_UNSEEN,
            (Observation::Unix, "peers of datagrams beyond the name as given; connections through io_uring"),
            LISTENS_UNSEEN,
            (Observation::Snoop, "whose descriptors pidfd_getfd takes (what it takes is told)"),
            (Observation::Snoop, "reads of /proc/PID/mem beyond the open of the file"),
        ],
    }
}

const _: () = assert!(PROGRAMS.len() == DNS_ANSWER as usize + 1);
