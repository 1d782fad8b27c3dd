//! Where records come from: something that keeps them and can be read again from any place.

use std::sync::{Arc, Mutex, PoisonError};

use super::record::{LINE_BYTES_MAX, Record};
use crate::render::json::Checkpoint;

/// A kept line with its place. Places grow and are never used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its place.
    pub position: u64,
    /// The line of the contract.
    pub line: String,
}

/// How far findings and events go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// The latest change of a finding.
    pub findings: u64,
    /// The latest event.
    pub events: u64,
}

/// The source cannot be read now.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// What records are read from, by one sink.
pub trait Source: Send {
    /// Findings that came or changed beyond `after`, in that order, at most `limit`. One that changed several times
    /// comes at least with its latest change.
    fn findings(&mut self, after: u64, limit: usize) -> Result<Vec<Row>, SourceError>;
    /// Events beyond `after`, in their order, at most `limit`.
    fn events(&mut self, after: u64, limit: usize) -> Result<Vec<Row>, SourceError>;
    /// The end, from which a new sink goes on.
    fn end(&mut self) -> Result<Positions, SourceError>;
    /// The signed end of the chain that the records stand in, if they do.
    fn checkpoint(&mut self) -> Result<Option<Checkpoint>, SourceError> {
        Ok(None)
    }
    /// True when places of events have no gaps, so that a gap shows what was removed before it was delivered.
    fn events_are_dense(&self) -> bool {
        true
    }
}

/// A source in memory, for tests and for what is not kept. Clones share what they hold.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    findings: Vec<String>,
    events: Vec<String>,
}

impl Memory {
    /// Adds a finding's line.
    pub fn finding(&self, line: &str) {
        self.kept().findings.push(line.to_owned());
    }

    /// Adds an event's line.
    pub fn event(&self, line: &str) {
        self.kept().events.push(line.to_owned());
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rows(lines: &[String], after: u64, limit: usize) -> Vec<Row> {
    let start = usize::try_from(after).unwrap_or(usize::MAX).min(lines.len());
    let numbered = (after + 1..).zip(&lines[start..]);
    numbered.take(limit).map(|(position, line)| Row { position, line: line.clone() }).collect()
}

impl Source for Memory {
    fn findings(&mut self, after: u64, limit: usize) -> Result<Vec<Row>, SourceError> {
        Ok(rows(&self.kept().findings, after, limit))
    }

    fn events(&mut self, after: u64, limit: usize) -> Result<Vec<Row>, SourceError> {
        Ok(rows(&self.kept().events, after, limit))
    }

    fn end(&mut self) -> Result<Positions, SourceError> {
        let kept = self.kept();
        Ok(Positions { findings: kept.findings.len() as u64, events: kept.events.len() as u64 })
    }
}

/// Lines of a file or pipe, once from the beginning to the end: what a replay sends.
pub struct Replay<R> {
    lines: R,
    since: Option<jiff::Timestamp>,
    events: bool,
    position: u64,
}

impl<R: std::io::BufRead + Send> Replay<R> {
    /// Findings of `lines` not before `since`; with `events`, events too.
    pub fn new(lines: R, since: Option<jiff::Timestamp>, events: bool) -> Self {
        Self { lines, since, events, position: 0 }
    }
}

impl<R: std::io::BufRead + Send> Source for Replay<R> {
    fn findings(&mut self, _after: u64, limit: usize) -> Result<Vec<Row>, SourceError> {
        let mut rows = Vec::new();
        while rows.len() < limit {
            let mut line = Vec::new();
            // Bounded: a file without line ends must not fill the memory.
            let bound = LINE_BYTES_MAX as u64 + 2;
            let mut bounded = std::io::Read::take(&mut self.lines, bound);
            let read = std::io::BufRead::read_until(&mut bounded, b'\n', &mut line)
                .map_err(|error| SourceError(error.to_string()))?;
            if read == 0 {
                break;
            }
            self.position += 1;
            let line = String::from_utf8_lossy(&line).into_owned();
            let wanted = match Record::parse(&line) {
                Ok(record) => {
                    (self.events || record.is_finding())
                        && self.since.is_none_or(|since| record.time() >= since)
                }
                // Summaries and the like are no records; what is none at all is left out of a replay, too.
                Err(_) => false,
            };
            if wanted {
                rows.push(Row { position: self.position, line });
            }
        }
        Ok(rows)
    }

    fn events(&mut self, _after: u64, _limit: usize) -> Result<Vec<Row>, SourceError> {
        Ok(Vec::new())
    }

    fn end(&mut self) -> Result<Positions, SourceError> {
        Ok(Positions::default())
    }
}
