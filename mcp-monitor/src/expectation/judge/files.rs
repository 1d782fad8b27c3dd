//! Rulings on files: secrets, other processes' files below `/proc`, and what a runtime needs. What changes files:
//! [`super::writes`].

use super::{Case, Judge, Ruling, is_certain, plain};
use crate::{
    event::{Access, Action, Event, FileObject, Outcome, Process, Rule, Verdict},
    expectation::{
        catalogue::BelowAgent,
        lineage::Phase,
        secrets::{MatchedBy, SecretMatch},
    },
};

/// `s_magic` of procfs.
const PROC_MAGIC: u64 = 0x9fa0;

impl Judge {
    pub(super) fn judge_file(&self, case: &Case) -> Ruling {
        let (event, image) = (case.event, &case.image);
        let Some(file) = event.action.file() else { return Ruling::unjudged("no file") };
        let path = plain(&file.path, event);
        if let Some(ruling) = self.judge_secret(case, file, &path) {
            return ruling;
        }
        if let Some(ruling) = self.judge_change(case, file, &path) {
            return ruling;
        }
        if let Some(ruling) = Self::judge_mode(case, file) {
            return ruling;
        }
        if let Some(ruling) = self.judge_process_file(case, file, &path) {
            return ruling;
        }
        if !is_certain(&file.path) {
            return Ruling::unjudged("the path is not certain");
        }
        if event.outcome == Outcome::Started || !is_only_read(&event.action, file.access) {
            return Ruling::unjudged("no rule is broken");
        }
        let homes = self.secrets.homes();
        if let Some(profile) = self.profiles.reads(image.runtime, &path, homes) {
            return Ruling::expected(profile.to_owned(), "what the runtime itself needs");
        }
        if let Some(allowed) = self.allowed(case).find(|allowed| allowed.reads(&path, homes)) {
            return Ruling::expected(allowed.source.clone(), "declared to be read");
        }
        if case.scope.is_own(&path) {
            return Ruling::expected("context", "lies in a directory of its own");
        }
        Ruling::unjudged("no rule is broken")
    }

    /// Rules on what bears on a secret; `None` when nothing does.
    fn judge_secret(&self, case: &Case, file: &FileObject, path: &[u8]) -> Option<Ruling> {
        let (event, image) = (case.event, &case.image);
        let (deed, secret) = self.deed(event, file, path)?;
        let entry = self.secrets.catalogue().entry(secret.entry)?;
        let how = match secret.by {
            MatchedBy::Path if file.path.unresolved => " (by the name as given, not resolved)",
            MatchedBy::Path | MatchedBy::Directory => "",
            MatchedBy::Identity | MatchedBy::OtherName => " (the same file under another name)",
            MatchedBy::ParentName => " (the same directory by another path)",
        };
        let what = format!("{deed} a secret: {}{how}", entry.title);
        let certain = is_certain(&file.path);
        let homes = self.secrets.homes();
        if certain
            && let Some(allowed) =
                self.allowed(case).find(|allowed| allowed.names_secret(secret.entry, path, homes))
        {
            return Some(Ruling::expected(allowed.source.clone(), format!("{what}; declared by name")));
        }
        if certain
            && image.phase == Phase::Launch
            && let Some(pair) = self.profiles.launch_secret(&image.programs, secret.entry)
        {
            return Some(Ruling::expected(pair.to_owned(), format!("{what}; the launcher needs it")));
        }
        if case.agent {
            if let Some(owner) = image.programs.iter().find(|program| entry.owners.contains(program)) {
                let what = format!("{what}; {} owns it", self.programs.name(*owner));
                let ruling = Ruling::expected("owner", what);
                // Who does it is certain where the name is not; the name alone keeps it from being expected.
                let verdict = if certain { Verdict::Expected } else { Verdict::Unjudged };
                return Some(Ruling { verdict, ..ruling });
            }
            if entry.agents == BelowAgent::Recorded && !case.is_of_another_project(path) {
                return Some(Ruling::unjudged(format!("{what}; agents do that all day")));
            }
        }
        let source = format!("catalogue:{}", entry.id);
        let ruling = Ruling::broken(Rule::SecretRead, Verdict::Forbidden, source, what);
        Some(ruling.tried(event.outcome))
    }

    /// What an event does to a secret, in words, when that counts as a way in.
    fn deed(&self, event: &Event, file: &FileObject, path: &[u8]) -> Option<(&'static str, SecretMatch)> {
        let here = || self.secrets.match_file(file, path);
        let there = || {
            let target = plain(file.target.as_ref()?, event);
            let entry = self.secrets.catalogue().match_path(&target, self.secrets.homes())?;
            Some(SecretMatch { entry, by: MatchedBy::Path })
        };
        let no_directory = |secret: &SecretMatch| secret.by != MatchedBy::Directory;
        if event.outcome == Outcome::Started {
            return None;
        }
        match &event.action {
            Action::Open(_) => {
                let Access { read, write, execute, path_only, truncate, .. } = file.access;
                let used = !path_only && (read || write || execute || truncate);
                let words = if read || execute || !write { "read" } else { "wrote" };
                here().filter(|secret| used && no_directory(secret)).map(|secret| (words, secret))
            }
            Action::Receive(_) => here().filter(no_directory).map(|secret| ("received", secret)),
            Action::Map(_) => here().filter(no_directory).map(|secret| ("mapped", secret)),
            Action::Truncate(_) => here().filter(no_directory).map(|secret| ("cut", secret)),
            Action::Rename(_) => here()
                .map(|secret| ("moved", secret))
                .or_else(|| {
                    let replaced = self.secrets.match_identity(file.replaced?)?;
                    Some(("replaced", SecretMatch { entry: replaced, by: MatchedBy::Identity }))
                })
                .or_else(|| there().map(|secret| ("replaced", secret))),
            Action::Link(_) => {
                here().map(|secret| ("linked", secret)).or_else(|| there().map(|secret| ("replaced", secret)))
            }
            _ => None,
        }
    }

    fn judge_process_file(&self, case: &Case, file: &FileObject, path: &[u8]) -> Option<Ruling> {
        let event = case.event;
        if !matches!(event.action, Action::Open(_) | Action::Receive(_)) || file.access.path_only {
            return None;
        }
        let in_proc =
            file.filesystem_magic == PROC_MAGIC || file.filesystem_magic == 0 && path.starts_with(b"/proc/");
        let (target, name) = self.places.process_file(path).filter(|_| in_proc)?;
        let Process { key, namespace_pid, .. } = *event.process;
        let own = target == key.pid.0 || target != 0 && target == namespace_pid;
        if own || self.lineage.descends(crate::event::ProcessId(target), event.process.key) {
            let source = if is_certain(&file.path) { "default" } else { return None };
            return Some(Ruling::expected(source, "its own process, or one that it started"));
        }
        let name = crate::event::escape(name);
        if self.monitor.is_process(crate::event::ProcessId(target)) {
            let what = format!("opened `{name}` of the monitor's own process");
            return Some(
                Ruling::broken(Rule::MonitorTamper, Verdict::Forbidden, "monitor", what).tried(event.outcome),
            );
        }
        if case.agent && self.places.shows_processes(&case.image.programs) {
            let what = format!("opened `{name}` of process {target}; its program shows processes");
            return Some(Ruling::unjudged(what));
        }
        let what =
            format!("opened `{name}` of process {target}, which holds what that process keeps to itself");
        Some(Ruling::broken(Rule::ProcessSnoop, Verdict::Forbidden, "default", what).tried(event.outcome))
    }
}

fn is_only_read(action: &Action, access: Access) -> bool {
    match action {
        Action::Open(_) | Action::Receive(_) => !access.write && !access.create && !access.truncate,
        Action::Map(_) => true,
        _ => false,
    }
}
