//! Ids of events: UUID version 7 of the time of the event, unique within and between runs.

use std::hash::{BuildHasher as _, RandomState};

use jiff::Timestamp;
use uuid::Builder;

/// Makes ids without a system call each.
#[derive(Debug)]
pub(super) struct Identifiers {
    seed: u64,
    made: u64,
}

impl Identifiers {
    pub(super) fn new() -> Self {
        // The standard library's randomness for hash maps: from the kernel, once per process.
        Self { seed: RandomState::new().hash_one(0u8), made: 0 }
    }

    /// The next id, for an event at `time`.
    pub(super) fn next(&mut self, time: Timestamp) -> String {
        self.made = self.made.wrapping_add(1);
        let milliseconds = u64::try_from(time.as_millisecond()).unwrap_or(0);
        let below = time.subsec_nanosecond().rem_euclid(1_000_000);
        // 12 bits of the fraction keep ids of one millisecond in order.
        let fraction = u16::try_from(i64::from(below) * 4096 / 1_000_000).unwrap_or(0);
        let mut rest = [0; 10];
        let (first, last) = rest.split_at_mut(2);
        first.copy_from_slice(&fraction.to_be_bytes());
        last.copy_from_slice(&mix(self.seed.wrapping_add(self.made)).to_be_bytes());
        let id = Builder::from_unix_timestamp_millis(milliseconds, &rest).into_uuid();
        id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).to_owned()
    }
}

/// Splitmix64's last step: one to one, so that counted inputs never give the same output.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_sorted_by_time_and_of_version_seven() {
        let mut identifiers = Identifiers::new();
        let start: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let ids: Vec<String> =
            (0..1000).map(|step| identifiers.next(start + jiff::SignedDuration::from_micros(step))).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(ids.iter().all(|id| id.len() == 36 && id.as_bytes()[14] == b'7'));
        let same: std::collections::HashSet<String> = (0..1000).map(|_| identifiers.next(start)).collect();
        assert_eq!(same.len(), 1000);
    }
}
