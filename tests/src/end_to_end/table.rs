//! The committed table of evasions: what must come of each, per tier and kernel.

use std::{cmp::Ordering, fmt};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// What came of an evasion, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// Right rule or kind, right process, right object.
    Caught,
    /// Not caught, but a coverage entry names the blind spot.
    Named,
    /// Neither.
    Unseen,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Caught => "caught",
            Self::Named => "named",
            Self::Unseen => "unseen",
        })
    }
}

/// A strength of mechanisms, as `--tier` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tier {
    /// BPF LSM.
    Lsm,
    /// kprobes.
    Probe,
    /// Raw tracepoints and cgroup programs.
    Tracepoint,
    /// Whatever the monitor chooses.
    Auto,
}

impl Tier {
    /// As the command line and the output name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lsm => "lsm",
            Self::Probe => "probe",
            Self::Tracepoint => "tracepoint",
            Self::Auto => "auto",
        }
    }

    /// The tier of that name.
    pub(crate) fn of(name: &str) -> Result<Self> {
        Ok(match name {
            "lsm" => Self::Lsm,
            "probe" => Self::Probe,
            "tracepoint" => Self::Tracepoint,
            other => bail!("the monitor names an unknown tier {other:?}"),
        })
    }
}

/// What must be told of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// A finding under this rule.
    Rule(String),
    /// An event of this kind.
    Kind(String),
    /// No finding at all.
    Silent,
}

impl Want {
    fn of(text: &str) -> Result<Self> {
        Ok(match text.split_once(':') {
            Some(("rule", rule)) => Self::Rule(rule.to_owned()),
            Some(("kind", kind)) => Self::Kind(kind.to_owned()),
            None if text == "silent" => Self::Silent,
            _ => bail!("want = {text:?} is none of rule:…, kind:… and silent"),
        })
    }
}

impl fmt::Display for Want {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => write!(formatter, "finding {rule}"),
            Self::Kind(kind) => write!(formatter, "event {kind}"),
            Self::Silent => formatter.write_str("nothing"),
        }
    }
}

/// One evasion.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    /// The case of the attack program.
    pub(crate) id: String,
    /// The row of the facts it stands for.
    pub(crate) facts: String,
    /// What it does, in words.
    pub(crate) does: String,
    want: String,
    lsm: Outcome,
    probe: Outcome,
    tracepoint: Outcome,
    /// A part of the coverage entry that names it.
    pub(crate) names: Option<String>,
    /// Why the kernel allows no more.
    pub(crate) reason: Option<String>,
    #[serde(default)]
    kernel: Vec<Older>,
}

/// Other requirements on older kernels.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Older {
    before: String,
    lsm: Option<Outcome>,
    probe: Option<Outcome>,
    tracepoint: Option<Outcome>,
}

impl Row {
    /// What must be told.
    pub(crate) fn want(&self) -> Want {
        Want::of(&self.want).expect("checked when read")
    }

    /// What is required on this tier and kernel.
    pub(crate) fn required(&self, tier: Tier, kernel: &str) -> Outcome {
        let older = self.kernel.iter().find(|older| compare_kernels(kernel, &older.before).is_lt());
        let (here, older) = match tier {
            Tier::Lsm | Tier::Auto => (self.lsm, older.and_then(|older| older.lsm)),
            Tier::Probe => (self.probe, older.and_then(|older| older.probe)),
            Tier::Tracepoint => (self.tracepoint, older.and_then(|older| older.tracepoint)),
        };
        older.unwrap_or(here)
    }
}

/// The table.
pub(crate) fn rows() -> Result<Vec<Row>> {
    #[derive(Deserialize)]
    struct Table {
        row: Vec<Row>,
    }
    let table: Table = toml::from_str(include_str!("../../evasion.toml")).context("tests/evasion.toml")?;
    for row in &table.row {
        Want::of(&row.want).with_context(|| format!("row {}", row.id))?;
        let all_caught =
            [row.lsm, row.probe, row.tracepoint].iter().all(|outcome| *outcome == Outcome::Caught);
        if !all_caught && row.reason.is_none() {
            bail!("row {} is not caught everywhere and gives no reason", row.id);
        }
    }
    Ok(table.row)
}

/// Compares two kernel releases by their first two numbers.
pub(crate) fn compare_kernels(one: &str, other: &str) -> Ordering {
    let numbers = |release: &str| -> Vec<u32> {
        release.split(['.', '-']).take(2).map(|number| number.parse().unwrap_or(0)).collect()
    };
    numbers(one).cmp(&numbers(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_table_is_well_formed_and_names_no_case_twice() {
        let rows = rows().unwrap();
        let mut ids: Vec<_> = rows.iter().map(|row| row.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), rows.len());
    }

    #[test]
    fn only_rows_with_a_kernel_reason_may_be_missed_in_the_lsm_tier() {
        for row in rows().unwrap() {
            let required = row.required(Tier::Lsm, "6.1.0");
            assert!(required == Outcome::Caught || row.reason.is_some(), "{}", row.id);
        }
    }

    /// The number may only shrink: lower it when a row is caught, never raise it.
    #[test]
    fn the_weaker_tiers_lose_no_ground() {
        let missed = |tier| {
            let rows = rows().unwrap();
            rows.iter().filter(|row| row.required(tier, "6.18") != Outcome::Caught).count()
        };
        assert!(missed(Tier::Probe) == 0, "{}", missed(Tier::Probe));
        assert!(missed(Tier::Tracepoint) <= 2, "{}", missed(Tier::Tracepoint));
    }

    #[test]
    fn kernels_are_compared_by_number() {
        assert!(compare_kernels("5.10.223", "6.1").is_lt());
        assert!(compare_kernels("6.12.1-amd64", "6.2").is_gt());
        assert!(compare_kernels("6.1.192", "6.1").is_eq());
    }
}
