//! Findings in their table: told, counted, suppressed; and what operators' acts do to them.

use jiff::{SignedDuration, Timestamp};
use rusqlite::OptionalExtension as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::HashMap};

use super::{
    super::{
        Act, Actor, StoreError,
        chain::Digest,
        columns::{nanoseconds, signed},
        journal::{Draft, Journal, Word},
        queue,
        schema::database,
    },
    keeper::Keeper,
};
use crate::{
    event::{Finding, FindingState, Rule},
    render::json,
};

/// A suppression lasts no longer than a year: what nobody confirms again is told again.
const SUPPRESSED_MAX: SignedDuration = SignedDuration::from_hours(366 * 24);
/// Text of an operator, in bytes.
const WORDS_MAX: usize = 4096;

/// Who dealt with a finding, as its line says.
#[derive(Serialize)]
struct Handling<'a> {
    uid: u32,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

/// What of a finding's line makes another one like it, and what it is asked for by.
#[derive(Deserialize)]
struct Likeness<'a> {
    rule: &'a str,
    kind: &'a str,
    #[serde(borrow)]
    workload: Id<'a>,
    process: Uid,
    #[serde(borrow)]
    decision: Source<'a>,
    file: Option<Path<'a>>,
    exec: Option<Program<'a>>,
    network: Option<Peer<'a>>,
    coverage: Option<Cause<'a>>,
}

#[derive(Deserialize)]
struct Id<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Uid {
    uid: u32,
}

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(borrow)]
    source: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Path<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Program<'a> {
    #[serde(borrow)]
    executable: Path<'a>,
    script: Option<Path<'a>>,
}

#[derive(Deserialize)]
struct Peer<'a> {
    address: Option<Cow<'a, str>>,
    port: Option<u16>,
    path: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    #[serde(rename = "abstract")]
    abstract_name: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Cause<'a> {
    #[serde(borrow)]
    cause: Cow<'a, str>,
}

impl Likeness<'_> {
    /// The same for findings that one suppression is meant for: rule, workload, what decided, and target.
    fn text(&self) -> String {
        let target = if let Some(file) = &self.file {
            file.path.to_string()
        } else if let Some(exec) = &self.exec {
            exec.script.as_ref().unwrap_or(&exec.executable).path.to_string()
        } else if let Some(peer) = &self.network {
            let host = peer.name.as_deref().or(peer.address.as_deref());
            let host = host.or(peer.path.as_deref()).or(peer.abstract_name.as_deref());
            format!("{}:{}", host.unwrap_or_default(), peer.port.unwrap_or(0))
        } else if let Some(coverage) = &self.coverage {
            coverage.cause.to_string()
        } else {
            String::new()
        };
        let all = [self.rule, self.kind, &self.workload.id, &self.decision.source, &target].join("\0");
        hex::encode(&Digest::of(all.as_bytes()).0[..16])
    }
}

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
            let handling =
                if may_be_suppressed(finding.rule.id()) { suppression(draft, now, &text)? } else { None };
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
                && suppression(draft, now, &known.likeness)?.is_none();
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

fn tell(draft: &mut Draft<'_>, now: Timestamp, line: &str) -> rusqlite::Result<u64> {
    let finding = RawValue::from_string(line.to_owned())
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    draft.say(now, Word::Finding { finding })
}

/// The handling of a suppression that holds now.
fn suppression(draft: &Draft<'_>, now: Timestamp, likeness: &str) -> rusqlite::Result<Option<String>> {
    draft
        .connection
        .prepare_cached("SELECT handling FROM suppressions WHERE likeness = ? AND until > ?")?
        .query_row((likeness, nanoseconds(now)), |row| row.get(0))
        .optional()
}

/// A monitor that is blind or tampered with says so, whoever wants it silent.
fn may_be_suppressed(rule: &str) -> bool {
    rule != Rule::CoverageLoss.id() && rule != "monitor-tamper"
}

/// The line with another state. It stands before anything that stems from a monitored process.
fn with_state(line: &str, state: FindingState) -> String {
    line.replacen("\"state\":\"open\"", &format!("\"state\":\"{}\"", state.name()), 1)
}

fn count_of(line: &str) -> u64 {
    #[derive(Deserialize)]
    struct Counted {
        count: u64,
    }
    serde_json::from_str::<Counted>(line).map_or(1, |counted| counted.count.max(1))
}

/// Writes an act into the journal, and does to findings what it says.
pub(super) fn act(journal: &mut Journal, now: Timestamp, actor: Actor, act: Act) -> Result<u64, StoreError> {
    let failed = database("record an act", &journal.path);
    check(&act, now)?;
    journal.write(now, |draft| {
        let handle = |reason: Option<&str>, until: Option<Timestamp>| {
            serde_json::to_string(&Handling { uid: actor.uid, time: now, reason, until }).unwrap_or_default()
        };
        let mut act = act;
        match &mut act {
            Act::Acknowledge { finding, note } => {
                let handling = handle(note.as_deref(), None);
                settle(draft, finding, FindingState::Acknowledged, Some(&handling))?;
            }
            Act::Close { finding, note } => {
                let handling = handle(note.as_deref(), None);
                settle(draft, finding, FindingState::Closed, Some(&handling))?;
            }
            Act::Suppress { finding, reason, until } => {
                let handling = handle(Some(reason), Some(*until));
                let (likeness, rule) = settle(draft, finding, FindingState::Suppressed, Some(&handling))?;
                if !may_be_suppressed(&rule) {
                    return Err(StoreError::Usage(format!(
                        "a finding of {rule} cannot be suppressed: it says that the monitor does not see everything. \
                         Acknowledge it"
                    )));
                }
                draft
                    .connection
                    .execute(
                        "INSERT OR REPLACE INTO suppressions(likeness, finding, until, handling) VALUES (?, ?, ?, ?)",
                        (likeness, &*finding, nanoseconds(*until), handling),
                    )
                    .map_err(&failed)?;
            }
            Act::Reopen { finding } => {
                let (likeness, _) = settle(draft, finding, FindingState::Open, None)?;
                draft
                    .connection
                    .execute("DELETE FROM suppressions WHERE likeness = ?", [likeness])
                    .map_err(&failed)?;
            }
            Act::Promote { .. }
            | Act::Configuration { .. }
            | Act::Pause { .. }
            | Act::Resume { .. }
            | Act::Query { .. } => {}
        }
        draft.say(now, Word::Act { actor, act }).map_err(&failed)
    })
}

fn check(act: &Act, now: Timestamp) -> Result<(), StoreError> {
    let words: &[&str] = match act {
        Act::Acknowledge { finding, note } | Act::Close { finding, note } => {
            &[finding, note.as_deref().unwrap_or_default()]
        }
        Act::Reopen { finding } => &[finding],
        Act::Suppress { finding, reason, until } => {
            if reason.trim().is_empty() {
                return Err(StoreError::Usage("a suppression needs a reason".into()));
            }
            if *until <= now {
                return Err(StoreError::Usage("a suppression must end in the future".into()));
            }
            if until.duration_since(now) > SUPPRESSED_MAX {
                return Err(StoreError::Usage("a suppression lasts a year at most".into()));
            }
            &[finding, reason]
        }
        Act::Promote { workload, what } => &[workload, what],
        Act::Configuration { what } | Act::Query { what } => &[what],
        Act::Pause { workload, instance, reason } | Act::Resume { workload, instance, reason } => {
            &[workload, instance, reason]
        }
    };
    if words.iter().any(|words| words.len() > WORDS_MAX) {
        return Err(StoreError::Usage(format!("no text of an act is longer than {WORDS_MAX} bytes")));
    }
    Ok(())
}

/// Gives a finding a state; `id` may be an unambiguous beginning and becomes the whole. Tells its likeness and rule.
fn settle(
    draft: &mut Draft<'_>,
    id: &mut String,
    state: FindingState,
    handling: Option<&str>,
) -> Result<(String, String), StoreError> {
    if id.is_empty() {
        return Err(StoreError::Usage("name a finding by its id, or by its beginning".into()));
    }
    let failed = |source| StoreError::Database {
        what: "settle a finding",
        path: super::super::files::FINDINGS_FILE.into(),
        source,
    };
    let found = {
        let mut statement = draft
            .connection
            .prepare_cached("SELECT id, likeness, rule FROM findings WHERE substr(id, 1, ?2) = ?1 LIMIT 2")
            .map_err(failed)?;
        let rows = statement
            .query_map((&*id, signed(id.len() as u64)), |row| {
                Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?))
            })
            .map_err(failed)?;
        rows.collect::<Result<Vec<(String, String, String)>, _>>().map_err(failed)?
    };
    let [(whole, likeness, rule)] = <[_; 1]>::try_from(found).map_err(|found| match found.len() {
        0 => StoreError::NoFinding(id.clone()),
        _ => StoreError::Usage(format!("more than one finding begins with {id}")),
    })?;
    let change = signed(draft.change());
    draft
        .connection
        .execute(
            "UPDATE findings SET state = ?2, handling = ?3, change = ?4 WHERE id = ?1",
            (&whole, state.name(), handling, change),
        )
        .map_err(failed)?;
    *id = whole;
    Ok((likeness, rule))
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
        let likeness: Likeness<'_> = serde_json::from_str(&line).unwrap();
        assert_eq!(likeness.text().len(), 32);
    }
}
