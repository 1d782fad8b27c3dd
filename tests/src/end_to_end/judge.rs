//! Judging the monitor: was the evasion caught, at least named, or not seen at all; did the harmless twin stay silent.

use std::fmt::Write as _;

use mcp_monitor_tests::act::{Act, NOT_RUN};
use serde_json::Value;

use crate::{
    batch::Performed,
    compare,
    table::{Outcome, Row, Tier, Want},
};

/// The result of one case.
pub(crate) enum Result {
    /// It could not be run here.
    NotRun(String),
    /// The act itself failed: nothing is known about the monitor.
    Broken(String),
    /// What the monitor made of it, and what is missing for `caught`.
    Made(Outcome, String),
}

/// What a tier cannot know of events of this kind, whatever the act says. Allowed for where it is plainly observed; an
/// evasion is caught only with the identity of what it was about.
fn unknowable(tier: Tier, kind: &str) -> &'static [&'static str] {
    match (tier, kind) {
        (Tier::Tracepoint, "rename" | "link" | "symlink" | "unlink" | "truncate" | "chmod") => {
            &["file.device", "file.inode"]
        }
        (Tier::Tracepoint, "exec") => &["exec.script.device", "exec.script.inode"],
        _ => &[],
    }
}

/// Judges what was made of an evasion.
pub(crate) fn evasion(row: &Row, performed: &Performed) -> Result {
    if let Some(result) = not_performed(performed) {
        return result;
    }
    let want = row.want();
    if want == Want::Silent {
        let findings = findings_text(performed);
        let outcome = if findings.is_empty() { Outcome::Caught } else { Outcome::Unseen };
        return Result::Made(outcome, findings);
    }
    let missing = missing(&want, performed, None);
    if missing.is_empty() {
        return Result::Made(Outcome::Caught, String::new());
    }
    let coverage = performed.said.coverage();
    let named = row.names.as_ref().is_some_and(|names| coverage.contains(&names.to_lowercase()));
    Result::Made(if named { Outcome::Named } else { Outcome::Unseen }, missing)
}

/// Observations that some tiers name as missing instead: the case, and a part of the coverage entry.
const NAMED: &[(&str, &str)] =
    &[("see-open-failed", "opens that fail"), ("see-listen-unix", "unix sockets that listen")];

/// Judges a plain observation: every act must be told of, in every field.
pub(crate) fn observation(performed: &Performed, tier: Tier) -> Result {
    not_performed(performed).unwrap_or_else(|| {
        let missing = missing(&Want::Kind(String::new()), performed, Some(tier));
        let coverage = performed.said.coverage();
        let named = NAMED.iter().any(|(case, name)| performed.ended.case == *case && coverage.contains(name));
        let outcome = if missing.is_empty() || named { Outcome::Caught } else { Outcome::Unseen };
        Result::Made(outcome, missing)
    })
}

/// Judges a harmless twin: nothing may be found.
pub(crate) fn twin(performed: &Performed) -> Result {
    not_performed(performed).unwrap_or_else(|| {
        let findings = findings_text(performed);
        let outcome = if findings.is_empty() { Outcome::Caught } else { Outcome::Unseen };
        Result::Made(outcome, findings)
    })
}

fn not_performed(performed: &Performed) -> Option<Result> {
    let ended = &performed.ended;
    match ended.status {
        0 => None,
        NOT_RUN => Some(Result::NotRun(ended.reason.clone())),
        124 => Some(Result::Broken("the case missed its deadline".to_owned())),
        status => Some(Result::Broken(format!("the case failed with status {status}: {}", ended.reason))),
    }
}

fn findings_text(performed: &Performed) -> String {
    performed.findings().fold(String::new(), |mut text, finding| {
        let _ = writeln!(text, "  found: {} {}", finding["rule"], finding["message"]);
        text
    })
}

/// What is missing, in words; nothing when every act was told of.
fn missing(want: &Want, performed: &Performed, tolerant: Option<Tier>) -> String {
    let mut text = String::new();
    let mut count = 0;
    for act in &performed.ended.acts {
        let kind = match want {
            Want::Kind(kind) if !kind.is_empty() => kind.as_str(),
            _ => act.kind.as_deref().unwrap_or_default(),
        };
        let ignored = tolerant.map_or(&[][..], |tier| unknowable(tier, kind));
        let told = match want {
            Want::Rule(rule) => {
                // A finding stands for many events; one that was folded into it still carries the rule.
                let found = performed.said.of("finding").any(|finding| is_of(rule, finding));
                let of_rule = |record: &&Value| is_of(rule, record);
                let of_kind = |event: &&Value| kind.is_empty() || event["kind"] == kind;
                // Where the act says what kind of event tells of it, one about another step is not enough: that a
                // link was made does not say that it was read.
                let mut findings = performed.findings().filter(of_rule).filter(of_kind);
                let mut events = performed.events().filter(of_rule).filter(of_kind);
                findings.any(|finding| agrees(act, finding, ignored))
                    || found && events.any(|event| agrees(act, event, ignored))
            }
            _ => performed
                .events()
                .filter(|event| event["kind"] == kind)
                .any(|event| agrees(act, event, ignored)),
        };
        if !told {
            count += 1;
            if count <= 3 {
                text.push_str(&explain(want, kind, act, performed, ignored));
            }
        }
    }
    if count > 3 {
        let _ = writeln!(text, "  … {count} of {} acts were not told", performed.ended.acts.len());
    }
    text
}

/// Of the rule, or of the one that says more: traffic to an unknown place by a lineage that has read a secret, as the
/// cases before it in a shared run have, is told as `exfiltration`.
fn is_of(rule: &str, record: &Value) -> bool {
    record["rule"] == rule || rule == "unknown-egress" && record["rule"] == "exfiltration"
}

fn agrees(act: &Act, record: &Value, ignored: &[&str]) -> bool {
    compare::agrees(&compare::fields(act, record, ignored))
}

fn explain(want: &Want, kind: &str, act: &Act, performed: &Performed, ignored: &[&str]) -> String {
    let mut text = match want {
        Want::Rule(rule) => format!("  no finding {rule}\n"),
        _ => format!("  no event {kind}\n"),
    };
    let findings =
        performed.findings().filter(|finding| matches!(want, Want::Rule(rule) if is_of(rule, finding)));
    let events = performed.events().filter(|event| matches!(want, Want::Rule(_)) || event["kind"] == kind);
    text.push_str(&compare::nearest(act, findings.chain(events), ignored));
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mcp_monitor_tests::{
        act::Ended,
        identity::{Identity, TICK},
    };
    use serde_json::json;

    use super::*;
    use crate::monitor::Said;

    /// Process 7 read the secret 8:1/42 in tick 100; the monitor said `records`.
    fn performed(case: &str, records: &[Value]) -> Performed {
        let act = Act { process: Identity { pid: 7, start: 100 }, kind: None, fields: BTreeMap::new() };
        let acts = vec![act.with("file.device", "8:1").with("file.inode", 42)];
        let ended = Ended {
            case: case.to_owned(),
            benign: false,
            begin: 100 * TICK,
            end: 101 * TICK,
            status: 0,
            reason: String::new(),
            acts,
        };
        let output = records.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        Performed::of(ended, 103 * TICK, Said::read(case, None, &output, String::new()))
    }

    fn row(id: &str) -> Row {
        crate::table::rows().unwrap().into_iter().find(|row| row.id == id).unwrap()
    }

    fn record(schema: &str, inode: u64) -> Value {
        json!({
            "schema": format!("mcp-monitor/{schema}/v1"), "kind": "open", "rule": "secret-read",
            "process": {"pid": 7, "start": 100 * TICK + 17}, "file": {"device": "8:1", "inode": inode},
        })
    }

    fn outcome(row: &Row, records: &[Value]) -> (Outcome, String) {
        match evasion(row, &performed(&row.id, records)) {
            Result::Made(outcome, missing) => (outcome, missing),
            Result::NotRun(reason) | Result::Broken(reason) => panic!("{reason}"),
        }
    }

    #[test]
    fn a_finding_about_the_right_process_and_file_is_a_catch() {
        assert_eq!(outcome(&row("plain"), &[record("finding", 42)]).0, Outcome::Caught);
    }

    #[test]
    fn a_finding_about_another_file_is_none_and_says_which_field_is_wrong() {
        let (outcome, missing) = outcome(&row("plain"), &[record("finding", 43)]);
        assert_eq!(outcome, Outcome::Unseen);
        assert!(missing.contains("✗ file.inode: expected 42, found 43"), "{missing}");
        assert!(missing.contains("✓ process.pid"), "{missing}");
    }

    #[test]
    fn an_event_that_was_folded_into_another_finding_is_a_catch() {
        let folded = [record("finding", 43), record("event", 42)];
        assert_eq!(outcome(&row("plain"), &folded).0, Outcome::Caught);
        assert_eq!(outcome(&row("plain"), &folded[1..]).0, Outcome::Unseen, "nobody was told");
    }

    #[test]
    fn a_blind_spot_that_is_named_is_better_than_silence() {
        let coverage = json!({
            "schema": "mcp-monitor/summary/v1",
            "coverage": [{"workload": "w", "what": "io_uring opens into direct descriptors"}],
        });
        assert_eq!(outcome(&row("io-uring-open-direct"), &[coverage]).0, Outcome::Named);
        assert_eq!(outcome(&row("io-uring-open-direct"), &[]).0, Outcome::Unseen);
    }

    #[test]
    fn a_twin_fails_by_any_finding_in_its_time_and_by_none_of_another_time() {
        let silent = |records: &[Value]| {
            matches!(twin(&performed("plain", records)), Result::Made(Outcome::Caught, _))
        };
        assert!(!silent(&[record("finding", 1)]));
        let mut later = record("finding", 1);
        later["process"]["start"] = json!(104 * TICK);
        assert!(silent(&[later]));
    }
}
