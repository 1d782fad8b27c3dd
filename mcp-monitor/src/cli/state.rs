//! How the monitor and its workloads are, for people.

use crate::{
    control::api::{Coverage, SeverityCounts, Status, VerdictCounts, WorkloadRow, Workloads},
    render::{human::Look, output::Rows, text::byte_count},
};
use anstyle::{AnsiColor, Style};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use jiff::Timestamp;
use std::fmt::Write as _;

/// A table as wide as the terminal, without lines, so that it can be copied.
fn table(look: &Look, header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    // Of no terminal nothing is known; it is not wrapped.
    table.set_width(u16::try_from(look.width.unwrap_or(4096)).unwrap_or(u16::MAX));
    table.set_header(header.iter().map(Cell::new));
    table
}

fn written(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[allow(clippy::needless_pass_by_value, reason = "as Cell::new takes it")]
fn right(value: impl ToString) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

/// `3 s`, `12 min`, `5 h`, `9 d` ago.
pub(super) fn ago(time: &str) -> String {
    let Ok(time) = time.parse::<Timestamp>() else { return String::new() };
    let seconds = Timestamp::now().duration_since(time).as_secs().max(0);
    duration(seconds.unsigned_abs())
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn severities(counts: &SeverityCounts) -> String {
    let words = [
        (counts.critical, "critical"),
        (counts.high, "high"),
        (counts.medium, "medium"),
        (counts.low, "low"),
    ];
    let words: Vec<_> = words
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

fn total(counts: &VerdictCounts) -> u64 {
    counts.expected + counts.unexpected + counts.forbidden + counts.unjudged
}

/// [`Status`] for people.
pub(super) fn status(status: &Status, look: &Look) -> String {
    let mut text = String::new();
    let good = look.style(AnsiColor::Green.on_default().bold());
    let bad = look.style(AnsiColor::Red.on_default().bold());
    let dim = look.style(Style::new().dimmed());
    let (style, word) = match (status.ready, status.alive) {
        (_, true) => (good, "running"),
        (false, false) => (bad, "starting"),
        (true, false) => (bad, "not turning"),
    };
    let mut row = |name: &str, value: &str| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "  {dim}{name:<10}{dim:#} {value}");
    };
    row("monitor", &format!("{style}{word}{style:#}, version {}, pid {}", status.version, status.pid));
    row("since", &format!("{} ({} ago)", status.started, duration(status.uptime_s)));
    row("host", &format!("{}, tier {}", status.host, status.tier));
    row("sandbox", &status.sandbox.line());
    row(
        "workloads",
        &format!(
            "{} running with {} processes, {} seen",
            status.instances_running, status.processes, status.instances
        ),
    );
    row(
        "events",
        &format!(
            "{}: {} expected, {} unexpected, {} forbidden, {} unjudged; {:.1} a second",
            total(&status.events),
            status.events.expected,
            status.events.unexpected,
            status.events.forbidden,
            status.events.unjudged,
            status.events_per_second
        ),
    );
    let of = &status.finding_states;
    let handled: Vec<_> =
        [(of.acknowledged, "acknowledged"), (of.suppressed, "suppressed"), (of.closed, "closed")]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
    let handled = if handled.is_empty() { String::new() } else { format!("; {}", handled.join(", ")) };
    row("findings", &format!("{}{handled}", severities(&status.findings)));
    let lost: Vec<_> = status.losses.iter().map(|loss| format!("{} {}", loss.count, loss.cause)).collect();
    row("lost", &if lost.is_empty() { "nothing".to_owned() } else { lost.join(", ") });
    let control = &status.control;
    row(
        "socket",
        &format!(
            "{}, {} connections, {} follow, {}{}",
            control.socket,
            control.connections,
            control.followers,
            if control.recorded {
                "all that is recorded can be asked for".to_owned()
            } else {
                format!("{} events held, nothing recorded", control.held)
            },
            if control.queue_dropped > 0 {
                format!(", {} not taken in", control.queue_dropped)
            } else {
                String::new()
            }
        ),
    );
    if let Some(limited) = &status.limited_to {
        row("shown", limited);
    }
    text
}

impl Rows for Status {
    const HEADER: &'static [&'static str] = &[
        "version",
        "pid",
        "host",
        "tier",
        "started",
        "alive",
        "instances_running",
        "processes",
        "expected",
        "unexpected",
        "forbidden",
        "unjudged",
        "critical",
        "high",
        "medium",
        "low",
        "acknowledged",
        "suppressed",
        "lost",
    ];

    fn rows(&self) -> Vec<Vec<String>> {
        let numbers = [
            self.instances_running,
            self.processes,
            self.events.expected,
            self.events.unexpected,
            self.events.forbidden,
            self.events.unjudged,
            self.findings.critical,
            self.findings.high,
            self.findings.medium,
            self.findings.low,
            self.finding_states.acknowledged,
            self.finding_states.suppressed,
            self.losses.iter().map(|loss| loss.count).sum(),
        ];
        let mut row = vec![
            self.version.clone(),
            self.pid.to_string(),
            self.host.clone(),
            self.tier.clone(),
            self.started.clone(),
            self.alive.to_string(),
        ];
        row.extend(numbers.iter().map(u64::to_string));
        vec![row]
    }
}

/// [`Workloads`] for people.
pub(super) fn workloads(workloads: &Workloads, look: &Look) -> String {
    if workloads.workloads.is_empty() {
        return "No workload was seen yet.\n".into();
    }
    let mut table = table(
        look,
        &[
            "WORKLOAD", "KIND", "CLIENT", "USER", "STATE", "PROCS", "EVENTS", "RATE", "FINDINGS", "NOT SEEN",
            "LAST",
        ],
    );
    for row in &workloads.workloads {
        table.add_row(vec![
            Cell::new(&row.name),
            Cell::new(&row.kind),
            Cell::new(row.client.as_deref().unwrap_or("-")),
            Cell::new(row.user.clone().or(row.uid.map(|uid| uid.to_string())).unwrap_or_else(|| "-".into())),
            Cell::new(state(row)),
            right(row.processes),
            right(total(&row.events)),
            right(format!("{:.1}", row.events_per_second)),
            Cell::new(severities(&row.findings)),
            right(row.not_seen),
            right(ago(&row.last_seen)),
        ]);
    }
    written(&table)
}

/// [`Workloads`] for people, with ids and destinations.
pub(super) fn workloads_wide(all: &Workloads, look: &Look) -> String {
    let mut text = workloads(all, look);
    for row in &all.workloads {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "\n{} {}\n  id {}\n  instance {}", row.kind, row.name, row.id, row.instance);
        for of in &row.destinations {
            let _ = writeln!(
                text,
                "  {:<10} {} ×{}, sent {}, received {}",
                of.verdict,
                of.destination,
                of.count,
                byte_count(of.bytes_sent),
                byte_count(of.bytes_received)
            );
        }
    }
    text
}

pub(super) fn state(row: &WorkloadRow) -> &'static str {
    match (row.paused, row.running) {
        (true, _) => "paused",
        (false, true) => "running",
        (false, false) => "ended",
    }
}

impl Rows for Workloads {
    const HEADER: &'static [&'static str] = &[
        "name",
        "kind",
        "client",
        "user",
        "state",
        "processes",
        "expected",
        "unexpected",
        "forbidden",
        "unjudged",
        "events_per_second",
        "critical",
        "high",
        "medium",
        "low",
        "lost",
        "not_seen",
        "first_seen",
        "last_seen",
        "id",
        "instance",
    ];

    fn rows(&self) -> Vec<Vec<String>> {
        let of = |row: &WorkloadRow| {
            vec![
                row.name.clone(),
                row.kind.clone(),
                row.client.clone().unwrap_or_default(),
                row.user.clone().unwrap_or_default(),
                state(row).into(),
                row.processes.to_string(),
                row.events.expected.to_string(),
                row.events.unexpected.to_string(),
                row.events.forbidden.to_string(),
                row.events.unjudged.to_string(),
                row.events_per_second.to_string(),
                row.findings.critical.to_string(),
                row.findings.high.to_string(),
                row.findings.medium.to_string(),
                row.findings.low.to_string(),
                row.lost.to_string(),
                row.not_seen.to_string(),
                row.first_seen.clone(),
                row.last_seen.clone(),
                row.id.clone(),
                row.instance.clone(),
            ]
        };
        self.workloads.iter().map(of).collect()
    }
}

/// [`Coverage`] for people.
pub(super) fn coverage(coverage: &Coverage, look: &Look) -> String {
    if coverage.rows.is_empty() {
        return "Nothing is known that could not be seen.\n".into();
    }
    let mut table = table(look, &["WORKLOAD", "CAUSE", "COUNT", "NOT SEEN"]);
    for row in &coverage.rows {
        let count = if row.count > 0 { row.count.to_string() } else { "-".into() };
        table.add_row(vec![
            Cell::new(&row.workload),
            Cell::new(&row.cause),
            right(count),
            Cell::new(&row.what),
        ]);
    }
    let mut text = written(&table);
    if coverage.more > 0 {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "and {} more", coverage.more);
    }
    text
}

impl Rows for Coverage {
    const HEADER: &'static [&'static str] = &["workload", "instance", "cause", "what", "count"];

    fn rows(&self) -> Vec<Vec<String>> {
        self.rows
            .iter()
            .map(|row| {
                vec![
                    row.workload.clone(),
                    row.instance.clone(),
                    row.cause.clone(),
                    row.what.clone(),
                    row.count.to_string(),
                ]
            })
            .collect()
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
