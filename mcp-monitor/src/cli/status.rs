//! `mcp-monitor status`: how the monitor is.

use super::{
    exit_code::Exit,
    query::{OutputOptions, QueryError, client},
    state,
};
use crate::control::{Filter, api::Status};
use clap::Args;
use std::path::PathBuf;

/// Options of `status`.
#[derive(Clone, Debug, Args)]
pub(super) struct StatusCommand {
    /// The monitor's socket [default: /run/mcp-monitor/control.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    output: OutputOptions,
}

impl StatusCommand {
    /// Asks and prints. Fails when the pipeline does not turn.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let client = client(self.socket.as_ref());
        let status: Status = client.get("/v1/status", &Filter::default()).map_err(QueryError::from)?;
        let mut output = self.output.open()?;
        output.answer(&status, state::status)?;
        output.flush()?;
        Ok(if status.alive { Exit::Ok } else { Exit::Failed })
    }
}
