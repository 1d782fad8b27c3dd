//! Whether the kernel programs still do their work: runs that the kernel skipped, and the canary, which is sent again
//! and again, since a hook that has stopped firing looks like a host on which nothing happens.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use mcp_monitor_common::mechanism::{LINEAGE_FORK, PROBE_FORK, PROGRAMS};

use crate::sensor::{Sensor, canary::Canary, decode::Record, health};

/// How often the canary is sent.
const CANARY_EVERY: Duration = Duration::from_secs(10);
/// How long its record may take: the ring is read every 10 ms, a flood may keep the reader busy.
const CANARY_PATIENCE: Duration = Duration::from_secs(5);

/// What is wrong, as a loss that concerns the whole host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The word for it.
    pub(super) cause: &'static str,
    /// In words.
    pub(super) what: String,
    /// How often since it was told last.
    pub(super) count: u64,
    /// A child may be without its label: look at the process list.
    pub(super) repair: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is awaited before this moment.
    Idle(Instant),
    /// Sent at this moment.
    Sent(Instant),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Health {
    canary: Canary,
    state: State,
    /// Its record came, or is known to be lost.
    answered: bool,
    /// Skipped runs that were told, by program.
    skipped: HashMap<String, u64>,
}

impl Health {
    pub(super) fn new(canary: Canary) -> Self {
        Self {
            canary,
            state: State::Idle(Instant::now() + CANARY_EVERY),
            answered: false,
            skipped: HashMap::new(),
        }
    }

    /// Takes note of a record in the canary's segment.
    pub(super) fn saw(&mut self, record: &Record) {
        self.answered |= self.canary.is_answer(record);
    }

    /// A record in the canary's segment was lost and counted: no answer says nothing.
    pub(super) fn excuse(&mut self) {
        self.answered = true;
    }

    /// What went wrong since the last look. Sends the canary when it is time.
    pub(super) fn look(&mut self, sensor: &mut Sensor) -> Vec<Fault> {
        let mut faults = self.skipped(health::recursion_misses(sensor.ebpf()));
        let now = Instant::now();
        if let Some(fault) = self.silence(now) {
            faults.push(fault);
        }
        if matches!(self.state, State::Idle(next) if now >= next) {
            self.answered = !self.canary.send(&mut sensor.orders);
            self.state = State::Sent(now);
        }
        faults
    }

    fn skipped(&mut self, misses: Vec<(String, u64)>) -> Vec<Fault> {
        let is_fork = |name: &str| {
            [LINEAGE_FORK, PROBE_FORK]
                .iter()
                .any(|index| PROGRAMS.get(*index as usize).is_some_and(|program| program.name == name))
        };
        let mut faults = Vec::new();
        for (name, count) in misses {
            let told = self.skipped.entry(name.clone()).or_default();
            if count > *told {
                self.answered |= name == self.canary.program();
                faults.push(Fault {
                    cause: "skipped-run",
                    what: format!(
                        "{name}: runs that the kernel skipped since the program was already running on the CPU"
                    ),
                    count: count - *told,
                    repair: is_fork(&name),
                });
                *told = count;
            }
        }
        faults
    }

    fn silence(&mut self, now: Instant) -> Option<Fault> {
        let State::Sent(at) = self.state else { return None };
        if self.answered {
            self.state = State::Idle(at + CANARY_EVERY);
            return None;
        }
        if now.saturating_duration_since(at) < CANARY_PATIENCE {
            return None;
        }
        self.state = State::Idle(at + CANARY_EVERY);
        Some(Fault {
            cause: "hook-silent",
            what: format!(
                "{} did not tell of an open of our own within {} s: it no longer fires",
                self.canary.program(),
                CANARY_PATIENCE.as_secs()
            ),
            count: 1,
            repair: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use mcp_monitor_common::mechanism::Tier;

    use super::*;

    fn health() -> Health {
        Health::new(Canary::of(Tier::Lsm))
    }

    #[test]
    fn skipped_runs_are_told_once_and_those_of_fork_ask_for_a_repair() {
        let mut health = health();
        let told = health.skipped(vec![("lineage_fork".to_owned(), 2), ("lineage_exit".to_owned(), 1)]);
        assert_eq!(
            told.iter().map(|fault| (fault.count, fault.repair)).collect::<Vec<_>>(),
            [(2, true), (1, false)]
        );
        let told = health.skipped(vec![("lineage_fork".to_owned(), 5), ("lineage_exit".to_owned(), 1)]);
        assert_eq!(told.iter().map(|fault| fault.count).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_canary_that_is_not_answered_in_time_is_told_and_sent_again_later() {
        let mut health = health();
        let sent = Instant::now();
        health.state = State::Sent(sent);
        assert_eq!(health.silence(sent + CANARY_PATIENCE / 2), None);
        assert_eq!(health.silence(sent + CANARY_PATIENCE).map(|fault| fault.cause), Some("hook-silent"));
        assert_eq!(health.state, State::Idle(sent + CANARY_EVERY));
    }

    #[test]
    fn a_canary_whose_record_was_lost_says_nothing() {
        let mut health = health();
        let sent = Instant::now();
        health.state = State::Sent(sent);
        health.excuse();
        assert_eq!(health.silence(sent + CANARY_PATIENCE), None);
        health.state = State::Sent(sent);
        health.answered = false;
        health.skipped(vec![("lsm_file_open".to_owned(), 1)]);
        assert_eq!(health.silence(sent + CANARY_PATIENCE), None);
    }
}
