//! Rulings on what is changed: places that make code run later, directories of the system, what is the monitor's own.

use super::{Case, Judge, Ruling, plain};
use crate::{
    event::{Access, Action, Event, FileObject, Outcome, Rule, Verdict},
    expectation::{catalogue::BelowAgent, program::Installs},
};

/// The paths at which an event changes what stands there.
pub(super) fn changed_paths(event: &Event, file: &FileObject, path: &[u8]) -> Vec<Vec<u8>> {
    let Access { write, create, truncate, path_only, .. } = file.access;
    let here = match &event.action {
        Action::Open(_) => (write || create || truncate) && !path_only,
        Action::Receive(_) => write,
        Action::Symlink(_)
        | Action::Truncate(_)
        | Action::Unlink(_)
        | Action::Rename(_)
        | Action::Chmod(_) => true,
        _ => false,
    };
    let there = match &event.action {
        Action::Rename(_) | Action::Link(_) => file.target.as_ref(),
        _ => None,
    };
    let here = here.then(|| path.to_vec());
    here.into_iter().chain(there.map(|target| plain(target, event).into_owned())).collect()
}

impl Judge {
    /// Rules on changes; `None` when nothing bears on them.
    pub(super) fn judge_change(&self, case: &Case, file: &FileObject, path: &[u8]) -> Option<Ruling> {
        let event = case.event;
        if event.outcome == Outcome::Started {
            return None;
        }
        let changed = changed_paths(event, file, path);
        if let Some(ruling) = self.judge_tamper(case, &changed) {
            return Some(ruling);
        }
        let homes = self.secrets.homes();
        let certain = super::is_certain(&file.path);
        let declared = |allowed: &&super::Allowed| changed.iter().all(|path| allowed.writes(path, homes));
        if certain
            && !changed.is_empty()
            && let Some(allowed) = self.allowed(case).find(declared)
        {
            return Some(Ruling::expected(allowed.source.clone(), "declared to be written"));
        }
        self.judge_persistence(case, file, path).or_else(|| self.judge_system_write(case, &changed))
    }

    fn judge_tamper(&self, case: &Case, changed: &[Vec<u8>]) -> Option<Ruling> {
        let homes = self.secrets.homes();
        let of_monitor = |path: &Vec<u8>| self.places.is_of_monitor(path, homes) || self.monitor.owns(path);
        changed.iter().any(of_monitor).then(|| {
            let what = "changed what belongs to the monitor: its settings, records or program";
            Ruling::broken(Rule::MonitorTamper, Verdict::Forbidden, "monitor", what).tried(case.event.outcome)
        })
    }

    fn judge_persistence(&self, case: &Case, file: &FileObject, path: &[u8]) -> Option<Ruling> {
        let event = case.event;
        let homes = self.secrets.homes();
        let Access { write, create, truncate, path_only, .. } = file.access;
        let place = match &event.action {
            Action::Open(_) if (write || create || truncate) && !path_only => {
                self.places.persistence(path, homes)
            }
            Action::Symlink(_) | Action::Truncate(_) => self.places.persistence(path, homes),
            Action::Receive(_) if write => self.places.persistence(path, homes),
            Action::Rename(_) | Action::Link(_) => {
                self.places.persistence(&plain(file.target.as_ref()?, event), homes)
            }
            _ => None,
        }?;
        let what = format!("wrote {}", place.title);
        if case.agent && place.agents == BelowAgent::Recorded {
            return Some(Ruling::unjudged(format!("{what}; agents do that all day")));
        }
        if is_system_install(case) && homes.remainders(path).next().is_none() {
            return Some(Ruling::unjudged(format!("{what}; the system's package manager does that")));
        }
        let source = format!("persistence:{}", place.id);
        Some(Ruling::broken(Rule::PersistenceWrite, Verdict::Unexpected, source, what).tried(event.outcome))
    }

    fn judge_system_write(&self, case: &Case, changed: &[Vec<u8>]) -> Option<Ruling> {
        let homes = self.secrets.homes();
        let place = changed.iter().find_map(|path| self.places.system(path, homes))?;
        let what = format!("changed {}", place.title);
        if is_system_install(case) {
            return Some(Ruling::unjudged(format!("{what}; the system's package manager does that")));
        }
        if case.agent && place.agents == BelowAgent::Recorded {
            return Some(Ruling::unjudged(format!("{what}; agents do that all day")));
        }
        let source = format!("system:{}", place.id);
        let ruling = Ruling::broken(Rule::UnexpectedWrite, Verdict::Unexpected, source, what);
        Some(ruling.tried(case.event.outcome))
    }
}

/// An agent had the system's package manager install something.
fn is_system_install(case: &Case) -> bool {
    case.agent && case.image.installing == Some(Installs::System)
}
