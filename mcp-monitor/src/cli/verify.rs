//! `mcp-monitor verify`: proves that nothing that was recorded was changed, cut off or taken out.

use super::{exit_code::Exit, recording::default_directory};
use crate::store::{
    StoreError,
    chain::{PublicKey, public_key},
    verify,
};
use clap::Args;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Options of `verify`.
#[derive(Clone, Debug, Args)]
pub(super) struct Verify {
    /// An evidence file that `mcp-monitor export` wrote; the store, if none is given.
    #[arg(value_name = "EVIDENCE", conflicts_with_all = ["store", "against"])]
    evidence: Option<PathBuf>,
    /// The store's directory [default: /var/lib/mcp-monitor]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Compare with the JSON lines in FILE, which a sink has received: what root on this host cannot change.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// The public key that you know to be right: its 64 digits, or a file with them [default: the store's or the
    /// file's own]
    #[arg(long, value_name = "KEY|FILE")]
    key: Option<String>,
    /// Print the store's public key, to be kept elsewhere, and do nothing else.
    #[arg(long, conflicts_with_all = ["evidence", "against", "key"])]
    print_key: bool,
    /// Print the result as a JSON object.
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Verifies, and tells.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let directory = self.store.clone().unwrap_or_else(default_directory);
        match self.answer(&directory) {
            Ok(exit) => Ok(exit),
            Err(Failed::Store(error)) => {
                super::say(&error);
                Ok(Exit::from(&error))
            }
            Err(Failed::Output(error)) => Err(error.into()),
        }
    }

    fn answer(&self, directory: &Path) -> Result<Exit, Failed> {
        let mut out = io::stdout().lock();
        if self.print_key {
            writeln!(out, "{}", public_key(directory)?)?;
            return Ok(Exit::Ok);
        }
        let key = self.key.as_deref().map(key).transpose()?;
        let result = match &self.evidence {
            Some(evidence) => verify::evidence(evidence, key)?,
            None => verify::store(directory, key, self.against.as_deref())?,
        };
        if self.json {
            serde_json::to_writer(&mut out, &result).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            for line in result.to_string().lines() {
                // File names and what a damaged file says come from elsewhere.
                writeln!(out, "{}", crate::event::escape(line.as_bytes()))?;
            }
        }
        Ok(if result.is_good() { Exit::Ok } else { Exit::Broken })
    }
}

enum Failed {
    Store(StoreError),
    Output(io::Error),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

fn key(text: &str) -> Result<PublicKey, StoreError> {
    text.parse().or_else(|problem: String| {
        let written = fs::read_to_string(text)
            .map_err(|_| StoreError::Usage(format!("--key {text}: {problem}, and there is no such file")))?;
        written.parse().map_err(|problem: String| StoreError::Usage(format!("--key {text}: {problem}")))
    })
}
