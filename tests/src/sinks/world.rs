//! What every case has: a scratch folder, lines to send, the monitor's command, and looking at what arrived.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

/// A finding and an event as the monitor wrote them once; ids are put in.
const FINDING: &str = include_str!("../../data/finding.json");
const EVENT: &str = include_str!("../../data/event.json");

pub(crate) struct World {
    monitor: PathBuf,
    place: TempDir,
}

/// A replay that may still run.
pub(crate) struct Running(std::process::Child);

impl World {
    pub(crate) fn new(monitor: &Path) -> Result<Self> {
        Ok(Self { monitor: monitor.to_owned(), place: tempfile::tempdir()? })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// A file that only its owner may read.
    pub(crate) fn secret(&self, text: &str) -> Result<PathBuf> {
        let path = self.path("secret");
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }

    /// The only sink, called `s`.
    pub(crate) fn configure(&self, sink: &str) -> Result<()> {
        Ok(fs::write(self.path("config.yaml"), format!("sinks:\n  - {{name: s, events: true, {sink}}}\n"))?)
    }

    /// So many events and findings with ids `event-N` and `finding-N`.
    pub(crate) fn lines(&self, events: usize, findings: usize) -> Result<()> {
        self.write_lines(events, findings, None)
    }

    /// The same, about the file `path`.
    pub(crate) fn lines_of(&self, events: usize, findings: usize, path: &str) -> Result<()> {
        self.write_lines(events, findings, Some(path))
    }

    fn write_lines(&self, events: usize, findings: usize, path: Option<&str>) -> Result<()> {
        let mut text = String::new();
        for (template, name, count) in [(EVENT, "event", events), (FINDING, "finding", findings)] {
            let line: Value = serde_json::from_str(template)?;
            for number in 0..count {
                let mut line = line.clone();
                line["id"] = format!("{name}-{number}").into();
                if let Some(path) = path {
                    line["file"]["path"] = path.into();
                }
                text.push_str(&line.to_string());
                text.push('\n');
            }
        }
        Ok(fs::write(self.path("lines.jsonl"), text)?)
    }

    /// The monitor's program.
    pub(crate) fn monitor(&self) -> &Path {
        &self.monitor
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.monitor);
        command.arg("sinks").args(words).arg("--config").arg(self.path("config.yaml"));
        command.arg("--state").arg(self.path("state"));
        // No proxy of whoever runs this.
        for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command
    }

    pub(crate) fn sinks(&self, words: &[&str]) -> Result<Output> {
        self.command(words).stdin(Stdio::null()).output().context("cannot run the monitor")
    }

    /// Sends the lines; an error unless all was done.
    pub(crate) fn replay(&self) -> Result<String> {
        let lines = self.path("lines.jsonl");
        let output = self.sinks(&["replay", "s", "--from", &lines.to_string_lossy()])?;
        let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() {
            bail!("{}: {told} {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(told)
    }

    pub(crate) fn start_replay(&self) -> Result<Running> {
        let lines = self.path("lines.jsonl");
        let mut command = self.command(&["replay", "s", "--from", &lines.to_string_lossy()]);
        Ok(Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }

    pub(crate) fn dead_letters(&self) -> Vec<Value> {
        Self::dead_letters_of(&self.path("state"))
    }

    pub(crate) fn dead_letters_of(state: &Path) -> Vec<Value> {
        let text = fs::read_to_string(state.join("sinks/s.dead.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Running {
    pub(crate) fn kill(mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

/// Ids `event-N` and `finding-N` in `text`, each once.
pub(crate) fn ids(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for name in ["event-", "finding-"] {
        for (at, _) in text.match_indices(name) {
            let number: String = text[at + name.len()..].chars().take_while(char::is_ascii_digit).collect();
            if !number.is_empty() {
                found.insert(format!("{name}{number}"));
            }
        }
    }
    found
}

/// Waits until `holds`, at most `seconds`.
pub(crate) fn until(seconds: u64, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        if holds() {
            return true;
        }
        thread::sleep(Duration::from_millis(50));
    }
    holds()
}
