//! The published secrets: what scans find becomes known to the judge and marked in the kernel, so that records of
//! secrets go before all others.

use std::{collections::HashSet, sync::mpsc, thread, time::Duration};

use mcp_monitor_common::{
    map::{ACTION_OBSERVE, SecretMark},
    record::FileIdentity,
};

use crate::{
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

/// Scans before anything is watched.
pub(super) fn first_scan(judge: &mut Judge) {
    let (sender, receiver) = mpsc::sync_channel(1);
    let plan = ScanPlan::new(judge.secrets());
    if start(plan, sender)
        && let Ok(found) = receiver.recv_timeout(PATIENCE)
    {
        judge.secrets_mut().take_scan(&found);
    }
}

fn start(plan: ScanPlan, sender: mpsc::SyncSender<Vec<Found>>) -> bool {
    thread::Builder::new()
        .name("secrets-scan".to_owned())
        .spawn(move || {
            // Nobody waits any more when that fails.
            let _ = sender.send(scan(&plan));
        })
        .is_ok()
}

/// What the kernel knows, and the scan that is under way.
#[derive(Default)]
pub(super) struct Marks {
    objects: HashSet<FileIdentity>,
    revision: Option<u64>,
    scanning: Option<mpsc::Receiver<Vec<Found>>>,
}

impl Marks {
    /// Starts a scan unless one is under way.
    pub(super) fn rescan(&mut self, judge: &Judge) {
        if self.scanning.is_none() {
            let (sender, receiver) = mpsc::sync_channel(1);
            if start(ScanPlan::new(judge.secrets()), sender) {
                self.scanning = Some(receiver);
            }
        }
    }

    /// Takes a finished scan over.
    pub(super) fn poll(&mut self, judge: &mut Judge) {
        if let Some(receiver) = &self.scanning {
            match receiver.try_recv() {
                Ok(found) => {
                    judge.secrets_mut().take_scan(&found);
                    self.scanning = None;
                }
                Err(mpsc::TryRecvError::Disconnected) => self.scanning = None,
                Err(mpsc::TryRecvError::Empty) => {}
            }
        }
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
