//! Which segment belongs to which workload. A segment that nobody assigned belongs to its parent's workload;
//! assigning the parent later moves it along.

use std::{collections::HashMap, sync::Arc};

use mcp_monitor_common::limits::SEGMENTS_MAX;

use crate::event::{SegmentId, Workload};

/// Segments between one and the one whose workload it takes.
const DEPTH_MAX: usize = 1024;

#[derive(Debug)]
struct Segment {
    parent: Option<SegmentId>,
    assigned: Option<Arc<Workload>>,
    /// Nothing of ours: its records are nobody's and go nowhere.
    dropped: bool,
    inherited: Option<Arc<Workload>>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Segments {
    known: HashMap<SegmentId, Segment>,
    refused: u64,
}

impl Segments {
    /// A segment was opened out of another one.
    pub fn open(&mut self, segment: SegmentId, parent: SegmentId) {
        if let Some(known) = self.known.get_mut(&segment) {
            known.parent = Some(parent);
            known.inherited = None;
        } else if self.has_room() {
            self.known.insert(
                segment,
                Segment { parent: Some(parent), assigned: None, dropped: false, inherited: None },
            );
        }
    }

    /// `segment` belongs to `workload`, and with it what was opened out of it and not assigned itself.
    pub fn assign(&mut self, segment: SegmentId, workload: Arc<Workload>) {
        if let Some(known) = self.known.get_mut(&segment) {
            known.assigned = Some(workload);
        } else if self.has_room() {
            self.known.insert(
                segment,
                Segment { parent: None, assigned: Some(workload), dropped: false, inherited: None },
            );
        }
        for known in self.known.values_mut() {
            known.inherited = None;
        }
    }

    /// `segment` is nothing of ours, until it is forgotten.
    pub fn drop(&mut self, segment: SegmentId) {
        if let Some(known) = self.known.get_mut(&segment) {
            known.dropped = true;
        }
    }

    /// True for a segment that is nothing of ours.
    #[must_use]
    pub fn is_dropped(&self, segment: SegmentId) -> bool {
        self.known.get(&segment).is_some_and(|known| known.dropped)
    }

    /// Forgets a segment that ended; what was opened out of it keeps its workload.
    pub fn forget(&mut self, segment: SegmentId) {
        let children: Vec<SegmentId> =
            self.known.iter().filter(|(_, known)| known.parent == Some(segment)).map(|(id, _)| *id).collect();
        for child in children {
            let workload = self.workload(child).cloned();
            if let Some(known) = self.known.get_mut(&child)
                && known.assigned.is_none()
            {
                known.assigned = workload;
            }
        }
        self.known.remove(&segment);
    }

    /// The workload of a segment, if it or one above it was assigned.
    pub fn workload(&mut self, segment: SegmentId) -> Option<&Arc<Workload>> {
        let known = self.known.get(&segment)?;
        if known.assigned.is_none() && known.inherited.is_none() {
            let found = self.above(segment);
            self.known.get_mut(&segment)?.inherited = found;
        }
        let known = self.known.get(&segment)?;
        known.assigned.as_ref().or(known.inherited.as_ref())
    }

    /// The segment out of which this one was opened.
    #[must_use]
    pub fn parent(&self, segment: SegmentId) -> Option<SegmentId> {
        self.known.get(&segment)?.parent
    }

    /// Segments that found no place.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn above(&self, segment: SegmentId) -> Option<Arc<Workload>> {
        let mut at = self.known.get(&segment)?;
        for _ in 0..DEPTH_MAX {
            at = self.known.get(&at.parent?)?;
            if let Some(workload) = at.assigned.as_ref().or(at.inherited.as_ref()) {
                return Some(Arc::clone(workload));
            }
        }
        None
    }

    fn has_room(&mut self) -> bool {
        let room = u32::try_from(self.known.len()).is_ok_and(|known| known < SEGMENTS_MAX);
        self.refused += u64::from(!room);
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::WorkloadKind;

    fn workload(name: &str) -> Arc<Workload> {
        Arc::new(Workload {
            id: name.into(),
            instance: name.into(),
            kind: WorkloadKind::Server,
            name: name.into(),
            ..Workload::default()
        })
    }

    fn name(segments: &mut Segments, segment: u64) -> Option<String> {
        segments.workload(SegmentId(segment)).map(|workload| workload.name.clone())
    }

    #[test]
    fn children_inherit_until_they_are_assigned() {
        let mut segments = Segments::default();
        segments.open(SegmentId(2), SegmentId(1));
        segments.open(SegmentId(3), SegmentId(2));
        assert_eq!(name(&mut segments, 3), None);
        segments.assign(SegmentId(1), workload("agent"));
        assert_eq!(name(&mut segments, 3).as_deref(), Some("agent"));
        segments.assign(SegmentId(2), workload("server"));
        assert_eq!(name(&mut segments, 3).as_deref(), Some("server"));
        assert_eq!(name(&mut segments, 1).as_deref(), Some("agent"));
        segments.forget(SegmentId(2));
        assert_eq!(name(&mut segments, 3).as_deref(), Some("server"));
        assert_eq!(name(&mut segments, 2), None);
    }

    #[test]
    fn loops_and_floods_are_survived() {
        let mut segments = Segments::default();
        segments.open(SegmentId(1), SegmentId(2));
        segments.open(SegmentId(2), SegmentId(1));
        assert_eq!(name(&mut segments, 1), None);
        for id in 0..u64::from(SEGMENTS_MAX) + 10 {
            segments.open(SegmentId(id), SegmentId(0));
        }
        assert!(segments.refused() > 0);
    }
}
