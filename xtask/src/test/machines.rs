//! The end-to-end cases in virtual machines: every kernel in every tier that must see everything.

use std::time::Duration;

use anyhow::Result;

use super::{
    binaries::{self, Linked},
    count::Count,
    timed,
};
use crate::{
    kernels::{self, Kernel},
    places,
    vm::{self, Ended, Machine},
};

/// The tiers that must see every way in.
const TIERS: &[&str] = &["lsm", "probe"];
/// With fewer kernels than this the run says too little to pass.
const FEWEST_KERNELS: usize = 3;
/// What is booted: a kernel line and more for its command line.
const BOOTS: &[(&str, &str)] =
    &[("5.10", ""), ("6.1", ""), ("6.12", ""), ("6.12", "preempt=full"), ("7.x", "")];
/// When a machine is given up.
const DEADLINE: Duration = Duration::from_mins(15);

/// All boots, one after another: they would only starve each other.
pub(super) fn all() -> Result<Count> {
    if !binaries::exists("end-to-end")? {
        println!("not run: the tests package has no program \"end-to-end\" yet");
        return Ok(Count::skipped());
    }
    let folder = binaries::build(Linked::Static)?;
    let programs = ["mcp-monitor", "end-to-end", "attack"].map(|name| binaries::program(&folder, name));
    let programs = programs.into_iter().collect::<Result<Vec<_>>>()?;

    let mut total = Count::default();
    let mut lines = Vec::new();
    for (name, append) in BOOTS {
        let kernel = match kernels::line(name)?.cached() {
            Ok(kernel) => kernel,
            Err(why) => {
                println!("kernel {name} {append} not run: {why:#}");
                total += Count::skipped();
                continue;
            }
        };
        lines.push(*name);
        for tier in TIERS {
            let title = format!("{tier} on kernel {kernel} {append}");
            total += timed(title.trim_end(), || in_machine(kernel.clone(), append, tier, &programs));
        }
    }
    lines.dedup();
    if lines.len() < FEWEST_KERNELS {
        println!(
            "FAILED machines: only {} kernels could be had, and {FEWEST_KERNELS} are needed",
            lines.len()
        );
        total += Count::failed();
    }
    Ok(total)
}

/// Real servers driven by a real client, in one machine with a Debian root and without a network.
pub(super) fn real_servers() -> Result<Count> {
    const PROGRAM: &str = "real-servers";
    let (name, tier) = ("6.12", "lsm");
    if !binaries::exists(PROGRAM)? {
        println!("not run: the tests package has no program {PROGRAM:?} yet");
        return Ok(Count::skipped());
    }
    let kernel = match kernels::line(name)?.cached() {
        Ok(kernel) => kernel,
        Err(why) => {
            println!("kernel {name} not run: {why:#}");
            return Ok(Count::skipped());
        }
    };
    let folder = binaries::build(Linked::Static)?;
    let programs = ["mcp-monitor", PROGRAM, "attack"].map(|name| binaries::program(&folder, name));
    let mut machine = Machine::new(kernel, &arguments(PROGRAM, tier));
    machine.root = true;
    machine.memory = 2048;
    // Client and web server are scripts.
    machine.share = Some(places::workspace()?.join("tests/servers"));
    machine.programs = programs.into_iter().collect::<Result<Vec<_>>>()?;
    machine.deadline = DEADLINE;
    outcome(&machine)
}

fn arguments(program: &str, tier: &str) -> Vec<String> {
    let words =
        [program, "--monitor", "/run/vm/bin/mcp-monitor", "--attack", "/run/vm/bin/attack", "--tier", tier];
    words.map(str::to_owned).to_vec()
}

fn in_machine(kernel: Kernel, append: &str, tier: &str, programs: &[std::path::PathBuf]) -> Result<Count> {
    let mut machine = Machine::new(kernel, &arguments("end-to-end", tier));
    append.clone_into(&mut machine.append);
    machine.programs = programs.to_vec();
    machine.deadline = DEADLINE;
    outcome(&machine)
}

/// Boots `machine` and counts what its command states.
fn outcome(machine: &Machine) -> Result<Count> {
    let report = vm::boot(machine)?;
    let count = Count::stated_in(&report.console);
    if report.ended != Ended::Status(0) {
        println!("FAILED: {}", report.ended);
    }
    Ok(count.with_end(report.ended == Ended::Status(0)))
}
