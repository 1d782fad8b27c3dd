//! What is kept of workloads and instances, for how long, and what is forgotten.

use std::{collections::VecDeque, sync::Arc};

use super::{CLOSING_NS, HISTORY_MAX, Host, INSTANCES_MAX, KEPT_NS, Registry, Step};
use crate::{
    event::{BootNs, Bytes, ProcessKey, Workload},
    inventory::live::{
        instance::{Instance, Origin, Rate, State},
        tools::Runtime,
    },
};

impl Registry {
    /// Takes note of the time: segments that ended, clients that have gone, what looks like a server for long enough.
    /// To be called about once a second.
    pub fn tick(&mut self, now: BootNs, host: &mut dyn Host) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some((since, segment)) = self.closing.front().copied()
            && now.0.saturating_sub(since.0) > CLOSING_NS
        {
            self.closing.pop_front();
            if self
                .segments
                .get(&segment)
                .is_some_and(|known| known.empty_since == Some(since) && known.processes == 0)
            {
                self.segments.remove(&segment);
                steps.push(Step::Close(segment));
            }
        }
        for instance in self.instances.values_mut() {
            if instance.state == State::Running
                && let Some(client) = instance.client_process
                && !host.lives(client)
            {
                instance.state = State::Orphan;
            }
        }
        self.suspects.tick(now, host);
        self.tick_containers(now, host, &mut steps);
        self.forget(now);
        steps
    }

    /// How many instances of the workload there were, and the version of the last one if it was another.
    pub(super) fn remember(&mut self, workload: &str, version: Option<String>) -> (u64, Option<String>) {
        if self.histories.len() >= HISTORY_MAX && !self.histories.contains_key(workload) {
            return (0, None);
        }
        let history = self.histories.entry(workload.to_owned()).or_default();
        let earlier = history.instances;
        history.instances += 1;
        let before =
            history.version.clone().filter(|before| version.as_ref().is_some_and(|now| now != before));
        if version.is_some() {
            history.version = version;
        }
        (earlier, before)
    }

    /// Room for one more instance: the one that ended first goes. `false` when all live.
    pub(super) fn make_room(&mut self) -> bool {
        if self.instances.len() < INSTANCES_MAX {
            return true;
        }
        let oldest = self
            .instances
            .iter()
            .filter_map(|(id, instance)| instance.ended.map(|ended| (ended, Arc::clone(id))))
            .min();
        let Some((_, id)) = oldest else { return false };
        self.instances.remove(&id);
        self.containers.forget(&id);
        self.counts.forgotten += 1;
        true
    }

    pub(super) fn forget(&mut self, now: BootNs) {
        let before = self.instances.len();
        self.instances.retain(|_, instance| {
            instance.ended.is_none_or(|ended| now.0.saturating_sub(ended.0) <= KEPT_NS)
        });
        self.containers.keep_only(&self.instances);
        self.counts.forgotten += (before - self.instances.len()) as u64;
    }
}

/// An instance of which nothing more is known.
pub(super) fn blank(workload: Arc<Workload>, origin: Origin, root: ProcessKey, now: BootNs) -> Instance {
    Instance {
        id: workload.instance.as_str().into(),
        workload,
        origin,
        parent: None,
        client_process: None,
        root,
        runtime: Runtime::default(),
        launcher: None,
        package: None,
        program: Bytes::default(),
        address: None,
        working_directory: Bytes::default(),
        uid: 0,
        user: None,
        container: None,
        container_name: None,
        labels: Vec::new(),
        unit: None,
        image: None,
        state: State::Running,
        started: now,
        ended: None,
        bootstrap: false,
        processes: 0,
        earlier: 0,
        version_before: None,
        events: Rate::default(),
        findings: Rate::default(),
        coverage: VecDeque::new(),
    }
}
