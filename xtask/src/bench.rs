//! `cargo xtask bench`: what the monitor costs on this machine, as a page of Markdown.
//!
//! The measuring itself is the program `bench-probe` of the tests package, run as root.

mod machines;

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use crate::{
    binaries::{self, Linked},
    command, places, setup,
};

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fewer and shorter rounds
    #[arg(long)]
    quick: bool,
    /// Write the page to FILE as well
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// The mechanisms to measure
    #[arg(long, value_name = "TIER", default_value = "tracepoint")]
    tier: String,
    /// Only the measurements whose name holds this: cost, rate, latency, build, store, delivery, judge, machines
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// How long the store takes its paced stream
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    store_seconds: u64,
    /// Rows of the store that is asked
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    store_rows: u64,
    /// Measure ratios in virtual machines, too
    #[arg(long)]
    machines: bool,
    /// A remark on the circumstances, printed with the machine
    #[arg(long, value_name = "TEXT")]
    remark: Option<String>,
}

/// Runs the task.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    setup::for_building()?;
    match arguments.only.as_deref() {
        Some("store") => return store(arguments),
        Some("judge") => return judge(arguments),
        Some("machines") => {
            print!("{}", machines::section()?);
            return Ok(ExitCode::SUCCESS);
        }
        Some("delivery") => return delivery(arguments),
        _ => {}
    }
    let probe = Probe::build()?;
    let mut measure = probe.command("measure")?;
    measure.args(["--tier", &arguments.tier, "--commit", &commit()?]);
    measure.arg("--checkout").arg(places::workspace()?);
    if arguments.quick {
        measure.arg("--quick");
    }
    if let Some(only) = &arguments.only {
        measure.args(["--only", only]);
    }
    if let Some(remark) = &arguments.remark {
        measure.args(["--remark", remark]);
    }
    let (mut page, succeeded) = binaries::spoken(&mut measure)?;
    if !succeeded {
        bail!("`{}` failed; its last words are above", command::shown(&measure));
    }
    if arguments.machines {
        page.push_str(&machines::section()?);
    }
    if let Some(file) = &arguments.write {
        file.parent().map_or(Ok(()), places::make)?;
        std::fs::write(file, &page).with_context(|| format!("cannot write {}", file.display()))?;
        eprintln!("written to {}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// What the store takes and how fast it answers: needs no root, and is no part of the page about the kernel side.
fn store(arguments: &Arguments) -> Result<ExitCode> {
    let mut cargo = Command::new("cargo");
    cargo.args(["bench", "--package", "mcp-monitor", "--bench", "store", "--"]);
    cargo.args(["--seconds", &arguments.store_seconds.to_string()]);
    cargo.args(["--rows", &arguments.store_rows.to_string()]);
    told(arguments, cargo.current_dir(places::workspace()?))
}

/// Runs a bench of cargo, and writes what it says where that is wanted.
fn told(arguments: &Arguments, cargo: &mut Command) -> Result<ExitCode> {
    let (section, succeeded) = binaries::spoken(cargo)?;
    if !succeeded {
        bail!("`{}` failed; its last words are above", command::shown(cargo));
    }
    if let Some(file) = &arguments.write {
        std::fs::write(file, &section).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a verdict costs: needs no root and no kernel side either.
fn judge(arguments: &Arguments) -> Result<ExitCode> {
    let mut cargo = Command::new("cargo");
    cargo.args(["bench", "--package", "mcp-monitor", "--bench", "judge"]);
    told(arguments, cargo.current_dir(places::workspace()?))
}

/// What sinks deliver beside a store that is written. Needs no root.
fn delivery(arguments: &Arguments) -> Result<ExitCode> {
    let seconds = if arguments.quick { "10" } else { "60" };
    let mut cargo = Command::new("cargo");
    cargo.args(["bench", "--package", "mcp-monitor", "--bench", "delivery", "--", "--seconds", seconds]);
    told(arguments, cargo.current_dir(places::workspace()?))
}

/// The programs that measure and are measured.
pub(crate) struct Probe {
    folder: PathBuf,
}

impl Probe {
    /// Builds them.
    pub(crate) fn build() -> Result<Self> {
        Ok(Self { folder: binaries::build(Linked::Dynamic)? })
    }

    /// `bench-probe WORD --monitor …`, as root.
    pub(crate) fn command(&self, word: &str) -> Result<Command> {
        // `env` carries the search path through sudo, which would reset it.
        let mut command = command::as_root("env");
        command.arg(format!("PATH={}", setup::search_path()?.display()));
        command.arg(binaries::program(&self.folder, "bench-probe")?).arg(word);
        command.arg("--monitor").arg(binaries::program(&self.folder, "mcp-monitor")?);
        Ok(command)
    }

    /// The cases of the sinks, as root.
    pub(crate) fn sinks(&self) -> Result<Command> {
        let mut command = command::as_root("env");
        command.arg(format!("PATH={}", setup::search_path()?.display()));
        command.arg(binaries::program(&self.folder, "sinks")?);
        command.arg("--monitor").arg(binaries::program(&self.folder, "mcp-monitor")?);
        Ok(command)
    }

    /// The end-to-end cases, as root.
    pub(crate) fn end_to_end(&self) -> Result<Command> {
        let mut command = command::as_root("env");
        command.arg(format!("PATH={}", setup::search_path()?.display()));
        command.arg(binaries::program(&self.folder, "end-to-end")?);
        command.arg("--monitor").arg(binaries::program(&self.folder, "mcp-monitor")?);
        command.arg("--attack").arg(binaries::program(&self.folder, "attack")?);
        Ok(command)
    }
}

/// The commit that is checked out, with its date, and whether there are changes beside it.
pub(crate) fn commit() -> Result<String> {
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        command::capture(git.args(words).current_dir(places::workspace()?))
    };
    let commit = git(&["log", "-1", "--format=commit %h of %cs"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let with = if changed.trim().is_empty() { "" } else { ", with changes that are not committed" };
    Ok(format!("{}{with}", commit.trim()))
}
