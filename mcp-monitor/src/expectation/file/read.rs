//! Reading the files of a set: regular files that only root or the reader may write, bounded in size and number.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::error::{LoadError, Mistake};

/// Files of a set.
const FILES_MAX: usize = 4096;
/// Bytes of a file.
const FILE_MAX_BYTES: u64 = 4 << 20;
/// Bytes of a set.
const SET_MAX_BYTES: u64 = 64 << 20;

/// A file's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it came from.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// The files of a directory, in the order of their names. A directory that is not there is an empty set.
pub fn directory(directory: &Path) -> Result<Vec<Source>, LoadError> {
    let failed =
        |message: String| LoadError(vec![Mistake { file: directory.to_owned(), place: None, message }]);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(format!("cannot be read: {error}"))),
    };
    let metadata = fs::metadata(directory).map_err(|error| failed(format!("cannot be read: {error}")))?;
    if let Some(message) = writable_by_others(&metadata, directory) {
        return Err(failed(message));
    }
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed(format!("cannot be read: {error}")))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden || !path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            continue;
        }
        if paths.len() == FILES_MAX {
            return Err(failed(format!("more than {FILES_MAX} files")));
        }
        paths.push(path);
    }
    paths.sort();
    files(&paths)
}

/// These files, each of which must be there.
pub fn files(paths: &[PathBuf]) -> Result<Vec<Source>, LoadError> {
    let (mut sources, mut mistakes, mut bytes) = (Vec::new(), Vec::new(), 0);
    for path in paths {
        match file(path) {
            Ok(text) => {
                bytes += text.len() as u64;
                if bytes > SET_MAX_BYTES {
                    let message = format!("all files together are larger than {SET_MAX_BYTES} bytes");
                    mistakes.push(Mistake { file: path.clone(), place: None, message });
                    break;
                }
                sources.push(Source { path: path.clone(), text });
            }
            Err(message) => mistakes.push(Mistake { file: path.clone(), place: None, message }),
        }
    }
    if mistakes.is_empty() { Ok(sources) } else { Err(LoadError(mistakes)) }
}

fn file(path: &Path) -> Result<String, String> {
    let failed = |error: io::Error| match error.raw_os_error() {
        Some(libc::ELOOP) => String::from("is a symbolic link; put the file itself here"),
        _ => format!("cannot be read: {error}"),
    };
    // A pipe must not be waited for, and a link may be turned between the look and the reading.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(String::from("is no regular file"));
    }
    if let Some(message) = writable_by_others(&metadata, path) {
        return Err(message);
    }
    if metadata.len() > FILE_MAX_BYTES {
        return Err(format!("is larger than {FILE_MAX_BYTES} bytes"));
    }
    text(file)
}

fn text(file: File) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = file
        .take(FILE_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if read as u64 > FILE_MAX_BYTES {
        return Err(format!("is larger than {FILE_MAX_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        format!("is not UTF-8 (line {line})")
    })
}

/// Who may write an expectation decides what is reported: only root and whoever loads it.
fn writable_by_others(metadata: &fs::Metadata, path: &Path) -> Option<String> {
    let shown = path.display();
    if metadata.mode() & 0o022 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Some(format!("may be written by others (mode {mode:04o}); run `chmod go-w {shown}`"));
    }
    let owner = metadata.uid();
    let own = nix::unistd::geteuid().as_raw();
    (owner != 0 && owner != own)
        .then(|| format!("belongs to user {owner}, who could change it; run `chown root {shown}`"))
}
