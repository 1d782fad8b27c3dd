//! `cargo xtask package`: what users install, into `target/package`: a Debian package, an RPM, a container image.
//!
//! All carry the same static program, so that they work on any distribution of this architecture.

mod deb;
mod image;
mod rpm;
mod tree;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use clap::ValueEnum;

use crate::{binaries, places, setup};

pub(crate) use tree::{Kind, Staged};

/// What `cargo xtask package` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to make [default: deb and rpm]
    #[arg(value_enum)]
    what: Vec<What>,
    /// Version of the packages instead of the workspace's own
    #[arg(long, value_name = "VERSION")]
    set_version: Option<String>,
}

/// One artifact.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// For Debian, Ubuntu and their like
    Deb,
    /// For Fedora, RHEL, openSUSE and their like
    Rpm,
    /// A container image, as an archive that `docker load` and `podman load` read
    Image,
}

/// Runs the task: prints the files it made.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    setup::for_building()?;
    let what = if arguments.what.is_empty() { &[What::Deb, What::Rpm][..] } else { &arguments.what };
    let version = arguments.set_version.as_deref().unwrap_or(VERSION);
    let folder = places::target()?.join("package");
    places::make(&folder)?;
    let program = program()?;
    for one in what {
        let file = match one {
            What::Deb => deb(&program, version, &folder)?,
            What::Rpm => rpm::make(&Staged::new(&program, &folder, Kind::Rpm)?, version, &folder)?,
            What::Image => image::make(&program, version, &folder)?,
        };
        println!("{}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// The version of the workspace.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The Debian package of `program` in `folder`.
pub(crate) fn deb(program: &Path, version: &str, folder: &Path) -> Result<PathBuf> {
    deb::make(&Staged::new(program, folder, Kind::Deb)?, version, folder)
}

/// The RPM of `program` in `folder`.
pub(crate) fn rpm(program: &Path, version: &str, folder: &Path) -> Result<PathBuf> {
    rpm::make(&Staged::new(program, folder, Kind::Rpm)?, version, folder)
}

/// Paths in the RPM `file`, with their modes.
pub(crate) fn rpm_content(file: &Path) -> Result<Vec<(PathBuf, u16)>> {
    rpm::content(file)
}

/// The static program: built, or the one that `MCP_MONITOR_PROGRAM` names.
pub(crate) fn program() -> Result<PathBuf> {
    if let Some(built) = std::env::var_os("MCP_MONITOR_PROGRAM") {
        return Ok(PathBuf::from(built));
    }
    binaries::program(&binaries::build_packages(binaries::Linked::Static, &["mcp-monitor"])?, "mcp-monitor")
}
