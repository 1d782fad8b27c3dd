//! Proof that a hook fires. BPF LSM programs attach without complaint on a kernel that will never call them.

use std::time::{Duration, Instant};

use mcp_monitor_common::{
    mechanism::{self, Tier},
    record::RecordKind,
};

use super::{
    decode::{Record, decode},
    orders::{Label, Orders},
    ring::Ring,
    sequence::SequenceTracker,
};
use crate::event::{ProcessId, SegmentId};

/// The segment that our own process is in while it proves the hook.
pub const CANARY_SEGMENT: SegmentId = SegmentId(u64::MAX);
/// Always there and never a secret.
const BAIT: &str = "/proc/self/comm";
/// How our own process is labelled for it.
const LABEL: Label = Label { segment: CANARY_SEGMENT, start_ticks: 0, flags: 0 };
/// Emulated machines are slow; a real one answers in microseconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// The hook that is proven: the one that tells of opened files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canary {
    mechanism: u32,
}

impl Canary {
    /// The canary of a tier.
    #[must_use]
    pub fn of(tier: Tier) -> Self {
        let mechanism = match tier {
            Tier::Lsm => mechanism::LSM_FILE_OPEN,
            Tier::Probe => mechanism::PROBE_FILE_OPEN,
            Tier::Tracepoint => mechanism::SYSCALL_EXIT,
        };
        Self { mechanism }
    }

    /// Name of the program that must answer.
    #[must_use]
    pub fn program(self) -> &'static str {
        usize::try_from(self.mechanism)
            .ok()
            .and_then(|index| mechanism::PROGRAMS.get(index))
            .map_or("unknown", |program| program.name)
    }

    /// True when the record answers.
    #[must_use]
    pub fn is_answer(self, record: &Record) -> bool {
        record.header.kind == RecordKind::Open as u16 && record.header.mechanism == self.mechanism
    }

    /// Labels our own process for the moment of one open. `false` when that was not possible, so that no answer will
    /// come. What other threads of ours do in that moment is nobody's event; none of them forks then.
    pub fn send(self, orders: &mut Orders) -> bool {
        let ourselves = ProcessId(std::process::id());
        if orders.label_of(ourselves).is_some() || orders.label(ourselves, LABEL).is_err() {
            return false;
        }
        let opened = std::fs::File::open(BAIT).is_ok();
        orders.unlabel(ourselves);
        opened
    }
}

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
    let canary = Canary::of(tier);
    let ourselves = ProcessId(std::process::id());
    orders.label(ourselves, LABEL).map_err(|error| error.to_string())?;
    let deadline = Instant::now() + PATIENCE;
    let mut seen = false;
    while !seen && Instant::now() < deadline {
        let _ = std::fs::File::open(BAIT);
        ring.drain(usize::MAX, |bytes| {
            if let Some(record) = note(bytes, sequences) {
                seen |= canary.is_answer(&record);
            }
        });
        if !seen {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    orders.unlabel(ourselves);
    // What our own threads did meanwhile is nobody's event.
    ring.drain(usize::MAX, |bytes| {
        note(bytes, sequences);
    });
    if seen {
        Ok(())
    } else {
        Err(format!(
            "its programs attached but did not fire within {} s for an open of our own",
            PATIENCE.as_secs()
        ))
    }
}

/// The canary's records count in their lanes, too.
fn note(bytes: &[u8], sequences: &mut SequenceTracker) -> Option<Record> {
    let record = decode(bytes).ok()?;
    sequences.observe(record.header.lane, record.header.sequence);
    Some(record)
}
