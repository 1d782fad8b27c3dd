//! The store's place in the wiring: events and findings go in, what was lost on the way comes back as coverage.

use std::borrow::Cow;

use crate::{
    event::{Event, Finding, FindingState},
    render::Origin,
    sensor::sequence::SequenceTracker,
    store::{Act, Actor, Settings, Store, StoreError, Writer},
};

/// A loss to be charged to every workload: cause, what, how many.
pub(super) type Loss = (&'static str, &'static str, u64);

/// Records, if that is wanted.
#[derive(Default)]
pub(super) struct Recorder {
    store: Option<(Store, Writer)>,
    failed: bool,
}

impl Recorder {
    /// Opens the store, if there is to be one.
    pub(super) fn open(settings: Option<&Settings>, origin: &Origin) -> Result<Self, StoreError> {
        let Some(settings) = settings else { return Ok(Self::default()) };
        let store = Store::open(settings, origin)?;
        let writer = store.writer();
        Ok(Self { store: Some((store, writer)), failed: false })
    }

    /// Chains what was done; nobody waits until it is on the disk.
    pub(super) fn act(&self, actor: Actor, act: Act) {
        let Some((_, writer)) = &self.store else { return };
        if let Err(error) = writer.note(actor, act) {
            eprintln!("mcp-monitor: what was done is not in the journal: {error}");
        }
    }

    /// For who answers questions.
    pub(super) fn writer(&self) -> Option<Writer> {
        self.store.as_ref().map(|(_, writer)| writer.clone())
    }

    /// The finding with the state that it has for those who are told.
    pub(super) fn as_told<'finding>(&self, finding: &'finding Finding) -> Cow<'finding, Finding> {
        match &self.store {
            Some((_, writer)) if writer.suppresses(finding) => {
                Cow::Owned(Finding { state: FindingState::Suppressed, ..finding.clone() })
            }
            _ => Cow::Borrowed(finding),
        }
    }

    /// Takes an event, judged and told.
    pub(super) fn event(&self, event: &Event) {
        if let Some((_, writer)) = &self.store {
            writer.event(event.clone());
        }
    }

    /// Takes a finding, new or repeated.
    pub(super) fn finding(&self, finding: &Finding) {
        if let Some((_, writer)) = &self.store {
            writer.finding(finding);
        }
    }

    /// Notes how far things are, for the case that we are killed.
    pub(super) fn note_progress(&mut self, sequences: &SequenceTracker) {
        if let Some((store, _)) = &mut self.store
            && !self.failed
        {
            // When it cannot be noted, the gap of a kill is told without its number.
            self.failed = store.note_progress(sequences.last()).is_err();
        }
    }

    /// What an earlier run that was killed did not store, told once.
    pub(super) fn gap(&mut self) -> Option<Loss> {
        let (store, _) = self.store.as_mut()?;
        let gap = store.gap.take()?;
        let what = "events that an earlier monitor had seen and not stored when it was killed; what was done until \
                    this one began was not seen";
        Some(("store-killed", what, gap.events))
    }

    /// What was lost on the way into the store since this was asked last.
    pub(super) fn losses(&self) -> Vec<Loss> {
        let Some((_, writer)) = &self.store else { return Vec::new() };
        let losses = writer.take_losses();
        [
            ("store-queue", "events that were seen and not recorded since the store was too slow", losses.queue),
            (
                "store-full",
                "events that were seen and not recorded since the store could not be written (`mcp-monitor status` \
                 says why)",
                losses.unwritten,
            ),
            ("store-findings", "findings that were told and not recorded", losses.findings),
        ]
        .into_iter()
        .filter(|(_, _, count)| *count > 0)
        .collect()
    }
}
