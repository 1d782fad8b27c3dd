//! The parts that run the monitor on this machine's own kernel.
//!
//! A test program that is not written yet counts as skipped, so that its part can be wired before it exists.

use std::{env, process::Command};

use anyhow::{Context, Result};

use super::{Arguments, count::Count};
use crate::{
    binaries::{self, Linked, spoken},
    command, places, setup,
};

/// The end-to-end cases in the best tier this kernel allows.
pub(super) fn end_to_end(arguments: &Arguments) -> Result<Count> {
    let case = arguments.case.iter().flat_map(|case| ["--only", case]);
    from_program("end-to-end", &["--tier", "auto"].into_iter().chain(case).collect::<Vec<_>>())
}

/// Real servers driven by a real client, compared with strace.
pub(super) fn real_servers() -> Result<Count> {
    // Root's own: what npx and uvx leave there as root must not stand in a person's way.
    let cache = places::cache()?.join("real-servers");
    from_program("real-servers", &["--cache", &cache.to_string_lossy()])
}

/// Expectations of real servers, learnt and promoted, and the servers taken over.
pub(super) fn expectations() -> Result<Count> {
    // The packages of the part before.
    let cache = places::cache()?.join("real-servers");
    from_program("expectations", &["--cache", &cache.to_string_lossy()])
}

/// Real clients write configurations, and the inventory must find the servers in them.
pub(super) fn clients() -> Result<Count> {
    let cache = places::cache()?.join("clients");
    from_program("clients", &["--cache", &cache.to_string_lossy()])
}

/// A day of ordinary work that must stay quiet, and one with bad acts; with the real agents where the part `clients` has
/// fetched them.
pub(super) fn coding_day() -> Result<Count> {
    let clients = places::cache()?.join("clients/clients");
    if clients.exists() {
        return from_program("coding-day", &["--clients", &clients.to_string_lossy()]);
    }
    println!("not run with real agents: {} is not there; run the part clients first", clients.display());
    let mut count = from_program("coding-day", &[])?;
    count += Count::skipped();
    Ok(count)
}

/// Servers and agents started as their users do, and what the monitor takes them for.
pub(super) fn shapes() -> Result<Count> {
    let cache = places::cache()?.join("shapes");
    from_program("shapes", &["--cache", &cache.to_string_lossy()])
}

/// Findings and events sent to real receivers and to fakes that misbehave.
pub(super) fn sinks() -> Result<Count> {
    from_program("sinks", &[])
}

/// Every command that the documentation tells its readers to type, and what it says they print.
pub(super) fn docs() -> Result<Count> {
    let workspace = places::workspace()?;
    let [pages, examples, readme] = ["docs", "docs/examples", "README.md"]
        .map(|place| workspace.join(place).to_string_lossy().into_owned());
    from_program("docs", &["--pages", &pages, "--pages", &readme, "--examples", &examples])
}

/// The demo, which must catch both bad actions and nothing else, and must fail without the monitor.
pub(super) fn demo() -> Result<Count> {
    let mut count = Count::default();
    for (arguments, must_succeed) in [(&["demo"][..], true), (&["demo", "--without-sensor"], false)] {
        let mut run = Command::new(env::current_exe().context("cannot tell where this program is")?);
        let (_, succeeded) = spoken(run.args(arguments))?;
        count += if succeeded == must_succeed {
            Count::passed()
        } else {
            Count::failed(
                &arguments.join(" "),
                if must_succeed { "it failed" } else { "it must fail, and did not" },
            )
        };
    }
    Ok(count)
}

/// Runs `name` of the tests package as root and believes the count it states.
fn from_program(name: &str, more: &[&str]) -> Result<Count> {
    if !binaries::exists(name)? {
        println!("not run: the tests package has no program {name:?} yet");
        return Ok(Count::skipped());
    }
    let folder = binaries::build(Linked::Dynamic)?;
    // `env` carries the search path through sudo, which would reset it.
    let mut run = command::as_root("env");
    run.arg(format!("PATH={}", setup::search_path()?.display()));
    run.arg(binaries::program(&folder, name)?);
    run.arg("--monitor").arg(binaries::program(&folder, "mcp-monitor")?);
    run.arg("--attack").arg(binaries::program(&folder, "attack")?).args(more);
    let (output, succeeded) = spoken(&mut run)?;
    let count = Count::stated_in(&output);
    // A program that states nothing is one test by its status.
    let silent = count == Count::default();
    Ok(if silent && succeeded { Count::passed() } else { count.with_end(succeeded) })
}
