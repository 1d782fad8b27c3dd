//! The declarations as they are now: read at the start, and again when a file that matters changes.
//!
//! Reading is done by a thread of its own, since a foreign file system may stall. It waits for changes with inotify in
//! the directories concerned, gives an editor time to finish, and parses only what changed. A slow rescan finds what
//! no watch told: links that lead elsewhere, containers, directories beyond the bound on watches.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    io,
    os::fd::{AsFd as _, BorrowedFd},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::EventFd,
};
use tokio::sync::watch;

use super::{
    Clients, Declarations, Scanner, Sources,
    scan::{Scanned, Waited},
};

/// Directories that are watched.
const WATCHES_MAX: usize = 8192;
/// An editor or client that is writing gets this long to finish.
const SETTLE: Duration = Duration::from_millis(200);
/// However long it goes on writing.
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// Everything is looked at this often, though no watch told anything.
const RESCAN_EVERY: Duration = Duration::from_mins(1);
/// Bytes of events that are taken at once.
const EVENTS_BYTES: usize = 16 << 10;

/// How the reading goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeclaredHealth {
    /// Scans that were finished.
    pub scans: u64,
    /// Files that were parsed, each version once.
    pub files_parsed: u64,
    /// Directories that are watched.
    pub watches: u64,
    /// Directories that are not, since there are too many or the kernel refused; the slow rescan covers them.
    pub watches_refused: u64,
    /// How long the scan that goes on now has taken; long means that a file system stalls.
    pub scanning_for: Option<Duration>,
}

/// The declarations of this host.
pub struct DeclaredInventory {
    shared: Arc<Shared>,
    declarations: watch::Receiver<Arc<Declarations>>,
}

struct Shared {
    sources: Mutex<Sources>,
    wake: EventFd,
    stop: AtomicBool,
    scans: AtomicU64,
    files_parsed: AtomicU64,
    watches: AtomicU64,
    watches_refused: AtomicU64,
    scanning_since: Mutex<Option<Instant>>,
}

impl DeclaredInventory {
    /// Begins to read. The declarations are empty until the first scan is through, which counts as a change.
    pub fn start(clients: Clients, sources: Sources) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            sources: Mutex::new(sources),
            wake: EventFd::from_flags(
                nix::sys::eventfd::EfdFlags::EFD_CLOEXEC | nix::sys::eventfd::EfdFlags::EFD_NONBLOCK,
            )?,
            stop: AtomicBool::new(false),
            scans: AtomicU64::new(0),
            files_parsed: AtomicU64::new(0),
            watches: AtomicU64::new(0),
            watches_refused: AtomicU64::new(0),
            scanning_since: Mutex::new(None),
        });
        let (send, declarations) = watch::channel(Arc::new(Declarations::default()));
        let watches = Watches::new(Inotify::init()?);
        let worker = Worker { shared: shared.clone(), scanner: Scanner::new(clients), watches, send };
        std::thread::Builder::new().name("declared-scan".into()).spawn(move || worker.run())?;
        Ok(Self { shared, declarations })
    }

    /// As last read.
    #[must_use]
    pub fn current(&self) -> Arc<Declarations> {
        self.declarations.borrow().clone()
    }

    /// What was read since the last call, if that changed anything.
    pub fn poll(&mut self) -> Option<Arc<Declarations>> {
        // An error means that the reading has ended: nothing will change any more.
        self.declarations
            .has_changed()
            .unwrap_or(false)
            .then(|| self.declarations.borrow_and_update().clone())
    }

    /// Waits until something changes.
    pub async fn changed(&mut self) -> Arc<Declarations> {
        if self.declarations.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.declarations.borrow_and_update().clone()
    }

    /// Looks at these places from now on: users, working directories and containers come and go.
    pub fn look_at(&self, sources: Sources) {
        let mut current = self.shared.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != sources {
            *current = sources;
            // Fails only when it is signalled already.
            let _ = self.shared.wake.write(1);
        }
    }

    /// How the reading goes.
    #[must_use]
    pub fn health(&self) -> DeclaredHealth {
        let Shared { scans, files_parsed, watches, watches_refused, scanning_since, .. } = &*self.shared;
        let since = *scanning_since.lock().unwrap_or_else(PoisonError::into_inner);
        DeclaredHealth {
            scans: scans.load(Ordering::Relaxed),
            files_parsed: files_parsed.load(Ordering::Relaxed),
            watches: watches.load(Ordering::Relaxed),
            watches_refused: watches_refused.load(Ordering::Relaxed),
            scanning_for: since.map(|since| since.elapsed()),
        }
    }
}

impl Drop for DeclaredInventory {
    fn drop(&mut self) {
        // Not waited for: the thread may hang in a file system.
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = self.shared.wake.write(1);
    }
}

struct Worker {
    shared: Arc<Shared>,
    scanner: Scanner,
    watches: Watches,
    send: watch::Sender<Arc<Declarations>>,
}

impl Worker {
    fn run(mut self) {
        loop {
            let sources = self.shared.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
            self.note_scan(Some(Instant::now()));
            let Scanned { declarations, waited } = self.scanner.scan_watched(&sources);
            self.note_scan(None);
            self.watches.follow(waited);
            let Shared { scans, files_parsed, watches, watches_refused, .. } = &*self.shared;
            scans.fetch_add(1, Ordering::Relaxed);
            files_parsed.store(self.scanner.parsed(), Ordering::Relaxed);
            watches.store(self.watches.paths.len() as u64, Ordering::Relaxed);
            watches_refused.store(self.watches.refused, Ordering::Relaxed);
            let first = scans.load(Ordering::Relaxed) == 1;
            self.send.send_if_modified(|current| {
                let changed = first || **current != declarations;
                if changed {
                    *current = Arc::new(declarations);
                }
                changed
            });
            if !self.wait() {
                return;
            }
        }
    }

    fn note_scan(&self, since: Option<Instant>) {
        *self.shared.scanning_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Waits until it is time for another scan; false at the end.
    fn wait(&mut self) -> bool {
        let rescan = Instant::now() + RESCAN_EVERY;
        let mut until = rescan;
        let mut dirty_since = None;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let (changed, woken) = ready(self.watches.inotify.as_fd(), self.shared.wake.as_fd(), left);
            if self.shared.stop.load(Ordering::Relaxed) {
                return false;
            }
            let mut dirty = false;
            if woken {
                let _ = self.shared.wake.read();
                dirty = true;
            }
            if changed {
                dirty |= self.watches.something_happened();
            }
            if dirty {
                let since = *dirty_since.get_or_insert_with(Instant::now);
                until = (Instant::now() + SETTLE).min(since + SETTLE_MAX).min(rescan);
            }
        }
    }
}

/// Which of the two has something to tell; neither after `left`.
fn ready(changes: BorrowedFd<'_>, wake: BorrowedFd<'_>, left: Duration) -> (bool, bool) {
    let mut both = [PollFd::new(changes, PollFlags::POLLIN), PollFd::new(wake, PollFlags::POLLIN)];
    // Rounded up, so that the last millisecond is not spent on asking.
    let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    if poll(&mut both, timeout).is_err() {
        // Interrupted: asked again.
        return (false, false);
    }
    let [changes, wake] = both.map(|one| one.any().unwrap_or(false));
    (changes, wake)
}

struct Watches {
    inotify: Inotify,
    paths: HashMap<PathBuf, WatchDescriptor>,
    names: HashMap<WatchDescriptor, std::collections::BTreeSet<OsString>>,
    refused: u64,
}

impl Watches {
    fn new(inotify: Inotify) -> Self {
        Self { inotify, paths: HashMap::new(), names: HashMap::new(), refused: 0 }
    }

    /// Watches these directories and no others.
    fn follow(&mut self, waited: Waited) {
        let mask = WatchMask::CREATE
            | WatchMask::MOVE
            | WatchMask::DELETE
            | WatchMask::CLOSE_WRITE
            | WatchMask::ATTRIB
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR
            | WatchMask::DONT_FOLLOW;
        let mut watches = self.inotify.watches();
        let gone: Vec<PathBuf> =
            self.paths.keys().filter(|path| !waited.contains_key(*path)).cloned().collect();
        for path in gone {
            if let Some(descriptor) = self.paths.remove(&path) {
                self.names.remove(&descriptor);
                // Fails when the directory went away by itself.
                let _ = watches.remove(descriptor);
            }
        }
        self.refused = 0;
        self.names.clear();
        for (path, names) in waited {
            if self.paths.len() >= WATCHES_MAX && !self.paths.contains_key(&path) {
                self.refused += 1;
                continue;
            }
            // Added again each time: another directory may have taken the name.
            match watches.add(&path, mask) {
                Ok(descriptor) => {
                    self.names.insert(descriptor.clone(), names);
                    self.paths.insert(path, descriptor);
                }
                Err(error) => {
                    self.paths.remove(&path);
                    self.refused += u64::from(error.kind() != io::ErrorKind::NotFound);
                }
            }
        }
    }

    /// Takes what the kernel has to tell; true if a name that matters is among it.
    fn something_happened(&mut self) -> bool {
        let mut buffer = [0; EVENTS_BYTES];
        let Ok(events) = self.inotify.read_events(&mut buffer) else { return false };
        let mut matters = false;
        for event in events {
            let about_itself = EventMask::Q_OVERFLOW | EventMask::DELETE_SELF | EventMask::MOVE_SELF;
            let named = |name: &OsStr| {
                self.names.get(&event.wd).is_some_and(|names| names.is_empty() || names.contains(name))
            };
            matters |= event.mask.intersects(about_itself) || event.name.is_some_and(named);
        }
        matters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::declared::Home;

    fn home() -> (tempfile::TempDir, Sources) {
        let root = tempfile::tempdir().unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        let mut sources = Sources::new(vec![Home { path: root.path().to_owned(), uid }]);
        sources.root = root.path().to_owned();
        (root, sources)
    }

    /// The number of servers after the next change.
    fn next(inventory: &mut DeclaredInventory) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let changed = async { tokio::time::timeout(Duration::from_secs(20), inventory.changed()).await };
        runtime.block_on(changed).expect("a change is told").servers.len()
    }

    #[test]
    fn a_change_is_told_within_a_moment_and_noise_is_not() {
        let (root, sources) = home();
        let mut inventory = DeclaredInventory::start(Clients::embedded().unwrap(), sources).unwrap();
        assert_eq!(next(&mut inventory), 0);
        // A folder that was not there, a file in it, another version of the file, none.
        std::fs::create_dir(root.path().join(".cursor")).unwrap();
        let file = root.path().join(".cursor/mcp.json");
        std::fs::write(&file, r#"{"mcpServers": {"a": {"command": "x"}}}"#).unwrap();
        let start = Instant::now();
        assert_eq!(next(&mut inventory), 1);
        assert!(start.elapsed() < RESCAN_EVERY / 4, "told by a watch, not by the rescan");
        std::fs::write(
            root.path().join("new"),
            r#"{"mcpServers": {"a": {"command": "x"}, "b": {"command": "y"}}}"#,
        )
        .unwrap();
        std::fs::rename(root.path().join("new"), &file).unwrap();
        assert_eq!(next(&mut inventory), 2);
        let scans = inventory.health().scans;
        for number in 0..50 {
            std::fs::write(root.path().join(".cursor/log"), number.to_string()).unwrap();
        }
        std::thread::sleep(SETTLE * 3);
        assert_eq!(inventory.health().scans, scans, "nobody waits for that name");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(next(&mut inventory), 0);
        assert_eq!(inventory.health().watches_refused, 0);
        assert!(inventory.poll().is_none());
    }

    #[test]
    fn other_places_are_looked_at_when_told() {
        let (root, mut sources) = home();
        std::fs::create_dir(root.path().join("p")).unwrap();
        std::fs::write(root.path().join("p/.mcp.json"), r#"{"mcpServers": {"a": {"command": "x"}}}"#)
            .unwrap();
        let mut inventory = DeclaredInventory::start(Clients::embedded().unwrap(), sources.clone()).unwrap();
        assert_eq!(next(&mut inventory), 0);
        let uid = sources.homes[0].uid;
        sources.working.push(super::super::WorkingFolder { path: root.path().join("p"), uid });
        inventory.look_at(sources);
        assert_eq!(next(&mut inventory), 1);
    }
}
