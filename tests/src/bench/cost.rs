//! What one system call, process or connection costs more.
//!
//! All subjects alternate in each round. Each piece of work is done in many short chunks with a pause before each, so
//! that the reader of a ring keeps up. Of a round's chunks the lower quartile counts: what disturbs only makes slower.
//! Added is the median over the rounds of the difference to the same round without a monitor.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;

use crate::{
    Setup,
    subject::{self, Subject},
    work,
};

const PAUSE: Duration = Duration::from_millis(4);

/// The results.
#[derive(Default)]
pub(crate) struct Costs {
    /// By subject and work: ns, the lower quartile of each round. Infinite where it was not measured.
    quartiles: BTreeMap<(usize, usize), Vec<f64>>,
    /// Subjects that could not be had, and why.
    pub(crate) refused: BTreeMap<usize, String>,
    /// Records lost, by subject.
    pub(crate) lost: BTreeMap<usize, u64>,
    /// Measurements during which somebody else's programs were attached.
    pub(crate) disturbed: u32,
}

/// Measures the `chosen` subjects.
pub(crate) fn measure(setup: &Setup, chosen: &[Subject], rounds: u32, chunks: u32) -> Result<Costs> {
    let mut costs = Costs::default();
    for round in 1..=rounds {
        for (at, subject) in subject::ALL.iter().enumerate().filter(|(_, one)| chosen.contains(one)) {
            if costs.refused.contains_key(&at) {
                continue;
            }
            eprintln!("round {round} of {rounds}: {}", subject.title());
            let all = |worker: &mut crate::worker::Worker| {
                work::ALL
                    .iter()
                    .map(|work| worker.chunks(*work, chunks, PAUSE).map(lower_quartile))
                    .collect::<Result<Vec<_>>>()
            };
            // Others' programs would change the numbers: once more.
            let mut result = subject.with(setup, all);
            if matches!(result, Ok((_, _, false))) {
                result = subject.with(setup, all);
            }
            match result {
                Ok((quartiles, lost, alone)) => {
                    for (which, quartile) in quartiles.into_iter().enumerate() {
                        costs.quartiles.entry((at, which)).or_default().push(quartile);
                    }
                    *costs.lost.entry(at).or_default() += lost;
                    costs.disturbed += u32::from(!alone);
                }
                Err(error) if *subject != Subject::Nothing && round == 1 => {
                    eprintln!("not run: {error:#}");
                    costs.refused.insert(at, format!("{error:#}"));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(costs)
}

impl Costs {
    /// What the work takes with nothing attached.
    pub(crate) fn base(&self, work: &str) -> Option<f64> {
        self.of(Subject::Nothing, work).map(|rounds| median(rounds.to_vec()))
    }

    /// What it takes more with `subject`.
    pub(crate) fn added(&self, subject: Subject, work: &str) -> Option<f64> {
        let base = self.of(Subject::Nothing, work)?;
        let rounds = self.of(subject, work)?;
        Some(median(rounds.iter().zip(base).map(|(with, without)| with - without).collect()))
    }

    fn of(&self, subject: Subject, work: &str) -> Option<&[f64]> {
        let subject = subject::ALL.iter().position(|one| *one == subject)?;
        let work = work::ALL.iter().position(|one| one.name == work)?;
        self.quartiles.get(&(subject, work)).map(Vec::as_slice)
    }
}

/// The lower quartile.
fn lower_quartile(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 4).copied().unwrap_or(f64::NAN)
}

/// The median.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}
