//! One instance in numbers.

use super::{
    super::api::{DestinationRow, SeverityCounts, VerdictCounts, WorkloadRow},
    add_verdict,
};
use crate::{
    event::{
        Action, BootNs, Endpoint, Event, NetworkObject, Transport, Verdict, Workload, WorkloadKind, escape,
    },
    render::Origin,
};
use indexmap::IndexMap;
use std::{collections::HashSet, sync::Arc};

/// Places that are kept apart.
const DESTINATIONS_MAX: usize = 256;
/// Places that are told of each instance.
const DESTINATIONS_TOLD: usize = 32;
/// Things not seen that are kept apart.
const NOTES_MAX: usize = 128;
/// Living processes that are kept apart.
const PROCESSES_MAX: usize = 16 * 1024;
/// Seconds that a rate looks back.
const RATE_SECONDS: usize = 10;

/// Events in the last seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    counts: [u64; RATE_SECONDS],
    latest: u64,
}

impl Rate {
    /// Counts what happened at `when`.
    pub(super) fn add(&mut self, when: BootNs, count: u64) {
        let second = when.0 / 1_000_000_000;
        self.turn(second);
        if self.latest.saturating_sub(second) < RATE_SECONDS as u64 {
            self.counts[usize::try_from(second % RATE_SECONDS as u64).unwrap_or(0)] += count;
        }
    }

    /// For each second.
    pub(super) fn per_second(&self) -> f64 {
        let mut now = self.clone();
        now.turn(Origin::now().0 / 1_000_000_000);
        // Ten seconds: the sum is a number of tenths.
        let tenths = u32::try_from(now.counts.iter().sum::<u64>()).unwrap_or(u32::MAX);
        f64::from(tenths) / 10.0
    }

    fn turn(&mut self, second: u64) {
        let ahead = second.saturating_sub(self.latest).min(RATE_SECONDS as u64);
        for step in 0..ahead {
            self.counts[usize::try_from((second - step) % RATE_SECONDS as u64).unwrap_or(0)] = 0;
        }
        self.latest = self.latest.max(second);
    }
}

/// A place that it talked to.
#[derive(Clone, Debug)]
struct Destination {
    worst: Verdict,
    count: u64,
    sent: u64,
    received: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) workload: Arc<Workload>,
    /// Of its first process.
    pub(super) uid: Option<u32>,
    user: Option<String>,
    container: Option<String>,
    first: Option<BootNs>,
    last: BootNs,
    pub(super) events: VerdictCounts,
    pub(super) findings: SeverityCounts,
    pub(super) lost: u64,
    pub(super) rate: Rate,
    pub(super) paused: bool,
    alive: HashSet<u32>,
    destinations: IndexMap<String, Destination>,
    /// Cause and what, with how many.
    pub(super) notes: IndexMap<(&'static str, String), u64>,
}

impl Instance {
    pub(super) fn new(workload: Arc<Workload>) -> Self {
        Self {
            workload,
            uid: None,
            user: None,
            container: None,
            first: None,
            last: BootNs(0),
            events: VerdictCounts::default(),
            findings: SeverityCounts::default(),
            lost: 0,
            rate: Rate::default(),
            paused: false,
            alive: HashSet::new(),
            destinations: IndexMap::new(),
            notes: IndexMap::new(),
        }
    }

    /// True while it has living processes.
    pub(super) fn is_running(&self) -> bool {
        !self.alive.is_empty()
    }

    /// Replaces what events told of living processes by what labels tell.
    pub(super) fn set_alive(&mut self, alive: HashSet<u32>) {
        self.alive = alive;
    }

    /// Living processes.
    pub(super) fn processes(&self) -> u64 {
        self.alive.len() as u64
    }

    /// Takes in something that could not be seen. `false` when there are too many different ones.
    pub(super) fn note(&mut self, cause: &'static str, what: String, count: u64) -> bool {
        if self.notes.len() >= NOTES_MAX && !self.notes.contains_key(&(cause, what.clone())) {
            return false;
        }
        *self.notes.entry((cause, what)).or_default() += count;
        true
    }

    /// Takes in an event.
    pub(super) fn event(&mut self, event: &Event, count: u64) {
        self.first.get_or_insert(event.boot_ns);
        self.last = self.last.max(event.boot_ns);
        if self.user.is_none() {
            self.user.clone_from(&event.process.user);
            self.container.clone_from(&event.process.container);
        }
        add_verdict(&mut self.events, event.verdict, count);
        self.rate.add(event.boot_ns, count);
        let own = event.process.key.pid.0;
        match &event.action {
            Action::Exit(_) => {
                self.alive.remove(&own);
            }
            Action::Fork(child) => self.live(child.pid.0),
            _ => self.live(own),
        }
        if let Some(network) = event.action.network()
            && let Some(destination) = destination(network)
        {
            self.destination(destination, event, network, count);
        }
    }

    fn live(&mut self, process: u32) {
        if self.alive.len() < PROCESSES_MAX {
            self.alive.insert(process);
        }
    }

    fn destination(&mut self, name: String, event: &Event, network: &NetworkObject, count: u64) {
        if self.destinations.len() >= DESTINATIONS_MAX && !self.destinations.contains_key(&name) {
            return;
        }
        let of = self.destinations.entry(name).or_insert(Destination {
            worst: event.verdict,
            count: 0,
            sent: 0,
            received: 0,
        });
        let rank = |verdict| match verdict {
            Verdict::Unjudged => 0,
            Verdict::Expected => 1,
            Verdict::Unexpected => 2,
            Verdict::Forbidden => 3,
        };
        if rank(event.verdict) > rank(of.worst) {
            of.worst = event.verdict;
        }
        of.count = of.count.saturating_add(count);
        of.sent = of.sent.saturating_add(network.bytes_sent.unwrap_or(0));
        of.received = of.received.saturating_add(network.bytes_received.unwrap_or(0));
    }

    /// As the API tells it.
    pub(super) fn row(&self, origin: &Origin) -> WorkloadRow {
        let mut destinations: Vec<_> = self.destinations.iter().collect();
        destinations.sort_by_key(|(_, of)| std::cmp::Reverse(of.count));
        let text = |text: &String| escape(text.as_bytes());
        WorkloadRow {
            id: text(&self.workload.id),
            instance: text(&self.workload.instance),
            name: text(&self.workload.name),
            kind: match self.workload.kind {
                WorkloadKind::Server => "server".into(),
                WorkloadKind::Agent => "agent".into(),
            },
            client: self.workload.client.as_ref().map(text),
            parent: self.workload.parent.as_ref().map(text),
            uid: self.uid,
            user: self.user.as_ref().map(text),
            container: self.container.as_ref().map(text),
            running: self.is_running(),
            paused: self.paused,
            processes: self.processes(),
            first_seen: self.first.map(|first| origin.time(first).to_string()).unwrap_or_default(),
            last_seen: self.first.map(|_| origin.time(self.last).to_string()).unwrap_or_default(),
            events: self.events,
            events_per_second: self.rate.per_second(),
            findings: self.findings,
            lost: self.lost,
            not_seen: self.notes.len() as u64,
            destinations: destinations
                .into_iter()
                .take(DESTINATIONS_TOLD)
                .map(|(name, of)| DestinationRow {
                    destination: name.clone(),
                    verdict: of.worst.name().into(),
                    count: of.count,
                    bytes_sent: of.sent,
                    bytes_received: of.received,
                })
                .collect(),
        }
    }
}

/// `NAME:PORT`, else `ADDRESS:PORT`, of what goes out over a network.
fn destination(network: &NetworkObject) -> Option<String> {
    let Endpoint::Internet(address, port) = &network.remote else { return None };
    let out = network.direction == crate::event::Direction::Out;
    if !out || !matches!(network.transport, Transport::Tcp | Transport::Udp | Transport::Raw(_)) {
        return None;
    }
    Some(match &network.name {
        Some(name) => format!("{}:{port}", name.escaped()),
        None => std::net::SocketAddr::new(*address, *port).to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_forgets_after_ten_seconds() {
        let at = |seconds: u64| BootNs(seconds * 1_000_000_000);
        let now = Origin::now().0 / 1_000_000_000;
        let mut rate = Rate::default();
        rate.add(at(now - 30), 1000);
        rate.add(at(now), 40);
        rate.add(at(now - 2), 60);
        rate.add(at(now - 60), 5000);
        assert!((rate.per_second() - 10.0).abs() < 0.01, "{}", rate.per_second());
    }
}
