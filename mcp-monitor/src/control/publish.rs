//! The pipeline's end: what happens is handed to the control thread and forgotten.
//!
//! Nothing here blocks or waits: a full queue drops and counts. The stream of `run` and the store have their own ways.

use super::{
    metrics::{KernelHealth, Readings},
    query_log::QueryLog,
};
use crate::{
    event::{Event, Finding, ProcessId, Workload},
    export::delivery::Board,
    inventory::live::Snapshot,
    render::Origin,
    service::sandbox,
    store::Writer,
};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;

/// Messages that wait for the control thread.
pub const QUEUE_MAX: usize = 16 * 1024;

/// What the control thread is told.
#[derive(Debug)]
pub(super) enum Message {
    /// With its number: events are counted from the start, as the store counts those that it is offered.
    Event(u64, Box<Event>),
    Finding(Box<Finding>),
    /// Something that cannot be seen of a workload: cause, what, count.
    Blind(Arc<Workload>, &'static str, String),
    /// Living processes by instance.
    Living(HashMap<String, HashSet<u32>>),
    Origin(Box<Origin>),
}

/// How far the secrets that are published to the kernel lag behind what lies on the disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// Times that a change was seen and looked at.
    pub repairs: u64,
    /// From the first change to its publication, the longest so far.
    pub longest: Duration,
    /// Directories whose changes only the scans find.
    pub unwatched: u64,
}

/// Counters that both sides look at.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    pub(super) dropped: AtomicU64,
    /// Messages that wait.
    pub(super) waiting: AtomicU64,
    /// Changes with each turn of the pipeline.
    pub(super) turns: AtomicU64,
    /// The inventory as last told; the queue is for what happens.
    pub(super) inventory: Mutex<Arc<Snapshot>>,
    /// How far the published secrets lag.
    pub(super) freshness: Mutex<Freshness>,
    pub(super) ready: AtomicBool,
    /// What was given away once everything was attached.
    pub(super) sandbox: Mutex<sandbox::Report>,
    pub(super) stopped: AtomicBool,
    /// Somebody serves metrics, so that measuring is worth its cost.
    pub(super) measured: AtomicBool,
    readings: Mutex<Readings>,
    /// Events that were told.
    told: AtomicU64,
    /// Where what is older than what is held can be asked for.
    pub(super) store: OnceLock<Writer>,
    pub(super) asked: QueryLog,
}

impl Pulse {
    /// What others count, as it stands.
    pub(super) fn readings(&self) -> Readings {
        Readings { store: self.store.get().cloned(), ..self.lock().clone() }
    }

    /// Counts a loss of the whole host or of a workload, once.
    pub(super) fn lost(&self, cause: &'static str, mechanism: &str, count: u64) {
        *self.lock().lost.entry((cause, mechanism.to_owned())).or_default() += count;
    }

    /// Counts a reload.
    pub(super) fn reloaded(&self, what: &'static str, taken: bool) {
        let result = if taken { "taken" } else { "refused" };
        *self.lock().reloads.entry((what, result)).or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Readings> {
        // Numbers are whole after each change.
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pipeline's end of the control socket.
#[derive(Clone, Debug)]
pub struct Publisher {
    queue: mpsc::Sender<Message>,
    pulse: Arc<Pulse>,
}

impl Publisher {
    pub(super) fn new(pulse: Arc<Pulse>) -> (Self, mpsc::Receiver<Message>) {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        (Self { queue, pulse }, messages)
    }

    /// A publisher that nobody listens to.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(Arc::default()).0
    }

    /// One event, judged.
    pub fn event(&self, event: Event) {
        let number = self.pulse.told.fetch_add(1, Ordering::Relaxed) + 1;
        self.send(Message::Event(number, Box::new(event)));
    }

    /// One finding, new or repeated.
    pub fn finding(&self, finding: &Finding) {
        self.send(Message::Finding(Box::new(finding.clone())));
    }

    /// Something that cannot be seen of `workload`.
    pub fn blind(&self, workload: &Arc<Workload>, cause: &'static str, what: String) {
        self.send(Message::Blind(Arc::clone(workload), cause, what));
    }

    /// What is told is recorded by `store`, each event once and in the same order: questions are answered from there.
    pub fn recorded_by(&self, store: Writer) {
        // Said once, at the start.
        let _ = self.pulse.store.set(store);
    }

    /// The store is about to be closed.
    pub fn ending(&self) {
        if let Some(store) = self.pulse.store.get() {
            self.pulse.asked.sweep(store, true);
        }
    }

    /// The clocks and the tier, at the start and when they change.
    pub fn origin(&self, origin: &Origin) {
        self.send(Message::Origin(Box::new(origin.clone())));
    }

    /// The processes that live, each with its instance.
    pub fn living(&self, processes: impl Iterator<Item = (String, ProcessId)>) {
        let mut living: HashMap<String, HashSet<u32>> = HashMap::new();
        for (instance, pid) in processes {
            living.entry(instance).or_default().insert(pid.0);
        }
        self.send(Message::Living(living));
    }

    /// The workloads as the inventory knows them.
    pub fn inventory(&self, snapshot: Arc<Snapshot>) {
        *self.pulse.inventory.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    /// What this process has given away.
    pub fn sandbox(&self, report: sandbox::Report) {
        *self.pulse.sandbox.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }

    /// The sinks, for metrics.
    pub fn sinks(&self, board: Board) {
        self.pulse.lock().sinks = Some(board);
    }

    /// What the kernel counts, measured only when somebody will ask.
    pub fn kernel(&self, measure: impl FnOnce() -> KernelHealth) {
        if self.pulse.measured.load(Ordering::Relaxed) {
            let measured = measure();
            self.pulse.lock().kernel = measured;
        }
    }

    /// Records that were lost, told once whoever is charged with them.
    pub fn lost(&self, cause: &'static str, mechanism: &str, count: u64) {
        self.pulse.lost(cause, mechanism, count);
    }

    /// Records that were lost since the start, of every cause.
    #[must_use]
    pub fn lost_in_all(&self) -> u64 {
        self.pulse.lock().lost.values().sum()
    }

    /// A changed file was taken, or refused for a mistake in it.
    pub fn reloaded(&self, what: &'static str, taken: bool) {
        self.pulse.reloaded(what, taken);
    }

    /// Grows while the pipeline turns; `None` before it is ready and after its end.
    #[must_use]
    pub fn turns(&self) -> Option<u64> {
        let Pulse { turns, ready, .. } = &*self.pulse;
        ready.load(Ordering::Relaxed).then(|| turns.load(Ordering::Relaxed))
    }

    /// Everything is attached.
    pub fn ready(&self) {
        self.pulse.ready.store(true, Ordering::Relaxed);
    }

    /// The pipeline has turned once more.
    pub fn turn(&self) {
        self.pulse.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// How far the published secrets lag.
    pub fn freshness(&self, freshness: Freshness) {
        *self.pulse.freshness.lock().unwrap_or_else(PoisonError::into_inner) = freshness;
    }

    fn send(&self, message: Message) {
        if self.queue.try_send(message).is_err() {
            self.pulse.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
