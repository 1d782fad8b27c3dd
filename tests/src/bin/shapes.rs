//! Starts real MCP servers and agents in every way that their users start them, under `mcp-monitor run`, and asks the
//! monitor what it took each for.
//!
//! `shapes --monitor M --cache DIR`: what is missing is fetched into DIR from npm and `PyPI`; a shape whose program cannot
//! be had here is "not run". The clients of servers are this program (so nothing declares the server) and real agents
//! that check the servers which they were told of.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context, Result};
use clap::Parser;
use mcp_monitor_tests::shapes::{Bench, Outcome};

#[derive(Parser)]
#[command(about = "Starts servers and agents as their users do and asks the monitor what they are")]
struct Arguments {
    /// The monitor's program
    #[arg(long, default_value = "mcp-monitor")]
    monitor: PathBuf,
    /// The tier to force
    #[arg(long, default_value = "auto")]
    tier: String,
    /// Where packages are kept
    #[arg(long)]
    cache: PathBuf,
    /// Run only shapes whose name holds this; may be repeated
    #[arg(long)]
    only: Vec<String>,
    /// Taken like the other test programs do, and not used
    #[arg(long, hide = true)]
    attack: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("shapes: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let monitor =
        arguments.monitor.canonicalize().with_context(|| format!("find {}", arguments.monitor.display()))?;
    let tier = (arguments.tier != "auto").then_some(arguments.tier.as_str());
    let bench = Bench::start(&monitor, tier, &arguments.cache)?;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let wanted = |name: &str| {
        arguments.only.is_empty() || arguments.only.iter().any(|only| name.contains(only.as_str()))
    };
    for (name, shape) in bench.shapes().filter(|(name, _)| wanted(name)) {
        let begin = Instant::now();
        let outcome = shape(&bench).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        let seconds = begin.elapsed().as_secs_f32();
        match outcome {
            Outcome::Passed(line) => {
                passed += 1;
                println!("{name}: {line} ({seconds:.1} s)");
            }
            Outcome::Failed(line) => {
                failed += 1;
                println!("{name}: FAILED: {line} ({seconds:.1} s)");
            }
            Outcome::NotRun(why) => {
                skipped += 1;
                println!("{name}: not run: {why}");
            }
        }
    }
    bench.end(failed > 0)?;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}
