//! Looks for secrets beforehand: which objects the catalogue's patterns mean now, and where they lie.
//!
//! Never opens a secret. Only directories are opened, without following magic links; of files
//! only the metadata is asked, and the generation by `name_to_handle_at`, which opens nothing. What a link in a home
//! leads to counts only if it belongs to the home's owner, so that nobody can declare the system's files secret.
//! Bounded in entries and depth. A file system that stalls stalls the scan: call it from a thread of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{CString, OsStr, OsString},
    fs::{DirEntry, Metadata, ReadDir},
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use globset::{Candidate, GlobBuilder, GlobMatcher};

use super::{
    catalogue::EntryIndex,
    glob::HOME,
    secrets::{Found, FoundObject, Place, Secrets},
};

/// Directory entries that one pattern looks at.
const ENTRIES_MAX: usize = 4096;
/// Directories that `**` goes down.
const DEPTH_MAX: usize = 6;

/// What a scan comes to.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Every watched secret that is there now, for [`Secrets::take_scan`].
    pub found: Vec<Found>,
    /// Where another scan would find something else, once a name that matters comes or goes there.
    pub waited: BTreeMap<PathBuf, Names>,
}

/// Names that matter in a directory.
#[derive(Clone, Debug, Default)]
pub struct Names {
    literal: BTreeSet<OsString>,
    globs: Vec<GlobMatcher>,
    any: bool,
}

impl Names {
    /// Whether `name` is one of them.
    #[must_use]
    pub fn matter(&self, name: &OsStr) -> bool {
        self.any
            || self.literal.contains(name)
            || self.globs.iter().any(|glob| glob.is_match_candidate(&Candidate::from_bytes(name.as_bytes())))
    }
}

/// Finds every watched secret that is there now.
#[must_use]
pub fn scan(plan: &ScanPlan) -> Scan {
    let mut found = Scan::default();
    for (entry, pattern) in &plan.patterns {
        match pattern.strip_prefix(HOME) {
            Some(rest) => {
                for home in &plan.homes {
                    let owner = std::fs::metadata(home).map(|metadata| metadata.uid()).ok();
                    walk_all(home, rest, *entry, owner, &mut found);
                }
            }
            None if pattern.starts_with('/') => {
                walk_all(Path::new("/"), pattern.trim_start_matches('/'), *entry, None, &mut found);
            }
            // A pattern without a root would mean the whole host; it is matched by path alone.
            None => {}
        }
    }
    found
}

/// What a scan needs to know, so that it can run in a thread of its own.
#[derive(Clone, Debug)]
pub struct ScanPlan {
    patterns: Vec<(EntryIndex, String)>,
    homes: Vec<PathBuf>,
}

impl ScanPlan {
    /// The plan for `secrets`.
    #[must_use]
    pub fn new(secrets: &Secrets) -> Self {
        let entries = secrets.catalogue().entries().filter(|(_, entry)| entry.watched);
        let patterns = entries
            .flat_map(|(index, entry)| entry.patterns.iter().map(move |pattern| (index, pattern.clone())))
            .collect();
        Self { patterns, homes: secrets.homes().existing() }
    }
}

fn walk_all(root: &Path, pattern: &str, entry: EntryIndex, owner: Option<u32>, scan: &mut Scan) {
    for alternative in alternatives(pattern) {
        let names: Vec<&str> = alternative.split('/').filter(|name| !name.is_empty()).collect();
        let mut walk = Walk { entry, owner, left: ENTRIES_MAX, scan };
        walk.go(root, &names, 0);
    }
}

struct Walk<'scan> {
    entry: EntryIndex,
    owner: Option<u32>,
    left: usize,
    scan: &'scan mut Scan,
}

impl Walk<'_> {
    /// Goes through `directory` by the names of a pattern.
    fn go(&mut self, directory: &Path, names: &[&str], depth: usize) {
        let Some((name, rest)) = names.split_first() else { return };
        if *name == "**" {
            // As a last name it means everything below, else any number of directories.
            let below = if rest.is_empty() { &["*"][..] } else { rest };
            self.go(directory, below, depth);
            self.wait(directory).any = true;
            if depth < DEPTH_MAX {
                for child in self.children(directory, None) {
                    if child.file_type().is_ok_and(|kind| kind.is_dir()) {
                        self.go(&child.path(), names, depth + 1);
                    }
                }
            }
        } else if is_literal(name) {
            self.wait(directory).literal.insert(OsString::from(name));
            self.step(directory, OsStr::new(name), rest, depth);
        } else if let Ok(glob) = GlobBuilder::new(name).literal_separator(true).build() {
            let glob = glob.compile_matcher();
            for child in self.children(directory, Some(&glob)) {
                self.step(directory, &child.file_name(), rest, depth);
            }
            self.wait(directory).globs.push(glob);
        }
    }

    fn wait(&mut self, directory: &Path) -> &mut Names {
        self.scan.waited.entry(directory.to_owned()).or_default()
    }

    fn step(&mut self, directory: &Path, name: &OsStr, rest: &[&str], depth: usize) {
        if rest.is_empty() {
            self.look(directory, name);
        } else {
            self.go(&directory.join(name), rest, depth);
        }
    }

    /// Entries of a directory, as far as the bound allows.
    fn children(&mut self, directory: &Path, matcher: Option<&GlobMatcher>) -> Vec<DirEntry> {
        let Ok((_, entries)) = list(directory) else { return Vec::new() };
        let mut children = Vec::new();
        for entry in entries.flatten() {
            let Some(left) = self.left.checked_sub(1) else { break };
            self.left = left;
            let name = entry.file_name();
            if matcher
                .is_none_or(|matcher| matcher.is_match_candidate(&Candidate::from_bytes(name.as_bytes())))
            {
                children.push(entry);
            }
        }
        children
    }

    /// Remembers the place, and the file if there is one.
    fn look(&mut self, directory: &Path, name: &OsStr) {
        let Ok(handle) = open_directory(directory) else { return };
        let Ok(parent) = std::fs::metadata(through(&handle)) else { return };
        let object = std::fs::metadata(through(&handle).join(name)).ok().filter(|file| {
            file.is_file() && self.owner.is_none_or(|owner| file.uid() == owner || parent.uid() == 0)
        });
        let object = object.map(|file| FoundObject {
            place: place(&file),
            generation: generation(&handle, name, file.ino()),
            links: file.nlink(),
        });
        let is_directory = object.is_none()
            && std::fs::metadata(through(&handle).join(name)).is_ok_and(|file| file.is_dir());
        if !is_directory {
            let name = name.as_bytes().to_vec();
            self.scan.found.push(Found { object, parent: place(&parent), name, entry: self.entry });
        }
    }
}

fn is_literal(name: &str) -> bool {
    !name.contains(['*', '?', '[', '{', '\\'])
}

/// `{a,b}` written out, so that alternatives may hold slashes.
fn alternatives(pattern: &str) -> Vec<String> {
    let Some(open) = pattern.find('{') else { return vec![pattern.to_owned()] };
    let (before, after) = pattern.split_at(open);
    let Some(close) = after.find('}') else { return vec![pattern.to_owned()] };
    let (choice, rest) = after.split_at(close);
    let choices = choice.trim_start_matches('{').split(',');
    let rest = rest.trim_start_matches('}');
    choices.flat_map(|choice| alternatives(&format!("{before}{choice}{rest}"))).collect()
}

/// The directory behind a descriptor, by a path that nobody can exchange.
fn through(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

fn list(directory: &Path) -> io::Result<(OwnedFd, ReadDir)> {
    let handle = open_directory(directory)?;
    let entries = std::fs::read_dir(through(&handle))?;
    Ok((handle, entries))
}

/// Opens a directory, and nothing that is none.
fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `open_how` is plain data, for which all zero is a value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    let flags = libc::O_DIRECTORY | libc::O_PATH | libc::O_CLOEXEC;
    how.flags = u64::from(flags.unsigned_abs());
    how.resolve = libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: `path` is NUL-terminated and `how` of the size that is told; both outlive the call.
    let number = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    };
    let number =
        i32::try_from(number).ok().filter(|&number| number >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel just gave this descriptor to us and to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Inode number and device; `stat` writes the device otherwise than the kernel has it.
fn place(file: &Metadata) -> Place {
    let device = file.dev();
    (file.ino(), (libc::major(device) << 20) | (libc::minor(device) & 0xf_ffff))
}

/// The generation of a file, as far as a handle tells it. Opens nothing.
fn generation(directory: &OwnedFd, name: &OsStr, inode: u64) -> Option<u32> {
    const BYTES: usize = 128;
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        words: [u32; BYTES / 4],
    }
    let name = CString::new(name.as_bytes()).ok()?;
    let mut handle = Handle { bytes: u32::try_from(BYTES).ok()?, kind: 0, words: [0; BYTES / 4] };
    let mut mount = 0;
    // SAFETY: `name` is NUL-terminated, `handle` has the room that it tells, `mount` is an integer to write to.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            directory.as_raw_fd(),
            name.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    if result != 0 {
        return None;
    }
    // `FILEID_INO32_GEN` of include/linux/exportfs.h; tmpfs (mm/shmem.c) writes the generation first and the inode
    // number as two words; XFS with 64-bit inode numbers adds 0x80 to the kind.
    let low = u32::try_from(inode & u64::from(u32::MAX)).ok()?;
    match (handle.kind, handle.bytes, handle.words) {
        (1, 8, [first, second, ..]) if first == low => Some(second),
        (1, 12, [first, second, ..]) if second == low => Some(first),
        (0x81, 12, [first, _, third, ..]) if first == low => Some(third),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expectation::{catalogue::Catalogue, glob::Homes, program::Programs};

    #[test]
    fn finds_secrets_without_opening_them() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = home.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "x").unwrap();
            path
        };
        let key = write(".ssh/id_rsa");
        write(".ssh/id_rsa.pub");
        write(".aws/sso/cache/a.json");
        write("dotfiles/npmrc");
        std::os::unix::fs::symlink("dotfiles/npmrc", home.path().join(".npmrc")).unwrap();
        std::os::unix::fs::symlink("/usr/bin/env", home.path().join(".netrc")).unwrap();

        let catalogue = Catalogue::embedded(&Programs::embedded().unwrap()).unwrap();
        let mut secrets = Secrets::new(catalogue, Homes::new(&[home.path()]));
        let mut plan = ScanPlan::new(&secrets);
        plan.homes.retain(|path| path == home.path());
        plan.patterns.retain(|(_, pattern)| pattern.starts_with(HOME));
        let before = std::fs::metadata(&key).unwrap().atime_nsec();
        let Scan { found, waited } = scan(&plan);
        assert_eq!(std::fs::metadata(&key).unwrap().atime_nsec(), before);

        let named = |name: &str| found.iter().find(|found| found.name == name.as_bytes());
        let metadata = std::fs::metadata(&key).unwrap();
        assert_eq!(named("id_rsa").unwrap().object.unwrap().place, place(&metadata));
        assert!(named("a.json").unwrap().object.is_some());
        assert_eq!(
            named(".npmrc").unwrap().object.unwrap().place,
            place(&std::fs::metadata(home.path().join("dotfiles/npmrc")).unwrap())
        );
        // A place where a secret may come to lie is known before it does.
        assert!(named(".git-credentials").is_some_and(|found| found.object.is_none()));
        // SAFETY: asks a number.
        if unsafe { libc::geteuid() } != 0 {
            assert!(named(".netrc").is_some_and(|found| found.object.is_none()), "somebody else's file");
        }
        let ssh = waited.get(&home.path().join(".ssh")).unwrap();
        assert!(ssh.matter(OsStr::new("id_rsa")) && !ssh.matter(OsStr::new("a")), "{ssh:?}");
        assert!(waited.get(home.path()).is_some_and(|names| names.matter(OsStr::new(".aws"))));
        secrets.take_scan(&found);
        assert!(secrets.name_marks().count() >= found.len() / 2);
    }

    #[test]
    fn alternatives_are_written_out() {
        assert_eq!(alternatives("a/{b,c/d}/{e,f}"), ["a/b/e", "a/b/f", "a/c/d/e", "a/c/d/f"]);
        assert_eq!(alternatives("a{"), ["a{"]);
        assert_eq!(alternatives("a{,b}"), ["a", "ab"]);
    }
}
