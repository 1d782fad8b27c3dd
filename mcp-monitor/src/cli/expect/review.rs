//! `expect review`: the open findings by workload and rule, for a person's first week: what to allow, what to look into.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    ops::ControlFlow,
};

use anstyle::{AnsiColor, Style};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::recorded::Recorded;
use crate::{
    cli::{exit_code::Exit, query::OutputOptions, say},
    event::{FindingState, Severity},
    expectation::learn::allow::narrowest,
    render::{human::Look, output::Rows, read::Finding},
};

/// Findings that are looked at.
const FINDINGS_MAX: usize = 200_000;
/// Objects that are shown of each group.
const OBJECTS_SHOWN: usize = 3;
/// Distinct objects that are counted of each group.
const OBJECTS_MAX: usize = 1000;

/// Options of `review`.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Review {
    #[command(flatten)]
    recorded: Recorded,
    #[command(flatten)]
    output: OutputOptions,
}

/// What is open of one workload under one rule.
#[derive(Clone, Debug, Serialize)]
struct Group {
    workload: String,
    client: Option<String>,
    rule: String,
    severity: String,
    findings: u64,
    count: u64,
    first_seen: Timestamp,
    last_seen: Timestamp,
    /// Distinct objects, as far as they are counted.
    objects: u64,
    /// Those with most occurrences.
    examples: Vec<String>,
    /// A finding of it: the one seen last.
    id: String,
    /// The line that would allow that one, if any may.
    allow: Option<String>,
    #[serde(skip)]
    level: Option<Severity>,
}

/// All of it, the worst first.
#[derive(Clone, Debug, Serialize)]
struct Groups {
    schema: &'static str,
    groups: Vec<Group>,
}

impl Rows for Groups {
    const HEADER: &'static [&'static str] = &[
        "workload",
        "client",
        "rule",
        "severity",
        "findings",
        "count",
        "objects",
        "first_seen",
        "last_seen",
        "id",
        "allow",
    ];

    fn rows(&self) -> Vec<Vec<String>> {
        let row = |group: &Group| {
            vec![
                group.workload.clone(),
                group.client.clone().unwrap_or_default(),
                group.rule.clone(),
                group.severity.clone(),
                group.findings.to_string(),
                group.count.to_string(),
                group.objects.to_string(),
                group.first_seen.to_string(),
                group.last_seen.to_string(),
                group.id.clone(),
                group.allow.clone().unwrap_or_default(),
            ]
        };
        self.groups.iter().map(row).collect()
    }
}

impl Review {
    pub(in crate::cli) fn run(&self) -> anyhow::Result<Exit> {
        let mut latest: BTreeMap<Vec<u8>, Finding> = BTreeMap::new();
        let mut left_out = 0_u64;
        self.recorded.each_finding(|finding| {
            let id = finding.id.as_bytes().to_vec();
            if latest.len() >= FINDINGS_MAX && !latest.contains_key(&id) {
                left_out += 1;
            } else {
                latest.insert(id, finding.clone());
            }
            ControlFlow::Continue(())
        })?;
        if left_out > 0 {
            say(&format_args!(
                "{left_out} findings are more than {FINDINGS_MAX} and were left out; narrow with --since"
            ));
        }
        let groups = Groups { schema: "mcp-monitor/review/v1", groups: grouped(latest.values()) };
        let mut output = self.output.open_drawn()?;
        output.answer(&groups, for_people)?;
        output.flush()?;
        Ok(Exit::Ok)
    }
}

fn grouped<'all>(findings: impl Iterator<Item = &'all Finding>) -> Vec<Group> {
    // By workload, client and rule; with how often each object was met.
    type Key = (String, Option<String>, String);
    let mut all: BTreeMap<Key, (Group, BTreeMap<String, u64>)> = BTreeMap::new();
    for finding in findings {
        let is_open = finding.state.is_empty() || finding.state == *FindingState::Open.name();
        if !is_open || finding.test {
            continue;
        }
        let workload = finding.workload.name.escaped().into_owned();
        let client = finding.workload.client.as_ref().map(|client| client.escaped().into_owned());
        let rule = finding.rule.escaped().into_owned();
        let key = (workload.clone(), client.clone(), rule.clone());
        let (group, objects) = all.entry(key).or_insert_with(|| {
            let group = Group {
                workload,
                client,
                rule,
                severity: String::new(),
                findings: 0,
                count: 0,
                first_seen: finding.first_seen,
                last_seen: finding.last_seen,
                objects: 0,
                examples: Vec::new(),
                id: String::new(),
                allow: None,
                level: None,
            };
            (group, BTreeMap::new())
        });
        group.findings += 1;
        group.count += finding.count.max(1);
        group.first_seen = group.first_seen.min(finding.first_seen);
        if group.id.is_empty() || finding.last_seen >= group.last_seen {
            group.last_seen = finding.last_seen;
            group.id = finding.id.escaped().into_owned();
            group.allow =
                narrowest(finding).ok().map(|entry| format!("{}: {}", entry.section.name(), entry.value));
        }
        if finding.severity() >= group.level {
            group.level = finding.severity();
            group.severity = finding.severity.escaped().into_owned();
        }
        if objects.len() < OBJECTS_MAX || objects.contains_key(&finding.object()) {
            *objects.entry(finding.object()).or_default() += finding.count.max(1);
        }
    }
    let mut groups: Vec<Group> = all
        .into_values()
        .map(|(mut group, objects)| {
            group.objects = objects.len() as u64;
            let mut most: Vec<(String, u64)> = objects.into_iter().collect();
            most.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
            group.examples = most.into_iter().take(OBJECTS_SHOWN).map(|(object, _)| object).collect();
            group
        })
        .collect();
    // A person goes from workload to workload, the one with the worst first.
    let mut worst: BTreeMap<String, Option<Severity>> = BTreeMap::new();
    for group in &groups {
        let known = worst.entry(group.workload.clone()).or_default();
        *known = (*known).max(group.level);
    }
    groups.sort_by(|one, other| {
        let level = |group: &Group| worst.get(&group.workload).copied().flatten();
        level(other)
            .cmp(&level(one))
            .then_with(|| one.workload.cmp(&other.workload))
            .then_with(|| other.level.cmp(&one.level))
            .then_with(|| one.rule.cmp(&other.rule))
    });
    groups
}

fn for_people(groups: &Groups, look: &Look) -> String {
    let mut text = String::new();
    let bold = look.style(Style::new().bold());
    let dim = look.style(Style::new().dimmed());
    let bad = look.style(AnsiColor::Red.on_default().bold());
    let mut before: Option<&str> = None;
    for group in &groups.groups {
        if before != Some(group.workload.as_str()) {
            let same: Vec<&Group> =
                groups.groups.iter().filter(|one| one.workload == group.workload).collect();
            let findings: u64 = same.iter().map(|one| one.findings).sum();
            let clients: BTreeSet<&str> = same.iter().filter_map(|one| one.client.as_deref()).collect();
            let clients: Vec<&str> = clients.into_iter().collect();
            let clients =
                if clients.is_empty() { String::new() } else { format!(" ({})", clients.join(", ")) };
            let gap = if before.is_some() { "\n" } else { "" };
            let _ = writeln!(
                text,
                "{gap}{bold}{}{bold:#}{clients}: {findings} open under {} rule(s)",
                group.workload,
                same.len()
            );
            before = Some(&group.workload);
        }
        let style = if group.level >= Some(Severity::High) { bad } else { Style::new() };
        let _ = writeln!(
            text,
            "  {style}{:<8}{style:#} {:<18} {} finding(s), {} time(s), {} to {}",
            group.severity,
            group.rule,
            group.findings,
            group.count,
            group.first_seen.strftime("%Y-%m-%d %H:%M"),
            group.last_seen.strftime("%Y-%m-%d %H:%M"),
        );
        for example in &group.examples {
            let _ = writeln!(text, "           {example}");
        }
        let more = group.objects.saturating_sub(group.examples.len() as u64);
        if more > 0 {
            let _ = writeln!(text, "           {dim}and {more} more{dim:#}");
        }
        match &group.allow {
            Some(line) => {
                let _ = writeln!(
                    text,
                    "           {dim}if it belongs to the work: mcp-monitor findings allow {}  ({line}){dim:#}",
                    group.id
                );
            }
            None => {
                let _ = writeln!(
                    text,
                    "           {dim}no expectation allows it: mcp-monitor explain {}{dim:#}",
                    group.id
                );
            }
        }
    }
    if groups.groups.is_empty() {
        text.push_str("nothing is open\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{json, read::Line, sample};

    #[test]
    fn open_findings_are_told_by_workload_and_rule() {
        let mut findings = Vec::new();
        for (index, rule) in
            ["secret-read", "unknown-egress", "secret-read", "process-snoop"].iter().enumerate()
        {
            for finding in sample::findings() {
                let mut line = Vec::new();
                json::finding(&mut line, &sample::origin(), &finding);
                let line = String::from_utf8(line).unwrap();
                let line = line
                    .replace(&finding.id, &format!("{}{index}", finding.id))
                    .replace(&format!("\"rule\":\"{}\"", finding.rule.id()), &format!("\"rule\":\"{rule}\""));
                match Line::parse(&line).unwrap() {
                    Line::Finding(finding) => findings.push(*finding),
                    other => panic!("{other:?}"),
                }
            }
        }
        findings[3].state = crate::render::read::Text::default();
        let groups = Groups { schema: "mcp-monitor/review/v1", groups: grouped(findings.iter()) };
        insta::assert_snapshot!(for_people(&groups, &sample::look()));
        assert_eq!(groups.groups.len(), 3);
    }
}
