//! Which process is which: the pid and the start time, as `/proc` of the first pid namespace says them.

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

/// Nanoseconds of one tick of the start time in `/proc/PID/stat`.
pub const TICK: u64 = 10_000_000;

/// A process: its pid in the namespace of the mounted `/proc`, and when it started, in ticks since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// The pid.
    pub pid: i32,
    /// The start time in ticks, which [`TICK`] turns into the ns of the monitor's records.
    pub start: u64,
}

impl Identity {
    /// This process, even from inside a pid namespace of its own: the link is resolved by the mounted `/proc`.
    pub fn mine() -> Result<Self> {
        let link = std::fs::read_link("/proc/self").context("read the link /proc/self")?;
        let pid = link.to_str().and_then(|pid| pid.parse().ok()).context("/proc/self is no pid")?;
        Self::of(pid)
    }

    /// Another process.
    pub fn of(pid: i32) -> Result<Self> {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).with_context(|| format!("stat of {pid}"))?;
        let stat = String::from_utf8_lossy(&stat);
        // The second field is the name in parentheses and may hold anything; the start time is the 22nd.
        let after_name = stat.rfind(')').and_then(|end| stat.get(end + 2..)).context("stat has no name")?;
        let begin = after_name.split(' ').nth(19).and_then(|begin| begin.parse().ok());
        Ok(Self { pid, start: begin.ok_or_else(|| anyhow!("stat of {pid} has no start time"))? })
    }
}

/// `CLOCK_BOOTTIME` in ns, the clock of process start times.
#[must_use]
pub fn boot_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_started_before_now() {
        let me = Identity::mine().unwrap();
        assert_eq!(u32::try_from(me.pid).unwrap(), std::process::id());
        assert!(me.start * TICK <= boot_ns());
    }
}
