//! Where lines come from: the host, the monitor, and the way from boot time to wall-clock time.

use crate::{event::BootNs, host::pods::Pods};
use jiff::Timestamp;
use mcp_monitor_common::mechanism::Tier;
use nix::time::{ClockId, clock_gettime};
use std::fs;

/// What every line says of its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `/etc/machine-id`.
    pub host_id: String,
    /// Host name.
    pub host_name: String,
    /// Boot id.
    pub boot_id: String,
    /// Version of the monitor.
    pub version: &'static str,
    /// Tier in use.
    pub tier: Tier,
    /// Wall clock minus boot clock, ns.
    pub clock_offset_ns: i64,
    /// The pods of this node, which events are named by.
    pub pods: Pods,
    /// Lines of a self-test, not of real activity.
    pub test: bool,
}

impl Origin {
    /// Asks this host. What it does not tell stays empty.
    #[must_use]
    pub fn of_this_host(tier: Tier) -> Self {
        let read = |path| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        Self {
            host_id: read("/etc/machine-id"),
            host_name: read("/proc/sys/kernel/hostname"),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            version: env!("CARGO_PKG_VERSION"),
            tier,
            clock_offset_ns: clock_offset_ns(),
            pods: Pods::default(),
            test: false,
        }
    }

    /// Measures the clocks again, since the wall clock can be set.
    pub fn refresh_clock(&mut self) {
        self.clock_offset_ns = clock_offset_ns();
    }

    /// When that was by the wall clock.
    #[must_use]
    pub fn time(&self, when: BootNs) -> Timestamp {
        let nanoseconds = i128::from(when.0) + i128::from(self.clock_offset_ns);
        Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Now, as the kernel programs count it.
    #[must_use]
    pub fn now() -> BootNs {
        BootNs(u64::try_from(nanoseconds(ClockId::CLOCK_BOOTTIME)).unwrap_or(0))
    }
}

fn clock_offset_ns() -> i64 {
    nanoseconds(ClockId::CLOCK_REALTIME) - nanoseconds(ClockId::CLOCK_BOOTTIME)
}

fn nanoseconds(clock: ClockId) -> i64 {
    clock_gettime(clock).map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_by_boot_clock_is_now_by_wall_clock() {
        let origin = Origin::of_this_host(Tier::Lsm);
        let apart = Timestamp::now().duration_since(origin.time(Origin::now())).abs();
        assert!(apart.as_secs() < 2, "{apart:?}");
    }
}
