//! `cargo xtask run`: the monitor in the foreground, as root, with its embedded defaults.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};

use crate::{command, places, setup};

/// What `cargo xtask run` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Arguments of `mcp-monitor run`
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// Builds the monitor and becomes it.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    setup::for_building()?;
    let mut build = Command::new("cargo");
    build.args(["build", "--release", "--package", "mcp-monitor"]).current_dir(places::workspace()?);
    command::run(setup::with_ebpf_toolchain(&mut build))?;
    let program = places::target()?.join("release/mcp-monitor");
    // Replacing this process keeps the terminal and the signals with the monitor.
    let mut monitor = command::as_root(&program.to_string_lossy());
    let error = monitor.arg("run").args(&arguments.arguments).exec();
    Err(error).with_context(|| format!("cannot start `{}`", command::shown(&monitor)))
}
