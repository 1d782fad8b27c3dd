//! Findings in their table: told, counted, suppressed.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::OptionalExtension as _;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    super::{
        StoreError,
        columns::{nanoseconds, signed},
        journal::{Draft, Word},
        queue,
        schema::database,
    },
    keeper::Keeper,
    likeness::{Likeness, may_be_suppressed, scopes},
};
use crate::{
    event::{Finding, FindingState},
    render::json,
};

impl Keeper {
    /// Takes findings in. They wait here until they are on the disk, however long that is impossible.
    pub(super) fn take_findings(&mut self, findings: HashMap<String, Finding>) {
        let fresh = findings.values().any(|finding| finding.count <= 1);
        for (id, finding) in findings {
            if self.findings.len() < queue::FINDINGS_MAX || self.findings.contains_key(&id) {
                self.findings.insert(id, finding);
            } else {
                self.findings_lost += 1;
            }
        }
        // A new finding does not wait for the next turn.
        if fresh {
            self.last_flush =
                self.last_flush.checked_sub(self.settings.flush_every).unwrap_or(self.last_flush);
        }
    }

    /// Writes all that wait, in one transaction.
    pub(super) fn store_findings(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if self.findings.is_empty() {
            return Ok(());
        }
        let Self { findings, journal, origin, pseudonyms, .. } = self;
        let failed = database("record findings", &journal.path);
        // Ids grow with time: the order in which they were told.
        let mut told: Vec<_> = findings.values().collect();
        told.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        journal.write(now, |draft| {
            for finding in told {
                let mut line = Vec::with_capacity(4096);
                json::finding(&mut line, origin, finding);
                line.pop();
                let line = String::from_utf8_lossy(&line);
                let line = match pseudonyms {
                    Some(pseudonyms) => pseudonyms.replace(&line),
                    None => line.into_owned(),
                };
                let first = nanoseconds(origin.time(finding.first_seen));
                let last = nanoseconds(origin.time(finding.last_seen));
                store(draft, now, finding, &line, (first, last)).map_err(&failed)?;
            }
            Ok(())
        })?;
        self.findings.clear();
        Ok(())
    }
}

struct Known {
    state: String,
    line: String,
    likeness: String,
}

fn store(
    draft: &mut Draft<'_>,
    now: Timestamp,
    finding: &Finding,
    line: &str,
    (first, last): (i64, i64),
) -> rusqlite::Result<()> {
    let known = draft
        .connection
        .prepare_cached("SELECT state, line, likeness FROM findings WHERE id = ?")?
        .query_row([&finding.id], |row| {
            Ok(Known { state: row.get(0)?, line: row.get(1)?, likeness: row.get(2)? })
        })
        .optional()?;
    let likeness: Option<Likeness<'_>> = serde_json::from_str(line).ok();
    let uid = likeness.as_ref().map_or(0, |likeness| likeness.process.uid);
    let text = likeness.as_ref().map(Likeness::text).unwrap_or_default();
    match known {
        None => {
            let handling = suppression(draft, now, finding, &text)?;
            let state = if handling.is_some() { FindingState::Suppressed } else { FindingState::Open };
            let line = with_state(line, state);
            let entry = tell(draft, now, &line)?;
            let change = signed(draft.change());
            draft
                .connection
                .prepare_cached(
                    "INSERT INTO findings(id, change, entry, rule, severity, state, workload, workload_name, instance,
                         uid, first_seen, last_seen, count, likeness, line, handling)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
                )?
                .execute(rusqlite::params![
                    finding.id,
                    change,
                    signed(entry),
                    finding.rule.id(),
                    finding.severity as i64,
                    state.name(),
                    finding.workload.id,
                    finding.workload.name,
                    finding.workload.instance,
                    uid,
                    first,
                    last,
                    signed(finding.count),
                    text,
                    line,
                    handling,
                ])?;
        }
        Some(known) => {
            let lapsed = known.state == FindingState::Suppressed.name()
                && suppression(draft, now, finding, &known.likeness)?.is_none();
            let again = lapsed || known.state == FindingState::Closed.name();
            let state = if again { FindingState::Open.name() } else { &known.state };
            let change = signed(draft.change());
            draft
                .connection
                .prepare_cached(
                    "UPDATE findings SET change = ?2, count = ?3, last_seen = max(last_seen, ?4),
                         first_seen = min(first_seen, ?5), state = ?6 WHERE id = ?1",
                )?
                .execute((&finding.id, change, signed(finding.count), last, first, state))?;
            // Told again when it doubled, so that a flood of repeats is no flood of entries.
            if again || finding.count >= count_of(&known.line).saturating_mul(2) {
                let state = FindingState::ALL.into_iter().find(|one| one.name() == state).unwrap_or_default();
                let line = with_state(line, state);
                let entry = tell(draft, now, &line)?;
                draft
                    .connection
                    .prepare_cached("UPDATE findings SET entry = ?2, line = ?3 WHERE id = ?1")?
                    .execute((&finding.id, signed(entry), line))?;
            }
            if again {
                draft
                    .connection
                    .prepare_cached("UPDATE findings SET handling = NULL WHERE id = ?")?
                    .execute([&finding.id])?;
            }
        }
    }
    Ok(())
}

pub(super) fn tell(draft: &mut Draft<'_>, now: Timestamp, line: &str) -> rusqlite::Result<u64> {
    let finding = RawValue::from_string(line.to_owned())
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    draft.say(now, Word::Finding { finding })
}

/// The handling of a suppression of `finding` that holds now.
fn suppression(
    draft: &Draft<'_>,
    now: Timestamp,
    finding: &Finding,
    likeness: &str,
) -> rusqlite::Result<Option<String>> {
    let rule = finding.rule.id();
    if !may_be_suppressed(rule) {
        return Ok(None);
    }
    let [by_id, by_name] = scopes(rule, &finding.workload.id, &finding.workload.name);
    draft
        .connection
        .prepare_cached(
            "SELECT handling FROM suppressions WHERE likeness IN (?, ?, ?) AND until > ? ORDER BY until DESC LIMIT 1",
        )?
        .query_row((likeness, by_id, by_name, nanoseconds(now)), |row| row.get(0))
        .optional()
}

/// The line with another state. It stands before anything that stems from a monitored process.
pub(super) fn with_state(line: &str, state: FindingState) -> String {
    const KEY: &str = "\"state\":\"";
    let Some(begin) = line.find(KEY).map(|at| at + KEY.len()) else { return line.to_owned() };
    let end = line[begin..].find('"').map_or(line.len(), |length| begin + length);
    let mut line = line.to_owned();
    line.replace_range(begin..end, state.name());
    line
}

fn count_of(line: &str) -> u64 {
    #[derive(Deserialize)]
    struct Counted {
        count: u64,
    }
    serde_json::from_str::<Counted>(line).map_or(1, |counted| counted.count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_stands_before_anything_hostile() {
        let mut line = Vec::new();
        let mut finding = crate::render::sample::findings().remove(1);
        finding.message = "\"state\":\"open\"".into();
        json::finding(&mut line, &crate::render::sample::origin(), &finding);
        let line = String::from_utf8(line).unwrap();
        let value: serde_json::Value =
            serde_json::from_str(&with_state(&line, FindingState::Suppressed)).unwrap();
        assert_eq!(value["state"], "suppressed");
        assert_eq!(count_of(&line), finding.count);
        assert_eq!(super::super::likeness::likeness_of(&line).len(), 32);
        let twice = with_state(&with_state(&line, FindingState::Acknowledged), FindingState::Open);
        assert_eq!(twice, line, "from any state to any other");
    }
}
