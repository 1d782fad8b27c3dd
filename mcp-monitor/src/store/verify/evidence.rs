//! Evidence: a span of events with the journal of that time, in one file that proves itself with the public key alone.
//!
//! JSON lines. The first says what it is; then each row of the span, whole or by its digest, in their order; the
//! checkpoint that signs the last of them; then the entries of the journal in the same manner. Rows that were not
//! asked for are there by their digests: that nothing between two rows was left out is proven without showing it.

use std::{
    fs::{self, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Read as _, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    super::{
        Filter, Matcher, Reader, StoreError,
        batch::lines,
        chain::{self, Chain, Checkpoint, Digest, PublicKey, link},
        columns::{nanoseconds, signed, unsigned},
        files::FINDINGS_FILE,
        journal::{checkpoint_of, head, store_id},
        schema::{self, database},
    },
    Verification,
};

/// Schema of the first line.
pub const EVIDENCE_SCHEMA: &str = "mcp-monitor/evidence/v1";
/// Bytes of a line at most.
const LINE_MAX: u64 = 16 << 20;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    schema: String,
    store: String,
    /// The key as the file claims it; what it is worth is decided by who knows the right one.
    public_key: String,
    created: Timestamp,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// The first row, and the link before it.
    first_row: u64,
    previous: Digest,
    /// The first entry, and the link before it.
    first_entry: u64,
    entry_previous: Digest,
}

/// The other lines: one of these.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<u64>,
    #[serde(borrow, rename = "line", skip_serializing_if = "Option::is_none")]
    text: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<Checkpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    rows: u64,
    entries: u64,
}

/// Writes the events that `filter` means, and the journal of its time, to a new file at `path`. Tells how many events
/// are shown.
pub fn export(directory: &Path, filter: &Filter, path: &Path) -> Result<u64, StoreError> {
    let failed = |source| StoreError::File { what: "write", path: path.into(), source };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let mut out = BufWriter::new(file);
    let written = write(directory, filter, &mut out, &failed)
        .and_then(|shown| out.flush().map(|()| shown).map_err(failed));
    if written.is_err() {
        // Half of it proves nothing.
        let _ = fs::remove_file(path);
    }
    written
}

fn write(
    directory: &Path,
    filter: &Filter,
    out: &mut impl Write,
    failed: &impl Fn(io::Error) -> StoreError,
) -> Result<u64, StoreError> {
    let matcher = Matcher::new(filter)?;
    let findings_path = directory.join(FINDINGS_FILE);
    let findings = schema::open_read(&findings_path, &schema::FINDINGS)?;
    let of_findings = database("export the journal", &findings_path);
    let store = store_id(&findings).map_err(&of_findings)?.unwrap_or_default();
    let end = head(&findings, Chain::Events).map_err(&of_findings)?;
    let mut reader = Reader::open(directory)?;
    // Time alone says which rows are there; the rest says which of them are shown.
    let span = Filter { since: filter.since, until: filter.until, ..Filter::default() };
    let Some((first, last)) = reader.span(&span)? else {
        return Err(StoreError::Usage("there are no events in this time".into()));
    };
    let mut packed = reader.packed(first, last, end.as_ref(), &store)?;
    let previous = packed.previous;
    let (first_entry, entry_previous) = first_entry(&findings, filter.since).map_err(&of_findings)?;
    let mut emit = |line: &dyn erased::Json| -> Result<(), StoreError> { line.write(out).map_err(failed) };
    emit(&Head {
        schema: EVIDENCE_SCHEMA.into(),
        store: store.clone(),
        public_key: chain::public_key(directory)?.to_string(),
        created: Timestamp::now(),
        since: filter.since,
        until: filter.until,
        first_row: packed.first_row,
        previous,
        first_entry,
        entry_previous,
    })?;
    let mut counted = End { rows: 0, entries: 0 };
    let mut shown = 0;
    while let Some(batch) = packed.next(&mut reader)? {
        for (row, text) in (batch.first_row..=packed.last_row).zip(lines(&batch.text)) {
            let wanted = std::str::from_utf8(text).ok().filter(|text| row <= last && matcher.matches(text));
            let raw = wanted.and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
            match raw {
                Some(line) => {
                    shown += 1;
                    emit(&Line { row: Some(row), text: Some(line), ..Line::default() })?;
                }
                None => {
                    emit(&Line { row: Some(row), digest: Some(Digest::of(text)), ..Line::default() })?;
                }
            }
            counted.rows += 1;
        }
    }
    emit(&Line { checkpoint: Some(packed.checkpoint), ..Line::default() })?;
    let mut statement = findings
        .prepare("SELECT entry, time, line FROM journal WHERE entry >= ? ORDER BY entry")
        .map_err(&of_findings)?;
    // One look at the journal, so that its entries and its signed end belong together.
    let transaction = findings.unchecked_transaction().map_err(&of_findings)?;
    let journal_end = head(&findings, Chain::Journal).map_err(&of_findings)?;
    let mut rows = statement.query([signed(first_entry)]).map_err(&of_findings)?;
    let until = filter.until.map_or(i64::MAX, nanoseconds);
    while let Some(row) = rows.next().map_err(&of_findings)? {
        let entry = unsigned(row.get(0).map_err(&of_findings)?);
        let time: i64 = row.get(1).map_err(&of_findings)?;
        let text: String = row.get(2).map_err(&of_findings)?;
        let raw = serde_json::from_str::<&RawValue>(&text).ok().filter(|_| time < until);
        let digest = raw.is_none().then(|| Digest::of(text.as_bytes()));
        emit(&Line { entry: Some(entry), text: raw, digest, ..Line::default() })?;
        counted.entries += 1;
    }
    drop(rows);
    drop(transaction);
    if let Some(checkpoint) = journal_end {
        emit(&Line { checkpoint: Some(checkpoint), ..Line::default() })?;
    }
    emit(&Line { end: Some(counted), ..Line::default() })?;
    Ok(shown)
}

/// Lines of different types through one function.
mod erased {
    use std::io::{self, Write};

    pub(super) trait Json {
        fn write(&self, out: &mut dyn Write) -> io::Result<()>;
    }

    impl<T: serde::Serialize> Json for T {
        fn write(&self, out: &mut dyn Write) -> io::Result<()> {
            serde_json::to_writer(&mut *out, self)?;
            out.write_all(b"\n")
        }
    }
}

/// The first entry that is not older than `since`, and the link before it.
fn first_entry(
    connection: &rusqlite::Connection,
    since: Option<Timestamp>,
) -> rusqlite::Result<(u64, Digest)> {
    use rusqlite::OptionalExtension as _;
    let since = since.map_or(i64::MIN, nanoseconds);
    let first: Option<i64> =
        connection.query_row("SELECT min(entry) FROM journal WHERE time >= ?", [since], |row| row.get(0))?;
    let last: Option<i64> = connection.query_row("SELECT max(entry) FROM journal", [], |row| row.get(0))?;
    let first = first.unwrap_or(last.unwrap_or(0) + 1);
    let before: Option<Vec<u8>> = connection
        .query_row(
            "SELECT hash FROM journal WHERE entry = ?1
             UNION ALL SELECT hash FROM checkpoints WHERE entry = ?1",
            [first - 1],
            |row| row.get(0),
        )
        .optional()?;
    let before = before.and_then(|hash| Digest::from_slice(&hash)).unwrap_or_default();
    Ok((unsigned(first), before))
}

/// The batches of an export, one after the other.
pub(in crate::store) struct Export {
    pub(in crate::store) first_row: u64,
    /// The row that the checkpoint signs; rows are given up to it.
    pub(in crate::store) last_row: u64,
    pub(in crate::store) previous: Digest,
    pub(in crate::store) checkpoint: Checkpoint,
    pub(in crate::store) next_row: u64,
}

/// A batch of an export.
pub(in crate::store) struct Unpacked {
    pub(in crate::store) first_row: u64,
    pub(in crate::store) text: Vec<u8>,
}

impl Export {
    fn next(&mut self, reader: &mut Reader) -> Result<Option<Unpacked>, StoreError> {
        if self.next_row > self.last_row {
            return Ok(None);
        }
        let batch = reader.batch_from(self.next_row)?;
        let Some((first_row, last_row, text)) = batch else { return Ok(None) };
        self.next_row = last_row + 1;
        Ok(Some(Unpacked { first_row, text }))
    }
}

/// Verifies an evidence file with `key`, or with the one that it claims.
pub fn evidence(path: &Path, key: Option<PublicKey>) -> Result<Verification, StoreError> {
    let failed = |source| StoreError::File { what: "read", path: path.into(), source };
    let file = fs::File::open(path).map_err(failed)?;
    check(BufReader::new(file), &path.display().to_string(), key).map_err(failed)
}

/// See [`evidence`]: whatever the input is, this ends with a verdict on it.
pub fn check(mut input: impl BufRead, name: &str, key: Option<PublicKey>) -> io::Result<Verification> {
    let mut result = Verification::default();
    let mut bytes = Vec::new();
    let mut next = |bytes: &mut Vec<u8>| -> io::Result<bool> {
        bytes.clear();
        Ok((&mut input).take(LINE_MAX).read_until(b'\n', bytes)? > 0)
    };
    next(&mut bytes)?;
    let Some((header, key)) = opening(&bytes, name, key, &mut result) else { return Ok(result) };
    let mut row = (header.first_row, header.previous);
    let mut entry = (header.first_entry, header.entry_previous);
    let mut signed = (false, false);
    let mut counted = End { rows: 0, entries: 0 };
    let mut end = None;
    let mut number = 1_u64;
    while next(&mut bytes)? {
        number += 1;
        let Ok(line) = serde_json::from_slice::<Line<'_>>(&bytes) else {
            result.problem(name, None, format!("line {number} cannot be understood"));
            return Ok(result);
        };
        if let Some(checkpoint) = &line.checkpoint {
            let (place, done) = match checkpoint.chain {
                Chain::Events => (&row, &mut signed.0),
                Chain::Journal => (&entry, &mut signed.1),
            };
            if checkpoint.store != header.store || !checkpoint.is_signed_by(&key) {
                result.problem(name, Some(checkpoint.row), "has a checkpoint that this key did not sign");
            } else if checkpoint.row + 1 != place.0 || checkpoint.hash != place.1 {
                let what = format!(
                    "of the {} was signed with another past than the file has: something before it was changed",
                    checkpoint.chain.name()
                );
                result.problem(name, Some(checkpoint.row), what);
            } else {
                *done = true;
                result.signatures += 1;
            }
            continue;
        }
        if let Some(told) = line.end {
            end = Some(told);
            continue;
        }
        let digest = match (line.text, line.digest) {
            (Some(text), None) => Digest::of(text.get().as_bytes()),
            (None, Some(digest)) => digest,
            _ => {
                result.problem(name, None, format!("line {number} is neither a row nor a digest"));
                return Ok(result);
            }
        };
        let (place, given, count, shown, what) = match (line.row, line.entry) {
            (Some(given), None) => (&mut row, given, &mut counted.rows, &mut result.rows, "row"),
            (None, Some(given)) => (&mut entry, given, &mut counted.entries, &mut result.entries, "entry"),
            _ => {
                result.problem(name, None, format!("line {number} is neither a row nor an entry"));
                return Ok(result);
            }
        };
        if given != place.0 {
            let missing = place.0;
            // A store that lost its end at a loss of power goes on behind it.
            if what == "row" && given > missing {
                result.problem(name, Some(missing), format!("and all up to {} are missing", given - 1));
            } else {
                result.problem(name, Some(given), format!("stands where {what} {missing} should"));
            }
            return Ok(result);
        }
        *place = (given.saturating_add(1), link(place.1, given, digest));
        *count += 1;
        *shown += u64::from(line.text.is_some());
    }
    if !signed.0 {
        result.problem(name, Some(row.0.saturating_sub(1)), "is not signed");
    }
    if !signed.1 && counted.entries > 0 {
        result.problem(name, None, "the journal's end is not signed");
    }
    match end {
        Some(end) if end == counted => {}
        Some(_) => result.problem(name, None, "holds another number of rows than its end says"),
        None => result.problem(name, None, "is cut off: its end is missing"),
    }
    Ok(result)
}

/// The first line, and the key to check with.
fn opening(
    bytes: &[u8],
    name: &str,
    key: Option<PublicKey>,
    result: &mut Verification,
) -> Option<(Head, PublicKey)> {
    let header = serde_json::from_slice::<Head>(bytes).ok().filter(|head| head.schema == EVIDENCE_SCHEMA);
    let Some(header) = header else {
        result.problem(name, None, "is no evidence file of mcp-monitor");
        return None;
    };
    let key = match (key, header.public_key.parse::<PublicKey>()) {
        (Some(key), _) => key,
        (None, Ok(key)) => {
            result.note(
                "the key is the one that the file claims: compare it with the store's, or give --key".into(),
            );
            key
        }
        (None, Err(_)) => {
            result.problem(name, None, "claims a public key that is none");
            return None;
        }
    };
    result.public_key = key.to_string();
    Some((header, key))
}

/// The checkpoint that signs `last` or the next row after it that is signed.
pub(in crate::store) fn checkpoint_after(
    connection: &rusqlite::Connection,
    last: u64,
    store: &str,
) -> rusqlite::Result<Option<Checkpoint>> {
    use rusqlite::OptionalExtension as _;
    connection
        .query_row(
            "SELECT row, time, hash, signature FROM checkpoints WHERE row >= ? ORDER BY row LIMIT 1",
            [signed(last)],
            |row| checkpoint_of(row, store, Chain::Events),
        )
        .optional()
}
