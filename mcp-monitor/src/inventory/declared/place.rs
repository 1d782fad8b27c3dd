//! Reading below a folder that belongs to somebody, as root and without being led elsewhere.
//!
//! Paths are resolved by the kernel with restrictions (`openat2`): never through magic links, never out of the
//! folder. A link with an absolute target is followed only where that target lies in the same folder or in the home
//! of the same user. Nothing is opened before it is known to be a regular file of the right owner.

use std::{
    ffi::OsString,
    fs::{File, Metadata},
    io::{self, Read as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{
            ffi::OsStrExt as _,
            fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2},
};

use super::template::{fits, is_wild};

/// Bytes of one file. Claude Code keeps a history in its own, so they get large.
pub(super) const FILE_MAX_BYTES: u64 = 8 << 20;
/// Entries of directories that one pattern looks at.
const ENTRIES_MAX: usize = 4096;
/// Directories that `**` goes down.
const DEPTH_MAX: usize = 6;
/// How often a resolution that raced with a rename is tried again.
const TRIES: usize = 4;
/// Directories that hold no configuration and many files.
const SKIPPED: [&str; 2] = ["node_modules", ".git"];

/// A folder and whose files in it count.
pub(super) struct Base {
    folder: OwnedFd,
    /// As it is shown.
    pub(super) path: PathBuf,
    /// As the kernel names it; `None` where that means nothing here, as in a container.
    real: Option<PathBuf>,
    owner: u32,
    resolve: ResolveFlag,
}

/// Which file, and which content of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Why a file is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) what: String,
    pub(super) advice: &'static str,
}

/// A file that may be read.
pub(super) struct Readable {
    file: OwnedFd,
    pub(super) stamp: Stamp,
}

impl Base {
    /// A home; `None` unless it is there and belongs to `owner`.
    pub(super) fn home(path: &Path, owner: u32) -> Option<Self> {
        let base = Self::folder(path, owner)?;
        (metadata(&base.folder).ok()?.uid() == owner).then_some(base)
    }

    /// A folder in which files of `owner` count, wherever it lies.
    pub(super) fn folder(path: &Path, owner: u32) -> Option<Self> {
        let folder = open(AT_FDCWD, path, DIRECTORY, ResolveFlag::RESOLVE_NO_MAGICLINKS).ok()?;
        let real = std::fs::read_link(through(&folder)).ok();
        Some(Self { folder, path: path.to_owned(), real, owner, resolve: ResolveFlag::RESOLVE_BENEATH })
    }

    /// The root of the host's files, or what stands for it in a test. Root's files count, and one's own.
    pub(super) fn system(path: &Path) -> Option<Self> {
        let owner = nix::unistd::geteuid().as_raw();
        Some(Self { resolve: ResolveFlag::RESOLVE_IN_ROOT, ..Self::folder(path, owner)? })
    }

    /// The root of the files that the process `pid` sees.
    pub(super) fn of_process(pid: u32) -> Option<Self> {
        let path = PathBuf::from(format!("/proc/{pid}/root"));
        // The one magic link that is followed; it leads where the kernel says.
        let folder = open(AT_FDCWD, &path, DIRECTORY, ResolveFlag::empty()).ok()?;
        Some(Self { folder, path, real: None, owner: 0, resolve: ResolveFlag::RESOLVE_IN_ROOT })
    }

    /// A folder below this one, e.g. a home in a container; it belongs to whom it belongs. `path` is as seen there.
    pub(super) fn below(&self, path: &Path) -> Option<Self> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let folder = self.open(relative, DIRECTORY).ok()?;
        let owner = metadata(&folder).ok()?.uid();
        let resolve = ResolveFlag::RESOLVE_BENEATH;
        Some(Self { folder, path: path.to_owned(), real: None, owner, resolve })
    }

    /// The same folder with the files of somebody else counting.
    pub(super) fn owned_by(self, owner: u32) -> Self {
        Self { owner, ..self }
    }

    /// Who owns the files that count.
    pub(super) fn owner(&self) -> u32 {
        self.owner
    }

    /// True if there is something at `path`.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.open(path, OFlag::O_PATH).is_ok()
    }

    /// True if `path` is a directory, without leaving this folder.
    pub(super) fn has_directory(&self, path: &Path) -> bool {
        path.as_os_str().is_empty() || self.open(path, DIRECTORY).is_ok()
    }

    /// The file at `path`, not yet read; `Ok(None)` if there is none. Links out of this folder may lead into `home`.
    pub(super) fn find(&self, path: &Path, home: Option<&Self>) -> Result<Option<Readable>, Refused> {
        let file = match self.open(path, OFlag::O_PATH) {
            Err(Errno::EXDEV) => self.open_elsewhere(path, home)?,
            other => other.map_err(refused),
        };
        let file = match file {
            Ok(file) => file,
            Err(None) => return Ok(None),
            Err(Some(refused)) => return Err(refused),
        };
        let about = metadata(&file).map_err(|error| Refused {
            what: format!("cannot be looked at: {error}"),
            advice: "look at the file system",
        })?;
        self.check(&about)?;
        let stamp = Stamp {
            device: about.dev(),
            inode: about.ino(),
            bytes: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        };
        Ok(Some(Readable { file, stamp }))
    }

    fn check(&self, about: &Metadata) -> Result<(), Refused> {
        let kind = about.file_type();
        if !kind.is_file() {
            let what = if kind.is_dir() {
                "is a directory"
            } else if kind.is_fifo() {
                "is a FIFO"
            } else if kind.is_socket() {
                "is a socket"
            } else {
                "is a device"
            };
            let advice = "put a regular file there, or nothing";
            return Err(Refused { what: format!("{what}, not a regular file"), advice });
        }
        // What root owns is read only if the home's owner could read it himself: a hard link must not show more.
        let is_public = about.mode() & 0o004 != 0;
        let counts = about.uid() == self.owner || self.owner == 0 || (about.uid() == 0 && is_public);
        if !counts {
            return Err(Refused {
                what: format!("belongs to uid {}, not to uid {}", about.uid(), self.owner),
                advice: "give it to the owner of the home, if it is meant",
            });
        }
        if about.size() > FILE_MAX_BYTES {
            return Err(Refused {
                what: format!("is larger than {} MiB", FILE_MAX_BYTES >> 20),
                advice: "make it smaller; nothing in it is known",
            });
        }
        Ok(())
    }

    /// A link with an absolute target, or out of a project: where it leads is opened again from the folder that it
    /// has to lie in, without any link.
    fn open_elsewhere(
        &self,
        path: &Path,
        home: Option<&Self>,
    ) -> Result<Result<OwnedFd, Option<Refused>>, Refused> {
        let outside = || Refused {
            what: "is a link that leads out of the home".into(),
            advice: "replace it by a file, or link to one in the same home",
        };
        if self.real.is_none() {
            return Err(outside());
        }
        let target =
            match open(AT_FDCWD, &self.path.join(path), OFlag::O_PATH, ResolveFlag::RESOLVE_NO_MAGICLINKS) {
                Ok(target) => target,
                Err(error) => return Ok(Err(refused(error))),
            };
        let target = std::fs::read_link(through(&target)).map_err(|_| outside())?;
        [Some(self), home]
            .into_iter()
            .flatten()
            .filter(|base| base.owner == self.owner)
            .find_map(|base| {
                let relative = target.strip_prefix(base.real.as_ref()?).ok()?;
                let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
                open(&base.folder, relative, OFlag::O_PATH, resolve).ok()
            })
            .map(Ok)
            .ok_or_else(outside)
    }

    fn open(&self, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
        open(&self.folder, path, flags, self.resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS)
    }

    /// The paths that `names` mean, and the directories that were looked through.
    pub(super) fn expand(&self, names: &[String]) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let mut expansion =
            Expansion { base: self, left: ENTRIES_MAX, paths: Vec::new(), listed: Vec::new() };
        expansion.go(PathBuf::new(), names, 0);
        (expansion.paths, expansion.listed)
    }

    /// Names in a directory, with whether each is a directory itself.
    fn list(&self, path: &Path) -> Vec<(OsString, bool)> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let here = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let Ok(directory) = self.open(here, flags) else { return Vec::new() };
        let Ok(entries) = std::fs::read_dir(through(&directory)) else { return Vec::new() };
        let entries = entries.flatten().take(ENTRIES_MAX);
        let mut names: Vec<_> = entries
            .map(|entry| (entry.file_name(), entry.file_type().is_ok_and(|kind| kind.is_dir())))
            .collect();
        names.sort();
        names
    }
}

struct Expansion<'base> {
    base: &'base Base,
    left: usize,
    paths: Vec<PathBuf>,
    listed: Vec<PathBuf>,
}

impl Expansion<'_> {
    fn go(&mut self, at: PathBuf, names: &[String], depth: usize) {
        let Some((name, rest)) = names.split_first() else {
            self.paths.push(at);
            return;
        };
        if !is_wild(name) {
            return self.go(at.join(name), rest, depth);
        }
        if !self.base.has_directory(&at) {
            return;
        }
        let deep = name == "**";
        if deep {
            self.go(at.clone(), rest, depth);
            if depth >= DEPTH_MAX {
                return;
            }
        }
        let listed = self.base.list(&at);
        self.listed.push(at.clone());
        for (entry, is_directory) in listed {
            let Some(left) = self.left.checked_sub(1) else { return };
            self.left = left;
            if deep {
                if is_directory && !SKIPPED.iter().any(|name| entry == *name) {
                    self.go(at.join(&entry), names, depth + 1);
                }
            } else if fits(name, entry.as_bytes()) {
                self.go(at.join(&entry), rest, depth);
            }
        }
    }
}

impl Readable {
    /// The content. The file may have changed since it was found; what is read is bounded all the same.
    pub(super) fn read(self) -> Result<Vec<u8>, Refused> {
        let failed = |error: io::Error| Refused {
            what: format!("cannot be read: {error}"),
            advice: "look at its permissions and at the file system",
        };
        // What the descriptor means cannot be exchanged any more.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
        let file =
            File::options().read(true).custom_flags(flags).open(through(&self.file)).map_err(failed)?;
        let mut bytes = Vec::with_capacity(usize::try_from(self.stamp.bytes).unwrap_or(0).min(1 << 20));
        file.take(FILE_MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }
}

const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);

fn open<D: std::os::fd::AsFd>(
    folder: D,
    path: &Path,
    flags: OFlag,
    resolve: ResolveFlag,
) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
    let mut result = Err(Errno::EAGAIN);
    for _ in 0..TRIES {
        result = openat2(&folder, path, how);
        if !matches!(result, Err(Errno::EAGAIN)) {
            break;
        }
    }
    result
}

/// `None` where there is simply nothing.
fn refused(error: Errno) -> Option<Refused> {
    let (what, advice) = match error {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG => return None,
        Errno::ELOOP => ("is a link that leads to itself", "remove the link"),
        Errno::EXDEV => ("leads out of its folder", "replace the link by a file"),
        Errno::EACCES | Errno::EPERM => ("may not be read", "run as root to see it"),
        Errno::EAGAIN => ("is renamed all the time", "look at who does that"),
        other => {
            return Some(Refused {
                what: format!("cannot be opened: {other}"),
                advice: "look at the file system",
            });
        }
    };
    Some(Refused { what: what.into(), advice })
}

/// What lies behind a descriptor, by a path that nobody can exchange.
fn through(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn metadata(file: &OwnedFd) -> io::Result<Metadata> {
    std::fs::metadata(through(file))
}
