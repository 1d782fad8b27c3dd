//! One finding, event or rule in full: who did it and whose child that was, what came before it, what it means, when it
//! is nothing, and what to do.

use super::{
    human::{Look, severity_style, verdict_badge, wrapped},
    output::Rows,
    read::{Event, Finding, Process, Text},
    text::shortened,
    timeline::{self, Timeline},
};
use crate::{
    event::{Rule, Severity},
    finding::rules::{RuleBook, RuleText},
};
use anstyle::Style;
use jiff::tz::TimeZone;
use serde::Serialize;
use std::fmt::Write as _;
use utoipa::ToSchema;

/// Steps of the same lineage that are shown before the one that is explained.
const STEPS_BEFORE: usize = 12;
/// Columns of a row's name.
const NAME_COLUMNS: usize = 14;

/// See the module.
#[derive(Debug, Serialize, ToSchema)]
pub struct Explanation {
    /// `mcp-monitor/explanation/v1`.
    pub schema: &'static str,
    /// Id of the finding or event; empty for a rule.
    pub id: String,
    /// One line.
    pub title: String,
    /// Broken rule.
    pub rule: Option<String>,
    /// How bad, of a finding.
    pub severity: Option<String>,
    /// Judged, of an event.
    pub verdict: Option<String>,
    /// What is known of it, name by name.
    pub facts: Vec<Fact>,
    /// The process and what it descends from, nearest first.
    pub lineage: Vec<String>,
    /// What happened before it in the same instance, in the order of time.
    pub before: Timeline,
    /// What the rule means.
    pub meaning: Option<String>,
    /// When it is nothing.
    pub false_positives: Option<String>,
    /// What to do.
    pub advice: Option<String>,
    /// An option or expectation that would make it expected.
    pub allowed_by: Option<String>,
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fact {
    /// Its name.
    pub name: &'static str,
    /// In words.
    pub value: String,
}

impl Explanation {
    /// Of a rule alone.
    #[must_use]
    pub fn of_rule(rule: Rule, rules: &RuleBook) -> Self {
        let text = rules.text(rule);
        let mut facts = Vec::new();
        if let Some(text) = text {
            facts.push(attack(&text.technique.id, &text.technique.name, &text.tactic.name));
        }
        Self {
            title: text.map_or_else(String::new, |text| text.title.clone()),
            rule: Some(rule.id().into()),
            severity: text.map(|text| text.severity.name().into()),
            facts,
            ..Self::begun("", text)
        }
    }

    /// Of the finding or event whose id is `id` or begins so; `None` when there is none, or more than one.
    pub fn of_id<'a>(
        id: &str,
        events: impl IntoIterator<Item = &'a Event> + Clone,
        findings: impl IntoIterator<Item = &'a Finding>,
        rules: &RuleBook,
    ) -> Option<Self> {
        let wanted = |of: &Text| !id.is_empty() && of.as_bytes().starts_with(id.as_bytes());
        let mut found = findings.into_iter().filter(|finding| wanted(&finding.id));
        if let (Some(finding), None) = (found.next(), found.next()) {
            return Some(Self::of_finding(finding, events, rules));
        }
        let mut found = events.clone().into_iter().filter(|event| wanted(&event.id));
        let (Some(event), None) = (found.next(), found.next()) else { return None };
        Some(Self::of_event(event, events, rules))
    }

    fn begun(id: &str, text: Option<&RuleText>) -> Self {
        Self {
            schema: "mcp-monitor/explanation/v1",
            id: id.to_owned(),
            title: String::new(),
            rule: None,
            severity: None,
            verdict: None,
            facts: Vec::new(),
            lineage: Vec::new(),
            before: Timeline::default(),
            meaning: text.map(|text| text.meaning.clone()),
            false_positives: text.map(|text| text.false_positives.clone()),
            advice: text.map(|text| text.action.clone()),
            allowed_by: None,
        }
    }

    fn of_finding<'a>(
        finding: &'a Finding,
        events: impl IntoIterator<Item = &'a Event>,
        rules: &RuleBook,
    ) -> Self {
        let text = known(&finding.rule).and_then(|rule| rules.text(rule));
        let first = finding.events.first();
        let mut facts = vec![
            fact("what", finding.message.to_string()),
            fact("object", finding.object()),
            fact("reason", finding.decision.reason.to_string()),
            fact("decided by", finding.decision.source.to_string()),
            fact("seen", seen(finding)),
            fact("state", finding.standing(&TimeZone::UTC).unwrap_or_else(|| finding.state.to_string())),
        ];
        facts.extend(who(&finding.workload, &finding.process));
        facts.push(attack(
            &finding.attack.technique.escaped(),
            text.filter(|text| finding.attack.technique == *text.technique.id.as_str())
                .map_or("", |text| &text.technique.name),
            &finding.attack.tactic.escaped(),
        ));
        let advice = if finding.advice.is_empty() {
            text.map(|text| text.action.clone())
        } else {
            Some(finding.advice.to_string())
        };
        let destination = finding.network.as_ref().and_then(super::read::destination);
        Self {
            title: finding.title.to_string(),
            rule: Some(finding.rule.to_string()),
            severity: Some(finding.severity.to_string()),
            facts,
            lineage: lineage(&finding.process),
            before: before(events, &finding.workload.instance, |event| Some(&event.id) == first),
            advice,
            allowed_by: allowed_by(&finding.rule, destination, &finding.object()),
            ..Self::begun(&finding.id.escaped(), text)
        }
    }

    fn of_event<'a>(event: &'a Event, events: impl IntoIterator<Item = &'a Event>, rules: &RuleBook) -> Self {
        let text = event.rule.as_ref().and_then(known).and_then(|rule| rules.text(rule));
        let mut facts = vec![
            fact("object", event.object()),
            fact("result", event.result.to_string()),
            fact("reason", event.decision.reason.to_string()),
            fact("decided by", event.decision.source.to_string()),
            fact("time", event.time.to_string()),
            fact("seen by", event.mechanism.to_string()),
        ];
        if let Some(confidence) = event.network.as_ref().and_then(|network| network.name_confidence.as_ref())
        {
            facts.push(fact("name from", confidence.to_string()));
        }
        facts.extend(who(&event.workload, &event.process));
        Self {
            title: format!("{} of {}", event.kind, event.workload.name),
            rule: event.rule.as_ref().map(Text::to_string),
            verdict: Some(event.verdict.to_string()),
            facts,
            lineage: lineage(&event.process),
            before: before(events, &event.workload.instance, |other| other.id == event.id),
            allowed_by: event
                .rule
                .as_ref()
                .and_then(|rule| allowed_by(rule, event.destination(), &event.object())),
            ..Self::begun(&event.id.escaped(), text)
        }
    }
}

fn seen(finding: &Finding) -> String {
    match finding.count {
        0 | 1 => format!("once, {}", finding.first_seen),
        count => format!("{count} times, {} to {}", finding.first_seen, finding.last_seen),
    }
}

fn known(rule: &Text) -> Option<Rule> {
    Rule::ALL.into_iter().find(|known| *rule == *known.id())
}

fn fact(name: &'static str, value: String) -> Fact {
    Fact { name, value }
}

fn attack(technique: &str, name: &str, tactic: &str) -> Fact {
    fact("ATT&CK", format!("{technique} {name} ({tactic})").replace("  ", " "))
}

fn who(workload: &super::read::Workload, process: &Process) -> Vec<Fact> {
    let client = workload.client.as_ref().map(|client| format!(" of {client}")).unwrap_or_default();
    let mut facts = vec![
        fact(
            "workload",
            format!("{} ({}{client}, instance {})", workload.name, workload.kind, workload.instance),
        ),
        fact("user", format!("{} ({})", process.user(), process.uid)),
    ];
    if let Some(container) = &process.container {
        facts.push(fact("container", container.id.to_string()));
    }
    if !process.args.is_empty() {
        let arguments: Vec<_> = process.args.iter().map(Text::to_string).collect();
        facts.push(fact("arguments", arguments.join(" ")));
    }
    facts
}

fn lineage(process: &Process) -> Vec<String> {
    let exe = |exe: &Option<Text>| exe.as_ref().map_or_else(|| "?".to_owned(), Text::to_string);
    let script = process.script.as_ref().map(|script| format!(" {script}")).unwrap_or_default();
    let own = format!("{} {}{script}", process.pid, exe(&process.exe));
    let ancestors =
        process.ancestors.iter().map(|ancestor| format!("{} {}", ancestor.pid, exe(&ancestor.exe)));
    std::iter::once(own).chain(ancestors).collect()
}

fn before<'a>(
    events: impl IntoIterator<Item = &'a Event>,
    instance: &Text,
    is_it: impl Fn(&Event) -> bool,
) -> Timeline {
    let mut passed = Vec::new();
    for event in events {
        if event.workload.instance == *instance {
            passed.push(event);
            if is_it(event) {
                break;
            }
        }
    }
    let mut timeline = Timeline::new(passed, []);
    let surplus = timeline.steps.len().saturating_sub(STEPS_BEFORE);
    timeline.steps.drain(..surplus);
    timeline
}

/// What would make it expected, in the words of the command line.
fn allowed_by(rule: &Text, destination: Option<String>, object: &str) -> Option<String> {
    match rule.as_bytes() {
        b"unknown-egress" | b"metadata-egress" => {
            destination.map(|it| format!("--allow-egress {}", quoted(&it)))
        }
        b"secret-read" => Some(format!("--secret {}", quoted(object))),
        _ => None,
    }
}

/// A word that a shell takes as one.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:@%+,=[]".contains(&byte);
    if word.bytes().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

impl Rows for Explanation {
    const HEADER: &'static [&'static str] = &["name", "value"];

    fn rows(&self) -> Vec<Vec<String>> {
        let row = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
        let mut rows = vec![row("id", &self.id), row("title", &self.title)];
        rows.extend(self.facts.iter().map(|fact| row(fact.name, &fact.value)));
        let optional = [
            ("rule", &self.rule),
            ("severity", &self.severity),
            ("verdict", &self.verdict),
            ("meaning", &self.meaning),
            ("false positives", &self.false_positives),
            ("to do", &self.advice),
            ("allowed by", &self.allowed_by),
        ];
        rows.extend(optional.into_iter().filter_map(|(name, value)| Some(row(name, value.as_deref()?))));
        rows
    }
}

/// `explanation` for people.
#[must_use]
pub fn for_people(explanation: &Explanation, look: &Look) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write(&mut text, explanation, look);
    text
}

fn write(text: &mut String, explanation: &Explanation, look: &Look) -> std::fmt::Result {
    let bold = look.style(Style::new().bold());
    let dim = look.style(Style::new().dimmed());
    let severity = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical]
        .into_iter()
        .find(|severity| explanation.severity.as_deref() == Some(severity.name()));
    let verdict =
        explanation.verdict.as_ref().and_then(|word| super::read::verdict(&Text::from(word.as_str())));
    let style = look.style(severity.map_or_else(|| verdict_badge(verdict).1, severity_style));
    let badge = explanation.severity.as_ref().or(explanation.verdict.as_ref());
    let badge = badge.map(|word| word.to_uppercase()).unwrap_or_default();
    let rule = explanation.rule.as_deref().unwrap_or_default();
    writeln!(text, "{style}{badge} {rule}{style:#}  {bold}{}{bold:#}", explanation.title)?;
    let width = look.width.unwrap_or(usize::MAX);
    let room = width.saturating_sub(NAME_COLUMNS + 3).max(24);
    let mut row = |name: &str, value: &str, wraps: bool| -> std::fmt::Result {
        let parts = if wraps { wrapped(value, room) } else { vec![shortened(value, room).into_owned()] };
        for (index, part) in parts.into_iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            writeln!(text, "  {dim}{name:<NAME_COLUMNS$}{dim:#} {part}")?;
        }
        Ok(())
    };
    if !explanation.id.is_empty() {
        row("id", &explanation.id, false)?;
    }
    for fact in &explanation.facts {
        let sentence = matches!(fact.name, "what" | "reason" | "ATT&CK");
        row(fact.name, &fact.value, sentence)?;
    }
    for (depth, process) in explanation.lineage.iter().enumerate() {
        row(if depth == 0 { "process" } else { "child of" }, process, false)?;
    }
    if !explanation.before.steps.is_empty() {
        let narrower = Look { width: look.width.map(|width| width.saturating_sub(2)), ..look.clone() };
        writeln!(text, "\n  {bold}Before it{bold:#}")?;
        for line in timeline::for_people(&explanation.before, &narrower).lines() {
            writeln!(text, "  {line}")?;
        }
    }
    let sections = [
        ("What it means", &explanation.meaning),
        ("When it is nothing", &explanation.false_positives),
        ("What to do", &explanation.advice),
    ];
    for (title, section) in sections {
        let Some(section) = section else { continue };
        writeln!(text, "\n  {bold}{title}{bold:#}")?;
        for part in wrapped(section, width.saturating_sub(4).max(24)) {
            writeln!(text, "    {part}")?;
        }
    }
    if let Some(allowed_by) = &explanation.allowed_by {
        writeln!(text, "\n  {bold}Expected with{bold:#}  {allowed_by}")?;
    }
    Ok(())
}
