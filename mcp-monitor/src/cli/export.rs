//! `mcp-monitor export`: a span of what was recorded as one file that proves itself elsewhere.

use super::{exit_code::Exit, recording::default_directory};
use crate::{
    control::moment,
    store::{Filter, StoreError, verify},
};
use clap::Args;
use jiff::Zoned;
use std::path::PathBuf;

/// Options of `export`.
#[derive(Clone, Debug, Args)]
pub(super) struct Export {
    /// Not before TIME: 10m, "2 days ago", 2026-11-20, "2026-11-20 10:00", today, yesterday.
    #[arg(long, short = 'S', value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Before TIME.
    #[arg(long, short = 'U', value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Show only events of this workload, by id or name; the others are there by their digests alone.
    #[arg(long, short, value_name = "WORKLOAD")]
    workload: Vec<String>,
    /// The store's directory [default: /var/lib/mcp-monitor]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// The file to write; it must not exist.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Export {
    /// Writes the file.
    pub(super) fn run(&self) -> Exit {
        match self.write() {
            Ok(shown) => {
                let file = self.file.display();
                super::say(&format_args!(
                    "{shown} events in {file}. `mcp-monitor verify {file} --key KEY` proves it anywhere, with the key that \
                     `mcp-monitor verify --print-key` tells here"
                ));
                Exit::Ok
            }
            Err(error) => {
                super::say(&error);
                Exit::from(&error)
            }
        }
    }

    fn write(&self) -> Result<u64, StoreError> {
        let now = Zoned::now();
        let time = |option: &str, text: &Option<String>| {
            let parse = |text: &String| {
                moment::parse(text, &now)
                    .map_err(|error| StoreError::Usage(format!("{option} {text}: {error}")))
            };
            text.as_ref().map(parse).transpose()
        };
        let filter = Filter {
            since: time("--since", &self.since)?,
            until: time("--until", &self.until)?,
            workload: self.workload.clone(),
            ..Filter::default()
        };
        let directory = self.store.clone().unwrap_or_else(default_directory);
        verify::export(&directory, &filter, &self.file)
    }
}
