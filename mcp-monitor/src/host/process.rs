//! The table of processes, fed by records: who forked whom, what each executed, and what is gone.
//!
//! Lineage is never evicted while a process lives; what ended stays for a short time, since records from interrupts
//! may come late, and then up to a number, counted. A process is known by pid, start and executed program
//! ([`ProcessKey`]), so that a pid that is used again is somebody else. Events share one [`Process`] per program
//! run. What no record told is asked of a [`ProcessSource`] and marked `bootstrap`.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{
    container,
    procfs::ProcessSource,
    script::{self, Stage},
    users::Users,
};
use crate::{
    event::{BootNs, Bytes, ExecObject, FileObject, Process, ProcessId, ProcessKey, ThreadId},
    sensor::decode::ExecRecord,
};

/// How long an ended process is kept.
const KEEP_ENDED_NS: u64 = 10_000_000_000;
/// Ended processes that are kept.
const ENDED_MAX: usize = 16 * 1024;
/// Forebears that an event shows. Of a longer line the nearest and the first stay.
const ANCESTORS_MAX: usize = 32;
/// Stages of one exec that are kept; the kernel follows at most five interpreters.
const STAGES_MAX: usize = 16;
/// Processes whose stages wait for their exec.
const STAGED_MAX: usize = 4096;

/// What could not be kept, and what had to be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessCounts {
    /// Ended processes forgotten before their time.
    pub forgotten_early: u64,
    /// Processes that no record told about and procfs knew.
    pub from_procfs: u64,
    /// Processes that nobody knew.
    pub unknown: u64,
    /// Exec stages that were not kept.
    pub stages_dropped: u64,
}

/// A program run, or a child that has executed nothing yet and done nothing worth showing.
#[derive(Debug)]
enum Image {
    Shown(Arc<Process>),
    ForkedFrom(Arc<Process>),
}

#[derive(Debug)]
struct Entry {
    image: Image,
    namespace_pid: u32,
}

/// See the module.
pub struct ProcessTable {
    entries: HashMap<ProcessKey, Entry>,
    current: HashMap<ProcessId, ProcessKey>,
    ended: VecDeque<(BootNs, ProcessKey)>,
    stages: HashMap<(ProcessId, BootNs), Vec<Stage>>,
    source: Box<dyn ProcessSource>,
    users: Users,
    counts: ProcessCounts,
}

impl ProcessTable {
    /// An empty table that asks `source` about what it does not know, and `users` for names.
    #[must_use]
    pub fn new(source: Box<dyn ProcessSource>, users: Users) -> Self {
        Self {
            entries: HashMap::new(),
            current: HashMap::new(),
            ended: VecDeque::new(),
            stages: HashMap::new(),
            source,
            users,
            counts: ProcessCounts::default(),
        }
    }

    /// `parent` created `child`.
    pub fn fork(&mut self, parent: ProcessKey, child: ProcessKey, now: BootNs) {
        let parent = self.get(parent, now);
        self.replace_current(child, now);
        // A record of the child may have come first and asked procfs; the fork does not know more.
        self.entries.entry(child).or_insert(Entry { image: Image::ForkedFrom(parent), namespace_pid: 0 });
    }

    /// A file was accepted for an exec of this thread.
    pub fn stage(&mut self, key: ProcessKey, thread: ThreadId, file: FileObject) {
        let place = (key.pid, key.start);
        if !self.stages.contains_key(&place) && self.stages.len() >= STAGED_MAX {
            self.counts.stages_dropped += 1;
            return;
        }
        let stages = self.stages.entry(place).or_default();
        if stages.len() >= STAGES_MAX {
            stages.remove(0);
            self.counts.stages_dropped += 1;
        }
        stages.push(Stage { thread, file });
    }

    /// A program was executed: the process's new image, and the record's object with its script.
    pub fn exec(
        &mut self,
        key: ProcessKey,
        record: ExecRecord,
        bootstrap: bool,
        now: BootNs,
    ) -> (Arc<Process>, ExecObject) {
        let stages = self.stages.remove(&(key.pid, key.start)).unwrap_or_default();
        let previous = self.previous_image(key);
        let mut object = record.object;
        object.script = script::find(&object, &record.interpreter_name, &stages, previous.as_deref());
        let program = &object.executable;
        let process = Arc::new(Process {
            key,
            executable: program.path.bytes.clone(),
            executable_identity: program.identity,
            executable_deleted: program.path.deleted || program.links == 0 && program.identity.is_some(),
            script: object.script.as_ref().map(|script| script.path.bytes.clone()),
            script_identity: object.script.as_ref().and_then(|script| script.identity),
            arguments: object.arguments.clone(),
            arguments_truncated: object.arguments_truncated,
            working_directory: object.working_directory.bytes.clone(),
            uid: record.uid,
            euid: record.euid,
            user: self.users.name(record.uid).map(str::to_owned),
            login_uid: record.login_uid,
            session: record.session,
            tty: record.tty,
            container: container::container_id(record.cgroup.as_slice()),
            cgroup: record.cgroup,
            mount_namespace: object.mount_namespace,
            pid_namespace: object.pid_namespace,
            namespace_pid: record.namespace_pid,
            net_namespace: object.net_namespace,
            ancestors: previous.map(|previous| previous.ancestors.clone()).unwrap_or_default(),
            bootstrap,
        });
        self.replace_current(key, now);
        let image = Image::Shown(Arc::clone(&process));
        self.entries.insert(key, Entry { image, namespace_pid: record.namespace_pid });
        (process, object)
    }

    /// The last thread of the process ended.
    pub fn exit(&mut self, key: ProcessKey, now: BootNs) {
        self.stages.remove(&(key.pid, key.start));
        if self.current.get(&key.pid) == Some(&key) {
            self.current.remove(&key.pid);
        }
        self.end(key, now);
    }

    /// The process as events show it.
    pub fn get(&mut self, key: ProcessKey, now: BootNs) -> Arc<Process> {
        if let Some(entry) = self.entries.get_mut(&key) {
            return match &entry.image {
                Image::Shown(process) => Arc::clone(process),
                Image::ForkedFrom(parent) => {
                    let process = Arc::new(child_of(parent, key));
                    entry.image = Image::Shown(Arc::clone(&process));
                    process
                }
            };
        }
        self.ask(key, now)
    }

    /// The process with this host pid that lives now, as far as it is known.
    #[must_use]
    pub fn by_pid(&self, pid: ProcessId) -> Option<&Process> {
        self.shown(self.current.get(&pid)?)
    }

    /// The host pid of a process by its number in a pid namespace.
    #[must_use]
    pub fn by_namespace_pid(&self, pid_namespace: u32, number: u32) -> Option<&Process> {
        self.current.values().find_map(|key| {
            let entry = self.entries.get(key)?;
            let process = self.shown(key)?;
            (entry.namespace_pid == number && process.pid_namespace == pid_namespace).then_some(process)
        })
    }

    /// Asks the source about a process that belongs to no lineage; nothing is kept.
    #[must_use]
    pub fn stranger(&self, pid: ProcessId, start: Option<BootNs>) -> Option<Process> {
        self.source.process(ProcessKey { pid, start: start.unwrap_or_default(), exec_id: 0 })
    }

    /// Forgets what ended long enough ago.
    pub fn expire(&mut self, now: BootNs) {
        while let Some((ended, key)) = self.ended.front().copied() {
            let old = now.0.saturating_sub(ended.0) > KEEP_ENDED_NS;
            if !old && self.ended.len() <= ENDED_MAX {
                break;
            }
            self.ended.pop_front();
            self.counts.forgotten_early += u64::from(!old);
            if self.current.get(&key.pid) != Some(&key) {
                self.entries.remove(&key);
            }
        }
    }

    /// Processes that are kept, ended ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Users of the host.
    pub fn users(&mut self) -> &mut Users {
        &mut self.users
    }

    /// What could not be kept.
    #[must_use]
    pub fn counts(&self) -> ProcessCounts {
        self.counts
    }

    fn shown(&self, key: &ProcessKey) -> Option<&Process> {
        match &self.entries.get(key)?.image {
            Image::Shown(process) | Image::ForkedFrom(process) => Some(process),
        }
    }

    /// The image that an exec of this process replaces.
    fn previous_image(&mut self, key: ProcessKey) -> Option<Arc<Process>> {
        let previous = self.current.get(&key.pid).copied().filter(|current| current.start == key.start)?;
        let Image::ForkedFrom(parent) = &self.entries.get(&previous)?.image else {
            let Image::Shown(process) = &self.entries.get(&previous)?.image else { return None };
            return Some(Arc::clone(process));
        };
        Some(Arc::new(child_of(parent, previous)))
    }

    /// `key` is what its pid stands for now; what it stood for before has ended.
    fn replace_current(&mut self, key: ProcessKey, now: BootNs) {
        if let Some(before) = self.current.insert(key.pid, key)
            && before != key
        {
            self.end(before, now);
            if before.start != key.start {
                self.stages.remove(&(before.pid, before.start));
            }
        }
    }

    fn end(&mut self, key: ProcessKey, now: BootNs) {
        if self.entries.contains_key(&key) {
            self.ended.push_back((now, key));
        }
        self.expire(now);
    }

    /// A process that no record told about: it ran before, or a record was lost. What nobody knows is kept as
    /// unknown, so that it is asked for once.
    fn ask(&mut self, key: ProcessKey, now: BootNs) -> Arc<Process> {
        let known = self.current.get(&key.pid).copied();
        let same = known.filter(|known| known.start == key.start);
        let ancestors = same
            .and_then(|_| self.previous_image(key))
            .map(|process| process.ancestors.clone())
            .unwrap_or_default();
        // An image that was replaced long ago is not what procfs shows now.
        let replaced = same.is_some_and(|known| known.exec_id > key.exec_id)
            || known.is_some_and(|known| known.start > key.start);
        let found = if replaced { None } else { self.source.process(key) };
        let lives = found.is_some();
        if lives {
            self.counts.from_procfs += 1;
        } else {
            self.counts.unknown += 1;
        }
        let found = found.unwrap_or_default();
        let user = if lives { self.users.name(found.uid).map(str::to_owned) } else { None };
        let process = Arc::new(Process { ancestors, bootstrap: true, key, user, ..found });
        if lives {
            self.replace_current(key, now);
        }
        let image = Image::Shown(Arc::clone(&process));
        self.entries.insert(key, Entry { image, namespace_pid: 0 });
        if !lives {
            self.end(key, now);
        }
        process
    }
}

/// A child that has executed nothing: its parent's program under its own key.
fn child_of(parent: &Process, key: ProcessKey) -> Process {
    let mut ancestors: Vec<(ProcessKey, Bytes)> =
        Vec::with_capacity((parent.ancestors.len() + 1).min(ANCESTORS_MAX));
    ancestors.push((parent.key, parent.executable.clone()));
    ancestors.extend(parent.ancestors.iter().take(ANCESTORS_MAX - 2).cloned());
    if parent.ancestors.len() >= ANCESTORS_MAX - 1
        && let Some(first) = parent.ancestors.last()
    {
        ancestors.push(first.clone());
    }
    Process { key, ancestors, namespace_pid: 0, ..parent.clone() }
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
