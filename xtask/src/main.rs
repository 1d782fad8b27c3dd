//! The project's own tasks, run as `cargo xtask TASK`. One file per task; nothing here is shipped.

mod bench;
mod binaries;
mod command;
mod debian;
mod demo;
mod fuzz;
mod kernels;
#[cfg(test)]
mod kubernetes_tests;
mod package;
mod places;
mod qemu;
mod run;
mod setup;
mod soak;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The tasks of mcp-monitor's own repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find or install everything that building and testing need, one line per thing
    Setup(setup::Arguments),
    /// Build the monitor and run it as root in the foreground
    Run(run::Arguments),
    /// Show the monitor at work on two real MCP servers, one run that ends in success or failure
    Demo(demo::Arguments),
    /// Run all tests; the last line printed counts them
    Test(test::Arguments),
    /// Run the fuzz targets, each for some seconds
    Fuzz(fuzz::Arguments),
    /// Measure what the monitor costs on this machine
    Bench(bench::Arguments),
    /// Run the proofs that take long and append their results to a file
    Soak(soak::Arguments),
    /// Make what users install: Debian package, RPM, container image
    Package(package::Arguments),
    /// Run a command in a virtual machine on one or more kernels
    Vm(vm::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Setup(arguments) => setup::main(&arguments),
        Task::Run(arguments) => run::main(&arguments),
        Task::Demo(arguments) => demo::main(&arguments),
        Task::Test(arguments) => test::main(&arguments),
        Task::Fuzz(arguments) => fuzz::main(&arguments),
        Task::Bench(arguments) => bench::main(&arguments),
        Task::Soak(arguments) => soak::main(&arguments),
        Task::Package(arguments) => package::main(&arguments),
        Task::Vm(arguments) => vm::main(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("cargo xtask: {error:#}");
        ExitCode::FAILURE
    })
}
