//! The days' files: one chain through all of them, and an index that says what the lines say.

use std::{collections::HashMap, path::Path};

use rusqlite::Connection;

use super::{
    super::{
        StoreError,
        batch::{MARK_BYTES, PACKED_COLUMNS, Packed, Unpacker, lines},
        chain::{Chain, Checkpoint, Digest, PublicKey, link},
        columns::{Columns, signed, unsigned, verdict_number},
        files::{self, DayFile},
        journal::checkpoint_of,
        schema::{self, database},
    },
    Verification,
    against::Against,
    journal::History,
};

/// What the walk through the files has come to.
struct Walk<'all> {
    result: &'all mut Verification,
    history: &'all History,
    key: &'all PublicKey,
    store: &'all str,
    end: Option<&'all Checkpoint>,
    sent: Option<&'all mut Against>,
    /// The next row and the link before it; unknown behind a file that is gone.
    expected: Option<(u64, Digest)>,
    /// The end was met as it was signed.
    end_met: bool,
}

/// Verifies all files that the journal tells of, and that there are no others.
pub(super) fn verify(
    directory: &Path,
    history: &History,
    end: Option<&Checkpoint>,
    key: &PublicKey,
    store: &str,
    result: &mut Verification,
    sent: Option<&mut Against>,
) -> Result<(), StoreError> {
    let present: Vec<String> = files::list(directory)?.into_iter().map(DayFile::name).collect();
    let mut walk = Walk { result, history, key, store, end, sent, expected: None, end_met: false };
    let mut last_row = 0;
    for file in &history.files {
        let here = present.contains(&file.name);
        if let Some((row, hash)) = file.expired {
            if here {
                walk.result.note(format!("{} expired and is still there", file.name));
            }
            if row > 0 {
                walk.result.note(format!("{} expired: events {} to {row}", file.name, file.first_row));
                if let Some(sent) = &mut walk.sent {
                    sent.expired(file.first_row, row);
                }
                walk.expected = Some((row + 1, hash));
                last_row = row;
                walk.end_met |= end.is_some_and(|end| end.row <= row);
            }
        } else if file.damaged {
            walk.result.note(format!("{} could not be read any more and was put aside", file.name));
            walk.expected = None;
        } else if here {
            let expected = walk.expected.get_or_insert((file.first_row, file.previous));
            if *expected != (file.first_row, file.previous)
                && !history.lost.iter().any(|lost| lost.1 + 1 == file.first_row)
            {
                let what = format!("does not go on where the file before it ended, at row {}", expected.0);
                walk.result.problem(&file.name, Some(file.first_row), what);
                walk.expected = Some((file.first_row, file.previous));
            }
            last_row = walk.file(directory, &file.name)?.unwrap_or(last_row);
        } else {
            let what = format!("is gone, with the events from {} on; it had not expired", file.first_row);
            walk.result.problem(&file.name, None, what);
            walk.expected = None;
        }
    }
    for name in present {
        if !history.files.iter().any(|file| file.name == name) && !history.pruned {
            walk.result.problem(
                &name,
                None,
                "does not belong to this store: the journal does not tell of it",
            );
        }
    }
    walk.finish(last_row);
    Ok(())
}

impl Walk<'_> {
    /// Verifies one file; tells its last row.
    fn file(&mut self, directory: &Path, name: &str) -> Result<Option<u64>, StoreError> {
        let path = directory.join(name);
        let connection = match schema::open_read(&path, &schema::EVENTS) {
            Ok(connection) => connection,
            Err(error @ StoreError::Newer { .. }) => return Err(error),
            Err(error) => {
                self.result.problem(name, None, format!("cannot be read: {error}"));
                self.expected = None;
                return Ok(None);
            }
        };
        match self.rows(&connection, name) {
            Ok(last) => Ok(last),
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
                let at = self.expected.map(|(row, _)| row);
                self.result.problem(name, at, "cannot be read: the database is damaged there");
                self.expected = None;
                Ok(None)
            }
            Err(error) => Err(database("verify", &path)(error)),
        }
    }

    fn rows(&mut self, connection: &Connection, name: &str) -> rusqlite::Result<Option<u64>> {
        let store = self.store;
        let checkpoints: HashMap<u64, Checkpoint> = {
            let mut statement =
                connection.prepare("SELECT row, time, hash, signature FROM checkpoints ORDER BY row")?;
            let rows = statement.query_map([], |row| checkpoint_of(row, store, Chain::Events))?;
            rows.map(|one| one.map(|one| (one.row, one))).collect::<rusqlite::Result<_>>()?
        };
        let mut unpacker = Unpacker::default();
        let mut statement =
            connection.prepare(&format!("SELECT {PACKED_COLUMNS} FROM batches ORDER BY first_row"))?;
        let mut rows = statement.query([])?;
        let mut last = None;
        while let Some(row) = rows.next()? {
            let packed = Packed::of_row(row)?;
            self.join(name, &packed);
            let (text, whole) = unpacker.unpack(connection, &packed)?;
            self.batch(connection, name, &packed, &text, whole, &checkpoints)?;
            last = Some(packed.last_row);
        }
        let behind = last.map_or(0, |row| row + 1);
        for checkpoint in checkpoints.values().filter(|checkpoint| checkpoint.row >= behind) {
            let what =
                format!("was signed, and the file ends before it, at row {}", behind.saturating_sub(1));
            self.result.problem(name, Some(checkpoint.row), what);
        }
        let stray: i64 =
            connection.query_row("SELECT count(*) FROM events WHERE row >= ?", [signed(behind)], |row| {
                row.get(0)
            })?;
        if stray > 0 {
            self.result.problem(name, Some(behind), "stands in the index and has no line");
        }
        Ok(last)
    }

    /// Whether a batch goes on where the one before it ended.
    fn join(&mut self, name: &str, packed: &Packed) {
        let previous = packed.previous.unwrap_or_default();
        let Some((row, hash)) = self.expected else { return };
        let first = packed.first_row;
        if first > row {
            let lost = self.history.lost.iter().find(|lost| lost.0 == row && lost.1 + 1 == first);
            match lost {
                Some((from, through, true)) => {
                    self.result
                        .note(format!("events {from} to {through} were lost when the host lost its power"));
                }
                Some((_, through, false)) => {
                    let what = format!(
                        "and all up to {through} were signed and were gone when the monitor began again; a kill alone \
                         loses nothing that was signed"
                    );
                    self.result.problem(name, Some(row), what);
                }
                None if first == row + 1 => self.result.problem(name, Some(row), "is missing"),
                None => {
                    let what = format!("and all up to {} are missing", first - 1);
                    self.result.problem(name, Some(row), what);
                }
            }
        } else if first < row {
            self.result.problem(name, Some(first), "stands there twice");
        } else if previous != hash {
            self.result.problem(name, Some(first), "does not follow on the row before it");
        }
    }

    fn batch(
        &mut self,
        connection: &Connection,
        name: &str,
        packed: &Packed,
        text: &[u8],
        whole: bool,
        checkpoints: &HashMap<u64, Checkpoint>,
    ) -> rusqlite::Result<()> {
        let count = (packed.last_row + 1).saturating_sub(packed.first_row);
        let mut hash = packed.previous.unwrap_or_default();
        let mut first_broken = None;
        let mut number = packed.first_row;
        let mut index = Index::of(connection, packed.first_row, packed.last_row)?;
        for line in lines(text).take(usize::try_from(count).unwrap_or(usize::MAX)) {
            hash = link(hash, number, Digest::of(line));
            let place = usize::try_from(number - packed.first_row).unwrap_or(0) * MARK_BYTES;
            let mark = packed.marks.get(place..place + MARK_BYTES);
            if mark != Some(&hash.0[..MARK_BYTES]) && first_broken.is_none() {
                first_broken = Some(number);
            }
            if first_broken.is_none() {
                let problem = std::str::from_utf8(line).ok().and_then(Columns::of).map_or(
                    Some("is no event".to_owned()),
                    |columns| {
                        if let Some(sent) = &mut self.sent {
                            sent.event(number, &columns.id, line);
                        }
                        index.compare(number, &columns)
                    },
                );
                if let Some(problem) = problem {
                    self.result.problem(name, Some(number), problem);
                }
                self.signed(name, number, hash, checkpoints.get(&number));
            }
            number += 1;
        }
        if number <= packed.last_row {
            first_broken = first_broken.or(Some(number));
        }
        let same_end = packed.hash == Some(hash) && number == packed.last_row + 1 && whole;
        match first_broken {
            Some(row) if same_end => {
                self.result.problem(
                    name,
                    Some(row),
                    "has another mark than it was given; the row itself is whole",
                );
            }
            Some(row) => {
                self.result.problem(name, Some(row), "is the first that is not what was recorded");
            }
            None if !same_end => {
                self.result.problem(
                    name,
                    Some(packed.last_row),
                    "does not lead to the link that stands behind it",
                );
            }
            None => {}
        }
        self.result.rows += first_broken.unwrap_or(packed.last_row + 1) - packed.first_row;
        // What comes later is judged by itself.
        self.expected = packed.hash.map(|hash| (packed.last_row + 1, hash));
        Ok(())
    }

    /// Signatures of this row: its checkpoint, the end, and those that a sink has.
    fn signed(&mut self, name: &str, row: u64, hash: Digest, checkpoint: Option<&Checkpoint>) {
        if let Some(checkpoint) = checkpoint {
            if !checkpoint.is_signed_by(self.key) {
                self.result.problem(name, Some(row), "has a checkpoint that this key did not sign");
            } else if checkpoint.hash == hash {
                self.result.signatures += 1;
            } else {
                self.result.problem(name, Some(row), "is not what was signed");
            }
        }
        if let Some(end) = self.end.filter(|end| end.row == row) {
            self.end_met = true;
            if !end.is_signed_by(self.key) {
                self.result.problem(name, Some(row), "is the end by a signature that is not of this key");
            } else if end.hash == hash {
                self.result.signatures += 1;
            } else {
                self.result.problem(name, Some(row), "is not what was signed as the end");
            }
        }
        if let Some(sent) = &mut self.sent {
            sent.link(row, hash, self.result);
        }
    }

    fn finish(&mut self, last_row: u64) {
        let Some(end) = self.end else {
            if last_row > 0 {
                self.result.problem(files::FINDINGS_FILE, None, "the signed end of the rows is gone");
            }
            return;
        };
        let lost = self.history.lost.iter().any(|lost| lost.1 >= end.row && lost.0 <= end.row);
        if end.row > last_row && !lost {
            let name = self.history.files.iter().rev().find(|file| file.expired.is_none());
            let name = name.map_or("events", |file| file.name.as_str());
            let what = if end.row == last_row + 1 {
                "was signed and is cut off".to_owned()
            } else {
                format!("and all up to {} were signed and are cut off", end.row)
            };
            self.result.problem(name, Some(last_row + 1), what);
        } else if end.row < last_row && self.expected.is_some() {
            // The daemon writes, or was killed between two writes.
            let unsigned = last_row - end.row;
            self.result.note(format!("the last {unsigned} events are not signed yet"));
        }
        if let Some(sent) = &mut self.sent {
            sent.end(last_row);
        }
    }
}

/// The index's rows of a batch.
struct Index {
    rows: HashMap<u64, Indexed>,
}

#[derive(PartialEq)]
struct Indexed {
    time: i64,
    workload: String,
    instance: String,
    kind: String,
    verdict: i64,
    rule: Option<String>,
    path: Option<String>,
    target: Option<String>,
    destination: Option<(String, String, i64)>,
    count: i64,
    bytes: (Option<i64>, Option<i64>),
    process: (u32, i64, u32, u32, String, Option<String>, Option<String>),
    boot: String,
}

impl Index {
    fn of(connection: &Connection, first: u64, last: u64) -> rusqlite::Result<Self> {
        let mut statement = connection.prepare_cached(
            "SELECT row, time, workload, instances.instance, kinds.text, verdict, rules.text, path.text, target.text,
                 address, destinations.name, port, count, bytes_sent, bytes_received, pid, start, exec_id, uid, exe,
                 user, container, boot.text
             FROM events LEFT JOIN instances ON instances.id = events.instance
             LEFT JOIN words AS kinds ON kinds.id = events.kind LEFT JOIN words AS rules ON rules.id = events.rule
             LEFT JOIN paths AS path ON path.id = events.path
             LEFT JOIN paths AS target ON target.id = events.target
             LEFT JOIN destinations ON destinations.id = events.destination
             LEFT JOIN processes ON processes.id = events.process
             LEFT JOIN words AS boot ON boot.id = processes.boot
             WHERE row BETWEEN ? AND ?",
        )?;
        let text = |text: Option<String>| text.unwrap_or_default();
        let rows = statement.query_map((signed(first), signed(last)), |row| {
            let address: Option<String> = row.get(9)?;
            let destination = match address {
                Some(address) => Some((address, text(row.get(10)?), row.get(11)?)),
                None => None,
            };
            let number = |index: usize| row.get::<_, Option<u32>>(index).map(Option::unwrap_or_default);
            Ok((
                unsigned(row.get(0)?),
                Indexed {
                    time: row.get(1)?,
                    workload: text(row.get(2)?),
                    instance: text(row.get(3)?),
                    kind: text(row.get(4)?),
                    verdict: row.get(5)?,
                    rule: row.get(6)?,
                    path: row.get(7)?,
                    target: row.get(8)?,
                    destination,
                    count: row.get(12)?,
                    bytes: (row.get(13)?, row.get(14)?),
                    process: (
                        number(15)?,
                        row.get::<_, Option<i64>>(16)?.unwrap_or_default(),
                        number(17)?,
                        number(18)?,
                        text(row.get(19)?),
                        row.get(20)?,
                        row.get(21)?,
                    ),
                    boot: text(row.get(22)?),
                },
            ))
        })?;
        Ok(Self { rows: rows.collect::<rusqlite::Result<_>>()? })
    }

    /// What is wrong with the index of a row.
    fn compare(&mut self, row: u64, columns: &Columns<'_>) -> Option<String> {
        let Some(found) = self.rows.remove(&row) else {
            return Some("is not in the index: no search finds it".into());
        };
        let own = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
        let process = &columns.process;
        let expected = Indexed {
            time: columns.time_ns(),
            workload: columns.workload.id.to_string(),
            instance: columns.workload.instance.to_string(),
            kind: columns.kind.to_string(),
            verdict: verdict_number(columns.verdict),
            rule: own(&columns.rule),
            path: own(&columns.path),
            target: own(&columns.target),
            destination: columns.destination.as_ref().map(|one| {
                let text = |text: &Option<std::borrow::Cow<'_, str>>| own(text).unwrap_or_default();
                (text(&one.address), text(&one.name), one.port.map_or(-1, i64::from))
            }),
            count: signed(columns.count),
            bytes: (columns.bytes_sent.map(signed), columns.bytes_received.map(signed)),
            process: (
                process.pid,
                signed(process.start),
                process.exec_id,
                process.uid,
                // Of a process the first line is kept; others may have come to know more.
                found.process.4.clone(),
                found.process.5.clone(),
                found.process.6.clone(),
            ),
            boot: columns.boot.to_string(),
        };
        if found == expected {
            return None;
        }
        let differing = [
            ("time", found.time != expected.time),
            ("workload", found.workload != expected.workload || found.instance != expected.instance),
            ("kind", found.kind != expected.kind),
            ("verdict", found.verdict != expected.verdict),
            ("rule", found.rule != expected.rule),
            ("path", found.path != expected.path || found.target != expected.target),
            ("destination", found.destination != expected.destination),
            ("count", found.count != expected.count || found.bytes != expected.bytes),
            ("process", found.process != expected.process || found.boot != expected.boot),
        ];
        let names: Vec<&str> =
            differing.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
        Some(format!("is found by another {} than its line says", names.join(" and ")))
    }
}
