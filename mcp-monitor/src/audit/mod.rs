//! What is wrong before anything runs: in the clients' configurations, in what they declare, and in the settings of the
//! host that bear on it.
//!
//! Each [`Problem`] says how bad it is, the exact place, and what to do; never a value. Files are foreign and their
//! owners may be hostile: they are read bounded and without being followed, nothing of them is run or resolved.

mod configuration;
mod file;
mod hidden;
mod jobs;
mod live;
mod server;
mod system;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, path::PathBuf};

use serde::Serialize;

use crate::{
    event::{Severity, escape},
    expectation::data::DataError,
    inventory::{
        declared::{Clients, ClientsError, Scanner, Sources},
        live::tools::Tools,
    },
};

/// Problems that are told.
const PROBLEMS_MAX: usize = 10_000;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The stable id of the check.
    pub check: &'static str,
    /// How bad.
    pub severity: Severity,
    /// The file.
    pub path: PathBuf,
    /// Its line, counted from 1.
    pub line: Option<u32>,
    /// What it is about: a key, a server's name. Foreign text.
    pub key: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub fix: String,
}

/// A problem as a JSON object.
#[derive(Debug, Serialize)]
struct Object<'a> {
    schema: &'static str,
    check: &'static str,
    severity: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    what: &'a str,
    fix: &'a str,
}

impl Problem {
    fn path_text(&self) -> String {
        use std::os::unix::ffi::OsStrExt as _;
        escape(self.path.as_os_str().as_bytes())
    }

    /// As one JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        let object = Object {
            schema: "mcp-monitor/audit/v1",
            check: self.check,
            severity: self.severity.name(),
            path: self.path_text(),
            line: self.line,
            key: self.key.as_ref().map(|key| escape(key.as_bytes())),
            what: &self.what,
            fix: &self.fix,
        };
        // Strings and numbers only: nothing here refuses to be written.
        serde_json::to_string(&object).unwrap_or_default()
    }

    /// For people: two lines.
    #[must_use]
    pub fn text(&self) -> String {
        let place = match self.line {
            Some(line) => format!("{}:{line}", self.path_text()),
            None => self.path_text(),
        };
        let key = self.key.as_ref().map(|key| format!(" ({})", escape(key.as_bytes()))).unwrap_or_default();
        let Self { check, severity, what, fix, .. } = self;
        let what = escape(what.as_bytes());
        format!(
            "{:<8} {check:<22} {place}{key}\n         {what}. {}",
            severity.name(),
            escape(fix.as_bytes())
        )
    }
}

/// Why there is no audit.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The table of clients.
    #[error(transparent)]
    Clients(#[from] ClientsError),
    /// The table of launchers.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// Looks at everything, the worst first. What could not be read is told by the second value.
pub fn audit(sources: &Sources) -> Result<(Vec<Problem>, Vec<String>), AuditError> {
    let declarations = Scanner::new(Clients::embedded()?).scan(sources);
    let tools = Tools::embedded()?;
    let mut problems = BTreeSet::new();
    let mut keep = |problem: Problem| {
        if problems.len() < PROBLEMS_MAX {
            problems.insert(problem);
        }
    };
    configuration::check(sources, &declarations, &mut keep);
    for server in &declarations.servers {
        server::check(server, &tools, &mut keep);
    }
    system::check(sources, &mut keep);
    jobs::check(sources, &mut keep);
    hidden::check(sources, &mut keep)?;
    // What runs belongs to this host, whatever files are looked at.
    if sources.root == std::path::Path::new("/") {
        live::check(&tools, &mut keep);
    }
    let mut problems: Vec<_> = problems.into_iter().collect();
    problems.sort_by(|one, other| other.severity.cmp(&one.severity).then_with(|| one.cmp(other)));
    let unread = declarations.warnings.iter().map(|warning| {
        use std::os::unix::ffi::OsStrExt as _;
        format!("{}: {}", escape(warning.path.as_os_str().as_bytes()), escape(warning.what.as_bytes()))
    });
    Ok((problems, unread.collect()))
}
