//! Which records a sink gets, and how many events a second.

use jiff::Timestamp;
use serde::Deserialize;

use super::record::{Body, Record};
use crate::event::{Rule, Severity};

/// A severity in the configuration and on the command line: this one and those above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Least {
    /// Everything: worth knowing.
    Low,
    /// Medium and above: worth a look today.
    Medium,
    /// High and critical: worth a look now.
    High,
    /// Critical alone: worth waking somebody.
    Critical,
}

impl From<Least> for Severity {
    fn from(least: Least) -> Self {
        match least {
            Least::Low => Self::Low,
            Least::Medium => Self::Medium,
            Least::High => Self::High,
            Least::Critical => Self::Critical,
        }
    }
}

/// Only these. Criteria are combined by *and*, the values of one by *or*; an empty one holds for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Findings of this severity and above.
    pub severity: Option<Least>,
    /// Ids of rules.
    #[serde(default)]
    pub rules: Vec<String>,
    /// Ids or names of workloads.
    #[serde(default)]
    pub workloads: Vec<String>,
    /// Kinds of events, e.g. `open`; of a finding that of its first event.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Verdicts of events.
    #[serde(default)]
    pub verdicts: Vec<String>,
}

impl Filter {
    /// Values that can never hold are mistakes.
    pub fn check(&self) -> Result<(), String> {
        if let Some(wrong) = self.rules.iter().find(|rule| Rule::ALL.iter().all(|known| known.id() != **rule))
        {
            return Err(format!(
                "no rule is called {wrong:?}; there are {}",
                Rule::ALL.map(Rule::id).join(", ")
            ));
        }
        let verdicts = ["expected", "unexpected", "forbidden", "unjudged"];
        if let Some(wrong) = self.verdicts.iter().find(|verdict| !verdicts.contains(&verdict.as_str())) {
            return Err(format!("no verdict is called {wrong:?}; there are {}", verdicts.join(", ")));
        }
        Ok(())
    }

    /// True when `record` is one of them, whatever its severity.
    #[must_use]
    pub fn concerns(&self, record: &Record) -> bool {
        let parts = record.parts();
        let among = |values: &[String], text: Option<&crate::render::read::Text>| {
            values.is_empty() || text.is_some_and(|text| values.iter().any(|value| *text == **value))
        };
        let verdict = match record.body() {
            Body::Event(event) => among(&self.verdicts, Some(&event.verdict)),
            Body::Finding(_) => true,
        };
        verdict
            && among(&self.rules, parts.rule)
            && among(&self.kinds, Some(parts.kind))
            && (among(&self.workloads, Some(&parts.workload.name))
                || among(&self.workloads, Some(&parts.workload.id)))
    }

    /// True when `record` is a finding that is not bad enough, for `default` where nothing is configured.
    #[must_use]
    pub fn is_below(&self, record: &Record, default: Option<Severity>) -> bool {
        let least = self.severity.map(Severity::from).or(default);
        // A severity of a newer version is never too little.
        record.is_finding() && least.zip(record.severity()).is_some_and(|(least, severity)| severity < least)
    }
}

/// So many a second, by the time of the records themselves: what comes late, after an outage, is not punished for it.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    per_second: Option<u32>,
    second: Option<i64>,
    used: u32,
}

impl Limit {
    pub(super) fn new(per_second: Option<u32>) -> Self {
        Self { per_second, second: None, used: 0 }
    }

    /// True when one more may pass.
    pub(super) fn admits(&mut self, time: Timestamp) -> bool {
        let Some(per_second) = self.per_second else { return true };
        let second = Some(time.as_second());
        if self.second != second {
            (self.second, self.used) = (second, 0);
        }
        self.used = self.used.saturating_add(1);
        self.used <= per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing::{events, findings};

    fn filter(text: &str) -> Filter {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn criteria_are_and_values_are_or() {
        let (event, finding) = (&events(1)[0], &findings(1)[0]);
        assert!(filter("{kinds: [exec, open]}").concerns(event));
        assert!(!filter("{kinds: [exec]}").concerns(event));
        assert!(filter("{rules: [secret-read], workloads: [filesystem]}").concerns(finding));
        assert!(!filter("{rules: [secret-read], workloads: [other]}").concerns(finding));
        assert!(!filter("{rules: [secret-read]}").concerns(event), "it broke no rule");
        assert!(!filter("{verdicts: [forbidden]}").concerns(event));
        assert!(filter("{verdicts: [forbidden]}").concerns(finding), "verdicts are of events");
        assert!(!filter("{severity: critical}").is_below(finding, None));
        assert!(!filter("{severity: critical}").is_below(event, None));
        assert!(!filter("{}").is_below(finding, Some(Severity::High)));
    }

    #[test]
    fn the_rate_counts_by_the_records_own_seconds() {
        let at = |millisecond| Timestamp::from_millisecond(millisecond).unwrap();
        let mut limit = Limit::new(Some(2));
        let admitted: Vec<_> = [0, 100, 200, 1000, 1100, 1200].map(|time| limit.admits(at(time))).into();
        assert_eq!(admitted, [true, true, false, true, true, false]);
        assert!(Limit::new(None).admits(at(0)));
    }
}
