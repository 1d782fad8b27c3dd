//! `mcp-monitor findings`: what a person should know.

use super::{
    arguments::FailOn,
    events::SpanOptions,
    exit_code::Exit,
    expect::{allow::Allow, review::Review},
    handling::Handling,
    query::{FilterOptions, OutputOptions, QueryError, SourceOptions, say_missed},
};
use crate::{
    control::source::{FINDINGS_MAX, What},
    render::read::{Finding, Line, Text},
};
use clap::{Args, Subcommand};
use indexmap::IndexMap;
use std::ops::ControlFlow;

/// Options of `findings`.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Findings {
    #[command(subcommand)]
    act: Option<Act>,
    #[command(flatten)]
    source: SourceOptions,
    #[command(flatten)]
    span: SpanOptions,
    /// Only of this severity and above: low, medium, high, critical.
    #[arg(long, value_name = "SEVERITY", help_heading = "Which")]
    severity: Option<String>,
    /// Only in these states: open, acknowledged, suppressed, closed.
    #[arg(long, value_name = "STATE", help_heading = "Which")]
    state: Vec<String>,
    #[command(flatten)]
    filter: FilterOptions,
    #[command(flatten)]
    output: OutputOptions,
    /// End with status 10 if there is a finding of RULE, or of SEVERITY and above, that is not suppressed. May be given
    /// several times.
    #[arg(long, value_name = "RULE|SEVERITY")]
    fail_on: Vec<FailOn>,
}

/// What is done about findings.
#[derive(Clone, Debug, Subcommand)]
enum Act {
    /// Show the narrowest change that would have allowed a finding, replayed over what was recorded; --write makes it.
    Allow(Box<Allow>),
    /// Show the open findings by workload and rule.
    Review(Box<Review>),
    #[command(flatten)]
    Handling(Handling),
}

impl Findings {
    /// Asks and prints: each finding once, as it stands; when it goes on, each time it changes.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        match &self.act {
            Some(Act::Allow(allow)) => return allow.run(),
            Some(Act::Review(review)) => return review.run(),
            Some(Act::Handling(handling)) => return handling.run(),
            None => {}
        }
        let mut filter = self.filter.filter()?;
        if filter.verdict.is_some() {
            return Err(QueryError::Usage(
                "--verdict: a finding has a rule and a severity; its events have a verdict (`mcp-monitor events`)".into(),
            )
            .into());
        }
        filter.severity.clone_from(&self.severity);
        filter.state = (!self.state.is_empty()).then(|| self.state.join(","));
        filter.matcher().map_err(QueryError::from)?;
        let mut output = self.output.open()?;
        let mut span = self.span.span();
        let last = span.last;
        if !span.follow {
            // Lines are more than findings: one is told again when it is seen again.
            span.last = None;
        }
        let (mut failed, mut found) = (None, false);
        let mut latest: IndexMap<Text, (Box<Finding>, String)> = IndexMap::new();
        let missed = self.source.source().each(What::Findings, &filter, span, |line, text| {
            let Line::Finding(finding) = line else { return ControlFlow::Continue(()) };
            found |= self.fail_on.iter().any(|one| one.matches_read(&finding));
            if span.follow {
                failed = output.finding(&finding, text).and_then(|()| output.flush()).err();
            } else {
                if latest.len() == FINDINGS_MAX && !latest.contains_key(&finding.id) {
                    latest.shift_remove_index(0);
                }
                latest.insert(finding.id.clone(), (finding, text.to_owned()));
            }
            if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        let missed = missed.map_err(QueryError::from)?;
        let skip = last.map_or(0, |last| latest.len().saturating_sub(last));
        for (finding, text) in latest.values().skip(skip) {
            output.finding(finding, text)?;
        }
        output.flush()?;
        say_missed(missed);
        Ok(if found { Exit::Found } else { Exit::Ok })
    }
}
