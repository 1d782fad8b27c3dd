//! `mcp-monitor expect`: what workloads may do, from an empty page to files in force.

mod check;
mod learn;
mod promote;

use super::exit_code::Exit;
use clap::{Args, Subcommand};
use std::path::PathBuf;

use crate::expectation::file::DEFAULT_DIRECTORY;

const EXAMPLES: &str = "\
Examples:
  sudo mcp-monitor watch -o json -- npx -y @modelcontextprotocol/server-filesystem ~/project > events.jsonl
  mcp-monitor expect learn events.jsonl > filesystem.yaml
  mcp-monitor expect test filesystem.yaml other-day.jsonl
  sudo mcp-monitor expect promote filesystem.yaml
Exit status: 0 done, 1 failed, 2 wrong command line, 8 no such workload, 10 mistakes in a file, or a test that found \
something.";

/// Expectations: what each workload may do.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Expect {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Check files: every mistake with its line and what to write instead.
    Check(check::Check),
    /// List the expectations in force.
    List(check::List),
    /// Show an expectation and what would be taken of it.
    Show(check::Show),
    /// Propose an expectation from recorded events.
    #[command(visible_alias = "propose")]
    Learn(learn::Learn),
    /// Replay recorded events against a candidate: what would be found, and what would no longer be.
    Test(learn::Test),
    /// Show what recorded events do beyond the expectation in force.
    Diff(learn::Diff),
    /// Put a proposal in force.
    Promote(promote::Promote),
}

/// Where expectations are kept.
#[derive(Clone, Debug, Args)]
struct DirectoryOption {
    /// The directory of expectations.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIRECTORY)]
    directory: PathBuf,
}

impl Expect {
    /// Runs.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        match &self.command {
            Command::Check(check) => check.run(),
            Command::List(list) => list.run(),
            Command::Show(show) => show.run(),
            Command::Learn(learn) => learn.run(),
            Command::Test(test) => test.run(),
            Command::Diff(diff) => diff.run(),
            Command::Promote(promote) => promote.run(),
        }
    }
}
