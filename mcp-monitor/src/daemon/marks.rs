//! The published secrets: what scans find becomes known to the judge and marked in the kernel, so that records of
//! secrets go before all others.

use std::{
    collections::HashSet,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use mcp_monitor_common::{
    map::{ACTION_OBSERVE, SecretMark},
    record::FileIdentity,
};

use super::places::{Changes, Places, Watched};
use crate::{
    control::Freshness,
    expectation::{
        Judge,
        catalogue::EntryIndex,
        scan::{ScanPlan, scan},
        secrets::Found,
    },
    sensor::orders::Orders,
};

/// How long the first scan may take before the watch begins without it: a home on a stalled network file system
/// must not keep everything waiting.
const PATIENCE: Duration = Duration::from_secs(5);
/// Scans that changes ask for begin no sooner after each other: who creates and removes names all the time costs a scan as
/// often as this.
const BREATH: Duration = Duration::from_millis(200);

/// Scans before anything is watched.
pub(super) fn first_scan(judge: &mut Judge) {
    let (sender, receiver) = mpsc::sync_channel(1);
    let plan = ScanPlan::new(judge.secrets());
    if start(plan, None, sender)
        && let Ok(result) = receiver.recv_timeout(PATIENCE)
    {
        judge.secrets_mut().take_scan(&result.found);
    }
}

/// What a thread that scans hands back.
struct Scanned {
    found: Vec<Found>,
    watched: Option<Watched>,
}

fn start(plan: ScanPlan, watched: Option<Watched>, sender: mpsc::SyncSender<Scanned>) -> bool {
    thread::Builder::new()
        .name("secrets-scan".to_owned())
        .spawn(move || {
            let mut watched = watched;
            let mut result = scan(&plan);
            if let Some(watched) = &mut watched
                && watched.follow(std::mem::take(&mut result.waited))
            {
                // What changed before it was watched.
                result = scan(&plan);
            }
            // Nobody waits any more when that fails.
            let _ = sender.send(Scanned { found: result.found, watched });
        })
        .is_ok()
}

/// What the kernel knows, and the scan that is under way.
#[derive(Default)]
pub(super) struct Marks {
    objects: HashSet<FileIdentity>,
    revision: Option<u64>,
    scanning: Option<Scanning>,
    places: Option<Places>,
    watched: Option<Watched>,
    /// Since when a change waits for a scan.
    changed: Option<Instant>,
    /// When the last scan began.
    begun: Option<Instant>,
    freshness: Freshness,
}

/// A scan under way, and the change that it was begun for.
struct Scanning {
    result: mpsc::Receiver<Scanned>,
    since: Option<Instant>,
}

impl Marks {
    /// Starts a scan unless one is under way.
    pub(super) fn rescan(&mut self, judge: &Judge) {
        if self.scanning.is_some() {
            return;
        }
        let (sender, result) = mpsc::sync_channel(1);
        let watched = self.watched.take().or_else(|| self.places.as_ref().map(Places::watched));
        if start(ScanPlan::new(judge.secrets()), watched, sender) {
            self.scanning = Some(Scanning { result, since: self.changed.take() });
            self.begun = Some(Instant::now());
        }
    }

    /// Watches where secrets lie from the next scan on; says when to call [`Self::look`]. Without inotify the scans remain,
    /// which is counted.
    pub(super) fn watch(&mut self) -> Option<Changes> {
        let Ok(places) = Places::new() else {
            self.freshness.unwatched = 1;
            return None;
        };
        Some(self.places.insert(places).changes())
    }

    /// Something changed where secrets lie: a scan, if it matters.
    pub(super) fn look(&mut self, judge: &Judge) {
        let Some(places) = &mut self.places else { return };
        if places.changed(self.watched.as_ref()) {
            self.changed.get_or_insert_with(Instant::now);
        }
        self.begin(judge);
    }

    /// Begins the scan that changes wait for, unless one is under way or was a moment ago.
    fn begin(&mut self, judge: &Judge) {
        if self.changed.is_some() && self.begun.is_none_or(|begun| begun.elapsed() >= BREATH) {
            self.rescan(judge);
        }
    }

    /// How far the published set lags.
    pub(super) fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// Takes a finished scan over.
    pub(super) fn poll(&mut self, judge: &mut Judge) {
        if let Some(scanning) = &self.scanning {
            match scanning.result.try_recv() {
                Ok(Scanned { found, watched }) => {
                    judge.secrets_mut().take_scan(&found);
                    if let Some(since) = scanning.since {
                        self.freshness.repairs += 1;
                        self.freshness.longest = self.freshness.longest.max(since.elapsed());
                    }
                    self.freshness.unwatched = watched.as_ref().map_or(0, |watched| watched.refused);
                    self.watched = watched;
                    self.scanning = None;
                }
                Err(mpsc::TryRecvError::Disconnected) => self.scanning = None,
                Err(mpsc::TryRecvError::Empty) => {}
            }
        }
        self.begin(judge);
    }

    /// Publishes what has changed. A full map leaves a secret without its mark: the judge still knows it.
    pub(super) fn publish(&mut self, judge: &Judge, orders: &mut Orders) {
        let secrets = judge.secrets();
        if self.revision == Some(secrets.revision()) {
            return;
        }
        self.revision = Some(secrets.revision());
        let mut objects = HashSet::new();
        for (identity, entry) in secrets.object_marks() {
            if orders.publish_object(identity, mark(entry)).is_ok() {
                objects.insert(identity);
            }
        }
        for (name, entry) in secrets.name_marks() {
            let _ = orders.publish_name(name, mark(entry));
        }
        for gone in self.objects.difference(&objects) {
            orders.withdraw_object(*gone);
        }
        self.objects = objects;
    }
}

fn mark(entry: EntryIndex) -> SecretMark {
    SecretMark { entry, action: ACTION_OBSERVE }
}
