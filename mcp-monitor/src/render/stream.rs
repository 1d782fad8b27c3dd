//! Where lines go: a terminal, a pipe or a file, buffered, never half a line.
//!
//! Lines gather in memory until [`Stream::flush`] or until [`BUFFER_BYTES`] are waiting; the caller flushes after
//! each batch of events. The first error is the last write: afterwards every call returns it again.

use super::{
    Origin, Summary,
    human::{self, Look},
    json, summary,
};
use crate::event::{Event, Finding};
use anstream::{AutoStream, ColorChoice};
use jiff::tz::TimeZone;
use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, IsTerminal, Seek, SeekFrom, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
};

/// Bytes that gather before they are written unasked.
pub const BUFFER_BYTES: usize = 64 * 1024;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON object a line.
    Json,
}

/// When there is colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` or `CLICOLOR` say otherwise; `CLICOLOR_FORCE` anywhere.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Why nothing more can be written.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The reader of the pipe has gone. A clean end.
    #[error("the reader of the output has gone")]
    ClosedPipe,
    /// No room. A clean end with a message: what was written so far is whole lines.
    #[error("no room for the output: {0}. Free space or write elsewhere with --output-file")]
    Full(#[source] io::Error),
    /// Anything else.
    #[error("the output cannot be written: {0}")]
    Other(#[source] io::Error),
}

impl StreamError {
    pub(super) fn new(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Self::ClosedPipe,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Self::Full(error),
            _ => Self::Other(error),
        }
    }

    /// The same error once more; [`io::Error`] cannot be cloned.
    fn again(&self) -> Self {
        let copy = |error: &io::Error| match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::from(error.kind()),
        };
        match self {
            Self::ClosedPipe => Self::ClosedPipe,
            Self::Full(error) => Self::Full(copy(error)),
            Self::Other(error) => Self::Other(copy(error)),
        }
    }
}

/// Where a stream goes.
#[derive(Debug)]
pub struct Destination {
    file: File,
    /// A file of ours, that a cut last line can be removed from.
    regular: bool,
}

impl Destination {
    /// Standard output.
    pub fn standard_output() -> io::Result<Self> {
        // Not through `io::stdout`, whose own buffer would hide errors until the end.
        Ok(Self { file: File::from(io::stdout().as_fd().try_clone_to_owned()?), regular: false })
    }

    /// Standard error, for a summary beside a stream that goes elsewhere.
    pub fn standard_error() -> io::Result<Self> {
        Ok(Self { file: File::from(io::stderr().as_fd().try_clone_to_owned()?), regular: false })
    }

    /// The file at `path`, emptied, or made so that only its owner may read it: findings tell much.
    pub fn file(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let regular = file.metadata()?.is_file();
        Ok(Self { file, regular })
    }

    /// True for a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.file.is_terminal()
    }

    /// The format that fits when nobody asked for one.
    #[must_use]
    pub fn natural_format(&self) -> Format {
        if self.is_terminal() { Format::Table } else { Format::Json }
    }

    /// How lines for people look here.
    #[must_use]
    pub fn look(&self, colour: Colour) -> Look {
        let colour = match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => AutoStream::choice(&self.file) != ColorChoice::Never,
        };
        let width = self
            .is_terminal()
            .then(|| terminal_size::terminal_size_of(&self.file))
            .flatten()
            .map(|(terminal_size::Width(width), _)| usize::from(width));
        Look { colour, width, time_zone: TimeZone::system() }
    }

    /// Writes all of it.
    pub fn write_whole(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        self.write_lines(bytes).map_err(StreamError::new)
    }

    /// Writes whole lines, or removes the part of a line that got through before the error.
    pub(super) fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < lines.len() {
            match self.file.write(&lines[written..]) {
                Ok(0) => return Err(self.cut(&lines[..written], ErrorKind::WriteZero.into())),
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.cut(&lines[..written], error)),
            }
        }
        Ok(())
    }

    fn cut(&mut self, written: &[u8], error: io::Error) -> io::Error {
        let whole = written.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let partial = (written.len() - whole) as u64;
        if self.regular
            && partial > 0
            && let Ok(end) = self.file.stream_position()
            && self.file.set_len(end.saturating_sub(partial)).is_ok()
        {
            // Only the place of later writes, which there are none of.
            let _ = self.file.seek(SeekFrom::End(0));
        }
        error
    }
}

/// A stream of lines.
#[derive(Debug)]
pub struct Stream {
    origin: Origin,
    format: Format,
    destination: Destination,
    look: Look,
    quiet: bool,
    waiting: Vec<u8>,
    error: Option<StreamError>,
}

impl Stream {
    /// A stream of `format` into `destination`; `quiet` leaves out events.
    #[must_use]
    pub fn new(
        origin: Origin,
        format: Format,
        destination: Destination,
        colour: Colour,
        quiet: bool,
    ) -> Self {
        let look = destination.look(colour);
        let waiting = Vec::with_capacity(BUFFER_BYTES);
        Self { origin, format, destination, look, quiet, waiting, error: None }
    }

    /// The origin that lines carry, to be set once the tier is known and refreshed when clocks move.
    pub fn origin_mut(&mut self) -> &mut Origin {
        &mut self.origin
    }

    /// The origin that lines carry.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// True when people read it as it comes.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.destination.is_terminal()
    }

    /// How it is written.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// One event.
    pub fn event(&mut self, event: &Event) -> Result<(), StreamError> {
        if self.quiet {
            return self.state();
        }
        match self.format {
            Format::Table => {
                let line = human::event(&self.origin, event, &self.look);
                self.waiting.extend_from_slice(line.as_bytes());
            }
            Format::Json => json::event(&mut self.waiting, &self.origin, event),
        }
        self.added()
    }

    /// One finding; `repeated` when it was shown before.
    pub fn finding(&mut self, finding: &Finding, repeated: bool) -> Result<(), StreamError> {
        match self.format {
            Format::Table => {
                let block = human::finding(&self.origin, finding, repeated, &self.look);
                self.waiting.extend_from_slice(block.as_bytes());
            }
            Format::Json => json::finding(&mut self.waiting, &self.origin, finding),
        }
        self.added()
    }

    /// The closing summary, written at once.
    pub fn summary(&mut self, summary: &Summary) -> Result<(), StreamError> {
        match self.format {
            Format::Table => {
                let text = summary::for_people(&self.origin, summary, &self.look);
                self.waiting.extend_from_slice(text.as_bytes());
            }
            Format::Json => json::summary(&mut self.waiting, &self.origin, summary),
        }
        self.flush()
    }

    /// Writes what waits. Asks the terminal for its size again, since windows change.
    pub fn flush(&mut self) -> Result<(), StreamError> {
        self.state()?;
        if self.waiting.is_empty() {
            return Ok(());
        }
        let result = self.destination.write_lines(&self.waiting);
        self.waiting.clear();
        if let Err(error) = result {
            let error = StreamError::new(error);
            self.error = Some(error.again());
            return Err(error);
        }
        if let Some(width) = &mut self.look.width
            && let Some((terminal_size::Width(now), _)) =
                terminal_size::terminal_size_of(&self.destination.file)
        {
            *width = usize::from(now);
        }
        Ok(())
    }

    fn added(&mut self) -> Result<(), StreamError> {
        if self.error.is_some() {
            self.waiting.clear();
        }
        if self.waiting.len() >= BUFFER_BYTES { self.flush() } else { self.state() }
    }

    fn state(&self) -> Result<(), StreamError> {
        self.error.as_ref().map_or(Ok(()), |error| Err(error.again()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    fn stream(destination: Destination) -> Stream {
        Stream::new(sample::origin(), Format::Json, destination, Colour::Auto, false)
    }

    #[test]
    fn a_closed_pipe_is_told_from_a_full_disk() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut closed = stream(Destination { file, regular: false });
        closed.event(&sample::open(b"/x")).unwrap();
        assert!(matches!(closed.flush(), Err(StreamError::ClosedPipe)));
        assert!(matches!(closed.event(&sample::open(b"/x")), Err(StreamError::ClosedPipe)));

        let mut full = stream(Destination::file(Path::new("/dev/full")).unwrap());
        full.event(&sample::open(b"/x")).unwrap();
        assert!(matches!(full.flush(), Err(StreamError::Full(_))));
        assert!(matches!(full.summary(&sample::summary()), Err(StreamError::Full(_))));
    }

    #[test]
    fn a_file_that_cannot_grow_ends_with_a_whole_line() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let mut destination = Destination::file(path.path()).unwrap();
        destination.write_lines(b"{1}\n").unwrap();
        // What a disk that fills up after seven bytes leaves behind.
        destination.file.write_all(b"{2}\n{3}").unwrap();
        destination.cut(b"{2}\n{3}", ErrorKind::StorageFull.into());
        assert_eq!(std::fs::read_to_string(path.path()).unwrap(), "{1}\n{2}\n");
    }

    #[test]
    fn quiet_shows_findings_and_the_summary_only() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let destination = Destination::file(path.path()).unwrap();
        let mut stream = Stream::new(sample::origin(), Format::Json, destination, Colour::Auto, true);
        stream.event(&sample::open(b"/x")).unwrap();
        stream.finding(&sample::findings()[0], false).unwrap();
        stream.summary(&sample::summary()).unwrap();
        let text = std::fs::read_to_string(path.path()).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().next().unwrap().contains(json::FINDING_SCHEMA));
    }
}
