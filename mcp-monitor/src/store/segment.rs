//! Writing one file of events: rows with their index, in transactions.

use std::{collections::HashMap, hash::Hash, path::Path};

use rusqlite::{Connection, OptionalExtension as _};

use super::{
    StoreError,
    batch::{Packer, Pending},
    chain::{Checkpoint, Digest},
    columns::{Columns, nanoseconds, signed, unsigned, verdict_number},
    files::DayFile,
    schema::{self, database},
};

/// Numbers of texts that are kept of each kind; beyond that they are looked up again.
const CACHE_MAX: usize = 32 * 1024;

/// Longer texts are not kept: only who wants to fill the memory has many of them.
const CACHED_BYTES_MAX: usize = 512;

/// A file that is written.
pub(super) struct Segment {
    pub(super) file: DayFile,
    pub(super) connection: Connection,
    packer: Packer,
    numbers: Numbers,
    next_row: u64,
    hash: Digest,
}

/// How far a run has come, kept with the rows so that it is true of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) durable: u64,
    pub(super) lanes: HashMap<u32, u64>,
}

impl Segment {
    /// Opens the file, or makes it to go on after row `last_row` with `hash`.
    pub(super) fn open(
        directory: &Path,
        file: DayFile,
        last_row: u64,
        hash: Digest,
    ) -> Result<Self, StoreError> {
        let path = file.path(directory);
        let connection = schema::open(&path, &schema::EVENTS, false)?;
        let end = connection
            .query_row("SELECT last_row, hash FROM batches ORDER BY first_row DESC LIMIT 1", [], |row| {
                Ok((unsigned(row.get(0)?), row.get::<_, Vec<u8>>(1)?))
            })
            .optional()
            .map_err(database("read its end", &path))?;
        let (next_row, hash) = match end {
            Some((row, hash)) => {
                let hash = Digest::from_slice(&hash).ok_or_else(|| StoreError::Damaged {
                    path: path.clone(),
                    row,
                    what: "its link is not 32 bytes long".into(),
                })?;
                (row + 1, hash)
            }
            None => (last_row + 1, hash),
        };
        let packer =
            Packer::new().map_err(|source| StoreError::File { what: "compress for", path, source })?;
        Ok(Self { file, connection, packer, numbers: Numbers::default(), next_row, hash })
    }

    pub(super) fn last_row(&self) -> u64 {
        self.next_row - 1
    }

    /// Goes on after `row`, since rows up to it were signed and are lost: no number is used twice.
    pub(super) fn skip_to(&mut self, row: u64) {
        self.next_row = row + 1;
    }

    pub(super) fn hash(&self) -> Digest {
        self.hash
    }

    /// Stores `lines` in one transaction: all or none. `checkpoint` signs the last row, if it is time.
    pub(super) fn store(
        &mut self,
        lines: &[String],
        run: i64,
        time: i64,
        progress: &Progress,
        checkpoint: impl FnOnce(u64, Digest) -> Option<Checkpoint>,
    ) -> rusqlite::Result<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let result = self.store_all(lines, run, time, progress, checkpoint);
        let result = result.and_then(|end| self.connection.execute_batch("COMMIT").map(|()| end));
        match result {
            Ok((next_row, hash)) => {
                (self.next_row, self.hash) = (next_row, hash);
                Ok(())
            }
            Err(error) => {
                // It may be rolled back already; what was noted of it is to be forgotten in any case.
                let _ = self.connection.execute_batch("ROLLBACK");
                self.numbers = Numbers::default();
                let _ = self.packer.reset();
                Err(error)
            }
        }
    }

    fn store_all(
        &mut self,
        lines: &[String],
        run: i64,
        time: i64,
        progress: &Progress,
        checkpoint: impl FnOnce(u64, Digest) -> Option<Checkpoint>,
    ) -> rusqlite::Result<(u64, Digest)> {
        let Self { connection, packer, numbers, .. } = self;
        let mut pending = Pending::after(self.next_row, self.hash);
        for line in lines {
            let Some(columns) = Columns::of(line) else { continue };
            let row = pending.push(line, columns.time_ns());
            numbers.index(connection, row, &columns)?;
            if pending.is_full() {
                packer.store(connection, &pending)?;
                pending = Pending::after(pending.last_row() + 1, pending.hash);
            }
        }
        if pending.rows > 0 {
            packer.store(connection, &pending)?;
        }
        let end = pending.first_row + pending.rows as u64;
        if let Some(checkpoint) = checkpoint(end - 1, pending.hash) {
            store_checkpoint(connection, &checkpoint)?;
        }
        let mut read = Vec::with_capacity(progress.lanes.len() * 12);
        for (lane, sequence) in &progress.lanes {
            read.extend(lane.to_le_bytes());
            read.extend(sequence.to_le_bytes());
        }
        connection
            .prepare_cached("INSERT OR REPLACE INTO progress(run, time, durable, lanes) VALUES (?, ?, ?, ?)")?
            .execute((run, time, signed(progress.durable), read))?;
        Ok((end, pending.hash))
    }

    /// How far `run` had come by what is in this file.
    pub(super) fn progress(connection: &Connection, run: i64) -> rusqlite::Result<Option<(i64, Progress)>> {
        connection
            .query_row("SELECT time, durable, lanes FROM progress WHERE run = ?", [run], |row| {
                let lanes: Vec<u8> = row.get(2)?;
                let lanes = lanes.as_chunks::<12>().0.iter().map(|entry| {
                    let (lane, sequence) = entry.split_at(4);
                    (
                        u32::from_le_bytes(lane.try_into().unwrap_or_default()),
                        u64::from_le_bytes(sequence.try_into().unwrap_or_default()),
                    )
                });
                Ok((row.get(0)?, Progress { durable: unsigned(row.get(1)?), lanes: lanes.collect() }))
            })
            .optional()
    }
}

/// Stores a signed end of the rows.
pub(super) fn store_checkpoint(connection: &Connection, checkpoint: &Checkpoint) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO checkpoints(row, time, hash, signature) VALUES (?, ?, ?, ?)")?
        .execute((
            signed(checkpoint.row),
            nanoseconds(checkpoint.time),
            checkpoint.hash.0,
            hex::decode(&checkpoint.signature).unwrap_or_default(),
        ))?;
    Ok(())
}

/// Which number stands for which text.
#[derive(Default)]
struct Numbers {
    words: HashMap<String, i64>,
    paths: HashMap<String, i64>,
    destinations: HashMap<(String, String, i64), i64>,
    instances: HashMap<(String, String), i64>,
    processes: HashMap<(u32, u64, u32, u32, i64, i64), i64>,
}

impl Numbers {
    fn index(&mut self, connection: &Connection, row: u64, columns: &Columns<'_>) -> rusqlite::Result<()> {
        let kind = self.word(connection, &columns.kind)?;
        let rule = columns.rule.as_deref().map(|rule| self.word(connection, rule)).transpose()?;
        let path = columns.path.as_deref().map(|path| self.path(connection, path)).transpose()?;
        let target = columns.target.as_deref().map(|path| self.path(connection, path)).transpose()?;
        let instance = self.instance(connection, columns)?;
        let process = self.process(connection, columns, instance)?;
        let destination = self.destination(connection, columns)?;
        connection
            .prepare_cached(
                "INSERT INTO events(row, time, instance, process, kind, verdict, rule, path, target, destination,
                     count, bytes_sent, bytes_received) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute((
                signed(row),
                columns.time_ns(),
                instance,
                process,
                kind,
                verdict_number(columns.verdict),
                rule,
                path,
                target,
                destination,
                signed(columns.count),
                columns.bytes_sent.map(signed),
                columns.bytes_received.map(signed),
            ))?;
        Ok(())
    }

    fn word(&mut self, connection: &Connection, word: &str) -> rusqlite::Result<i64> {
        cached(&mut self.words, word, || {
            number(
                connection,
                "SELECT id FROM words WHERE text = ?",
                "INSERT INTO words(text) VALUES (?)",
                [word],
            )
        })
    }

    fn path(&mut self, connection: &Connection, path: &str) -> rusqlite::Result<i64> {
        cached(&mut self.paths, path, || {
            number(
                connection,
                "SELECT id FROM paths WHERE text = ?",
                "INSERT INTO paths(text) VALUES (?)",
                [path],
            )
        })
    }

    fn destination(
        &mut self,
        connection: &Connection,
        columns: &Columns<'_>,
    ) -> rusqlite::Result<Option<i64>> {
        let Some(destination) = &columns.destination else { return Ok(None) };
        let address = destination.address.as_deref().unwrap_or_default();
        let name = destination.name.as_deref().unwrap_or_default();
        let port = destination.port.map_or(-1, i64::from);
        let key = (address.to_owned(), name.to_owned(), port);
        if let Some(number) = self.destinations.get(&key) {
            return Ok(Some(*number));
        }
        let known = connection
            .prepare_cached("SELECT id FROM destinations WHERE address = ? AND name = ? AND port = ?")?
            .query_row((address, name, port), |row| row.get(0))
            .optional()?;
        let number = if let Some(number) = known {
            number
        } else {
            connection
                .prepare_cached("INSERT INTO destinations(text, address, name, port) VALUES (?, ?, ?, ?)")?
                .execute((destination.text(), address, name, port))?;
            connection.last_insert_rowid()
        };
        keep(&mut self.destinations, key, number);
        Ok(Some(number))
    }

    fn instance(&mut self, connection: &Connection, columns: &Columns<'_>) -> rusqlite::Result<i64> {
        let workload = &columns.workload;
        let key = (workload.instance.to_string(), workload.id.to_string());
        if let Some(number) = self.instances.get(&key) {
            return Ok(*number);
        }
        let known = connection
            .prepare_cached("SELECT id FROM instances WHERE instance = ? AND workload = ?")?
            .query_row((&workload.instance, &workload.id), |row| row.get(0))
            .optional()?;
        let number = if let Some(number) = known {
            number
        } else {
            connection
                .prepare_cached(
                    "INSERT INTO instances(workload, instance, kind, name, client, parent)
                         VALUES (?, ?, ?, ?, ?, ?)",
                )?
                .execute((
                    &workload.id,
                    &workload.instance,
                    &workload.kind,
                    &workload.name,
                    &workload.client,
                    &workload.parent,
                ))?;
            connection.last_insert_rowid()
        };
        keep(&mut self.instances, key, number);
        Ok(number)
    }

    fn process(
        &mut self,
        connection: &Connection,
        columns: &Columns<'_>,
        instance: i64,
    ) -> rusqlite::Result<i64> {
        let process = &columns.process;
        let boot = self.word(connection, &columns.boot)?;
        let key = (process.pid, process.start, process.exec_id, process.uid, instance, boot);
        if let Some(number) = self.processes.get(&key) {
            return Ok(*number);
        }
        let known = connection
            .prepare_cached(
                "SELECT id FROM processes
                 WHERE pid = ? AND start = ? AND exec_id = ? AND uid = ? AND instance = ? AND boot = ?",
            )?
            .query_row(
                (process.pid, signed(process.start), process.exec_id, process.uid, instance, boot),
                |row| row.get(0),
            )
            .optional()?;
        let number = match known {
            Some(number) => number,
            None => insert_process(connection, columns, instance, boot)?,
        };
        keep(&mut self.processes, key, number);
        Ok(number)
    }
}

fn insert_process(
    connection: &Connection,
    columns: &Columns<'_>,
    instance: i64,
    boot: i64,
) -> rusqlite::Result<i64> {
    let process = &columns.process;
    let parent = process.ancestors.first();
    connection
        .prepare_cached(
            "INSERT INTO processes(instance, boot, pid, start, exec_id, exe, args, uid, user, container, parent_pid,
                 parent_start) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute((
            instance,
            boot,
            process.pid,
            signed(process.start),
            process.exec_id,
            process.exe.as_deref().unwrap_or_default(),
            process.args.map(serde_json::value::RawValue::get),
            process.uid,
            &process.user,
            process.container.as_ref().map(|container| &container.id),
            parent.map(|parent| parent.pid),
            parent.map(|parent| signed(parent.start)),
        ))?;
    let number = connection.last_insert_rowid();
    // The whole line of forebears: those that did nothing on this day have no row of their own.
    let mut child = (process.pid, process.start);
    let mut insert = connection.prepare_cached(
        "INSERT OR IGNORE INTO lineage(pid, start, boot, parent_pid, parent_start) VALUES (?, ?, ?, ?, ?)",
    )?;
    for ancestor in &process.ancestors {
        let fresh = insert.execute((child.0, signed(child.1), boot, ancestor.pid, signed(ancestor.start)))?;
        if fresh == 0 {
            break;
        }
        child = (ancestor.pid, ancestor.start);
    }
    Ok(number)
}

fn number(connection: &Connection, find: &str, insert: &str, value: [&str; 1]) -> rusqlite::Result<i64> {
    let known = connection.prepare_cached(find)?.query_row(value, |row| row.get(0)).optional()?;
    if let Some(number) = known {
        return Ok(number);
    }
    connection.prepare_cached(insert)?.execute(value)?;
    Ok(connection.last_insert_rowid())
}

fn cached(
    cache: &mut HashMap<String, i64>,
    text: &str,
    find: impl FnOnce() -> rusqlite::Result<i64>,
) -> rusqlite::Result<i64> {
    if let Some(number) = cache.get(text) {
        return Ok(*number);
    }
    let number = find()?;
    if text.len() <= CACHED_BYTES_MAX {
        keep(cache, text.to_owned(), number);
    }
    Ok(number)
}

/// All go when there are too many: what is used comes back with one look-up each.
fn keep<Key: Eq + Hash>(cache: &mut HashMap<Key, i64>, key: Key, number: i64) {
    if cache.len() >= CACHE_MAX {
        cache.clear();
    }
    cache.insert(key, number);
}
