//! Standard output, for containers whose runtime collects it.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::AsFd as _,
};

use serde::Deserialize;

use super::{Failure, Sink, Taken};
use crate::export::{format::Format, record::Record};

/// Settings of `stdout`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StdoutSettings {
    /// How lines look.
    #[serde(default)]
    pub format: Format,
}

/// See the module.
pub(super) struct Stdout {
    format: Format,
    file: File,
}

impl Stdout {
    pub(super) fn open(settings: &StdoutSettings) -> io::Result<Self> {
        // Not through `io::stdout`, whose own buffer would hide errors.
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Self { format: settings.format, file })
    }
}

impl Sink for Stdout {
    fn deliver(&mut self, records: &[Record]) -> Result<Taken, Failure> {
        let mut text = String::new();
        for record in records {
            text.push_str(&self.format.line(record));
            text.push('\n');
        }
        self.file.write_all(text.as_bytes())?;
        Ok(Taken::default())
    }
}
