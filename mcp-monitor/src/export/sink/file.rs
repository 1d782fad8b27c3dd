//! A file of lines, rotated by size. Where another program rotates it, the new file is found at the next batch.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{Failure, Sink, Taken};
use crate::export::{format::Format, record::Record};

/// Settings of `file`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSettings {
    /// Where.
    pub path: PathBuf,
    /// How lines look.
    #[serde(default)]
    pub format: Format,
    /// The file is rotated before it is larger.
    #[serde(default = "rotate_bytes")]
    pub rotate_bytes: u64,
    /// So many old files are kept.
    #[serde(default = "keep")]
    pub keep: u32,
}

fn rotate_bytes() -> u64 {
    100 << 20
}

fn keep() -> u32 {
    5
}

/// See the module.
pub(super) struct FileSink {
    settings: FileSettings,
    file: File,
    bytes: u64,
}

impl FileSink {
    pub(super) fn open(settings: &FileSettings) -> io::Result<Self> {
        let (file, bytes) = open(&settings.path)?;
        Ok(Self { settings: settings.clone(), file, bytes })
    }

    /// Somebody moved or removed the file: goes on in a new one.
    fn follow(&mut self) -> io::Result<()> {
        let ours = self.file.metadata()?;
        let same = fs::metadata(&self.settings.path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
        if same {
            self.bytes = ours.len();
        } else {
            (self.file, self.bytes) = open(&self.settings.path)?;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let path = &self.settings.path;
        for number in (1..self.settings.keep).rev() {
            move_if_there(&numbered(path, number), &numbered(path, number + 1))?;
        }
        if self.settings.keep == 0 {
            fs::remove_file(path)?;
        } else {
            move_if_there(path, &numbered(path, 1))?;
        }
        (self.file, self.bytes) = open(path)?;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Sink for FileSink {
    fn deliver(&mut self, records: &[Record]) -> Result<Taken, Failure> {
        self.follow()?;
        let mut text = String::new();
        for record in records {
            text.push_str(&self.settings.format.line(record));
            text.push('\n');
        }
        let regular = self.file.metadata()?.is_file();
        if regular && self.bytes > 0 && self.bytes + text.len() as u64 > self.settings.rotate_bytes {
            self.rotate()?;
        }
        let before = self.bytes;
        let written = self
            .file
            .write_all(text.as_bytes())
            .and_then(|()| if regular { self.file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            if regular {
                // No half lines: the batch comes again, whole.
                let _ = self.file.set_len(before);
            }
            return Err(error.into());
        }
        self.bytes += text.len() as u64;
        Ok(Taken::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing::findings;

    fn lines(path: &Path) -> usize {
        fs::read_to_string(path).unwrap().lines().count()
    }

    fn settings(path: PathBuf, rotate_bytes: u64) -> FileSettings {
        FileSettings { path, format: Format::Native, rotate_bytes, keep: 2 }
    }

    #[test]
    fn a_moved_file_is_left_alone_and_a_new_one_begun() {
        let place = tempfile::tempdir().unwrap();
        let (path, moved) = (place.path().join("out.jsonl"), place.path().join("out.jsonl-old"));
        let mut sink = FileSink::open(&settings(path.clone(), 1 << 20)).unwrap();
        sink.deliver(&findings(3)).unwrap();
        fs::rename(&path, &moved).unwrap();
        sink.deliver(&findings(2)).unwrap();
        assert_eq!((lines(&moved), lines(&path)), (3, 2));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn rotation_keeps_so_many_files_and_splits_no_batch() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("out.jsonl");
        let mut sink = FileSink::open(&settings(path.clone(), 1)).unwrap();
        for count in 1..=4 {
            sink.deliver(&findings(count)).unwrap();
        }
        assert_eq!(lines(&path), 4);
        assert_eq!(lines(&numbered(&path, 1)), 3);
        assert_eq!(lines(&numbered(&path, 2)), 2);
        assert!(!numbered(&path, 3).exists());
    }

    #[test]
    fn a_full_disk_is_a_reason_to_try_later() {
        let mut sink = FileSink::open(&settings("/dev/full".into(), 1 << 20)).unwrap();
        assert!(matches!(sink.deliver(&findings(1)), Err(Failure::Later { .. })));
    }
}
