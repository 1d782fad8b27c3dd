//! Once a day: what was not worth a message of its own.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::Timestamp;

use crate::{
    event::Severity,
    export::record::{Body, Record},
};

/// Rows that a digest tells; what is beyond them is counted.
const ROWS_MAX: usize = 100;

/// What was found, put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// From when.
    pub since: Option<Timestamp>,
    /// Until when.
    pub until: Option<Timestamp>,
    /// By workload, rule and severity.
    pub rows: Vec<DigestRow>,
    /// Findings in no row.
    pub more: u64,
}

/// Findings of one workload and rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestRow {
    /// How bad.
    pub severity: Option<Severity>,
    /// The rule.
    pub rule: String,
    /// The workload's name.
    pub workload: String,
    /// So many findings.
    pub findings: u64,
    /// Their occurrences.
    pub count: u64,
    /// The object of the latest.
    pub example: String,
}

/// Puts findings together, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Collector {
    rows: BTreeMap<(String, String), DigestRow>,
    more: u64,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Collector {
    pub(super) fn add(&mut self, record: &Record) {
        let Body::Finding(finding) = record.body() else { return };
        self.since = Some(self.since.map_or(finding.first_seen, |since| since.min(finding.first_seen)));
        self.until = Some(self.until.map_or(finding.last_seen, |until| until.max(finding.last_seen)));
        let key = (finding.workload.name.to_string(), finding.rule.to_string());
        if !self.rows.contains_key(&key) && self.rows.len() >= ROWS_MAX {
            self.more += 1;
            return;
        }
        let row = self.rows.entry(key.clone()).or_insert_with(|| DigestRow {
            severity: finding.severity(),
            rule: key.1,
            workload: key.0,
            findings: 0,
            count: 0,
            example: String::new(),
        });
        row.findings += 1;
        row.count = row.count.saturating_add(finding.count);
        row.severity = row.severity.max(finding.severity());
        row.example = record.parts().object();
    }

    /// The digest; `None` when there is nothing to tell.
    pub(super) fn finish(self) -> Option<Digest> {
        let mut rows: Vec<_> = self.rows.into_values().collect();
        rows.sort_by(|one, other| other.severity.cmp(&one.severity).then(other.count.cmp(&one.count)));
        (!rows.is_empty()).then_some(Digest { since: self.since, until: self.until, rows, more: self.more })
    }
}

impl Digest {
    /// As lines of plain text.
    #[must_use]
    pub fn text(&self) -> String {
        let findings: u64 = self.rows.iter().map(|row| row.findings).sum::<u64>() + self.more;
        let mut text = format!("{findings} findings below the severity that is told at once\n");
        for row in &self.rows {
            let severity = row.severity.map_or("unknown", Severity::name);
            // Writing into a String cannot fail.
            let _ = writeln!(
                text,
                "{severity:8} {}: {} ({} times, {} findings), latest {}",
                row.workload, row.rule, row.count, row.findings, row.example
            );
        }
        if self.more > 0 {
            let _ = writeln!(text, "and {} more", self.more);
        }
        text
    }
}
