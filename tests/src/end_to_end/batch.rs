//! Many cases under one monitor, and which record belongs to which case.

use std::sync::Arc;

use anyhow::{Result, bail};
use mcp_monitor_tests::{
    act::{Ended, read_lines},
    identity::TICK,
};
use serde_json::Value;

use crate::{
    compare,
    monitor::{Said, Setup, ending},
};

/// One case that was performed, and everything that was said while it was.
#[derive(Clone)]
pub(crate) struct Performed {
    /// How it ended.
    pub(crate) ended: Ended,
    /// When the next case began.
    until: u64,
    /// What the monitor said in the whole run.
    pub(crate) said: Arc<Said>,
}

impl Performed {
    /// A case by itself.
    #[cfg(test)]
    pub(crate) fn of(ended: Ended, until: u64, said: Said) -> Self {
        Self { ended, until, said: Arc::new(said) }
    }

    /// The findings about processes that started during the case.
    pub(crate) fn findings(&self) -> impl Iterator<Item = &Value> {
        let ticks = self.ended.begin / TICK * TICK..self.until;
        self.said.of("finding").filter(move |finding| {
            // Findings about the coverage of the run as a whole belong to no case.
            finding["rule"] != "coverage-loss"
                && compare::number(compare::at(finding, "process.start"))
                    .is_some_and(|start| ticks.contains(&start))
        })
    }

    /// The events of processes that started during the case.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Value> {
        let ticks = self.ended.begin / TICK * TICK..self.until;
        self.said.of("event").filter(move |event| {
            compare::number(compare::at(event, "process.start")).is_some_and(|start| ticks.contains(&start))
        })
    }
}

/// Performs cases under one monitor.
pub(crate) fn perform(
    setup: &Setup,
    name: &str,
    benign: bool,
    options: &[&str],
    cases: &[&str],
) -> Result<Vec<Performed>> {
    if cases.is_empty() {
        return Ok(Vec::new());
    }
    let log = setup.world.scratch.join(format!("{name}.log"));
    let one = 20 * u64::from(setup.slowness);
    let mut command = setup.attack();
    command.extend(benign.then(|| "--benign".to_owned()));
    command.extend(
        ["script", "--log", &log.to_string_lossy(), "--deadline", &one.to_string()].map(str::to_owned),
    );
    command.extend(cases.iter().map(|case| (*case).to_owned()));
    // A few may miss their deadline; all of them would mean that the machine stands still.
    let seconds = 120 + 2 * u64::try_from(cases.len())?;
    let said = Arc::new(setup.run(name, options, &command, seconds)?);
    let log: Vec<Ended> = read_lines(&log)?;
    if log.is_empty() {
        bail!("mcp-monitor {}; no case was performed:\n{}", ending(said.status), said.talk);
    }
    let starts: Vec<u64> = log.iter().map(|ended| ended.begin).chain([u64::MAX]).collect();
    let performed = log.into_iter().zip(starts.into_iter().skip(1));
    Ok(performed.map(|(ended, until)| Performed { ended, until, said: Arc::clone(&said) }).collect())
}
