//! A sign of life: a line in regular intervals, so that silence is seen where it matters, in the SIEM.
//!
//! It is an event of kind `heartbeat` by the monitor itself. The pipeline must have turned since the last one, else none is
//! sent. It carries the signed end of the store's chain, so that a SIEM that keeps it is a witness against a later change of
//! the store: `mcp-monitor verify --against` reads it. One that cannot be delivered is not made up for: the number of the
//! next tells how many are missing.

use std::sync::Arc;

use mcp_monitor_common::mechanism::Tier;

use super::{Record, RecordError, source::Positions};
use crate::{
    event::{
        Action, BootNs, Bytes, CoverageNote, Decision, Event, Outcome, Process, ProcessId, ProcessKey,
        SegmentId, ThreadId, Verdict, Workload,
    },
    render::{Origin, json},
};

/// The kind of these events.
pub const KIND: &str = "heartbeat";
/// Seconds between two unless configured.
pub const INTERVAL_SECONDS: u64 = 300;
/// Fewest seconds between two.
pub const INTERVAL_SECONDS_MIN: u64 = 10;

/// That the monitor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The tier in use.
    pub tier: Tier,
    /// Since its start.
    pub uptime_seconds: u64,
    /// Records that were lost since its start, of every cause.
    pub lost: u64,
}

/// Asks whether the monitor lives; `None` when its pipeline stands still.
pub type Pulse = Arc<dyn Fn() -> Option<Life> + Send + Sync>;

/// What a heartbeat says.
#[derive(Clone, Debug)]
pub(super) struct Beat {
    /// Counts those of a sink.
    pub(super) number: u64,
    /// Seconds until the next.
    pub(super) interval_seconds: u64,
    pub(super) life: Life,
    pub(super) end: Positions,
    pub(super) checkpoint: Option<json::Checkpoint>,
}

/// The line of a heartbeat, as a record.
pub(super) fn record(beat: &Beat) -> Result<Record, RecordError> {
    let now = Origin::now();
    let origin = Origin::of_this_host(beat.life.tier);
    let workload = Workload {
        id: "mcp-monitor".into(),
        instance: "mcp-monitor".into(),
        name: "mcp-monitor".into(),
        ..Workload::default()
    };
    let pid = std::process::id();
    let process = Process {
        key: ProcessKey { pid: ProcessId(pid), start: BootNs(0), exec_id: 0 },
        executable: Bytes::new(std::env::current_exe().unwrap_or_default().as_os_str().as_encoded_bytes()),
        ..Process::default()
    };
    let event = Event {
        id: uuid::Uuid::now_v7().to_string(),
        boot_ns: now,
        sequence: beat.number,
        lane: 0,
        action: Action::Coverage(CoverageNote { cause: KIND, what: String::new(), count: 1 }),
        thread: ThreadId(pid),
        segment: SegmentId(0),
        process: Arc::new(process),
        workload: Arc::new(workload),
        outcome: Outcome::Ok,
        count: 1,
        mechanism: "agent",
        verdict: Verdict::Expected,
        decision: Decision {
            source: "mcp-monitor".into(),
            reason: "the monitor lives and sees".into(),
            ..Decision::default()
        },
        rule: None,
    };
    let said = json::Heartbeat {
        number: beat.number,
        interval_s: beat.interval_seconds,
        uptime_s: beat.life.uptime_seconds,
        lost: beat.life.lost,
        last_event: beat.end.events,
        last_finding_change: beat.end.findings,
        checkpoint: beat.checkpoint.clone(),
    };
    let mut line = Vec::new();
    json::heartbeat(&mut line, &origin, &event, &said);
    Record::parse(&String::from_utf8_lossy(&line))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::export::format::{Format, syslog};

    fn beat() -> Record {
        let checkpoint = json!({"schema": "mcp-monitor/checkpoint/v1", "store": "ab", "chain": "events", "row": 7,
            "hash": "cd", "time": "2026-11-20T12:00:00Z", "signature": "ef"});
        record(&Beat {
            number: 3,
            interval_seconds: 60,
            life: Life { tier: Tier::Lsm, uptime_seconds: 5, lost: 0 },
            end: Positions { findings: 1, events: 7 },
            checkpoint: Some(serde_json::from_value(checkpoint).unwrap()),
        })
        .unwrap()
    }

    #[test]
    fn every_format_says_that_it_is_one_and_carries_the_checkpoint() {
        let record = beat();
        assert!(!record.is_finding() && record.severity().is_none());
        for format in [Format::Native, Format::Ocsf, Format::Ecs, Format::Cef] {
            let line = format.line(&record);
            assert!(line.contains(KIND), "{line}");
            assert!(line.contains("\"ef\"") || line.contains("checkpointSignature=ef"), "{line}");
        }
        let text = syslog::message(&record, &syslog::Layout::default());
        assert!(text.contains("checkpointRow=\"7\"") && text.contains(" heartbeat ["), "{text}");
        assert_eq!(Format::Ocsf.value(&record)["class_uid"], 6002);
        assert_eq!(Format::Ecs.value(&record)["event"]["kind"], "state");
    }

    #[test]
    fn the_line_follows_the_published_schema() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../schema/event.v1.json");
        let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let line: Value = serde_json::from_str(beat().line()).unwrap();
        let errors: Vec<_> = jsonschema::validator_for(&schema)
            .unwrap()
            .iter_errors(&line)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(schema["properties"]["heartbeat"]["anyOf"][0]["$ref"], "#/$defs/Heartbeat");
    }
}
