//! What processes outside every workload do, as far as it bears on one: they open a secret, or run what a workload left
//! behind. A bystander's own deeds are told and never found; a file that a workload wrote and that runs outside of it
//! is that workload's doing.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{Case, Judge, plain};
use crate::{
    event::{Action, Decision, Event, FileIdentity, FileObject, Rule, Verdict, Workload},
    expectation::program::Installs,
};

/// Files that are remembered; the oldest goes.
const LEFT_MAX: usize = 8192;
/// Permission bits that let somebody execute a file.
const EXECUTABLE: u32 = 0o111;

/// Files that workloads wrote, for what runs them outside.
#[derive(Debug, Default)]
pub(super) struct Left {
    files: HashMap<(u64, u32), LeftFile>,
    order: VecDeque<(u64, u32)>,
    forgotten: u64,
    revision: u64,
}

#[derive(Clone, Debug)]
struct LeftFile {
    identity: FileIdentity,
    path: Vec<u8>,
    workload: Arc<Workload>,
    by: String,
    executable: bool,
}

impl Left {
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn note(&mut self, file: LeftFile) {
        let key = (file.identity.inode, file.identity.device);
        let known =
            self.files.get(&key).filter(|known| known.identity.generation == file.identity.generation);
        let was_executable = known.is_some_and(|known| known.executable);
        let executable = file.executable || was_executable;
        if executable && !was_executable {
            self.revision += 1;
        }
        if !self.files.contains_key(&key) {
            if self.order.len() >= LEFT_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.files.remove(&oldest);
                self.forgotten += 1;
            }
            self.order.push_back(key);
        }
        self.files.insert(key, LeftFile { executable, ..file });
    }

    /// The file was given the right to be executed. Where the mechanism tells no identity, its path stands for it.
    fn make_executable(&mut self, identity: Option<FileIdentity>, path: &[u8]) {
        let known = match identity {
            Some(identity) => self.files.get_mut(&(identity.inode, identity.device)),
            None => self.files.values_mut().find(|known| known.path == path),
        };
        if let Some(known) = known
            && !known.executable
        {
            known.executable = true;
            self.revision += 1;
        }
    }

    fn find(&self, identity: FileIdentity) -> Option<&LeftFile> {
        let known = self.files.get(&(identity.inode, identity.device))?;
        (known.executable && known.identity.generation == identity.generation).then_some(known)
    }
}

impl Judge {
    /// Sets the verdict of an event outside every workload: `unjudged`, with the secret that it is about. An exec of a
    /// file that a workload wrote becomes that workload's `lineage-escape`.
    pub fn judge_bystander(&mut self, event: &mut Event) {
        event.verdict = Verdict::Unjudged;
        event.rule = None;
        event.decision = Decision {
            source: "bystander".into(),
            reason: "outside every workload".into(),
            ..Decision::default()
        };
        if let Action::Exec(exec) = &event.action {
            let script = exec.script.as_ref().and_then(|script| script.identity);
            let files = [exec.executable.identity, script];
            let Some(left) = files.into_iter().flatten().find_map(|identity| self.left.find(identity)) else {
                return;
            };
            let what = format!("ran, outside the workload, a file that {} of it wrote", left.by);
            event.decision = Decision { source: "left-file".into(), reason: what, ..Decision::default() };
            event.verdict = Verdict::Unexpected;
            event.rule = Some(Rule::LineageEscape);
            event.workload = Arc::clone(&left.workload);
            return;
        }
        if let Some(file) = event.action.file() {
            let path = plain(&file.path, event);
            if let Some(secret) = self.secrets.match_file(file, &path)
                && let Some(entry) = self.secrets.catalogue().entry(secret.entry)
            {
                let reason = format!("outside every workload: opened a secret: {}", entry.title);
                event.decision =
                    Decision { source: format!("catalogue:{}", entry.id), reason, ..Decision::default() };
            }
        }
    }

    /// Files that workloads wrote and that can be executed: an exec of one outside every workload is to be told.
    pub fn left_files(&self) -> impl Iterator<Item = FileIdentity> + '_ {
        self.left.files.values().filter(|file| file.executable).map(|file| file.identity)
    }

    /// Changes whenever [`Self::left_files`] gains one.
    #[must_use]
    pub fn left_revision(&self) -> u64 {
        self.left.revision
    }

    /// Remembers a file that a workload writes, or gives the right to be executed.
    pub(super) fn note_left(&mut self, case: &Case, file: &FileObject, path: &[u8]) {
        if case.image.installing == Some(Installs::System) {
            return;
        }
        // People run what their agent builds in the workspace; a hook there is run by tools that they did not mean to.
        let hook = path.windows(11).any(|part| part == b"/.git/hooks");
        if case.agent && case.scope.is_in_workspace(path) && !hook {
            return;
        }
        if matches!(case.event.action, Action::Chmod(_)) {
            if file.flags & EXECUTABLE != 0 {
                self.left.make_executable(file.identity, path);
            }
            return;
        }
        let Some(identity) = file.identity.filter(|identity| identity.inode != 0) else { return };
        self.left.note(LeftFile {
            identity,
            path: path.to_vec(),
            workload: Arc::clone(&case.event.workload),
            by: crate::event::escape(case.event.process.executable.as_slice()),
            executable: file.mode & EXECUTABLE != 0,
        });
    }
}
