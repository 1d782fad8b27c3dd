//! Freezing a lineage on an operator's order: each process is stopped through a descriptor of it, after its start was
//! compared with its label, so that a number that is used again stops nobody else.
//!
//! Processes that fork meanwhile leave a child behind, which is labelled as well: it is looked again until a look finds
//! nobody new.

use std::collections::HashSet;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::lineages::is_gone;
use crate::{control::orders::OrderKind, event::ProcessId, sensor::orders::Orders};

/// Looks at the labels at most this often.
const LOOKS_MAX: usize = 32;

/// Stops every labelled process whose segment `belongs`, or lets it go on. Gives how many there were.
pub(super) fn apply(
    orders: &Orders,
    kind: OrderKind,
    mut belongs: impl FnMut(u64) -> bool,
) -> Result<u64, String> {
    let signal = match kind {
        OrderKind::Pause => Signal::STOP,
        OrderKind::Resume => Signal::CONT,
    };
    let mut reached = HashSet::new();
    let mut refused = None;
    for _ in 0..LOOKS_MAX {
        let before = reached.len();
        for (pid, entry) in orders.labels() {
            let key = (pid, entry.start_boottime_ns);
            if reached.contains(&key) || pid.0 == std::process::id() || !belongs(entry.segment) {
                continue;
            }
            match send(pid, entry.start_boottime_ns, signal) {
                Ok(true) => {
                    reached.insert(key);
                }
                Ok(false) => {}
                Err(error) => refused = Some(format!("process {}: {error}", pid.0)),
            }
        }
        if reached.len() == before {
            break;
        }
    }
    match (reached.len(), refused) {
        (0, Some(why)) => Err(why),
        (0, None) => Err("it has no living process".into()),
        (_, Some(why)) => Err(format!("{} processes, but not all: {why}", reached.len())),
        (count, None) => Ok(count as u64),
    }
}

/// `false` when the process is gone.
fn send(pid: ProcessId, start_boottime_ns: u64, signal: Signal) -> rustix::io::Result<bool> {
    let Some(number) = i32::try_from(pid.0).ok().and_then(Pid::from_raw) else { return Ok(false) };
    let process = match pidfd_open(number, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        other => other?,
    };
    // The descriptor holds this process; now it is compared with the label, and cannot become another one afterwards.
    if is_gone(pid, start_boottime_ns) {
        return Ok(false);
    }
    match pidfd_send_signal(&process, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(false),
        other => other.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn state(pid: u32) -> char {
        procfs::process::Process::new(i32::try_from(pid).unwrap()).unwrap().stat().unwrap().state
    }

    fn becomes(pid: u32, wanted: char) -> bool {
        (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            state(pid) == wanted
        })
    }

    #[test]
    fn the_process_of_the_label_is_stopped_and_nobody_else() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = ProcessId(child.id());
        let ticks =
            procfs::process::Process::new(i32::try_from(pid.0).unwrap()).unwrap().stat().unwrap().starttime;
        let start = ticks * 10_000_000;
        assert_eq!(send(pid, start + 60_000_000_000, Signal::STOP), Ok(false), "started at another time");
        assert!(becomes(pid.0, 'S'));
        assert_eq!(send(pid, start, Signal::STOP), Ok(true));
        assert!(becomes(pid.0, 'T'));
        assert_eq!(send(pid, start, Signal::CONT), Ok(true));
        assert!(becomes(pid.0, 'S'));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(send(pid, start, Signal::STOP), Ok(false));
    }
}
