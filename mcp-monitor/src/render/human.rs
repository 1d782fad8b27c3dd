//! Lines for a terminal: one line per event, a block per finding.
//!
//! Columns are aligned; what does not fit the terminal is shortened in the middle (never in JSON). Nothing of a
//! monitored process reaches the terminal unescaped, so colours and line breaks are always ours.

use super::{
    Origin,
    object::{self, Described},
    text::{columns, escaped, padded, shortened},
};
use crate::event::{Bytes, Event, Finding, FindingState, Process, Severity, Verdict};
use anstyle::{AnsiColor, Style};
use jiff::{Timestamp, tz::TimeZone};
use std::{
    borrow::Cow,
    fmt::Write as _,
    hash::{DefaultHasher, Hash, Hasher},
};

/// Columns of the workload's name.
const WORKLOAD_COLUMNS: usize = 16;
/// Columns of the workload's name on a narrow terminal.
const WORKLOAD_COLUMNS_NARROW: usize = 10;
/// A terminal with fewer columns is narrow: no milliseconds, no program, a short workload.
const NARROW_COLUMNS: usize = 110;
/// Columns that a kind of a newer version may take.
const KIND_COLUMNS: usize = 16;
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

/// A verdict as a word that stands out as far as it should; `None` is one of a newer version.
pub(super) fn verdict_badge(verdict: Option<Verdict>) -> (&'static str, Style) {
    match verdict {
        Some(Verdict::Expected) => ("expected", AnsiColor::Green.on_default()),
        Some(Verdict::Unexpected) => ("UNEXPECTED", AnsiColor::Yellow.on_default().bold()),
        Some(Verdict::Forbidden) => ("FORBIDDEN", AnsiColor::Red.on_default().bold()),
        Some(Verdict::Unjudged) => ("unjudged", Style::new().dimmed()),
        None => ("?", Style::new().dimmed()),
    }
}

fn workload_style(instance: &[u8]) -> Style {
    let mut hasher = DefaultHasher::new();
    instance.hash(&mut hasher);
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
    let row = Row {
        time: origin.time(event.boot_ns),
        instance: event.workload.instance.as_bytes(),
        workload: escaped(event.workload.name.as_bytes()),
        kind: event.action.kind().into(),
        verdict: Some(event.verdict),
        pid: event.process.key.pid.0,
        program: program(&event.process),
        described: object::describe(&event.action),
        result: object::outcome_word(event.outcome),
        rule: event.rule.map(|rule| rule.id().into()),
        count: event.count,
    };
    self::row(&row, look)
}

/// What a line for people shows, wherever it comes from.
pub(super) struct Row<'a> {
    /// When.
    pub(super) time: Timestamp,
    /// Chooses the colour.
    pub(super) instance: &'a [u8],
    /// Name, escaped.
    pub(super) workload: Cow<'a, str>,
    /// Kind, escaped.
    pub(super) kind: Cow<'a, str>,
    /// `None` for one that this version does not know.
    pub(super) verdict: Option<Verdict>,
    /// Who.
    pub(super) pid: u32,
    /// The program's last name, not escaped.
    pub(super) program: &'a [u8],
    /// The object, escaped.
    pub(super) described: Described,
    /// What came of it, where that is worth a word.
    pub(super) result: Option<String>,
    /// Broken rule, escaped.
    pub(super) rule: Option<Cow<'a, str>>,
    /// How many times.
    pub(super) count: u64,
}

/// `row` as one line with its line feed.
pub(super) fn row(row: &Row<'_>, look: &Look) -> String {
    let mut line = String::with_capacity(160);
    // Writing into a String cannot fail.
    let _ = write_row(&mut line, row, look);
    line
}

fn write_row(line: &mut String, row: &Row<'_>, look: &Look) -> std::fmt::Result {
    let narrow = look.width.is_some_and(|width| width < NARROW_COLUMNS);
    let clock = if narrow { "%H:%M:%S" } else { "%H:%M:%S%.3f" };
    let time = row.time.to_zoned(look.time_zone.clone()).strftime(clock).to_string();
    let workload_columns = if narrow { WORKLOAD_COLUMNS_NARROW } else { WORKLOAD_COLUMNS };
    let workload = padded(&row.workload, workload_columns);
    let (badge, badge_style) = verdict_badge(row.verdict);
    let kind = shortened(&row.kind, KIND_COLUMNS);
    let pid = row.pid;
    let program = if narrow { String::new() } else { padded(&escaped(row.program), PROGRAM_COLUMNS) + " " };
    let fixed = format!("{time} {workload} {kind:<8} {badge:<10} {pid:>7} {program}");
    let dim = look.style(Style::new().dimmed());
    let workload_style = look.style(workload_style(row.instance));
    let badge_style = look.style(badge_style);
    write!(
        line,
        "{dim}{time}{dim:#} {workload_style}{workload}{workload_style:#} {kind:<8} \
         {badge_style}{badge:<10}{badge_style:#} {dim}{pid:>7}{dim:#} {program}"
    )?;

    let Described { before, main, after } = &row.described;
    let mut after = after.clone();
    let result = row.result.as_ref().map(|word| format!(" {word}")).unwrap_or_default();
    let rule = row.rule.as_ref().map(|rule| format!(" [{rule}]")).unwrap_or_default();
    if row.count > 1 {
        let _ = write!(after, " ×{}", row.count);
    }
    let before = if before.is_empty() { String::new() } else { format!("{before:<4} ") };
    let main = match look.width {
        Some(width) => {
            let others = [&fixed, &before, &after, &result, &rule];
            let taken: usize = others.into_iter().map(|text| columns(text)).sum();
            shortened(main, width.saturating_sub(taken).max(OBJECT_COLUMNS_MIN))
        }
        None => Cow::Borrowed(main.as_str()),
    };
    let object_style = look.style(match row.verdict {
        Some(Verdict::Unexpected | Verdict::Forbidden) => Style::new().bold(),
        Some(Verdict::Expected | Verdict::Unjudged) | None => Style::new(),
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
    let process = &finding.process;
    let block = Block {
        severity: Some(finding.severity),
        severity_word: finding.severity.name().into(),
        rule: finding.rule.id().into(),
        count: finding.count,
        object: object::of_action(&finding.action),
        outcome: object::outcome_word(finding.outcome),
        first_seen: origin.time(finding.first_seen),
        pid: process.key.pid.0,
        executable: process.executable.as_slice(),
        script: process.script.as_ref().map(Bytes::as_slice),
        user: process
            .user
            .as_deref()
            .map_or_else(|| process.uid.to_string().into(), |user| escaped(user.as_bytes())),
        title: finding.title.as_bytes(),
        workload: finding.workload.name.as_bytes(),
        kind: finding.action.kind().into(),
        message: finding.message.as_bytes(),
        reason: finding.decision.reason.as_bytes(),
        advice: finding.advice.as_bytes(),
        attack: format!("{} {}", finding.technique, finding.tactic),
        state: (finding.state != FindingState::Open).then(|| finding.state.name().to_owned()),
    };
    self::block(&block, repeated, look)
}

/// What the block of a finding shows, wherever it comes from. Texts are escaped, bytes are not.
pub(super) struct Block<'a> {
    pub(super) severity: Option<Severity>,
    pub(super) severity_word: Cow<'a, str>,
    pub(super) rule: Cow<'a, str>,
    pub(super) count: u64,
    pub(super) object: String,
    pub(super) outcome: Option<String>,
    pub(super) first_seen: Timestamp,
    pub(super) pid: u32,
    pub(super) executable: &'a [u8],
    pub(super) script: Option<&'a [u8]>,
    pub(super) user: Cow<'a, str>,
    pub(super) title: &'a [u8],
    pub(super) workload: &'a [u8],
    pub(super) kind: Cow<'a, str>,
    pub(super) message: &'a [u8],
    pub(super) reason: &'a [u8],
    pub(super) advice: &'a [u8],
    pub(super) attack: String,
    /// Where it stands and who says so, unless it is open.
    pub(super) state: Option<String>,
}

/// `block` with its line feeds; `repeated` when it was shown before and only its count grew.
pub(super) fn block(block: &Block<'_>, repeated: bool, look: &Look) -> String {
    let mut text = String::with_capacity(600);
    // Writing into a String cannot fail.
    let _ = write_block(&mut text, block, repeated, look);
    text
}

fn write_block(text: &mut String, block: &Block<'_>, repeated: bool, look: &Look) -> std::fmt::Result {
    let style = look.style(block.severity.map_or_else(Style::new, severity_style));
    let bold = look.style(Style::new().bold());
    let dim = look.style(Style::new().dimmed());
    let severity = block.severity_word.to_uppercase();
    let Block { rule, object, .. } = block;
    let width = look.width.map_or(usize::MAX, |width| width.saturating_sub(13).max(OBJECT_COLUMNS_MIN));
    if repeated {
        let object = shortened(object, width);
        return writeln!(
            text,
            "{style}▌{style:#} {style}{severity}{style:#} {rule} again, ×{} {object}",
            block.count
        );
    }
    let time = block.first_seen.to_zoned(look.time_zone.clone()).strftime("%H:%M:%S%.3f");
    let outcome = block.outcome.as_ref().map(|word| format!(" ({word})")).unwrap_or_default();
    let mut who = format!("pid {} {}", block.pid, escaped(block.executable));
    if let Some(script) = block.script {
        let _ = write!(who, " {}", escaped(script));
    }
    writeln!(
        text,
        "{style}▌ {severity} {rule}{style:#}  {bold}{}{bold:#}  {dim}{time}{dim:#}",
        escaped(block.title)
    )?;
    if let Some(state) = &block.state {
        for (index, part) in wrapped(state, width).into_iter().enumerate() {
            let name = if index == 0 { "state" } else { "" };
            writeln!(text, "{style}▌{style:#} {dim}{name:<10}{dim:#} {part}")?;
        }
    }
    let rows = [
        ("workload", escaped(block.workload)),
        ("process", who.into()),
        ("user", Cow::Borrowed(block.user.as_ref())),
        (block.kind.as_ref(), format!("{object}{outcome}").into()),
    ];
    for (name, value) in rows {
        writeln!(text, "{style}▌{style:#} {dim}{name:<10}{dim:#} {}", shortened(&value, width))?;
    }
    // Sentences of ours are wrapped, not shortened.
    let sentences = [("what", block.message), ("reason", block.reason), ("to do", block.advice)];
    for (name, sentence) in sentences {
        if sentence.is_empty() {
            continue;
        }
        for (index, part) in wrapped(&escaped(sentence), width).into_iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            writeln!(text, "{style}▌{style:#} {dim}{name:<10}{dim:#} {part}")?;
        }
    }
    let attack = block.attack.trim();
    if !attack.is_empty() {
        writeln!(text, "{style}▌{style:#} {dim}{:<10} {attack}{dim:#}", "ATT&CK")?;
    }
    Ok(())
}

/// `text` in lines of at most `width` columns, broken between words; a longer word is shortened.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
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
        event::{Action, FilePath},
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
