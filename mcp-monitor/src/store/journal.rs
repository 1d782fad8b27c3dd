//! `findings.db`: findings with their states, and the journal of everything that is not an event: findings as they were
//! told, acts of operators, files that were begun and unlinked, runs that began, ended and were killed.
//!
//! The journal is a chain of its own. A finding's row is the latest word of the journal about it; its count alone goes
//! on growing in between.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Act, Actor, StoreError,
    chain::{Chain, Checkpoint, Digest, Key, link},
    columns::{nanoseconds, signed, timestamp, unsigned},
    files::FINDINGS_FILE,
    schema::{self, database},
};

/// Schema of a journal entry.
pub const JOURNAL_SCHEMA: &str = "mcp-monitor/journal/v1";
/// Entries between two checkpoints that are kept.
const ENTRIES_PER_CHECKPOINT: u64 = 256;

/// What an entry says.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Word {
    /// A monitor began to record.
    Started { run: i64, boot: String, version: String },
    /// It ended as it should.
    Ended { run: i64 },
    /// An earlier one did not: what it had taken in and not stored.
    Killed { run: i64, last_stored: Timestamp, events_lost: u64, records_lost: u64 },
    /// A file of events was begun.
    File { name: String, first_row: u64, previous: Digest },
    /// A file of events was unlinked.
    Expired { name: String, first_row: u64, last_row: u64, previous: Digest, hash: Digest, reason: String },
    /// A file of events could not be read any more and was put aside.
    Damaged { name: String, what: String },
    /// Rows that were signed and are not there.
    Lost { from: u64, through: u64, power: bool },
    /// Recording stopped.
    Stopped { reason: String },
    /// Recording goes on; so many events were not stored.
    Resumed { events_lost: u64 },
    /// Older entries were deleted.
    Pruned { through: u64 },
    /// A finding is told, or told again.
    Finding { finding: Box<RawValue> },
    /// An operator did something.
    Act {
        actor: Actor,
        #[serde(flatten)]
        act: Act,
    },
}

/// An entry as it is written.
#[derive(Debug, Serialize)]
struct Entry {
    schema: &'static str,
    #[serde(rename = "entry")]
    number: u64,
    time: Timestamp,
    #[serde(flatten)]
    word: Word,
}

/// An entry as it is read: what of it is needed, whichever kind it is.
#[derive(Debug, Deserialize)]
pub(super) struct EntryView<'a> {
    pub(super) entry: u64,
    pub(super) time: Timestamp,
    pub(super) kind: &'a str,
    /// Of a finding its line, of an act its id.
    #[serde(borrow)]
    pub(super) finding: Option<&'a RawValue>,
    pub(super) act: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) first_row: Option<u64>,
    pub(super) last_row: Option<u64>,
    pub(super) previous: Option<Digest>,
    pub(super) hash: Option<Digest>,
    pub(super) from: Option<u64>,
    pub(super) through: Option<u64>,
    pub(super) power: Option<bool>,
}

/// The database.
pub(super) struct Journal {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    /// For what need not wait for the disk.
    relaxed: Connection,
    pub(super) key: Arc<Key>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
struct State {
    entry: u64,
    hash: Digest,
    change: u64,
    checkpoint: u64,
}

/// A transaction.
pub(super) struct Draft<'journal> {
    pub(super) connection: &'journal Connection,
    key: &'journal Key,
    state: State,
}

impl Journal {
    /// Opens or makes it, with the store's key.
    pub(super) fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FINDINGS_FILE);
        let connection = schema::open(&path, &schema::FINDINGS, true)?;
        let relaxed = schema::open(&path, &schema::FINDINGS, false)?;
        let failed = database("read the journal", &path);
        let fresh = hex::encode(uuid::Uuid::now_v7().as_bytes());
        connection
            .execute("INSERT OR IGNORE INTO meta(key, value) VALUES ('store', ?)", [fresh])
            .map_err(&failed)?;
        let store = store_id(&connection).map_err(&failed)?.unwrap_or_default();
        let key = Arc::new(Key::open_or_make(directory, store)?);
        let (entry, hash) = end(&connection).map_err(&failed)?;
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get(0)).map(unsigned);
        let change = number("SELECT coalesce(max(change), 0) FROM findings").map_err(&failed)?;
        let checkpoint = number("SELECT coalesce(max(entry), 0) FROM checkpoints").map_err(&failed)?;
        let state = State { entry, hash, change, checkpoint };
        Ok(Self { path, connection, relaxed, key, state })
    }

    /// Does `work` in one transaction and signs the journal's new end.
    pub(super) fn write<T>(
        &mut self,
        now: Timestamp,
        work: impl FnOnce(&mut Draft<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let failed = database("write to the journal", &self.path);
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(&failed)?;
        let mut draft = Draft { connection: &self.connection, key: &self.key, state: self.state };
        let result = work(&mut draft).and_then(|done| {
            if draft.state.entry > self.state.entry {
                draft.sign(now).map_err(&failed)?;
            }
            let state = draft.state;
            self.connection.execute_batch("COMMIT").map_err(&failed)?;
            Ok((done, state))
        });
        match result {
            Ok((done, state)) => {
                self.state = state;
                Ok(done)
            }
            Err(error) => {
                let _ = self.connection.execute_batch("ROLLBACK");
                Err(error)
            }
        }
    }

    /// Grows with each change of any finding.
    pub(super) fn changes(&self) -> u64 {
        self.state.change
    }

    /// One entry by itself.
    pub(super) fn say(&mut self, now: Timestamp, word: Word) -> Result<u64, StoreError> {
        let failed = database("write to the journal", &self.path);
        self.write(now, |draft| draft.say(now, word).map_err(&failed))
    }

    /// Notes the signed end of the rows, so that rows cannot be cut off the end of a file unseen.
    pub(super) fn head(&mut self, head: &Checkpoint) -> Result<(), StoreError> {
        store_head(&self.relaxed, head).map_err(database("note the end of the rows", &self.path))
    }

    /// Deletes what is older than `before`: findings that were last seen before it, and entries through the last
    /// checkpoint before it, which stays as the anchor of what follows.
    pub(super) fn prune(&mut self, now: Timestamp, before: Timestamp) -> Result<(), StoreError> {
        let failed = database("delete old findings", &self.path);
        let before = nanoseconds(before);
        let through: Option<i64> = self
            .connection
            .query_row("SELECT max(entry) FROM checkpoints WHERE time < ?", [before], |row| row.get(0))
            .map_err(&failed)?;
        let Some(through) = through else { return Ok(()) };
        let first: Option<i64> = self
            .connection
            .query_row("SELECT min(entry) FROM journal WHERE entry <= ?", [through], |row| row.get(0))
            .map_err(&failed)?;
        if first.is_none() {
            return Ok(());
        }
        self.write(now, |draft| {
            let delete = |sql: &str, before: i64| draft.connection.execute(sql, [before]).map_err(&failed);
            delete("DELETE FROM findings WHERE last_seen < ?", before)?;
            delete("DELETE FROM suppressions WHERE until < ?", before)?;
            // What is still shown was said later, or its finding is kept with the entry that is its proof.
            delete("UPDATE findings SET entry = 0 WHERE entry <= ?", through)?;
            delete("DELETE FROM journal WHERE entry <= ?", through)?;
            delete("DELETE FROM checkpoints WHERE entry < ?", through)?;
            draft.say(now, Word::Pruned { through: unsigned(through) }).map_err(&failed)
        })?;
        Ok(())
    }
}

impl Draft<'_> {
    /// Adds an entry.
    pub(super) fn say(&mut self, now: Timestamp, word: Word) -> rusqlite::Result<u64> {
        let entry = self.state.entry + 1;
        let line = serde_json::to_string(&Entry { schema: JOURNAL_SCHEMA, number: entry, time: now, word })
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let hash = link(self.state.hash, entry, Digest::of(line.as_bytes()));
        self.connection
            .prepare_cached("INSERT INTO journal(entry, time, line, hash) VALUES (?, ?, ?, ?)")?
            .execute((signed(entry), nanoseconds(now), line, hash.0))?;
        (self.state.entry, self.state.hash) = (entry, hash);
        Ok(entry)
    }

    /// The number of the next change of a finding.
    pub(super) fn change(&mut self) -> u64 {
        self.state.change += 1;
        self.state.change
    }

    fn sign(&mut self, now: Timestamp) -> rusqlite::Result<()> {
        let checkpoint = self.key.sign(Chain::Journal, self.state.entry, self.state.hash, now);
        store_head(self.connection, &checkpoint)?;
        if self.state.entry >= self.state.checkpoint + ENTRIES_PER_CHECKPOINT || self.state.checkpoint == 0 {
            self.connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO checkpoints(entry, time, hash, signature) VALUES (?, ?, ?, ?)",
                )?
                .execute((
                    signed(checkpoint.row),
                    nanoseconds(now),
                    checkpoint.hash.0,
                    hex::decode(&checkpoint.signature).unwrap_or_default(),
                ))?;
            self.state.checkpoint = self.state.entry;
        }
        Ok(())
    }
}

/// The store's id, hexadecimal.
pub(super) fn store_id(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT value FROM meta WHERE key = 'store'", [], |row| row.get(0)).optional()
}

/// The last entry and its link; those of an empty journal if there is none.
fn end(connection: &Connection) -> rusqlite::Result<(u64, Digest)> {
    let end = connection
        .query_row("SELECT entry, hash FROM journal ORDER BY entry DESC LIMIT 1", [], |row| {
            Ok((unsigned(row.get(0)?), row.get::<_, Vec<u8>>(1)?))
        })
        .optional()?;
    Ok(end.map_or((0, Digest::default()), |(entry, hash)| {
        (entry, Digest::from_slice(&hash).unwrap_or_default())
    }))
}

fn store_head(connection: &Connection, head: &Checkpoint) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO heads(chain, row, time, hash, signature) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute((
            head.chain.name(),
            signed(head.row),
            nanoseconds(head.time),
            head.hash.0,
            hex::decode(&head.signature).unwrap_or_default(),
        ))?;
    Ok(())
}

/// The signed end of a chain.
pub(super) fn head(connection: &Connection, chain: Chain) -> rusqlite::Result<Option<Checkpoint>> {
    let store = store_id(connection)?.unwrap_or_default();
    connection
        .query_row("SELECT row, time, hash, signature FROM heads WHERE chain = ?", [chain.name()], |row| {
            checkpoint_of(row, &store, chain)
        })
        .optional()
}

/// A checkpoint from the columns row, time, hash, signature.
pub(super) fn checkpoint_of(
    row: &rusqlite::Row<'_>,
    store: &str,
    chain: Chain,
) -> rusqlite::Result<Checkpoint> {
    Ok(Checkpoint {
        schema: super::chain::CHECKPOINT_SCHEMA.into(),
        store: store.to_owned(),
        chain,
        row: unsigned(row.get(0)?),
        time: timestamp(row.get(1)?),
        hash: Digest::from_slice(&row.get::<_, Vec<u8>>(2)?).unwrap_or_default(),
        signature: hex::encode(row.get::<_, Vec<u8>>(3)?),
    })
}

/// How far a running monitor has come, in a file of its own: the page cache outlives the process, so it is true to the
/// last write also when the monitor is killed.
pub(super) struct InFlight {
    file: fs::File,
    path: PathBuf,
    last: Vec<u8>,
}

/// What [`InFlight`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) boot: String,
    pub(super) run: i64,
    /// Events that were given to the store.
    pub(super) given: u64,
    /// The last record of each lane that was read.
    pub(super) lanes: std::collections::HashMap<u32, u64>,
}

impl InFlight {
    fn path(directory: &Path) -> PathBuf {
        directory.join("in-flight")
    }

    /// Opens it for a new run.
    pub(super) fn create(directory: &Path) -> Result<Self, StoreError> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = Self::path(directory);
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| StoreError::File { what: "write", path: path.clone(), source })?;
        Ok(Self { file, path, last: Vec::new() })
    }

    /// Notes how far things are. One write of a few hundred bytes, and none when nothing changed.
    pub(super) fn note(&mut self, flight: &Flight) -> Result<(), StoreError> {
        use std::{io::Write as _, os::unix::fs::FileExt as _};
        let mut lanes: Vec<_> = flight.lanes.iter().collect();
        lanes.sort_unstable();
        let mut text = Vec::with_capacity(self.last.len());
        // Writing into memory does not fail.
        let _ = writeln!(text, "boot {}\nrun {}\ngiven {}", flight.boot, flight.run, flight.given);
        for (lane, sequence) in lanes {
            let _ = writeln!(text, "lane {lane} {sequence}");
        }
        text.extend_from_slice(b"end\n");
        if text == self.last {
            return Ok(());
        }
        // Numbers only grow, so a shorter text never leaves the tail of a longer one behind; "end" stands last.
        self.file.write_all_at(&text, 0).map_err(|source| StoreError::File {
            what: "write",
            path: self.path.clone(),
            source,
        })?;
        self.last = text;
        Ok(())
    }

    /// What an earlier run left; nothing when there is none or it makes no sense.
    pub(super) fn read(directory: &Path) -> Option<Flight> {
        let text = fs::read_to_string(Self::path(directory)).ok()?;
        let mut flight = Flight::default();
        for line in text.lines() {
            let mut words = line.split(' ');
            match (words.next()?, words.next(), words.next()) {
                ("boot", Some(boot), None) => boot.clone_into(&mut flight.boot),
                ("run", Some(run), None) => flight.run = run.parse().ok()?,
                ("given", Some(given), None) => flight.given = given.parse().ok()?,
                ("lane", Some(lane), Some(sequence)) => {
                    flight.lanes.insert(lane.parse().ok()?, sequence.parse().ok()?);
                }
                ("end", None, None) => return Some(flight),
                _ => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_fails_leaves_the_chain_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(directory.path()).unwrap();
        let now = Timestamp::now();
        journal.say(now, Word::Stopped { reason: "one".into() }).unwrap();
        let failed: Result<(), _> = journal.write(now, |draft| {
            draft.say(now, Word::Stopped { reason: "two".into() }).unwrap();
            Err(StoreError::Usage("no".into()))
        });
        assert!(failed.is_err());
        assert_eq!(journal.say(now, Word::Resumed { events_lost: 2 }).unwrap(), 2);
        let head = head(&journal.connection, Chain::Journal).unwrap().unwrap();
        assert_eq!(head.row, 2);
        assert!(head.is_signed_by(&journal.key.public()));
        drop(journal);
        let mut journal = Journal::open(directory.path()).unwrap();
        assert_eq!(journal.say(now, Word::Ended { run: 1 }).unwrap(), 3);
    }

    #[test]
    fn what_was_in_flight_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let mut in_flight = InFlight::create(directory.path()).unwrap();
        let mut flight = Flight { boot: "b-1".into(), run: 3, given: 7, lanes: [(0, 9), (5, 123)].into() };
        in_flight.note(&flight).unwrap();
        flight.given = 1_000_000;
        in_flight.note(&flight).unwrap();
        assert_eq!(InFlight::read(directory.path()), Some(flight));
        fs::write(directory.path().join("in-flight"), "boot x\nrun 3\ngiv").unwrap();
        assert_eq!(InFlight::read(directory.path()), None);
    }

    #[test]
    fn old_entries_go_and_leave_an_anchor() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(directory.path()).unwrap();
        let old = Timestamp::from_second(1_600_000_000).unwrap();
        for run in 0..600 {
            journal.say(old, Word::Ended { run }).unwrap();
        }
        let now = Timestamp::now();
        journal.prune(now, Timestamp::from_second(1_700_000_000).unwrap()).unwrap();
        let count = |sql: &str| -> i64 { journal.connection.query_row(sql, [], |row| row.get(0)).unwrap() };
        let anchor = count("SELECT min(entry) FROM checkpoints");
        assert_eq!(count("SELECT min(entry) FROM journal"), anchor + 1);
        assert!(anchor > 500, "{anchor}");
    }
}
