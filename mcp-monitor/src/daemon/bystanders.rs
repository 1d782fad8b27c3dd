//! What processes outside every lineage do to secrets, and what they run that a workload left behind; only when asked
//! for. The kernel tells of opens of published secrets by itself; which files workloads left is published here.

use std::{collections::HashSet, sync::Arc};

use mcp_monitor_common::map::WATCH_BYSTANDER;

use crate::{
    event::{Event, FileIdentity, SegmentId, Workload},
    expectation::Judge,
    host::attribute::Attributor,
    sensor::orders::Orders,
};

/// The segment that records of processes outside every lineage carry.
const NO_SEGMENT: SegmentId = SegmentId(0);

/// The files that are published.
#[derive(Default)]
pub(super) struct Bystanders {
    enabled: bool,
    revision: u64,
    watched: HashSet<FileIdentity>,
}

impl Bystanders {
    /// Their events belong to no workload; `host` stands in its place.
    pub(super) fn new(enabled: bool, attributor: &mut Attributor) -> Self {
        if enabled {
            let host = Workload {
                id: "host".into(),
                instance: "host".into(),
                name: "host".into(),
                ..Workload::default()
            };
            // Nothing waits for it yet.
            drop(attributor.assign(NO_SEGMENT, Arc::new(host)));
        }
        Self { enabled, ..Self::default() }
    }

    /// Publishes files that workloads left since the last call. A full map leaves one out: its run is not told.
    pub(super) fn publish(&mut self, judge: &Judge, orders: &mut Orders) {
        if !self.enabled || self.revision == judge.left_revision() {
            return;
        }
        self.revision = judge.left_revision();
        for file in judge.left_files() {
            if !self.watched.contains(&file) && orders.watch_executable(file, WATCH_BYSTANDER).is_ok() {
                self.watched.insert(file);
            }
        }
    }
}

/// What the monitor does itself is no bystander's deed.
pub(super) fn is_ourselves(event: &Event) -> bool {
    event.process.key.pid.0 == std::process::id()
}
