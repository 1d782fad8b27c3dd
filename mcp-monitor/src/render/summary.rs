//! The closing summary: what was counted while a stream ran, for people and as the last JSON line.

use super::{
    Origin,
    human::{Look, severity_style},
    object,
    text::{escaped, padded, shortened},
};
use crate::event::{Action, BootNs, CoverageNote, Event, Finding, Verdict};
use anstyle::{AnsiColor, Style};
use std::{collections::BTreeMap, fmt::Write as _};

/// Coverage notes that a tally keeps apart; more are only counted.
pub const COVERAGE_NOTES_MAX: usize = 256;

/// Records that did not come through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// A [`mcp_monitor_common::loss::LossCause`]'s name, or a user-space queue's.
    pub cause: &'static str,
    /// Name of the workload; `None` for the whole host.
    pub workload: Option<String>,
    /// How many.
    pub count: u64,
}

/// What happened while a stream ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Begin.
    pub started: BootNs,
    /// End.
    pub ended: BootNs,
    /// Occurrences by kind and verdict.
    pub events: BTreeMap<(&'static str, Verdict), u64>,
    /// Findings, as they stand at the end.
    pub findings: Vec<Finding>,
    /// Losses.
    pub losses: Vec<Loss>,
    /// Workload and what could not be seen of it.
    pub coverage: Vec<(String, CoverageNote)>,
    /// Notes beyond [`COVERAGE_NOTES_MAX`].
    pub coverage_more: u64,
    /// Why it ended: `command ended with status 0`, `interrupted` …
    pub end: String,
}

impl Summary {
    /// Occurrences of everything.
    #[must_use]
    pub fn total_events(&self) -> u64 {
        self.events.values().sum()
    }

    /// Lost records of every cause.
    #[must_use]
    pub fn total_lost(&self) -> u64 {
        self.losses.iter().map(|loss| loss.count).sum()
    }
}

/// Counts events for the summary.
#[derive(Debug)]
pub struct Tally {
    summary: Summary,
}

impl Tally {
    /// Begins to count.
    #[must_use]
    pub fn new(started: BootNs) -> Self {
        Self { summary: Summary { started, ..Summary::default() } }
    }

    /// Counts `event`; what it says about coverage is kept.
    pub fn event(&mut self, event: &Event) {
        if let Action::Coverage(note) = &event.action {
            self.note(&event.workload.name, note);
            return;
        }
        *self.summary.events.entry((event.action.kind(), event.verdict)).or_default() += event.count;
    }

    /// Keeps what could not be seen of `workload`; the same note twice is one with both counts.
    pub fn note(&mut self, workload: &str, note: &CoverageNote) {
        let known =
            self.summary.coverage.iter_mut().find(|(name, known)| {
                name == workload && known.cause == note.cause && known.what == note.what
            });
        if let Some((_, known)) = known {
            known.count += note.count;
        } else if self.summary.coverage.len() < COVERAGE_NOTES_MAX {
            self.summary.coverage.push((workload.to_owned(), note.clone()));
        } else {
            self.summary.coverage_more += 1;
        }
    }

    /// The summary. The most severe findings come first.
    #[must_use]
    pub fn finish(
        self,
        ended: BootNs,
        mut findings: Vec<Finding>,
        losses: Vec<Loss>,
        end: String,
    ) -> Summary {
        findings.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.first_seen));
        Summary { ended, findings, losses, end, ..self.summary }
    }
}

/// The summary for people, several lines.
#[must_use]
pub fn for_people(origin: &Origin, summary: &Summary, look: &Look) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write_summary(&mut text, origin, summary, look);
    text
}

fn write_summary(text: &mut String, origin: &Origin, summary: &Summary, look: &Look) -> std::fmt::Result {
    let bold = look.style(Style::new().bold());
    let dim = look.style(Style::new().dimmed());
    let lost = summary.total_lost();
    writeln!(text, "\n{bold}Summary{bold:#}  {}", escaped(summary.end.as_bytes()))?;
    writeln!(
        text,
        "  {} · tier {} · {} · {} · {}",
        duration(summary.ended.0.saturating_sub(summary.started.0)),
        origin.tier.name(),
        counted(summary.total_events(), "event"),
        counted(summary.findings.len() as u64, "finding"),
        if lost == 0 { "nothing lost".into() } else { format!("{} lost", grouped(lost)) },
    )?;
    write_events(text, summary, look)?;
    if !summary.findings.is_empty() {
        writeln!(text, "\n  {bold}Findings{bold:#}")?;
    }
    for finding in &summary.findings {
        let style = look.style(severity_style(finding.severity));
        let times = if finding.count > 1 { format!("  ×{}", finding.count) } else { String::new() };
        let width = look.width.map_or(usize::MAX, |width| width.saturating_sub(4).max(20));
        writeln!(
            text,
            "    {style}{}{style:#} {}{times}",
            padded(finding.severity.name(), 8),
            finding.rule.id()
        )?;
        let exe = escaped(finding.process.executable.as_slice());
        let process = format!("pid {} {exe}", finding.process.key.pid.0);
        writeln!(text, "      {}", shortened(&process, width))?;
        writeln!(text, "      {}", shortened(&object::of_action(&finding.action), width))?;
        writeln!(text, "      {dim}{}{dim:#}", escaped(finding.decision.reason.as_bytes()))?;
    }
    if lost > 0 {
        let warn = look.style(AnsiColor::Yellow.on_default());
        writeln!(text, "\n  {warn}Lost{warn:#} (what was lost is not in the stream)")?;
        for loss in &summary.losses {
            let workload = loss.workload.as_deref().unwrap_or("whole host");
            writeln!(
                text,
                "    {:>12}  {}  {}",
                grouped(loss.count),
                loss.cause,
                escaped(workload.as_bytes())
            )?;
        }
    }
    if !summary.coverage.is_empty() {
        writeln!(text, "\n  {bold}Not seen{bold:#}")?;
        for (workload, note) in &summary.coverage {
            let count = if note.count > 0 { format!(" ({})", grouped(note.count)) } else { String::new() };
            writeln!(
                text,
                "    {}: {}{count} {dim}{}{dim:#}",
                note.cause,
                escaped(note.what.as_bytes()),
                escaped(workload.as_bytes())
            )?;
        }
        if summary.coverage_more > 0 {
            writeln!(text, "    and {} more", grouped(summary.coverage_more))?;
        }
    }
    Ok(())
}

fn write_events(text: &mut String, summary: &Summary, look: &Look) -> std::fmt::Result {
    const VERDICTS: [Verdict; 4] =
        [Verdict::Expected, Verdict::Unexpected, Verdict::Forbidden, Verdict::Unjudged];
    if summary.events.is_empty() {
        return Ok(());
    }
    let bold = look.style(Style::new().bold());
    let dim = look.style(Style::new().dimmed());
    let mut kinds: Vec<_> = summary.events.keys().map(|(kind, _)| *kind).collect();
    kinds.dedup();
    write!(text, "\n  {bold}Events{bold:#}    ")?;
    for verdict in VERDICTS {
        write!(text, " {dim}{:>12}{dim:#}", verdict.name())?;
    }
    writeln!(text)?;
    for kind in kinds {
        write!(text, "    {kind:<8}")?;
        for verdict in VERDICTS {
            let count = summary.events.get(&(kind, verdict)).copied().unwrap_or(0);
            let style = look.style(match verdict {
                _ if count == 0 => Style::new().dimmed(),
                Verdict::Unexpected => AnsiColor::Yellow.on_default(),
                Verdict::Forbidden => AnsiColor::Red.on_default().bold(),
                Verdict::Expected | Verdict::Unjudged => Style::new(),
            });
            let number = if count == 0 { "·".to_owned() } else { grouped(count) };
            write!(text, " {style}{number:>12}{style:#}")?;
        }
        writeln!(text)?;
    }
    Ok(())
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

fn duration(nanoseconds: u64) -> String {
    let tenths = nanoseconds / 100_000_000;
    let (seconds, tenths) = (tenths / 10, tenths % 10);
    match seconds {
        0..60 => format!("{seconds}.{tenths} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    #[test]
    fn numbers_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(duration(59_949_000_000), "59.9 s");
        assert_eq!(duration(3_725_000_000_000), "1 h 2 min");
    }

    #[test]
    fn the_same_note_twice_is_one() {
        let mut tally = Tally::new(BootNs(0));
        let note = CoverageNote { cause: "truncated", what: "argv".into(), count: 2 };
        tally.note("a", &note);
        tally.note("a", &note);
        tally.note("b", &note);
        let summary = tally.finish(BootNs(1), Vec::new(), Vec::new(), String::new());
        assert_eq!(summary.coverage.iter().map(|(_, note)| note.count).collect::<Vec<_>>(), [4, 2]);
    }

    #[test]
    fn notes_are_bounded() {
        let mut tally = Tally::new(BootNs(0));
        for number in 0..COVERAGE_NOTES_MAX + 3 {
            tally.note("a", &CoverageNote { cause: "truncated", what: number.to_string(), count: 1 });
        }
        let summary = tally.finish(BootNs(1), Vec::new(), Vec::new(), String::new());
        assert_eq!((summary.coverage.len(), summary.coverage_more), (COVERAGE_NOTES_MAX, 3));
    }

    #[test]
    fn summary_for_people() {
        let text = for_people(&sample::origin(), &sample::summary(), &sample::look());
        insta::assert_snapshot!(text);
    }
}
