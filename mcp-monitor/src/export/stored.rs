//! The store as what sinks read: each has a reader of its own, beside the daemon that writes.

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;

use super::source::{Positions, Row, Source, SourceError};
use crate::{
    render::json::Checkpoint,
    store::{Cursor, Filter, FindingFilter, Order, Query, Reader, StoreError},
};

/// A page takes this long at most.
const BUDGET: Duration = Duration::from_secs(2);

/// See the module.
pub struct Stored {
    directory: PathBuf,
    reader: Option<Reader>,
    since: Option<Timestamp>,
}

impl Stored {
    /// The store in `directory`, opened when it is asked.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, reader: None, since: None }
    }

    /// Only what is not before `since`.
    #[must_use]
    pub fn since(self, since: Option<Timestamp>) -> Self {
        Self { since, ..self }
    }

    /// Asks the reader; after an error it is opened anew.
    fn ask<T>(&mut self, ask: impl FnOnce(&mut Reader) -> Result<T, StoreError>) -> Result<T, SourceError> {
        let told = |error: StoreError| SourceError(error.to_string());
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::open(&self.directory).map_err(told)?,
        };
        let answer = ask(&mut reader).map_err(told)?;
        self.reader = Some(reader);
        Ok(answer)
    }
}

impl Source for Stored {
    fn findings(&mut self, after: u64, limit: usize) -> Result<Vec<Row>, SourceError> {
        let filter = FindingFilter {
            changed_after: Some(after),
            since: self.since,
            limit,
            order: Order::OldestFirst,
            ..FindingFilter::default()
        };
        let rows = self.ask(|reader| reader.findings(&filter))?;
        Ok(rows.into_iter().map(|row| Row { position: row.change, line: row.line }).collect())
    }

    fn events(&mut self, after: u64, limit: usize) -> Result<Vec<Row>, SourceError> {
        let query = Query {
            order: Order::OldestFirst,
            limit,
            after: Some(Cursor(after)),
            budget: BUDGET,
            lines: true,
            filter: Filter { since: self.since, ..Filter::default() },
        };
        let page = self.ask(|reader| reader.events(&query))?;
        Ok(page.rows.into_iter().map(|row| Row { position: row.cursor.0, line: row.line }).collect())
    }

    fn events_are_dense(&self) -> bool {
        self.since.is_none()
    }

    fn checkpoint(&mut self) -> Result<Option<Checkpoint>, SourceError> {
        let Some(end) = self.ask(Reader::checkpoint)? else { return Ok(None) };
        // By way of its JSON, which is what is kept elsewhere and compared.
        let value = serde_json::to_value(&end).and_then(serde_json::from_value);
        value.map(Some).map_err(|error| SourceError(error.to_string()))
    }

    fn end(&mut self) -> Result<Positions, SourceError> {
        let newest = FindingFilter {
            changed_after: Some(0),
            limit: 1,
            order: Order::NewestFirst,
            ..FindingFilter::default()
        };
        self.ask(|reader| {
            let findings = reader.findings(&newest)?.first().map_or(0, |row| row.change);
            Ok(Positions { findings, events: reader.end()?.0 })
        })
    }
}
