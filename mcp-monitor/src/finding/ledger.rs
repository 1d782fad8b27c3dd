//! The ledger: findings, each told once and counted from then on.
//!
//! Two events are one finding when they broke the same rule in the same instance with the same process image and
//! the same generalised target. Bounded: when full, the finding that was seen last the longest ago is dropped from
//! the ledger (it was told) and that is counted; should it come again it is told again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{message, rules::RuleBook};
use crate::{
    event::{Action, Endpoint, Event, Finding, FindingState, ProcessKey, Rule, Severity},
    expectation::{data::DataError, network::fold},
};

/// Findings that are kept.
pub const FINDINGS_MAX: usize = 16 * 1024;
/// Event ids that a finding keeps.
pub const EVENTS_MAX: usize = 16;

/// What became of an event.
#[derive(Debug)]
pub enum Noted<'ledger> {
    /// It broke no rule.
    Nothing,
    /// A finding that is told now.
    New(&'ledger Finding),
    /// A finding that was told before; its count went up.
    Repeated(&'ledger Finding),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    instance: Arc<str>,
    rule: Rule,
    process: ProcessKey,
    target: Vec<u8>,
}

/// The findings.
#[derive(Debug)]
pub struct Ledger {
    rules: RuleBook,
    severities: HashMap<String, Severity>,
    techniques: HashMap<String, String>,
    numbers: HashMap<Key, u64>,
    findings: BTreeMap<u64, (Key, Finding)>,
    next: u64,
    bound: usize,
    dropped: u64,
}

impl Ledger {
    /// An empty ledger. `severities` and `techniques` differ from a rule's own by [`Decision::source`]; see
    /// [`Judge`](crate::expectation::Judge).
    pub fn new(
        severities: HashMap<String, Severity>,
        techniques: HashMap<String, String>,
    ) -> Result<Self, DataError> {
        Ok(Self {
            rules: RuleBook::embedded()?,
            severities,
            techniques,
            numbers: HashMap::new(),
            findings: BTreeMap::new(),
            next: 0,
            bound: FINDINGS_MAX,
            dropped: 0,
        })
    }

    /// The texts of the rules.
    #[must_use]
    pub fn rules(&self) -> &RuleBook {
        &self.rules
    }

    /// Every finding, the one seen last the longest ago first.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.values().map(|(_, finding)| finding)
    }

    /// Findings that were told and then dropped since there were too many.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes in a judged event.
    pub fn note(&mut self, event: &Event) -> Noted<'_> {
        let Some(rule) = event.rule else { return Noted::Nothing };
        let key = Key {
            instance: event.workload.instance.as_str().into(),
            rule,
            process: event.process.key,
            target: generalised_target(event),
        };
        let number = self.next;
        self.next += 1;
        let known = self.numbers.get(&key).copied().and_then(|number| self.findings.remove(&number));
        self.numbers.insert(key.clone(), number);
        let repeated = known.is_some();
        let finding = match known {
            Some((_, finding)) => repeat(finding, event),
            None => self.open(rule, event),
        };
        if !repeated
            && self.findings.len() >= self.bound
            && let Some((_, (key, _))) = self.findings.pop_first()
        {
            self.numbers.remove(&key);
            self.dropped += 1;
        }
        let (_, finding) = &*self.findings.entry(number).or_insert((key, finding));
        if repeated { Noted::Repeated(finding) } else { Noted::New(finding) }
    }

    fn open(&self, rule: Rule, event: &Event) -> Finding {
        let text = self.rules.text(rule);
        let source = &event.decision.source;
        let severity = self.severities.get(source).copied().or(text.map(|text| text.severity));
        let technique = self.techniques.get(source).cloned().or(text.map(|text| text.technique.id.clone()));
        Finding {
            id: uuid::Uuid::now_v7().to_string(),
            rule,
            severity: severity.unwrap_or(Severity::Medium),
            state: FindingState::Open,
            first_seen: event.boot_ns,
            last_seen: event.boot_ns,
            count: event.count.max(1),
            workload: Arc::clone(&event.workload),
            process: Arc::clone(&event.process),
            action: event.action.clone(),
            decision: event.decision.clone(),
            outcome: event.outcome,
            technique: technique.unwrap_or_default(),
            tactic: text.map(|text| text.tactic.name.clone()).unwrap_or_default(),
            title: text.map(|text| text.title.clone()).unwrap_or_default(),
            message: message::sentence(event),
            advice: text.map(|text| text.action.clone()).unwrap_or_default(),
            events: vec![event.id.clone()],
        }
    }
}

fn repeat(mut finding: Finding, event: &Event) -> Finding {
    finding.count = finding.count.saturating_add(event.count.max(1));
    finding.first_seen = finding.first_seen.min(event.boot_ns);
    finding.last_seen = finding.last_seen.max(event.boot_ns);
    if finding.events.len() < EVENTS_MAX {
        finding.events.push(event.id.clone());
    }
    finding
}

/// What stays the same when the same thing is done again: numbers in paths and source ports do not count, and all
/// that belongs to one entry of a catalogue in one directory is one target.
fn generalised_target(event: &Event) -> Vec<u8> {
    let mut target = event.decision.source.clone().into_bytes();
    target.push(0);
    match &event.action {
        Action::Exec(exec) => {
            let file = exec.script.as_ref().unwrap_or(&exec.executable);
            generalise(file.path.bytes.as_slice(), &mut target);
        }
        Action::Snoop(snoop) => target.extend_from_slice(&snoop.target.0.to_le_bytes()),
        Action::Coverage(note) => target.extend_from_slice(note.cause.as_bytes()),
        Action::Listen(network)
        | Action::Connect(network)
        | Action::Send(network)
        | Action::Accept(network)
        | Action::Close(network) => {
            match &network.remote {
                Endpoint::Internet(address, port) => {
                    // A name stands for all its addresses.
                    match &network.name {
                        Some(name) => target.extend_from_slice(name.as_slice()),
                        None => target.extend_from_slice(fold(*address).to_string().as_bytes()),
                    }
                    target.extend_from_slice(format!(":{port}").as_bytes());
                }
                Endpoint::UnixPath(path, _) => generalise(path.bytes.as_slice(), &mut target),
                Endpoint::UnixAbstract(name) | Endpoint::UnixGiven(name) => {
                    generalise(name.as_slice(), &mut target);
                }
                Endpoint::Unnamed => {}
            }
        }
        action => {
            if let Some(file) = action.file() {
                generalise(file.path.bytes.as_slice(), &mut target);
            }
        }
    }
    target
}

/// Adds `path` with every name that is a number as `#`.
fn generalise(path: &[u8], target: &mut Vec<u8>) {
    for name in path.split(|&byte| byte == b'/') {
        target.push(b'/');
        if !name.is_empty() && name.iter().all(u8::is_ascii_digit) {
            target.push(b'#');
        } else {
            target.extend_from_slice(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        BootNs, Bytes, Decision, FileObject, FilePath, Outcome, Process, ProcessId, SegmentId, ThreadId,
        Verdict, Workload, WorkloadKind,
    };

    fn ledger() -> Ledger {
        let severities = HashMap::from([(String::from("catalogue:npmrc"), Severity::Medium)]);
        Ledger::new(severities, HashMap::new()).unwrap()
    }

    fn event(path: &str, pid: u32, source: &str) -> Event {
        let process = Process {
            key: ProcessKey { pid: ProcessId(pid), ..ProcessKey::default() },
            executable: Bytes::from("/usr/bin/cat"),
            ..Process::default()
        };
        Event {
            id: format!("e-{path}-{pid}"),
            boot_ns: BootNs(u64::from(pid)),
            sequence: 1,
            lane: 0,
            action: Action::Open(FileObject {
                path: FilePath { bytes: Bytes::from(path), ..FilePath::default() },
                ..FileObject::default()
            }),
            thread: ThreadId(pid),
            segment: SegmentId(1),
            process: Arc::new(process),
            workload: Arc::new(Workload {
                id: "w".into(),
                instance: "i".into(),
                kind: WorkloadKind::Server,
                name: "demo".into(),
                ..Workload::default()
            }),
            outcome: Outcome::Ok,
            count: 1,
            mechanism: "test",
            verdict: Verdict::Forbidden,
            decision: Decision { source: source.into(), reason: "read a secret: SSH private key".into() },
            rule: Some(Rule::SecretRead),
        }
    }

    #[test]
    fn told_once_and_counted() {
        let mut ledger = ledger();
        let first = &event("/home/u/.ssh/id_rsa", 7, "catalogue:ssh-private-key");
        let Noted::New(finding) = ledger.note(first) else { panic!("not new") };
        assert_eq!(finding.severity, Severity::High);
        assert_eq!(
            finding.message,
            "/usr/bin/cat (pid 7) of demo: read a secret: SSH private key [/home/u/.ssh/id_rsa]."
        );
        assert_eq!(finding.technique, "T1552.001");
        let id = finding.id.clone();
        for _ in 0..40 {
            let Noted::Repeated(finding) = ledger.note(first) else { panic!("told again") };
            assert_eq!(finding.id, id);
        }
        let finding = ledger.findings().next().unwrap();
        assert_eq!((finding.count, finding.events.len()), (41, EVENTS_MAX));
    }

    #[test]
    fn other_process_target_or_rule_is_another_finding() {
        let mut ledger = ledger();
        ledger.note(&event("/a/.npmrc", 7, "catalogue:npmrc"));
        assert!(matches!(ledger.note(&event("/a/.npmrc", 8, "catalogue:npmrc")), Noted::New(_)));
        assert!(matches!(ledger.note(&event("/b/.npmrc", 7, "catalogue:npmrc")), Noted::New(_)));
        assert!(matches!(ledger.note(&event("/proc/1/environ", 7, "default")), Noted::New(_)));
        assert!(matches!(ledger.note(&event("/proc/2/environ", 7, "default")), Noted::Repeated(_)));
        let quiet = Event { rule: None, ..event("/x", 7, "default") };
        assert!(matches!(ledger.note(&quiet), Noted::Nothing));
        assert!(ledger.findings().any(|finding| finding.severity == Severity::Medium));
    }

    #[test]
    fn bounded() {
        let mut ledger = ledger();
        ledger.bound = 3;
        for pid in 0..5 {
            ledger.note(&event("/a", pid, "default"));
        }
        assert_eq!((ledger.findings.len(), ledger.numbers.len(), ledger.dropped()), (3, 3, 2));
        assert!(matches!(ledger.note(&event("/a", 4, "default")), Noted::Repeated(_)));
        assert!(matches!(ledger.note(&event("/a", 0, "default")), Noted::New(_)));
    }
}
