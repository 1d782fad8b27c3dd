//! Lines, put together and compressed.
//!
//! A line is some 1.5 KB, nearly all of which the lines before it said already. A batch of lines is therefore
//! compressed as one, with a dictionary of lines from shortly before: batches may then be small, which makes a single
//! row cheap to read. Each row leaves a *mark*, the first bytes of its link, so that damage can be told to the row.

use std::{collections::HashMap, io::Read as _};

use rusqlite::{Connection, OptionalExtension as _};

use super::{
    chain::{Digest, link},
    columns::{signed, unsigned},
};

/// Rows of a batch at most.
pub(super) const ROWS_MAX: usize = 256;
/// Bytes of a batch at most, unless a single line is larger.
pub(super) const BYTES_MAX: usize = 512 * 1024;
/// Bytes of a mark.
pub(super) const MARK_BYTES: usize = 4;
/// Lines that make a dictionary.
const DICTIONARY_BYTES: usize = 96 * 1024;
/// Batches until a new dictionary is taken.
const BATCHES_PER_DICTIONARY: u32 = 128;
/// zstd's level: 3 is its default.
const LEVEL: i32 = 3;
/// No batch of ours is larger when it is unpacked: one line at most beyond [`BYTES_MAX`], and lines come from records
/// of the kernel, which are bounded.
pub(super) const UNPACKED_MAX: usize = 16 << 20;

/// Lines that wait to be stored.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) first_row: u64,
    pub(super) previous: Digest,
    pub(super) hash: Digest,
    pub(super) rows: usize,
    pub(super) text: Vec<u8>,
    pub(super) marks: Vec<u8>,
    pub(super) min_time: i64,
    pub(super) max_time: i64,
}

impl Pending {
    /// An empty batch whose first row will be `first_row`, chained to `previous`.
    pub(super) fn after(first_row: u64, previous: Digest) -> Self {
        Self {
            first_row,
            previous,
            hash: previous,
            min_time: i64::MAX,
            max_time: i64::MIN,
            ..Self::default()
        }
    }

    /// Adds a line and tells its row.
    pub(super) fn push(&mut self, line: &str, time: i64) -> u64 {
        let row = self.first_row + self.rows as u64;
        self.hash = link(self.hash, row, Digest::of(line.as_bytes()));
        self.marks.extend_from_slice(&self.hash.0[..MARK_BYTES]);
        self.text.extend_from_slice(line.as_bytes());
        self.text.push(b'\n');
        self.rows += 1;
        self.min_time = self.min_time.min(time);
        self.max_time = self.max_time.max(time);
        row
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows >= ROWS_MAX || self.text.len() >= BYTES_MAX
    }

    pub(super) fn last_row(&self) -> u64 {
        (self.first_row + self.rows as u64).saturating_sub(1)
    }
}

/// Compresses batches of one file.
pub(super) struct Packer {
    compressor: zstd::bulk::Compressor<'static>,
    dictionary: Option<i64>,
    recent: Vec<u8>,
    batches: u32,
}

impl Packer {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            compressor: zstd::bulk::Compressor::new(LEVEL)?,
            dictionary: None,
            recent: Vec::with_capacity(DICTIONARY_BYTES),
            batches: 0,
        })
    }

    /// Stores a batch; what the rows are indexed by is the caller's.
    pub(super) fn store(&mut self, connection: &Connection, pending: &Pending) -> rusqlite::Result<()> {
        let other = |error: std::io::Error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
        let data = self.compressor.compress(&pending.text).map_err(other)?;
        connection
            .prepare_cached(
                "INSERT INTO batches(first_row, last_row, min_time, max_time, previous, hash, dictionary, marks, data)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute((
                signed(pending.first_row),
                signed(pending.last_row()),
                pending.min_time,
                pending.max_time,
                pending.previous.0,
                pending.hash.0,
                self.dictionary,
                &pending.marks,
                data,
            ))?;
        self.batches += 1;
        self.remember(&pending.text);
        if self.recent.len() >= DICTIONARY_BYTES
            && (self.dictionary.is_none() || self.batches >= BATCHES_PER_DICTIONARY)
        {
            let packed = zstd::bulk::compress(&self.recent, LEVEL).map_err(other)?;
            connection.prepare_cached("INSERT INTO dictionaries(data) VALUES (?)")?.execute([packed])?;
            self.dictionary = Some(connection.last_insert_rowid());
            self.compressor = zstd::bulk::Compressor::with_dictionary(LEVEL, &self.recent).map_err(other)?;
            self.batches = 0;
        }
        Ok(())
    }

    /// Forgets the dictionary, e.g. since the transaction that stored it was undone.
    pub(super) fn reset(&mut self) -> std::io::Result<()> {
        *self = Self::new()?;
        Ok(())
    }

    fn remember(&mut self, text: &[u8]) {
        // The lines nearest to the end of a dictionary are the cheapest to refer to.
        let kept = &text[text.len().saturating_sub(DICTIONARY_BYTES)..];
        let beyond = (self.recent.len() + kept.len()).saturating_sub(DICTIONARY_BYTES);
        self.recent.drain(..beyond.min(self.recent.len()));
        self.recent.extend_from_slice(kept);
    }
}

/// A stored batch as it is.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) first_row: u64,
    pub(super) last_row: u64,
    pub(super) previous: Option<Digest>,
    pub(super) hash: Option<Digest>,
    pub(super) dictionary: Option<i64>,
    pub(super) marks: Vec<u8>,
    pub(super) data: Vec<u8>,
}

/// The columns of [`Packed`], in their order.
pub(super) const PACKED_COLUMNS: &str = "first_row, last_row, previous, hash, dictionary, marks, data";

impl Packed {
    pub(super) fn of_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            first_row: unsigned(row.get(0)?),
            last_row: unsigned(row.get(1)?),
            previous: Digest::from_slice(&row.get::<_, Vec<u8>>(2)?),
            hash: Digest::from_slice(&row.get::<_, Vec<u8>>(3)?),
            dictionary: row.get(4)?,
            marks: row.get(5)?,
            data: row.get(6)?,
        })
    }
}

/// Unpacks batches of one file.
#[derive(Default)]
pub(super) struct Unpacker {
    dictionaries: HashMap<i64, Vec<u8>>,
}

/// Dictionaries that are kept.
const DICTIONARIES_MAX: usize = 16;

impl Unpacker {
    /// The text of a batch as far as it can be read, and whether that is all of it.
    pub(super) fn unpack(
        &mut self,
        connection: &Connection,
        packed: &Packed,
    ) -> rusqlite::Result<(Vec<u8>, bool)> {
        let dictionary: &[u8] = match packed.dictionary {
            None => &[],
            Some(id) => {
                if !self.dictionaries.contains_key(&id) {
                    let data: Option<Vec<u8>> = connection
                        .prepare_cached("SELECT data FROM dictionaries WHERE id = ?")?
                        .query_row([id], |row| row.get(0))
                        .optional()?;
                    let unpacked = data.and_then(|data| zstd::bulk::decompress(&data, DICTIONARY_BYTES).ok());
                    if self.dictionaries.len() >= DICTIONARIES_MAX {
                        self.dictionaries.clear();
                    }
                    // Without its dictionary a batch unpacks to nothing or to nonsense, which the chain shows.
                    self.dictionaries.insert(id, unpacked.unwrap_or_default());
                }
                self.dictionaries.get(&id).map_or(&[], Vec::as_slice)
            }
        };
        let mut text = Vec::new();
        let Ok(decoder) = zstd::stream::read::Decoder::with_dictionary(packed.data.as_slice(), dictionary)
        else {
            return Ok((text, false));
        };
        let whole = decoder.take(UNPACKED_MAX as u64 + 1).read_to_end(&mut text).is_ok();
        Ok((text, whole))
    }
}

/// The lines of a batch's text. What stands behind the last line end is no line.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema;
    use proptest::prelude::*;

    fn round(batches: &[Vec<String>]) {
        let directory = tempfile::tempdir().unwrap();
        let connection =
            schema::open(&directory.path().join("events-2026-11-20.db"), &schema::EVENTS, false).unwrap();
        let mut packer = Packer::new().unwrap();
        let (mut row, mut hash) = (1, Digest::default());
        for batch in batches {
            let mut pending = Pending::after(row, hash);
            for line in batch {
                pending.push(line, 5);
            }
            packer.store(&connection, &pending).unwrap();
            (row, hash) = (pending.last_row() + 1, pending.hash);
        }
        let mut unpacker = Unpacker::default();
        let mut statement =
            connection.prepare(&format!("SELECT {PACKED_COLUMNS} FROM batches ORDER BY first_row")).unwrap();
        let stored: Vec<Packed> =
            statement.query_map([], Packed::of_row).unwrap().map(Result::unwrap).collect();
        for (packed, batch) in stored.iter().zip(batches) {
            let (text, whole) = unpacker.unpack(&connection, packed).unwrap();
            assert!(whole);
            assert!(lines(&text).eq(batch.iter().map(String::as_bytes)));
            assert_eq!(packed.marks.len(), batch.len() * MARK_BYTES);
        }
        assert_eq!(stored.len(), batches.len());
    }

    #[test]
    fn small_batches_profit_from_the_lines_before_them() {
        let line = |number: u32| format!("{{\"id\":\"{number:08}\",{}}}", "\"host\":\"example\",".repeat(60));
        let batches: Vec<Vec<String>> =
            (0..400).map(|batch| (0..10).map(|row| line(batch * 10 + row)).collect()).collect();
        round(&batches);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_is_packed_is_unpacked(batches in prop::collection::vec(prop::collection::vec("[ -~]{0,200}", 1..20), 1..6)) {
            round(&batches);
        }
    }
}
