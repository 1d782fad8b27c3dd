//! The end-to-end cases in virtual machines: every kernel in every tier that must see everything.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{Arguments, count::Count, timed};
use crate::{
    binaries, command,
    kernels::{self, Kernel},
    package, places,
    vm::{self, Ended, Machine, Report},
};

/// The tiers that must see every way in.
const TIERS: &[&str] = &["lsm", "probe"];
/// With fewer kernels than this the run says too little to pass.
const FEWEST_KERNELS: usize = 3;
/// What is booted without being named: with everything a run takes more than an hour. `--all`, `--kernel` and `--tier`
/// boot the rest.
const USUAL: &[(&str, &str, &str)] = &[("5.10", "", "lsm"), ("6.1", "", "lsm"), ("6.12", "", "lsm")];
/// What can be booted: a kernel line and more for its command line.
const BOOTS: &[(&str, &str)] =
    &[("5.10", ""), ("6.1", ""), ("6.12", ""), ("6.12", "preempt=full"), ("7.x", "")];
/// How much slower an emulated machine is than this one, for deadlines inside it.
const SLOWNESS: &str = "10";
/// Where the results of the evasions are kept, below the workspace.
const EVASION_RESULTS: &str = "tests/evasion-results.json";
/// When a machine is given up.
const DEADLINE: Duration = Duration::from_mins(25);

/// How many machines run at once. Each keeps about one processor busy.
const AT_ONCE: usize = 2;

/// One machine: its title, kernel, what is added to its command line, and its command.
type Boot = (String, Kernel, &'static str, Vec<String>);

/// All boots, a few at a time.
pub(super) fn all(arguments: &Arguments) -> Result<Count> {
    if !binaries::exists("end-to-end")? {
        println!("not run: the tests package has no program \"end-to-end\" yet");
        return Ok(Count::skipped());
    }
    let programs = binaries::for_machine(&["end-to-end", "attack"])?;
    let (boots, mut total, lines) = boots(arguments)?;
    let queue = Mutex::new(boots.into_iter());
    let done = Mutex::new(Count::default());
    let consoles = Mutex::new(String::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((title, kernel, append, words)) = next else { break };
                    let count = timed(&title, || in_machine(kernel, append, &words, &programs, &consoles));
                    *done.lock().unwrap_or_else(PoisonError::into_inner) += count;
                }
            });
        }
    });
    total += done.into_inner().unwrap_or_else(PoisonError::into_inner);
    if arguments.write_evasions {
        write_evasions(&programs, &consoles.into_inner().unwrap_or_else(PoisonError::into_inner))?;
    }
    if arguments.kernels.is_empty() && lines < FEWEST_KERNELS {
        let why = format!("only {lines} kernels could be had, and {FEWEST_KERNELS} are needed");
        total += Count::failed("machines", why);
    }
    Ok(total)
}

/// What is to be booted, a count of what cannot be, and how many kernel lines there are.
fn boots(arguments: &Arguments) -> Result<(Vec<Boot>, Count, usize)> {
    let wanted = |named: &[String], name: &str| named.is_empty() || named.iter().any(|one| one == name);
    let mut boots = Vec::new();
    let mut skipped = Count::default();
    let mut lines = Vec::new();
    for (name, append) in BOOTS.iter().filter(|(name, _)| wanted(&arguments.kernels, name)) {
        let kernel = match kernels::line(name)?.cached() {
            Ok(kernel) => kernel,
            Err(why) => {
                println!("kernel {name} {append} not run: {why:#}");
                skipped += Count::skipped();
                continue;
            }
        };
        let named = arguments.all || !arguments.kernels.is_empty() || !arguments.tiers.is_empty();
        for tier in TIERS.iter().filter(|tier| wanted(&arguments.tiers, tier)) {
            if !named && !USUAL.contains(&(name, append, tier)) {
                println!("{tier} on kernel {name} {append} not run: only with --all, --kernel or --tier");
                skipped += Count::skipped();
                continue;
            }
            lines.push(*name);
            let title = format!("{tier} on kernel {kernel} {append}").trim_end().to_owned();
            let mut words = words_of("end-to-end", tier);
            words.extend(arguments.write_evasions.then(|| "--say-results".to_owned()));
            words.extend(arguments.case.iter().flat_map(|case| ["--only".to_owned(), case.clone()]));
            boots.push((title, kernel.clone(), *append, words));
        }
    }
    lines.dedup();
    Ok((boots, skipped, lines.len()))
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
    let mut machine = Machine::new(kernel, &words_of(PROGRAM, tier));
    machine.root = true;
    machine.memory = 2048;
    // Client and web server are scripts.
    machine.share = Some(places::workspace()?.join("tests/servers"));
    machine.programs = binaries::for_machine(&[PROGRAM, "attack"])?;
    // Without virtualisation each of them takes a minute or two to start.
    machine.deadline = DEADLINE * 2;
    outcome(&machine)
}

/// The service, from its package, in one machine that systemd runs.
pub(super) fn service() -> Result<Count> {
    let (name, tier) = ("6.12", "lsm");
    let kernel = match kernels::line(name)?.cached() {
        Ok(kernel) => kernel,
        Err(why) => {
            println!("kernel {name} not run: {why:#}");
            return Ok(Count::skipped());
        }
    };
    let folder = places::target()?.join("package");
    let share = folder.join("service");
    places::make_empty(&share)?;
    let program = package::program()?;
    for version in [package::VERSION, &format!("{}+newer", package::VERSION)] {
        package::deb(&program, version, &share)?;
        // Only the package itself goes into the machine.
        places::make_empty(&share.join("deb"))?;
    }
    let words = ["service", "--packages", "/share", "--tier", tier].map(str::to_owned);
    let mut machine = Machine::new(kernel, &words);
    machine.root = true;
    machine.systemd = true;
    machine.memory = 2048;
    machine.share = Some(share);
    let programs = binaries::build_packages(binaries::Linked::Static, &["mcp-monitor-tests"])?;
    machine.programs = vec![binaries::program(&programs, "service")?];
    machine.deadline = DEADLINE;
    outcome(&machine)
}

/// The command line of a test program in a machine.
fn words_of(program: &str, tier: &str) -> Vec<String> {
    let programs = ["--monitor", "/run/vm/bin/mcp-monitor", "--attack", "/run/vm/bin/attack"];
    let words = [program].into_iter().chain(programs).chain(["--tier", tier, "--slowness", SLOWNESS]);
    words.map(str::to_owned).collect()
}

/// Keeps what `consoles` say of the evasions, and writes the table of all that is kept into the README.
fn write_evasions(programs: &[PathBuf], consoles: &str) -> Result<()> {
    let Some(program) = programs.iter().find(|program| program.ends_with("end-to-end")) else {
        bail!("the program end-to-end was not built");
    };
    let top = places::workspace()?;
    let said = places::cache()?.join("evasion-results.txt");
    fs::write(&said, consoles).with_context(|| format!("cannot write {}", said.display()))?;
    let mut take = Command::new(program);
    take.arg("--take-results").arg(&said).arg("--results").arg(top.join(EVASION_RESULTS));
    command::run(take.arg("--write-table").arg(top.join("README.md")))
}

fn in_machine(
    kernel: Kernel,
    append: &str,
    words: &[String],
    programs: &[PathBuf],
    consoles: &Mutex<String>,
) -> Result<Count> {
    let mut machine = Machine::new(kernel, words);
    append.clone_into(&mut machine.append);
    machine.programs = programs.to_vec();
    // The runner keeps the events of a flood in memory, and the machine's files lie there as well.
    machine.memory = 4096;
    machine.deadline = DEADLINE;
    let report = vm::boot(&machine)?;
    consoles.lock().unwrap_or_else(PoisonError::into_inner).push_str(&report.console);
    Ok(counted(&report))
}

/// Boots `machine` and counts what its command states.
fn outcome(machine: &Machine) -> Result<Count> {
    Ok(counted(&vm::boot(machine)?))
}

fn counted(report: &Report) -> Count {
    let mut count = Count::stated_in(&report.console);
    // A command whose tests failed ends with a status of its own; any other end is a failure that it could not state.
    let stated = matches!(report.ended, Ended::Status(status) if status == 0 || count.failed > 0);
    if !stated {
        count += Count::failed("the machine", &report.ended);
    }
    count
}
