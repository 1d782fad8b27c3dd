//! Expected repeats: the first one within a minute is a row of its own at once, the others become one row with their
//! count when the minute is over.
//!
//! Alike are events of one instance, of one kind and outcome, with one target. Only what is `expected` is put
//! together, and of that never programs started and ended (the tree is made of them), nor secrets. A row is made
//! once and stays as it is, so nothing that a sink has still to read is ever put together behind its back.

use std::{collections::HashMap, mem};

use crate::event::{Action, BootNs, Endpoint, Event, FileObject, NetworkObject, Outcome, Verdict};

/// Targets of one minute; beyond that the minute is ended early.
const TARGETS_MAX: usize = 8 * 1024;
const MINUTE_NS: u64 = 60_000_000_000;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Likeness {
    instance: String,
    kind: &'static str,
    outcome: i64,
    target: Vec<u8>,
}

/// An event and how many of those that were given it stands for.
#[derive(Debug)]
pub(super) struct Weighed {
    pub(super) event: Event,
    pub(super) given: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RollUp {
    minute: u64,
    seen: HashMap<Likeness, Option<Weighed>>,
    rolled_up: u64,
}

impl RollUp {
    /// Takes an event in; what is to be a row now goes to `rows`.
    pub(super) fn take(&mut self, event: Event, rows: &mut Vec<Weighed>) {
        let Some(likeness) = likeness(&event) else {
            rows.push(Weighed { event, given: 1 });
            return;
        };
        self.advance(event.boot_ns, rows);
        if let Some(repeat) = self.seen.get_mut(&likeness) {
            match repeat {
                Some(repeat) => {
                    repeat.given += 1;
                    add(&mut repeat.event, &event);
                }
                None => *repeat = Some(Weighed { event, given: 1 }),
            }
            return;
        }
        if self.seen.len() >= TARGETS_MAX {
            self.end(rows);
        }
        self.seen.insert(likeness, None);
        rows.push(Weighed { event, given: 1 });
    }

    /// Ends the minute when `now` is beyond it.
    pub(super) fn advance(&mut self, now: BootNs, rows: &mut Vec<Weighed>) {
        let minute = now.0 / MINUTE_NS;
        if minute > self.minute {
            self.end(rows);
            self.minute = minute;
        }
    }

    /// What was put together becomes rows.
    pub(super) fn end(&mut self, rows: &mut Vec<Weighed>) {
        let mut repeats: Vec<_> = mem::take(&mut self.seen).into_values().flatten().collect();
        repeats.sort_unstable_by_key(|repeat| repeat.event.boot_ns);
        self.rolled_up += repeats.iter().map(|repeat| repeat.given - 1).sum::<u64>();
        rows.append(&mut repeats);
    }

    /// What will be rows when the minute is over, as it is now.
    pub(super) fn waiting(&self) -> Vec<Event> {
        let mut repeats: Vec<_> = self.seen.values().flatten().map(|repeat| repeat.event.clone()).collect();
        repeats.sort_unstable_by_key(|repeat| repeat.boot_ns);
        repeats
    }

    /// Events that have no row of their own, so far.
    pub(super) fn rolled_up(&self) -> u64 {
        self.rolled_up
    }
}

/// Counts `event` into `sum`, which stays the first of them.
fn add(sum: &mut Event, event: &Event) {
    sum.count = sum.count.saturating_add(event.count);
    if let (Action::Close(sum), Action::Close(one)) = (&mut sum.action, &event.action) {
        let plus = |sum: Option<u64>, one: Option<u64>| match (sum, one) {
            (Some(sum), Some(one)) => Some(sum.saturating_add(one)),
            (sum, one) => sum.or(one),
        };
        sum.bytes_sent = plus(sum.bytes_sent, one.bytes_sent);
        sum.bytes_received = plus(sum.bytes_received, one.bytes_received);
    }
}

fn likeness(event: &Event) -> Option<Likeness> {
    if event.verdict != Verdict::Expected || event.rule.is_some() {
        return None;
    }
    let outcome = match event.outcome {
        Outcome::Ok => -1,
        Outcome::Permitted => -2,
        Outcome::Started => -3,
        Outcome::Failed(errno) => i64::from(errno),
        Outcome::Denied => return None,
    };
    let mut target = Vec::new();
    match &event.action {
        Action::Fork(_)
        | Action::Exec(_)
        | Action::Exit(_)
        | Action::Snoop(_)
        | Action::Coverage(_)
        | Action::Listen(_)
        | Action::Accept(_) => return None,
        Action::Connect(network) | Action::Send(network) | Action::Close(network) => {
            peer(network, &mut target);
        }
        Action::Dns(dns) => target.extend_from_slice(dns.question.as_slice()),
        action => file(action.file()?, &mut target)?,
    }
    Some(Likeness { instance: event.workload.instance.clone(), kind: event.action.kind(), outcome, target })
}

fn file(file: &FileObject, target: &mut Vec<u8>) -> Option<()> {
    if file.marked_secret {
        return None;
    }
    let access = file.access;
    for set in [access.read, access.write, access.execute, access.path_only, access.create, access.truncate] {
        target.push(u8::from(set));
    }
    target.extend_from_slice(file.path.bytes.as_slice());
    if let Some(other) = &file.target {
        target.push(0);
        target.extend_from_slice(other.bytes.as_slice());
    }
    Some(())
}

fn peer(network: &NetworkObject, target: &mut Vec<u8>) {
    target.extend_from_slice(format!("{:?}\0", network.transport).as_bytes());
    match &network.remote {
        Endpoint::Internet(address, port) => {
            target.extend_from_slice(format!("{address}\0{port}\0").as_bytes());
        }
        Endpoint::UnixPath(path, _) => target.extend_from_slice(path.bytes.as_slice()),
        Endpoint::UnixAbstract(name) | Endpoint::UnixGiven(name) => target.extend_from_slice(name.as_slice()),
        Endpoint::Unnamed => {}
    }
    if let Some(name) = &network.name {
        target.extend_from_slice(name.as_slice());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;
    use std::sync::Arc;

    fn at(seconds: u64, event: Event) -> Event {
        Event { boot_ns: BootNs(seconds * 1_000_000_000), ..event }
    }

    fn counts(rows: &[Weighed]) -> Vec<(u64, u64)> {
        rows.iter().map(|row| (row.event.count, row.given)).collect()
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_when_the_minute_ends() {
        let (mut roll_up, mut rows) = (RollUp::default(), Vec::new());
        for second in 60..100 {
            roll_up.take(at(second, sample::open(b"/x")), &mut rows);
        }
        assert_eq!(counts(&rows), [(1, 1)]);
        roll_up.take(at(121, sample::open(b"/y")), &mut rows);
        assert_eq!(counts(&rows), [(1, 1), (39, 39), (1, 1)]);
        assert_eq!(roll_up.rolled_up(), 38);
    }

    #[test]
    fn other_targets_and_instances_are_others() {
        let (mut roll_up, mut rows) = (RollUp::default(), Vec::new());
        let other = |event: Event| {
            let workload = crate::event::Workload { instance: "other".into(), ..(*event.workload).clone() };
            Event { workload: Arc::new(workload), ..event }
        };
        roll_up.take(at(60, sample::open(b"/x")), &mut rows);
        roll_up.take(at(60, sample::open(b"/y")), &mut rows);
        roll_up.take(at(60, other(sample::open(b"/x"))), &mut rows);
        roll_up.take(at(60, Event { outcome: Outcome::Failed(2), ..sample::open(b"/x") }), &mut rows);
        assert_eq!(rows.len(), 4);
    }

    #[test]
    fn only_what_is_expected_is_put_together() {
        let (mut roll_up, mut rows) = (RollUp::default(), Vec::new());
        let mut given = 0;
        for event in sample::events() {
            let kept =
                event.verdict != Verdict::Expected || matches!(event.action.kind(), "fork" | "exec" | "exit");
            if kept {
                for _ in 0..3 {
                    given += 1;
                    roll_up.take(at(60, event.clone()), &mut rows);
                }
            }
        }
        assert_eq!(rows.len(), given);
    }

    #[test]
    fn bytes_are_added_and_nothing_is_lost() {
        let (mut roll_up, mut rows) = (RollUp::default(), Vec::new());
        let close = sample::events().into_iter().find(|event| event.action.kind() == "close").unwrap();
        for _ in 0..4 {
            roll_up.take(at(60, close.clone()), &mut rows);
        }
        roll_up.end(&mut rows);
        let sent = |event: &Event| event.action.network().unwrap().bytes_sent.unwrap();
        assert_eq!(rows.iter().map(|row| sent(&row.event)).sum::<u64>(), 4 * sent(&close));
        assert_eq!(rows.iter().map(|row| row.given).sum::<u64>(), 4);
    }

    #[test]
    fn bounded() {
        let (mut roll_up, mut rows) = (RollUp::default(), Vec::new());
        for number in 0..3 * TARGETS_MAX {
            roll_up.take(at(60, sample::open(format!("/{number}").as_bytes())), &mut rows);
            assert!(roll_up.seen.len() <= TARGETS_MAX);
        }
        assert_eq!(rows.len(), 3 * TARGETS_MAX);
    }
}
