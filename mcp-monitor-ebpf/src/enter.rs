//! Which executions open a segment: those of a child inside a split segment, those in another mount namespace (how a
//! container's first program comes about), and those of watched programs, which may be outside every lineage.
//!
//! A name is a filter for candidates and no more: user space decides by path and arguments what a program is, and
//! drops a segment that is nothing of ours.

use aya_ebpf::{
    helpers,
    macros::map,
    maps::{Array, HashMap},
};
use mcp_monitor_common::{
    limits::{SEGMENT_TOKENS_MAX, WATCHED_CGROUPS_MAX, WATCHED_EXECUTABLES_MAX, WATCHED_PROGRAMS_MAX},
    loss::LossCause,
    map::{
        LINEAGE_BOOTSTRAP, LINEAGE_BYSTANDER, LINEAGE_EXECUTED, PROGRAM_NAME_BYTES, ProgramName,
        SEGMENT_DROPPED, SEGMENT_SPLIT, SegmentState, WATCH_BYSTANDER, WATCH_ENTER, WATCH_SPLIT_ALWAYS,
    },
    record::{FileIdentity, RecordKind, SegmentBody},
};

use crate::{
    filter, identity, kernel,
    kernel::Address,
    lineage::{self, LINEAGE, Process, SEGMENTS},
    log, loss,
    record::{Weight, Writer},
};

/// cgroups (by v2 id) whose processes enter a segment at their next exec.
#[map]
static WATCHED_CGROUPS: HashMap<u64, u64> = HashMap::with_max_entries(WATCHED_CGROUPS_MAX, 0);
/// One element: how many cgroups are watched, so that the look-up is made only when there are any.
#[map]
static WATCHED_CGROUP_COUNT: Array<u32> = Array::with_max_entries(1, 0);
/// Names of programs that open a segment.
#[map]
static WATCHED_PROGRAMS: HashMap<ProgramName, u32> = HashMap::with_max_entries(WATCHED_PROGRAMS_MAX, 0);
/// Executables by identity, of any name. The generation of a key is 0.
#[map]
static WATCHED_EXECUTABLES: HashMap<FileIdentity, u32> =
    HashMap::with_max_entries(WATCHED_EXECUTABLES_MAX, 0);
/// One element: how many programs and executables are watched.
#[map]
static WATCHED_COUNT: Array<u32> = Array::with_max_entries(1, 0);

/// Called at exec. Gives the process as it is afterwards, with the segment's flags among its own; nothing for a
/// process that concerns nobody.
#[inline(always)]
pub(crate) fn executed(bprm: Address, mechanism: u32) -> Option<Process> {
    let mut process = match lineage::current() {
        Some(process) => process,
        None => match by_cgroup() {
            Some(process) => process,
            None => return by_program(bprm, mechanism),
        },
    };
    let mut flags = 0;
    if let Some(state) = SEGMENTS.get_ptr_mut(&process.segment) {
        // SAFETY: points to a value of the map; a value that is freed meanwhile belongs to an ended segment.
        let opened_in = unsafe {
            flags = (*state).flags;
            (*state).mount_namespace
        };
        let mount_namespace = mount_namespace();
        if opened_in == 0 {
            // SAFETY: as above.
            unsafe { (*state).mount_namespace = mount_namespace };
        }
        let moved = opened_in != 0 && opened_in != mount_namespace;
        let opens = if flags & SEGMENT_DROPPED != 0 {
            let _ = LINEAGE.remove(&process.tgid);
            return by_program(bprm, mechanism);
        } else if flags & SEGMENT_SPLIT != 0 {
            moved || process.flags & LINEAGE_EXECUTED == 0
        } else {
            has_watched() && watched_program(bprm as u64) & u64::from(WATCH_SPLIT_ALWAYS) != 0
        };
        if opens {
            let segment = open_segment(process.segment, u64::from(mechanism));
            if segment != 0 {
                return Some(Process::running(segment, LINEAGE_EXECUTED | SEGMENT_SPLIT));
            }
        }
    }
    if let Some(entry) = lineage::entry(process.tgid) {
        // SAFETY: points to a value of the map; the current process is alive, so that the entry is its own.
        unsafe { (*entry).flags |= LINEAGE_EXECUTED };
    }
    process.flags |= LINEAGE_EXECUTED | flags & SEGMENT_SPLIT;
    Some(process)
}

#[inline(always)]
fn by_cgroup() -> Option<Process> {
    if *WATCHED_CGROUP_COUNT.get(0)? == 0 {
        return None;
    }
    // SAFETY: no argument; allowed in tracing programs.
    let cgroup = unsafe { helpers::bpf_get_current_cgroup_id() };
    // SAFETY: the value is copied at once.
    let segment = unsafe { *WATCHED_CGROUPS.get(&cgroup)? };
    let process = Process::running(segment, LINEAGE_BOOTSTRAP);
    if !lineage::label(&process, RecordKind::Exec) {
        return None;
    }
    Some(process)
}

/// A process outside every lineage executes a watched program.
#[inline(always)]
fn by_program(bprm: Address, mechanism: u32) -> Option<Process> {
    if !has_watched() {
        return None;
    }
    let watched = watched_program(bprm as u64) as u32;
    if watched & WATCH_ENTER != 0 {
        let segment = open_segment(0, u64::from(mechanism));
        if segment == 0 {
            return None;
        }
        return Some(Process::running(segment, LINEAGE_EXECUTED | SEGMENT_SPLIT));
    }
    if watched & WATCH_BYSTANDER != 0 {
        return bystander(RecordKind::Exec);
    }
    None
}

/// The current process as one that is told of without belonging to a lineage, while there are tokens for such.
#[inline(always)]
pub(crate) fn bystander(kind: RecordKind) -> Option<Process> {
    // SAFETY: no argument.
    if !filter::take_token(0, unsafe { helpers::bpf_ktime_get_boot_ns() }) {
        loss::count(0, LossCause::Tokens, kind as u16);
        return None;
    }
    Some(Process::running(0, LINEAGE_BYSTANDER))
}

/// Inode number of the current process's mount namespace.
#[inline(always)]
fn mount_namespace() -> u32 {
    let nsproxy = kernel::pointer(kernel::current_task(), &kernel::TASK_NSPROXY);
    kernel::get::<u32>(kernel::pointer(nsproxy, &kernel::NSPROXY_MOUNT), &kernel::MOUNT_NAMESPACE_NUMBER)
}

#[inline(always)]
fn has_watched() -> bool {
    matches!(WATCHED_COUNT.get(0), Some(count) if *count != 0)
}

/// The flags under which the executed file is watched, by identity or by name; 0 when it is not.
/// Verified for itself, as `path::walk_into` is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn watched_program(bprm: u64) -> u64 {
    let file = kernel::pointer(bprm as Address, &kernel::BPRM_FILE);
    let of_file = identity::of_inode(kernel::pointer(file, &kernel::FILE_INODE));
    let key = FileIdentity { generation: 0, ..of_file };
    // SAFETY: the value is copied at once.
    let by_identity = unsafe { WATCHED_EXECUTABLES.get(&key) }.map_or(0, |flags| *flags);
    let dentry = kernel::pointer(kernel::at(file, &kernel::FILE_PATH), &kernel::PATH_DENTRY);
    let name = kernel::at(dentry, &kernel::DENTRY_NAME);
    let name_bytes = (kernel::get::<u64>(name, &kernel::QSTR_HASH_LEN) >> 32) as u32;
    let mut key = ProgramName { name_bytes, name: [0; PROGRAM_NAME_BYTES] };
    let kept = if name_bytes > PROGRAM_NAME_BYTES as u32 { PROGRAM_NAME_BYTES as u32 } else { name_bytes };
    // SAFETY: at most PROGRAM_NAME_BYTES bytes into an array of that size.
    unsafe {
        helpers::generated::bpf_probe_read_kernel(
            key.name.as_mut_ptr().cast(),
            kernel::bounded(kept.wrapping_sub(1), PROGRAM_NAME_BYTES as u32 - 1) + 1,
            kernel::pointer(name, &kernel::QSTR_NAME).cast(),
        );
    }
    // SAFETY: the value is copied at once.
    let by_name = unsafe { WATCHED_PROGRAMS.get(&key) }.map_or(0, |flags| *flags);
    u64::from(by_identity | by_name)
}

/// Opens a segment out of `parent` (0: out of nothing) and labels the current process with it. Gives its id, 0 when
/// that failed, which is a counted loss.
///
/// Segment ids are the boot time in ns with the CPU in the low byte: unique without an atomic counter, since one
/// CPU does not execute two programs in one nanosecond. Verified for itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn open_segment(parent: u64, mechanism: u64) -> u64 {
    // SAFETY: no argument.
    let (now, cpu) = unsafe { (helpers::bpf_ktime_get_boot_ns(), helpers::bpf_get_smp_processor_id()) };
    let segment = (now << 8) | u64::from(cpu & 0xff);
    let state = SegmentState {
        parent,
        tokens: SEGMENT_TOKENS_MAX,
        refilled_ns: now,
        flags: SEGMENT_SPLIT,
        mount_namespace: mount_namespace(),
    };
    if SEGMENTS.insert(&segment, &state, 0).is_err() {
        loss::count(parent, LossCause::SegmentInsert, RecordKind::Segment as u16);
        return 0;
    }
    let process = Process::running(segment, LINEAGE_EXECUTED);
    if !lineage::label(&process, RecordKind::Segment) {
        let _ = SEGMENTS.remove(&segment);
        return 0;
    }
    log::opened(segment, parent, process.tgid);
    if let Some(mut writer) = Writer::<SegmentBody>::new(&process, RecordKind::Segment) {
        writer.set(SegmentBody { parent });
        writer.send(&process, RecordKind::Segment, mechanism as u32, 0, Weight::Vital);
    }
    segment
}
