//! `mcp-monitor findings ack|suppress|unsuppress`: what operators do about findings. The monitor that runs records who
//! did it and why.

use super::{
    exit_code::Exit,
    pause::path_segment,
    query::{QueryError, client},
};
use crate::{
    control::{
        api::{Done, Suppression, Wish},
        moment,
    },
    event::{Rule, escape},
};
use clap::{Args, Subcommand};
use jiff::Zoned;
use serde::Serialize;
use std::{
    io::{self, Write as _},
    path::PathBuf,
};

/// What is done.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Handling {
    /// Say that somebody looks after a finding. Only root; recorded with who and why.
    #[command(visible_alias = "acknowledge")]
    Ack(Ack),
    /// Have a finding and its like not told until a time: counted and shown as suppressed. Only root; recorded.
    Suppress(Suppress),
    /// Have findings told again that were suppressed, acknowledged or closed. Only root; recorded.
    Unsuppress(Unsuppress),
}

/// Options of `ack`.
#[derive(Clone, Debug, Args)]
pub(super) struct Ack {
    /// The finding, by its id or the beginning of it.
    #[arg(value_name = "ID", add = super::completing::findings())]
    finding: String,
    #[command(flatten)]
    saying: Saying,
}

/// Options of `suppress`.
#[derive(Clone, Debug, Args)]
pub(super) struct Suppress {
    /// A finding (with later ones of the same rule, workload and target), or all findings of a rule and a workload,
    /// e.g. unknown-egress+github.
    #[arg(value_name = "ID|RULE+WORKLOAD", add = super::completing::findings())]
    what: String,
    /// Until when: 7d, "12 hours", tomorrow, 2027-01-31. A year at most.
    #[arg(long, value_name = "TIME")]
    until: String,
    #[command(flatten)]
    saying: Saying,
}

/// Options of `unsuppress`.
#[derive(Clone, Debug, Args)]
pub(super) struct Unsuppress {
    /// The finding, or the rule and workload, as they were suppressed.
    #[arg(value_name = "ID|RULE+WORKLOAD", add = super::completing::findings())]
    what: String,
    #[command(flatten)]
    saying: Saying,
}

/// Why, and to whom it is said.
#[derive(Clone, Debug, Args)]
struct Saying {
    /// Why. It is recorded with who asked.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The monitor's socket [default: /run/mcp-monitor/control.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Saying {
    fn say(&self, path: &str, body: &impl Serialize) -> anyhow::Result<Exit> {
        let done: Done = client(self.socket.as_ref()).post(path, body).map_err(QueryError::from)?;
        writeln!(io::stdout(), "{}", escape(done.what.as_bytes()))?;
        Ok(Exit::Ok)
    }

    fn of_finding(&self, finding: &str, act: &str, until: Option<String>) -> anyhow::Result<Exit> {
        let wish = Wish { reason: self.reason.clone(), until };
        self.say(&format!("/v1/findings/{}/{act}", path_segment(finding)), &wish)
    }

    fn of_scope(
        &self,
        (rule, workload): (Rule, &str),
        path: &str,
        until: Option<String>,
    ) -> anyhow::Result<Exit> {
        let suppression = Suppression {
            rule: rule.id().to_owned(),
            workload: workload.to_owned(),
            reason: self.reason.clone(),
            until,
        };
        self.say(path, &suppression)
    }
}

impl Handling {
    /// Tells the monitor.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        match self {
            Self::Ack(Ack { finding, saying }) => saying.of_finding(finding, "acknowledge", None),
            Self::Suppress(Suppress { what, until, saying }) => {
                let until = moment::parse_ahead(until, &Zoned::now())
                    .map_err(|problem| QueryError::Usage(format!("--until: {problem}")))?;
                let until = Some(until.to_string());
                match scope(what)? {
                    Some(scope) => saying.of_scope(scope, "/v1/suppressions", until),
                    None => saying.of_finding(what, "suppress", until),
                }
            }
            Self::Unsuppress(Unsuppress { what, saying }) => match scope(what)? {
                Some(scope) => saying.of_scope(scope, "/v1/suppressions/end", None),
                None => saying.of_finding(what, "unsuppress", None),
            },
        }
    }
}

/// `RULE+WORKLOAD`; `None` for an id. A name of a workload may have a plus in it, a rule has none.
fn scope(what: &str) -> Result<Option<(Rule, &str)>, QueryError> {
    let Some((rule, workload)) = what.split_once('+') else { return Ok(None) };
    let known = Rule::ALL.into_iter().find(|known| known.id() == rule).ok_or_else(|| {
        let all = Rule::ALL.map(Rule::id).join(", ");
        QueryError::Usage(format!("no rule is called {rule}; there are {all}"))
    })?;
    if workload.is_empty() {
        return Err(QueryError::Usage(format!("name the workload: {rule}+WORKLOAD")));
    }
    Ok(Some((known, workload)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_and_a_workload_are_told_from_an_id() {
        assert!(scope("01a1f923-9275").unwrap().is_none());
        assert_eq!(scope("unknown-egress+c++").unwrap(), Some((Rule::UnknownEgress, "c++")));
        assert!(scope("no-rule+x").is_err() && scope("secret-read+").is_err());
    }
}
