//! The costs on an emulated machine: its clock says nothing about real nanoseconds, so only ratios are stated.

use std::fmt::Write;

use anyhow::{Context, Result};

use crate::{
    Setup, cost,
    subject::{self, Subject},
    work,
};

/// What is compared with no monitor. auditd and bpftrace are not in a machine.
const SUBJECTS: &[Subject] = &[Subject::Untracked, Subject::Tracked, Subject::Relieved];

/// Measures; one row of a Markdown table for each work, `before` its first cells.
pub(crate) fn measure(setup: &Setup, before: &str, rounds: u32, chunks: u32) -> Result<String> {
    work::furnish(setup.scratch(), 1)?;
    let chosen = [&[Subject::Nothing], SUBJECTS].concat();
    let costs = cost::measure(setup, &chosen, rounds, chunks)?;
    let mut rows = String::new();
    for work in work::ALL {
        let base = costs.base(work.name).context("nothing was measured")?;
        write!(rows, "| {before} | {} |", work.title)?;
        for subject in SUBJECTS {
            match costs.added(*subject, work.name) {
                Some(added) => write!(rows, " {:.2}× |", (base + added) / base)?,
                None => write!(rows, " – |")?,
            }
        }
        writeln!(rows)?;
    }
    for (at, why) in &costs.refused {
        writeln!(rows, "{}: not run: {why}", subject::ALL[*at].title())?;
    }
    for (at, lost) in costs.lost.iter().filter(|(_, lost)| **lost > 0) {
        writeln!(rows, "{}: {lost} records were lost meanwhile", subject::ALL[*at].title())?;
    }
    Ok(rows)
}
