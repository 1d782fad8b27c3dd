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

/// What a tier cannot know of events of this kind, whatever the act says.
fn unknowable(tier: Tier, kind: &str) -> &'static [&'static str] {
    match (tier, kind) {
        (Tier::Tracepoint, "rename" | "link" | "symlink" | "unlink" | "chmod") => {
            &["file.device", "file.inode"]
        }
        _ => &[],
    }
}

/// Judges what was made of an evasion.
pub(crate) fn evasion(row: &Row, performed: &Performed, tier: Tier) -> Result {
    if let Some(result) = not_performed(performed) {
        return result;
    }
    let want = row.want();
    if want == Want::Silent {
        let findings = findings_text(performed);
        let outcome = if findings.is_empty() { Outcome::Caught } else { Outcome::Unseen };
        return Result::Made(outcome, findings);
    }
    let missing = missing(&want, performed, tier);
    if missing.is_empty() {
        return Result::Made(Outcome::Caught, String::new());
    }
    let coverage = performed.said.coverage();
    let named = row.names.as_ref().is_some_and(|names| coverage.contains(&names.to_lowercase()));
    Result::Made(if named { Outcome::Named } else { Outcome::Unseen }, missing)
}

/// Judges a plain observation: every act must be told of, in every field.
pub(crate) fn observation(performed: &Performed, tier: Tier) -> Result {
    not_performed(performed).unwrap_or_else(|| {
        let missing = missing(&Want::Kind(String::new()), performed, tier);
        let outcome = if missing.is_empty() { Outcome::Caught } else { Outcome::Unseen };
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
fn missing(want: &Want, performed: &Performed, tier: Tier) -> String {
    let mut text = String::new();
    let mut count = 0;
    for act in &performed.ended.acts {
        let kind = match want {
            Want::Kind(kind) if !kind.is_empty() => kind.as_str(),
            _ => act.kind.as_deref().unwrap_or_default(),
        };
        let ignored = unknowable(tier, kind);
        let told = match want {
            Want::Rule(rule) => {
                // A finding stands for many events; one that was folded into it still carries the rule.
                let found = performed.said.of("finding").any(|finding| finding["rule"] == rule.as_str());
                let of_rule = |record: &&Value| record["rule"] == rule.as_str();
                performed.findings().filter(of_rule).any(|finding| agrees(act, finding, ignored))
                    || found && performed.events().filter(of_rule).any(|event| agrees(act, event, ignored))
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

fn agrees(act: &Act, record: &Value, ignored: &[&str]) -> bool {
    compare::agrees(&compare::fields(act, record, ignored))
}

fn explain(want: &Want, kind: &str, act: &Act, performed: &Performed, ignored: &[&str]) -> String {
    let mut text = match want {
        Want::Rule(rule) => format!("  no finding {rule}\n"),
        _ => format!("  no event {kind}\n"),
    };
    let findings = performed
        .findings()
        .filter(|finding| matches!(want, Want::Rule(rule) if finding["rule"] == rule.as_str()));
    let events = performed.events().filter(|event| matches!(want, Want::Rule(_)) || event["kind"] == kind);
    text.push_str(&compare::nearest(act, findings.chain(events), ignored));
    text
}
