//! The ledger: findings, each told once and counted from then on.
//!
//! Two events are one finding when they broke the same rule in the same workload by the same program on the same
//! generalised target: instances, process ids, temporary names, hashes and passing ports do not count, other programs
//! do, since one that is legitimate must not hide another. Bounded: when full, the finding that was seen last the
//! longest ago is dropped from the ledger (it was told) and that is counted; should it come again it is told again.
//! New findings of a workload are told within its quota ([`super::pressure`]); what is beyond it is kept and counted.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    message,
    pressure::{Pressure, raised},
    rules::RuleBook,
    target,
};
use crate::{
    event::{Event, Finding, FindingState, Rule, Severity},
    expectation::data::DataError,
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
    /// A finding that is worse than it was: the workload broke the rule again and again.
    Raised(&'ledger Finding),
    /// A new finding beyond the quota of its workload: kept, counted, and not told.
    Suppressed,
}

/// What the ledger could not keep or did not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerCounts {
    /// Findings that were told and then dropped since there were too many.
    pub dropped: u64,
    /// New findings that were not told, by the name of the workload.
    pub suppressed: Vec<(String, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    workload: Arc<str>,
    rule: Rule,
    program: Vec<u8>,
    target: Vec<u8>,
}

/// The findings.
#[derive(Debug)]
pub struct Ledger {
    rules: RuleBook,
    severities: HashMap<String, Severity>,
    techniques: HashMap<String, String>,
    pressure: Pressure,
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
            pressure: Pressure::default(),
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

    /// What could not be kept or was not told.
    #[must_use]
    pub fn counts(&self) -> LedgerCounts {
        let mut suppressed: Vec<_> =
            self.pressure.suppressed().map(|(workload, count)| (workload.to_owned(), count)).collect();
        suppressed.sort();
        LedgerCounts { dropped: self.dropped, suppressed }
    }

    /// Takes in a judged event.
    pub fn note(&mut self, event: &Event) -> Noted<'_> {
        let Some(rule) = event.rule else { return Noted::Nothing };
        let workload = if event.workload.id.is_empty() { &event.workload.name } else { &event.workload.id };
        let program = target::program(event);
        let target = target::generalised(event);
        let thing = [event.workload.instance.as_bytes(), &program, &target].join(&0);
        let rises = self.pressure.rises(workload, rule, thing, event.boot_ns);
        let key = Key { workload: workload.as_str().into(), rule, program, target };
        let number = self.next;
        self.next += 1;
        let known = self.numbers.get(&key).copied().and_then(|number| self.findings.remove(&number));
        self.numbers.insert(key.clone(), number);
        let repeated = known.is_some();
        let mut finding = match known {
            Some((_, finding)) => repeat(finding, event),
            None => self.open(rule, event),
        };
        if rises {
            raise(&mut finding);
        }
        let admitted = repeated || self.pressure.admit(&event.workload.name, rule, event.boot_ns);
        if !repeated
            && self.findings.len() >= self.bound
            && let Some((_, (key, _))) = self.findings.pop_first()
        {
            self.numbers.remove(&key);
            self.dropped += 1;
        }
        let (_, finding) = &*self.findings.entry(number).or_insert((key, finding));
        match (admitted, repeated, rises) {
            (false, ..) => Noted::Suppressed,
            (_, true, true) => Noted::Raised(finding),
            (_, true, false) => Noted::Repeated(finding),
            (_, false, _) => Noted::New(finding),
        }
    }

    fn open(&self, rule: Rule, event: &Event) -> Finding {
        let text = self.rules.text(rule);
        let source = &event.decision.source;
        let severity = self.severities.get(source).copied().or(text.map(|text| text.severity));
        let (severity, why) = super::severity::in_context(rule, severity.unwrap_or(Severity::Medium), event);
        let mut sentence = message::sentence(event);
        if let Some(why) = why {
            sentence.push(' ');
            sentence.push_str(why);
        }
        let technique = self.techniques.get(source).cloned().or(text.map(|text| text.technique.id.clone()));
        Finding {
            id: uuid::Uuid::now_v7().to_string(),
            rule,
            severity,
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
            message: sentence,
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

/// Broken again and again: one step worse, and it says so.
fn raise(finding: &mut Finding) {
    let before = finding.severity;
    finding.severity = raised(before);
    if finding.severity != before {
        finding.message.push_str(
            " It is the third violation of this rule by this workload within an hour, which raises the severity.",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        Action, BootNs, Bytes, Decision, FileObject, FilePath, Outcome, Process, ProcessId, ProcessKey,
        SegmentId, ThreadId, Verdict, Workload, WorkloadKind,
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
            decision: Decision {
                source: source.into(),
                reason: "read a secret: SSH private key".into(),
                ..Decision::default()
            },
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
    fn another_program_target_or_rule_is_another_finding_and_another_process_is_not() {
        let mut ledger = ledger();
        ledger.note(&event("/a/.npmrc", 7, "catalogue:npmrc"));
        assert!(matches!(ledger.note(&event("/a/.npmrc", 8, "catalogue:npmrc")), Noted::Repeated(_)));
        assert!(matches!(ledger.note(&event("/b/.npmrc", 7, "catalogue:npmrc")), Noted::New(_)));
        assert!(matches!(ledger.note(&event("/proc/1/environ", 7, "default")), Noted::New(_)));
        assert!(matches!(ledger.note(&event("/proc/2/environ", 7, "default")), Noted::Repeated(_)));
        let mut other = event("/a/.npmrc", 9, "catalogue:npmrc");
        other.process =
            Arc::new(Process { executable: Bytes::from("/usr/bin/python3"), ..Process::default() });
        assert!(matches!(ledger.note(&other), Noted::New(_)), "one program must not hide another");
        let quiet = Event { rule: None, ..event("/x", 7, "default") };
        assert!(matches!(ledger.note(&quiet), Noted::Nothing));
        assert!(ledger.findings().any(|finding| finding.severity == Severity::Medium));
    }

    #[test]
    fn the_third_violation_raises_the_severity_and_says_so() {
        let mut ledger = ledger();
        ledger.note(&event("/a/.npmrc", 7, "catalogue:npmrc"));
        ledger.note(&event("/b/.npmrc", 7, "catalogue:npmrc"));
        let Noted::New(finding) = ledger.note(&event("/c/.npmrc", 7, "catalogue:npmrc")) else {
            panic!("told")
        };
        assert_eq!(finding.severity, Severity::High);
        assert!(finding.message.contains("third violation"), "{}", finding.message);
        let Noted::New(finding) = ledger.note(&event("/d/.npmrc", 7, "catalogue:npmrc")) else {
            panic!("told")
        };
        assert_eq!(finding.severity, Severity::Medium, "once");
    }

    #[test]
    fn a_flood_is_kept_and_counted_and_what_matters_is_told() {
        let mut ledger = ledger();
        let flood = |number: u32| Event {
            rule: Some(Rule::UnknownEgress),
            ..event(&format!("/x/{}", "y".repeat(number as usize)), 7, "default")
        };
        let told = (0..100).filter(|&number| matches!(ledger.note(&flood(number)), Noted::New(_))).count();
        assert_eq!(told, 30);
        assert!(matches!(ledger.note(&event("/a/.ssh/id_rsa", 7, "default")), Noted::New(_)));
        assert_eq!(ledger.counts().suppressed, [(String::from("demo"), 70)]);
        assert_eq!(ledger.findings().count(), 101, "kept");
    }

    #[test]
    fn bounded() {
        let mut ledger = ledger();
        ledger.bound = 3;
        for name in ["a", "b", "c", "d", "e"] {
            ledger.note(&event(name, 7, "default"));
        }
        assert_eq!((ledger.findings.len(), ledger.numbers.len(), ledger.counts().dropped), (3, 3, 2));
        assert!(matches!(ledger.note(&event("e", 7, "default")), Noted::Repeated(_)));
        assert!(matches!(ledger.note(&event("a", 7, "default")), Noted::New(_)));
    }
}
