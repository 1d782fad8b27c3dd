//! Gaps in the sequences of records: a gap is a loss, and no loss stays silent.
//!
//! Each lane (CPU × scratch slot) counts its attempts from 1, whether they reached the ring buffer or not. Records
//! of one lane arrive in order. One small entry per lane, and there are at most as many lanes as the kernel has
//! scratch slots; an absurd number of lanes is counted and not stored.

use std::collections::HashMap;

/// Lanes that are followed: 8,192 CPUs with 4 slots each.
const LANES_MAX: usize = 32 * 1024;

/// Records that are missing before the one that was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How many.
    pub missing: u64,
}

/// What has been seen of all lanes.
#[derive(Debug, Default)]
pub struct SequenceTracker {
    lanes: HashMap<u32, u64>,
    received: u64,
    missing: u64,
    repeated: u64,
    unfollowed: u64,
}

impl SequenceTracker {
    /// Takes note of a record and tells whether records before it are missing.
    pub fn observe(&mut self, lane: u32, sequence: u64) -> Option<Gap> {
        self.received = self.received.saturating_add(1);
        let Some(last) = self.lanes.get_mut(&lane) else {
            if self.lanes.len() >= LANES_MAX {
                self.unfollowed = self.unfollowed.saturating_add(1);
                return None;
            }
            self.lanes.insert(lane, sequence);
            return self.gap(sequence.saturating_sub(1));
        };
        if sequence <= *last {
            self.repeated = self.repeated.saturating_add(1);
            return None;
        }
        let missing = sequence - *last - 1;
        *last = sequence;
        self.gap(missing)
    }

    fn gap(&mut self, missing: u64) -> Option<Gap> {
        self.missing = self.missing.saturating_add(missing);
        (missing > 0).then_some(Gap { missing })
    }

    /// The last number of each lane.
    pub fn last(&self) -> impl Iterator<Item = (u32, u64)> {
        self.lanes.iter().map(|(lane, sequence)| (*lane, *sequence))
    }

    /// Records that came.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Records that did not come.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Records whose number was not above the one before them: a fault of ours, never of the host.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Records of lanes beyond the number that is followed.
    #[must_use]
    pub fn unfollowed(&self) -> u64 {
        self.unfollowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_records_leave_no_gap() {
        let mut tracker = SequenceTracker::default();
        for sequence in 1..=5 {
            assert_eq!(tracker.observe(7, sequence), None);
        }
        assert_eq!((tracker.received(), tracker.missing()), (5, 0));
    }

    #[test]
    fn lanes_are_counted_apart() {
        let mut tracker = SequenceTracker::default();
        assert_eq!(tracker.observe(0, 1), None);
        assert_eq!(tracker.observe(1, 1), None);
        assert_eq!(tracker.observe(0, 4), Some(Gap { missing: 2 }));
        assert_eq!(tracker.observe(1, 2), None);
        assert_eq!(tracker.missing(), 2);
    }

    #[test]
    fn a_first_record_that_is_not_number_one_is_a_gap() {
        assert_eq!(SequenceTracker::default().observe(3, 11), Some(Gap { missing: 10 }));
    }

    #[test]
    fn repetition_and_extremes_do_not_overflow() {
        let mut tracker = SequenceTracker::default();
        assert_eq!(tracker.observe(0, 0), None);
        assert_eq!(tracker.observe(0, u64::MAX), Some(Gap { missing: u64::MAX - 1 }));
        assert_eq!(tracker.observe(0, u64::MAX), None);
        assert_eq!(tracker.observe(1, u64::MAX), Some(Gap { missing: u64::MAX - 1 }));
        assert_eq!(tracker.missing(), u64::MAX);
        assert_eq!(tracker.repeated(), 1);
    }
}
