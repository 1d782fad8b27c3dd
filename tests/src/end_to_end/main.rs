//! Runs the attacks and the plain observations under `mcp-monitor watch` on this kernel and checks every field of what it
//! says. One static program, so that it runs in a virtual machine that has little else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a panic is a failed test, with its place"
)]

mod batch;
mod compare;
mod control;
mod judge;
mod losses;
mod monitor;
mod options;
mod plan;
mod report;
mod robustness;
mod segments;
mod table;

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
};

use anyhow::{Context, Result};
use clap::Parser;
use mcp_monitor_tests::world::{self, MARKER, World};

use crate::{
    monitor::Setup,
    plan::{Keep, Plan},
    table::Tier,
};

#[derive(Parser)]
#[command(about = "Runs the end-to-end cases of mcp-monitor on this kernel")]
struct Arguments {
    /// The monitor's program.
    #[arg(long, default_value = "mcp-monitor")]
    monitor: PathBuf,
    /// The attack program.
    #[arg(long, default_value = "attack")]
    attack: PathBuf,
    /// The tier to force.
    #[arg(long, value_enum, default_value = "auto")]
    tier: Tier,
    /// Run only the cases whose name holds this.
    #[arg(long)]
    only: Option<String>,
    /// Name the cases and run nothing.
    #[arg(long)]
    list: bool,
    /// Where secrets, desks and outputs are put; removed at the end unless something failed.
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// How many times slower than real hardware this machine is: stretches every deadline. Emulated processors are
    /// recognised.
    #[arg(long)]
    slowness: Option<u32>,
    /// Say the results of the evasions in a line of the output.
    #[arg(long)]
    say_results: bool,
    /// Run nothing: keep what the output of such runs in this file says.
    #[arg(long, value_name = "FILE", requires = "results")]
    take_results: Option<PathBuf>,
    /// Where results are kept.
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Write the table of all results that are kept into this page.
    #[arg(long, value_name = "PAGE", requires = "results")]
    write_table: Option<PathBuf>,
}

fn main() -> ExitCode {
    many_descriptors();
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<bool> {
    let Arguments {
        monitor,
        attack,
        tier,
        only,
        list,
        scratch,
        slowness,
        say_results,
        take_results,
        results,
        write_table,
    } = arguments;
    let rows = table::rows()?;
    if let (Some(output), Some(results)) = (&take_results, &results) {
        let output = std::fs::read_to_string(output).with_context(|| format!("read {}", output.display()))?;
        println!("results of {} runs taken", report::keep(results, &output)?);
        return write_table.map_or(Ok(true), |page| report::write(&page, results, &rows).map(|()| true));
    }
    let only = only.unwrap_or_default();
    if list {
        plan::names(&rows).filter(|name| name.contains(&only)).for_each(|name| println!("{name}"));
        return Ok(true);
    }
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
    // Not below /tmp: programs that run there are findings of their own.
    let scratch = scratch.unwrap_or_else(|| format!("/srv/mcp-monitor-tests.{}", std::process::id()).into());
    std::fs::create_dir_all(&scratch)?;
    let scratch = scratch.canonicalize()?;
    let find = |program: &Path| program.canonicalize().with_context(|| format!("find {}", program.display()));
    let (monitor, attack) = (find(&monitor)?, find(&attack)?);
    let slowness = slowness.unwrap_or_else(usual_slowness);
    let setup = Setup { monitor, attack, tier, world: World::at(&scratch), slowness };
    let cases: Vec<&str> = plan::cases(&rows).collect();
    setup.world.furnish(&cases)?;
    world::isolate().context("a network of our own")?;
    let mut outside = start_outside(&setup)?;
    println!("kernel {kernel}, tier {}", tier.name());

    let plan = Plan { setup, rows, kernel, only };
    let result = plan.run(&Keep { said: say_results, results, page: write_table });
    outside.kill()?;
    outside.wait()?;
    world::tidy();
    let all_passed = result?;
    if all_passed {
        // What is left over is a nuisance and no failure.
        if let Err(error) = std::fs::remove_dir_all(&scratch) {
            println!("{} could not be removed: {error}", scratch.display());
        }
    } else {
        println!("outputs are kept in {}", scratch.display());
    }
    Ok(all_passed)
}

/// Removing a deep path takes a descriptor for each directory, and machines begin with few.
fn many_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls work on a limit that outlives them.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// Starts the outside world beside the lineages to come.
fn start_outside(setup: &Setup) -> Result<Child> {
    let mut child = Command::new(&setup.attack)
        .arg("--scratch")
        .arg(&setup.world.scratch)
        .arg("outside")
        .env("SECRET_TOKEN", MARKER)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", setup.attack.display()))?;
    BufReader::new(child.stdout.take().context("no output")?).read_line(&mut String::new())?;
    Ok(child)
}

/// Emulation is some ten times slower where it matters here.
fn usual_slowness() -> u32 {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if processors.contains("TCG") || processors.contains("QEMU") { 8 } else { 1 }
}
