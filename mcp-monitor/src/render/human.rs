//! Lines for a terminal: one line per event, a block per finding.
//!
//! Columns are aligned; what does not fit the terminal is shortened in the middle (never in JSON). Nothing of a
//! monitored process reaches the terminal unescaped, so colours and line breaks are always ours.

use super::{
    Origin,
    object::{self, Described},
    text::{columns, escaped, padded, shortened},
};
use crate::event::{Event, Finding, Process, Severity, Verdict, Workload};
use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;
use std::{
    fmt::Write as _,
    hash::{DefaultHasher, Hash, Hasher},
};

/// Columns of the workload's name.
const WORKLOAD_COLUMNS: usize = 16;
/// Columns of the workload's name on a narrow terminal.
const WORKLOAD_COLUMNS_NARROW: usize = 10;
/// A terminal with fewer columns is narrow: no milliseconds, no program, a short workload.
const NARROW_COLUMNS: usize = 110;
/// Columns of the program's name.
const PROGRAM_COLUMNS: usize = 12;
/// Columns that the object gets however narrow the terminal is.
const OBJECT_COLUMNS_MIN: usize = 16;
/// Colours of workloads. None that a verdict uses.
const WORKLOAD_COLOURS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Blue,
    AnsiColor::Magenta,
    AnsiColor::BrightCyan,
    AnsiColor::BrightBlue,
    AnsiColor::BrightMagenta,
];

/// How lines for people look.
#[derive(Clone, Debug)]
pub struct Look {
    /// With colour.
    pub colour: bool,
    /// Columns of the terminal; `None` when it is none and nothing is shortened.
    pub width: Option<usize>,
    /// Where times are shown.
    pub time_zone: TimeZone,
}

impl Look {
    /// `style`, or none without colour.
    #[must_use]
    pub fn style(&self, style: Style) -> Style {
        if self.colour { style } else { Style::new() }
    }
}

/// The style of a severity.
#[must_use]
pub fn severity_style(severity: Severity) -> Style {
    match severity {
        Severity::Critical => AnsiColor::White.on(AnsiColor::Red).bold(),
        Severity::High => AnsiColor::Red.on_default().bold(),
        Severity::Medium => AnsiColor::Yellow.on_default().bold(),
        Severity::Low => AnsiColor::Yellow.on_default(),
    }
}

fn verdict_badge(verdict: Verdict) -> (&'static str, Style) {
    match verdict {
        Verdict::Expected => ("expected", AnsiColor::Green.on_default()),
        Verdict::Unexpected => ("UNEXPECTED", AnsiColor::Yellow.on_default().bold()),
        Verdict::Forbidden => ("FORBIDDEN", AnsiColor::Red.on_default().bold()),
        Verdict::Unjudged => ("unjudged", Style::new().dimmed()),
    }
}

fn workload_style(workload: &Workload) -> Style {
    let mut hasher = DefaultHasher::new();
    workload.instance.hash(&mut hasher);
    let colours = WORKLOAD_COLOURS.len() as u64;
    let index = usize::try_from(hasher.finish() % colours).unwrap_or(0);
    WORKLOAD_COLOURS[index].on_default()
}

/// The program's last name, or what stands for it.
fn program(process: &Process) -> &[u8] {
    let path = process.script.as_ref().unwrap_or(&process.executable).as_slice();
    path.rsplit(|byte| *byte == b'/').next().filter(|name| !name.is_empty()).unwrap_or(b"?")
}

/// `event` as one line with its line feed.
#[must_use]
pub fn event(origin: &Origin, event: &Event, look: &Look) -> String {
    let mut line = String::with_capacity(160);
    // Writing into a String cannot fail.
    let _ = write_event(&mut line, origin, event, look);
    line
}

fn write_event(line: &mut String, origin: &Origin, event: &Event, look: &Look) -> std::fmt::Result {
    let narrow = look.width.is_some_and(|width| width < NARROW_COLUMNS);
    let clock = if narrow { "%H:%M:%S" } else { "%H:%M:%S%.3f" };
    let time = origin.time(event.boot_ns).to_zoned(look.time_zone.clone()).strftime(clock).to_string();
    let workload_columns = if narrow { WORKLOAD_COLUMNS_NARROW } else { WORKLOAD_COLUMNS };
    let workload = padded(&escaped(event.workload.name.as_bytes()), workload_columns);
    let (badge, badge_style) = verdict_badge(event.verdict);
    let kind = event.action.kind();
    let pid = event.process.key.pid.0;
    let program =
        if narrow { String::new() } else { padded(&escaped(program(&event.process)), PROGRAM_COLUMNS) + " " };
    let fixed = format!("{time} {workload} {kind:<8} {badge:<10} {pid:>7} {program}");
    let dim = look.style(Style::new().dimmed());
    let workload_style = look.style(workload_style(&event.workload));
    let badge_style = look.style(badge_style);
    write!(
        line,
        "{dim}{time}{dim:#} {workload_style}{workload}{workload_style:#} {kind:<8} \
         {badge_style}{badge:<10}{badge_style:#} {dim}{pid:>7}{dim:#} {program}"
    )?;

    let Described { before, main, mut after } = object::describe(&event.action);
    let result = object::outcome_word(event.outcome).map(|word| format!(" {word}")).unwrap_or_default();
    let rule = event.rule.map(|rule| format!(" [{}]", rule.id())).unwrap_or_default();
    if event.count > 1 {
        let _ = write!(after, " ×{}", event.count);
    }
    let before = if before.is_empty() { before } else { format!("{before:<4} ") };
    let main = match look.width {
        Some(width) => {
            let others = [&fixed, &before, &after, &result, &rule];
            let taken: usize = others.into_iter().map(|text| columns(text)).sum();
            shortened(&main, width.saturating_sub(taken).max(OBJECT_COLUMNS_MIN)).into_owned()
        }
        None => main,
    };
    let object_style = look.style(match event.verdict {
        Verdict::Unexpected | Verdict::Forbidden => Style::new().bold(),
        Verdict::Expected | Verdict::Unjudged => Style::new(),
    });
    let result_style = look.style(AnsiColor::Yellow.on_default());
    write!(line, "{dim}{before}{dim:#}{object_style}{main}{object_style:#}{dim}{after}{dim:#}")?;
    write!(line, "{result_style}{result}{result_style:#}{badge_style}{rule}{badge_style:#}")?;
    line.push('\n');
    Ok(())
}

/// `finding` as a block that stands out; `repeated` when it was shown before and only its count grew.
#[must_use]
pub fn finding(origin: &Origin, finding: &Finding, repeated: bool, look: &Look) -> String {
    let mut block = String::with_capacity(600);
    // Writing into a String cannot fail.
    let _ = write_finding(&mut block, origin, finding, repeated, look);
    block
}

fn write_finding(
    block: &mut String,
    origin: &Origin,
    finding: &Finding,
    repeated: bool,
    look: &Look,
) -> std::fmt::Result {
    let style = look.style(severity_style(finding.severity));
    let bold = look.style(Style::new().bold());
    let dim = look.style(Style::new().dimmed());
    let severity = finding.severity.name().to_uppercase();
    let rule = finding.rule.id();
    let width = look.width.map_or(usize::MAX, |width| width.saturating_sub(13).max(OBJECT_COLUMNS_MIN));
    let object = object::of_action(&finding.action);
    if repeated {
        let text = shortened(&object, width);
        return writeln!(
            block,
            "{style}▌{style:#} {style}{severity}{style:#} {rule} again, ×{} {text}",
            finding.count
        );
    }
    let time = origin.time(finding.first_seen).to_zoned(look.time_zone.clone()).strftime("%H:%M:%S%.3f");
    let outcome = object::outcome_word(finding.outcome).map(|word| format!(" ({word})")).unwrap_or_default();
    let process = &finding.process;
    let mut who = format!("pid {} {}", process.key.pid.0, escaped(process.executable.as_slice()));
    if let Some(script) = &process.script {
        let _ = write!(who, " {}", escaped(script.as_slice()));
    }
    let user = process.user.as_deref().map_or_else(|| process.uid.to_string(), str::to_owned);
    writeln!(
        block,
        "{style}▌ {severity} {rule}{style:#}  {bold}{}{bold:#}  {dim}{time}{dim:#}",
        escaped(finding.title.as_bytes())
    )?;
    let rows = [
        ("workload", escaped(finding.workload.name.as_bytes()).into_owned()),
        ("process", who),
        ("user", escaped(user.as_bytes()).into_owned()),
        (finding.action.kind(), format!("{object}{outcome}")),
    ];
    for (name, value) in rows {
        writeln!(block, "{style}▌{style:#} {dim}{name:<10}{dim:#} {}", shortened(&value, width))?;
    }
    // Sentences of ours are wrapped, not shortened.
    let sentences =
        [("what", &finding.message), ("reason", &finding.decision.reason), ("to do", &finding.advice)];
    for (name, sentence) in sentences {
        if sentence.is_empty() {
            continue;
        }
        for (index, part) in wrapped(&escaped(sentence.as_bytes()), width).into_iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            writeln!(block, "{style}▌{style:#} {dim}{name:<10}{dim:#} {part}")?;
        }
    }
    let attack = format!("{} {}", finding.technique, finding.tactic);
    if !attack.trim().is_empty() {
        writeln!(block, "{style}▌{style:#} {dim}{:<10} {}{dim:#}", "ATT&CK", attack.trim())?;
    }
    Ok(())
}

/// `text` in lines of at most `width` columns, broken between words; a longer word is shortened.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let word = shortened(word, width);
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(&word);
        } else if columns(line) + 1 + columns(&word) <= width {
            line.push(' ');
            line.push_str(&word);
        } else {
            lines.push(word.into_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Action, Bytes, FilePath},
        render::sample,
    };

    #[test]
    fn every_kind_for_a_terminal() {
        let lines: String = sample::events()
            .iter()
            .map(|one| event(&sample::origin(), one, &Look { width: Some(120), ..sample::look() }))
            .collect();
        insta::assert_snapshot!(lines);
    }

    #[test]
    fn every_kind_for_a_narrow_terminal() {
        let lines: String = sample::events()
            .iter()
            .map(|one| event(&sample::origin(), one, &Look { width: Some(80), ..sample::look() }))
            .collect();
        insta::assert_snapshot!(lines);
    }

    #[test]
    fn findings_for_a_terminal() {
        let narrow = Look { width: Some(72), ..sample::look() };
        let block: String = sample::findings()
            .iter()
            .map(|one| {
                finding(&sample::origin(), one, false, &narrow)
                    + &finding(&sample::origin(), one, true, &narrow)
            })
            .collect();
        insta::assert_snapshot!(block);
    }

    #[test]
    fn hostile_names_stay_on_one_line_and_move_no_terminal() {
        let lines: String = sample::hostile_names()
            .iter()
            .map(|name| {
                event(&sample::origin(), &sample::open(name), &Look { width: Some(100), ..sample::look() })
            })
            .collect();
        assert_eq!(lines.lines().count(), sample::hostile_names().len());
        assert!(!lines.chars().any(|character| character.is_control() && character != '\n'));
        insta::assert_snapshot!(lines);
    }

    #[test]
    fn a_line_fits_the_terminal() {
        let long = sample::open(&[b'a'; 5000]);
        for width in [80, 100, 200] {
            let line = event(&sample::origin(), &long, &Look { width: Some(width), ..sample::look() });
            assert_eq!(columns(line.trim_end()), width);
        }
    }

    #[test]
    fn a_path_that_is_too_long_for_a_terminal_is_whole_in_a_file() {
        let mut long = sample::open(b"/x");
        if let Action::Open(file) = &mut long.action {
            file.path = FilePath { bytes: Bytes::new(&[b'a'; 5000]), truncated: true, ..FilePath::default() };
        }
        let line = event(&sample::origin(), &long, &sample::look());
        assert!(line.contains(&format!("…/{}", "a".repeat(5000))));
    }

    #[test]
    fn colour_only_when_asked_for() {
        let one = sample::open(b"/x");
        let colour = Look { colour: true, ..sample::look() };
        assert!(event(&sample::origin(), &one, &colour).contains("\u{1b}["));
        assert!(!event(&sample::origin(), &one, &sample::look()).contains('\u{1b}'));
    }
}
