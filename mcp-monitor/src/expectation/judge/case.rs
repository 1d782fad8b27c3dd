//! One event with what is known of who did it: what every ruling is given.

use std::sync::Arc;

use super::context::Scope;
use crate::{
    event::{Event, WorkloadKind},
    expectation::{glob::is_below, lineage::Image},
};

/// One event on trial.
pub(super) struct Case<'event> {
    pub(super) event: &'event Event,
    pub(super) image: Image,
    pub(super) scope: Arc<Scope>,
    /// Judged by consequence and not by expectation.
    pub(super) agent: bool,
}

impl<'event> Case<'event> {
    pub(super) fn new(event: &'event Event, image: Image, scope: Arc<Scope>) -> Self {
        let kind = scope.kind.unwrap_or(event.workload.kind);
        Self { event, image, scope, agent: kind == WorkloadKind::Agent }
    }

    /// The path lies neither in the workspace, where one is known, nor where temporary work is done.
    pub(super) fn is_of_another_project(&self, path: &[u8]) -> bool {
        const TEMPORARY: [&[u8]; 3] = [b"/tmp", b"/var/tmp", b"/dev/shm"];
        !self.scope.workspaces.is_empty()
            && !self.scope.is_in_workspace(path)
            && !self.scope.is_own(path)
            && !TEMPORARY.iter().any(|place| is_below(path, place))
    }
}
