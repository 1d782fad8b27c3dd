//! The only place that names fields of kernel structures.
//!
//! User space finds each offset in the running kernel's BTF and patches it into the object's `.rodata` under
//! [`KernelField::symbol`]; the verifier then sees a constant, so that a branch for an absent field is pruned.
//! `cargo`-wise both sides are made from the one table below: the kernel side by passing the name of a macro to
//! [`crate::kernel_fields!`], the user side as [`FIELDS`].

/// The offset of a field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// A member of a kernel structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelField {
    /// The symbol in `.rodata` that takes the offset in bytes.
    pub symbol: &'static str,
    /// The structure.
    pub structure: &'static str,
    /// Spellings of the member, newest first; dots go into members, anonymous members are searched.
    pub spellings: &'static [&'static str],
    /// Bytes of the member; 0 where it is a structure or array whose size does not matter.
    pub size_bytes: u32,
    /// Without it the sensor cannot start.
    pub required: bool,
}

/// Calls `$apply!` with the table's rows: `SYMBOL "structure" [spellings] size need;`.
#[macro_export]
macro_rules! kernel_fields {
    ($apply:ident) => {
        $apply! {
            TASK_TGID "task_struct" ["tgid"] 4 required;
            TASK_PID "task_struct" ["pid"] 4 required;
            TASK_GROUP_LEADER "task_struct" ["group_leader"] 8 required;
            TASK_REAL_PARENT "task_struct" ["real_parent"] 8 required;
            // 5.5 renamed it (cf25e24db61c).
            TASK_START_BOOTTIME "task_struct" ["start_boottime", "real_start_time"] 8 required;
            TASK_SIGNAL "task_struct" ["signal"] 8 required;
            TASK_FILES "task_struct" ["files"] 8 required;
            TASK_FS "task_struct" ["fs"] 8 required;
            TASK_NSPROXY "task_struct" ["nsproxy"] 8 required;
            TASK_CRED "task_struct" ["cred"] 8 required;
            TASK_MM "task_struct" ["mm"] 8 required;
            TASK_CGROUPS "task_struct" ["cgroups"] 8 optional;
            TASK_EXIT_CODE "task_struct" ["exit_code"] 4 required;
            TASK_SELF_EXEC_ID "task_struct" ["self_exec_id"] 0 required;
            TASK_THREAD_PID "task_struct" ["thread_pid"] 8 optional;
            TASK_LOGIN_UID "task_struct" ["loginuid"] 4 optional;
            TASK_SESSION_ID "task_struct" ["sessionid"] 4 optional;
            TASK_THREAD_STATUS "task_struct" ["thread_info.status"] 4 optional;
            SIGNAL_LIVE "signal_struct" ["live"] 4 required;
            SIGNAL_TTY "signal_struct" ["tty"] 8 optional;
            SIGNAL_GROUP_EXIT_CODE "signal_struct" ["group_exit_code"] 4 optional;
            TTY_NAME "tty_struct" ["name"] 0 optional;
            FILES_FDT "files_struct" ["fdt"] 8 required;
            FDTABLE_FD "fdtable" ["fd"] 8 required;
            FDTABLE_MAX_FDS "fdtable" ["max_fds"] 4 required;
            FS_ROOT "fs_struct" ["root"] 16 required;
            FS_PWD "fs_struct" ["pwd"] 16 required;
            PATH_MNT "path" ["mnt"] 8 required;
            PATH_DENTRY "path" ["dentry"] 8 required;
            MOUNT_MNT "mount" ["mnt"] 0 required;
            MOUNT_PARENT "mount" ["mnt_parent"] 8 required;
            MOUNT_MOUNTPOINT "mount" ["mnt_mountpoint"] 8 required;
            VFSMOUNT_ROOT "vfsmount" ["mnt_root"] 8 required;
            DENTRY_NAME "dentry" ["d_name", "__d_name"] 0 required;
            DENTRY_PARENT "dentry" ["d_parent"] 8 required;
            DENTRY_INODE "dentry" ["d_inode"] 8 required;
            DENTRY_HASH_PPREV "dentry" ["d_hash.pprev"] 8 optional;
            QSTR_HASH_LEN "qstr" ["hash_len"] 8 required;
            QSTR_NAME "qstr" ["name"] 8 required;
            INODE_NUMBER "inode" ["i_ino"] 8 required;
            INODE_SUPERBLOCK "inode" ["i_sb"] 8 required;
            INODE_GENERATION "inode" ["i_generation"] 4 required;
            INODE_MODE "inode" ["i_mode"] 2 required;
            INODE_LINKS "inode" ["i_nlink"] 4 required;
            SUPERBLOCK_DEVICE "super_block" ["s_dev"] 4 required;
            SUPERBLOCK_MAGIC "super_block" ["s_magic"] 8 required;
            FILE_PATH "file" ["f_path"] 16 required;
            FILE_INODE "file" ["f_inode"] 8 required;
            FILE_FLAGS "file" ["f_flags"] 4 required;
            FILE_MODE "file" ["f_mode"] 4 required;
            FILE_PRIVATE_DATA "file" ["private_data"] 8 required;
            BPRM_FILE "linux_binprm" ["file"] 8 required;
            BPRM_FILENAME "linux_binprm" ["filename"] 8 required;
            BPRM_INTERP "linux_binprm" ["interp"] 8 required;
            MM_ARG_START "mm_struct" ["arg_start"] 8 required;
            MM_ARG_END "mm_struct" ["arg_end"] 8 required;
            CRED_UID "cred" ["uid"] 4 required;
            CRED_GID "cred" ["gid"] 4 required;
            CRED_EUID "cred" ["euid"] 4 required;
            NSPROXY_MOUNT "nsproxy" ["mnt_ns"] 8 required;
            NSPROXY_NET "nsproxy" ["net_ns"] 8 required;
            MOUNT_NAMESPACE_NUMBER "mnt_namespace" ["ns.inum"] 4 required;
            NET_NAMESPACE_NUMBER "net" ["ns.inum"] 4 required;
            PID_LEVEL "pid" ["level"] 4 required;
            PID_NUMBERS "pid" ["numbers"] 0 required;
            UPID_NUMBER "upid" ["nr"] 4 required;
            UPID_NAMESPACE "upid" ["ns"] 8 required;
            PID_NAMESPACE_NUMBER "pid_namespace" ["ns.inum"] 4 required;
            CSS_SET_DEFAULT_CGROUP "css_set" ["dfl_cgrp"] 8 optional;
            CSS_SET_SUBSYSTEMS "css_set" ["subsys"] 0 optional;
            CSS_CGROUP "cgroup_subsys_state" ["cgroup"] 8 optional;
            CGROUP_KERNFS "cgroup" ["kn"] 8 optional;
            // 6.15 renamed it (kernfs: Use RCU to access kernfs_node::parent).
            KERNFS_PARENT "kernfs_node" ["__parent", "parent"] 8 optional;
            KERNFS_NAME "kernfs_node" ["name"] 8 optional;
            SOCKET_SOCK "socket" ["sk"] 8 required;
            SOCKET_TYPE "socket" ["type"] 2 required;
            SOCKET_ALLOC_SOCKET "socket_alloc" ["socket"] 0 required;
            SOCKET_ALLOC_INODE "socket_alloc" ["vfs_inode"] 0 required;
            SOCK_FAMILY "sock" ["__sk_common.skc_family"] 2 required;
            SOCK_STATE "sock" ["__sk_common.skc_state"] 1 required;
            SOCK_REMOTE_PORT "sock" ["__sk_common.skc_dport"] 2 required;
            SOCK_LOCAL_PORT "sock" ["__sk_common.skc_num"] 2 required;
            SOCK_REMOTE_IPV4 "sock" ["__sk_common.skc_daddr"] 4 required;
            SOCK_LOCAL_IPV4 "sock" ["__sk_common.skc_rcv_saddr"] 4 required;
            SOCK_REMOTE_IPV6 "sock" ["__sk_common.skc_v6_daddr"] 16 optional;
            SOCK_LOCAL_IPV6 "sock" ["__sk_common.skc_v6_rcv_saddr"] 16 optional;
            SOCK_PROTOCOL "sock" ["sk_protocol"] 2 required;
            SOCK_TYPE "sock" ["sk_type"] 2 required;
            SOCK_SOCKET "sock" ["sk_socket"] 8 required;
            SOCK_ERROR "sock" ["sk_err"] 4 required;
            UNIX_ADDRESS "unix_sock" ["addr"] 8 required;
            UNIX_PATH "unix_sock" ["path"] 16 required;
            UNIX_PEER "unix_sock" ["peer"] 8 required;
            UNIX_ADDRESS_LENGTH "unix_address" ["len"] 4 required;
            UNIX_ADDRESS_NAME "unix_address" ["name"] 0 required;
            SOCK_FLAGS "sock" ["__sk_common.skc_flags"] 8 required;
            TCP_BYTES_SENT "tcp_sock" ["bytes_sent"] 8 required;
            TCP_BYTES_RETRANSMITTED "tcp_sock" ["bytes_retrans"] 8 required;
            TCP_BYTES_RECEIVED "tcp_sock" ["bytes_received"] 8 required;
            MSGHDR_NAME "msghdr" ["msg_name"] 8 required;
            MSGHDR_NAME_LENGTH "msghdr" ["msg_namelen"] 4 required;
            MSGHDR_FLAGS "msghdr" ["msg_flags"] 4 required;
            IO_KIOCB_OPCODE "io_kiocb" ["opcode"] 1 optional;
            IO_URING_CQE_RESULT "io_uring_cqe" ["res"] 4 optional;
            REGS_AX "pt_regs" ["ax"] 8 optional;
            REGS_ORIG_AX "pt_regs" ["orig_ax"] 8 optional;
            REGS_DI "pt_regs" ["di"] 8 optional;
            REGS_SI "pt_regs" ["si"] 8 optional;
            REGS_DX "pt_regs" ["dx"] 8 optional;
            REGS_R10 "pt_regs" ["r10"] 8 optional;
            REGS_R8 "pt_regs" ["r8"] 8 optional;
            REGS_R9 "pt_regs" ["r9"] 8 optional;
            REGS_BX "pt_regs" ["bx"] 8 optional;
            REGS_CX "pt_regs" ["cx"] 8 optional;
            REGS_BP "pt_regs" ["bp"] 8 optional;
        }
    };
}

macro_rules! table {
    ($($symbol:ident $structure:literal [$($spelling:literal),+] $size:literal $need:ident;)+) => {
        /// Every kernel field that is read.
        pub const FIELDS: &[KernelField] = &[$(KernelField {
            symbol: stringify!($symbol),
            structure: $structure,
            spellings: &[$($spelling),+],
            size_bytes: $size,
            required: table!(@need $need),
        }),+];
    };
    (@need required) => { true };
    (@need optional) => { false };
}
kernel_fields!(table);
