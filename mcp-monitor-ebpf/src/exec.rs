//! Programs that are executed. Executable and script are known from the files that the kernel opened, never from
//! user memory; arguments are copied out of the new image before its first instruction runs.

use aya_ebpf::{
    helpers,
    macros::{kprobe, lsm, raw_tracepoint},
    programs::{LsmContext, ProbeContext, RawTracePointContext},
};
use mcp_monitor_common::{
    mechanism,
    record::{ACCESS_EXECUTE, ExecBody, PathSlice, RESULT_PERMITTED, RecordKind, Slice},
};

use crate::{
    change::lsm,
    descriptor, enter,
    file::{Use, argument, report},
    identity, kernel,
    kernel::Address,
    lineage,
    lineage::Process,
    log, path,
    record::{Slot, Weight, Writer},
};

/// Components of a cgroup path that are kept.
const CGROUP_MAX_COMPONENTS: u32 = 24;

#[inline(always)]
fn stage(bprm: Address, mechanism: u32, can_refuse: bool) -> i32 {
    let Some(process) = lineage::current() else { return 0 };
    let how = Use {
        kind: RecordKind::ExecStage,
        mechanism,
        result: RESULT_PERMITTED,
        flags: 0,
        access: ACCESS_EXECUTE,
        can_refuse,
    };
    report(&process, kernel::pointer(bprm, &kernel::BPRM_FILE), how)
}

/// match-proto: include/linux/lsm_hook_defs.h:LSM_HOOK(int, 0, bprm_check_security, struct linux_binprm *bprm)
#[lsm(hook = "bprm_check_security")]
pub fn lsm_bprm_check(context: LsmContext) -> i32 {
    stage(lsm(&context, 0), mechanism::LSM_BPRM_CHECK, true)
}

/// match-proto: security/security.c:int security_bprm_check(struct linux_binprm *bprm)
#[kprobe]
pub fn probe_bprm_check(context: ProbeContext) -> u32 {
    stage(argument(&context, 0), mechanism::PROBE_BPRM_CHECK, false);
    0
}

/// match-proto: include/trace/events/sched.h:TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn lineage_exec(context: RawTracePointContext) -> i32 {
    reached(context.arg::<u64>(2) as Address, mechanism::LINEAGE_EXEC);
    0
}

/// The last thing that a loader of programs calls before the program's first instruction.
///
/// match-proto: fs/exec.c:void finalize_exec(struct linux_binprm *bprm)
#[kprobe]
pub fn probe_exec(context: ProbeContext) -> u32 {
    reached(argument(&context, 0), mechanism::PROBE_EXEC);
    0
}

#[inline(always)]
fn reached(bprm: Address, mechanism: u32) {
    if let Some(process) = enter::executed(bprm, mechanism) {
        executed(&process, kernel::current_task(), bprm, mechanism);
    }
}

#[inline(always)]
fn executed(process: &Process, task: Address, bprm: Address, mechanism: u32) -> Option<()> {
    log::executed(process.segment, process.tgid, process.exec_id);
    let mut writer = Writer::<ExecBody>::new(process, RecordKind::Exec)?;
    let body = writer.body();
    // SAFETY: the body lies in the slot that the writer owns, 8-aligned; every field is written below.
    unsafe {
        fill_file(body, process, bprm);
        fill_identity(body, task);
        fill_namespaces(body, task);
        fill_texts(&mut writer, body, task, bprm);
    }
    writer.send(process, RecordKind::Exec, mechanism, 0, Weight::Vital);
    Some(())
}

/// The program's file and the standard descriptors.
#[inline(always)]
unsafe fn fill_file(body: *mut ExecBody, process: &Process, bprm: Address) {
    let inode = kernel::pointer(kernel::pointer(bprm, &kernel::BPRM_FILE), &kernel::FILE_INODE);
    // SAFETY: the caller's promise.
    unsafe {
        (*body).executable = identity::of_inode(inode);
        (*body).mode = u32::from(kernel::get::<u16>(inode, &kernel::INODE_MODE));
        (*body).links = kernel::get::<u32>(inode, &kernel::INODE_LINKS);
        (*body).filesystem_magic = identity::filesystem_magic(inode);
        (*body).lineage_flags = process.flags;
        (*body).stdin = descriptor::describe(0);
        (*body).stdout = descriptor::describe(1);
    }
}

/// Users, audit session, parent.
#[inline(always)]
unsafe fn fill_identity(body: *mut ExecBody, task: Address) {
    let cred = kernel::pointer(task, &kernel::TASK_CRED);
    let parent = kernel::pointer(task, &kernel::TASK_REAL_PARENT);
    let leader = kernel::pointer(parent, &kernel::TASK_GROUP_LEADER);
    let has_login = kernel::has(&kernel::TASK_LOGIN_UID);
    let has_session = kernel::has(&kernel::TASK_SESSION_ID);
    // SAFETY: the caller's promise.
    unsafe {
        (*body).uid = kernel::get::<u32>(cred, &kernel::CRED_UID);
        (*body).gid = kernel::get::<u32>(cred, &kernel::CRED_GID);
        (*body).euid = kernel::get::<u32>(cred, &kernel::CRED_EUID);
        (*body).login_uid =
            if has_login { kernel::get::<u32>(task, &kernel::TASK_LOGIN_UID) } else { u32::MAX };
        (*body).session_id =
            if has_session { kernel::get::<u32>(task, &kernel::TASK_SESSION_ID) } else { u32::MAX };
        (*body).parent_tgid = kernel::get::<u32>(parent, &kernel::TASK_TGID);
        (*body).parent_start_boottime_ns = kernel::get::<u64>(leader, &kernel::TASK_START_BOOTTIME);
    }
}

/// Namespaces, the process id inside, and the cgroup's id.
#[inline(always)]
unsafe fn fill_namespaces(body: *mut ExecBody, task: Address) {
    let nsproxy = kernel::pointer(task, &kernel::TASK_NSPROXY);
    let pid = kernel::pointer(task, &kernel::TASK_THREAD_PID);
    let level = kernel::get::<u32>(pid, &kernel::PID_LEVEL) & 0x1f;
    // `struct upid { int nr; struct pid_namespace *ns; }`, include/linux/pid.h.
    let number = kernel::at(pid, &kernel::PID_NUMBERS).wrapping_add(level as usize * 16);
    // SAFETY: the caller's promise; the helper takes no argument.
    unsafe {
        (*body).mount_namespace = kernel::get::<u32>(
            kernel::pointer(nsproxy, &kernel::NSPROXY_MOUNT),
            &kernel::MOUNT_NAMESPACE_NUMBER,
        );
        (*body).net_namespace =
            kernel::get::<u32>(kernel::pointer(nsproxy, &kernel::NSPROXY_NET), &kernel::NET_NAMESPACE_NUMBER);
        (*body).namespace_pid = kernel::get::<u32>(number, &kernel::UPID_NUMBER);
        (*body).pid_namespace = kernel::get::<u32>(
            kernel::pointer(number, &kernel::UPID_NAMESPACE),
            &kernel::PID_NAMESPACE_NUMBER,
        );
        (*body).cgroup_id = helpers::bpf_get_current_cgroup_id();
    }
}

/// Paths, arguments and names, in the order of their worth, since the tail may fill up.
#[inline(always)]
unsafe fn fill_texts(writer: &mut Writer<ExecBody>, body: *mut ExecBody, task: Address, bprm: Address) {
    let file = kernel::pointer(bprm, &kernel::BPRM_FILE);
    let mm = kernel::pointer(task, &kernel::TASK_MM);
    let start = kernel::get::<u64>(mm, &kernel::MM_ARG_START);
    let bytes = kernel::get::<u64>(mm, &kernel::MM_ARG_END).wrapping_sub(start);
    let filename = kernel::pointer(bprm, &kernel::BPRM_FILENAME);
    let interp = kernel::pointer(bprm, &kernel::BPRM_INTERP);
    let directory = kernel::at(kernel::pointer(task, &kernel::TASK_FS), &kernel::FS_PWD);
    let tty = kernel::pointer(kernel::pointer(task, &kernel::TASK_SIGNAL), &kernel::SIGNAL_TTY);
    // SAFETY: the caller's promise.
    unsafe {
        (*body).path = path::walk_path(writer, kernel::at(file, &kernel::FILE_PATH));
        (*body).arguments_bytes = if bytes > 0xffff_ffff { 0xffff_ffff } else { bytes as u32 };
        (*body).arguments = writer.user_bytes(start as Address, bytes);
        (*body).given_name = writer.kernel_text(filename);
        (*body).interpreter_name =
            if interp == filename { Slice::default() } else { writer.kernel_text(interp) };
        (*body).working_directory = path::walk_path(writer, directory);
        (*body).cgroup_path = cgroup_path(writer, task);
        (*body).tty = if tty.is_null() {
            Slice::default()
        } else {
            writer.kernel_text(kernel::at(tty, &kernel::TTY_NAME))
        };
    }
}

/// The cgroup v2 path; on a host that uses v1 only, the path in the hierarchy of the `pids` controller.
#[inline(always)]
fn cgroup_path(writer: &mut Writer<ExecBody>, task: Address) -> PathSlice {
    let set = kernel::pointer(task, &kernel::TASK_CGROUPS);
    let unified = kernel::pointer(set, &kernel::CSS_SET_DEFAULT_CGROUP);
    let mut node = kernel::pointer(unified, &kernel::CGROUP_KERNFS);
    let subsystem = kernel::CGROUP_V1_SUBSYSTEM.load();
    if kernel::pointer(node, &kernel::KERNFS_PARENT).is_null() && subsystem != kernel_absent() {
        let states = kernel::at(set, &kernel::CSS_SET_SUBSYSTEMS);
        let state = kernel::read::<u64>(states.wrapping_add(subsystem as usize * 8)) as Address;
        let cgroup = kernel::pointer(state, &kernel::CSS_CGROUP);
        node = kernel::pointer(cgroup, &kernel::CGROUP_KERNFS);
    }
    let offset = writer.position();
    let components = walk_kernfs(writer.index, Writer::<ExecBody>::TAIL as u32, node as u64);
    PathSlice {
        bytes: Slice { offset: offset as u16, length_bytes: (writer.position() - offset) as u16 },
        flags: 0,
        components: components as u16,
    }
}

#[inline(always)]
fn kernel_absent() -> u32 {
    mcp_monitor_common::kernel_fields::ABSENT
}

/// Writes the names from a node to the root, leaf first, without the root's own.
/// Verified for itself, as `path::walk_into` is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_kernfs(index: u32, tail: u32, node: u64) -> u64 {
    let Some(slot) = Slot::at(index) else { return 0 };
    let mut node = node as Address;
    let mut components = 0;
    while components < CGROUP_MAX_COMPONENTS {
        let parent = kernel::pointer(node, &kernel::KERNFS_PARENT);
        if node.is_null() || parent.is_null() {
            break;
        }
        // SAFETY: the caller owns the slot; one name of at most 255 bytes and its NUL fit behind any position.
        unsafe {
            let position = core::ptr::read_volatile(&raw const (*slot).position);
            if position + 256 >= mcp_monitor_common::limits::TAIL_USED_MAX_BYTES as u32 {
                break;
            }
            let to = Slot::tail(slot, tail, position);
            let name = kernel::pointer(node, &kernel::KERNFS_NAME);
            let read = helpers::generated::bpf_probe_read_kernel_str(to.cast(), 256, name.cast());
            if read <= 0 {
                break;
            }
            core::ptr::write_volatile(
                &raw mut (*slot).position,
                position + kernel::bounded(read as u32, 0x1ff),
            );
        }
        components += 1;
        node = parent;
    }
    u64::from(components)
}
