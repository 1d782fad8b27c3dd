//! `mcp-monitor expect`: what workloads may do, from an empty page to files in force.

pub(super) mod allow;
mod check;
mod draft;
mod learn;
mod promote;
mod recorded;
pub(super) mod review;

use super::exit_code::Exit;
use clap::{Args, Subcommand};
use std::path::PathBuf;

use crate::expectation::file::DEFAULT_DIRECTORY;

const EXAMPLES: &str = "\
Examples:
  sudo mcp-monitor expect draft filesystem > filesystem.yaml
  sudo mcp-monitor expect learn filesystem --for 2h > filesystem.yaml
  sudo mcp-monitor expect propose filesystem --since 7d > filesystem.yaml
  sudo mcp-monitor expect test filesystem.yaml --since 7d
  sudo mcp-monitor expect promote filesystem.yaml
  sudo mcp-monitor expect diff filesystem
  mcp-monitor expect propose --input events.jsonl
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
    /// Draft an expectation without watching: from the declaration, its arguments and what is declared elsewhere.
    Draft(draft::Draft),
    /// Watch a workload of the running monitor for a while, then propose what it did.
    Learn(learn::Learn),
    /// Propose an expectation from recorded events.
    Propose(learn::Propose),
    /// Replay recorded events against a candidate: what would be found, and what would no longer be.
    Test(learn::Test),
    /// Show what recorded events do beyond the expectation in force.
    Diff(learn::Diff),
    /// Show the open findings by workload and rule, with the line that would allow them.
    Review(Box<review::Review>),
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
            Command::Draft(draft) => draft.run(),
            Command::Learn(learn) => learn.run(),
            Command::Propose(propose) => propose.run(),
            Command::Test(test) => test.run(),
            Command::Diff(diff) => diff.run(),
            Command::Review(review) => review.run(),
            Command::Promote(promote) => promote.run(),
        }
    }
}
