//! From nanoseconds since boot to the time of day, by one offset measured at start.
//!
//! Events keep their order and distance even when somebody sets the clock while the monitor runs.

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

use crate::event::BootNs;

/// Measurements of which the tightest is kept.
const MEASUREMENTS: usize = 5;

/// The offset between the two clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    offset_ns: i128,
}

impl Clock {
    /// Measures the offset now.
    #[must_use]
    pub fn measure() -> Self {
        let offset_ns = (0..MEASUREMENTS)
            .map(|_| {
                let before = read(ClockId::CLOCK_BOOTTIME);
                let wall = read(ClockId::CLOCK_REALTIME);
                let after = read(ClockId::CLOCK_BOOTTIME);
                (after - before, wall - i128::midpoint(before, after))
            })
            .min_by_key(|(width, _)| *width)
            .map_or(0, |(_, offset)| offset);
        Self { offset_ns }
    }

    /// A clock that started at this wall time, for tests and replays.
    #[must_use]
    pub fn booted_at(started: Timestamp) -> Self {
        Self { offset_ns: started.as_nanosecond() }
    }

    /// Time since boot, suspend included, now.
    #[must_use]
    pub fn now() -> BootNs {
        BootNs(u64::try_from(read(ClockId::CLOCK_BOOTTIME)).unwrap_or(0))
    }

    /// The time of day; the ends of the calendar for what lies beyond them.
    #[must_use]
    pub fn timestamp(&self, boot: BootNs) -> Timestamp {
        let wall_ns = i128::from(boot.0) + self.offset_ns;
        Timestamp::from_nanosecond(wall_ns).unwrap_or(if wall_ns < 0 {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        })
    }
}

fn read(clock: ClockId) -> i128 {
    clock_gettime(clock)
        .map_or(0, |time| i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_now() {
        let seen = Clock::measure().timestamp(Clock::now());
        assert!(seen.duration_since(Timestamp::now()).abs() < jiff::SignedDuration::from_millis(100));
    }

    #[test]
    fn absurd_times_are_kept_in_the_calendar() {
        let clock = Clock::booted_at("2026-01-02T03:04:05Z".parse().unwrap());
        assert_eq!(clock.timestamp(BootNs(1_000_000_000)).to_string(), "2026-01-02T03:04:06Z");
        assert!(clock.timestamp(BootNs(u64::MAX)) > Timestamp::UNIX_EPOCH);
    }
}
