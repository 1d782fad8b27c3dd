//! What the monitor said of a day, and whether that is right.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;

/// Medium findings that a day may have.
const MEDIUM_MAX: usize = 3;

/// What one run of the monitor said.
#[derive(Clone, Default)]
pub struct Said {
    /// Findings, each as often as it was told.
    pub findings: Vec<Value>,
    /// Events.
    pub events: Vec<Value>,
    /// What the day itself printed.
    pub steps: String,
}

/// An act that must be found.
pub struct Act {
    rule: String,
    pid: u64,
    name: String,
}

impl Said {
    /// What stands in a file of JSON lines, as far as `fits` wants it.
    pub fn read(file: &Path, fits: impl Fn(&Value) -> bool) -> Result<Self> {
        let text = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut said = Self::default();
        for record in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            match record["schema"].as_str() {
                Some("mcp-monitor/finding/v1") if fits(&record) => said.findings.push(record),
                Some("mcp-monitor/event/v1") if fits(&record) => said.events.push(record),
                _ => {}
            }
        }
        Ok(said)
    }

    /// Every finding once, as it stood last.
    fn latest(&self) -> Vec<&Value> {
        let mut kept: Vec<&Value> = Vec::new();
        for finding in &self.findings {
            kept.retain(|known| known["id"] != finding["id"]);
            kept.push(finding);
        }
        kept
    }

    /// How many findings are of each severity: high or critical, medium, low.
    #[must_use]
    pub fn severities(&self) -> [usize; 3] {
        let findings = self.latest();
        let count = |severities: &[&str]| {
            findings
                .iter()
                .filter(|one| severities.iter().any(|severity| one["severity"] == *severity))
                .count()
        };
        [count(&["high", "critical"]), count(&["medium"]), count(&["low"])]
    }

    /// Prints each finding in a line.
    pub fn print(&self) {
        for finding in self.latest() {
            println!("   found {}: {} {}", finding["severity"], finding["rule"], finding["message"]);
        }
    }
}

/// Nothing high, and little that is medium.
pub(super) fn is_quiet(severities: [usize; 3]) -> bool {
    let [high, medium, _] = severities;
    high == 0 && medium <= MEDIUM_MAX
}

/// Says whether a day was quiet.
#[must_use]
pub fn judge_quiet(said: &Said) -> bool {
    said.print();
    let count = |word: &str| said.steps.lines().filter(|line| line.starts_with(word)).count();
    let (done, failed, not_run) = (count("done"), count("failed"), count("not run"));
    let severities = said.severities();
    let [high, medium, low] = severities;
    let quiet = is_quiet(severities) && failed == 0 && done > 0;
    println!(
        "{}: {done} steps done, {failed} failed, {not_run} not run; {high} high, {medium} medium, {low} low findings \
         (0 high and at most {MEDIUM_MAX} medium allowed)",
        if quiet { "QUIET" } else { "NOT QUIET" }
    );
    quiet
}

/// The acts that were done.
pub fn acts(path: &Path) -> Result<Vec<Act>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let act = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let (rule, pid, name) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        Some(Act { rule: rule.to_owned(), pid, name: name.to_owned() })
    };
    Ok(text.lines().filter_map(act).collect())
}

/// Says of each act whether it was found on the right process, and on `workload` where one is given.
#[must_use]
pub fn judge_bad(said: &Said, acts: &[Act], workload: Option<&str>) -> bool {
    let mut found = 0;
    let mut rules = BTreeSet::new();
    for act in acts {
        let of_rule = |record: &&Value| {
            let of_workload = workload.is_none_or(|name| record["workload"]["name"] == name);
            of_workload && record["rule"] == act.rule.as_str()
        };
        // A shell that decodes starts others; the act's own process or one below it did it.
        let ours = |record: &Value| {
            let process = &record["process"];
            let above = process["ancestors"].as_array();
            process["pid"] == act.pid
                || above.is_some_and(|above| above.iter().any(|one| one["pid"] == act.pid))
        };
        let told = said.findings.iter().any(|finding| of_rule(&finding));
        let is_found = told && said.events.iter().filter(of_rule).any(ours);
        if is_found {
            found += 1;
            rules.insert(act.rule.as_str());
        }
        println!(
            "   {} {}: {} (pid {})",
            if is_found { "found " } else { "MISSED" },
            act.rule,
            act.name,
            act.pid
        );
    }
    let of = workload.map(|name| format!("{name}: ")).unwrap_or_default();
    println!("{of}{found} of {} bad acts found on the right process, by {} rules", acts.len(), rules.len());
    found == acts.len() && !acts.is_empty()
}
