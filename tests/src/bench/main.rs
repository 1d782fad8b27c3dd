//! What the monitor costs on this kernel, against nothing, an empty program, auditd and bpftrace; and the long proofs
//! that need more than the end-to-end cases. `cargo xtask bench` and `cargo xtask soak` build this and run it as root.

mod alone;
mod audit;
mod bpf;
mod bpftrace;
mod build;
mod cost;
mod monitor;
mod rate;
mod ratios;
mod report;
mod soak;
mod subject;
mod work;
mod worker;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measures mcp-monitor on this kernel")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What every measurement needs.
#[derive(Args, Clone)]
pub(crate) struct Setup {
    /// The monitor's program.
    #[arg(long)]
    pub(crate) monitor: PathBuf,
    /// The tier to force.
    #[arg(long, default_value = "tracepoint")]
    pub(crate) tier: String,
    /// Where files are put; removed at the end.
    #[arg(long)]
    pub(crate) scratch: Option<PathBuf>,
}

impl Setup {
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.as_deref().unwrap_or(Path::new("/srv/mcp-monitor-bench"))
    }
}

#[derive(Subcommand)]
enum Command {
    /// Measures everything and prints a table in Markdown.
    Measure {
        #[command(flatten)]
        setup: Setup,
        /// Fewer and shorter rounds.
        #[arg(long)]
        quick: bool,
        /// Only measurements whose name holds this: cost, rate, latency, build.
        #[arg(long, default_value = "")]
        only: String,
        /// The checkout to build as the example of a real build.
        #[arg(long)]
        checkout: PathBuf,
        /// What was measured: commit and date.
        #[arg(long, default_value = "an unknown commit")]
        commit: String,
        /// A remark on the circumstances.
        #[arg(long, default_value = "")]
        remark: String,
    },
    /// Measures what things cost in ratios to no monitor, for an emulated machine.
    Ratios {
        #[command(flatten)]
        setup: Setup,
        /// The first cells of each row.
        #[arg(long, default_value = "")]
        before: String,
        #[arg(long, default_value_t = 3)]
        rounds: u32,
        #[arg(long, default_value_t = 24)]
        chunks: u32,
    },
    /// Does work on request, one line of standard input each.
    Work {
        /// The files to open.
        files: PathBuf,
    },
    /// One lineage floods for this long while another reads a secret: every read must be told.
    Flood {
        #[command(flatten)]
        setup: Setup,
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
    /// Kills the monitor at random moments: nothing may stay attached.
    Kill {
        #[command(flatten)]
        setup: Setup,
        #[arg(long, default_value_t = 20)]
        rounds: u32,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench-probe: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<bool> {
    match command {
        Command::Work { files } => worker::serve(&files).map(|()| true),
        Command::Measure { setup, quick, only, checkout, commit, remark } => in_scratch(setup, |setup| {
            let plan = report::Plan { quick, only: &only, checkout: &checkout, commit, remark };
            println!("{}", report::measure(setup, &plan)?);
            Ok(true)
        }),
        Command::Ratios { setup, before, rounds, chunks } => in_scratch(setup, |setup| {
            print!("{}", ratios::measure(setup, &before, rounds, chunks)?);
            Ok(true)
        }),
        Command::Flood { setup, seconds } => in_scratch(setup, |setup| soak::flood(setup, seconds)),
        Command::Kill { setup, rounds } => in_scratch(setup, |setup| soak::kill(setup, rounds)),
    }
}

/// Runs `act` with a folder for its files, and removes that.
fn in_scratch<T>(mut setup: Setup, act: impl FnOnce(&Setup) -> Result<T>) -> Result<T> {
    let folder = match setup.scratch.take() {
        Some(folder) => folder,
        // Not below /tmp: programs that run there are findings of their own.
        None => format!("/srv/mcp-monitor-bench.{}", std::process::id()).into(),
    };
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}; run as root", folder.display()))?;
    setup.scratch = Some(folder.canonicalize()?);
    setup.monitor = setup
        .monitor
        .canonicalize()
        .with_context(|| format!("no monitor at {}; build it first", setup.monitor.display()))?;
    let _preferred = alone::Preferred::ask();
    let result = act(&setup);
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    result
}
