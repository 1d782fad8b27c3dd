//! Exit statuses, a promise to scripts. `mcp-monitor help` and the README list them.

use crate::{daemon::DaemonError, render::StreamError, sensor::SensorError, store::StoreError};
use std::{
    os::unix::process::ExitStatusExt,
    process::{ExitCode, ExitStatus},
};

/// What the process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done. Also when the reader of the output went away, and when `run` was ended by a signal.
    Ok,
    /// An error that has no number of its own.
    Failed,
    /// The command line is wrong.
    Usage,
    /// Root or a capability is missing.
    NotPermitted,
    /// This kernel cannot: too old, no BTF, locked down.
    Unsupported,
    /// Another monitor runs.
    AlreadyRunning,
    /// The output could not be written to its end.
    OutputFailed,
    /// No monitor answers at its socket.
    NoMonitor,
    /// Nothing has this name or id.
    Unknown,
    /// What was recorded is not as it was recorded.
    Broken,
    /// A finding matched `--fail-on`.
    Found,
    /// COMMAND cannot be executed.
    NotExecutable,
    /// COMMAND does not exist.
    NotFound,
    /// As COMMAND ended: its status, or 128 and the number of the signal that ended it.
    Command(u8),
}

/// The table that `--help` shows.
pub const TABLE: &str = "\
Exit status:
  0    done
  1    failed in another way than those below
  2    wrong command line
  3    not permitted: root or a capability is missing
  4    not possible on this kernel (`mcp-monitor doctor` says why)
  5    another monitor runs
  6    the output could not be written to its end
  7    no monitor answers: none runs, or its socket is elsewhere
  8    nothing has the name or id that was given
  9    `verify` found something changed, cut off or taken out
  10   a finding matched --fail-on
  126  COMMAND cannot be executed
  127  COMMAND does not exist
`watch` otherwise ends as COMMAND did: with its status, or 128 and the number of the signal that ended it.";

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotPermitted => 3,
            Self::Unsupported => 4,
            Self::AlreadyRunning => 5,
            Self::OutputFailed => 6,
            Self::NoMonitor => 7,
            Self::Unknown => 8,
            Self::Broken => 9,
            Self::Found => 10,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
            Self::Command(code) => code,
        }
    }

    /// As a command ended.
    #[must_use]
    pub fn of_command(status: ExitStatus) -> Self {
        let number = match (status.code(), status.signal()) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => 1,
        };
        Self::Command(u8::try_from(number).unwrap_or(u8::MAX))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<&DaemonError> for Exit {
    fn from(error: &DaemonError) -> Self {
        match error {
            DaemonError::Usage(_) => Self::Usage,
            DaemonError::NotPermitted(_) => Self::NotPermitted,
            DaemonError::AlreadyRunning(_) => Self::AlreadyRunning,
            DaemonError::Sensor(error) => Self::from(error),
            DaemonError::Store(error) => Self::from(error),
            DaemonError::Judge(_) | DaemonError::Other(_) => Self::Failed,
        }
    }
}

impl From<&SensorError> for Exit {
    fn from(error: &SensorError) -> Self {
        match error {
            SensorError::NotPermitted { .. } => Self::NotPermitted,
            SensorError::NoBtf { .. }
            | SensorError::BadBtf(_)
            | SensorError::MissingField { .. }
            | SensorError::Load { .. }
            | SensorError::NoTier { .. } => Self::Unsupported,
            SensorError::Abi { .. } | SensorError::Order { .. } => Self::Failed,
        }
    }
}

impl From<&StoreError> for Exit {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Usage(_) => Self::Usage,
            StoreError::NotPermitted { .. } => Self::NotPermitted,
            StoreError::InUse { .. } => Self::AlreadyRunning,
            _ => Self::Failed,
        }
    }
}

impl From<&StreamError> for Exit {
    fn from(error: &StreamError) -> Self {
        match error {
            StreamError::ClosedPipe => Self::Ok,
            StreamError::Full(_) | StreamError::Other(_) => Self::OutputFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_a_promise() {
        let codes = [
            (Exit::Ok, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::NotPermitted, 3),
            (Exit::Unsupported, 4),
            (Exit::AlreadyRunning, 5),
            (Exit::OutputFailed, 6),
            (Exit::NoMonitor, 7),
            (Exit::Unknown, 8),
            (Exit::Broken, 9),
            (Exit::Found, 10),
            (Exit::NotExecutable, 126),
            (Exit::NotFound, 127),
        ];
        let mut seen = HashSet::new();
        for (exit, code) in codes {
            assert_eq!(exit.code(), code);
            assert!(seen.insert(code));
            assert!(TABLE.contains(&format!("\n  {code:<5}")), "{code} stands in the table");
        }
    }

    #[test]
    fn a_command_is_told_as_shells_tell_it() {
        assert_eq!(Exit::of_command(ExitStatus::from_raw(3 << 8)).code(), 3);
        assert_eq!(Exit::of_command(ExitStatus::from_raw(9)).code(), 137);
    }
}
