//! seccomp: system calls that the monitor never makes are refused with `EPERM`, in every thread.
//!
//! A list of what is refused and not of what is allowed: a library that makes another harmless call tomorrow must not
//! blind the monitor. The unit's `SystemCallFilter=` is the list of what is allowed.

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter_all_threads,
};
use std::{collections::BTreeMap, env::consts::ARCH};

/// Refused whatever their arguments are.
const REFUSED: &[libc::c_long] = &[
    // Other programs, and what is in other processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Another view of the host.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    // The kernel itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_personality,
    // What goes round the other rules.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_open_by_handle_at,
    libc::SYS_mknodat,
    libc::SYS_memfd_create,
    // Keys and clocks.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// Older calls that only this architecture has.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_mknod,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// Commands of `bpf(2)` that stay: elements of maps, one or many at once, and what is known of an open object.
const BPF_ALLOWED: &[u64] = &[1, 2, 3, 4, 15, 21, 24, 25, 26, 27];

/// Families of sockets that stay: unix, both of the internet, and netlink, which the C library sorts addresses with.
const FAMILIES: &[libc::c_int] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Puts the filter in force for all threads. Says in words what came of it.
pub(super) fn refuse() -> String {
    match filters()
        .map_err(seccompiler::Error::Backend)
        .and_then(|filters| filters.iter().try_for_each(|filter| apply_filter_all_threads(filter)))
    {
        Ok(()) => "no other programs, no mounts, no loading into the kernel".to_owned(),
        Err(error) => format!("failed: {error}"),
    }
}

fn filters() -> Result<[BpfProgram; 2], BackendError> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().chain(REFUSED_HERE).map(|call| (*call, Vec::new())).collect();
    refused.insert(libc::SYS_bpf, vec![none_of(0, BPF_ALLOWED)?]);
    let families: Vec<u64> = FAMILIES.iter().map(|family| family.unsigned_abs().into()).collect();
    refused.insert(libc::SYS_socket, vec![none_of(0, &families)?]);
    // Threads may be made, processes may not.
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let no_thread = condition(0, SeccompCmpOp::MaskedEq(thread), 0)?;
    refused.insert(libc::SYS_clone, vec![SeccompRule::new(vec![no_thread])?]);
    // Its flags lie in memory, where no filter sees them: told as absent, so that the C library takes clone(2).
    let absent = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok([compiled(refused, libc::EPERM)?, compiled(absent, libc::ENOSYS)?])
}

/// Matches when the argument is none of `values`.
fn none_of(argument: u8, values: &[u64]) -> Result<SeccompRule, BackendError> {
    let conditions = values.iter().map(|value| condition(argument, SeccompCmpOp::Ne, *value));
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

fn compiled(rules: BTreeMap<i64, Vec<SeccompRule>>, error: libc::c_int) -> Result<BpfProgram, BackendError> {
    let refused = SeccompAction::Errno(error.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, refused, ARCH.try_into()?)?.try_into()
}
