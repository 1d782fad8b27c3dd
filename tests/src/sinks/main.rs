//! Sends findings and events through the monitor's own command to real receivers and to fakes that misbehave, and compares
//! what arrived with what was sent. The end is a matrix of sink × receiver × behaviour.
//!
//! `sinks --monitor PATH`; only what runs the whole monitor, or a journald of its own, needs root. What is not installed here is told as not run.

mod buses;
mod cases;
mod certified;
mod chaos;
mod daemon;
mod fake;
mod real;
mod telemetry;
mod world;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

#[derive(Parser)]
#[command(about = "Tests sinks of the monitor against real receivers and fakes that misbehave")]
struct Arguments {
    /// The monitor's program
    #[arg(long, default_value = "mcp-monitor")]
    monitor: PathBuf,
    /// Only cases whose name holds this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only the chaos, for so long
    #[arg(long, value_name = "SECONDS")]
    chaos: Option<u64>,
    /// Be the receiver of the chaos
    #[arg(long, value_name = "PORT", hide = true)]
    receive: Option<u16>,
    #[arg(long, value_name = "FILE", hide = true, requires = "receive")]
    receive_into: Option<PathBuf>,
    /// Taken like the other test programs do, and not used
    #[arg(long, hide = true)]
    attack: Option<PathBuf>,
}

/// What came of a case.
enum Outcome {
    Passed(String),
    Failed(String),
    NotRun(String),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let (Some(port), Some(out)) = (arguments.receive, &arguments.receive_into) {
        return match chaos::receive(port, out) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    if run(&arguments) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(arguments: &Arguments) -> bool {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    println!("{:16} {:22} {:34} RESULT", "SINK", "RECEIVER", "BEHAVIOUR");
    let cases = match arguments.chaos {
        Some(seconds) => vec![cases::case("webhook", "killed at random", "chaos", move |monitor| {
            chaos::run(monitor, seconds)
        })],
        None => cases::all(),
    };
    for case in cases {
        let name = format!("{} {} {}", case.sink, case.receiver, case.behaviour);
        if arguments.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let outcome = match (case.run)(&arguments.monitor) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        let told = match outcome {
            Outcome::Passed(how) => {
                passed += 1;
                format!("ok: {how}")
            }
            Outcome::Failed(why) => {
                failed += 1;
                format!("FAILED: {why}")
            }
            Outcome::NotRun(why) => {
                skipped += 1;
                format!("not run: {why}")
            }
        };
        println!("{:16} {:22} {:34} {told}", case.sink, case.receiver, case.behaviour);
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    failed == 0
}
