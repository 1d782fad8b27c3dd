//! What the control thread knows: the latest events, findings, and each instance in numbers. Everything is bounded.

mod instance;

use super::{
    api::{
        ControlStatus, Coverage, CoverageRow, LossCount, SeverityCounts, Status, VerdictCounts, WorkloadRow,
        Workloads,
    },
    metrics::Metrics,
    peer::Access,
    publish::{Message, Pulse},
};
use crate::{
    event::{Action, Event, Finding, FindingState, Severity, Verdict},
    render::{Origin, json, read},
};
use indexmap::IndexMap;
use instance::{Instance, Rate};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::Ordering},
    time::Instant,
};
use tokio::sync::{broadcast, mpsc};

/// Events that are held, for monitors that record nothing and for what the store cannot take.
pub const EVENTS_MAX: usize = 8 * 1024;
/// Findings that are held.
const FINDINGS_MAX: usize = 16 * 1024;
/// Instances that are held.
const INSTANCES_MAX: usize = 2048;
/// Lines that a follower may be behind.
const FOLLOW_MAX: usize = 4096;

/// A line with what decides who may see it.
#[derive(Debug)]
pub(super) struct Published {
    /// With its line feed.
    pub(super) line: String,
    pub(super) uid: Option<u32>,
    pub(super) finding: bool,
    /// Of an event.
    pub(super) number: u64,
    parsed: OnceLock<Option<read::Line>>,
}

impl Published {
    fn new(line: &[u8], uid: Option<u32>, number: Option<u64>) -> Self {
        // What the writer makes is UTF-8.
        let line = String::from_utf8_lossy(line).into_owned();
        Self { line, uid, finding: number.is_none(), number: number.unwrap_or(0), parsed: OnceLock::new() }
    }

    /// As a reader sees it; parsed once for all followers.
    pub(super) fn read(&self) -> Option<&read::Line> {
        self.parsed.get_or_init(|| read::Line::parse(&self.line).ok()).as_ref()
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Hub {
    state: Mutex<State>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) metrics: Metrics,
    started: Timestamp,
    socket: String,
    pub(super) connections: std::sync::atomic::AtomicU64,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) origin: Origin,
    events: VecDeque<Arc<Event>>,
    findings: IndexMap<String, Finding>,
    instances: IndexMap<String, Instance>,
    forgotten: u64,
    totals: VerdictCounts,
    severities: SeverityCounts,
    losses: BTreeMap<String, u64>,
    rate: Rate,
    coverage_more: u64,
    followers: broadcast::Sender<Arc<Published>>,
    turns: (u64, Instant),
    through: u64,
}

impl Hub {
    pub(super) fn new(pulse: Arc<Pulse>, origin: Origin, socket: String) -> Self {
        let state = State {
            origin,
            events: VecDeque::new(),
            findings: IndexMap::new(),
            instances: IndexMap::new(),
            forgotten: 0,
            totals: VerdictCounts::default(),
            severities: SeverityCounts::default(),
            losses: BTreeMap::new(),
            rate: Rate::default(),
            coverage_more: 0,
            followers: broadcast::channel(FOLLOW_MAX).0,
            turns: (0, Instant::now()),
            through: 0,
        };
        let metrics = Metrics::new();
        Self {
            state: Mutex::new(state),
            pulse,
            metrics,
            started: Timestamp::now(),
            socket,
            connections: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// Takes in messages until the pipeline ends.
    pub(super) async fn run(self: Arc<Self>, mut messages: mpsc::Receiver<Message>) {
        let mut batch = Vec::new();
        loop {
            if messages.recv_many(&mut batch, 512).await == 0 {
                break;
            }
            self.pulse.waiting.store(messages.len() as u64, Ordering::Relaxed);
            {
                let mut state = self.lock();
                for message in batch.drain(..) {
                    state.take(message, &self.metrics);
                }
            }
            // Requests get their turn in a flood.
            tokio::task::yield_now().await;
        }
        self.pulse.stopped.store(true, Ordering::Relaxed);
    }

    /// What is known. Never held across a wait.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Numbers are whole after each message; a panic in between leaves at worst one message half counted.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True while the pipeline turns.
    pub(super) fn is_alive(&self) -> bool {
        let turns = self.pulse.turns.load(Ordering::Relaxed);
        let mut state = self.lock();
        if turns != state.turns.0 {
            state.turns = (turns, Instant::now());
        }
        !self.pulse.stopped.load(Ordering::Relaxed)
            && self.pulse.ready.load(Ordering::Relaxed)
            && state.turns.1.elapsed().as_secs() < 10
    }

    /// True once everything is attached.
    pub(super) fn is_ready(&self) -> bool {
        self.pulse.ready.load(Ordering::Relaxed)
    }

    /// How the monitor is, for somebody who may see `access`.
    pub(super) fn status(&self, access: Access) -> Status {
        let alive = self.is_alive();
        let state = self.lock();
        let mut status = Status {
            schema: "mcp-monitor/status/v1".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            host: crate::event::escape(state.origin.host_name.as_bytes()),
            tier: state.origin.tier.name().into(),
            started: self.started.to_string(),
            uptime_s: Timestamp::now().duration_since(self.started).as_secs().unsigned_abs(),
            alive,
            ready: self.is_ready(),
            sandbox: self.pulse.sandbox.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            control: ControlStatus {
                socket: self.socket.clone(),
                connections: self.connections.load(Ordering::Relaxed),
                followers: state.followers.receiver_count() as u64,
                queue: self.pulse.waiting.load(Ordering::Relaxed),
                queue_dropped: self.pulse.dropped.load(Ordering::Relaxed),
                held: state.events.len() as u64,
                recorded: self.pulse.store.get().is_some(),
            },
            ..Status::default()
        };
        for finding in state.findings.values().filter(|of| access.sees(Some(of.process.uid))) {
            *match finding.state {
                FindingState::Open => &mut status.finding_states.open,
                FindingState::Acknowledged => &mut status.finding_states.acknowledged,
                FindingState::Suppressed => &mut status.finding_states.suppressed,
                FindingState::Closed => &mut status.finding_states.closed,
            } += 1;
        }
        for instance in state.instances.values().filter(|instance| access.sees(instance.uid)) {
            status.instances += 1;
            status.instances_running += u64::from(instance.is_running());
            status.processes += instance.processes();
            if !access.sees_all() {
                add(&mut status.events, instance.events);
                add_severities(&mut status.findings, instance.findings);
                status.events_per_second += instance.rate.per_second();
            }
        }
        if access.sees_all() {
            status.events = state.totals;
            status.findings = state.severities;
            status.events_per_second = state.rate.per_second();
            status.losses = state
                .losses
                .iter()
                .map(|(cause, count)| LossCount { cause: cause.clone(), count: *count })
                .collect();
        } else {
            status.limited_to = Some(
                "your own processes; root and members of the group mcp-monitor see everything".to_owned(),
            );
        }
        status
    }

    /// Instances, the latest first.
    pub(super) fn workloads(&self, access: Access) -> Workloads {
        let state = self.lock();
        let mut workloads: Vec<WorkloadRow> = state
            .instances
            .values()
            .filter(|instance| access.sees(instance.uid))
            .map(|instance| instance.row(&state.origin))
            .collect();
        workloads.reverse();
        Workloads { schema: "mcp-monitor/workloads/v1".into(), workloads, forgotten: state.forgotten }
    }

    /// What could not be seen.
    pub(super) fn coverage(&self, access: Access) -> Coverage {
        let state = self.lock();
        let rows = state
            .instances
            .values()
            .filter(|instance| access.sees(instance.uid))
            .flat_map(|instance| {
                instance.notes.iter().map(|((cause, what), count)| CoverageRow {
                    workload: crate::event::escape(instance.workload.name.as_bytes()),
                    instance: instance.workload.instance.clone(),
                    cause: (*cause).to_owned(),
                    what: crate::event::escape(what.as_bytes()),
                    count: *count,
                })
            })
            .collect();
        Coverage {
            schema: "mcp-monitor/coverage/v1".into(),
            tier: state.origin.tier.name().into(),
            rows,
            more: state.coverage_more,
        }
    }

    /// Marks an instance as frozen or let go.
    pub(super) fn set_paused(&self, instance: &str, paused: bool) {
        if let Some(of) = self.lock().instances.get_mut(instance) {
            of.paused = paused;
        }
    }
}

/// An event as its line, without its end.
pub(super) fn line(event: &Event, origin: &Origin) -> String {
    written(|line| json::event(line, origin, event))
}

/// A finding as its line, without its end.
pub(super) fn finding_line(finding: &Finding, origin: &Origin) -> String {
    written(|line| json::finding(line, origin, finding))
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut line = Vec::with_capacity(2048);
    write(&mut line);
    line.pop();
    // What the writer makes is UTF-8.
    String::from_utf8_lossy(&line).into_owned()
}

impl State {
    /// The number of the last event.
    pub(super) fn through(&self) -> u64 {
        self.through
    }

    /// The latest events and the followers' end, with nothing between the two.
    pub(super) fn events(&self) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Published>>) {
        (self.events.iter().cloned().collect(), self.followers.subscribe())
    }

    /// The findings and the followers' end, with nothing between the two.
    pub(super) fn findings(&self) -> (Vec<Finding>, broadcast::Receiver<Arc<Published>>) {
        (self.findings.values().cloned().collect(), self.followers.subscribe())
    }

    /// Gives the findings that `concerns` means a state.
    pub(super) fn settle(&mut self, state: FindingState, concerns: impl Fn(&Finding) -> bool) {
        for finding in self.findings.values_mut().filter(|finding| concerns(finding)) {
            finding.state = state;
        }
    }

    /// Whose an instance is.
    pub(super) fn uid_of(&self, instance: &str) -> Option<u32> {
        self.instances.get(instance).and_then(|instance| instance.uid)
    }

    fn take(&mut self, message: Message, metrics: &Metrics) {
        match message {
            Message::Event(number, event) => self.event(number, *event, metrics),
            Message::Finding(finding) => self.finding(*finding, metrics),
            Message::Blind(workload, cause, what) => {
                let more = self.instance(&workload, None).is_some_and(|of| !of.note(cause, what, 0));
                self.coverage_more += u64::from(more);
            }
            Message::Living(mut living) => {
                for (instance, of) in &mut self.instances {
                    of.set_alive(living.remove(instance).unwrap_or_default());
                }
            }
            Message::Origin(origin) => self.origin = *origin,
        }
    }

    fn event(&mut self, number: u64, event: Event, metrics: &Metrics) {
        self.through = self.through.max(number);
        let count = event.count.max(1);
        if let Action::Coverage(note) = &event.action {
            let what = note.what.clone();
            let is_loss =
                mcp_monitor_common::loss::LossCause::ALL.into_iter().any(|cause| cause.name() == note.cause);
            if is_loss {
                *self.losses.entry(note.cause.to_owned()).or_default() += note.count;
            }
            let (cause, count) = (note.cause, note.count);
            let mut more = false;
            if let Some(of) = self.instance(&event.workload, None) {
                more = !of.note(cause, what, count);
                of.lost += if is_loss { count } else { 0 };
            }
            self.coverage_more += u64::from(more);
        } else {
            add_verdict(&mut self.totals, event.verdict, count);
            self.rate.add(event.boot_ns, count);
            metrics.event(&event, count);
            if let Some(of) = self.instance(&event.workload, Some(event.process.uid)) {
                of.event(&event, count);
            }
        }
        if self.followers.receiver_count() > 0 {
            let mut line = Vec::with_capacity(2048);
            json::event(&mut line, &self.origin, &event);
            // A note is by the agent and not by a process: it is the owner's of the instance.
            let uid = match event.action {
                Action::Coverage(_) => self.uid_of(&event.workload.instance),
                _ => Some(event.process.uid),
            };
            // Nobody may have stayed.
            let _ = self.followers.send(Arc::new(Published::new(&line, uid, Some(number))));
        }
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(Arc::new(event));
    }

    fn finding(&mut self, mut finding: Finding, metrics: &Metrics) {
        let known = self.findings.get(&finding.id);
        let is_new = known.is_none();
        if let Some(known) = known
            && known.state == FindingState::Acknowledged
            && finding.state == FindingState::Open
        {
            // Somebody still looks after it.
            finding.state = known.state;
        }
        if is_new {
            add_severity(&mut self.severities, finding.severity);
            metrics.finding(&finding);
            let uid = finding.process.uid;
            if let Some(of) = self.instance(&finding.workload, Some(uid)) {
                add_severity(&mut of.findings, finding.severity);
            }
            if self.findings.len() == FINDINGS_MAX {
                self.findings.shift_remove_index(0);
            }
        }
        if self.followers.receiver_count() > 0 {
            let mut line = Vec::with_capacity(2048);
            json::finding(&mut line, &self.origin, &finding);
            // Nobody may have stayed.
            let _ = self.followers.send(Arc::new(Published::new(&line, Some(finding.process.uid), None)));
        }
        self.findings.insert(finding.id.clone(), finding);
    }

    /// The instance of `workload`, made when it is new. When there are too many, one that does not run goes.
    fn instance(
        &mut self,
        workload: &Arc<crate::event::Workload>,
        uid: Option<u32>,
    ) -> Option<&mut Instance> {
        let id = &workload.instance;
        if !self.instances.contains_key(id) {
            if self.instances.len() >= INSTANCES_MAX {
                let ended = self.instances.values().position(|instance| !instance.is_running()).unwrap_or(0);
                self.instances.shift_remove_index(ended);
                self.forgotten += 1;
            }
            self.instances.insert(id.clone(), Instance::new(Arc::clone(workload)));
        }
        let instance = self.instances.get_mut(id)?;
        instance.uid = instance.uid.or(uid);
        Some(instance)
    }
}

fn add_verdict(counts: &mut VerdictCounts, verdict: Verdict, count: u64) {
    let place = match verdict {
        Verdict::Expected => &mut counts.expected,
        Verdict::Unexpected => &mut counts.unexpected,
        Verdict::Forbidden => &mut counts.forbidden,
        Verdict::Unjudged => &mut counts.unjudged,
    };
    *place = place.saturating_add(count);
}

fn add_severity(counts: &mut SeverityCounts, severity: Severity) {
    *match severity {
        Severity::Low => &mut counts.low,
        Severity::Medium => &mut counts.medium,
        Severity::High => &mut counts.high,
        Severity::Critical => &mut counts.critical,
    } += 1;
}

fn add(to: &mut VerdictCounts, from: VerdictCounts) {
    to.expected += from.expected;
    to.unexpected += from.unexpected;
    to.forbidden += from.forbidden;
    to.unjudged += from.unjudged;
}

fn add_severities(to: &mut SeverityCounts, from: SeverityCounts) {
    to.low += from.low;
    to.medium += from.medium;
    to.high += from.high;
    to.critical += from.critical;
}
