//! Which object is a secret now: by path, by identity, by directory and name.
//!
//! Identities come from a scan ([`super::scan`]), from opens whose path matched, and from renames and links in the
//! order in which they happened, so that a secret stays one under another name. An identity whose last name went
//! away is kept only if its generation is known, since an inode number alone will be used again. Bounded: when
//! full, retired identities go first, then nothing more is learnt and that is counted.

use std::{borrow::Cow, collections::HashMap};

use mcp_monitor_common::{limits::SECRETS_MAX, map::SecretName};

use super::{
    catalogue::{Catalogue, EntryIndex},
    glob::{Homes, is_below, normalise},
};
use crate::event::{Action, FileIdentity, FileObject, FilePath};

/// How an object was found to be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchedBy {
    /// A pattern of the catalogue.
    Path,
    /// It is the same file under another name.
    Identity,
    /// It got this name by a rename or link of a secret whose identity was not told.
    OtherName,
    /// The same name in the same directory, reached by another path.
    ParentName,
    /// A directory that holds a secret.
    Directory,
}

/// A secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretMatch {
    /// Which kind.
    pub entry: EntryIndex,
    /// How it was found.
    pub by: MatchedBy,
}

/// What a scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The file; `None` when only the place is known.
    pub object: Option<FoundObject>,
    /// The directory: inode number and device.
    pub parent: Place,
    /// Name in the directory.
    pub name: Vec<u8>,
    /// Which kind of secret.
    pub entry: EntryIndex,
}

/// A file that a scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundObject {
    /// Inode number and device.
    pub place: Place,
    /// Generation, where the file system tells it without an open.
    pub generation: Option<u32>,
    /// Hard links.
    pub links: u64,
}

/// Inode number and device in the kernel's encoding.
pub type Place = (u64, u32);

#[derive(Clone, Copy, Debug)]
struct Object {
    entry: EntryIndex,
    generation: Option<u32>,
    several_names: bool,
    retired: bool,
    scanned: bool,
}

/// The set of secrets.
#[derive(Debug)]
pub struct Secrets {
    catalogue: Catalogue,
    homes: Homes,
    objects: HashMap<Place, Object>,
    names: HashMap<(Place, Vec<u8>), EntryIndex>,
    directories: HashMap<Place, EntryIndex>,
    /// Names that a secret got where renames and links tell no identity; the next open tells it and ends this.
    other_names: HashMap<Vec<u8>, EntryIndex>,
    refused: u64,
    revision: u64,
}

impl Secrets {
    /// An empty set of `catalogue` in `homes`.
    #[must_use]
    pub fn new(catalogue: Catalogue, homes: Homes) -> Self {
        Self {
            catalogue,
            homes,
            objects: HashMap::new(),
            names: HashMap::new(),
            directories: HashMap::new(),
            other_names: HashMap::new(),
            refused: 0,
            revision: 0,
        }
    }

    /// The catalogue.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The homes.
    #[must_use]
    pub fn homes(&self) -> &Homes {
        &self.homes
    }

    /// One more home directory, whose secrets count from now on.
    pub fn add_home(&mut self, home: &std::path::Path) {
        self.homes.add(home);
    }

    /// Identities that were not learnt since the set was full.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Changes with every change of the marks.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Takes over what a scan found; identities that an earlier scan found and this one did not are forgotten.
    pub fn take_scan(&mut self, found: &[Found]) {
        self.objects.retain(|_, object| !object.scanned);
        self.names.clear();
        self.directories.clear();
        for Found { object, parent, name, entry } in found {
            if let Some(FoundObject { place, generation, links }) = *object {
                let known = Object {
                    entry: *entry,
                    generation: generation.filter(|&generation| generation != 0),
                    several_names: links > 1,
                    retired: false,
                    scanned: true,
                };
                self.insert(place, known);
            }
            if self.names.len() < SECRETS_MAX as usize {
                self.names.insert((*parent, name.clone()), *entry);
                self.directories.insert(*parent, *entry);
            } else {
                self.refused += 1;
            }
        }
        self.revision += 1;
    }

    /// Whether `file` is a secret; `path` is its path in normal form.
    #[must_use]
    pub fn match_file(&self, file: &FileObject, path: &[u8]) -> Option<SecretMatch> {
        if is_directory(file) {
            let entry = *self.directories.get(&place(file.identity?))?;
            return Some(SecretMatch { entry, by: MatchedBy::Directory });
        }
        if let Some(entry) = self.catalogue.match_path(path, &self.homes) {
            return Some(SecretMatch { entry, by: MatchedBy::Path });
        }
        if let Some(entry) = file.identity.and_then(|identity| self.match_identity(identity)) {
            return Some(SecretMatch { entry, by: MatchedBy::Identity });
        }
        if let Some(&entry) = self.other_names.get(path) {
            return Some(SecretMatch { entry, by: MatchedBy::OtherName });
        }
        let parent = file.parent.filter(|_| !self.names.is_empty())?;
        let name = path.rsplit(|&byte| byte == b'/').next()?;
        let entry = *self.names.get(&(place(parent), name.to_vec()))?;
        Some(SecretMatch { entry, by: MatchedBy::ParentName })
    }

    /// Whether the object `identity` is known as a secret.
    #[must_use]
    pub fn match_identity(&self, identity: FileIdentity) -> Option<EntryIndex> {
        let object = self.objects.get(&place(identity))?;
        // Two known generations that differ are two files, of which the first is gone.
        let same = object.generation.is_none_or(|known| known == identity.generation);
        same.then_some(object.entry)
    }

    /// Keeps up with what happened, done by a process that works in `directory`. To be called after the event was
    /// judged.
    pub fn note_change(&mut self, action: &Action, directory: &[u8]) {
        let target = |file: &FileObject| Some(plain(file.target.as_ref()?, directory).into_owned());
        match action {
            Action::Open(file) | Action::Receive(file) | Action::Map(file) => {
                let path = plain(&file.path, directory);
                match self.match_file(file, &path) {
                    Some(SecretMatch { entry, by: MatchedBy::Path | MatchedBy::ParentName }) => {
                        self.learn(file.identity, entry, file.links);
                    }
                    Some(SecretMatch { entry, by: MatchedBy::OtherName }) if file.identity.is_some() => {
                        self.learn(file.identity, entry, file.links);
                        self.other_names.remove(&*path);
                    }
                    _ => {}
                }
            }
            Action::Rename(file) => {
                let path = plain(&file.path, directory);
                let target = target(file);
                let of = self.match_file(file, &path).map(|secret| secret.entry);
                let onto = target.as_ref().and_then(|target| self.catalogue.match_path(target, &self.homes));
                let entry = onto.or(of);
                if file.identity.is_none() {
                    self.other_names.remove(&*path);
                    self.rename_to(target, of);
                }
                if let Some(replaced) = file.replaced {
                    self.retire(replaced, 1);
                }
                if let Some(entry) = entry.filter(|_| !is_directory(file)) {
                    self.learn(file.identity, entry, file.links);
                }
            }
            Action::Link(file) => {
                let target = target(file);
                let of = self.match_file(file, &plain(&file.path, directory)).map(|secret| secret.entry);
                let onto = target.as_ref().and_then(|target| self.catalogue.match_path(target, &self.homes));
                if let Some(entry) = of.or(onto) {
                    self.learn(file.identity, entry, file.links.max(2));
                }
                if file.identity.is_none() {
                    self.rename_to(target, of);
                }
            }
            Action::Unlink(file) => {
                self.other_names.remove(&*plain(&file.path, directory));
                if let Some(identity) = file.identity {
                    self.retire(identity, file.links);
                }
            }
            _ => {}
        }
    }

    /// What is at `target` now is the secret `of`, or nothing that is known.
    fn rename_to(&mut self, target: Option<Vec<u8>>, of: Option<EntryIndex>) {
        match (target, of) {
            (Some(target), Some(_)) if self.catalogue.match_path(&target, &self.homes).is_some() => {}
            (Some(_), Some(_)) if self.other_names.len() >= SECRETS_MAX as usize => self.refused += 1,
            (Some(target), Some(entry)) => {
                self.other_names.insert(target, entry);
            }
            (Some(target), None) => {
                self.other_names.remove(&target);
            }
            (None, _) => {}
        }
    }

    fn learn(&mut self, identity: Option<FileIdentity>, entry: EntryIndex, links: u32) {
        let Some(identity) = identity.filter(|identity| identity.inode != 0) else { return };
        let generation = Some(identity.generation).filter(|&generation| generation != 0);
        let (old, scanned) = match self.objects.get(&place(identity)) {
            Some(old) if old.generation.is_none_or(|known| Some(known) == generation) => {
                (Some(*old), old.scanned)
            }
            _ => (None, false),
        };
        if old.is_some_and(|old| {
            old.entry == entry && old.generation == generation && !old.retired && links < 2
        }) {
            return;
        }
        let several_names = links > 1 || old.is_some_and(|old| old.several_names);
        self.insert(place(identity), Object { entry, generation, several_names, retired: false, scanned });
    }

    fn insert(&mut self, place: Place, object: Object) {
        if self.objects.len() >= SECRETS_MAX as usize && !self.objects.contains_key(&place) {
            self.objects.retain(|_, known| !known.retired);
            if self.objects.len() >= SECRETS_MAX as usize {
                self.refused += 1;
                return;
            }
        }
        self.objects.insert(place, object);
        self.revision += 1;
    }

    fn retire(&mut self, identity: FileIdentity, links: u32) {
        let Some(object) = self.objects.get_mut(&place(identity)) else { return };
        if links > 1 || object.several_names {
            return;
        }
        if object.generation.is_some() {
            object.retired = true;
        } else {
            self.objects.remove(&place(identity));
        }
        self.revision += 1;
    }

    /// The objects to mark in the kernel: those whose whole identity is known.
    pub fn object_marks(&self) -> impl Iterator<Item = (FileIdentity, EntryIndex)> + '_ {
        self.objects.iter().filter(|(_, object)| !object.retired).filter_map(|(&(inode, device), object)| {
            Some((FileIdentity { inode, device, generation: object.generation? }, object.entry))
        })
    }

    /// The names in directories to mark in the kernel.
    pub fn name_marks(&self) -> impl Iterator<Item = (SecretName, EntryIndex)> + '_ {
        self.names.iter().filter_map(|(((parent_inode, device), name), &entry)| {
            let mut padded = [0; 64];
            let kept = name.len().min(padded.len());
            padded.get_mut(..kept)?.copy_from_slice(name.get(..kept)?);
            let name_bytes = u32::try_from(name.len()).ok()?;
            Some((
                SecretName { parent_inode: *parent_inode, device: *device, name_bytes, name: padded },
                entry,
            ))
        })
    }
}

const fn place(identity: FileIdentity) -> Place {
    (identity.inode, identity.device)
}

/// By mode, or by `O_DIRECTORY` where the mode is unknown.
fn is_directory(file: &FileObject) -> bool {
    const TYPE: u32 = 0o170_000;
    const DIRECTORY: u32 = 0o040_000;
    file.mode & TYPE == DIRECTORY
}

/// The path in normal form, to match against: given text is put right, resolved paths are as they are.
pub(super) fn plain<'path>(path: &'path FilePath, directory: &[u8]) -> Cow<'path, [u8]> {
    let bytes = path.bytes.as_slice();
    if path.truncated {
        let mut whole = Vec::with_capacity(bytes.len() + 1);
        if bytes.first() != Some(&b'/') {
            whole.push(b'/');
        }
        whole.extend_from_slice(bytes);
        return Cow::Owned(whole);
    }
    if path.unresolved && !bytes.is_empty() {
        return Cow::Owned(normalise(bytes, directory));
    }
    Cow::Borrowed(bytes)
}

/// `path` without the old place of `/run`.
#[must_use]
pub fn without_var_run(path: &[u8]) -> &[u8] {
    if is_below(path, b"/var/run") { path.get(4..).unwrap_or(path) } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Bytes, expectation::program::Programs};

    fn secrets() -> Secrets {
        let catalogue = Catalogue::embedded(&Programs::embedded().unwrap()).unwrap();
        Secrets::new(catalogue, Homes::new::<&str>(&[]))
    }

    fn file(path: &str, inode: u64, generation: u32) -> FileObject {
        FileObject {
            path: FilePath { bytes: Bytes::from(path), ..FilePath::default() },
            identity: Some(FileIdentity { inode, device: 1, generation }),
            parent: Some(FileIdentity { inode: 1, device: 1, generation: 1 }),
            mode: 0o100_600,
            links: 1,
            ..FileObject::default()
        }
    }

    fn moved(from: &str, to: &str, inode: u64) -> FileObject {
        let target = Some(FilePath { bytes: Bytes::from(to), ..FilePath::default() });
        FileObject { target, ..file(from, inode, 7) }
    }

    fn by(secrets: &Secrets, file: &FileObject) -> Option<MatchedBy> {
        secrets.match_file(file, file.path.bytes.as_slice()).map(|secret| secret.by)
    }

    const KEY: &str = "/home/u/.ssh/id_rsa";

    #[test]
    fn a_secret_stays_one_under_another_name() {
        let mut secrets = secrets();
        assert_eq!(by(&secrets, &file("/home/u/x", 10, 7)), None);
        secrets.note_change(&Action::Link(moved(KEY, "/home/u/x", 10)), b"/");
        assert_eq!(by(&secrets, &file("/home/u/x", 10, 7)), Some(MatchedBy::Identity));
        assert_eq!(by(&secrets, &file("/home/u/x", 10, 8)), None, "inode number used again");

        secrets.note_change(&Action::Rename(moved(KEY, "/home/u/y", 11)), b"/");
        assert_eq!(by(&secrets, &file("/home/u/y", 11, 7)), Some(MatchedBy::Identity));
    }

    #[test]
    fn what_is_renamed_onto_a_secret_becomes_one() {
        let mut secrets = secrets();
        secrets.note_change(&Action::Open(file(KEY, 20, 0)), b"/");
        let mut rename = moved("/home/u/new", KEY, 21);
        rename.replaced = Some(FileIdentity { inode: 20, device: 1, generation: 0 });
        secrets.note_change(&Action::Rename(rename), b"/");
        assert_eq!(by(&secrets, &file("/mnt/other", 21, 7)), Some(MatchedBy::Identity));
        assert_eq!(by(&secrets, &file("/mnt/other", 20, 0)), None, "replaced, generation unknown");
    }

    #[test]
    fn the_last_unlink_ends_it_but_not_the_last_but_one() {
        let mut secrets = secrets();
        secrets.note_change(&Action::Open(file(KEY, 30, 0)), b"/");
        secrets.note_change(&Action::Unlink(file(KEY, 30, 0)), b"/");
        assert_eq!(by(&secrets, &file("/tmp/reused", 30, 0)), None);

        secrets.note_change(&Action::Link(moved(KEY, "/tmp/h", 31)), b"/");
        secrets.note_change(&Action::Unlink(FileObject { links: 2, ..file(KEY, 31, 7) }), b"/");
        assert_eq!(by(&secrets, &file("/tmp/h", 31, 7)), Some(MatchedBy::Identity));
    }

    #[test]
    fn a_secret_stays_one_by_name_where_links_tell_no_identity() {
        let nameless = |from: &str, to: &str| FileObject { identity: None, ..moved(from, to, 1) };
        let mut secrets = secrets();
        secrets.note_change(&Action::Rename(nameless("/home/u/new", KEY)), b"/");
        assert_eq!(by(&secrets, &file("/home/u/new", 22, 7)), None);
        let mut link = nameless("id_rsa", "../alias");
        link.path.unresolved = true;
        link.target.as_mut().unwrap().unresolved = true;
        secrets.note_change(&Action::Link(link), b"/home/u/.ssh");
        assert_eq!(by(&secrets, &file("/home/u/alias", 22, 7)), Some(MatchedBy::OtherName));
        // The open tells the identity, which counts from then on.
        secrets.note_change(&Action::Open(file("/home/u/alias", 22, 7)), b"/");
        assert_eq!(by(&secrets, &file("/home/u/third", 22, 7)), Some(MatchedBy::Identity));
        assert_eq!(by(&secrets, &file("/home/u/alias", 23, 7)), None);

        // A name that went to another file is nothing any more.
        for end in [
            Action::Unlink(FileObject { identity: None, ..file("/home/u/b", 0, 0) }),
            Action::Rename(nameless("/home/u/plain", "/home/u/b")),
            Action::Rename(nameless("/home/u/b", "/home/u/c")),
        ] {
            secrets.note_change(&Action::Rename(nameless(KEY, "/home/u/b")), b"/");
            assert_eq!(by(&secrets, &file("/home/u/b", 24, 7)), Some(MatchedBy::OtherName));
            secrets.note_change(&end, b"/");
            assert_eq!(by(&secrets, &file("/home/u/b", 25, 7)), None, "{end:?}");
        }
        assert_eq!(by(&secrets, &file("/home/u/c", 24, 7)), Some(MatchedBy::OtherName));
    }

    #[test]
    fn a_scan_knows_objects_names_and_directories() {
        let mut secrets = secrets();
        let entry = secrets.catalogue().find("ssh-private-key").unwrap();
        let object = Some(FoundObject { place: (40, 1), generation: None, links: 1 });
        secrets.take_scan(&[Found { object, parent: (4, 1), name: b"id_rsa".to_vec(), entry }]);
        assert_eq!(by(&secrets, &file("/mnt/a", 40, 99)), Some(MatchedBy::Identity));
        let mut other = file("/mnt/ssh/id_rsa", 41, 1);
        other.parent = Some(FileIdentity { inode: 4, device: 1, generation: 5 });
        assert_eq!(by(&secrets, &other), Some(MatchedBy::ParentName));
        let directory = FileObject { mode: 0o040_700, ..file("/home/u/.ssh", 4, 1) };
        assert_eq!(by(&secrets, &directory), Some(MatchedBy::Directory));
        let (name, marked) = secrets.name_marks().next().unwrap();
        assert_eq!((name.parent_inode, name.device, name.name_bytes, marked), (4, 1, 6, entry));
        assert_eq!(&name.name[..7], b"id_rsa\0");
        secrets.take_scan(&[]);
        assert_eq!(by(&secrets, &file("/mnt/a", 40, 99)), None);
    }

    #[test]
    fn the_set_is_bounded() {
        let mut secrets = secrets();
        for inode in 1..=u64::from(SECRETS_MAX) + 10 {
            secrets.note_change(&Action::Open(file(KEY, inode, 3)), b"/");
        }
        assert_eq!(secrets.objects.len(), SECRETS_MAX as usize);
        assert_eq!(secrets.refused(), 10);
    }
}
