//! What waits for the writer: bounded by number and bytes, filled without waiting, counted where it overflows.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc::SyncSender},
    time::Duration,
};

use super::{Act, ActReceipt, Actor, StoreError, writer::Seam};
use crate::event::{Action, Event, Finding};

/// Events that wait at most: more than a second of what the store must keep up with.
pub(super) const EVENTS_MAX: usize = 32 * 1024;
/// Bytes that they take at most, about.
pub(super) const BYTES_MAX: usize = 32 << 20;
/// Findings that wait at most: as many as the ledger holds.
pub(super) const FINDINGS_MAX: usize = crate::finding::ledger::FINDINGS_MAX;
/// Orders that wait at most.
pub(super) const ORDERS_MAX: usize = 1024;
/// The writer is woken when so many events wait; before that it comes by itself.
const WAKE_AT: usize = 1024;

/// Something other than an event, done in its turn and answered.
pub(super) enum Order {
    /// An operator's act.
    Act(Actor, Act, SyncSender<Result<ActReceipt, StoreError>>),
    /// How far a sink has come.
    Cursor { sink: String, stream: String, position: u64, answer: SyncSender<Result<(), StoreError>> },
    /// Write everything that came before.
    Flush(SyncSender<Result<(), StoreError>>),
    /// Write everything that came before, and say where it ends; `waiting`: with the repeats that are no rows yet.
    Seam { waiting: bool, answer: SyncSender<Result<Seam, StoreError>> },
}

/// What the writer takes at one time.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) events: Vec<Event>,
    pub(super) findings: HashMap<String, Finding>,
    pub(super) orders: VecDeque<Order>,
    /// Events that were ever offered, those that did not fit too.
    pub(super) offered: u64,
    pub(super) closing: bool,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<(Event, usize)>,
    bytes: usize,
    findings: HashMap<String, Finding>,
    orders: VecDeque<Order>,
    closing: bool,
    closed: bool,
    given: u64,
    overflow: u64,
    findings_overflow: u64,
}

/// What is known of a queue from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) events: usize,
    pub(super) bytes: usize,
    /// Events taken in since the start.
    pub(super) given: u64,
    pub(super) overflow: u64,
    pub(super) findings_overflow: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

impl Queue {
    /// The data is whole after each statement, so a panic elsewhere spoils nothing.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the event in, or counts it.
    pub(super) fn event(&self, event: Event) {
        let bytes = weight(&event);
        let mut waiting = self.lock();
        if waiting.closed || waiting.events.len() >= EVENTS_MAX || waiting.bytes + bytes > BYTES_MAX {
            waiting.overflow += 1;
            return;
        }
        waiting.given += 1;
        waiting.bytes += bytes;
        waiting.events.push_back((event, bytes));
        if waiting.events.len() == WAKE_AT {
            self.wake.notify_one();
        }
    }

    /// Takes the finding in, in place of what waits of the same finding.
    pub(super) fn finding(&self, finding: &Finding) {
        let mut waiting = self.lock();
        if let Some(known) = waiting.findings.get_mut(&finding.id) {
            known.count = finding.count;
            known.last_seen = finding.last_seen;
            if known.events.len() != finding.events.len() {
                known.events.clone_from(&finding.events);
            }
            return;
        }
        if waiting.closed || waiting.findings.len() >= FINDINGS_MAX {
            waiting.findings_overflow += 1;
            return;
        }
        waiting.findings.insert(finding.id.clone(), finding.clone());
        if finding.count <= 1 {
            self.wake.notify_one();
        }
    }

    /// `Err` gives the order back when there are too many.
    pub(super) fn order(&self, order: Order) -> Result<(), StoreError> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(StoreError::NoAnswer("it has ended"));
        }
        if waiting.orders.len() >= ORDERS_MAX {
            return Err(StoreError::NoAnswer("too many orders wait. Try again"));
        }
        waiting.orders.push_back(order);
        self.wake.notify_one();
        Ok(())
    }

    /// Lets the writer end once everything is written.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
    }

    /// Takes nothing in any more.
    pub(super) fn shut(&self) {
        self.lock().closed = true;
    }

    /// Waits for work, for `timeout` at most, and takes up to `events_max` events, or all of them before a flush.
    pub(super) fn take(&self, timeout: Duration, events_max: usize) -> Taken {
        let waiting = self.lock();
        let idle = |waiting: &mut Waiting| {
            waiting.events.len() < WAKE_AT
                && waiting.findings.is_empty()
                && waiting.orders.is_empty()
                && !waiting.closing
        };
        let (mut waiting, _) =
            self.wake.wait_timeout_while(waiting, timeout, idle).unwrap_or_else(PoisonError::into_inner);
        // What waits for a flush waits for all that came before it.
        let flush = waiting.orders.iter().any(|order| matches!(order, Order::Flush(_) | Order::Seam { .. }));
        let count = if flush { waiting.events.len() } else { waiting.events.len().min(events_max) };
        let events: Vec<(Event, usize)> = waiting.events.drain(..count).collect();
        waiting.bytes -= events.iter().map(|(_, bytes)| bytes).sum::<usize>();
        Taken {
            events: events.into_iter().map(|(event, _)| event).collect(),
            findings: mem::take(&mut waiting.findings),
            orders: mem::take(&mut waiting.orders),
            offered: waiting.given + waiting.overflow,
            // Ends only when nothing is left behind.
            closing: waiting.closing && waiting.events.is_empty(),
        }
    }

    pub(super) fn level(&self) -> Level {
        let waiting = self.lock();
        Level {
            events: waiting.events.len(),
            bytes: waiting.bytes,
            given: waiting.given,
            overflow: waiting.overflow,
            findings_overflow: waiting.findings_overflow,
        }
    }
}

/// About how many bytes an event takes; processes and workloads are shared.
fn weight(event: &Event) -> usize {
    let object = match &event.action {
        Action::Exec(exec) => {
            exec.arguments.iter().map(|argument| argument.as_slice().len() + 16).sum::<usize>()
                + exec.executable.path.bytes.as_slice().len()
                + exec.working_directory.bytes.as_slice().len()
        }
        Action::Coverage(note) => note.what.len(),
        Action::Dns(dns) => dns.addresses.len() * 24,
        action => action.file().map_or(0, |file| {
            file.path.bytes.as_slice().len()
                + file.target.as_ref().map_or(0, |target| target.bytes.as_slice().len())
        }),
    };
    size_of::<Event>() + event.id.len() + event.decision.source.len() + event.decision.reason.len() + object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    #[test]
    fn what_does_not_fit_is_counted_and_nobody_waits() {
        let queue = Queue::default();
        for _ in 0..EVENTS_MAX + 5 {
            queue.event(sample::open(b"/x"));
        }
        let level = queue.level();
        assert_eq!((level.events, level.given, level.overflow), (EVENTS_MAX, EVENTS_MAX as u64, 5));
        while !queue.take(Duration::ZERO, 4096).events.is_empty() {}
        assert_eq!(queue.level().bytes, 0);
    }

    #[test]
    fn long_names_fill_it_by_their_bytes() {
        let queue = Queue::default();
        let name = vec![b'x'; 1 << 20];
        for _ in 0..64 {
            queue.event(sample::open(&name));
        }
        let level = queue.level();
        assert!(level.bytes <= BYTES_MAX && level.overflow > 30, "{level:?}");
    }

    #[test]
    fn a_finding_that_waits_is_counted_up() {
        let queue = Queue::default();
        let mut finding = sample::findings().remove(0);
        for count in 1..=1000 {
            finding.count = count;
            queue.finding(&finding);
        }
        let taken = queue.take(Duration::ZERO, 1);
        assert_eq!(taken.findings.len(), 1);
        assert_eq!(taken.findings[&finding.id].count, 1000);
    }
}
