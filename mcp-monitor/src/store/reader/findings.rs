//! Findings, as they stand now.

use std::ops::ControlFlow;

use rusqlite::{OptionalExtension as _, types::Value};

use super::{
    super::{
        FindingFilter, FindingRow, Order, StoreError,
        columns::{nanoseconds, signed, timestamp, unsigned},
        files::FINDINGS_FILE,
        query::{LIMIT_MAX, VALUES_MAX},
        schema::database,
    },
    Reader,
};
use crate::event::FindingState;

const COLUMNS: &str = "id, change, state, count, last_seen, line, handling,
    (SELECT max(until) FROM suppressions WHERE suppressions.likeness
        IN (findings.likeness, rule || '+' || workload, rule || '+' || workload_name))";

impl Reader {
    /// Findings that a filter means.
    pub fn findings(&mut self, filter: &FindingFilter) -> Result<Vec<FindingRow>, StoreError> {
        let mut found = Vec::new();
        self.each_finding(filter, |row| {
            found.push(row);
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Hands the findings that a filter means to `take`, until that has enough.
    pub fn each_finding(
        &mut self,
        filter: &FindingFilter,
        mut take: impl FnMut(FindingRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let Some(connection) = &self.findings else { return Ok(()) };
        let FindingFilter {
            since,
            until,
            state,
            rule,
            severity,
            workload,
            id,
            only_uid,
            changed_after,
            limit,
            order,
        } = filter;
        if [state.len(), rule.len(), workload.len(), id.len()].iter().any(|length| *length > VALUES_MAX) {
            return Err(StoreError::Usage(format!("one criterion has at most {VALUES_MAX} values")));
        }
        let mut parts = vec!["1".to_owned()];
        let mut values: Vec<Value> = Vec::new();
        let marks = |count: usize| vec!["?"; count].join(",");
        let mut among = |column: &str, wanted: &[String]| {
            if !wanted.is_empty() {
                parts.push(format!("{column} IN ({})", marks(wanted.len())));
                values.extend(wanted.iter().cloned().map(Value::Text));
            }
        };
        among("rule", rule);
        if !workload.is_empty() {
            // As `is_workload` has it: a name, or the beginning of an id.
            let one = "(workload_name = ?1 OR length(?1) >= ?2 AND ?1 IN (substr(workload, 1, length(?1)),
                substr(instance, 1, length(?1))) OR workload = ?1)";
            let all: Vec<String> = workload
                .iter()
                .map(|wanted| {
                    values.push(Value::Text(wanted.clone()));
                    let number = values.len();
                    one.replace("?1", &format!("?{number}"))
                        .replace("?2", &super::super::query::BEGINNING_MIN.to_string())
                })
                .collect();
            parts.push(format!("({})", all.join(" OR ")));
        }
        if !id.is_empty() {
            let one = "substr(id, 1, length(?)) = ?";
            parts.push(format!("({})", vec![one; id.len()].join(" OR ")));
            for beginning in id {
                values.extend([Value::Text(beginning.clone()), Value::Text(beginning.clone())]);
            }
        }
        if let Some(since) = since {
            parts.push(format!("last_seen >= {}", nanoseconds(*since)));
        }
        if let Some(until) = until {
            parts.push(format!("first_seen < {}", nanoseconds(*until)));
        }
        if let Some(severity) = severity {
            parts.push(format!("severity >= {}", *severity as i64));
        }
        if let Some(uid) = only_uid {
            parts.push(format!("uid = {uid}"));
        }
        if let Some(after) = changed_after {
            parts.push(format!("change > {}", signed(*after)));
        }
        let by = if changed_after.is_some() { "change" } else { "last_seen" };
        let direction = if *order == Order::NewestFirst { "DESC" } else { "ASC" };
        let most = if *limit == 0 { LIMIT_MAX } else { (*limit).min(LIMIT_MAX) };
        let failed = database("search for findings", FINDINGS_FILE.as_ref());
        let sql =
            format!("SELECT {COLUMNS} FROM findings WHERE {} ORDER BY {by} {direction}", parts.join(" AND "));
        let mut statement = connection.prepare(&sql).map_err(&failed)?;
        let mut rows = statement.query(rusqlite::params_from_iter(&values)).map_err(&failed)?;
        let mut count = 0;
        let now = nanoseconds(jiff::Timestamp::now());
        while let Some(row) = rows.next().map_err(&failed)? {
            let finding = finding(row, now).map_err(&failed)?;
            // The state is known only now, since a suppression ends by itself.
            if state.is_empty() || state.contains(&finding.state) {
                count += 1;
                if take(finding).is_break() {
                    break;
                }
            }
            if count >= most {
                break;
            }
        }
        Ok(())
    }

    /// The finding with this id, or the only one that begins with it.
    pub fn finding(&mut self, id: &str) -> Result<Option<FindingRow>, StoreError> {
        let Some(connection) = &self.findings else { return Ok(None) };
        let failed = database("look for a finding", FINDINGS_FILE.as_ref());
        let sql = format!("SELECT {COLUMNS} FROM findings WHERE substr(id, 1, ?2) = ?1 LIMIT 2");
        let mut statement = connection.prepare_cached(&sql).map_err(&failed)?;
        let now = nanoseconds(jiff::Timestamp::now());
        let rows =
            statement.query_map((id, signed(id.len() as u64)), |row| finding(row, now)).map_err(&failed)?;
        let mut found = rows.collect::<Result<Vec<_>, _>>().map_err(&failed)?;
        if found.len() > 1 {
            return Err(StoreError::Usage(format!("more than one finding begins with {id}")));
        }
        Ok(found.pop())
    }

    /// How far a sink has read a stream; see [`super::super::Writer::advance`].
    pub fn position(&mut self, sink: &str, stream: &str) -> Result<Option<u64>, StoreError> {
        let Some(connection) = &self.findings else { return Ok(None) };
        connection
            .prepare_cached("SELECT position FROM cursors WHERE sink = ? AND stream = ?")
            .and_then(|mut statement| statement.query_row((sink, stream), |row| row.get(0)).optional())
            .map(|position| position.map(unsigned))
            .map_err(database("read how far a sink is", FINDINGS_FILE.as_ref()))
    }

    /// Entries of the journal after `entry`, oldest first: acts, findings as they were told, files, runs.
    pub fn journal(&mut self, after: u64, limit: usize) -> Result<Vec<(u64, String)>, StoreError> {
        let Some(connection) = &self.findings else { return Ok(Vec::new()) };
        let failed = database("read the journal", FINDINGS_FILE.as_ref());
        let mut statement = connection
            .prepare_cached("SELECT entry, line FROM journal WHERE entry > ? ORDER BY entry LIMIT ?")
            .map_err(&failed)?;
        let rows = statement
            .query_map((signed(after), signed(limit.min(LIMIT_MAX) as u64)), |row| {
                Ok((unsigned(row.get(0)?), row.get(1)?))
            })
            .map_err(&failed)?;
        rows.collect::<Result<_, _>>().map_err(&failed)
    }
}

fn finding(row: &rusqlite::Row<'_>, now: i64) -> rusqlite::Result<FindingRow> {
    let state: String = row.get(2)?;
    let mut state = FindingState::ALL.into_iter().find(|one| one.name() == state).unwrap_or_default();
    let until: Option<i64> = row.get(7)?;
    let mut handling: Option<String> = row.get(6)?;
    if state == FindingState::Suppressed && until.is_none_or(|until| until <= now) {
        (state, handling) = (FindingState::Open, None);
    }
    let line: String = row.get(5)?;
    let count = unsigned(row.get(3)?);
    let last_seen = timestamp(row.get(4)?);
    Ok(FindingRow {
        id: row.get(0)?,
        state,
        change: unsigned(row.get(1)?),
        line: present(&line, state, count, &format!("{last_seen:.9}"), handling.as_deref()),
    })
}

/// The line with what has changed since. The changed fields stand before anything that stems from a monitored
/// process, so the first of each name is the right one.
fn present(line: &str, state: FindingState, count: u64, last_seen: &str, handling: Option<&str>) -> String {
    let mut line = line.to_owned();
    let mut set = |name: &str, value: &str| {
        let key = format!("\"{name}\":");
        if let Some(at) = line.find(&key) {
            let begin = at + key.len();
            let end = line[begin..].find(',').map_or(line.len(), |length| begin + length);
            line.replace_range(begin..end, value);
        }
    };
    set("state", &format!("\"{}\"", state.name()));
    set("last_seen", &format!("\"{last_seen}\""));
    set("count", &count.to_string());
    if let Some(handling) = handling
        && line.ends_with('}')
    {
        line.pop();
        line.push_str(",\"handling\":");
        line.push_str(handling);
        line.push('}');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{json, sample};

    #[test]
    fn the_present_line_keeps_to_the_contract() {
        let mut line = Vec::new();
        json::finding(&mut line, &sample::origin(), &sample::findings()[1]);
        let line = String::from_utf8(line).unwrap();
        let line = present(
            line.trim_end(),
            FindingState::Acknowledged,
            77,
            "2026-11-20T10:00:00.000000000Z",
            Some("{\"uid\":0}"),
        );
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["state"], "acknowledged");
        assert_eq!(value["count"], 77);
        assert_eq!(value["last_seen"], "2026-11-20T10:00:00.000000000Z");
        assert_eq!(value["handling"]["uid"], 0);
        assert!(value["message"].is_string());
    }
}
