//! Names that exist, for the shell's completion: asked of the monitor that runs, and nothing when none answers. Never
//! slow, never an error: who presses Tab wants names or nothing.

use crate::{
    control::{
        Filter,
        api::Workloads,
        client::Client,
        source::{Source, Span, What},
    },
    event::{Rule, Verdict, escape},
    render::read::Line,
};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use std::{collections::BTreeSet, ffi::OsStr, ops::ControlFlow};

/// Findings that are offered.
const FINDINGS_MAX: usize = 50;

/// Kinds of events, by name.
const KINDS: [&str; 20] = [
    "accept", "chmod", "close", "connect", "coverage", "dns", "exec", "exit", "fork", "link", "listen",
    "map", "open", "receive", "rename", "send", "snoop", "symlink", "truncate", "unlink",
];

/// Names of workloads, and their instances once something of one is typed.
pub(super) fn workloads() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let answer = client().get::<Workloads>("/v1/workloads", &Filter::default());
        let rows = answer.map(|answer| answer.workloads).unwrap_or_default();
        let names: BTreeSet<(String, String)> =
            rows.iter().map(|row| (row.name.clone(), row.kind.clone())).collect();
        let instances = rows
            .iter()
            .filter(|_| !typed.is_empty())
            .map(|row| (row.instance.clone(), format!("{} {}", row.kind, row.name)));
        listed(typed, names.into_iter().chain(instances))
    })
}

/// Ids of the latest findings, with what they are.
pub(super) fn findings() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let mut found = Vec::new();
        let span = Span { last: Some(FINDINGS_MAX), follow: false };
        // Without an answer nothing is offered.
        let _ = Source::Monitor(client()).each(What::Findings, &Filter::default(), span, |line, _| {
            if let Line::Finding(finding) = line {
                let what = format!("{} {}: {}", finding.rule, finding.workload.name, finding.object());
                found.push((finding.id.to_string(), what));
            }
            ControlFlow::Continue(())
        });
        // The latest first.
        found.reverse();
        listed(typed, found.into_iter())
    })
}

/// Rules with their meaning.
pub(super) fn rules() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let book = crate::finding::rules::RuleBook::embedded().ok();
        listed(
            typed,
            Rule::ALL.into_iter().map(|rule| {
                let text = book.as_ref().and_then(|book| book.text(rule));
                (rule.id().to_owned(), text.map(|text| text.title.clone()).unwrap_or_default())
            }),
        )
    })
}

/// Verdicts.
pub(super) fn verdicts() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let all = [Verdict::Expected, Verdict::Unexpected, Verdict::Forbidden, Verdict::Unjudged];
        listed(typed, all.into_iter().map(|verdict| (verdict.name().to_owned(), String::new())))
    })
}

/// Kinds of events.
pub(super) fn kinds() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        listed(typed, KINDS.into_iter().map(|kind| (kind.to_owned(), String::new())))
    })
}

fn client() -> Client {
    Client::default().hasty()
}

/// Those that go on from what was typed; of a list the part behind the last comma is completed. Names of monitored
/// processes are escaped, since a shell shows them.
fn listed(typed: &OsStr, all: impl Iterator<Item = (String, String)>) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let (before, begun) =
        typed.rsplit_once(',').map_or(("", typed), |(_, begun)| (&typed[..typed.len() - begun.len()], begun));
    all.filter(|(name, _)| name.starts_with(begun) && !name.contains(','))
        .map(|(name, help)| {
            let candidate = CompletionCandidate::new(format!("{before}{}", escape(name.as_bytes())));
            if help.is_empty() { candidate } else { candidate.help(Some(escape(help.as_bytes()).into())) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(typed: &str) -> Vec<String> {
        let all = ["github", "gitlab", "memory", "a,b", "x\u{1b}[2J"];
        let all = all.into_iter().map(|name| (name.to_owned(), "server".to_owned()));
        let candidates = listed(OsStr::new(typed), all);
        candidates.iter().map(|one| one.get_value().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn what_was_typed_is_gone_on_from_also_within_a_list() {
        assert_eq!(offered("git"), ["github", "gitlab"]);
        assert_eq!(offered("memory,gitl"), ["memory,gitlab"]);
        assert!(offered("nothing").is_empty());
        assert!(offered("x").iter().all(|name| !name.contains('\u{1b}')));
    }

    #[test]
    fn every_kind_that_there_is_is_offered() {
        for event in crate::render::sample::events() {
            assert!(KINDS.contains(&event.action.kind()), "{}", event.action.kind());
        }
    }
}
