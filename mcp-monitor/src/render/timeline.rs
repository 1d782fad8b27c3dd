//! An instance as a sequence: what happened one after the other, with the time between, the dull parts folded.

use super::{
    human::{Look, severity_style, verdict_badge},
    output::Rows,
    read::{Event, Finding},
    text::{columns, escaped, shortened},
};
use crate::event::Verdict;
use anstyle::Style;
use jiff::Timestamp;
use serde::Serialize;
use std::{collections::HashMap, fmt::Write as _};
use utoipa::ToSchema;

/// Steps that a timeline has at most; more are counted.
pub const STEPS_MAX: usize = 10_000;
/// Columns of a process's name.
const WHO_COLUMNS: usize = 22;

/// What happened, one after the other.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Timeline {
    /// `mcp-monitor/timeline/v1`.
    pub schema: &'static str,
    /// The first event's time; steps count from it.
    pub start: Option<String>,
    /// In the order of their time.
    pub steps: Vec<Step>,
    /// Steps beyond [`STEPS_MAX`].
    pub more: u64,
    #[serde(skip)]
    began: Option<Timestamp>,
}

/// One thing, or several alike.
#[derive(Debug, Serialize, ToSchema)]
pub struct Step {
    /// When the first of it happened.
    pub time: String,
    /// Milliseconds since the timeline's start.
    pub after_ms: i64,
    /// Workload.
    pub workload: String,
    /// Process.
    pub pid: u32,
    /// Its program.
    pub program: String,
    /// Kind of event.
    pub kind: String,
    /// Judged.
    pub verdict: String,
    /// Broken rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Severity of the finding, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Path, address or name; of several the first.
    pub object: String,
    /// What came of it, where that is worth a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Occurrences.
    pub count: u64,
    /// Different objects that were folded into this step.
    pub objects: u64,
}

/// The kind of a step that several dull events were folded into.
const FOLDED: &str = "files";

/// Work on files is dull while it is expected, or failed.
fn folds(event: &Event) -> bool {
    const KINDS: [&str; 9] =
        ["open", "map", "receive", "unlink", "rename", "link", "symlink", "chmod", "truncate"];
    matches!(event.verdict(), Some(Verdict::Expected | Verdict::Unjudged))
        && event.rule.is_none()
        && KINDS.iter().any(|kind| event.kind == **kind)
}

impl Timeline {
    /// A sequence of `events`, which come in the order of their time. Forks are left out: an exec, or the first thing
    /// that the child does, tells more.
    pub fn new<'a>(
        events: impl IntoIterator<Item = &'a Event>,
        findings: impl IntoIterator<Item = &'a Finding>,
    ) -> Self {
        let severities: HashMap<&[u8], String> = findings
            .into_iter()
            .flat_map(|finding| finding.events.iter().map(|id| (id.as_bytes(), finding.severity.to_string())))
            .collect();
        let mut timeline = Self { schema: "mcp-monitor/timeline/v1", ..Self::default() };
        let mut open_fold: Option<(u32, u64)> = None;
        for event in events {
            if event.kind == *"fork" {
                continue;
            }
            let began = *timeline.began.get_or_insert(event.time);
            timeline.start.get_or_insert_with(|| began.to_string());
            let fold = folds(event).then_some((event.process.pid, event.process.start));
            if fold.is_some()
                && fold == open_fold
                && let Some(step) = timeline.steps.last_mut()
            {
                step.count = step.count.saturating_add(event.count);
                step.objects += 1;
                FOLDED.clone_into(&mut step.kind);
                step.result = None;
                if event.verdict() == Some(Verdict::Expected) {
                    step.verdict = event.verdict.to_string();
                }
                continue;
            }
            open_fold = fold;
            if timeline.steps.len() >= STEPS_MAX {
                timeline.more += 1;
                continue;
            }
            timeline.steps.push(Step {
                time: event.time.to_string(),
                after_ms: i64::try_from(event.time.duration_since(began).as_millis()).unwrap_or(i64::MAX),
                workload: event.workload.name.to_string(),
                pid: event.process.pid,
                program: escaped(event.process.program()).into_owned(),
                kind: event.kind.to_string(),
                verdict: event.verdict.to_string(),
                rule: event.rule.as_ref().map(ToString::to_string),
                severity: severities.get(event.id.as_bytes()).cloned(),
                object: event.object(),
                result: event.outcome(),
                count: event.count,
                objects: 1,
            });
        }
        timeline
    }
}

impl Rows for Timeline {
    const HEADER: &'static [&'static str] = &[
        "time", "after_ms", "workload", "pid", "program", "kind", "verdict", "rule", "severity", "object",
        "result", "count",
    ];

    fn rows(&self) -> Vec<Vec<String>> {
        let of = |step: &Step| {
            vec![
                step.time.clone(),
                step.after_ms.to_string(),
                step.workload.clone(),
                step.pid.to_string(),
                step.program.clone(),
                step.kind.clone(),
                step.verdict.clone(),
                step.rule.clone().unwrap_or_default(),
                step.severity.clone().unwrap_or_default(),
                step.object.clone(),
                step.result.clone().unwrap_or_default(),
                step.count.to_string(),
            ]
        };
        self.steps.iter().map(of).collect()
    }
}

/// `+12.345 s`, `+3 min 02 s`: time since the start, seven columns or more.
pub(super) fn after(milliseconds: i64) -> String {
    let (sign, milliseconds) = if milliseconds < 0 { ('-', -milliseconds) } else { ('+', milliseconds) };
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    match seconds {
        0..60 => format!("{sign}{seconds}.{rest:03}s"),
        60..3600 => format!("{sign}{}m{:02}.{}s", seconds / 60, seconds % 60, rest / 100),
        _ => format!("{sign}{}h{:02}m{:02}s", seconds / 3600, seconds % 3600 / 60, seconds % 60),
    }
}

/// `timeline` for people.
#[must_use]
pub fn for_people(timeline: &Timeline, look: &Look) -> String {
    let mut text = String::new();
    let bold = look.style(Style::new().bold());
    let dim = look.style(Style::new().dimmed());
    if let Some(began) = timeline.began {
        let began = began.to_zoned(look.time_zone.clone()).strftime("%Y-%m-%d %H:%M:%S%.3f %Z");
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{dim}{began}{dim:#}");
    }
    let mut who = None;
    for step in &timeline.steps {
        let verdict = [Verdict::Expected, Verdict::Unexpected, Verdict::Forbidden, Verdict::Unjudged]
            .into_iter()
            .find(|verdict| verdict.name() == step.verdict);
        let (_, style) = verdict_badge(verdict);
        let style = look.style(style);
        let mark = match verdict {
            Some(Verdict::Forbidden) => "✗",
            Some(Verdict::Unexpected) => "!",
            Some(Verdict::Expected) => "·",
            Some(Verdict::Unjudged) | None => " ",
        };
        // The same process again is not named again: changes of it stand out.
        let now = (step.pid, step.program.as_str());
        let name = if who == Some(now) { String::new() } else { format!("{} {}", step.pid, step.program) };
        who = Some(now);
        let name = super::text::padded(&name, WHO_COLUMNS);
        let begin = format!("{:>10} {name} {mark} {:<8} ", after(step.after_ms), step.kind);
        let mut end = String::new();
        if step.objects > 1 {
            let _ = write!(end, " and {} more", step.objects - 1);
        } else if step.count > 1 {
            let _ = write!(end, " ×{}", step.count);
        }
        if let Some(result) = &step.result {
            let _ = write!(end, " {result}");
        }
        let rule = step.rule.as_ref().map(|rule| format!(" [{rule}]")).unwrap_or_default();
        let taken = columns(&begin) + columns(&end) + columns(&rule);
        let object = match look.width {
            Some(width) => shortened(&step.object, width.saturating_sub(taken).max(16)),
            None => step.object.as_str().into(),
        };
        let rule_style = severity(step).map_or(style, |severity| look.style(severity_style(severity)));
        let _ = writeln!(
            text,
            "{dim}{:>10}{dim:#} {bold}{name}{bold:#} {style}{mark} {:<8}{style:#} {object}{dim}{end}{dim:#}\
             {rule_style}{rule}{rule_style:#}",
            after(step.after_ms),
            step.kind
        );
    }
    if timeline.more > 0 {
        let _ = writeln!(text, "and {} more; narrow it with --since or --workload", timeline.more);
    }
    text
}

fn severity(step: &Step) -> Option<crate::event::Severity> {
    use crate::event::Severity::{Critical, High, Low, Medium};
    [Low, Medium, High, Critical].into_iter().find(|one| step.severity.as_deref() == Some(one.name()))
}
