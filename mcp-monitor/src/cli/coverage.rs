//! `mcp-monitor coverage`: what could not be seen, by workload.

use super::{
    exit_code::Exit,
    query::{FilterOptions, OutputOptions, QueryError, SourceOptions, say_missed},
    state,
};
use crate::{
    control::{
        Source,
        api::{Coverage, CoverageRow},
        filter::is_workload_named,
    },
    render::read,
};
use clap::Args;

/// Options of `coverage`.
#[derive(Clone, Debug, Args)]
pub(super) struct CoverageCommand {
    #[command(flatten)]
    source: SourceOptions,
    #[command(flatten)]
    filter: FilterOptions,
    #[command(flatten)]
    output: OutputOptions,
}

impl CoverageCommand {
    /// Asks and prints.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let filter = self.filter.filter()?;
        let source = self.source.source();
        let coverage = if let Source::Monitor(client) = &source {
            let mut coverage: Coverage =
                client.get("/v1/coverage", &crate::control::Filter::default()).map_err(QueryError::from)?;
            if let Some(wanted) = &filter.workload {
                coverage.rows.retain(|row| {
                    wanted.split(',').any(|wanted| is_workload_named(wanted, &row.workload, &row.instance))
                });
            }
            coverage
        } else {
            let gathered = source.gather(&filter).map_err(QueryError::from)?;
            say_missed(gathered.missed);
            of_lines(&gathered)
        };
        let mut output = self.output.open_drawn()?;
        output.answer(&coverage, state::coverage)?;
        output.flush()?;
        Ok(Exit::Ok)
    }
}

/// What lines tell: the summaries of their ends, else events of the kind `coverage`.
fn of_lines(gathered: &crate::control::source::Gathered) -> Coverage {
    let of = |workload: &read::Text, instance: &read::Text, note: &read::Coverage| CoverageRow {
        workload: workload.to_string(),
        instance: instance.to_string(),
        cause: note.cause.to_string(),
        what: note.what.to_string(),
        count: note.count,
    };
    let tier = gathered.events.back().map(|event| event.monitor.tier.to_string()).unwrap_or_default();
    let none = read::Text::default();
    let mut rows: Vec<_> = gathered
        .summaries
        .iter()
        .flat_map(|summary| summary.coverage.iter().map(|note| of(&note.workload, &none, note)))
        .collect();
    if rows.is_empty() {
        rows.extend(gathered.events.iter().filter_map(|event| {
            Some(of(&event.workload.name, &event.workload.instance, event.coverage.as_ref()?))
        }));
    }
    Coverage { schema: "mcp-monitor/coverage/v1".into(), tier, rows, more: 0 }
}
