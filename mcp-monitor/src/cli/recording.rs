//! Options that say what is recorded, where, and for how long.

use crate::store::{Settings, settings::DEFAULT_DIRECTORY};
use clap::Args;
use std::{env, path::PathBuf};

/// The store of this host: systemd's `StateDirectory=`, else `/var/lib/mcp-monitor`.
pub(super) fn default_directory() -> PathBuf {
    env::var_os("STATE_DIRECTORY").map_or_else(|| DEFAULT_DIRECTORY.into(), PathBuf::from)
}

fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) =
        text.split_at(text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("a size is a number of bytes, or one with K, M, G or T behind it".into()),
    };
    let number: u64 = number.parse().map_err(|error| format!("{error}"))?;
    let bytes = number.checked_mul(1 << shift).ok_or("too large")?;
    if bytes < 1 << 20 { Err("at least 1M".into()) } else { Ok(bytes) }
}

/// What is recorded, where, and for how long.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Recording")]
pub(super) struct RecordingOptions {
    /// Record events and findings in DIR.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Days that events are kept.
    #[arg(long, value_name = "N", default_value_t = 14, value_parser = clap::value_parser!(u16).range(1..))]
    keep_days: u16,
    /// Bytes of events that are kept, e.g. 4G; the oldest go first.
    #[arg(long, value_name = "SIZE", default_value = "4G", value_parser = bytes)]
    keep_bytes: u64,
    /// Replace home directories' names and user names by keyed hashes before anything is recorded.
    #[arg(long)]
    pseudonyms: bool,
}

impl RecordingOptions {
    /// The settings when a directory was named.
    pub(super) fn when_asked(&self) -> Option<Settings> {
        self.store.clone().map(|directory| self.at(directory))
    }

    /// The settings in any case.
    pub(super) fn always(&self) -> Settings {
        self.at(self.store.clone().unwrap_or_else(default_directory))
    }

    fn at(&self, directory: PathBuf) -> Settings {
        Settings {
            days: self.keep_days,
            bytes: self.keep_bytes,
            pseudonyms: self.pseudonyms,
            ..Settings::new(directory)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_with_units() {
        assert_eq!(bytes("4G"), Ok(4 << 30));
        assert_eq!(bytes("1048576"), Ok(1 << 20));
        for wrong in ["", "G", "4X", "1", "99999999999999999999", "9999999999T", "-1"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
