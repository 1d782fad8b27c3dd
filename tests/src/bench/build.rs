//! A real build: without the monitor, beside it, and watched by it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use crate::{
    Setup, alone, cost,
    monitor::{self, Idle, Talk},
};

/// The package that is built.
pub(crate) const PACKAGE: &str = "xtask";

/// Medians in seconds.
pub(crate) struct Builds {
    pub(crate) alone: f64,
    pub(crate) untracked: f64,
    pub(crate) tracked: f64,
    pub(crate) rounds: u32,
    pub(crate) events: u64,
    pub(crate) lost: u64,
}

/// Builds `PACKAGE` of `checkout` into an empty folder, again and again.
pub(crate) fn measure(setup: &Setup, checkout: &Path, rounds: u32) -> Result<Builds> {
    let target = setup.scratch().join("target");
    // Fills the caches.
    timed(cargo(checkout, &target, None), &target)?;
    let (mut bare, mut untracked, mut tracked) = (Vec::new(), Vec::new(), Vec::new());
    let (mut events, mut lost) = (0, 0);
    for round in 1..=rounds {
        eprintln!("build {round} of {rounds}");
        alone::wait(0);
        bare.push(timed(cargo(checkout, &target, None), &target)?);
        let idle = Idle::start(setup)?;
        untracked.push(timed(cargo(checkout, &target, None), &target)?);
        drop(idle);
        let talk = Talk::new()?;
        let mut watch = cargo(checkout, &target, Some(setup));
        watch.stderr(talk.end_of_monitor()?);
        tracked.push(timed(watch, &target)?);
        let told = talk.summary()?;
        events = told.events;
        lost += told.lost;
    }
    // Two starts and ends of the monitor belong to no build.
    Ok(Builds {
        alone: cost::median(bare),
        untracked: cost::median(untracked),
        tracked: cost::median(tracked),
        rounds,
        events,
        lost,
    })
}

/// The build; below the monitor when there is one, timed by the shell inside: the monitor's start is no build.
fn cargo(checkout: &Path, target: &Path, watched: Option<&Setup>) -> Command {
    const TIMED: &str = "begin=$(date +%s%N) && cargo build --quiet --offline --package \"$1\" --target-dir \"$2\" \
        2>/dev/null && echo $(($(date +%s%N) - begin))";
    let mut command = match watched {
        Some(setup) => {
            let mut watch = monitor::watch(setup, true, Path::new("/dev/null"));
            watch.arg("sh");
            watch
        }
        None => Command::new("sh"),
    };
    command.args(["-c", TIMED, "sh", PACKAGE]).arg(target).current_dir(checkout);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    // What cargo sets for a program it runs would be another build's.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_") && name != "CARGO_HOME" {
            command.env_remove(name);
        }
    }
    command
}

/// Seconds that it took.
fn timed(mut command: Command, target: &Path) -> Result<f64> {
    if target.exists() {
        fs::remove_dir_all(target)?;
    }
    let begin = Instant::now();
    let child = command.spawn().context("cannot start a build")?;
    drop(command);
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let took = text.trim().parse::<u64>().ok();
    let took = took.with_context(|| format!("the build of {PACKAGE} failed: {} {text:?}", output.status))?;
    ensure!(begin.elapsed().as_nanos() >= u128::from(took), "the clock jumped");
    Ok(std::time::Duration::from_nanos(took).as_secs_f64())
}
