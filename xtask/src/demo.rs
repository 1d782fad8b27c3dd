//! `cargo xtask demo`: two real MCP servers, driven by a real client, watched by the monitor, caught misbehaving.
//!
//! The filesystem server (npx) reads a private key besides its documents; the fetch server (uvx) fetches from a place
//! nobody declared besides the declared one. Promises to succeed only if both were found and nothing else was, and
//! to leave no process, network device or file behind. All traffic stays on this machine, except for what npx and
//! uvx say to their registries.

mod network;
mod outcome;
mod plan;
mod registries;
mod scratch;
mod servers;
mod stream;
mod user;
mod watched;
mod web;

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::{command, places, setup};

/// What `cargo xtask demo` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The same run without the monitor, which must fail: it shows that the success is the monitor's
    #[arg(long)]
    without_sensor: bool,
    /// Keep the scratch folder with home, plan and stream
    #[arg(long)]
    keep: bool,
}

/// Runs the task.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    user::outlive_interrupts();
    let user = user::User::of_this_run();
    let monitor = if arguments.without_sensor {
        None
    } else {
        setup::for_building()?;
        Some(build()?)
    };
    setup::for_servers()?;
    network::tools()?;
    if !command::is_root() {
        if command::find("sudo").is_none() {
            bail!("a network namespace and the monitor need root: install sudo, or run this as root");
        }
        eprintln!("demo: the network namespace and the monitor need root, so sudo may ask for your password");
        command::run(&mut command::as_root("true"))?;
    }

    let servers = servers::Servers::prepare()?;
    let scratch = scratch::Scratch::make(arguments.keep)?;
    let near = web::Web::near(&servers)?;
    let far = network::Far::start(&servers)?;
    servers.warm(&scratch, &near)?;
    let arrived_before = far.log().len();

    let plan = plan::Plan { home: scratch.home(), near: near.address(), far: far.address() };
    let plan_file = scratch.write("plan.json", &plan.with_bad_actions().to_string())?;
    println!("demo: {}", plan.told());
    let Some(monitor) = monitor else {
        command::run(&mut servers.client(&scratch.home(), &plan_file)?)
            .context("the client did not get through")?;
        println!("\ndemo: without the monitor nothing was observed: 0 events, 0 findings");
        let arrived = web::requests(&far.log()[arrived_before..]);
        println!("demo: yet the fake private key was read, and the undeclared listener's own log says:");
        for line in arrived {
            println!("        {line}");
        }
        return Ok(ExitCode::FAILURE);
    };
    let run =
        watched::Run { monitor: &monitor, user: &user, servers: &servers, scratch: &scratch, plan: &plan };
    let seen = run.watch(&plan_file)?;
    let arrived = web::requests(&far.log()[arrived_before..]);
    let outcome = outcome::Outcome::judge(&plan, &seen, &arrived);
    println!("{outcome}");
    Ok(if outcome.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds the monitor; where it is.
fn build() -> Result<std::path::PathBuf> {
    let mut build = Command::new("cargo");
    build.args(["build", "--release", "--package", "mcp-monitor"]).current_dir(places::workspace()?);
    command::run(setup::with_ebpf_toolchain(&mut build))?;
    let program = places::target()?.join("release/mcp-monitor");
    if !program.is_file() {
        bail!(
            "cargo built mcp-monitor, but {} is not there; is CARGO_TARGET_DIR set twice?",
            program.display()
        );
    }
    Ok(program)
}
