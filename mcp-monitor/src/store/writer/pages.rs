//! The files of events one after the other: when the next one is begun, and when old ones go.

use std::{path::Path, time::Instant};

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};

use super::{
    super::{
        StoreError,
        chain::{Chain, Digest},
        columns,
        files::{self, DayFile},
        journal::Word,
        schema::{self, database},
        segment::{Segment, store_checkpoint},
    },
    keeper::Keeper,
};

/// A file this much of the bound on all files is followed by another one of the same day.
const PARTS: u64 = 8;

impl Keeper {
    /// Goes on to the next file when the day is over or the file is large. A clock that is set back turns no page.
    pub(super) fn turn_page(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let today = now.to_zoned(TimeZone::UTC).date();
        let file = self.segment.file;
        let next = if today > file.date {
            DayFile { date: today, part: 1 }
        } else if files::bytes(&file.path(&self.settings.directory)) > self.settings.bytes / PARTS {
            DayFile { part: file.part + 1, ..file }
        } else {
            return Ok(());
        };
        self.close_file(now)?;
        let (row, hash) = (self.segment.last_row(), self.segment.hash());
        self.segment = Segment::open(&self.settings.directory, next, row, hash)?;
        self.register_file(now)?;
        self.retain(now);
        Ok(())
    }

    pub(super) fn close_file(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let path = self.segment.file.path(&self.settings.directory);
        if self.segment.last_row() > 0 {
            let head = self.key.sign(Chain::Events, self.segment.last_row(), self.segment.hash(), now);
            store_checkpoint(&self.segment.connection, &head).map_err(database("sign the end of", &path))?;
            self.journal.head(&head)?;
        }
        // The log goes into the file; what cannot be done now is done by whoever opens it next.
        let _ = self.segment.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        Ok(())
    }

    /// Notes in the journal that the file belongs to the store.
    pub(super) fn register_file(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let name = self.segment.file.name();
        let (first_row, previous) = (self.segment.last_row() + 1, self.segment.hash());
        let failed = database("note a file of events", &self.journal.path);
        self.journal.write(now, |draft| {
            let known = draft
                .connection
                .prepare_cached("SELECT 1 FROM files WHERE name = ?")
                .and_then(|mut statement| statement.exists([&name]))
                .map_err(&failed)?;
            if !known {
                // A part that held no row yet makes way for the one that goes on from the same row.
                draft
                    .connection
                    .execute(
                        "INSERT OR REPLACE INTO files(first_row, name, previous) VALUES (?, ?, ?)",
                        (columns::signed(first_row), &name, previous.0),
                    )
                    .map_err(&failed)?;
                draft.say(now, Word::File { name, first_row, previous }).map_err(&failed)?;
            }
            Ok(())
        })
    }

    /// Unlinks files that are too old or too many, each with an entry that says where the chain goes on.
    pub(super) fn retain(&mut self, now: Timestamp) {
        self.last_retention = Instant::now();
        // What fails is tried again the next time; events are recorded meanwhile.
        let _ = self.unlink_old(now);
        if let Ok(before) = now.checked_sub(i64::from(self.settings.finding_days).saturating_mul(24).hours())
        {
            let _ = self.journal.prune(now, before);
        }
    }

    fn unlink_old(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let directory = self.settings.directory.clone();
        let today = now.to_zoned(TimeZone::UTC).date();
        let oldest = today.saturating_sub(i64::from(self.settings.days.saturating_sub(1)).days());
        let list = files::list(&directory)?;
        let mut total: u64 = list.iter().map(|file| files::bytes(&file.path(&directory))).sum();
        for file in list {
            let reason = if file == self.segment.file {
                continue;
            } else if file.date < oldest {
                format!("older than {} days", self.settings.days)
            } else if total > self.settings.bytes {
                format!("more than {} bytes", self.settings.bytes)
            } else {
                continue;
            };
            let path = file.path(&directory);
            total = total.saturating_sub(files::bytes(&path));
            let (first_row, last_row, previous, hash) = ends(&path)?;
            let name = file.name();
            // Said first: a file that is gone was announced, whenever we are killed.
            let failed = database("note that a file goes", &self.journal.path);
            self.journal.write(now, |draft| {
                draft.connection.execute("DELETE FROM files WHERE name = ?", [&name]).map_err(&failed)?;
                draft
                    .say(
                        now,
                        Word::Expired { name: name.clone(), first_row, last_row, previous, hash, reason },
                    )
                    .map_err(&failed)
            })?;
            files::unlink(&path)?;
        }
        Ok(())
    }
}

/// First and last row of a file, the link before the first and that of the last.
fn ends(path: &Path) -> Result<(u64, u64, Digest, Digest), StoreError> {
    use rusqlite::OptionalExtension as _;
    let connection = schema::open_read(path, &schema::EVENTS)?;
    let end = |sql: &str| {
        connection
            .query_row(sql, [], |row| Ok((columns::unsigned(row.get(0)?), row.get::<_, Vec<u8>>(1)?)))
            .optional()
            .map_err(database("read its ends", path))
    };
    let first = end("SELECT first_row, previous FROM batches ORDER BY first_row LIMIT 1")?;
    let last = end("SELECT last_row, hash FROM batches ORDER BY first_row DESC LIMIT 1")?;
    let digest = |bytes: Vec<u8>| Digest::from_slice(&bytes).unwrap_or_default();
    Ok(match (first, last) {
        (Some((first_row, previous)), Some((last_row, hash))) => {
            (first_row, last_row, digest(previous), digest(hash))
        }
        _ => (0, 0, Digest::default(), Digest::default()),
    })
}
