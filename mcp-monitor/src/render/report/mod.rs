//! A report as one page that needs nothing else: no script, no request, a policy that forbids both, everything from a
//! monitored process escaped twice, once as text that acts on nothing ([`crate::event::escape`]) and once as markup
//! (maud).

mod pictures;

use super::{
    read::{Coverage, Event, Finding, Summary, Text},
    text::shortened,
    timeline::{self, Timeline},
    tree::{Counts, Forest, Node, last_name},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{Timestamp, tz::TimeZone};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

const STYLE: &str = include_str!("style.css");
/// Steps that the page shows.
const STEPS_SHOWN: usize = 600;
/// Columns of arguments that the page shows of a process.
const ARGUMENTS_COLUMNS: usize = 160;
/// Findings that the page shows.
const FINDINGS_SHOWN: usize = 200;

/// What a report is made of.
#[derive(Debug)]
pub struct Material<'a> {
    /// In the order of their time.
    pub events: Vec<&'a Event>,
    /// As last told.
    pub findings: Vec<&'a Finding>,
    /// Ends of streams.
    pub summaries: &'a [Summary],
    /// What was asked for, in words.
    pub asked: String,
    /// Where times are shown.
    pub time_zone: TimeZone,
}

/// The page.
#[must_use]
pub fn page(material: &Material<'_>) -> String {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let forest = Forest::new(material.events.iter().copied(), material.findings.iter().copied());
    let names: Vec<_> = forest.instances.iter().map(|of| of.workload.as_str()).collect();
    let title = match names.as_slice() {
        [] => "mcp-monitor report".to_owned(),
        [one] => format!("What {one} did"),
        [first, rest @ ..] => format!("What {first} and {} more did", rest.len()),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                meta name="robots" content="noindex";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(material, &title))
                main {
                    (findings(material))
                    (matrix(material))
                    (egress(material))
                    (tree(&forest))
                    (steps(material))
                    (not_seen(material))
                }
                footer.dim {
                    p { "Made by mcp-monitor " (env!("CARGO_PKG_VERSION")) " on " (Timestamp::now().to_string()) ". "
                        "This page holds metadata only: no content of files, no values of environment variables." }
                }
            }
        }
    };
    page.into_string()
}

fn clock(time: Timestamp, material: &Material<'_>) -> String {
    time.to_zoned(material.time_zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

fn head(material: &Material<'_>, title: &str) -> Markup {
    let first = material.events.first().map(|event| clock(event.time, material));
    let last = material.events.last().map(|event| clock(event.time, material));
    let mut counts = Counts::default();
    for event in material.events.iter().filter(|event| event.coverage.is_none()) {
        counts.add(event.verdict(), event.count);
    }
    let worst = material.findings.iter().filter_map(|finding| finding.severity()).max();
    let records_lost: u64 = material.summaries.iter().map(|summary| summary.total_lost).sum();
    let hosts = material.events.last().map(|event| &event.host.name);
    let card = |class: &str, number: u64, what: &str| {
        html! { div.card { b class=(class) { (number) } span.dim { (what) } } }
    };
    html! {
        header {
            h1 { (title) }
            p.dim {
                @if let (Some(first), Some(last)) = (first, last) { (first) " to " (last) }
                @if let Some(host) = hosts { " on " (host.to_string()) }
                @if let Some(event) = material.events.last() { ", tier " (event.monitor.tier.to_string()) }
            }
            @if !material.asked.is_empty() { p.dim { "Asked for: " span.mono { (material.asked) } } }
            div.cards {
                (card(worst.map_or("expected", crate::event::Severity::name), material.findings.len() as u64,
                    if material.findings.len() == 1 { "finding" } else { "findings" }))
                (card("forbidden", counts.forbidden, "forbidden"))
                (card("unexpected", counts.unexpected, "unexpected"))
                (card("expected", counts.expected, "expected"))
                (card("unjudged", counts.unjudged, "unjudged"))
                (card(if records_lost > 0 { "forbidden" } else { "" }, records_lost, "records lost"))
            }
            nav {
                a href="#findings" { "Findings" } a href="#matrix" { "Expected and seen" } a href="#egress" { "Egress" }
                a href="#tree" { "Processes" } a href="#timeline" { "Timeline" } a href="#coverage" { "Not seen" }
            }
        }
    }
}

fn findings(material: &Material<'_>) -> Markup {
    let mut sorted = material.findings.clone();
    sorted.sort_by_key(|finding| (std::cmp::Reverse(finding.severity()), finding.first_seen));
    let more = sorted.len().saturating_sub(FINDINGS_SHOWN);
    html! {
        h2 id="findings" { "Findings" }
        @if sorted.is_empty() { div.box { "None." } }
        @for finding in sorted.into_iter().take(FINDINGS_SHOWN) {
            @let severity = finding.severity().map_or("low", crate::event::Severity::name);
            div class={ "finding " (severity) } {
                h3 {
                    span class={ "badge " (severity) } { (severity) } " "
                    (finding.title.to_string()) " "
                    span.mono.dim { (finding.rule.to_string()) }
                }
                p { (finding.message.to_string()) }
                dl {
                    @if let Some(state) = finding.standing(&material.time_zone) { dt { "State" } dd { (state) } }
                    dt { "Object" } dd.mono { (finding.object()) }
                    dt { "Workload" } dd { (finding.workload.name.to_string()) }
                    dt { "Process" } dd.mono { (finding.process.pid) " " (process(finding)) }
                    dt { "Seen" } dd { (clock(finding.first_seen, material))
                        @if finding.count > 1 { ", " (finding.count) " times, last " (clock(finding.last_seen, material)) } }
                    dt { "ATT&CK" } dd { (finding.attack.technique.to_string()) " " (finding.attack.tactic.to_string()) }
                    @if !finding.advice.is_empty() { dt { "To do" } dd { (finding.advice.to_string()) } }
                }
            }
        }
        @if more > 0 { p.dim { "and " (more) " more" } }
    }
}

fn process(finding: &Finding) -> String {
    let lineage = finding.process.ancestors.iter().filter_map(|ancestor| ancestor.exe.as_ref());
    let own = finding.process.script.as_ref().or(finding.process.exe.as_ref());
    let names: Vec<_> = own.into_iter().map(Text::to_string).chain(lineage.map(Text::to_string)).collect();
    names.join(" ← ")
}

/// What a kind of event is about.
fn subject(kind: &[u8]) -> &'static str {
    match kind {
        b"exec" | b"map" => "programs",
        b"open" | b"receive" => "files read or opened",
        b"rename" | b"link" | b"symlink" | b"unlink" | b"truncate" | b"chmod" => "files changed",
        b"connect" | b"send" | b"close" => "traffic out",
        b"accept" | b"listen" => "traffic in",
        b"dns" => "names",
        b"snoop" => "other processes",
        b"fork" | b"exit" => "forks and exits",
        _ => "other",
    }
}

fn matrix(material: &Material<'_>) -> Markup {
    let mut rows: BTreeMap<(String, &'static str), Counts> = BTreeMap::new();
    for event in material.events.iter().filter(|event| event.coverage.is_none()) {
        let key = (event.workload.name.to_string(), subject(event.kind.as_bytes()));
        rows.entry(key).or_default().add(event.verdict(), event.count);
    }
    html! {
        h2 id="matrix" { "Expected and seen" }
        div.box { (pictures::matrix(&rows)) }
    }
}

fn egress(material: &Material<'_>) -> Markup {
    let edges = pictures::edges(material.events.iter().copied());
    html! {
        h2 id="egress" { "Egress" }
        div.box {
            @if edges.is_empty() { "Nothing left for another host or port." } @else { (pictures::egress(&edges)) }
        }
    }
}

fn tree(forest: &Forest) -> Markup {
    html! {
        h2 id="tree" { "Processes" }
        @for instance in &forest.instances {
            div.box {
                p { b { (instance.workload) } " " span.dim { (instance.kind)
                    @if let Some(client) = &instance.client { " of " (client) } ", instance "
                    span.mono { (instance.instance) } } }
                ul.tree { @for node in &instance.processes { (branch(node, 0)) } }
                @if instance.more > 0 { p.dim { "and " (instance.more) " more" } }
            }
        }
    }
}

fn branch(node: &Node, depth: usize) -> Markup {
    let worst = node.events.worst();
    let bad = node.events.unexpected + node.events.forbidden;
    let line = html! {
        span.mono.dim { (node.pid) } " " span.mono { (super::tree::programs(node)) } " "
        @if node.events.total() > 0 {
            span class={ "badge " (worst.name()) } {
                (worst.name()) " " @if bad > 0 { (bad) "/" } (node.events.total())
            }
        }
        @for broken in &node.rules {
            " " span class={ "badge " (broken.severity.as_deref().unwrap_or(worst.name())) } { (broken.rule) }
        }
        @if let Some(exit) = &node.exit { " " span.mono.dim { (exit) } }
        @if node.args.len() > 1 { br; span.mono.dim { (shortened(&node.args[1..].join(" "), ARGUMENTS_COLUMNS)) } }
    };
    html! {
        li {
            @if node.children.is_empty() { (line) } @else {
                // What went wrong stands open; what is deep and went well is folded.
                details open[depth == 0 || trouble(node)] {
                    summary { (line) }
                    ul { @for child in &node.children { (branch(child, depth + 1)) } }
                }
            }
        }
    }
}

fn trouble(node: &Node) -> bool {
    !node.rules.is_empty()
        || node.events.unexpected + node.events.forbidden > 0
        || node.children.iter().any(trouble)
}

fn steps(material: &Material<'_>) -> Markup {
    let timeline = Timeline::new(material.events.iter().copied(), material.findings.iter().copied());
    let more = timeline.steps.len().saturating_sub(STEPS_SHOWN) as u64 + timeline.more;
    html! {
        h2 id="timeline" { "Timeline" }
        div.box {
            table.steps {
                thead { tr { th { "After" } th { "Process" } th { "What" } th { "Object" } } }
                tbody {
                    @for step in timeline.steps.iter().take(STEPS_SHOWN) {
                        @let class = match step.verdict.as_str() { "forbidden" => "bad", "unexpected" => "odd", _ => "" };
                        tr class=(class) {
                            td.when { (timeline::after(step.after_ms)) }
                            td.mono { (step.pid) " " (last_name(&step.program)) }
                            td { span class=(verdict_class(&step.verdict)) { (step.kind) }
                                @if let Some(rule) = &step.rule { " " span class={ "badge "
                                    (step.severity.as_deref().unwrap_or("low")) } { (rule) } } }
                            td.object { span.mono { (step.object) }
                                @if step.objects > 1 { span.dim { " and " (step.objects - 1) " more" } }
                                @else if step.count > 1 { span.dim { " ×" (step.count) } }
                                @if let Some(result) = &step.result { " " span.dim { (result) } } }
                        }
                    }
                }
            }
            @if more > 0 { p.dim { "and " (more) " more steps" } }
        }
    }
}

/// A class of the style for a word; nothing else becomes a class.
fn verdict_class(word: &str) -> &'static str {
    match word {
        "expected" => "expected",
        "unexpected" => "unexpected",
        "forbidden" => "forbidden",
        _ => "unjudged",
    }
}

fn not_seen(material: &Material<'_>) -> Markup {
    let mut rows: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    let mut add = |workload: &Text, note: &Coverage| {
        let key = (workload.to_string(), note.cause.to_string(), note.what.to_string());
        *rows.entry(key).or_default() += note.count;
    };
    if material.summaries.is_empty() {
        for event in &material.events {
            if let Some(note) = &event.coverage {
                add(&event.workload.name, note);
            }
        }
    }
    for note in material.summaries.iter().flat_map(|summary| &summary.coverage) {
        add(&note.workload, note);
    }
    html! {
        h2 id="coverage" { "Not seen" }
        div.box {
            @if rows.is_empty() { "Nothing is known that could not be seen." } @else {
                table {
                    thead { tr { th { "Workload" } th { "Cause" } th { "Count" } th { "What" } } }
                    tbody { @for ((workload, cause, what), count) in &rows {
                        tr { td { (workload) } td { (cause) } td.number { (count) } td { (what) } }
                    } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
