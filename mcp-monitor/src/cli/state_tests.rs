//! Status, workloads and coverage as people and spreadsheets get them, and from a monitor that is none.

use super::*;
use crate::{
    control::{
        api::{ControlStatus, CoverageRow, DestinationRow, LossCount, StateCounts},
        client::answer_of,
    },
    render::{
        output::{Format, Output},
        stream::{Colour, Destination},
    },
};
use serde::{Serialize, de::DeserializeOwned};

fn sample_status() -> Status {
    Status {
        schema: "mcp-monitor/status/v1".into(),
        version: "0.1.0".into(),
        pid: 4711,
        host: "example".into(),
        tier: "lsm".into(),
        started: "2026-11-20T10:00:00Z".into(),
        uptime_s: 7_300,
        alive: true,
        ready: true,
        instances_running: 2,
        instances: 3,
        processes: 7,
        events: VerdictCounts { expected: 1200, unexpected: 2, forbidden: 1, unjudged: 40 },
        events_per_second: 12.5,
        findings: SeverityCounts { low: 0, medium: 2, high: 1, critical: 1 },
        finding_states: StateCounts { open: 2, acknowledged: 1, suppressed: 1, closed: 0 },
        losses: vec![LossCount { cause: "ring-full".into(), count: 12 }],
        control: ControlStatus {
            socket: "/run/mcp-monitor/control.sock".into(),
            connections: 2,
            followers: 1,
            held: 1243,
            queue_dropped: 3,
            ..ControlStatus::default()
        },
        limited_to: Some("your own processes".into()),
        ..Status::default()
    }
}

fn sample_workloads() -> Workloads {
    let row = |name: &str, running| WorkloadRow {
        id: "aaaa1111-0000-5000-8000-000000000000".into(),
        instance: "bbbb2222-0000-7000-8000-000000000000".into(),
        name: name.into(),
        kind: "server".into(),
        client: Some("claude-code".into()),
        user: Some("ann".into()),
        running,
        processes: 3,
        events: VerdictCounts { expected: 120, unexpected: 2, forbidden: 1, unjudged: 4 },
        events_per_second: 3.25,
        findings: SeverityCounts { critical: 1, ..SeverityCounts::default() },
        lost: 12,
        not_seen: 2,
        destinations: vec![DestinationRow {
            destination: "api.example.com:443".into(),
            verdict: "expected".into(),
            count: 4,
            bytes_sent: 2048,
            bytes_received: 5_000_000,
        }],
        ..WorkloadRow::default()
    };
    Workloads {
        schema: "mcp-monitor/workloads/v1".into(),
        workloads: vec![row("github", true), row("memory", false)],
        forgotten: 0,
    }
}

fn sample_coverage() -> Coverage {
    let row = |cause: &str, what: &str, count| CoverageRow {
        workload: "github".into(),
        instance: "bbbb2222".into(),
        cause: cause.into(),
        what: what.into(),
        count,
    };
    Coverage {
        schema: "mcp-monitor/coverage/v1".into(),
        tier: "lsm".into(),
        rows: vec![
            row("ring-full", "open records", 12),
            row("started-before", "what it did before the watch began", 0),
        ],
        more: 1,
    }
}

fn printed<Answer: Serialize + Rows>(
    format: Format,
    answer: &Answer,
    people: fn(&Answer, &Look) -> String,
) -> String {
    let path = tempfile::NamedTempFile::new().unwrap();
    let destination = Destination::file(path.path()).unwrap();
    let mut output = Output::new(Some(format), destination, Colour::Never, true);
    output.answer(answer, people).unwrap();
    output.flush().unwrap();
    std::fs::read_to_string(path.path()).unwrap()
}

const FORMATS: [(&str, Format); 4] =
    [("table", Format::Table), ("json", Format::Json), ("yaml", Format::Yaml), ("csv", Format::Csv)];

#[test]
fn each_is_told_in_each_format() {
    for (name, format) in FORMATS {
        insta::assert_snapshot!(format!("status_{name}"), printed(format, &sample_status(), status));
        insta::assert_snapshot!(format!("workloads_{name}"), printed(format, &sample_workloads(), workloads));
        insta::assert_snapshot!(format!("coverage_{name}"), printed(format, &sample_coverage(), coverage));
    }
    insta::assert_snapshot!("workloads_wide", printed(Format::Wide, &sample_workloads(), workloads_wide));
}

/// `answer` as a process that only says it is a monitor might send it: `needle` stands in every text of it.
fn forged<Answer: Serialize + DeserializeOwned>(answer: &Answer, needle: &str) -> Answer {
    fn spoil(value: &mut serde_json::Value, needle: &str) {
        match value {
            serde_json::Value::String(text) => text.push_str(needle),
            serde_json::Value::Array(values) => values.iter_mut().for_each(|value| spoil(value, needle)),
            serde_json::Value::Object(fields) => fields.values_mut().for_each(|value| spoil(value, needle)),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(answer).unwrap();
    spoil(&mut value, needle);
    answer_of(&serde_json::to_vec(&value).unwrap()).unwrap()
}

#[test]
fn an_answer_that_is_forged_moves_no_terminal_and_makes_no_line() {
    for (_, format) in FORMATS {
        let lines = |needle: &str| {
            [
                printed(format, &forged(&sample_status(), needle), status),
                printed(format, &forged(&sample_workloads(), needle), workloads),
                printed(format, &forged(&sample_workloads(), needle), workloads_wide),
                printed(format, &forged(&sample_coverage(), needle), coverage),
            ]
        };
        let harmless = lines("x").map(|text| text.lines().count());
        for needle in ["\u{1b}[2J\u{7}", "\n  findings   none", "\r\u{9b}31m", "\u{202e}\u{2028}"] {
            let hostile = lines(needle);
            for text in &hostile {
                let bad = |character: char| character.is_control() && character != '\n';
                assert!(!text.contains(bad), "{format:?} {text:?}");
                assert!(!text.contains(['\u{202e}', '\u{2028}']), "{format:?} {text:?}");
            }
            if format != Format::Yaml {
                assert_eq!(hostile.map(|text| text.lines().count()), harmless, "{format:?} {needle:?}");
            }
        }
    }
}
