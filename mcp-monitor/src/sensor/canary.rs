//! Proof that a hook fires. BPF LSM programs attach without complaint on a kernel that will never call them.

use std::time::{Duration, Instant};

use mcp_monitor_common::{
    mechanism::{self, Tier},
    record::RecordKind,
};

use super::{
    decode::decode,
    orders::{Label, Orders},
    ring::Ring,
    sequence::SequenceTracker,
};
use crate::event::{ProcessId, SegmentId};

/// The segment that our own process is in while it proves the hook.
pub const CANARY_SEGMENT: SegmentId = SegmentId(u64::MAX);
/// Emulated machines are slow; a real one answers in microseconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// Labels our own process, opens a file, and waits for the record.
///
/// # Errors
/// In words, when none came.
pub fn fires(
    tier: Tier,
    orders: &mut Orders,
    ring: &mut Ring,
    sequences: &mut SequenceTracker,
) -> Result<(), String> {
    let program = match tier {
        Tier::Lsm => mechanism::LSM_FILE_OPEN,
        Tier::Probe => mechanism::PROBE_FILE_OPEN,
        Tier::Tracepoint => mechanism::SYSCALL_EXIT,
    };
    let ourselves = ProcessId(std::process::id());
    let label = Label { segment: CANARY_SEGMENT, start_ticks: 0, flags: 0 };
    orders.label(ourselves, label).map_err(|error| error.to_string())?;
    let deadline = Instant::now() + PATIENCE;
    let mut seen = false;
    while !seen && Instant::now() < deadline {
        // /proc/self/comm is always there and never a secret.
        let _ = std::fs::File::open("/proc/self/comm");
        ring.drain(usize::MAX, |record| {
            note(record, sequences);
            seen |= is_open(record, program);
        });
        if !seen {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    orders.unlabel(ourselves);
    // What our own threads did meanwhile is nobody's event.
    ring.drain(usize::MAX, |record| note(record, sequences));
    if seen {
        Ok(())
    } else {
        Err(format!(
            "its programs attached but did not fire within {} s for an open of our own",
            PATIENCE.as_secs()
        ))
    }
}

fn is_open(record: &[u8], program: u32) -> bool {
    decode(record).is_ok_and(|record| {
        record.header.kind == RecordKind::Open as u16 && record.header.mechanism == program
    })
}

/// The canary's records count in their lanes, too.
fn note(record: &[u8], sequences: &mut SequenceTracker) {
    if let Ok(record) = decode(record) {
        sequences.observe(record.header.lane, record.header.sequence);
    }
}
