//! Which cases there are, which of them share a monitor, and how all are put as tests.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use mcp_monitor_tests::world::MARKER;

use crate::{
    batch::{self, Performed},
    control, judge, losses,
    monitor::{Said, Setup, ending},
    options, report, robustness, segments,
    table::{Outcome, Row, Tier},
};

/// Plain observations, checked in every field.
const OBSERVATIONS: &[&str] = &[
    "see-exec",
    "see-exec-script",
    "see-exec-long-argv",
    "see-open-read",
    "see-open-write",
    "see-open-failed",
    "see-rename",
    "see-link",
    "see-symlink",
    "see-unlink",
    "see-truncate",
    "see-chmod",
    "see-map",
    "see-exit",
    "see-connect",
    "see-connect-failed",
    "see-listen",
    "see-listen-unix",
    "see-accept",
    "see-close",
    "mask-argv",
];

/// Cases that would drown others and so have a monitor of their own.
const ALONE: &[&str] = &["fork-bomb", "flood"];
/// Ends the name of a run of such a case's twin, which is as loud.
const TWIN: &str = "-twin";

/// Everything that is to be run.
pub(crate) struct Plan {
    /// With what.
    pub(crate) setup: Setup,
    /// The table of evasions.
    pub(crate) rows: Vec<Row>,
    /// On which kernel.
    pub(crate) kernel: String,
    /// Only tests whose name holds this.
    pub(crate) only: String,
}

/// Where the results of the evasions go.
pub(crate) struct Keep {
    /// Into a line of the output.
    pub(crate) said: bool,
    /// Into this file.
    pub(crate) results: Option<PathBuf>,
    /// And as a table into this page.
    pub(crate) page: Option<PathBuf>,
}

/// All cases of the attack program that are used.
pub(crate) fn cases(rows: &[Row]) -> impl Iterator<Item = &str> {
    rows.iter().map(|row| row.id.as_str()).chain(OBSERVATIONS.iter().copied())
}

/// The names of all tests.
pub(crate) fn names(rows: &[Row]) -> impl Iterator<Item = String> {
    let evasions = rows.iter().map(|row| format!("evasion: {}", row.id));
    let twins = rows.iter().map(|row| format!("twin: {}", row.id));
    let observations = OBSERVATIONS.iter().map(|case| format!("observation: {case}"));
    let checks = checks().map(|(name, _)| name);
    evasions
        .chain(twins)
        .chain(observations)
        .chain(checks)
        .chain(OUTPUTS.iter().map(|(name, _)| (*name).to_owned()))
}

/// The checks that run monitor or sensor on commands of their own, by full name.
fn checks() -> impl Iterator<Item = (String, fn(&Setup) -> Result<()>)> {
    let robust = robustness::CHECKS.iter().map(|(name, check)| (format!("robustness: {name}"), *check));
    robust
        .chain(options::CHECKS.iter().map(|(name, check)| (format!("option: {name}"), *check)))
        .chain(control::CHECKS.iter().map(|(name, check)| (format!("control: {name}"), *check)))
        .chain(segments::CHECKS.iter().map(|(name, check)| (format!("segment: {name}"), *check)))
}

type OutputCheck = fn(&Said) -> Result<(), String>;

/// What must hold for the output of every run.
const OUTPUTS: &[(&str, OutputCheck)] = &[
    ("output: every line is one record of a known schema", |said| {
        let known = ["event", "finding", "summary"].map(|schema| format!("mcp-monitor/{schema}/v1"));
        let strange = said
            .records
            .iter()
            .find(|record| !known.iter().any(|schema| record["schema"] == schema.as_str()));
        match (said.garbage.first(), strange) {
            (Some(line), _) => Err(format!("not JSON: {line:.300}")),
            (None, Some(record)) => Err(format!("of no known schema: {record:.300}")),
            _ => Ok(()),
        }
    }),
    ("output: a hostile name forges nothing", |said| {
        match said.records.iter().find(|record| record.get("forged").is_some()) {
            Some(record) => Err(format!("forged: {record:.300}")),
            None if said.output.contains('\x1b') || said.talk.contains('\x1b') => {
                Err("an escape byte came through".to_owned())
            }
            None => Ok(()),
        }
    }),
    ("output: no secret appears in it", |said| {
        match said.output.lines().chain(said.talk.lines()).find(|line| line.contains(MARKER)) {
            Some(line) => Err(format!("the secret is in: {line:.600}")),
            None => Ok(()),
        }
    }),
    ("output: every finding says which rule, how bad, who, and why", |said| {
        let whole = |finding: &serde_json::Value| {
            ["rule", "severity", "message"].iter().all(|field| finding[field].is_string())
                && finding["process"]["pid"].is_u64()
                && finding["workload"]["name"].is_string()
                && finding["attack"]["technique"].is_string()
                && finding["events"].as_array().is_some_and(|events| !events.is_empty())
        };
        match said.of("finding").find(|finding| !whole(finding)) {
            Some(finding) => Err(format!("incomplete: {finding:.1000}")),
            None => Ok(()),
        }
    }),
    ("output: nothing is lost but in a flood", |said| losses::check(said, ALONE, TWIN)),
    ("output: the last line is the summary", |said| match said.records.last() {
        Some(record) if record["schema"] == "mcp-monitor/summary/v1" => Ok(()),
        other => Err(format!("{other:?}")),
    }),
    ("output: the monitor ends as its command does", |said| {
        if said.status.is_some_and(|status| status.success()) {
            Ok(())
        } else {
            Err(format!("the monitor {}\n{:.2000}", ending(said.status), said.talk))
        }
    }),
];

impl Plan {
    /// Runs what is to be run; true when nothing failed.
    pub(crate) fn run(&self, keep: &Keep) -> Result<bool> {
        let (mut trials, mut runs) = (Vec::new(), Vec::new());
        let wanted = |prefix: &str, case: &str| format!("{prefix}{case}").contains(&self.only);
        let evasions: Vec<&str> = self.rows.iter().map(|row| row.id.as_str()).collect();
        let chosen = |prefix: &str, all: &[&'static str]| -> Vec<&'static str> {
            all.iter().copied().filter(|case| wanted(prefix, case)).collect()
        };
        let attacks: Vec<&str> = evasions.iter().copied().filter(|case| wanted("evasion: ", case)).collect();
        let twins: Vec<&str> = evasions.iter().copied().filter(|case| wanted("twin: ", case)).collect();
        let observed = chosen("observation: ", OBSERVATIONS);

        let mut done = self.together("attacks", false, &attacks, &mut runs);
        for case in ALONE.iter().filter(|case| attacks.contains(case)) {
            done.extend(self.batch(case, false, &[case], &mut runs));
        }
        let tier = runs.iter().find_map(|said: &Arc<Said>| said.tier().ok()).unwrap_or(self.setup.tier);
        let mut results = BTreeMap::new();
        for row in self.rows.iter().filter(|row| attacks.contains(&row.id.as_str())) {
            trials.push(self.evasion(row, done.get(&row.id), tier, &mut results));
        }
        let mut done = self.together("twins", true, &twins, &mut runs);
        for case in ALONE.iter().filter(|case| twins.contains(case)) {
            done.extend(self.batch(&format!("{case}{TWIN}"), true, &[case], &mut runs));
        }
        for case in &twins {
            trials.push(judged(format!("twin: {case}"), done.get(*case), judge::twin));
        }
        let done = self.together("observations", false, &observed, &mut runs);
        for case in observed {
            let name = format!("observation: {case}");
            trials.push(judged(name, done.get(case), |performed| judge::observation(performed, tier)));
        }
        for (name, check) in checks() {
            if !name.contains(&self.only) {
                continue;
            }
            if name.starts_with("control: ")
                && let Some(reason) = control::lacking()
            {
                trials.push(unmade(name, judge::Result::NotRun(reason.to_owned())));
            } else {
                let result = check(&self.setup).map_err(|error| format!("{error:#}"));
                trials.push(trial(name, result));
            }
        }
        for (name, check) in OUTPUTS.iter().filter(|_| !runs.is_empty()) {
            trials.push(trial((*name).to_owned(), runs.iter().try_for_each(|said| check(said))));
        }
        if !results.is_empty() {
            self.keep(keep, tier, results)?;
        }
        println!("kernel {}, tier {}", self.kernel, tier.name());
        let conclusion =
            libtest_mimic::run(&Arguments { test_threads: Some(1), ..Arguments::default() }, trials);
        println!(
            "{} passed, {} failed, {} skipped",
            conclusion.num_passed, conclusion.num_failed, conclusion.num_ignored
        );
        Ok(conclusion.num_failed == 0)
    }

    /// Says and keeps what came of the evasions.
    fn keep(&self, keep: &Keep, tier: Tier, results: BTreeMap<String, String>) -> Result<()> {
        let said = report::said(&column(&self.kernel, &command_line(), tier), results)?;
        if keep.said {
            println!("{said}");
        }
        if let Some(kept) = &keep.results {
            report::keep(kept, &said)?;
            if let Some(page) = &keep.page {
                report::write(page, kept, &self.rows)?;
            }
        }
        Ok(())
    }

    /// Performs all cases that get along with each other under one monitor.
    fn together(
        &self,
        name: &str,
        benign: bool,
        cases: &[&str],
        runs: &mut Vec<Arc<Said>>,
    ) -> BTreeMap<String, Performed> {
        let cases: Vec<&str> = cases.iter().copied().filter(|case| !ALONE.contains(case)).collect();
        self.batch(name, benign, &cases, runs)
    }

    fn batch(
        &self,
        name: &str,
        benign: bool,
        cases: &[&str],
        runs: &mut Vec<Arc<Said>>,
    ) -> BTreeMap<String, Performed> {
        let performed = batch::perform(&self.setup, name, benign, &[], cases).unwrap_or_else(|error| {
            println!("{name}: {error:#}");
            Vec::new()
        });
        runs.extend(performed.first().map(|first| Arc::clone(&first.said)));
        performed.into_iter().map(|performed| (performed.ended.case.clone(), performed)).collect()
    }

    fn evasion(
        &self,
        row: &Row,
        performed: Option<&Performed>,
        tier: Tier,
        results: &mut BTreeMap<String, String>,
    ) -> Trial {
        let name = format!("evasion: {}", row.id);
        let required = row.required(tier, &self.kernel);
        let Some(performed) = performed else { return trial(name, Err("was never begun".to_owned())) };
        match judge::evasion(row, performed) {
            judge::Result::Made(outcome, missing) => {
                results.insert(row.id.clone(), outcome.to_string());
                if outcome < required {
                    println!("{name}: {outcome}, better than the {required} the table asks for");
                }
                let text = format!("{outcome} where {required} is required: {}\n{missing}", row.want());
                trial(name, if outcome <= required { Ok(()) } else { Err(text) })
            }
            other => unmade(name, other),
        }
    }
}

/// How the kernel was started.
fn command_line() -> String {
    std::fs::read_to_string("/proc/cmdline").unwrap_or_default()
}

/// What people read above a column: the kernel's numbers, the tier, and a preemption model that is not its own.
fn column(release: &str, command_line: &str, tier: Tier) -> String {
    let numbers = release.split(['-', '+']).next().unwrap_or(release);
    let model = command_line.split_whitespace().find(|word| word.starts_with("preempt="));
    format!("{numbers} {}{}", tier.name(), model.map(|model| format!(" {model}")).unwrap_or_default())
}

fn judged(name: String, performed: Option<&Performed>, judge: impl Fn(&Performed) -> judge::Result) -> Trial {
    match performed.map(judge) {
        None => trial(name, Err("was never begun".to_owned())),
        Some(judge::Result::Made(Outcome::Caught, _)) => trial(name, Ok(())),
        Some(judge::Result::Made(_, missing)) => trial(name, Err(missing)),
        Some(other) => unmade(name, other),
    }
}

fn unmade(name: String, result: judge::Result) -> Trial {
    match result {
        judge::Result::NotRun(reason) => {
            println!("{name}: not run: {reason}");
            trial(name, Ok(())).with_ignored_flag(true)
        }
        judge::Result::Broken(reason) => trial(name, Err(reason)),
        judge::Result::Made(outcome, missing) => trial(name, Err(format!("{outcome}\n{missing}"))),
    }
}

fn trial(name: String, result: Result<(), String>) -> Trial {
    Trial::test(name, move || result.map_err(Failed::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_names_kernel_tier_and_another_preemption_model() {
        assert_eq!(column("6.18.44-fc-v657", "root=/dev/vda", Tier::Tracepoint), "6.18.44 tracepoint");
        assert_eq!(
            column("6.12.107+deb13-cloud-amd64", "console=ttyS0 preempt=full", Tier::Lsm),
            "6.12.107 lsm preempt=full"
        );
    }
}
