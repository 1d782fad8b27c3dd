//! `mcp-monitor explain`: one finding or one event in full, with what was before it and what it means.

use super::{
    exit_code::Exit,
    query::{OutputOptions, QueryError, SourceOptions, say_missed},
};
use crate::{
    finding::rules::RuleBook,
    render::explain::{self, Explanation},
};
use clap::Args;

/// Options of `explain`.
#[derive(Clone, Debug, Args)]
pub(super) struct Explain {
    /// Id of a finding or an event, or its beginning; or a rule, e.g. secret-read.
    #[arg(value_name = "ID|RULE", add = super::completing::findings())]
    what: String,
    #[command(flatten)]
    source: SourceOptions,
    #[command(flatten)]
    output: OutputOptions,
}

impl Explain {
    /// Looks for it and explains.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let rules = RuleBook::embedded()?;
        let mut output = self.output.open_drawn()?;
        if let Some(rule) = crate::event::Rule::ALL.iter().find(|rule| rule.id() == self.what) {
            output.answer(&Explanation::of_rule(*rule, &rules), explain::for_people)?;
            output.flush()?;
            return Ok(Exit::Ok);
        }
        let source = self.source.source();
        let (explanation, missed) = source.explain(&self.what, &rules).map_err(QueryError::from)?;
        let explanation = explanation.ok_or_else(|| {
            QueryError::Unknown(format!(
                "nothing of {} has the id {}, or several have. `mcp-monitor findings -o csv` shows ids",
                source.name(),
                self.what
            ))
        })?;
        output.answer(&explanation, explain::for_people)?;
        output.flush()?;
        say_missed(missed);
        Ok(Exit::Ok)
    }
}
