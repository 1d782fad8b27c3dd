//! What the monitor costs on other kernels, in virtual machines: ratios only, since an emulated machine's clock says
//! nothing of real nanoseconds.

use std::{fmt::Write as _, time::Duration};

use anyhow::Result;

use crate::{
    binaries, kernels,
    vm::{self, Ended, Machine},
};

/// What is booted, in which tier.
const BOOTS: &[(&str, &str)] = &[
    ("5.10", "lsm"),
    ("5.10", "probe"),
    ("6.1", "lsm"),
    ("6.1", "probe"),
    ("6.12", "lsm"),
    ("6.12", "probe"),
    ("7.x", "lsm"),
    ("7.x", "probe"),
];
const DEADLINE: Duration = Duration::from_mins(10);

/// The section of the page, printed as it comes.
pub(super) fn section() -> Result<String> {
    let programs = binaries::for_machine(&["bench-probe"])?;
    let mut section = "\n## On other kernels\n\nIn emulated machines (QEMU without virtualisation): how many times as long \
        each work takes as without a monitor, in the median of three rounds. Only ratios mean something there, and hooks \
        weigh more than on a real processor, since emulation makes the verified programs slow and not what they wait for.\n\n\
        | kernel | tier | work | untracked | tracked, relief off | tracked, relief on |\n|---|---|---|---:|---:|---:|\n"
        .to_owned();
    for (line, tier) in BOOTS {
        let kernel = match kernels::line(line)?.cached() {
            Ok(kernel) => kernel,
            Err(why) => {
                writeln!(section, "| {line} | {tier} | not run: {why:#} | | | |")?;
                continue;
            }
        };
        let before = format!("{} | {tier}", kernel.version);
        let words =
            ["bench-probe", "ratios", "--monitor", "/run/vm/bin/mcp-monitor", "--tier", tier, "--before"];
        let command: Vec<String> = words.into_iter().chain([before.as_str()]).map(str::to_owned).collect();
        let mut machine = Machine::new(kernel, &command);
        machine.programs.clone_from(&programs);
        machine.memory = 2048;
        machine.deadline = DEADLINE;
        let report = vm::boot(&machine)?;
        let rows = report.console.lines().filter(|row| row.starts_with("| ") && row.contains(&before));
        for row in rows {
            writeln!(section, "{row}")?;
        }
        if report.ended != Ended::Status(0) {
            writeln!(section, "| {line} | {tier} | not measured to the end: {} | | | |", report.ended)?;
        }
    }
    Ok(section)
}
