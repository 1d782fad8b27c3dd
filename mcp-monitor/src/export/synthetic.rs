//! A finding that is none: marked as a test, to see whether a receiver takes what is sent.

use std::sync::Arc;

use mcp_monitor_common::mechanism::Tier;

use super::record::{Record, RecordError};
use crate::{
    event::{
        Access, Action, BootNs, Decision, FileObject, FilePath, Finding, FindingState, Outcome, Process,
        ProcessId, ProcessKey, Rule, Severity, Workload,
    },
    render::{Origin, json},
};

/// A finding of this host, of the highest severity so that no filter holds it back, and marked `test`.
pub fn finding() -> Result<Record, RecordError> {
    let now = Origin::now();
    let origin = Origin { test: true, ..Origin::of_this_host(Tier::Tracepoint) };
    let path = FilePath { bytes: "/etc/mcp-monitor/test-of-a-sink".into(), ..FilePath::default() };
    let file =
        FileObject { path, access: Access { read: true, ..Access::default() }, ..FileObject::default() };
    let process = Process {
        key: ProcessKey { pid: ProcessId(std::process::id()), start: BootNs(now.0), exec_id: 0 },
        executable: "/usr/bin/mcp-monitor".into(),
        arguments: vec!["mcp-monitor".into(), "sinks".into(), "test".into()],
        ..Process::default()
    };
    let finding = Finding {
        id: uuid::Uuid::now_v7().to_string(),
        rule: Rule::SecretRead,
        severity: Severity::Critical,
        state: FindingState::Open,
        first_seen: now,
        last_seen: now,
        count: 1,
        workload: Arc::new(Workload {
            id: "test".into(),
            instance: "test".into(),
            name: "test".into(),
            ..Workload::default()
        }),
        process: Arc::new(process),
        action: Action::Open(file),
        outcome: Outcome::Ok,
        decision: Decision {
            source: "test".into(),
            reason: "`mcp-monitor sinks test` was called".into(),
            ..Decision::default()
        },
        technique: "T1552.001".into(),
        tactic: "credential-access".into(),
        title: "Test of a sink".into(),
        message:
            "This is a test. Nothing happened; whoever set up this receiver wants to know that it works."
                .into(),
        advice: "Nothing to do.".into(),
        events: Vec::new(),
    };
    let mut line = Vec::new();
    json::finding(&mut line, &origin, &finding);
    Record::parse(&String::from_utf8_lossy(&line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_that_it_is_a_test() {
        let record = finding().unwrap();
        assert!(record.parts().test && record.is_finding());
        assert_eq!(record.severity(), Some(Severity::Critical));
    }
}
