//! What a person calls. One file per command; standard output is data, standard error is talk.

mod arguments;
mod audit;
mod bugreport;
mod completing;
mod completions;
mod coverage;
mod doctor;
mod drawn;
mod events;
pub mod exit_code;
mod expect;
mod explain;
mod export;
mod findings;
mod handling;
pub mod identity;
mod install;
mod inventory;
pub mod lock;
mod pause;
pub mod query;
mod recording;
mod report;
mod run;
mod selftest;
mod serve;
mod signals;
mod sinks;
pub mod spawn;
mod state;
mod status;
mod top;
mod verify;
mod watch;
mod workloads;

use crate::{
    daemon::Report,
    event::escape,
    host::kernel,
    render::{
        Stream, StreamError,
        stream::{Colour, Destination},
        summary,
    },
};
use arguments::FailOn;
use clap::{Parser, Subcommand};
use exit_code::Exit;
use std::{
    fmt::Display,
    io::{self, Write},
};

const EXAMPLES: &str = "\
Examples:
  sudo mcp-monitor watch -- npx -y @modelcontextprotocol/server-filesystem ~/project
  sudo mcp-monitor watch -o json --allow-egress api.github.com:443 -- ./server > events.jsonl
  sudo mcp-monitor run --pid 4711
  sudo mcp-monitor inventory
  sudo mcp-monitor doctor";

/// Shows what MCP servers and agent runners really do to this host: every file, program and connection of a
/// process and all its descendants, with secret reads and unknown destinations flagged.
#[derive(Debug, Parser)]
#[command(name = "mcp-monitor", version, after_help = EXAMPLES, after_long_help = long_help())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn long_help() -> String {
    format!("{EXAMPLES}\n\n{}", exit_code::TABLE)
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command and watch it and all its descendants.
    #[command(after_long_help = exit_code::TABLE)]
    Watch(watch::Watch),
    /// Watch every agent and MCP server of this host, or what is named, until Ctrl-C.
    #[command(after_long_help = exit_code::TABLE)]
    Run(run::Run),
    /// Say how the monitor is.
    #[command(after_long_help = exit_code::TABLE)]
    Status(status::StatusCommand),
    /// Show the agents and MCP servers of this host: what runs, what is declared, what is unknown.
    #[command(after_long_help = exit_code::TABLE)]
    Workloads(workloads::WorkloadsCommand),
    /// Show what processes did.
    #[command(after_long_help = exit_code::TABLE)]
    Events(Box<events::Events>),
    /// Show what a person should know.
    #[command(after_long_help = exit_code::TABLE)]
    Findings(Box<findings::Findings>),
    /// Draw processes with their children and what was judged of them.
    Tree(Box<drawn::Drawn>),
    /// Show what happened one after the other.
    Timeline(Box<drawn::Drawn>),
    /// Explain a finding, an event or a rule in full.
    Explain(explain::Explain),
    /// Show workloads as they are, on a terminal.
    Top(top::TopCommand),
    /// Write what happened as one page that needs nothing else.
    Report(Box<report::Report>),
    /// List what could not be seen, by workload.
    Coverage(coverage::CoverageCommand),
    /// Freeze all processes of a workload. Only root; recorded with who and why.
    Pause(pause::Pause),
    /// Let a frozen workload go on. Only root; recorded with who and why.
    Resume(pause::Pause),
    /// Prove that nothing that was recorded was changed, cut off or taken out.
    #[command(after_long_help = exit_code::TABLE)]
    Verify(verify::Verify),
    /// Write what was recorded in a span of time to one file that proves itself elsewhere.
    Export(export::Export),
    /// Prove that a secret's read and a connection are seen, judged and told.
    Selftest(selftest::Selftest),
    /// Name receivers of findings, test them, send again, say how far they are.
    Sinks(sinks::Sinks),
    /// Look for what is wrong before anything runs: configurations, declared servers, settings of the host.
    Audit(audit::Audit),
    /// Check, learn, test and promote expectations.
    Expect(Box<expect::Expect>),
    /// Say what this host offers, what is not seen, and how to repair it.
    Doctor(doctor::Doctor),
    /// List the MCP servers that the configurations of clients declare. Needs no running monitor.
    Inventory(inventory::Inventory),
    /// Install the monitor as a service of this host.
    Install(install::Install),
    /// Stop the service that `install` made, and remove it.
    Uninstall(install::Uninstall),
    /// Print what somebody who helps needs to know; nothing of what was watched.
    Bugreport(bugreport::Bugreport),
    /// Print a completion script.
    Completions(completions::Completions),
    /// Print a manual page.
    Man(completions::Man),
    /// Print the version.
    Version,
}

/// The whole program.
#[must_use]
pub fn main() -> Exit {
    // Called by a shell that completes a command line: answers and ends.
    clap_complete::CompleteEnv::with_factory(<Cli as clap::CommandFactory>::command).complete();
    // Wrong usage ends here, with status 2, as clap has it.
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Watch(watch) => watch.run(),
        Command::Run(run) => run.run(),
        Command::Events(events) => events.run(),
        Command::Findings(findings) => findings.run(),
        Command::Tree(drawn) => drawn.tree(),
        Command::Timeline(drawn) => drawn.timeline(),
        Command::Explain(explain) => explain.run(),
        Command::Status(status) => status.run(),
        Command::Workloads(workloads) => workloads.run(),
        Command::Coverage(coverage) => coverage.run(),
        Command::Pause(pause) => pause.run("pause"),
        Command::Resume(pause) => pause.run("resume"),
        Command::Report(report) => report.run(),
        Command::Top(top) => top.run(),
        Command::Verify(verify) => verify.run(),
        Command::Export(export) => Ok(export.run()),
        Command::Selftest(selftest) => selftest.run(),
        Command::Sinks(sinks) => sinks.run(),
        Command::Audit(audit) => audit.run(),
        Command::Expect(expect) => expect.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Inventory(inventory) => inventory.run(),
        Command::Install(install) => install.run(),
        Command::Uninstall(uninstall) => uninstall.run(),
        Command::Bugreport(bugreport) => bugreport.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
        Command::Version => version(),
    };
    result.unwrap_or_else(|error| {
        // A reader that has seen enough is no error.
        if !matches!(error.downcast_ref::<StreamError>(), Some(StreamError::ClosedPipe)) {
            say(&format_args!("{error:#}"));
        }
        let stream = error.downcast_ref::<StreamError>().map(Exit::from);
        stream.or_else(|| error.downcast_ref::<query::QueryError>().map(Exit::from)).unwrap_or(Exit::Failed)
    })
}

fn version() -> anyhow::Result<Exit> {
    writeln!(
        io::stdout(),
        "mcp-monitor {} (wire {:016x})",
        env!("CARGO_PKG_VERSION"),
        mcp_monitor_common::digest::ABI_DIGEST
    )?;
    Ok(Exit::Ok)
}

/// Talk: one message on standard error.
fn say(message: &dyn Display) {
    for (index, line) in message.to_string().lines().enumerate() {
        let begin = if index == 0 { "mcp-monitor:" } else { "            " };
        // Nobody to tell when standard error is closed.
        let _ = writeln!(io::stderr(), "{begin} {}", escape(line.as_bytes()));
    }
}

/// What makes any watch impossible and is known before it begins.
fn preconditions(command: &str) -> Option<Exit> {
    let missing = kernel::missing_capabilities();
    if missing.is_empty() {
        return None;
    }
    say(&format_args!(
        "{} missing: loading kernel programs needs root. Call `sudo mcp-monitor {command} …`",
        missing.join(", ")
    ));
    Some(Exit::NotPermitted)
}

/// The end of a watch: a summary for people where the stream itself shows none, and the status that the report
/// alone decides.
fn finish(stream: &Stream, report: &Report, fail_on: &[FailOn]) -> Option<Exit> {
    if !stream.is_terminal()
        && let Ok(talk) = Destination::standard_error()
        && talk.is_terminal()
    {
        let text = summary::for_people(stream.origin(), &report.summary, &talk.look(Colour::Auto));
        let _ = io::stderr().write_all(text.as_bytes());
    }
    match report.stream_error.as_ref().map(Exit::from) {
        Some(Exit::Ok) | None => {}
        failed => return failed,
    }
    let found = report.summary.findings.iter().any(|finding| fail_on.iter().any(|one| one.matches(finding)));
    found.then_some(Exit::Found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let cli = Cli::try_parse_from([
            "mcp-monitor",
            "watch",
            "-q",
            "--fail-on",
            "high",
            "--",
            "ls",
            "-q",
            "--",
            "x",
        ]);
        assert!(matches!(cli.unwrap().command, Command::Watch(_)));
        assert!(Cli::try_parse_from(["mcp-monitor", "watch", "ls"]).is_err(), "COMMAND stands behind --");
        assert!(Cli::try_parse_from(["mcp-monitor", "watch", "--fail-on", "nothing", "--", "ls"]).is_err());
        assert!(Cli::try_parse_from(["mcp-monitor", "run", "--pid", "0"]).is_err());
    }
}
