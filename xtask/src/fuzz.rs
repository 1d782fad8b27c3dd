//! `cargo xtask fuzz`: the fuzz targets of `mcp-monitor/fuzz`, each for some seconds, without cargo-fuzz.
//!
//! Promises that the last line of stdout reads `N passed, N failed, N skipped`, and that an input that brought a
//! target down is kept under `target/fuzz/artifacts`.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result};

use crate::{command, places, setup};

/// The targets: programs of `mcp-monitor/fuzz/Cargo.toml`.
const TARGETS: [&str; 7] = ["decode", "mask", "catalogue", "judge", "dns", "declared", "expectation"];
/// What cargo-fuzz has the compiler do, without a sanitizer: the code is safe Rust but for a few checked lines.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-sanitizer-coverage-stack-depth";
/// Tells a target to write the inputs that it begins with to a folder.
const SEEDS_VARIABLE: &str = "MCP_MONITOR_FUZZ_SEEDS";
/// Tells the monitor's build that its kernel programs are built already.
const OBJECT_VARIABLE: &str = "MCP_MONITOR_BPF_OBJECT";
/// Where a build of the monitor leaves its kernel programs, below the target folder.
const OBJECT: &str = "ebpf/bpfel-unknown-none/release/mcp-monitor";

/// What `cargo xtask fuzz` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 20)]
    seconds: u32,
    /// Only this target; may be repeated
    #[arg(long = "target", value_name = "TARGET", value_parser = TARGETS)]
    targets: Vec<String>,
}

/// How the targets ended.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Targets that nothing brought down.
    pub(crate) passed: u64,
    /// Targets that an input brought down.
    pub(crate) failed: u64,
    /// Targets that could not be built.
    pub(crate) skipped: u64,
}

/// Runs the task.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    let chosen: Vec<&str> = TARGETS
        .into_iter()
        .filter(|target| arguments.targets.is_empty() || arguments.targets.iter().any(|of| of == target))
        .collect();
    let Outcome { passed, failed, skipped } = run(&chosen, arguments.seconds)?;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    // Who asks for fuzzing and gets none has not succeeded.
    Ok(if failed + skipped == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs every target for `seconds`.
pub(crate) fn all(seconds: u32) -> Result<Outcome> {
    run(&TARGETS, seconds)
}

fn run(targets: &[&str], seconds: u32) -> Result<Outcome> {
    let programs = match setup::for_fuzzing().and_then(|()| build()) {
        Ok(programs) => programs,
        Err(why) => {
            println!(
                "not run: the fuzz targets cannot be built: {why:#}; \
                 `cargo xtask setup --tests` installs what is missing"
            );
            return Ok(Outcome { skipped: targets.len() as u64, ..Outcome::default() });
        }
    };
    let mut outcome = Outcome::default();
    for target in targets {
        if one(&programs, target, seconds)? {
            outcome.passed += 1;
        } else {
            outcome.failed += 1;
        }
    }
    Ok(outcome)
}

/// Builds the targets; returns the folder they are in.
fn build() -> Result<PathBuf> {
    let toolchain = setup::ebpf_toolchain()?;
    let mut cargo = Command::new("rustup");
    cargo.args(["run", &toolchain, "cargo", "build", "--release", "--locked", "--quiet"]);
    // Naming the target keeps the flags away from build scripts.
    cargo.args(["--manifest-path", "mcp-monitor/fuzz/Cargo.toml", "--target", places::TARGET]);
    let folder = folder()?;
    cargo.arg("--target-dir").arg(&folder).current_dir(places::workspace()?).env("RUSTFLAGS", FLAGS);
    setup::with_ebpf_toolchain(&mut cargo);
    let object = places::target()?.join(OBJECT);
    if env::var_os(OBJECT_VARIABLE).is_none() && object.is_file() {
        // They are not what is fuzzed, so any that fit the source's types will do.
        cargo.env(OBJECT_VARIABLE, object);
    }
    command::run(&mut cargo)?;
    Ok(folder.join(places::TARGET).join("release"))
}

/// Runs one target and prints what came of it; whether it held.
fn one(programs: &Path, target: &str, seconds: u32) -> Result<bool> {
    let made = |kind: &str| -> Result<PathBuf> {
        let folder = folder()?.join(kind).join(target);
        places::make(&folder).map(|()| folder)
    };
    let (corpus, fresh, artifacts) = (made("corpus")?, made("seeds")?, made("artifacts")?);
    let log = folder()?.join(format!("{target}.log"));
    let written = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;

    let mut fuzzer = Command::new(programs.join(target));
    fuzzer.arg(format!("-max_total_time={seconds}"));
    fuzzer.args(["-rss_limit_mb=2048", "-timeout=10", "-max_len=4096", "-print_final_stats=1"]);
    fuzzer.arg(prefix(&artifacts)).env(SEEDS_VARIABLE, &fresh);
    // New inputs go to the first folder; the others are only read.
    fuzzer.arg(&corpus).arg(&fresh);
    let kept = places::workspace()?.join("mcp-monitor/fuzz/seeds").join(target);
    if kept.is_dir() {
        fuzzer.arg(kept);
    }
    let shown = command::shown(&fuzzer);
    let status = fuzzer
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(written)
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;

    let said = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let said = String::from_utf8_lossy(&said);
    let Figures { executions, edges, features } = figures(&said);
    let word = if status.success() { "held" } else { "FAILED" };
    println!(
        "{target:<10} {word}: {executions} executions in {seconds} s, {edges} edges, {features} features"
    );
    if !status.success() {
        let panic = said.lines().skip_while(|line| !line.contains("panicked at")).take(3);
        for line in panic.chain(said.lines().filter(|line| line.contains("ERROR: libFuzzer"))) {
            println!("           {line}");
        }
        match said.lines().find_map(|line| line.split_once("Test unit written to ")) {
            Some((_, input)) => println!("           again: {} {input}", programs.join(target).display()),
            None => println!("           ended with {status}; see {}", log.display()),
        }
    }
    Ok(status.success())
}

/// The folder for all of it.
fn folder() -> Result<PathBuf> {
    Ok(places::target()?.join("fuzz"))
}

fn prefix(artifacts: &Path) -> OsString {
    let mut argument = OsString::from("-artifact_prefix=");
    argument.push(artifacts);
    argument.push("/");
    argument
}

/// What libFuzzer tells of a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    executions: u64,
    edges: u64,
    features: u64,
}

/// Reads the last line of progress, such as `#4096 pulse  cov: 812 ft: 2431 corp: 97/4096b …`.
fn figures(said: &str) -> Figures {
    let mut figures = Figures::default();
    for line in said.lines().filter(|line| line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1)?.parse().ok()
        };
        if let Some(executions) = words.first().and_then(|word| word.trim_start_matches('#').parse().ok()) {
            figures.executions = executions;
        }
        figures.edges = after("cov:").unwrap_or(figures.edges);
        figures.features = after("ft:").unwrap_or(figures.features);
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::{Figures, figures};

    #[test]
    fn the_last_line_of_progress_counts() {
        let said = "INFO: seed corpus\n#2\tINITED cov: 10 ft: 11 corp: 1/1b\n\
                    #99\tDONE   cov: 812 ft: 2431 corp: 97/4b exec/s: 9 rss: 50Mb\nDone 99 runs in 1 second(s)\n";
        assert_eq!(figures(said), Figures { executions: 99, edges: 812, features: 2431 });
        assert_eq!(figures("nothing"), Figures::default());
    }
}
