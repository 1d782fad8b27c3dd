//! Proving that nothing was changed, cut off or taken out: of a store, of an evidence file, and of a store against
//! what a sink has received.
//!
//! What is proven, and what root can still forge, says `docs/integrity.md`.

mod against;
mod days;
mod evidence;
mod journal;

use std::{
    fmt::{self, Display},
    path::Path,
};

use serde::Serialize;

pub use evidence::{EVIDENCE_SCHEMA, check, evidence, export};
pub(super) use evidence::{Export, checkpoint_after};

use super::{
    StoreError,
    chain::{self, Chain, PublicKey},
    files::FINDINGS_FILE,
    journal::{head, store_id},
    schema::{self, database},
};
use against::Against;

/// Problems that are told one by one; more are counted.
const TOLD_MAX: usize = 100;

/// Something that is not as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The first row or entry that is concerned, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// In words.
    pub what: String,
}

impl Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            Some(row) => write!(formatter, "{}: row {row} {}", self.file, self.what),
            None => write!(formatter, "{}: {}", self.file, self.what),
        }
    }
}

/// What verifying came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// What is wrong, in the order in which it was found.
    pub problems: Vec<Problem>,
    /// Problems beyond those.
    pub more_problems: u64,
    /// What is not wrong and should be known: what expired, what was lost at a stop.
    pub notes: Vec<String>,
    /// Rows that were proven.
    pub rows: u64,
    /// Entries of the journal that were proven.
    pub entries: u64,
    /// Signatures that were checked and are right.
    pub signatures: u64,
    /// Lines of a sink that are in the store as they were sent.
    pub sent: u64,
    /// The key that the signatures were checked with.
    pub public_key: String,
}

impl Verification {
    /// True when nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    fn problem(&mut self, file: &str, row: Option<u64>, what: impl Into<String>) {
        if self.problems.len() < TOLD_MAX {
            self.problems.push(Problem { file: file.to_owned(), row, what: what.into() });
        } else {
            self.more_problems += 1;
        }
    }

    fn note(&mut self, text: String) {
        if self.notes.len() < TOLD_MAX {
            self.notes.push(text);
        }
    }
}

/// For people.
impl Display for Verification {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(formatter, "broken  {problem}")?;
        }
        if self.more_problems > 0 {
            writeln!(formatter, "broken  and {} times more", self.more_problems)?;
        }
        for note in &self.notes {
            writeln!(formatter, "note    {note}")?;
        }
        let Self { rows, entries, signatures, sent, public_key, .. } = self;
        writeln!(formatter, "checked {rows} events, {entries} journal entries, {signatures} signatures")?;
        if *sent > 0 {
            writeln!(formatter, "checked {sent} lines that a sink has received")?;
        }
        writeln!(formatter, "key     {public_key}")?;
        if self.is_good() {
            writeln!(formatter, "good    nothing was changed, cut off or taken out")
        } else {
            writeln!(formatter, "broken  {} problems", self.problems.len() as u64 + self.more_problems)
        }
    }
}

/// Verifies the store in `directory`, with `key` or the store's own, and against the JSON lines in `sent` that a sink
/// has received.
pub fn store(
    directory: &Path,
    key: Option<PublicKey>,
    sent: Option<&Path>,
) -> Result<Verification, StoreError> {
    let key = match key {
        Some(key) => key,
        None => chain::public_key(directory)?,
    };
    let mut result = Verification { public_key: key.to_string(), ..Verification::default() };
    let path = directory.join(FINDINGS_FILE);
    let findings = schema::open_read(&path, &schema::FINDINGS)?;
    let store = store_id(&findings).map_err(database("read its id", &path))?.unwrap_or_default();
    let mut sent = sent.map(|path| Against::read(path, &key, &store, &mut result)).transpose()?;
    // The end is asked for first: what is written meanwhile lies beyond it.
    let end = head(&findings, Chain::Events).map_err(database("read the end of the rows", &path))?;
    let history = journal::verify(&findings, &path, &key, &store, &mut result, sent.as_mut())?;
    days::verify(directory, &history, end.as_ref(), &key, &store, &mut result, sent.as_mut())?;
    if let Some(sent) = sent {
        sent.finish(&mut result);
    }
    Ok(result)
}
