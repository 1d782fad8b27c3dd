//! What operators do: into the journal, and done to findings as it says.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{
    super::{
        Act, Actor, StoreError,
        columns::{nanoseconds, signed},
        files::FINDINGS_FILE,
        journal::{Draft, Journal, Word},
        schema::database,
    },
    findings::{tell, with_state},
    likeness::{may_be_suppressed, scope},
};
use crate::event::{FindingState, Rule};

/// A suppression lasts no longer than a year: what nobody confirms again is told again.
const SUPPRESSED_MAX: SignedDuration = SignedDuration::from_hours(366 * 24);
/// Text of an operator, in bytes.
const WORDS_MAX: usize = 4096;
/// Findings that one act concerns at most.
const CONCERNED_MAX: usize = 4096;

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
                refuse_silence(&rule)?;
                keep(draft, &likeness, finding, *until, &handling)?;
            }
            Act::SuppressScope { rule, workload, reason, until } => {
                let handling = handle(Some(reason), Some(*until));
                keep(draft, &scope(rule, workload), "", *until, &handling)?;
                let from = [FindingState::Open, FindingState::Acknowledged];
                settle_all(draft, now, (rule, workload), &from, FindingState::Suppressed, Some(&handling))?;
            }
            Act::UnsuppressScope { rule, workload, .. } => {
                let ended = draft
                    .connection
                    .execute("DELETE FROM suppressions WHERE likeness = ?", [scope(rule, workload)])
                    .map_err(&failed)?;
                if ended == 0 {
                    return Err(StoreError::NoSuppression(scope(rule, workload)));
                }
                let from = [FindingState::Suppressed];
                settle_all(draft, now, (rule, workload), &from, FindingState::Open, None)?;
            }
            Act::Reopen { finding, .. } => {
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

fn refuse_silence(rule: &str) -> Result<(), StoreError> {
    if may_be_suppressed(rule) {
        return Ok(());
    }
    Err(StoreError::Usage(format!(
        "a finding of {rule} cannot be suppressed: it says that the monitor does not see everything. Acknowledge it"
    )))
}

fn keep(
    draft: &Draft<'_>,
    likeness: &str,
    finding: &str,
    until: Timestamp,
    handling: &str,
) -> Result<(), StoreError> {
    draft
        .connection
        .prepare_cached(
            "INSERT OR REPLACE INTO suppressions(likeness, finding, until, handling) VALUES (?, ?, ?, ?)",
        )
        .and_then(|mut statement| statement.execute((likeness, finding, nanoseconds(until), handling)))
        .map_err(database("keep a suppression", FINDINGS_FILE.as_ref()))?;
    Ok(())
}

fn check(act: &Act, now: Timestamp) -> Result<(), StoreError> {
    let lasting = |reason: &str, until: Timestamp| {
        if reason.trim().is_empty() {
            return Err(StoreError::Usage("a suppression needs a reason".into()));
        }
        if until <= now {
            return Err(StoreError::Usage("a suppression must end in the future".into()));
        }
        if until.duration_since(now) > SUPPRESSED_MAX {
            return Err(StoreError::Usage("a suppression lasts a year at most".into()));
        }
        Ok(())
    };
    let known = |rule: &str| {
        if Rule::ALL.iter().any(|known| known.id() == rule) {
            return Ok(());
        }
        let all = Rule::ALL.map(Rule::id).join(", ");
        Err(StoreError::Usage(format!("no rule is called {rule}; there are {all}")))
    };
    let words: &[&str] = match act {
        Act::Acknowledge { finding, note } | Act::Close { finding, note } | Act::Reopen { finding, note } => {
            &[finding, note.as_deref().unwrap_or_default()]
        }
        Act::Suppress { finding, reason, until } => {
            lasting(reason, *until)?;
            &[finding, reason]
        }
        Act::SuppressScope { rule, workload, reason, until } => {
            lasting(reason, *until)?;
            known(rule)?;
            refuse_silence(rule)?;
            if workload.is_empty() {
                return Err(StoreError::Usage("name the workload by its name or id".into()));
            }
            &[workload, reason]
        }
        Act::UnsuppressScope { rule, workload, note } => {
            known(rule)?;
            &[workload, note.as_deref().unwrap_or_default()]
        }
        Act::Promote { workload, what } => &[workload, what],
        Act::Configuration { what } | Act::Query { what, .. } => &[what],
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
    let failed = database("settle a finding", FINDINGS_FILE.as_ref());
    let found = {
        let mut statement = draft
            .connection
            .prepare_cached("SELECT id, likeness, rule FROM findings WHERE substr(id, 1, ?2) = ?1 LIMIT 2")
            .map_err(&failed)?;
        let rows = statement
            .query_map((&*id, signed(id.len() as u64)), |row| {
                Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?))
            })
            .map_err(&failed)?;
        rows.collect::<Result<Vec<(String, String, String)>, _>>().map_err(&failed)?
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
        .map_err(&failed)?;
    *id = whole;
    Ok((likeness, rule))
}

/// Gives a state to the findings of a rule and a workload that are in one of the states `from`: each is told again, so
/// that the journal says of each where it stands.
fn settle_all(
    draft: &mut Draft<'_>,
    now: Timestamp,
    (rule, workload): (&str, &str),
    from: &[FindingState],
    state: FindingState,
    handling: Option<&str>,
) -> Result<(), StoreError> {
    let failed = database("settle findings", FINDINGS_FILE.as_ref());
    let from: Vec<&str> = from.iter().map(|state| state.name()).collect();
    let concerned = {
        let mut statement = draft
            .connection
            .prepare_cached(
                "SELECT id, line, state FROM findings
                 WHERE rule = ?1 AND (workload = ?2 OR workload_name = ?2) AND state IN (?3, ?4)
                 ORDER BY last_seen DESC LIMIT ?5",
            )
            .map_err(&failed)?;
        let (one, other) = (from[0], from[from.len() - 1]);
        let rows = statement
            .query_map((rule, workload, one, other, signed(CONCERNED_MAX as u64)), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .map_err(&failed)?;
        rows.collect::<Result<Vec<(String, String)>, _>>().map_err(&failed)?
    };
    for (id, line) in concerned {
        let line = with_state(&line, state);
        let entry = tell(draft, now, &line).map_err(&failed)?;
        let change = signed(draft.change());
        draft
            .connection
            .prepare_cached(
                "UPDATE findings SET state = ?2, handling = ?3, change = ?4, entry = ?5, line = ?6 WHERE id = ?1",
            )
            .and_then(|mut statement| {
                statement.execute((&id, state.name(), handling, change, signed(entry), &line))
            })
            .map_err(&failed)?;
    }
    Ok(())
}
