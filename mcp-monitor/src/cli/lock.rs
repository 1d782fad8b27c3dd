//! One monitor at a time: a lock that the kernel gives back however its holder ends.

use crate::daemon::DaemonError;
use nix::fcntl::{Flock, FlockArg};
use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Held while the monitor runs.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// The directory for run-time files: systemd's `RuntimeDirectory=`, else `/run/mcp-monitor`.
fn run_directory() -> PathBuf {
    env::var_os("RUNTIME_DIRECTORY").map_or_else(|| "/run/mcp-monitor".into(), PathBuf::from)
}

impl Lock {
    /// Takes the lock of this host.
    pub fn take() -> Result<Self, DaemonError> {
        Self::take_in(&run_directory())
    }

    fn take_in(directory: &Path) -> Result<Self, DaemonError> {
        let other = |error: std::io::Error| {
            DaemonError::NotPermitted(format!(
                "{} cannot be used: {error}. Run as root, e.g. with sudo",
                directory.display()
            ))
        };
        fs::create_dir_all(directory).map_err(other)?;
        let path = directory.join("lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(other)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                // The pid is a help for people; the lock is what counts.
                let _ = file.set_len(0).and_then(|()| file.rewind());
                let _ = writeln!(file, "{}", std::process::id());
                Ok(Self { _file: file })
            }
            Err((mut file, _)) => {
                let mut text = String::new();
                let _ = Read::by_ref(&mut file).take(20).read_to_string(&mut text);
                let pid = text.trim().parse::<u32>().map_or("unknown".to_owned(), |pid| pid.to_string());
                Err(DaemonError::AlreadyRunning(format!(
                    "another mcp-monitor runs on this host (pid {pid}). End it first (`sudo kill {pid}`), or let it \
                     watch the process: `--pid`"
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let first = Lock::take_in(directory.path()).unwrap();
        let message = Lock::take_in(directory.path()).unwrap_err().to_string();
        assert!(message.contains(&format!("pid {}", std::process::id())), "{message}");
        drop(first);
        Lock::take_in(directory.path()).unwrap();
    }
}
