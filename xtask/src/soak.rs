//! `cargo xtask soak`: the proofs that take too long for every run of the tests; results are appended to a file.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result};

use crate::{bench, binaries::spoken, places, setup};

/// What `cargo xtask soak` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often the evasion suite is run, and the fork bomb with reused process ids; the monitor is killed ten times as often
    #[arg(long, value_name = "N", default_value_t = 20)]
    rounds: u32,
    /// How long one lineage floods while another reads a secret
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    flood: u64,
    /// How long receivers and the monitor are killed while everything must arrive
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    chaos: u64,
    /// The file that results are appended to
    #[arg(long, value_name = "FILE", default_value = "docs/soak-results.md")]
    write: PathBuf,
}

/// Runs the task.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    setup::for_building()?;
    let probe = bench::Probe::build()?;
    let rounds = arguments.rounds;
    let mut results = Results::default();
    for round in 1..=rounds {
        results.run(&format!("evasion suite, round {round} of {rounds}"), &mut probe.end_to_end()?)?;
    }
    for case in ["fork-bomb", "pid-reuse"] {
        for round in 1..=rounds {
            let mut one = probe.end_to_end()?;
            results.run(&format!("{case}, round {round} of {rounds}"), one.args(["--only", case]))?;
        }
    }
    let seconds = arguments.flood.to_string();
    let mut flood = probe.command("flood")?;
    results.run("flood in A, a secret read each second in B", flood.args(["--seconds", &seconds]))?;
    let mut kill = probe.command("kill")?;
    let times = (rounds * 10).to_string();
    results.run("the monitor killed with -9", kill.args(["--rounds", &times]))?;

    let mut store = Command::new("cargo");
    store.args(["test", "--release", "--package", "mcp-monitor", "--lib", "--"]);
    store.args(["a_kill_at_any_moment_loses_no_committed_finding", "--nocapture"]);
    store.env("MCP_MONITOR_KILL_ROUNDS", &times).current_dir(places::workspace()?);
    results
        .run(&format!("the store's writer killed with -9, {times} times: findings and chain"), &mut store)?;

    let mut chaos = probe.sinks()?;
    let chaos_seconds = arguments.chaos.to_string();
    results.run(
        "sinks: receiver and monitor killed at random, disk full, under load",
        chaos.args(["--chaos", &chaos_seconds]),
    )?;

    let command = format!("cargo xtask soak --rounds {rounds} --flood {seconds} --chaos {chaos_seconds}");
    results.append(&places::workspace()?.join(&arguments.write), &command)?;
    Ok(if results.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Default)]
struct Results {
    rows: Vec<String>,
    failed: u32,
}

impl Results {
    /// Runs one proof and notes how it ended, and the last line it said.
    fn run(&mut self, what: &str, command: &mut Command) -> Result<()> {
        println!("== {what}");
        let begin = Instant::now();
        let (said, succeeded) = spoken(command)?;
        let seconds = begin.elapsed().as_secs();
        let said_last = |line: &&str| !line.starts_with("outputs are kept") && !line.trim().is_empty();
        let last = said.lines().rev().find(said_last).unwrap_or_default().replace('|', "\\|");
        let failures: Vec<&str> = said.lines().filter(|line| line.contains("FAILED")).take(5).collect();
        let ended = if succeeded { "proved" } else { "**failed**" };
        let more = if failures.is_empty() { String::new() } else { format!("; {}", failures.join("; ")) };
        self.rows.push(format!("| {what} | {ended} | {seconds} s | {last}{} |", more.replace('|', "\\|")));
        self.failed += u32::from(!succeeded);
        Ok(())
    }

    fn append(&self, file: &Path, command: &str) -> Result<()> {
        let failed = || format!("cannot write {}", file.display());
        if let Some(folder) = file.parent() {
            places::make(folder)?;
        }
        let is_new = !file.exists();
        let mut out: File = OpenOptions::new().create(true).append(true).open(file).with_context(failed)?;
        if is_new {
            writeln!(out, "# Long proofs\n\nAppended by `cargo xtask soak`, one section a run.")
                .with_context(failed)?;
        }
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let (commit, kernel, rows) = (bench::commit()?, kernel.trim(), self.rows.join("\n"));
        writeln!(
            out,
            "\n## {commit}, kernel {kernel}\n\n`{command}`\n\n| proof | result | took | said |\n|---|---|---:|---|\n{rows}"
        )
        .with_context(failed)?;
        println!("appended to {}", file.display());
        Ok(())
    }
}
