//! Where lineages start: orders that label the watched command, running processes with their descendants, and
//! cgroups with what runs in them. Labels are given until nothing new is found, so that a child that is born
//! meanwhile is either labelled by the kernel at its fork or found by the next look.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use mcp_monitor_common::map::LINEAGE_BOOTSTRAP;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use super::DaemonError;
use crate::{
    event::{ProcessId, SegmentId},
    sensor::orders::{Label, Orders},
};

/// Looks at the process list until a look finds nothing new, at most this often.
const LOOKS_MAX: usize = 16;

/// A process as `/proc/PID/stat` tells of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) parent: ProcessId,
    pub(super) start_ticks: u64,
}

/// Everything that the user named, each with its segment.
#[derive(Debug, Default)]
pub(super) struct Lineages {
    processes: Vec<(ProcessId, SegmentId)>,
    cgroups: Vec<(PathBuf, SegmentId)>,
}

impl Lineages {
    /// Labels a process that waits before its exec.
    pub(super) fn command(orders: &mut Orders, pid: u32, segment: SegmentId) -> Result<(), DaemonError> {
        orders.open_segment(segment, 0)?;
        orders.label(ProcessId(pid), Label { segment, start_ticks: 0, flags: 0 })?;
        Ok(())
    }

    /// Labels a running process and its descendants.
    pub(super) fn process(
        &mut self,
        orders: &mut Orders,
        pid: u32,
        segment: SegmentId,
    ) -> Result<(), DaemonError> {
        if !Path::new(&format!("/proc/{pid}")).exists() {
            return Err(DaemonError::Usage(format!("--pid {pid}: there is no such process")));
        }
        orders.open_segment(segment, 0)?;
        self.processes.push((ProcessId(pid), segment));
        self.label_all(orders);
        Ok(())
    }

    /// Labels what runs in a cgroup and below, and lets what executes there later in. Gives how many cgroups found no
    /// place for that: what enters those is found by the looks that follow.
    pub(super) fn cgroup(
        &mut self,
        orders: &mut Orders,
        path: &Path,
        segment: SegmentId,
    ) -> Result<usize, DaemonError> {
        if !path.join("cgroup.procs").exists() {
            return Err(DaemonError::Usage(format!(
                "--cgroup {}: not a cgroup (it has no cgroup.procs); name a directory below /sys/fs/cgroup",
                path.display()
            )));
        }
        orders.open_segment(segment, 0)?;
        let mut left_out = 0;
        for directory in with_children(path) {
            // The number of a cgroup v2 directory is the cgroup's id. A v1 directory may have the same number as
            // somebody else's v2 cgroup; what enters it is found by looking.
            if is_unified(&directory)
                && let Ok(metadata) = fs::metadata(&directory)
                && orders.watch_cgroup(metadata.ino(), segment).is_err()
            {
                left_out += 1;
            }
        }
        self.cgroups.push((path.to_owned(), segment));
        self.label_all(orders);
        Ok(left_out)
    }

    /// True when only named processes and cgroups are watched, or something was: the end of a command's lineage
    /// is not their business.
    pub(super) fn any(&self) -> bool {
        !self.processes.is_empty() || !self.cgroups.is_empty()
    }

    /// Labels again: after a fork that could not be labelled, and what entered a cgroup without an exec.
    pub(super) fn label_all(&mut self, orders: &mut Orders) {
        for _ in 0..LOOKS_MAX {
            if self.look(orders) == 0 {
                break;
            }
        }
    }

    /// Takes labels away whose process is gone: on preemptible kernels of 7.x the kernel skips some runs of the exit
    /// program. Gives how many there were.
    pub(super) fn sweep(orders: &mut Orders) -> u64 {
        let mut swept = 0;
        for (pid, entry) in orders.labels() {
            // A process that ended between the two looks had its label taken away by the kernel.
            let labelled = |orders: &Orders| orders.label_of(pid).is_some_and(|now| now == entry);
            if is_gone(pid, entry.start_boottime_ns) && labelled(orders) {
                orders.unlabel(pid);
                swept += 1;
            }
        }
        swept
    }

    /// True when something must be looked at regularly.
    pub(super) fn has_cgroups(&self) -> bool {
        !self.cgroups.is_empty()
    }

    /// One look at the process list. Gives how many were labelled.
    fn look(&mut self, orders: &mut Orders) -> usize {
        let seen = processes();
        let mut wanted: HashMap<ProcessId, SegmentId> = HashMap::new();
        for &(pid, segment) in &self.processes {
            wanted.insert(pid, segment);
        }
        for (path, segment) in &self.cgroups {
            for pid in members(path) {
                wanted.insert(pid, *segment);
            }
        }
        let mut labelled = 0;
        for (&pid, process) in &seen {
            if orders.label_of(pid).is_some() || pid.0 == std::process::id() {
                continue;
            }
            let Some(segment) = segment_of(pid, &seen, &wanted, orders) else { continue };
            let label = Label { segment, start_ticks: process.start_ticks, flags: LINEAGE_BOOTSTRAP };
            if orders.label(pid, label).is_err() {
                // Counted by the kernel side as well when it meets a full table.
                continue;
            }
            // Gone meanwhile, or already somebody else.
            if stat(pid).is_none_or(|now| now.start_ticks != process.start_ticks) {
                orders.unlabel(pid);
                continue;
            }
            labelled += 1;
        }
        labelled
    }
}

/// The segment of the nearest forebear that is wanted or labelled.
fn segment_of(
    pid: ProcessId,
    seen: &HashMap<ProcessId, Seen>,
    wanted: &HashMap<ProcessId, SegmentId>,
    orders: &Orders,
) -> Option<SegmentId> {
    let mut passed = HashSet::new();
    let mut at = pid;
    while passed.insert(at) {
        if let Some(segment) = wanted.get(&at) {
            return Some(*segment);
        }
        if at != pid
            && let Some(entry) = orders.label_of(at)
        {
            return Some(SegmentId(entry.segment));
        }
        at = seen.get(&at)?.parent;
    }
    None
}

pub(super) fn processes() -> HashMap<ProcessId, Seen> {
    let Ok(all) = procfs::process::all_processes() else { return HashMap::new() };
    all.flatten()
        .filter_map(|process| {
            let pid = ProcessId(u32::try_from(process.pid).ok()?);
            Some((pid, seen(&process)?))
        })
        .collect()
}

/// True when there is no such process, when it is another one, or when it is a zombie whose threads have ended, too.
pub(super) fn is_gone(pid: ProcessId, start_boottime_ns: u64) -> bool {
    let Ok(number) = i32::try_from(pid.0) else { return true };
    let Ok(process) = procfs::process::Process::new(number) else { return true };
    let Ok(stat) = process.stat() else { return true };
    // Ticks of 10 ms, cut off at different places.
    let other = start_boottime_ns != 0 && (start_boottime_ns / 10_000_000).abs_diff(stat.starttime) > 1;
    other || (stat.state == 'Z' && stat.num_threads <= 1)
}

fn stat(pid: ProcessId) -> Option<Seen> {
    seen(&procfs::process::Process::new(i32::try_from(pid.0).ok()?).ok()?)
}

fn seen(process: &procfs::process::Process) -> Option<Seen> {
    let stat = process.stat().ok()?;
    Some(Seen { parent: ProcessId(u32::try_from(stat.ppid).unwrap_or(0)), start_ticks: stat.starttime })
}

/// Whether the directory is one of cgroup v2.
fn is_unified(directory: &Path) -> bool {
    statfs(directory).is_ok_and(|it| it.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

/// A cgroup directory and all below it.
fn with_children(path: &Path) -> Vec<PathBuf> {
    let mut all = vec![path.to_owned()];
    let mut next = 0;
    while let Some(directory) = all.get(next).cloned() {
        next += 1;
        let children = fs::read_dir(&directory).into_iter().flatten().flatten();
        all.extend(
            children
                .filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|child| child.path()),
        );
    }
    all
}

fn members(path: &Path) -> Vec<ProcessId> {
    with_children(path)
        .iter()
        .filter_map(|directory| fs::read_to_string(directory.join("cgroup.procs")).ok())
        .flat_map(|text| text.lines().filter_map(|line| line.parse().ok().map(ProcessId)).collect::<Vec<_>>())
        .collect()
}
