//! The programs under test and the programs that test them: which there are, building them, hearing them out.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{command, places, setup};

/// The package whose programs test the monitor from outside.
const TESTS: &str = "mcp-monitor-tests";

/// How the programs are linked.
#[derive(Clone, Copy)]
pub(crate) enum Linked {
    /// As usual, for this machine.
    Dynamic,
    /// With the C library inside, for machines that have none.
    Static,
}

/// Whether the tests package has a program called `name`.
pub(crate) fn exists(name: &str) -> Result<bool> {
    let mut metadata = Command::new("cargo");
    metadata.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(places::workspace()?);
    let metadata: serde_json::Value = serde_json::from_str(&command::capture(&mut metadata)?)
        .context("cannot read what `cargo metadata` printed")?;
    let is = |value: &serde_json::Value, wanted: &str| value["name"] == wanted;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let mut targets = packages
        .filter(|package| is(package, TESTS))
        .filter_map(|package| package["targets"].as_array())
        .flatten();
    Ok(targets.any(|target| is(target, name) && target["kind"][0] == "bin"))
}

/// Builds the monitor and the programs that test it; returns the folder they are in.
pub(crate) fn build(linked: Linked) -> Result<PathBuf> {
    build_packages(linked, &["mcp-monitor", TESTS])
}

/// Builds `packages`; returns the folder their programs are in.
pub(crate) fn build_packages(linked: Linked, packages: &[&str]) -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release"]).args(packages.iter().flat_map(|package| ["--package", package]));
    cargo.current_dir(places::workspace()?);
    setup::with_ebpf_toolchain(&mut cargo);
    let target = places::target()?;
    let folder = match linked {
        Linked::Dynamic => target.join("release"),
        Linked::Static => {
            // Naming the target keeps the flag away from build scripts and from the kernel programs.
            cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-C target-feature=+crt-static");
            let folder = target.join("static");
            cargo.args(["--target", places::TARGET, "--target-dir"]).arg(&folder);
            folder.join(places::TARGET).join("release")
        }
    };
    command::run(&mut cargo)?;
    Ok(folder)
}

/// Builds what goes into a machine: the monitor, the programs `more`, all static.
pub(crate) fn for_machine(more: &[&str]) -> Result<Vec<PathBuf>> {
    let folder = build(Linked::Static)?;
    [&["mcp-monitor"], more].concat().into_iter().map(|name| program(&folder, name)).collect()
}

/// The program `name` in `folder`.
pub(crate) fn program(folder: &std::path::Path, name: &str) -> Result<PathBuf> {
    let file = folder.join(name);
    if !file.is_file() {
        bail!("{} was not built", file.display());
    }
    Ok(file)
}

/// Runs `command`, showing its stdout as it comes; returns all of it and whether the command succeeded.
pub(crate) fn spoken(command: &mut Command) -> Result<(String, bool)> {
    let failed = || format!("cannot run `{}`", command::shown(command));
    let what = failed();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| what.clone())?;
    let mut heard = String::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.with_context(|| what.clone())?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            heard.push_str(&line);
            heard.push('\n');
        }
    }
    let status = child.wait().context(what)?;
    if let Some(signal) = status.signal() {
        println!("FAILED: ended by signal {signal}");
    }
    Ok((heard, status.success()))
}
