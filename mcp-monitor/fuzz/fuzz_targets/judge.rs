//! Records all the way to the lines that are written: each is one JSON object and carries no raw control character,
//! and what people read carries none either.
#![no_main]

use std::sync::{LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use mcp_monitor::{
    event::{Event, WorkloadKind},
    expectation::Judge,
    finding::ledger::{Ledger, Noted},
    render::{Origin, json},
    sensor::decode::decode,
};
use mcp_monitor_common::mechanism::Tier;
use mcp_monitor_fuzz::{attributor, judge, records, write_seeds};

/// Made once: reading the data files takes longer than all else.
static STAGES: LazyLock<Mutex<(Judge, Ledger)>> = LazyLock::new(|| {
    let judge = judge();
    let ledger = Ledger::new(judge.severities(), judge.techniques()).expect("the data files are right");
    Mutex::new((judge, ledger))
});
static ORIGIN: LazyLock<Origin> = LazyLock::new(|| Origin::of_this_host(Tier::Lsm));

fuzz_target!(init: write_seeds(), |input: &[u8]| {
    // The first byte is the low one of a length, so that both kinds come up often.
    let is_agent = input.first().is_some_and(|byte| byte & 1 == 1);
    let mut attributor = attributor(if is_agent { WorkloadKind::Agent } else { WorkloadKind::Server });
    let (judge, ledger) = &mut *STAGES.lock().expect("no other thread");
    for bytes in records(input) {
        let Ok(record) = decode(&bytes) else { continue };
        if let Some(mut event) = attributor.attribute(record) {
            judge.judge(&mut event);
            written(&event, ledger);
        }
    }
});

fn written(event: &Event, ledger: &mut Ledger) {
    let mut lines = Vec::new();
    json::event(&mut lines, &ORIGIN, event);
    match ledger.note(event) {
        Noted::Nothing => assert!(event.rule.is_none(), "a broken rule without a finding: {event:?}"),
        Noted::New(finding) | Noted::Repeated(finding) | Noted::Raised(finding) => {
            json::finding(&mut lines, &ORIGIN, finding);
        }
        Noted::Suppressed => {}
    }
    let text = String::from_utf8(lines).expect("lines are UTF-8");
    assert!(text.ends_with('\n'));
    for line in text.split_terminator('\n') {
        assert!(!line.chars().any(char::is_control), "a raw control character in {line:?}");
        let object: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        let schema = object["schema"].as_str().unwrap_or_default();
        assert!([json::EVENT_SCHEMA, json::FINDING_SCHEMA].contains(&schema), "a line of {schema:?}");
    }
}
