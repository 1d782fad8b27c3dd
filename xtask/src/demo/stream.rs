//! What the monitor says, as it says it: shown to the person and kept for the outcome.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
};

use anyhow::Result;
use serde_json::Value;

/// What the monitor said in one run.
#[derive(Default)]
pub(super) struct Seen {
    /// Its whole output.
    pub(super) stream: String,
    /// Events by verdict and kind, repetitions counted.
    pub(super) events: BTreeMap<(String, String), u64>,
    /// The last state of each finding, by id.
    pub(super) findings: BTreeMap<String, Value>,
    /// The closing object.
    pub(super) summary: Option<Value>,
}

impl Seen {
    /// Reads until the monitor ends, printing a line for each object.
    pub(super) fn read(&mut self, from: impl Read) -> Result<()> {
        let mut from = BufReader::new(from);
        let mut bytes = Vec::new();
        while from.read_until(b'\n', &mut bytes)? > 0 {
            let line = String::from_utf8_lossy(&bytes);
            self.take(line.trim_end());
            bytes.clear();
        }
        Ok(())
    }

    fn take(&mut self, line: &str) {
        self.stream.push_str(line);
        self.stream.push('\n');
        let Ok(object) = serde_json::from_str::<Value>(line) else {
            // The client shares the monitor's output.
            println!("        {}", printable(line));
            return;
        };
        let schema = text(&object, "/schema");
        if schema.contains("/finding/") {
            println!("FINDING {}", told(&object));
            self.findings.insert(text(&object, "/id").to_owned(), object);
        } else if schema.contains("/event/") {
            println!("{}", event_line(&object));
            let key = (text(&object, "/verdict").to_owned(), text(&object, "/kind").to_owned());
            *self.events.entry(key).or_default() += object["count"].as_u64().unwrap_or(1).max(1);
        } else {
            self.summary = Some(object);
        }
    }

    /// How many events had this verdict, by kind.
    pub(super) fn by_kind(&self, verdict: &str) -> Vec<(&str, u64)> {
        let of_verdict = self.events.iter().filter(|((its, _), _)| its == verdict);
        of_verdict.map(|((_, kind), count)| (kind.as_str(), *count)).collect()
    }

    /// The verdicts that occurred.
    pub(super) fn verdicts(&self) -> Vec<&str> {
        let mut verdicts: Vec<&str> = self.events.keys().map(|(verdict, _)| verdict.as_str()).collect();
        verdicts.dedup();
        verdicts
    }
}

/// A finding in one line: rule, process, object, reason.
pub(super) fn told(finding: &Value) -> String {
    printable(&format!(
        "{} ({}): process {} {} · {} · {}",
        text(finding, "/rule"),
        text(finding, "/severity"),
        finding["process"]["pid"],
        text(finding, "/process/exe"),
        object(finding),
        text(finding, "/message"),
    ))
}

/// The text at `pointer`; empty if there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn event_line(event: &Value) -> String {
    let exe = text(event, "/process/exe");
    let program = exe.rsplit('/').next().unwrap_or_default();
    printable(&format!(
        "{:<8} {:<10} {:>7} {program:<12} {}",
        text(event, "/kind"),
        text(event, "/verdict"),
        event["process"]["pid"],
        shortened(&object(event)),
    ))
}

/// What it was done to: a file, an address, a program.
fn object(of: &Value) -> String {
    let network = &of["network"];
    if let Some(address) = network["address"].as_str() {
        let port = network["port"].as_u64().map_or_else(String::new, |port| format!(":{port}"));
        let name = network["name"].as_str().map_or_else(String::new, |name| format!(" ({name})"));
        return format!("{address}{port}{name}");
    }
    ["/file/path", "/exec/executable/path", "/network/path", "/network/abstract", "/dns/question"]
        .iter()
        .map(|pointer| text(of, pointer))
        .find(|text| !text.is_empty())
        .unwrap_or_default()
        .to_owned()
}

/// Long paths lose their middle.
fn shortened(path: &str) -> String {
    const WIDTH: usize = 72;
    let characters: Vec<char> = path.chars().collect();
    if characters.len() <= WIDTH {
        return path.to_owned();
    }
    let (head, tail) = (&characters[..24], &characters[characters.len() - (WIDTH - 25)..]);
    format!("{}…{}", head.iter().collect::<String>(), tail.iter().collect::<String>())
}

/// `line` without anything that could move a terminal.
fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::{Seen, shortened};

    #[test]
    fn counts_events_and_keeps_the_last_of_each_finding() {
        let stream = r#"{"schema":"mcp-monitor/event/v1","kind":"open","verdict":"expected","process":{"pid":7}}
{"schema":"mcp-monitor/event/v1","kind":"open","verdict":"expected","process":{"pid":7},"count":3}
not json
{"schema":"mcp-monitor/finding/v1","id":"a","rule":"secret-read","count":1}
{"schema":"mcp-monitor/finding/v1","id":"a","rule":"secret-read","count":2}
{"schema":"mcp-monitor/summary/v1","events":4}
"#;
        let mut seen = Seen::default();
        assert!(seen.read(stream.as_bytes()).is_ok());
        assert_eq!(seen.by_kind("expected"), [("open", 4)]);
        assert_eq!(seen.findings.len(), 1);
        assert_eq!(seen.findings["a"]["count"], 2);
        assert!(seen.summary.is_some());
    }

    #[test]
    fn long_paths_keep_both_ends() {
        let path = format!("/start/{}/end", "x/".repeat(90));
        let short = shortened(&path);
        assert_eq!(short.chars().count(), 72);
        assert!(short.starts_with("/start/") && short.ends_with("/end"));
    }
}
