//! `mcp-monitor install --systemd` and `mcp-monitor uninstall`.

use super::exit_code::Exit;
use crate::service::install::{Done, InstallError, Installer};
use clap::Args;
use std::{
    io::{self, Write as _},
    path::PathBuf,
};

/// Options of both.
#[derive(Clone, Debug, Args)]
struct Common {
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Prepare the file system in DIR instead of this host's; nothing is started or stopped.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// Options of `install`.
#[derive(Clone, Debug, Args)]
pub(super) struct Install {
    /// As a service of systemd: program, unit, group, configuration. What is there is kept.
    #[arg(long, required = true)]
    systemd: bool,
    /// Do not start it now.
    #[arg(long)]
    no_start: bool,
    #[command(flatten)]
    common: Common,
}

/// Options of `uninstall`.
#[derive(Clone, Debug, Args)]
pub(super) struct Uninstall {
    /// Also remove what was recorded, a changed configuration, expectations and the group.
    #[arg(long)]
    purge: bool,
    #[command(flatten)]
    common: Common,
}

impl Install {
    /// Installs and says what was done.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        self.common.carry_out(!self.no_start, false, Installer::install)
    }
}

impl Uninstall {
    /// Removes and says what was done.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        self.common.carry_out(false, self.purge, Installer::uninstall)
    }
}

impl Common {
    fn carry_out(
        &self,
        start: bool,
        purge: bool,
        act: fn(&Installer) -> Result<Done, InstallError>,
    ) -> anyhow::Result<Exit> {
        if !self.dry_run && !nix::unistd::geteuid().is_root() {
            super::say(&"only root may do that. Call it with sudo, or with --dry-run");
            return Ok(Exit::NotPermitted);
        }
        let root = std::path::absolute(&self.root)?;
        let done = act(&Installer { root, dry_run: self.dry_run, start, purge })?;
        let mut output = io::stdout().lock();
        for line in &done {
            writeln!(output, "{line}")?;
        }
        if done.is_empty() {
            super::say(&"nothing was there");
        }
        Ok(Exit::Ok)
    }
}
