//! The names of the days' files, and what is in the directory.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use jiff::civil::Date;

use super::{Day, StoreError};

/// The database of findings.
pub(super) const FINDINGS_FILE: &str = "findings.db";

/// A file of events: the day, and which part of it. Files come in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct DayFile {
    pub(super) date: Date,
    pub(super) part: u32,
}

impl DayFile {
    pub(super) fn name(self) -> String {
        match self.part {
            0 | 1 => format!("events-{}.db", self.date),
            part => format!("events-{}-{part}.db", self.date),
        }
    }

    pub(super) fn of_name(name: &str) -> Option<Self> {
        let middle = name.strip_prefix("events-")?.strip_suffix(".db")?;
        let (date, rest) = (middle.get(..10)?, middle.get(10..)?);
        let part = match rest {
            "" => 1,
            rest => rest.strip_prefix('-')?.parse().ok().filter(|part| *part > 1)?,
        };
        let file = Self { date: date.parse().ok()?, part };
        // Only the one spelling that we write.
        (file.name() == name).then_some(file)
    }

    pub(super) fn path(self, directory: &Path) -> PathBuf {
        directory.join(self.name())
    }
}

/// Makes the directory for its owner alone.
pub(super) fn make_directory(directory: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::File { what: "make the directory", path: directory.into(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let metadata = fs::metadata(directory).map_err(failed)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        // What somebody made beforehand, e.g. `mktemp -d` or a package.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// The files of events, oldest first.
pub(super) fn list(directory: &Path) -> Result<Vec<DayFile>, StoreError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => StoreError::Missing { path: directory.into() },
        io::ErrorKind::PermissionDenied => StoreError::NotPermitted { path: directory.into() },
        _ => StoreError::File { what: "list the directory", path: directory.into(), source },
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        files.extend(name.to_str().and_then(DayFile::of_name));
    }
    files.sort_unstable();
    Ok(files)
}

/// The files of events with their sizes, oldest first.
pub(super) fn days(directory: &Path) -> Result<Vec<Day>, StoreError> {
    let day = |file: DayFile| Day { file: file.name(), bytes: bytes(&file.path(directory)) };
    Ok(list(directory)?.into_iter().map(day).collect())
}

/// What a database takes on the disk, with its log.
pub(super) fn bytes(path: &Path) -> u64 {
    let of = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.blocks() * 512);
    [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")].iter().map(|path| of(path)).sum()
}

/// Unlinks a database with its log.
pub(super) fn unlink(path: &Path) -> Result<(), StoreError> {
    for path in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::File { what: "unlink", path, source: error });
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_back() {
        for name in ["events-2026-11-20.db", "events-2026-11-20-2.db", "events-2026-11-20-10.db"] {
            assert_eq!(DayFile::of_name(name).unwrap().name(), name);
        }
        for name in [
            "events-2026-11-20-1.db",
            "events-2026-11-20-02.db",
            "events-2026-13-20.db",
            "events-.db",
            "x",
            "events-é6-11-20.db",
        ] {
            assert_eq!(DayFile::of_name(name), None, "{name}");
        }
    }

    #[test]
    fn files_come_in_the_order_of_their_days() {
        let directory = tempfile::tempdir().unwrap();
        for name in [
            "events-2026-11-20.db",
            "events-2026-11-20-10.db",
            "events-2026-11-20-2.db",
            "events-2026-11-19.db",
            "x.db",
        ] {
            fs::write(directory.path().join(name), "x").unwrap();
        }
        let names: Vec<_> = list(directory.path()).unwrap().into_iter().map(DayFile::name).collect();
        assert_eq!(
            names,
            [
                "events-2026-11-19.db",
                "events-2026-11-20.db",
                "events-2026-11-20-2.db",
                "events-2026-11-20-10.db"
            ]
        );
    }
}
