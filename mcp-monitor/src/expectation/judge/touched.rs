//! Settings files that a workload wrote: whether their meaning changed is found out elsewhere, since the judge opens
//! nothing, and comes back as a ruling on the event that wrote.

use super::{Case, Judge, plain, writes::changed_paths};
use crate::{
    event::{Action, Decision, Event, FileObject, Outcome, Rule, Severity, Verdict},
    expectation::settings::{Changes, SettingsIndex},
};

/// Writes that wait to be looked at; one more is refused and counted.
const TOUCHED_MAX: usize = 256;

/// A settings file that was written.
#[derive(Clone, Debug)]
pub struct Touched {
    /// Where it lies, as the process saw it.
    pub path: Vec<u8>,
    /// What kind of settings.
    pub kind: SettingsIndex,
    /// The program that owns them wrote.
    pub by_owner: bool,
    /// The event that wrote.
    pub event: Event,
}

/// The writes that wait.
#[derive(Debug, Default)]
pub(super) struct TouchedFiles {
    waiting: Vec<Touched>,
    refused: u64,
}

impl TouchedFiles {
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

impl Judge {
    /// Settings files that were written since the last call.
    pub fn take_touched(&mut self) -> Vec<Touched> {
        std::mem::take(&mut self.touched.waiting)
    }

    /// Files of settings that may be there before anything is watched.
    #[must_use]
    pub fn usual_settings(&self) -> Vec<std::path::PathBuf> {
        self.settings.usual_files(&self.secrets.homes().existing())
    }

    /// The kind of settings file that lies at `path`.
    #[must_use]
    pub fn settings_kind(&self, path: &[u8]) -> Option<SettingsIndex> {
        self.settings.find(path, self.secrets.homes())
    }

    /// The event that wrote a settings file, judged again now that it is known what changed in it.
    #[must_use]
    pub fn judge_settings(&self, touched: Touched, changes: &Changes) -> Event {
        let Touched { kind, by_owner, mut event, .. } = touched;
        let (id, title) = self.settings.describe(kind);
        let source = if by_owner { format!("own-settings:{id}") } else { format!("settings:{id}") };
        event.id = uuid::Uuid::now_v7().to_string();
        event.verdict = Verdict::Forbidden;
        event.rule = Some(Rule::ConfigTamper);
        event.decision = Decision {
            source,
            reason: format!("changed the settings of {title}: {}", changes.words()),
            ..Decision::default()
        };
        event
    }

    /// Severities by the source of a decision: what an owner does to its own settings may be its user's wish.
    pub(super) fn settings_severities(&self) -> impl Iterator<Item = (String, Severity)> + '_ {
        self.settings.ids().map(|id| (format!("own-settings:{id}"), Severity::Medium))
    }

    /// Takes note when a settings file is written.
    pub(super) fn note_settings(&mut self, case: &Case, file: &FileObject) {
        let event = case.event;
        let changes = matches!(
            event.action,
            Action::Open(_) | Action::Rename(_) | Action::Link(_) | Action::Symlink(_) | Action::Truncate(_)
        );
        // A path in a container is another file here.
        if !changes
            || !matches!(event.outcome, Outcome::Ok | Outcome::Permitted)
            || event.process.container.is_some()
        {
            return;
        }
        let homes = self.secrets.homes();
        for path in changed_paths(event, file, &plain(&file.path, event)) {
            let Some(kind) = self.settings.find(&path, homes) else { continue };
            if self.touched.waiting.len() >= TOUCHED_MAX {
                self.touched.refused += 1;
                continue;
            }
            let by_owner = self.settings.owns(kind, &case.image.programs);
            self.touched.waiting.push(Touched { path, kind, by_owner, event: event.clone() });
        }
    }
}
