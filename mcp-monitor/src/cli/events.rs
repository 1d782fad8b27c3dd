//! `mcp-monitor events`: what processes did.

use super::{
    exit_code::Exit,
    query::{FilterOptions, OutputOptions, SourceOptions, say_missed},
};
use crate::{
    control::source::{Span, What},
    render::read::Line,
};
use clap::Args;
use std::ops::ControlFlow;

/// Lines of the past that are shown when nobody says how many and it goes on.
const LAST_BEFORE_FOLLOWING: usize = 10;

/// Which of them, and whether it goes on.
#[derive(Clone, Debug, Args)]
pub(super) struct SpanOptions {
    /// Only the last N.
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    /// Go on with what happens from now on, until Ctrl-C.
    #[arg(short, long)]
    pub(super) follow: bool,
}

impl SpanOptions {
    pub(super) fn span(&self) -> Span {
        let last = self.lines.or(self.follow.then_some(LAST_BEFORE_FOLLOWING));
        Span { last, follow: self.follow }
    }
}

/// Options of `events`.
#[derive(Clone, Debug, Args)]
pub(super) struct Events {
    #[command(flatten)]
    source: SourceOptions,
    #[command(flatten)]
    span: SpanOptions,
    #[command(flatten)]
    filter: FilterOptions,
    #[command(flatten)]
    output: OutputOptions,
}

impl Events {
    /// Asks and prints.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let filter = self.filter.filter()?;
        let mut output = self.output.open()?;
        let mut failed = None;
        let span = self.span.span();
        let missed = self.source.source().each(What::Events, &filter, span, |line, text| {
            let written = match line {
                Line::Event(event) => output.event(&event, text),
                Line::Dropped(count) if span.follow => {
                    super::say(&format_args!("{count} events came faster than they were read"));
                    Ok(())
                }
                _ => Ok(()),
            };
            // Who follows wants each line as it comes.
            let written = if span.follow { written.and_then(|()| output.flush()) } else { written };
            failed = written.err();
            if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        output.flush()?;
        say_missed(missed.map_err(super::query::QueryError::from)?);
        Ok(Exit::Ok)
    }
}
