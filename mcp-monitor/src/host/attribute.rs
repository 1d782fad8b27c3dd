//! The stage between sensor and judgement: a decoded record goes in, an [`Event`] with its process and workload
//! comes out.
//!
//! Events of a segment that no workload was assigned to are held, bounded in number and time, until
//! [`Attributor::assign`] releases them; what is given up is counted. Every queue and table here is bounded.

use std::{collections::VecDeque, sync::Arc};

use mcp_monitor_common::{
    map::ReliefKey,
    mechanism::PROGRAMS,
    record::{HEADER_BOOTSTRAP, HEADER_RELIEVED, RecordKind},
};

use super::{
    action::{file_action, network_action, outcome},
    clock::Clock,
    dns,
    identifier::Identifiers,
    process::{ProcessCounts, ProcessTable},
    procfs::{ProcessSource, Procfs},
    relief::{self, ReliefTable},
    segment::Segments,
    users::Users,
};
use crate::{
    event::{
        Action, BootNs, CoverageNote, Decision, Event, Outcome, Process, ProcessId, ProcessKey, SegmentId,
        SnoopObject, Verdict, Workload, WorkloadKind,
    },
    sensor::decode::{Record, RecordBody, SnoopRecord},
};

/// Events that wait for their workload.
const HELD_MAX: usize = 8192;
/// How long they wait.
const HELD_NS: u64 = 5_000_000_000;
/// How long the templates of a process image outlive it.
const RELIEF_KEPT_NS: u64 = 10_000_000_000;
/// Inode number of the first pid namespace, `PROC_PID_INIT_INO` of `include/linux/proc_ns.h`.
const FIRST_PID_NAMESPACE: u32 = 0xEFFF_FFFC;

/// What this stage could not do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttributionCounts {
    /// Events of segments that nobody assigned in time.
    pub unassigned: u64,
    /// DNS messages that were no answers.
    pub dns_malformed: u64,
    /// Counted occurrences without a template.
    pub relief_unplaced: u64,
    /// Templates that found no place.
    pub relief_refused: u64,
    /// Segments that found no place.
    pub segments_refused: u64,
    /// Of the process table.
    pub processes: ProcessCounts,
}

/// See the module.
pub struct Attributor {
    clock: Clock,
    identifiers: Identifiers,
    processes: ProcessTable,
    segments: Segments,
    relief: ReliefTable,
    relief_ending: VecDeque<(BootNs, ProcessKey)>,
    held: VecDeque<Event>,
    nobody: Arc<Workload>,
    unassigned: u64,
    dns_malformed: u64,
}

impl Default for Attributor {
    fn default() -> Self {
        Self::new(Clock::measure(), Box::new(Procfs::default()), Users::default())
    }
}

impl Attributor {
    /// A stage that asks these about the host. [`Attributor::default`] asks the host itself.
    #[must_use]
    pub fn new(clock: Clock, source: Box<dyn ProcessSource>, users: Users) -> Self {
        Self {
            clock,
            identifiers: Identifiers::new(),
            processes: ProcessTable::new(source, users),
            segments: Segments::default(),
            relief: ReliefTable::default(),
            relief_ending: VecDeque::new(),
            held: VecDeque::new(),
            nobody: Arc::new(Workload {
                id: String::new(),
                instance: String::new(),
                kind: WorkloadKind::Server,
                name: "unassigned".into(),
                ..Workload::default()
            }),
            unassigned: 0,
            dns_malformed: 0,
        }
    }

    /// The event of a record; `None` for what only feeds the tables, and for what is held.
    pub fn attribute(&mut self, record: Record) -> Option<Event> {
        let event = self.resolve(record)?;
        self.place(event)
    }

    /// The event of a record with its process, and with its workload if that is known; `None` for what only feeds the
    /// tables. To be given to [`Self::place`] once the inventory has seen it.
    pub fn resolve(&mut self, record: Record) -> Option<Event> {
        let now = BootNs(record.header.boot_ns);
        let key = record.process();
        let segment = record.segment();
        let relieved = record.header.flags & HEADER_RELIEVED != 0;
        let place = if relieved { relief::place_of(&record) } else { None };
        let header = record.header;
        let thread = record.thread();
        let (action, result, process) = self.action(record, key, now)?;
        let workload = self.segments.workload(segment).cloned();
        let event = Event {
            id: self.identifiers.next(self.clock.timestamp(now)),
            boot_ns: now,
            sequence: header.sequence,
            lane: header.lane,
            thread,
            segment,
            outcome: outcome(&action, result, header.flags),
            action,
            process,
            workload: workload.clone().unwrap_or_else(|| Arc::clone(&self.nobody)),
            count: u64::from(header.count.max(1)),
            mechanism: usize::try_from(header.mechanism)
                .ok()
                .and_then(|index| PROGRAMS.get(index))
                .map_or("unknown", |program| program.name),
            verdict: Verdict::Unjudged,
            decision: Decision::default(),
            rule: None,
        };
        if let Some(place) = place {
            self.relief.keep(key, place, &event);
        }
        Some(event)
    }

    /// The event with the workload of its segment; `None` for one that has none yet and is held, or never will.
    pub fn place(&mut self, mut event: Event) -> Option<Event> {
        if let Some(workload) = self.segments.workload(event.segment) {
            event.workload = Arc::clone(workload);
            return Some(event);
        }
        if !self.segments.is_dropped(event.segment) {
            self.hold(event);
        }
        None
    }

    /// `segment` is nothing of ours: what waited for it goes nowhere, and what still comes of it.
    pub fn drop_segment(&mut self, segment: SegmentId) {
        self.segments.drop(segment);
        self.held.retain(|event| event.segment != segment);
    }

    /// `segment` belongs to `workload` from now on: gives back the events that waited for it.
    pub fn assign(&mut self, segment: SegmentId, workload: Arc<Workload>) -> Vec<Event> {
        self.segments.assign(segment, workload);
        let mut released = Vec::new();
        for mut event in std::mem::take(&mut self.held) {
            if let Some(workload) = self.segments.workload(event.segment) {
                event.workload = Arc::clone(workload);
                released.push(event);
            } else {
                self.held.push_back(event);
            }
        }
        released
    }

    /// The workload that a segment belongs to.
    pub fn workload(&mut self, segment: SegmentId) -> Option<Arc<Workload>> {
        self.segments.workload(segment).cloned()
    }

    /// Forgets a segment that ended.
    pub fn forget_segment(&mut self, segment: SegmentId) {
        self.segments.forget(segment);
    }

    /// `count` occurrences of what `key` stands for, which the kernel counted instead of sending them, as one
    /// event; `None` if its first one is not known, which is counted.
    pub fn flush_relief(&mut self, key: &ReliefKey, count: u64, now: BootNs) -> Option<Event> {
        if count == 0 {
            return None;
        }
        let mut event = self.relief.template(key, count)?.clone();
        event.id = self.identifiers.next(self.clock.timestamp(now));
        event.boot_ns = now;
        event.count = count;
        self.place(event)
    }

    /// True when the first occurrence of what `key` stands for has come.
    #[must_use]
    pub fn knows_repeated(&self, key: &ReliefKey) -> bool {
        self.relief.has_template(key)
    }

    /// Gives up what waited too long. To be called about once a second.
    pub fn tick(&mut self, now: BootNs) {
        self.processes.expire(now);
        while let Some(first) = self.held.front()
            && now.0.saturating_sub(first.boot_ns.0) > HELD_NS
        {
            self.held.pop_front();
            self.unassigned += 1;
        }
        while let Some((ended, process)) = self.relief_ending.front().copied()
            && now.0.saturating_sub(ended.0) > RELIEF_KEPT_NS
        {
            self.relief_ending.pop_front();
            self.relief.forget(process);
        }
    }

    /// The process as events show it, for what user space labels itself.
    pub fn process(&mut self, key: ProcessKey, now: BootNs) -> Arc<Process> {
        self.processes.get(key, now)
    }

    /// An event of our own about a workload, such as a loss that is charged to it.
    pub fn note(&mut self, workload: Arc<Workload>, note: CoverageNote, now: BootNs) -> Event {
        Event {
            id: self.identifiers.next(self.clock.timestamp(now)),
            boot_ns: now,
            sequence: 0,
            lane: 0,
            count: note.count.max(1),
            action: Action::Coverage(note),
            thread: crate::event::ThreadId(0),
            segment: SegmentId(0),
            process: Arc::new(Process::default()),
            workload,
            outcome: Outcome::Ok,
            mechanism: "agent",
            verdict: Verdict::Unjudged,
            decision: Decision::default(),
            rule: None,
        }
    }

    /// Users of the host.
    pub fn users(&mut self) -> &mut Users {
        self.processes.users()
    }

    /// The clock that events are dated by.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// What could not be done.
    #[must_use]
    pub fn counts(&self) -> AttributionCounts {
        AttributionCounts {
            unassigned: self.unassigned,
            dns_malformed: self.dns_malformed,
            relief_unplaced: self.relief.unplaced(),
            relief_refused: self.relief.refused(),
            segments_refused: self.segments.refused(),
            processes: self.processes.counts(),
        }
    }

    /// What the record says happened, its result, and who did it. Feeds the tables.
    fn action(
        &mut self,
        record: Record,
        key: ProcessKey,
        now: BootNs,
    ) -> Option<(Action, i32, Arc<Process>)> {
        let (action, result) = match record.body {
            RecordBody::Segment(parent) => {
                self.segments.open(SegmentId(record.header.segment), parent);
                return None;
            }
            RecordBody::File(file) if record.kind == RecordKind::ExecStage => {
                self.processes.stage(key, crate::event::ThreadId(record.header.tid), file.object);
                return None;
            }
            RecordBody::Exec(exec) => {
                let bootstrap = record.header.flags & HEADER_BOOTSTRAP != 0;
                let (process, object) = self.processes.exec(key, *exec, bootstrap, now);
                return Some((Action::Exec(Box::new(object)), 0, process));
            }
            RecordBody::Exit(status) => {
                let process = self.processes.get(key, now);
                self.processes.exit(key, now);
                if self.relief.knows(key) {
                    self.relief_ending.push_back((now, key));
                }
                return Some((Action::Exit(status), 0, process));
            }
            RecordBody::Fork(child) => {
                self.processes.fork(key, child, now);
                (Action::Fork(child), 0)
            }
            RecordBody::File(file) => file_action(record.kind, file)?,
            RecordBody::Network(network) => network_action(record.kind, network)?,
            RecordBody::Dns(answer) => {
                let Some(answer) = dns::parse(answer.server, &answer.answer) else {
                    self.dns_malformed += 1;
                    return None;
                };
                (Action::Dns(answer), 0)
            }
            RecordBody::Snoop(snoop) => {
                let result = snoop.result;
                let process = self.processes.get(key, now);
                return Some((Action::Snoop(self.snoop(snoop, &process)), result, process));
            }
            RecordBody::Blind(what) => (
                Action::Coverage(CoverageNote { cause: "weaker-mechanism", what: what.to_owned(), count: 1 }),
                0,
            ),
        };
        Some((action, result, self.processes.get(key, now)))
    }

    /// Whose memory or registers: by host pid, by the number that the caller's pid namespace uses, or unknown.
    fn snoop(&self, snoop: SnoopRecord, process: &Process) -> SnoopObject {
        let mut object = snoop.object;
        let elsewhere = !matches!(process.pid_namespace, 0 | FIRST_PID_NAMESPACE);
        if snoop.namespace_pid && elsewhere {
            let target = self.processes.by_namespace_pid(process.pid_namespace, object.target.0);
            object.target = target.map_or(ProcessId(0), |target| target.key.pid);
            object.target_start = target.map(|target| target.key.start);
            object.target_executable = target.map(|target| target.executable.clone());
            return object;
        }
        let known = self.processes.by_pid(object.target);
        let known = known.filter(|known| object.target_start.is_none_or(|start| start == known.key.start));
        if let Some(known) = known {
            object.target_start = Some(known.key.start);
            object.target_executable = Some(known.executable.clone());
        } else if let Some(stranger) = self.processes.stranger(object.target, object.target_start) {
            object.target_executable = Some(stranger.executable);
        }
        object
    }

    fn hold(&mut self, event: Event) {
        if self.held.len() >= HELD_MAX {
            self.held.pop_front();
            self.unassigned += 1;
        }
        self.held.push_back(event);
    }
}

#[cfg(test)]
#[path = "attribute_tests.rs"]
mod tests;
