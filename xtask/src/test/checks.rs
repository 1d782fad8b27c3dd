//! The parts that need no kernel of their own: format, lints, unit tests, fuzz targets.

use std::process::Command;

use anyhow::Result;

use super::count::Count;
use crate::{binaries::spoken, command, fuzz, places, setup};

/// How long each fuzz target runs.
const FUZZ_SECONDS: u32 = 10;

/// The source is formatted.
pub(super) fn format() -> Result<Count> {
    holds(cargo()?.args(["fmt", "--all", "--check"]))
}

/// The lints find nothing in what runs in user space.
pub(super) fn clippy() -> Result<Count> {
    holds(cargo()?.args(["clippy", "--all-targets", "--", "-D", "warnings"]))
}

/// The lints find nothing in the kernel programs.
pub(super) fn clippy_ebpf() -> Result<Count> {
    let toolchain = setup::ebpf_toolchain()?;
    let run = ["run", &toolchain, "cargo", "clippy"];
    if command::capture(Command::new("rustup").args(run).arg("--version")).is_err() {
        println!("not run: {toolchain} has no clippy; `rustup component add clippy --toolchain {toolchain}`");
        return Ok(Count::skipped());
    }
    let mut clippy = Command::new("rustup");
    clippy.args(run).args([
        "--package",
        "mcp-monitor-ebpf",
        "--target",
        "bpfel-unknown-none",
        "-Z",
        "build-std=core",
    ]);
    // A folder of its own: two compilers in one would rebuild each other's work on every run.
    clippy.arg("--target-dir").arg(places::target()?.join("ebpf-clippy"));
    holds(clippy.args(["--", "-D", "warnings"]).current_dir(places::workspace()?))
}

/// The unit tests of everything that runs in user space.
pub(super) fn unit() -> Result<Count> {
    let (output, succeeded) =
        spoken(cargo()?.args(["test", "--workspace", "--exclude", "mcp-monitor-ebpf"]))?;
    Ok(Count::stated_in(&output).with_end(succeeded))
}

/// The Kafka sink, which is a feature of its own since it builds librdkafka, against librdkafka's own broker.
pub(super) fn kafka() -> Result<Count> {
    if !setup::for_kafka()? {
        println!(
            "not run: librdkafka cannot be built here; `apt-get install libssl-dev zlib1g-dev make g++`"
        );
        return Ok(Count::skipped());
    }
    let mut cargo = cargo()?;
    cargo.args(["test", "--package", "mcp-monitor", "--features", "kafka", "--lib", "export::sink::kafka"]);
    let (output, succeeded) = spoken(&mut cargo)?;
    Ok(Count::stated_in(&output).with_end(succeeded))
}

/// The fuzz targets hold for a short while.
pub(super) fn fuzz() -> Result<Count> {
    let fuzz::Outcome { passed, failed, skipped } = fuzz::all(FUZZ_SECONDS)?;
    Ok(Count { passed, failed, skipped, ..Count::default() })
}

fn cargo() -> Result<Command> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(places::workspace()?);
    setup::with_ebpf_toolchain(&mut cargo);
    Ok(cargo)
}

/// Counts a check by whether its command succeeds.
fn holds(check: &mut Command) -> Result<Count> {
    command::run(check).map(|()| Count::passed())
}
