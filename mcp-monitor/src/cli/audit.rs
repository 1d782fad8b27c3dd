//! `mcp-monitor audit`: what is wrong before anything runs.

use super::{exit_code::Exit, say};
use crate::{
    audit::audit,
    event::Severity,
    export::filter::Least,
    host::users::Users,
    inventory::declared::{Sources, homes},
};
use clap::{Args, ValueEnum};
use std::io::{self, Write as _};

/// How the problems are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// One JSON object a line.
    Json,
}

/// Options of `audit`.
#[derive(Clone, Debug, Args)]
pub(super) struct Audit {
    /// End with status 10 if there is a problem of this severity or above.
    #[arg(long, value_name = "SEVERITY")]
    fail_on: Option<Least>,
    /// How the problems are written.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

impl Audit {
    /// Looks at this host.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        if !nix::unistd::geteuid().is_root() {
            say(&"not called as root: only what this user may read is looked at");
        }
        let sources = Sources::new(homes::of_host(&mut Users::default()));
        let (problems, unread) = audit(&sources)?;
        for warning in unread {
            say(&warning);
        }
        let mut output = io::stdout().lock();
        for problem in &problems {
            match self.output {
                Format::Table => writeln!(output, "{}", problem.text())?,
                Format::Json => writeln!(output, "{}", problem.json())?,
            }
        }
        if problems.is_empty() {
            say(&"no problems found");
        }
        let worst = problems.iter().map(|problem| problem.severity).max();
        let least = self.fail_on.map(Severity::from);
        Ok(if least.is_some_and(|least| worst >= Some(least)) { Exit::Found } else { Exit::Ok })
    }
}
