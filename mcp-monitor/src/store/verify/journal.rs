//! The journal: every entry in the chain, every finding as its latest entry says.

use std::{collections::HashMap, path::Path};

use rusqlite::Connection;
use serde::Deserialize;

use super::{
    super::{
        StoreError,
        chain::{Chain, Digest, PublicKey, link},
        columns::{nanoseconds, signed, unsigned},
        files::FINDINGS_FILE,
        journal::{EntryView, checkpoint_of, head},
        schema::database,
    },
    Verification,
    against::Against,
};

/// What the journal tells of the files of events, in its order.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) files: Vec<FileWord>,
    /// Rows that were signed and lost: from, through, and whether the host had lost its power.
    pub(super) lost: Vec<(u64, u64, bool)>,
    /// The first entries are gone, and with them what they said.
    pub(super) pruned: bool,
}

/// A file of events, as the journal tells.
#[derive(Clone, Debug)]
pub(super) struct FileWord {
    pub(super) name: String,
    pub(super) first_row: u64,
    pub(super) previous: Digest,
    /// Its last row and link when it expired.
    pub(super) expired: Option<(u64, Digest)>,
    pub(super) damaged: bool,
}

#[derive(Deserialize)]
struct Told<'a> {
    id: &'a str,
    state: &'a str,
}

/// Verifies the journal and the findings.
pub(super) fn verify(
    connection: &Connection,
    path: &Path,
    key: &PublicKey,
    store: &str,
    result: &mut Verification,
    mut sent: Option<&mut Against>,
) -> Result<History, StoreError> {
    let failed = database("verify the journal", path);
    let broken = |result: &mut Verification, entry: u64, what: &str| {
        result.problem(FINDINGS_FILE, None, format!("journal entry {entry} {what}"));
    };
    let end = head(connection, Chain::Journal).map_err(&failed)?;
    let checkpoints: HashMap<u64, _> = {
        let mut statement = connection
            .prepare("SELECT entry, time, hash, signature FROM checkpoints ORDER BY entry")
            .map_err(&failed)?;
        let rows =
            statement.query_map([], |row| checkpoint_of(row, store, Chain::Journal)).map_err(&failed)?;
        rows.map(|one| one.map(|one| (one.row, one))).collect::<Result<_, _>>().map_err(&failed)?
    };
    for checkpoint in checkpoints.values() {
        if checkpoint.is_signed_by(key) {
            result.signatures += 1;
        } else {
            broken(result, checkpoint.row, "has a checkpoint that this key did not sign");
        }
    }
    let mut history = History::default();
    let mut states: HashMap<String, (String, u64)> = HashMap::new();
    let (mut expected, mut hash) = (1, Digest::default());
    let mut statement =
        connection.prepare("SELECT entry, time, line, hash FROM journal ORDER BY entry").map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    while let Some(row) = rows.next().map_err(&failed)? {
        let number = unsigned(row.get(0).map_err(&failed)?);
        let time: i64 = row.get(1).map_err(&failed)?;
        let line: String = row.get(2).map_err(&failed)?;
        let stored = Digest::from_slice(&row.get::<_, Vec<u8>>(3).map_err(&failed)?).unwrap_or_default();
        if number > expected {
            // Pruning leaves the checkpoint of the last entry that went.
            let anchor = checkpoints.get(&(number - 1)).filter(|_| expected == 1);
            if let Some(anchor) = anchor {
                hash = anchor.hash;
                history.pruned = true;
                result.note(format!("journal entries up to {} were deleted for their age", number - 1));
            } else {
                let missing = if number - 1 == expected {
                    "is missing".to_owned()
                } else {
                    format!("and all up to {} are missing", number - 1)
                };
                broken(result, expected, &missing);
            }
        }
        let next = link(hash, number, Digest::of(line.as_bytes()));
        if next == stored {
            result.entries += 1;
        } else if expected == number || history.pruned {
            broken(result, number, "is not what was recorded");
        }
        // Goes on from what is there, so that what comes later is judged by itself.
        hash = stored;
        expected = number + 1;
        if let Some(checkpoint) = checkpoints.get(&number)
            && checkpoint.hash != stored
        {
            broken(result, number, "is not what was signed");
        }
        match serde_json::from_str::<EntryView<'_>>(&line) {
            Ok(entry) if entry.entry == number && nanoseconds(entry.time) == time => {
                take(&entry, &mut history, &mut states, sent.as_deref_mut());
            }
            _ => broken(result, number, "does not say what its place says"),
        }
    }
    drop(rows);
    drop(statement);
    let last = expected - 1;
    match end {
        None if last > 0 => broken(result, last, "is not signed: the signed end is gone"),
        None => {}
        Some(end) if !end.is_signed_by(key) => {
            broken(result, end.row, "is the end by a signature that is not of this key");
        }
        Some(end) if end.row > last => {
            broken(result, last + 1, &format!("and all up to {} were signed and are cut off", end.row));
        }
        Some(end) if end.row == last && end.hash != hash => {
            broken(result, last, "is not what was signed as the end");
        }
        Some(_) => result.signatures += 1,
    }
    findings(connection, path, &history, &states, result)?;
    Ok(history)
}

fn take(
    entry: &EntryView<'_>,
    history: &mut History,
    states: &mut HashMap<String, (String, u64)>,
    sent: Option<&mut Against>,
) {
    let name = || entry.name.unwrap_or_default().to_owned();
    match entry.kind {
        "file" => history.files.push(FileWord {
            name: name(),
            first_row: entry.first_row.unwrap_or(0),
            previous: entry.previous.unwrap_or_default(),
            expired: None,
            damaged: false,
        }),
        "expired" => {
            let end = (entry.last_row.unwrap_or(0), entry.hash.unwrap_or_default());
            if let Some(file) = history.files.iter_mut().rev().find(|file| file.name == name()) {
                file.expired = Some(end);
            } else {
                // Its beginning was told in an entry that is deleted.
                history.files.push(FileWord {
                    name: name(),
                    first_row: entry.first_row.unwrap_or(0),
                    previous: entry.previous.unwrap_or_default(),
                    expired: Some(end),
                    damaged: false,
                });
            }
        }
        "damaged" => {
            if let Some(file) = history.files.iter_mut().rev().find(|file| file.name == name()) {
                file.damaged = true;
            }
        }
        "lost" => history.lost.push((
            entry.from.unwrap_or(0),
            entry.through.unwrap_or(0),
            entry.power.unwrap_or(false),
        )),
        "finding" => {
            let told = entry.finding.map(serde_json::value::RawValue::get);
            if let Some(told) = told.and_then(|told| serde_json::from_str::<Told<'_>>(told).ok()) {
                if let Some(sent) = sent {
                    sent.finding(told.id);
                }
                states.insert(told.id.to_owned(), (told.state.to_owned(), entry.entry));
            }
        }
        "act" => {
            let state = match entry.act {
                Some("acknowledge") => "acknowledged",
                Some("suppress") => "suppressed",
                Some("close") => "closed",
                Some("reopen") => "open",
                _ => return,
            };
            let id = entry.finding.and_then(|id| serde_json::from_str::<String>(id.get()).ok());
            if let Some(known) = id.and_then(|id| states.get_mut(&id)) {
                state.clone_into(&mut known.0);
            }
        }
        _ => {}
    }
}

/// Each finding's row against what the journal says of it last.
fn findings(
    connection: &Connection,
    path: &Path,
    history: &History,
    states: &HashMap<String, (String, u64)>,
    result: &mut Verification,
) -> Result<(), StoreError> {
    let failed = database("verify the findings", path);
    let mut statement =
        connection.prepare("SELECT id, entry, state, line FROM findings ORDER BY id").map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    let mut seen = 0;
    while let Some(row) = rows.next().map_err(&failed)? {
        let id: String = row.get(0).map_err(&failed)?;
        let entry = unsigned(row.get(1).map_err(&failed)?);
        let (state, line): (String, String) = (row.get(2).map_err(&failed)?, row.get(3).map_err(&failed)?);
        if entry == 0 {
            // Its proof was deleted for its age.
            continue;
        }
        let Some((told, told_at)) = states.get(&id) else {
            result.problem(FINDINGS_FILE, None, format!("finding {id} was never told in the journal"));
            continue;
        };
        seen += 1;
        if *told != state {
            let what = format!("finding {id} is said to be {state}, and by the journal it is {told}");
            result.problem(FINDINGS_FILE, None, what);
        }
        let proof: Option<String> = connection
            .prepare_cached("SELECT line FROM journal WHERE entry = ?")
            .and_then(|mut statement| statement.query_row([signed(entry)], |row| row.get(0)))
            .ok();
        let same = entry == *told_at && proof.is_some_and(|proof| proof.contains(&line));
        if !same {
            let what = format!("finding {id} is not what journal entry {told_at} told of it");
            result.problem(FINDINGS_FILE, None, what);
        }
    }
    drop(rows);
    if seen < states.len() && !history.pruned {
        let exists = "SELECT 1 FROM findings WHERE id = ?";
        let mut statement = connection.prepare(exists).map_err(&failed)?;
        for (id, (_, entry)) in states {
            if !statement.exists([id]).map_err(&failed)? {
                let what = format!("finding {id}, told in journal entry {entry}, is gone");
                result.problem(FINDINGS_FILE, None, what);
            }
        }
    }
    Ok(())
}
