//! `mcp-monitor report --html FILE`: what happened, as one page.

use super::{
    exit_code::Exit,
    query::{FilterOptions, QueryError, SourceOptions, say_missed},
};
use crate::render::{
    report::{Material, page},
    stream::Destination,
};
use anyhow::Context as _;
use clap::Args;
use jiff::tz::TimeZone;
use std::path::PathBuf;

/// Options of `report`.
#[derive(Clone, Debug, Args)]
pub(super) struct Report {
    /// Write the page to FILE, readable for its owner only; - for standard output.
    #[arg(long, value_name = "FILE", required = true)]
    html: PathBuf,
    #[command(flatten)]
    source: SourceOptions,
    #[command(flatten)]
    filter: FilterOptions,
    /// Show times in UTC.
    #[arg(long)]
    utc: bool,
}

impl Report {
    /// Asks and writes the page.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let filter = self.filter.filter()?;
        let source = self.source.source();
        let gathered = source.gather(&filter).map_err(QueryError::from)?;
        if gathered.events.is_empty() && gathered.findings.is_empty() {
            return Err(QueryError::Unknown(format!(
                "nothing of {} is asked for by this filter",
                source.name()
            ))
            .into());
        }
        let asked = serde_urlencoded::to_string(&filter).unwrap_or_default();
        let text = page(&Material {
            events: gathered.events.iter().collect(),
            findings: gathered.findings.values().collect(),
            summaries: &gathered.summaries,
            asked,
            time_zone: if self.utc { TimeZone::UTC } else { TimeZone::system() },
        });
        let is_output = self.html.as_os_str() == "-";
        let destination =
            if is_output { Destination::standard_output() } else { Destination::file(&self.html) };
        let name = self.html.display();
        let mut destination = destination.with_context(|| format!("{name} cannot be written"))?;
        destination.write_whole(text.as_bytes())?;
        say_missed(gathered.missed);
        if !is_output {
            super::say(&format_args!(
                "{} events and {} findings in {name}",
                gathered.events.len(),
                gathered.findings.len()
            ));
        }
        Ok(Exit::Ok)
    }
}
