//! Which process is in which segment, and what becomes of an instance with its processes.

use std::{collections::HashMap, sync::Arc};

use super::{Owner, Registry, Segment, Step};
use crate::{
    event::{BootNs, ProcessId, ProcessKey, SegmentId},
    inventory::live::instance::{Origin, State},
};

impl Registry {
    /// The process is in `segment` from now on. Gives the segment that it left.
    pub(super) fn join(&mut self, process: ProcessKey, segment: SegmentId, now: BootNs) -> Option<SegmentId> {
        let known = self.segments.get_mut(&segment)?;
        let before = self.members.insert(process.pid, (process.start, segment));
        if before == Some((process.start, segment)) {
            return None;
        }
        known.processes += 1;
        known.empty_since = None;
        if let Owner::Instance(id) = &known.owner
            && let Some(instance) = self.instances.get_mut(id)
        {
            instance.processes += 1;
        }
        let (_, left) = before?;
        self.uncount(left, now);
        Some(left)
    }

    pub(super) fn uncount(&mut self, segment: SegmentId, now: BootNs) {
        let Some(known) = self.segments.get_mut(&segment) else { return };
        known.processes = known.processes.saturating_sub(1);
        if known.processes == 0 {
            known.empty_since = Some(now);
            self.closing.push_back((now, segment));
        }
        if let Owner::Instance(id) = &known.owner
            && let Some(instance) = self.instances.get_mut(id)
        {
            instance.processes = instance.processes.saturating_sub(1);
        }
    }

    pub(super) fn leave(&mut self, process: ProcessKey, now: BootNs, steps: &mut Vec<Step>) {
        if self.members.get(&process.pid).is_some_and(|(start, _)| *start == process.start)
            && let Some((_, segment)) = self.members.remove(&process.pid)
        {
            self.uncount(segment, now);
            self.emptied(segment, now, steps);
        }
        self.suspects.leave(process);
    }

    /// The end of an instance, if this was its last process.
    pub(super) fn emptied(&mut self, segment: SegmentId, now: BootNs, steps: &mut Vec<Step>) {
        let Some(Segment { owner: Owner::Instance(id), .. }) = self.segments.get(&segment) else { return };
        let id = Arc::clone(id);
        let Some(instance) = self.instances.get(&id) else { return };
        // Of what the command line names not every process came by an event; the labels tell.
        if instance.processes == 0 && instance.lives() && instance.origin != Origin::Named {
            self.end(id, now, steps);
        }
    }

    pub(super) fn end(&mut self, id: Arc<str>, now: BootNs, steps: &mut Vec<Step>) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.state = State::Ended;
            instance.ended = Some(now);
        }
        let children =
            self.instances.values_mut().filter(|child| child.parent.as_ref() == Some(&id) && child.lives());
        for child in children {
            child.state = State::Orphan;
        }
        steps.push(Step::Ended(id));
    }

    /// Compares with the labels that the kernel has, each with its process's start: a missed exit ends here, too, and
    /// what was labelled without an event becomes known.
    pub fn reconcile(&mut self, labels: &HashMap<ProcessId, (BootNs, SegmentId)>, now: BootNs) -> Vec<Step> {
        let gone: Vec<ProcessKey> = self
            .members
            .iter()
            .filter(|(pid, _)| !labels.contains_key(pid))
            .map(|(pid, (start, _))| ProcessKey { pid: *pid, start: *start, exec_id: 0 })
            .collect();
        let mut steps = Vec::new();
        for process in gone {
            self.leave(process, now, &mut steps);
        }
        for (&pid, &(start, segment)) in labels {
            if !self.members.contains_key(&pid) {
                self.join(ProcessKey { pid, start, exec_id: 0 }, segment, now);
            }
        }
        let ended: Vec<Arc<str>> = self
            .instances
            .values()
            .filter(|one| one.origin == Origin::Named && one.processes == 0 && one.lives())
            .map(|one| Arc::clone(&one.id))
            .collect();
        for id in ended {
            self.end(id, now, &mut steps);
        }
        steps
    }
}
