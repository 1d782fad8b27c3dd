//! Where secrets lie and may come to lie, watched with inotify: what comes, goes or takes another's place there is looked
//! at at once and not at the next scan. A process outside every lineage leaves no record of what it renames.
//!
//! Directories are watched, never files, and only names that the catalogue asks for count. Watches are set by the thread
//! that scans, since a file system that stalls stalls that as well. Bounded; a directory that finds no watch is counted, and
//! what changes in it is found by the scan that comes every ten seconds.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::io::{Interest, unix::AsyncFd};

use crate::expectation::scan::Names;

/// Directories that are watched at most.
const WATCHES_MAX: usize = 4096;
/// Room for what the kernel tells at once.
const EVENTS_BYTES: usize = 16 * 1024;

/// What is watched. Goes into the thread that scans and comes back with what it found.
#[derive(Debug)]
pub(super) struct Watched {
    watches: Watches,
    paths: HashMap<PathBuf, WatchDescriptor>,
    names: HashMap<WatchDescriptor, Names>,
    /// Directories that found no watch.
    pub(super) refused: u64,
}

impl Watched {
    pub(super) fn new(inotify: &Inotify) -> Self {
        Self { watches: inotify.watches(), paths: HashMap::new(), names: HashMap::new(), refused: 0 }
    }

    /// Watches these directories and no others. True when one of them was not watched before.
    pub(super) fn follow(&mut self, waited: BTreeMap<PathBuf, Names>) -> bool {
        let mask = WatchMask::CREATE
            | WatchMask::MOVE
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        let gone: Vec<PathBuf> =
            self.paths.keys().filter(|path| !waited.contains_key(*path)).cloned().collect();
        for path in gone {
            if let Some(descriptor) = self.paths.remove(&path) {
                // Fails when the directory went away by itself.
                let _ = self.watches.remove(descriptor);
            }
        }
        let mut more = false;
        self.refused = 0;
        self.names.clear();
        for (path, names) in waited {
            if self.paths.len() >= WATCHES_MAX && !self.paths.contains_key(&path) {
                self.refused += 1;
                continue;
            }
            // Added again each time: another directory may have taken the name.
            match self.watches.add(&path, mask) {
                Ok(descriptor) => {
                    self.names.insert(descriptor.clone(), names);
                    more |= self.paths.insert(path, descriptor.clone()) != Some(descriptor);
                }
                Err(error) => {
                    self.paths.remove(&path);
                    self.refused += u64::from(!matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ));
                }
            }
        }
        more
    }
}

/// What the kernel tells of what is watched.
#[derive(Debug)]
pub(super) struct Places {
    inotify: Inotify,
    buffer: Vec<u8>,
}

/// Waits for it, through a descriptor of its own.
#[derive(Debug)]
pub(super) struct Changes {
    descriptor: Option<AsyncFd<OwnedFd>>,
}

impl Places {
    /// Nothing is watched yet.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { inotify: Inotify::init()?, buffer: vec![0; EVENTS_BYTES] })
    }

    /// To watch with.
    pub(super) fn watched(&self) -> Watched {
        Watched::new(&self.inotify)
    }

    /// Within a tokio runtime. Where that fails the scans remain.
    pub(super) fn changes(&self) -> Changes {
        let own = self.inotify.as_fd().try_clone_to_owned();
        // SAFETY: the descriptor is owned by the AsyncFd that is made here and is closed with it, never before.
        let registered =
            own.ok().and_then(|own| unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) }.ok());
        Changes { descriptor: registered }
    }

    /// Takes what the kernel has to tell. True if a name that matters is among it; `known` is `None` while another scan
    /// sets watches, and then everything matters.
    pub(super) fn changed(&mut self, known: Option<&Watched>) -> bool {
        let mut matters = false;
        while let Ok(events) = self.inotify.read_events(&mut self.buffer) {
            let mut any = false;
            for event in events {
                any = true;
                let about_itself = EventMask::Q_OVERFLOW | EventMask::DELETE_SELF | EventMask::MOVE_SELF;
                matters |= match (known, event.name) {
                    _ if event.mask.intersects(about_itself) => true,
                    (None, name) => name.is_some(),
                    (Some(known), Some(name)) => {
                        known.names.get(&event.wd).is_some_and(|names| names.matter(name))
                    }
                    (Some(_), None) => false,
                };
            }
            if !any {
                break;
            }
        }
        matters
    }
}

impl Changes {
    /// Waits until there is something to take.
    pub(super) async fn wait(&self) {
        match &self.descriptor {
            Some(descriptor) => {
                if let Ok(mut guard) = descriptor.readable().await {
                    guard.clear_ready();
                }
            }
            None => std::future::pending().await,
        }
    }
}
