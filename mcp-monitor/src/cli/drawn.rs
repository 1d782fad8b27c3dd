//! `mcp-monitor tree` and `mcp-monitor timeline`: an instance as a picture.

use super::{
    exit_code::Exit,
    query::{FilterOptions, OutputOptions, QueryError, SourceOptions, say_missed},
};
use crate::{
    control::source::Gathered,
    render::{
        timeline::{self, Timeline},
        tree::{self, Forest},
    },
};
use clap::Args;

/// Options of `tree` and `timeline`.
#[derive(Clone, Debug, Args)]
pub(super) struct Drawn {
    #[command(flatten)]
    source: SourceOptions,
    #[command(flatten)]
    filter: FilterOptions,
    #[command(flatten)]
    output: OutputOptions,
}

impl Drawn {
    /// Draws processes with their children.
    pub(super) fn tree(&self) -> anyhow::Result<Exit> {
        let gathered = self.gather()?;
        let forest = Forest::new(&gathered.events, gathered.findings.values());
        let mut output = self.output.open_drawn()?;
        output.answer(&forest, tree::for_people)?;
        output.flush()?;
        say_missed(gathered.missed);
        Ok(Exit::Ok)
    }

    /// Draws what happened one after the other.
    pub(super) fn timeline(&self) -> anyhow::Result<Exit> {
        let gathered = self.gather()?;
        let timeline = Timeline::new(&gathered.events, gathered.findings.values());
        let mut output = self.output.open_drawn()?;
        output.answer(&timeline, timeline::for_people)?;
        output.flush()?;
        say_missed(gathered.missed);
        Ok(Exit::Ok)
    }

    fn gather(&self) -> Result<Gathered, QueryError> {
        let filter = self.filter.filter()?;
        let gathered = self.source.source().gather(&filter)?;
        if gathered.events.is_empty() {
            return Err(QueryError::Unknown(format!(
                "no event of {} is asked for by this filter",
                self.source.source().name()
            )));
        }
        Ok(gathered)
    }
}
