//! Running `mcp-monitor watch` on a command, and reading what it said.

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use mcp_monitor_tests::world::{PORT, World};
use serde_json::Value;

use crate::{compare, table::Tier};

/// What is needed to run a command under the monitor.
#[derive(Clone)]
pub(crate) struct Setup {
    /// The monitor's program.
    pub(crate) monitor: PathBuf,
    /// The attack program.
    pub(crate) attack: PathBuf,
    /// The tier to force.
    pub(crate) tier: Tier,
    /// The files of the run.
    pub(crate) world: World,
    /// How many times slower than real hardware this machine is.
    pub(crate) slowness: u32,
}

/// What one run of the monitor said.
pub(crate) struct Said {
    /// The run's name.
    pub(crate) name: String,
    /// How it ended; nothing when it had to be killed at the deadline.
    pub(crate) status: Option<ExitStatus>,
    /// Everything it wrote to its output.
    pub(crate) output: String,
    /// Everything it wrote to standard error, the watched command's included.
    pub(crate) talk: String,
    /// The output's lines that are JSON.
    pub(crate) records: Vec<Value>,
    /// Lines that are not.
    pub(crate) garbage: Vec<String>,
}

impl Said {
    /// Sorts the lines of the output.
    pub(crate) fn read(name: &str, status: Option<ExitStatus>, output: &str, talk: String) -> Self {
        let (mut records, mut garbage) = (Vec::new(), Vec::new());
        for line in output.lines() {
            match serde_json::from_str::<Value>(line) {
                Ok(record) => records.push(record),
                Err(_) => garbage.push(line.to_owned()),
            }
        }
        Self { name: name.to_owned(), status, output: output.to_owned(), talk, records, garbage }
    }

    /// The records of one schema: `event`, `finding`, `summary`.
    pub(crate) fn of<'a>(&'a self, schema: &'a str) -> impl Iterator<Item = &'a Value> {
        let schema = format!("mcp-monitor/{schema}/v1");
        self.records.iter().filter(move |record| record["schema"] == schema.as_str())
    }

    /// All texts of coverage: events of that kind, and entries of the summary.
    pub(crate) fn coverage(&self) -> String {
        let events = self.of("event").filter(|event| event["kind"] == "coverage");
        let entries = self.of("summary").filter_map(|summary| summary.get("coverage"));
        events.chain(entries).map(|entry| entry.to_string().to_lowercase()).collect::<Vec<_>>().join("\n")
    }

    /// The tier that was really in use.
    pub(crate) fn tier(&self) -> Result<Tier> {
        let name = self.records.iter().find_map(|record| compare::at(record, "monitor.tier")?.as_str());
        Tier::of(name.context("no record names the tier")?)
    }
}

impl Setup {
    /// `mcp-monitor watch …` with the options all runs share, without its command.
    pub(crate) fn watch(&self) -> Command {
        let mut command = Command::new(&self.monitor);
        command.args(["watch", "-o", "json", "--as-root"]);
        command.args(["--allow-egress", &format!("127.0.0.1:{PORT}")]);
        command.args(["--allow-egress", &format!("[::1]:{PORT}")]);
        if self.tier != Tier::Auto {
            command.args(["--tier", self.tier.name()]);
        }
        command.env("HOME", self.world.home()).env("NO_COLOR", "1").stdin(Stdio::null());
        // Its lock lies here, so that a monitor that runs on this host for other reasons is not in the way.
        command.env("RUNTIME_DIRECTORY", self.world.scratch.join("run"));
        command.env("STATE_DIRECTORY", self.world.scratch.join("store"));
        command
    }

    /// The attack program in this world.
    pub(crate) fn attack(&self) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        vec![text(&self.attack), "--scratch".to_owned(), text(&self.world.scratch)]
    }

    /// Runs the monitor on a command to the end and reads what it said.
    pub(crate) fn run(&self, name: &str, options: &[&str], command: &[String], seconds: u64) -> Result<Said> {
        let output = self.world.scratch.join(format!("{name}.jsonl"));
        let talk = self.world.scratch.join(format!("{name}.talk"));
        let mut watch = self.watch();
        watch.arg("--output-file").arg(&output).args(options).arg("--").args(command);
        watch.stdout(File::create(self.world.scratch.join(format!("{name}.stdout")))?);
        watch.stderr(File::create(&talk)?);
        let mut child = watch.spawn().with_context(|| format!("start {}", self.monitor.display()))?;
        let status = wait(&mut child, self.seconds(seconds))?;
        let output = fs::read(&output).unwrap_or_default();
        let talk = String::from_utf8_lossy(&fs::read(&talk)?).into_owned();
        Ok(Said::read(name, status, &String::from_utf8_lossy(&output), talk))
    }

    /// A time limit on this machine.
    pub(crate) fn seconds(&self, seconds: u64) -> Duration {
        Duration::from_secs(seconds * u64::from(self.slowness))
    }
}

/// Waits for a child; at the deadline it is asked to end, and then made to.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    if let Some(status) = wait_gently(child, limit)? {
        return Ok(Some(status));
    }
    let pid = i32::try_from(child.id())?;
    // SAFETY: our own child.
    unsafe { libc::kill(pid, libc::SIGINT) };
    if wait_gently(child, Duration::from_secs(10))?.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(None)
}

/// Waits for a child until a deadline and lets it be.
pub(crate) fn wait_gently(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begin.elapsed() > limit {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// How a program ended, in words.
pub(crate) fn ending(status: Option<ExitStatus>) -> String {
    match status {
        None => "did not end before its deadline".to_owned(),
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with status {code}"),
            (None, signal) => format!("was ended by signal {}", signal.unwrap_or(0)),
        },
    }
}
