//! The command line of `cargo xtask vm`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;

use super::{Ended, Machine, boot};
use crate::{binaries, kernels, setup};

/// What `cargo xtask vm` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Kernel line to boot: 5.10, 6.1, 6.12 or 7.x; may be repeated [default: all]
    #[arg(long = "kernel", value_name = "LINE")]
    kernels: Vec<String>,
    /// More for the kernel's command line, such as `preempt=full`
    #[arg(long, default_value = "", value_name = "STRING")]
    append: String,
    /// Go on in a Debian root with python, node and strace
    #[arg(long)]
    root: bool,
    /// Have systemd run that root
    #[arg(long, requires = "root")]
    systemd: bool,
    /// Build the monitor and the attack and end-to-end programs, and put them into the machine's PATH
    #[arg(long)]
    monitor: bool,
    /// Static program to put into the machine's PATH; may be repeated
    #[arg(long = "program", value_name = "FILE")]
    programs: Vec<PathBuf>,
    /// Folder to give the machine a copy of, as /share
    #[arg(long, value_name = "FOLDER")]
    share: Option<PathBuf>,
    /// Kernel module to load besides the usual ones; may be repeated
    #[arg(long = "module", value_name = "NAME")]
    modules: Vec<String>,
    /// Memory in MiB
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    memory: u32,
    /// Kill the machine after so many seconds
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    deadline: u64,
    /// The command, and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs the task: the command on each kernel in turn; fails with the first failure's status.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    setup::for_machines()?;
    let mut programs = arguments.programs.clone();
    if arguments.monitor {
        setup::for_building()?;
        programs.extend(binaries::for_machine(&["attack", "end-to-end"])?);
    }
    let mut names = arguments.kernels.clone();
    if names.is_empty() {
        names = kernels::LINES.iter().map(|line| line.name.to_owned()).collect();
    }
    let mut worst = 0;
    for name in names {
        let mut machine = Machine::new(kernels::line(&name)?.cached()?, &arguments.command);
        machine.append.clone_from(&arguments.append);
        machine.root = arguments.root;
        machine.systemd = arguments.systemd;
        machine.programs.clone_from(&programs);
        machine.share.clone_from(&arguments.share);
        machine.modules.extend(arguments.modules.iter().cloned());
        machine.memory = arguments.memory;
        machine.deadline = Duration::from_secs(arguments.deadline);
        let report = boot(&machine)?;
        eprintln!("{}: {} after {:.1} s", machine.kernel, report.ended, report.took.as_secs_f64());
        let status = match report.ended {
            Ended::Status(status) => u8::try_from(status).unwrap_or(1),
            _ => 1,
        };
        worst = if worst == 0 { status } else { worst };
    }
    Ok(ExitCode::from(worst))
}
