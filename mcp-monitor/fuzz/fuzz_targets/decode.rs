//! Any bytes through the decoder, and what decodes on through attribution and judgement: nothing panics.
#![no_main]

use std::sync::{LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use mcp_monitor::{event::WorkloadKind, expectation::Judge, sensor::decode::decode};
use mcp_monitor_fuzz::{attributor, judge, records, write_seeds};

/// Made once: reading the data files takes longer than all else.
static JUDGE: LazyLock<Mutex<Judge>> = LazyLock::new(|| Mutex::new(judge()));

fuzz_target!(init: write_seeds(), |input: &[u8]| {
    let mut attributor = attributor(WorkloadKind::Server);
    let mut judge = JUDGE.lock().expect("no other thread");
    // As it is, for headers that lie, and as records.
    for bytes in std::iter::once(input.to_vec()).chain(records(input)) {
        let Ok(record) = decode(&bytes) else { continue };
        if let Some(mut event) = attributor.attribute(record) {
            judge.judge(&mut event);
        }
    }
});
