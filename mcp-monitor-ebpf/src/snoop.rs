//! Reaching into other processes: ptrace, `process_vm_*`, `pidfd_getfd`, `/proc/PID/mem`.

use aya_ebpf::{
    macros::{kprobe, lsm},
    programs::{LsmContext, ProbeContext},
};
use mcp_monitor_common::{
    mechanism,
    record::{RESULT_PERMITTED, RecordKind, SNOOP_ACCESS_CHECK, SnoopBody},
};

use crate::{
    change::lsm,
    file::argument,
    kernel::Address,
    lineage,
    lineage::Process,
    record::{Weight, Writer},
};

/// `PTRACE_MODE_ATTACH` of `include/linux/ptrace.h`. Reading `/proc/PID/stat` and the like asks with
/// `PTRACE_MODE_READ` all day and is not reported here; the open of `environ` is an open.
const MODE_ATTACH: u32 = 2;

/// Sends a finished record.
#[inline(always)]
pub(crate) fn emit(process: &Process, mechanism: u32, body: SnoopBody) -> Option<()> {
    let mut writer = Writer::<SnoopBody>::new(process, RecordKind::Snoop)?;
    writer.set(body);
    writer.send(process, RecordKind::Snoop, mechanism, 0, Weight::Vital);
    Some(())
}

#[inline(always)]
fn checked(target: Address, mode: u32, mechanism: u32) -> Option<()> {
    if mode & MODE_ATTACH == 0 {
        return None;
    }
    let process = lineage::current()?;
    let (target_tgid, target_start_boottime_ns, target_segment) = lineage::of_task(target);
    if target_tgid == process.tgid {
        return None;
    }
    let body = SnoopBody {
        target_start_boottime_ns,
        target_segment,
        target_tgid,
        mode,
        way: SNOOP_ACCESS_CHECK,
        flags: 0,
        result: RESULT_PERMITTED,
        reserved: 0,
    };
    emit(&process, mechanism, body)
}

/// match-proto: include/linux/lsm_hook_defs.h:LSM_HOOK(int, 0, ptrace_access_check, struct task_struct *child,
/// unsigned int mode)
#[lsm(hook = "ptrace_access_check")]
pub fn lsm_ptrace_access(context: LsmContext) -> i32 {
    checked(lsm(&context, 0), lsm(&context, 1) as u32, mechanism::LSM_PTRACE_ACCESS);
    0
}

/// match-proto: security/security.c:int security_ptrace_access_check(struct task_struct *child, unsigned int mode)
#[kprobe]
pub fn probe_ptrace_access(context: ProbeContext) -> u32 {
    checked(argument(&context, 0), argument(&context, 1) as u32, mechanism::PROBE_PTRACE_ACCESS);
    0
}
