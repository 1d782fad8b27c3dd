//! Watches a machine's console: shows it, finds the verdict, and ends machines that cannot reach one.

use std::{
    fmt,
    io::{BufRead, BufReader, Read},
    process::Command,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::command;

/// What the machine's last line starts with.
pub(super) const VERDICT: &str = "mcp-monitor-vm-verdict";
/// How often a CPU may seem stuck: a busy host starves an emulated CPU now and then, a dead kernel says it for ever.
const STALLS_BORNE: u32 = 3;
/// How long a kernel may print about its own end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The command ended with this status.
    Status(i32),
    /// The kernel broke; what it said.
    Broke(String),
    /// It was killed at its deadline.
    Deadline,
    /// It ended without a verdict; what QEMU said.
    Silent(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(formatter, "status {status}"),
            Self::Broke(how) => write!(formatter, "the kernel broke: {how}"),
            Self::Deadline => write!(formatter, "killed at its deadline"),
            Self::Silent(why) => write!(formatter, "ended without a verdict: {why}"),
        }
    }
}

/// What came of a boot.
pub(crate) struct Report {
    /// How it ended.
    pub(crate) ended: Ended,
    /// All that was printed to the console.
    pub(crate) console: String,
    /// From start to end.
    pub(crate) took: Duration,
}

/// Starts `qemu`, shows its console line by line after `name`, and returns when the machine is gone.
pub(super) fn watch(qemu: &mut Command, name: &str, token: &str, deadline: Duration) -> Result<Report> {
    let started = Instant::now();
    let mut child = qemu.spawn().with_context(|| format!("cannot start `{}`", command::shown(qemu)))?;
    let complaints = child.stderr.take().map(|mut stderr| {
        thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).trim().to_owned()
        })
    });
    let (sender, lines) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
                if sender.send(text).is_err() {
                    return;
                }
                line.clear();
            }
        });
    }

    let mut watcher = Watcher { token: token.to_owned(), stalls: 0, ended: None };
    let mut console = String::new();
    let mut until = started + deadline;
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                let before = watcher.ended.is_some();
                if watcher.hear(&line) {
                    continue;
                }
                eprintln!("[{name}] {}", printable(&line));
                console.push_str(&line);
                console.push('\n');
                if !before && watcher.ended.is_some() {
                    until = Instant::now() + LAST_WORDS;
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                watcher.ended.get_or_insert(Ended::Deadline);
                break;
            }
        }
    }
    let _ = child.kill();
    child.wait().context("cannot wait for QEMU")?;
    let complaints = complaints.and_then(|thread| thread.join().ok()).unwrap_or_default();
    let ended = watcher.ended.unwrap_or(Ended::Silent(complaints));
    Ok(Report { ended, console, took: started.elapsed() })
}

/// What the lines so far mean.
struct Watcher {
    token: String,
    stalls: u32,
    ended: Option<Ended>,
}

impl Watcher {
    /// Takes in one line; true when it was the verdict and not output.
    fn hear(&mut self, line: &str) -> bool {
        if let Some((_, verdict)) = line.split_once(&format!("{VERDICT} {} status=", self.token)) {
            if let Ok(status) = verdict.trim().parse() {
                self.ended.get_or_insert(Ended::Status(status));
            }
            return true;
        }
        let panicked = line.contains("Kernel panic - not syncing");
        if line.contains("soft lockup") || line.contains("rcu") && line.contains("detected stall") {
            self.stalls += 1;
        }
        if panicked || self.stalls > STALLS_BORNE {
            self.ended.get_or_insert_with(|| Ended::Broke(line.trim().to_owned()));
        }
        false
    }
}

/// `line` without what would steer a terminal, colours excepted.
fn printable(line: &str) -> String {
    line.chars()
        .filter(|c| !c.is_control() || matches!(c, '\t' | '\u{1b}'))
        .collect::<String>()
        .replace("\u{1b}c", "")
}

#[cfg(test)]
mod tests {
    use super::{Ended, VERDICT, Watcher};

    fn watcher() -> Watcher {
        Watcher { token: "t0".into(), stalls: 0, ended: None }
    }

    #[test]
    fn only_the_right_token_is_a_verdict() {
        let mut watcher = watcher();
        assert!(!watcher.hear(&format!("{VERDICT} other status=0")));
        assert!(watcher.hear(&format!("{VERDICT} t0 status=3")));
        assert_eq!(watcher.ended, Some(Ended::Status(3)));
    }

    #[test]
    fn a_panic_ends_and_a_single_stall_does_not() {
        let mut watcher = watcher();
        watcher.hear("watchdog: BUG: soft lockup - CPU#1 stuck for 22s!");
        assert_eq!(watcher.ended, None);
        watcher.hear("Kernel panic - not syncing: Attempted to kill init!");
        assert!(matches!(watcher.ended, Some(Ended::Broke(_))));
    }
}
