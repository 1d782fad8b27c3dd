//! `cargo xtask setup`: finds or installs what the project needs, one line for each thing.
//!
//! Idempotent, and quick when all is there. A step that cannot repair something itself names the command that would.

mod packages;
mod toolchain;
mod vms;

use std::process::{Command, ExitCode};

use anyhow::{Error, Result, bail};

use crate::places;

/// What `cargo xtask setup` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only look; install nothing
    #[arg(long)]
    check: bool,
    /// Also what the tests need: system packages, QEMU, kernels
    #[arg(long)]
    tests: bool,
}

/// How a step ended.
pub(crate) enum Found {
    /// It was there.
    There(String),
    /// It was put there just now.
    Installed(String),
    /// It is not there; why, and the command that would change that.
    Missing {
        /// What stood in the way.
        why: Error,
        /// What to type.
        repair: String,
        /// Whether the rest can go on without it.
        optional: bool,
    },
}

impl Found {
    /// A needed thing that is not there.
    fn missing(why: impl Into<Error>, repair: impl Into<String>) -> Self {
        Self::Missing { why: why.into(), repair: repair.into(), optional: false }
    }

    /// A thing that is not there and without which less can be tested.
    fn lacking(why: impl Into<Error>, repair: impl Into<String>) -> Self {
        Self::Missing { why: why.into(), repair: repair.into(), optional: true }
    }
}

/// One thing to find or install; told whether it may install.
type Step = (&'static str, fn(Mode) -> Found);

/// Whether steps may change the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Look only.
    Check,
    /// Install what is missing.
    Install,
}

/// What a person is told of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Every step.
    All,
    /// Steps that changed something or could not: for tasks that a person runs for another reason.
    Changes,
}

const FOR_BUILDING: &[Step] = &[
    ("eBPF toolchain", toolchain::nightly),
    ("its library sources", toolchain::sources),
    ("bpf-linker", toolchain::linker),
];

const FOR_TESTS: &[Step] = &[
    ("system packages", packages::debian),
    ("C++ compiler", packages::cxx),
    ("32-bit compiler", packages::multilib),
    ("node", packages::node),
    ("uv", packages::uv),
    ("receivers", packages::receivers),
    ("agents' tools", packages::agents_tools),
];

const FOR_KAFKA: &[Step] = &[("libraries for Kafka", packages::kafka)];

const FOR_FUZZING: &[Step] = &[("eBPF toolchain", toolchain::nightly), ("C++ compiler", packages::cxx)];

const FOR_SERVERS: &[Step] = &[("node", packages::node), ("uv", packages::uv)];

const FOR_MACHINES: &[Step] = &[
    ("busybox for VMs", vms::busybox),
    ("QEMU", vms::qemu),
    ("kernel 5.10", |mode| vms::kernel("5.10", mode)),
    ("kernel 6.1", |mode| vms::kernel("6.1", mode)),
    ("kernel 6.12", |mode| vms::kernel("6.12", mode)),
    ("kernel 7.x", |mode| vms::kernel("7.x", mode)),
];

/// Runs the task.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    let mode = if arguments.check { Mode::Check } else { Mode::Install };
    let steps = if arguments.tests {
        [FOR_BUILDING, FOR_TESTS, FOR_MACHINES].concat()
    } else {
        FOR_BUILDING.to_vec()
    };
    go(&steps, mode, Told::All)?;
    Ok(ExitCode::SUCCESS)
}

/// Sees to what building needs.
pub(crate) fn for_building() -> Result<()> {
    go(FOR_BUILDING, Mode::Install, Told::Changes)
}

/// Sees to what starting real MCP servers needs.
pub(crate) fn for_servers() -> Result<()> {
    go(FOR_SERVERS, Mode::Install, Told::Changes)
}

/// Sees to what building the fuzz targets needs.
pub(crate) fn for_fuzzing() -> Result<()> {
    go(FOR_FUZZING, Mode::Install, Told::Changes)
}

/// Sees to what virtual machines need.
pub(crate) fn for_machines() -> Result<()> {
    go(FOR_MACHINES, Mode::Install, Told::Changes)
}

/// Sees to what building and testing need.
pub(crate) fn for_tests() -> Result<()> {
    go(&[FOR_BUILDING, FOR_TESTS, FOR_MACHINES].concat(), Mode::Install, Told::All)
}

/// Sees to what the Kafka sink is built with; false when it cannot be.
pub(crate) fn for_kafka() -> Result<bool> {
    go(FOR_KAFKA, Mode::Install, Told::Changes)?;
    Ok(packages::has_kafka_libraries())
}

pub(crate) use packages::search_path;
pub(crate) use toolchain::{name as ebpf_toolchain, with_ebpf_toolchain};
pub(crate) use vms::busybox_program;

fn go(steps: &[Step], mode: Mode, told: Told) -> Result<()> {
    let _alone = (mode == Mode::Install).then(places::lock_cache).transpose()?;
    let mut missing = Vec::new();
    for (name, step) in steps {
        match step(mode) {
            Found::There(_) if told == Told::Changes => {}
            Found::There(what) => eprintln!("ok         {name}: {what}"),
            Found::Installed(what) => eprintln!("installed  {name}: {what}"),
            Found::Missing { why, repair, optional } => {
                let word = if optional { "absent" } else { "missing" };
                eprintln!("{word:<10} {name}: {why:#}\n{:<10} to repair: {repair}", "");
                if !optional {
                    missing.push(*name);
                }
            }
        }
    }
    if missing.is_empty() { Ok(()) } else { bail!("setup lacks {}; see above for how", missing.join(", ")) }
}

/// Runs `command` without its output; what it said comes back when it fails.
fn quietly(command: &mut Command) -> Result<()> {
    crate::command::capture(command).map(drop)
}
