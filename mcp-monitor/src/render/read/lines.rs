//! Lines of a source, one at a time, bounded.

use super::{Line, ReadError};
use std::io::{BufRead, Read as _};

/// Longest line that is read: more than any event takes.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Lines of a source. What is not a line is an error item, and reading goes on behind it, unless the source failed.
#[derive(Debug)]
pub struct Lines<Source> {
    source: Source,
    number: u64,
    ended: bool,
}

impl<Source: BufRead> Lines<Source> {
    /// Lines of `source`.
    pub fn new(source: Source) -> Self {
        Self { source, number: 0, ended: false }
    }

    /// Number of the line that was read last, from 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    fn read(&mut self) -> Option<Result<String, ReadError>> {
        let mut bytes = Vec::new();
        let bound = LINE_BYTES_MAX as u64 + 1;
        match self.source.by_ref().take(bound).read_until(b'\n', &mut bytes) {
            Ok(0) => return None,
            Ok(_) => self.number += 1,
            Err(error) => {
                self.ended = true;
                return Some(Err(error.into()));
            }
        }
        if bytes.len() > LINE_BYTES_MAX {
            if let Err(error) = self.source.skip_until(b'\n') {
                self.ended = true;
                return Some(Err(error.into()));
            }
            return Some(Err(ReadError::TooLong));
        }
        // JSON is UTF-8; what is not makes no line.
        Some(Ok(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

impl<Source: BufRead> Iterator for Lines<Source> {
    type Item = Result<(Line, String), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.read()? {
                Ok(text) if text.trim().is_empty() => {}
                Ok(text) => return Some(Line::parse(&text).map(|line| (line, text))),
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_line_stops_nothing() {
        let mut input = vec![b'x'; LINE_BYTES_MAX + 5];
        input.extend_from_slice(b"\n\nnot json\n{\"schema\":\"mcp-monitor/dropped/v1\",\"dropped\":3}");
        let mut lines = Lines::new(input.as_slice());
        assert!(matches!(lines.next(), Some(Err(ReadError::TooLong))));
        assert!(matches!(lines.next(), Some(Err(ReadError::NotALine(_)))));
        assert!(matches!(lines.next(), Some(Ok((Line::Dropped(3), _)))));
        assert_eq!(lines.number(), 4);
        assert!(lines.next().is_none());
    }
}
