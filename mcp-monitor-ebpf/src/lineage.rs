//! Which process belongs to which segment: labelled at fork from *current* (never from the parent pointer), kept
//! until the last thread is gone, checked against the process's start at every use.

use aya_ebpf::{
    helpers,
    macros::{kprobe, map, raw_tracepoint},
    maps::HashMap,
    programs::{ProbeContext, RawTracePointContext},
};
use mcp_monitor_common::{
    limits::SEGMENTS_MAX,
    loss::LossCause,
    map::{LINEAGE_BOOTSTRAP, LINEAGE_BYSTANDER, LineageEntry, SEGMENT_DROPPED, SegmentState, SocketOwner},
    mechanism,
    record::{Direction, ExitBody, ForkBody, HEADER_BOOTSTRAP, HEADER_BYSTANDER, RecordKind},
};

use crate::{
    address::Internet,
    file::argument,
    hint, kernel,
    kernel::Address,
    log, loss,
    record::{Weight, Writer},
};

/// Processes of lineages. Sized at load for every process that the host can have; never evicted.
#[map]
pub(crate) static LINEAGE: HashMap<u32, LineageEntry> = HashMap::with_max_entries(32 * 1024, 0);
/// Segments, with their parent and token bucket.
#[map]
pub(crate) static SEGMENTS: HashMap<u64, SegmentState> = HashMap::with_max_entries(SEGMENTS_MAX, 0);

/// The process that runs, when it belongs to a lineage.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    pub(crate) segment: u64,
    pub(crate) start_boottime_ns: u64,
    pub(crate) tgid: u32,
    pub(crate) tid: u32,
    pub(crate) exec_id: u32,
    pub(crate) flags: u32,
}

impl Process {
    /// The current process, whatever its label says.
    #[inline(always)]
    pub(crate) fn running(segment: u64, flags: u32) -> Self {
        let identity = helpers::bpf_get_current_pid_tgid();
        let task = kernel::current_task();
        Self {
            segment,
            start_boottime_ns: start_of(task, identity),
            tgid: (identity >> 32) as u32,
            tid: identity as u32,
            exec_id: kernel::get::<u32>(task, &kernel::TASK_SELF_EXEC_ID),
            flags,
        }
    }

    /// The process as the owner of a socket that speaks to this peer.
    #[inline(always)]
    pub(crate) fn owner_of(&self, remote: &Internet, direction: Direction) -> SocketOwner {
        SocketOwner {
            segment: self.segment,
            start_boottime_ns: self.start_boottime_ns,
            tgid: self.tgid,
            exec_id: self.exec_id,
            address: remote.address,
            port: remote.port,
            direction: direction as u16,
            tid: self.tid,
        }
    }

    /// The process that owns a socket.
    #[inline(always)]
    pub(crate) fn owning(owner: &SocketOwner) -> Self {
        Self {
            segment: owner.segment,
            start_boottime_ns: owner.start_boottime_ns,
            tgid: owner.tgid,
            tid: owner.tid,
            exec_id: owner.exec_id,
            flags: 0,
        }
    }

    #[inline(always)]
    pub(crate) fn header_flags(&self) -> u16 {
        (if self.flags & LINEAGE_BOOTSTRAP != 0 { HEADER_BOOTSTRAP } else { 0 })
            | (if self.flags & LINEAGE_BYSTANDER != 0 { HEADER_BYSTANDER } else { 0 })
    }
}

/// Labels the current process. `false` when that failed, which is a counted loss.
#[inline(always)]
pub(crate) fn label(process: &Process, kind: RecordKind) -> bool {
    let label = LineageEntry {
        segment: process.segment,
        start_boottime_ns: process.start_boottime_ns,
        start_ticks: 0,
        flags: process.flags,
        reserved: 0,
    };
    hint::set(process.tgid);
    let labelled = LINEAGE.insert(&process.tgid, &label, 0).is_ok();
    if !labelled {
        loss::count(process.segment, LossCause::LineageInsert, kind as u16);
    }
    labelled
}

/// The entry of a process id, without any check.
#[inline(always)]
pub(crate) fn entry(tgid: u32) -> Option<*mut LineageEntry> {
    if !hint::may_be_labelled(tgid) {
        return None;
    }
    LINEAGE.get_ptr_mut(&tgid)
}

/// The start of the process of a thread, by the ids that `bpf_get_current_pid_tgid` gives. Its leader has both alike.
#[inline(always)]
fn start_of(task: Address, identity: u64) -> u64 {
    let leader = if identity as u32 == (identity >> 32) as u32 {
        task
    } else {
        kernel::pointer(task, &kernel::TASK_GROUP_LEADER)
    };
    kernel::get::<u64>(leader, &kernel::TASK_START_BOOTTIME)
}

/// The current process if it belongs to a lineage. One look-up for all others.
#[inline(always)]
pub(crate) fn current() -> Option<Process> {
    let identity = helpers::bpf_get_current_pid_tgid();
    let tgid = (identity >> 32) as u32;
    let entry = entry(tgid)?;
    let task = kernel::current_task();
    let start_boottime_ns = start_of(task, identity);
    // SAFETY: entry points to a value of the map. Another CPU may free it meanwhile; a value that was reused then
    // belongs to another process id, which the start tells.
    let (segment, known_start, start_ticks, flags) =
        unsafe { ((*entry).segment, (*entry).start_boottime_ns, (*entry).start_ticks, (*entry).flags) };
    if known_start == 0 {
        // Labelled by user space, which knows the start only in ticks of 10 ms.
        let difference = (start_boottime_ns / 10_000_000).wrapping_sub(start_ticks);
        if start_ticks != 0 && difference != 0 && difference != 1 && difference != u64::MAX {
            return None;
        }
        // SAFETY: as above.
        unsafe { (*entry).start_boottime_ns = start_boottime_ns };
    } else if known_start != start_boottime_ns {
        return None;
    }
    Some(Process {
        segment,
        start_boottime_ns,
        tgid,
        tid: identity as u32,
        exec_id: kernel::get::<u32>(task, &kernel::TASK_SELF_EXEC_ID),
        flags,
    })
}

/// False when the current process certainly belongs to no lineage. Whoever goes on checks by [`current`].
#[inline(always)]
pub(crate) fn may_be_labelled() -> bool {
    hint::may_be_labelled((helpers::bpf_get_current_pid_tgid() >> 32) as u32)
}

/// True when the current process seems to belong to a lineage, of which whoever goes on makes sure by [`current`].
#[inline(always)]
pub(crate) fn is_labelled() -> bool {
    entry((helpers::bpf_get_current_pid_tgid() >> 32) as u32).is_some()
}

/// The segment of another process, 0 if it belongs to none, and its start.
#[inline(always)]
pub(crate) fn of_task(task: Address) -> (u32, u64, u64) {
    let tgid = kernel::get::<u32>(task, &kernel::TASK_TGID);
    let leader = kernel::pointer(task, &kernel::TASK_GROUP_LEADER);
    let start = kernel::get::<u64>(leader, &kernel::TASK_START_BOOTTIME);
    let segment = match entry(tgid) {
        // SAFETY: points to a value of the map.
        Some(entry) => unsafe {
            if (*entry).start_boottime_ns == start || (*entry).start_boottime_ns == 0 {
                (*entry).segment
            } else {
                0
            }
        },
        None => 0,
    };
    (tgid, start, segment)
}

/// A new process is labelled before it can do anything.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn lineage_fork(context: RawTracePointContext) -> i32 {
    // match-proto: include/trace/events/sched.h:TP_PROTO(struct task_struct *parent, struct task_struct *child)
    let child: Address = context.arg::<u64>(1) as Address;
    fork(child, mechanism::LINEAGE_FORK);
    0
}

/// The child is complete, and has not run yet (kernel_clone, kernel/fork.c).
///
/// match-proto: kernel/sched/core.c:void wake_up_new_task(struct task_struct *p)
#[kprobe]
pub fn probe_fork(context: ProbeContext) -> u32 {
    fork(argument(&context, 0), mechanism::PROBE_FORK);
    0
}

/// True when user space found that the segment is nothing of ours, and is about to take its labels away.
#[inline(always)]
fn is_dropped(segment: u64) -> bool {
    match SEGMENTS.get_ptr(&segment) {
        // SAFETY: points to a value of the map.
        Some(state) => unsafe { (*state).flags & SEGMENT_DROPPED != 0 },
        None => false,
    }
}

#[inline(always)]
fn fork(child: Address, mechanism: u32) -> Option<()> {
    let process = current()?;
    let child_tgid = kernel::get::<u32>(child, &kernel::TASK_TGID);
    if child_tgid == process.tgid {
        // A thread: it is found by its process's id.
        return None;
    }
    if is_dropped(process.segment) {
        return None;
    }
    let child_start_boottime_ns = kernel::get::<u64>(child, &kernel::TASK_START_BOOTTIME);
    let label = LineageEntry {
        segment: process.segment,
        start_boottime_ns: child_start_boottime_ns,
        start_ticks: 0,
        flags: 0,
        reserved: 0,
    };
    hint::set(child_tgid);
    if LINEAGE.insert(&child_tgid, &label, 0).is_err() {
        loss::count(process.segment, LossCause::LineageInsert, RecordKind::Fork as u16);
        return None;
    }
    log::forked(process.segment, process.tgid, child_tgid);
    let mut writer = Writer::<ForkBody>::new(&process, RecordKind::Fork)?;
    writer.set(ForkBody {
        child_start_boottime_ns,
        child_tgid,
        child_exec_id: kernel::get::<u32>(child, &kernel::TASK_SELF_EXEC_ID),
    });
    writer.send(&process, RecordKind::Fork, mechanism, 0, Weight::Vital);
    Some(())
}

/// A process is gone when its last thread is: a leader may leave before its threads.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn lineage_exit(_context: RawTracePointContext) -> i32 {
    exit(mechanism::LINEAGE_EXIT);
    0
}

/// Called by do_exit a little behind the tracepoint, and for a child that came to nothing, by its parent.
///
/// match-proto: fs/file.c:void exit_files(struct task_struct *tsk)
#[kprobe]
pub fn probe_exit(context: ProbeContext) -> u32 {
    if argument(&context, 0) == kernel::current_task() {
        exit(mechanism::PROBE_EXIT);
    }
    0
}

#[inline(always)]
fn exit(mechanism: u32) -> Option<()> {
    let tgid = (helpers::bpf_get_current_pid_tgid() >> 32) as u32;
    if !hint::may_be_labelled(tgid) {
        return None;
    }
    let task = kernel::current_task();
    let signal = kernel::pointer(task, &kernel::TASK_SIGNAL);
    // do_exit has counted this thread off before the tracepoint (kernel/exit.c, atomic_dec_and_test(&signal->live)).
    if kernel::get::<i32>(signal, &kernel::SIGNAL_LIVE) != 0 {
        return None;
    }
    let process = current();
    let _ = LINEAGE.remove(&tgid);
    hint::clear(tgid);
    let process = process?;
    log::ended(process.segment, tgid);
    let mut writer = Writer::<ExitBody>::new(&process, RecordKind::Exit)?;
    writer.set(ExitBody { exit_code: kernel::get::<u32>(task, &kernel::TASK_EXIT_CODE), reserved: 0 });
    writer.send(&process, RecordKind::Exit, mechanism, 0, Weight::Vital);
    Some(())
}
