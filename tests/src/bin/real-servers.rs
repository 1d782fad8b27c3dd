//! Drives real MCP servers with a real client under the monitor and strace at once, and compares the two.
//!
//! On a host with a network: `real-servers --monitor M --cache DIR`; npx and uvx fetch what is missing into DIR. In a
//! machine without one: no `--cache`, and the machine's own settings tell npx and uvx where their packages are.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context, Result};
use clap::Parser;
use mcp_monitor_tests::servers::{Place, Session, Verdict};

#[derive(Parser)]
#[command(about = "Compares what the monitor says of real MCP servers with what strace sees of them")]
struct Arguments {
    /// The monitor's program
    #[arg(long, default_value = "mcp-monitor")]
    monitor: PathBuf,
    /// The tier to force
    #[arg(long, default_value = "auto")]
    tier: String,
    /// Where npx and uvx keep packages; without it they are where the machine's own settings say
    #[arg(long)]
    cache: Option<PathBuf>,
    /// The folder with client.py and web.py; by default the checkout's, or /share in a virtual machine
    #[arg(long)]
    scripts: Option<PathBuf>,
    /// Run only this server; may be repeated
    #[arg(long)]
    only: Vec<String>,
    /// Where homes and traces are put; removed at the end unless something failed
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// Taken like the other test programs do, and not used
    #[arg(long, hide = true)]
    attack: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("real-servers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<bool> {
    let Arguments { monitor, tier, cache, scripts, only, scratch, attack: _ } = arguments;
    let scripts = scripts.unwrap_or_else(|| {
        let share = PathBuf::from("/share");
        if share.join("client.py").exists() {
            share
        } else {
            concat!(env!("CARGO_MANIFEST_DIR"), "/servers").into()
        }
    });
    // Not below /tmp: programs that run there are findings of their own.
    let scratch =
        scratch.unwrap_or_else(|| format!("/srv/mcp-monitor-real-servers.{}", std::process::id()).into());
    std::fs::create_dir_all(&scratch).with_context(|| format!("make {}", scratch.display()))?;
    let scratch = scratch.canonicalize()?;
    let monitor = monitor.canonicalize().with_context(|| format!("find {}", monitor.display()))?;
    let tier = (tier != "auto").then_some(tier);
    let session = Session::start(Place { monitor, tier, scripts, cache, scratch: scratch.clone() })?;

    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for name in Session::names().filter(|name| only.is_empty() || only.iter().any(|it| it == name)) {
        let begin = Instant::now();
        let verdict =
            session.run(name).unwrap_or_else(|error| Verdict::Failed(format!("{error:#}"), Vec::new()));
        let seconds = begin.elapsed().as_secs_f32();
        match verdict {
            Verdict::Passed(line) => {
                passed += 1;
                println!("{name}: {line} ({seconds:.0} s)");
            }
            Verdict::Failed(line, wrong) => {
                failed += 1;
                println!("{name}: FAILED: {line} ({seconds:.0} s)");
                for wrong in wrong {
                    println!("    {}", wrong.escape_debug());
                }
            }
            Verdict::NotRun(why) => {
                skipped += 1;
                println!("{name}: not run: {why}");
            }
        }
    }
    drop(session);
    if failed == 0 {
        std::fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
    } else {
        println!("traces and outputs are kept in {}", scratch.display());
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}
