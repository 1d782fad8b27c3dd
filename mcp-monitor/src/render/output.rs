//! What a query prints: lines for people, JSON lines, YAML documents or CSV rows, into a pipe that may close.
//!
//! JSON lines are printed as they were written, field by field, so that nothing a newer monitor added is lost; only
//! characters that act on a terminal are spelled otherwise. A cell of CSV never begins like a formula.

use super::{
    StreamError,
    human::Look,
    read::{Event, Finding, Text, printable_line},
    stream::{BUFFER_BYTES, Colour, Destination},
    text::escaped,
};
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::Value;
use std::{collections::HashSet, fmt::Write as _};

/// How a query is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people, as wide as the terminal.
    Table,
    /// For people, everything.
    Wide,
    /// One JSON object a line.
    Json,
    /// YAML documents.
    Yaml,
    /// Comma-separated values with a header.
    Csv,
}

/// Findings of which it is kept that they were shown.
const SHOWN_MAX: usize = 64 * 1024;

/// What is printed, gathered and written in whole lines.
#[derive(Debug)]
pub struct Output {
    format: Format,
    destination: Destination,
    look: Look,
    waiting: Vec<u8>,
    header: Option<&'static [&'static str]>,
    shown: HashSet<Vec<u8>>,
}

/// What can be printed as rows of cells. Cells are escaped.
pub trait Rows {
    /// Names of the columns.
    const HEADER: &'static [&'static str];
    /// One row an entry.
    fn rows(&self) -> Vec<Vec<String>>;
}

const EVENT_HEADER: &[&str] = &[
    "time", "workload", "instance", "kind", "verdict", "rule", "pid", "user", "program", "object", "result",
    "count", "reason", "id",
];
const FINDING_HEADER: &[&str] = &[
    "first_seen",
    "last_seen",
    "severity",
    "rule",
    "state",
    "workload",
    "instance",
    "pid",
    "user",
    "program",
    "object",
    "count",
    "reason",
    "technique",
    "id",
];

impl Output {
    /// Prints into `destination`; `format` as fits it when none is given.
    #[must_use]
    pub fn new(format: Option<Format>, destination: Destination, colour: Colour, utc: bool) -> Self {
        let mut look = destination.look(colour);
        if utc {
            look.time_zone = TimeZone::UTC;
        }
        let natural = if destination.is_terminal() { Format::Table } else { Format::Json };
        let format = format.unwrap_or(natural);
        if format == Format::Wide {
            look.width = None;
        }
        Self { format, destination, look, waiting: Vec::new(), header: None, shown: HashSet::new() }
    }

    /// How it is printed.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// How lines for people look.
    #[must_use]
    pub fn look(&self) -> &Look {
        &self.look
    }

    /// One event and the line it stood in.
    pub fn event(&mut self, event: &Event, line: &str) -> Result<(), StreamError> {
        match self.format {
            Format::Table => self.add(&event.for_people(&self.look)),
            Format::Wide => self.add(&wide_event(event, &self.look)),
            Format::Json => self.add_line(line),
            Format::Yaml => self.add_yaml(line),
            Format::Csv => self.add_csv(EVENT_HEADER, &event_cells(event)),
        }
        self.added()
    }

    /// One finding and the line it stood in.
    pub fn finding(&mut self, finding: &Finding, line: &str) -> Result<(), StreamError> {
        match self.format {
            Format::Table | Format::Wide => {
                if self.shown.len() >= SHOWN_MAX {
                    self.shown.clear();
                }
                let repeated = !self.shown.insert(finding.id.as_bytes().to_vec());
                self.add(&finding.for_people(repeated, &self.look));
            }
            Format::Json => self.add_line(line),
            Format::Yaml => self.add_yaml(line),
            Format::Csv => self.add_csv(FINDING_HEADER, &finding_cells(finding)),
        }
        self.added()
    }

    /// An answer as a whole: `people` writes it for people.
    pub fn answer<Answer: Serialize + Rows>(
        &mut self,
        answer: &Answer,
        people: impl FnOnce(&Answer, &Look) -> String,
    ) -> Result<(), StreamError> {
        match self.format {
            Format::Table | Format::Wide => {
                let text = people(answer, &self.look);
                self.add(&text);
            }
            Format::Csv => {
                self.add_header(Answer::HEADER);
                for row in answer.rows() {
                    self.add_csv(Answer::HEADER, &row);
                }
            }
            Format::Json | Format::Yaml => {
                let line = serde_json::to_string(answer).map_err(|error| StreamError::Other(error.into()))?;
                if self.format == Format::Json {
                    self.add_line(&line);
                } else {
                    self.add_yaml(&line);
                }
            }
        }
        self.added()
    }

    /// Text for people, escaped by the caller.
    pub fn text(&mut self, text: &str) -> Result<(), StreamError> {
        self.add(text);
        self.added()
    }

    /// Writes what waits.
    pub fn flush(&mut self) -> Result<(), StreamError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let result = self.destination.write_lines(&self.waiting).map_err(StreamError::new);
        self.waiting.clear();
        result
    }

    fn added(&mut self) -> Result<(), StreamError> {
        if self.waiting.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn add(&mut self, text: &str) {
        self.waiting.extend_from_slice(text.as_bytes());
    }

    fn add_line(&mut self, line: &str) {
        self.add(&printable_line(line));
        self.add("\n");
    }

    fn add_yaml(&mut self, line: &str) {
        // A line was read as JSON before; what is none after all is left out rather than forged.
        if let Ok(value) = serde_json::from_str::<Value>(line)
            && let Ok(text) = serde_saphyr::to_string(&printable(value))
        {
            self.add("---\n");
            self.add(text.trim_end_matches('\n'));
            self.add("\n");
        }
    }

    fn add_header(&mut self, header: &'static [&'static str]) {
        if self.header != Some(header) {
            self.header = Some(header);
            self.add_record(header.iter().map(|name| (*name).to_owned()));
        }
    }

    fn add_csv(&mut self, header: &'static [&'static str], cells: &[String]) {
        self.add_header(header);
        self.add_record(cells.iter().map(|cell| harmless(cell)));
    }

    fn add_record(&mut self, cells: impl Iterator<Item = String>) {
        let mut writer = csv::WriterBuilder::new().from_writer(&mut self.waiting);
        // Writing into memory cannot fail.
        let _ = writer.write_record(cells);
    }
}

/// A cell that no spreadsheet takes for a formula.
fn harmless(cell: &str) -> String {
    let text = escaped_again(cell);
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text }
}

/// Text that was escaped stays as it is; anything else that acts on a terminal goes.
fn escaped_again(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        let mut buffer = [0; 4];
        let encoded = character.encode_utf8(&mut buffer);
        if character == '\\' {
            safe.push('\\');
        } else {
            safe.push_str(&escaped(encoded.as_bytes()));
        }
    }
    safe
}

/// A value in whose texts nothing acts on a terminal.
pub(crate) fn printable(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(escaped_again(&text)),
        Value::Array(values) => values.into_iter().map(printable).collect(),
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(name, value)| (escaped_again(&name), printable(value))).collect(),
        ),
        other => other,
    }
}

fn program(process: &super::read::Process) -> String {
    process.script.as_ref().or(process.exe.as_ref()).map(Text::to_string).unwrap_or_default()
}

fn event_cells(event: &Event) -> Vec<String> {
    vec![
        event.time.to_string(),
        event.workload.name.to_string(),
        event.workload.instance.to_string(),
        event.kind.to_string(),
        event.verdict.to_string(),
        event.rule.as_ref().map(Text::to_string).unwrap_or_default(),
        event.process.pid.to_string(),
        event.process.user(),
        program(&event.process),
        event.object(),
        event.result.to_string(),
        event.count.to_string(),
        event.decision.reason.to_string(),
        event.id.to_string(),
    ]
}

fn finding_cells(finding: &Finding) -> Vec<String> {
    vec![
        finding.first_seen.to_string(),
        finding.last_seen.to_string(),
        finding.severity.to_string(),
        finding.rule.to_string(),
        finding.state.to_string(),
        finding.workload.name.to_string(),
        finding.workload.instance.to_string(),
        finding.process.pid.to_string(),
        finding.process.user(),
        program(&finding.process),
        finding.object(),
        finding.count.to_string(),
        finding.decision.reason.to_string(),
        finding.attack.technique.to_string(),
        finding.id.to_string(),
    ]
}

fn wide_event(event: &Event, look: &Look) -> String {
    let time = event.time.to_zoned(look.time_zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.6f%:z");
    let mut line = format!("{time} {} ", event.host.name);
    line.push_str(event.for_people(look).trim_end().split_once(' ').map_or("", |(_, rest)| rest));
    // Writing into a String cannot fail.
    let _ = writeln!(
        line,
        "  user={} program={} by={} reason={} id={}",
        event.process.user(),
        program(&event.process),
        event.mechanism,
        event.decision.reason,
        event.id
    );
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{json, read::Line, sample};

    fn printed(format: Format, lines: &[String]) -> String {
        let path = tempfile::NamedTempFile::new().unwrap();
        let destination = Destination::file(path.path()).unwrap();
        let mut output = Output::new(Some(format), destination, Colour::Never, true);
        for line in lines {
            match Line::parse(line).unwrap() {
                Line::Event(event) => output.event(&event, line).unwrap(),
                Line::Finding(finding) => output.finding(&finding, line).unwrap(),
                _ => {}
            }
        }
        output.flush().unwrap();
        std::fs::read_to_string(path.path()).unwrap()
    }

    fn events() -> Vec<String> {
        let wanted = ["exec", "open", "connect", "exit"];
        sample::events()
            .iter()
            .filter(|event| wanted.contains(&event.action.kind()))
            .take(6)
            .map(|event| {
                let mut line = Vec::new();
                json::event(&mut line, &sample::origin(), event);
                String::from_utf8(line).unwrap()
            })
            .collect()
    }

    fn findings() -> Vec<String> {
        let findings = sample::findings();
        findings
            .iter()
            .map(|finding| {
                let mut line = Vec::new();
                let own = crate::event::Finding { id: finding.rule.id().into(), ..finding.clone() };
                json::finding(&mut line, &sample::origin(), &own);
                String::from_utf8(line).unwrap()
            })
            .collect()
    }

    #[test]
    fn events_and_findings_in_every_format() {
        for (format, name) in
            [(Format::Wide, "wide"), (Format::Yaml, "yaml"), (Format::Csv, "csv"), (Format::Table, "table")]
        {
            insta::assert_snapshot!(format!("events_{name}"), printed(format, &events()));
            insta::assert_snapshot!(format!("findings_{name}"), printed(format, &findings()));
        }
        assert_eq!(printed(Format::Json, &events()), events().concat(), "as they were written");
    }

    #[test]
    fn hostile_names_forge_nothing_in_any_format() {
        for name in sample::hostile_names() {
            let mut line = Vec::new();
            json::event(&mut line, &sample::origin(), &sample::open(&name));
            let ours = String::from_utf8(line).unwrap();
            // And one that was not written by mcp-monitor.
            let forged = ours.replace("usr/bin/node", "\\u001b[2J\\u202e\\n=cmd()\u{9b}1m\\u2028,\\\"\\n");
            for format in [Format::Table, Format::Wide, Format::Json, Format::Yaml, Format::Csv] {
                for one in [&ours, &forged] {
                    let text = printed(format, std::slice::from_ref(one));
                    let bad = |character: char| character.is_control() && character != '\n';
                    assert!(
                        !text.contains(bad) && !text.contains(['\u{202e}', '\u{2028}']),
                        "{format:?} {text:?}"
                    );
                    if matches!(format, Format::Table | Format::Wide | Format::Json) {
                        assert_eq!(text.lines().count(), 1, "{format:?} {text}");
                    }
                    if format == Format::Csv {
                        assert_eq!(csv::Reader::from_reader(text.as_bytes()).records().count(), 1);
                        assert_eq!(text.lines().count(), 2, "no cell has a line break: {text}");
                    }
                    if format == Format::Yaml {
                        let read: Value = serde_saphyr::from_str(&text).unwrap();
                        assert_eq!(read["verdict"], "expected");
                    }
                }
            }
        }
    }

    #[test]
    fn no_cell_begins_like_a_formula() {
        for cell in ["=1+1", "+1", "-1", "@SUM(A1)"] {
            assert_eq!(harmless(cell), format!("'{cell}"));
        }
        assert_eq!(harmless("/home/a"), "/home/a");
    }
}
