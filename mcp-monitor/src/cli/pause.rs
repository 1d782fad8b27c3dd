//! `mcp-monitor pause W` and `mcp-monitor resume W`: freezes a lineage, or lets it go on.

use super::{
    exit_code::Exit,
    query::{QueryError, client},
};
use crate::{
    control::api::{Done, Wish},
    event::escape,
};
use clap::Args;
use std::{
    io::{self, Write as _},
    path::PathBuf,
};

/// Options of `pause` and `resume`.
#[derive(Clone, Debug, Args)]
pub(super) struct Pause {
    /// Name, id or instance of the workload.
    #[arg(value_name = "WORKLOAD", add = super::completing::workloads())]
    workload: String,
    /// Why. It is recorded with who asked.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The monitor's socket [default: /run/mcp-monitor/control.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Pause {
    /// Tells the monitor.
    pub(super) fn run(&self, what: &str) -> anyhow::Result<Exit> {
        let wish = Wish { reason: self.reason.clone(), until: None };
        let path = format!("/v1/workloads/{}/{what}", path_segment(&self.workload));
        let done: Done = client(self.socket.as_ref()).post(&path, &wish).map_err(QueryError::from)?;
        writeln!(io::stdout(), "{} ({} processes)", escape(done.what.as_bytes()), done.processes)?;
        Ok(Exit::Ok)
    }
}

/// `text` as one part of a path of a URL.
pub(super) fn path_segment(text: &str) -> String {
    use std::fmt::Write as _;
    let mut segment = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(segment, "%{byte:02X}");
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_name_is_one_part_of_a_path() {
        assert_eq!(super::path_segment("github-1.x"), "github-1.x");
        assert_eq!(super::path_segment("a/../b?c d\n"), "a%2F..%2Fb%3Fc%20d%0A");
    }
}
