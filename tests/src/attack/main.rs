//! One program for every evasion: `attack CASE` performs it on a fake secret or an undeclared address, `attack CASE
//! --benign` does the same to a harmless object. It exits with 0 only if the act really succeeded, and reports who did
//! what to which object, so that a test can compare the monitor's word with the truth.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a panic is a failed case, with its place"
)]

mod case;
mod disguise;
mod egress;
mod exec;
mod files;
mod flood;
mod handed;
mod int80;
mod launder;
mod lineage;
mod links;
mod memory;
mod names;
mod observe;
mod observe_net;
mod outside;
mod process;
mod replace;
mod script;
mod sockets;
mod unix;
mod uring;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use mcp_monitor_tests::{act::NOT_RUN, world};

use crate::case::{Context, NotRun};

#[derive(Parser)]
#[command(about = "Performs one evasion, or its harmless twin, and reports what it did")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The case to perform; `list` names them all.
    case: Option<String>,
    /// Do the same to a harmless object.
    #[arg(long, global = true)]
    benign: bool,
    /// The file to append the report to.
    #[arg(long, global = true)]
    report: Option<PathBuf>,
    /// The directory that holds the scratch home and everything written.
    #[arg(long, global = true, default_value = "/srv/mcp-monitor-attack")]
    scratch: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Names all cases.
    List,
    /// Performs cases one after another, each in a process of its own, and logs how each ended.
    Script {
        /// The log.
        #[arg(long)]
        log: PathBuf,
        /// Seconds one case may take.
        #[arg(long, default_value_t = 20)]
        deadline: u64,
        /// The cases.
        cases: Vec<String>,
    },
    /// Is the outside world: servers to talk to and a victim whose memory holds a secret.
    Outside,
    /// Reads a file and prints the act: what other programs are made to do.
    Read {
        /// The file.
        file: PathBuf,
    },
    /// Becomes another program in a mount namespace of its own, as a container's first program comes about.
    NewMountNamespace {
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Does nothing until its standard input ends.
    Idle {
        /// Ignored.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) if error.downcast_ref::<NotRun>().is_some() => {
            eprintln!("not run: {error:#}");
            ExitCode::from(u8::try_from(NOT_RUN).unwrap())
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { command, case, benign, report, scratch } = arguments;
    match (command, case) {
        (Some(Command::List) | None, None) => {
            for case in case::all() {
                println!("{}", case.name);
            }
        }
        (Some(Command::Script { log, deadline, cases }), _) => {
            script::run(&scratch, &log, deadline, benign, &cases)?;
        }
        (Some(Command::Outside), _) => outside::run(&world::World::at(&scratch))?,
        (Some(Command::Read { file }), _) => {
            println!("{}", serde_json::to_string(&files::read_whole(&file)?)?);
        }
        (Some(Command::Idle { .. }), _) => {
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
        }
        (Some(Command::NewMountNamespace { command }), _) => {
            return Err(exec::in_new_mount_namespace(&command));
        }
        (_, Some(name)) => {
            let context = Context::new(&name, benign, &scratch)?;
            let acts = case::named(&name)?.perform(&context)?;
            for act in &acts {
                match &report {
                    Some(path) => mcp_monitor_tests::act::append_line(path, act)?,
                    None => println!("{}", serde_json::to_string(act)?),
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
