//! The way out: questions to the days' files and to the findings, beside a daemon that writes or without one.

mod aggregate;
mod events;
mod export;
mod findings;
mod select;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::{
    Recording, Status, StoreError,
    batch::{Packed, Unpacker},
    chain::{self, Chain},
    files::{self, DayFile, FINDINGS_FILE},
    journal,
    schema::{self, database},
};

/// Files that stay open.
const OPEN_MAX: usize = 16;

/// Where questions go.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// A store.
    Directory(PathBuf),
    /// The file of one day.
    File(PathBuf),
}

/// A day's file for reading.
pub(super) struct DayReader {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    unpacker: Unpacker,
    /// The batch that was read last: its first row and its text.
    last: Option<(u64, Vec<u8>)>,
}

/// Answers questions. One connection for each file; for one thread.
pub struct Reader {
    place: Place,
    days: HashMap<PathBuf, DayReader>,
    findings: Option<Connection>,
}

impl Reader {
    /// Opens the store in the directory `place`, or the file of a day at `place`.
    pub fn open(place: &Path) -> Result<Self, StoreError> {
        let metadata = std::fs::metadata(place).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => StoreError::Missing { path: place.into() },
            std::io::ErrorKind::PermissionDenied => StoreError::NotPermitted { path: place.into() },
            _ => StoreError::File { what: "open", path: place.into(), source },
        })?;
        let mut reader = Self { place: Place::File(place.into()), days: HashMap::new(), findings: None };
        if metadata.is_dir() {
            reader.place = Place::Directory(place.into());
            let has_findings = place.join(FINDINGS_FILE).exists();
            if files::list(place)?.is_empty() && !has_findings {
                return Err(StoreError::Missing { path: place.into() });
            }
            if has_findings {
                reader.findings = Some(schema::open_read(&place.join(FINDINGS_FILE), &schema::FINDINGS)?);
            }
        } else {
            // What cannot be read is told now.
            reader.day(place)?;
        }
        Ok(reader)
    }

    /// The paths of the days' files, oldest first.
    fn paths(&self) -> Result<Vec<PathBuf>, StoreError> {
        match &self.place {
            Place::File(path) => Ok(vec![path.clone()]),
            Place::Directory(directory) => {
                Ok(files::list(directory)?.into_iter().map(|file: DayFile| file.path(directory)).collect())
            }
        }
    }

    /// The day's file, opened if it is not.
    fn day(&mut self, path: &Path) -> Result<&mut DayReader, StoreError> {
        if !self.days.contains_key(path) {
            if self.days.len() >= OPEN_MAX {
                self.days.clear();
            }
            let connection = schema::open_read(path, &schema::EVENTS)?;
            let day = DayReader { path: path.into(), connection, unpacker: Unpacker::default(), last: None };
            self.days.insert(path.into(), day);
        }
        // It was inserted above if it was missing.
        self.days.get_mut(path).ok_or_else(|| StoreError::Missing { path: path.into() })
    }

    /// Calls `visit` for each day's file, oldest first. A file that retention has taken meanwhile is passed over.
    fn each_day<T>(
        &mut self,
        mut visit: impl FnMut(&mut DayReader) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut answers = Vec::new();
        let directory = matches!(self.place, Place::Directory(_));
        for path in self.paths()? {
            match self.day(&path) {
                Ok(day) => answers.push(visit(day)?),
                Err(StoreError::Missing { .. }) if directory => {}
                Err(error) => return Err(error),
            }
        }
        Ok(answers)
    }

    /// The signed end of the rows, if there is one yet.
    pub fn checkpoint(&mut self) -> Result<Option<chain::Checkpoint>, StoreError> {
        let Some(findings) = &self.findings else { return Ok(None) };
        let failed = match &self.place {
            Place::Directory(place) | Place::File(place) => database("read the end of the rows", place),
        };
        journal::head(findings, Chain::Events).map_err(failed)
    }

    /// What the store says of itself without its daemon.
    pub fn status(&mut self) -> Result<Status, StoreError> {
        let last_row = self.end()?.0;
        let (directory, days, mut bytes) = match &self.place {
            Place::Directory(directory) => {
                let findings = files::bytes(&directory.join(FINDINGS_FILE));
                (directory.clone(), files::days(directory)?, findings)
            }
            Place::File(path) => (path.clone(), Vec::new(), files::bytes(path)),
        };
        bytes += days.iter().map(|day| day.bytes).sum::<u64>();
        let head = match &self.findings {
            Some(findings) => journal::head(findings, Chain::Events)
                .map_err(database("read the end of the rows", &directory))?,
            None => None,
        };
        Ok(Status {
            public_key: chain::public_key(&directory).map_or_else(|_| String::new(), |key| key.to_string()),
            directory: directory.display().to_string(),
            recording: Recording::Off,
            bytes,
            days,
            last_row,
            queue_events: 0,
            queue_bytes: 0,
            written: 0,
            rolled_up: 0,
            overflow: 0,
            unwritten: 0,
            last_checkpoint: head.map(|head| head.time),
        })
    }
}

impl DayReader {
    pub(super) fn failed(&self, what: &'static str) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
        database(what, &self.path)
    }

    /// The batch that holds `row`.
    fn packed(&self, row: u64) -> Result<Option<Packed>, StoreError> {
        use rusqlite::OptionalExtension as _;
        let packed = self
            .connection
            .prepare_cached(&format!(
                "SELECT {} FROM batches WHERE first_row <= ? ORDER BY first_row DESC LIMIT 1",
                super::batch::PACKED_COLUMNS
            ))
            .and_then(|mut statement| {
                statement.query_row([super::columns::signed(row)], Packed::of_row).optional()
            })
            .map_err(self.failed("read a row"))?;
        Ok(packed.filter(|packed| packed.last_row >= row))
    }

    /// The line of a row; `None` when there is no such row.
    pub(super) fn line(&mut self, row: u64) -> Result<Option<String>, StoreError> {
        let failed = self.failed("read a row");
        let held = |last: &Option<(u64, Vec<u8>)>| -> Option<Option<String>> {
            let (first_row, text) = last.as_ref()?;
            let index = usize::try_from(row.checked_sub(*first_row)?).ok()?;
            let line = super::batch::lines(text).nth(index)?;
            Some(Some(String::from_utf8_lossy(line).into_owned()))
        };
        if let Some(line) = held(&self.last) {
            return Ok(line);
        }
        let Some(packed) = self.packed(row)? else { return Ok(None) };
        let (text, whole) = self.unpacker.unpack(&self.connection, &packed).map_err(&failed)?;
        self.last = Some((packed.first_row, text));
        match held(&self.last) {
            Some(line) => Ok(line),
            None => Err(StoreError::Damaged {
                path: self.path.clone(),
                row,
                what: if whole { "its batch is too short" } else { "its batch cannot be unpacked" }.into(),
            }),
        }
    }
}
