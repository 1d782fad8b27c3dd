//! `cargo xtask test`: every test there is, part by part, with the time of each.
//!
//! Promises that the last line of stdout is alone on its line and reads `N passed, N failed, N skipped`, summed over
//! all parts, and that it is printed however the parts end.

mod checks;
mod count;
mod failure;
mod live;
mod machines;
mod packages;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Result, bail};

use crate::setup;
use count::Count;

/// What `cargo xtask test` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only what needs neither root nor virtual machines
    #[arg(long)]
    quick: bool,
    /// Only this part; may be repeated
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Only cases whose name holds this, in the parts that have cases
    #[arg(long, value_name = "TEXT")]
    case: Option<String>,
    /// Only this kernel line in machines; may be repeated
    #[arg(long = "kernel", value_name = "LINE")]
    kernels: Vec<String>,
    /// Only this tier in machines; may be repeated
    #[arg(long = "tier", value_name = "TIER")]
    tiers: Vec<String>,
    /// Keep what came of the evasions in machines and write the table of it into the README
    #[arg(long)]
    write_evasions: bool,
    /// Every kernel in every tier, and real servers in a machine, too: more than an hour
    #[arg(long)]
    all: bool,
    /// List the parts
    #[arg(long)]
    list: bool,
}

/// When a part runs without being named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Always.
    Quick,
    /// Unless `--quick` is given.
    Usual,
    /// Only with `--all`.
    All,
}

/// One part of the tests.
struct Part {
    name: &'static str,
    when: When,
    run: fn(&Arguments) -> Result<Count>,
}

/// Every part, in the order they run: what fails fastest comes first. A new kind of test is a new row.
const PARTS: &[Part] = &[
    Part { name: "format", when: When::Quick, run: |_| checks::format() },
    Part { name: "clippy", when: When::Quick, run: |_| checks::clippy() },
    Part { name: "clippy-ebpf", when: When::Quick, run: |_| checks::clippy_ebpf() },
    Part { name: "unit", when: When::Quick, run: |_| checks::unit() },
    Part { name: "fuzz", when: When::All, run: |_| checks::fuzz() },
    Part { name: "sinks", when: When::Usual, run: |_| live::sinks() },
    Part { name: "kafka", when: When::All, run: |_| checks::kafka() },
    Part { name: "end-to-end", when: When::Usual, run: live::end_to_end },
    Part { name: "packages", when: When::Usual, run: |_| packages::all() },
    Part { name: "machines", when: When::Usual, run: machines::all },
    Part { name: "real-servers", when: When::Usual, run: |_| live::real_servers() },
    Part { name: "expectations", when: When::All, run: |_| live::expectations() },
    Part { name: "clients", when: When::Usual, run: |_| live::clients() },
    Part { name: "real-servers-in-machine", when: When::All, run: |_| machines::real_servers() },
    Part { name: "service-in-machine", when: When::All, run: |_| machines::service() },
    Part { name: "coding-day", when: When::All, run: |_| live::coding_day() },
    Part { name: "shapes", when: When::Usual, run: |_| live::shapes() },
    Part { name: "docs", when: When::Usual, run: |_| live::docs() },
    Part { name: "demo", when: When::Usual, run: |_| live::demo() },
];

/// Runs the task.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.list {
        return list();
    }
    for name in &arguments.only {
        if !PARTS.iter().any(|part| part.name == name) {
            bail!("no part is called {name:?}; `cargo xtask test --list` names them");
        }
    }
    let chosen = |part: &&Part| {
        if arguments.only.is_empty() {
            match part.when {
                When::Quick => true,
                When::Usual => !arguments.quick,
                When::All => arguments.all,
            }
        } else {
            arguments.only.iter().any(|name| name == part.name)
        }
    };
    let parts: Vec<&Part> = PARTS.iter().filter(chosen).collect();

    let mut total = Count::default();
    let ready = if parts.iter().all(|part| part.when == When::Quick) {
        setup::for_building()
    } else {
        setup::for_tests()
    };
    if let Err(error) = ready {
        // The parts still run: what is lacking may not matter to most of them, and those it matters to will say so.
        total += Count::failed("setup", format_args!("{error:#}"));
    }
    let mut broken = Vec::new();
    for part in parts {
        let count = timed(part.name, || (part.run)(arguments));
        if count.failed > 0 {
            broken.push(part.name);
        }
        total += count;
    }
    // Each failure stood somewhere in half an hour of output; whoever reads only the end finds it here.
    for failure in &total.failures {
        println!("{failure}");
    }
    if !broken.is_empty() {
        println!("parts with failures: {}", broken.join(", "));
    }
    println!("{total}");
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Names the parts. Whoever reads them may stop reading, as `head` does.
fn list() -> Result<ExitCode> {
    let mut output = io::stdout().lock();
    for part in PARTS {
        match writeln!(output, "{}", part.name) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs one part and prints what came of it and how long it took.
fn timed(name: &str, run: impl FnOnce() -> Result<Count>) -> Count {
    println!("== {name}");
    let start = Instant::now();
    let count = run().unwrap_or_else(|error| Count::failed(name, format_args!("{error:#}"))).of(name);
    println!("== {name}: {count} in {:.1} s", start.elapsed().as_secs_f64());
    count
}
