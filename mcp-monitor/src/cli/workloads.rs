//! `mcp-monitor workloads`: MCP servers and agents that were seen.

use super::{
    exit_code::Exit,
    query::{OutputOptions, QueryError, client},
    state,
};
use crate::{
    control::{Filter, api::Workloads},
    render::output::Format,
};
use clap::Args;
use std::path::PathBuf;

/// Options of `workloads`.
#[derive(Clone, Debug, Args)]
pub(super) struct WorkloadsCommand {
    /// Only those that run.
    #[arg(long)]
    running: bool,
    /// The monitor's socket [default: /run/mcp-monitor/control.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    output: OutputOptions,
}

impl WorkloadsCommand {
    /// Asks and prints.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let client = client(self.socket.as_ref());
        let mut workloads: Workloads =
            client.get("/v1/workloads", &Filter::default()).map_err(QueryError::from)?;
        if self.running {
            workloads.workloads.retain(|row| row.running);
        }
        let mut output = self.output.open()?;
        let people = if output.format() == Format::Wide { state::workloads_wide } else { state::workloads };
        output.answer(&workloads, people)?;
        output.flush()?;
        Ok(Exit::Ok)
    }
}
