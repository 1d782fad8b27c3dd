//! `mcp-monitor workloads`: agents and MCP servers of the host: a tree for people who may see all of it, else a list.

use super::{
    exit_code::Exit,
    query::{OutputOptions, QueryError, client},
    state,
};
use crate::{
    control::{Filter, api::Workloads},
    inventory::live::{Snapshot, snapshot::InstanceView},
    render::{output::Format, workloads},
};
use clap::{Args, Subcommand};
use std::{
    io::{self, Write as _},
    path::PathBuf,
};

/// Options of `workloads`.
#[derive(Clone, Debug, Args)]
pub(super) struct WorkloadsCommand {
    #[command(subcommand)]
    what: Option<What>,
    /// Only those that run.
    #[arg(long)]
    running: bool,
    /// Only what looks like an MCP server and is unknown.
    #[arg(long)]
    unmatched: bool,
    /// The inventory as one JSON object: parents, declarations, versions, what does not run.
    #[arg(long)]
    inventory: bool,
    /// The monitor's socket [default: /run/mcp-monitor/control.sock]
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Everything that is known of one workload.
    Show {
        /// Its name, its id, an instance, or the begin of an id.
        #[arg(value_name = "WORKLOAD", add = super::completing::workloads())]
        workload: String,
    },
}

impl WorkloadsCommand {
    /// Asks and prints.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let client = client(self.socket.as_ref());
        let snapshot =
            || client.get::<Snapshot>("/v1/inventory", &Filter::default()).map_err(QueryError::from);
        if let Some(What::Show { workload }) = &self.what {
            let snapshot = snapshot()?;
            let found: Vec<&InstanceView> =
                snapshot.instances.iter().filter(|one| is_meant(one, workload)).collect();
            if found.is_empty() {
                super::say(&format_args!(
                    "no workload is called {workload}: `mcp-monitor workloads` lists them"
                ));
                return Ok(Exit::Unknown);
            }
            return print(&workloads::details(&found));
        }
        if self.unmatched {
            return print(&workloads::unmatched(&snapshot()?.unmatched));
        }
        if self.inventory {
            return print(&(serde_json::to_string(&snapshot()?)? + "\n"));
        }
        let mut workloads: Workloads =
            client.get("/v1/workloads", &Filter::default()).map_err(QueryError::from)?;
        if self.running {
            workloads.workloads.retain(|row| row.running);
        }
        let mut output = self.output.open()?;
        if output.format() == Format::Table
            && let Ok(snapshot) = snapshot()
        {
            return print(&workloads::tree(&snapshot, !self.running));
        }
        let people = if output.format() == Format::Wide { state::workloads_wide } else { state::workloads };
        output.answer(&workloads, people)?;
        output.flush()?;
        Ok(Exit::Ok)
    }
}

/// Text for people, as it is.
fn print(text: &str) -> anyhow::Result<Exit> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Ok),
    }
}

fn is_meant(one: &InstanceView, wanted: &str) -> bool {
    // Fewer letters of an id would mean too many.
    let begins = |id: &str| wanted.len() >= 6 && id.starts_with(wanted);
    one.name == wanted || begins(&one.workload) || begins(&one.instance)
}
