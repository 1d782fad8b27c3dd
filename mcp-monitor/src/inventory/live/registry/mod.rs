//! The workloads that run: which segment belongs to which instance, and what becomes of both.
//!
//! Told of segments, forks, execs and exits in the order in which they happened, it says what is to be done
//! ([`Step`]): whose a segment is, whether its children open segments of their own, whether it concerns nobody. What
//! it has to know of the host it asks of a [`Host`]. Everything is bounded; what found no place is counted.
//!
//! Here stand the words and what an exec leads to; [`recognise`] says what a program is and begins instances, [`members`]
//! knows which process is where, [`keeping`] how long what is kept, [`containers`] whose container it is.

mod containers;
mod keeping;
mod members;
mod recognise;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::PathBuf,
    sync::Arc,
};

use self::{containers::Containers, keeping::blank};
use super::{
    classify::{Class, Classifier},
    configured::Configured,
    instance::{Instance, Origin},
    package::Package,
    program::Program,
    suspects::{Suspect, Suspects},
};
use crate::{
    event::{
        Action, BootNs, Bytes, Descriptor, Event, Process, ProcessId, ProcessKey, SegmentId, Workload,
        WorkloadKind,
    },
    inventory::{
        containers::ContainerData,
        declared::{ApprovalState, Declarations},
    },
};

/// Instances that are kept, ended ones included.
pub const INSTANCES_MAX: usize = 4096;
/// How long an ended instance is kept.
const KEPT_NS: u64 = 15 * 60 * 1_000_000_000;
/// How long a segment without processes is kept: records of it may still come.
const CLOSING_NS: u64 = 10_000_000_000;
/// Forebears that are looked at for a client.
pub const FOREBEARS_MAX: usize = 8;
/// Workloads whose history is kept.
const HISTORY_MAX: usize = 16 * 1024;

/// A process above another one, as the host tells it.
#[derive(Clone, Debug, Default)]
pub struct Forebear {
    /// Which.
    pub key: ProcessKey,
    /// Resolved executable.
    pub executable: Bytes,
    /// Masked arguments.
    pub arguments: Vec<Bytes>,
    /// Working directory.
    pub working_directory: Bytes,
    /// User.
    pub uid: u32,
}

/// What has to be asked of the host.
pub trait Host {
    /// The processes above one, nearest first, at most [`FOREBEARS_MAX`].
    fn forebears(&mut self, process: ProcessKey) -> Vec<Forebear>;
    /// A path as the process sees it, with all links followed.
    fn follow(&mut self, process: ProcessId, path: &[u8]) -> Option<Vec<u8>>;
    /// The package that a program belongs to, with its version, from what its folders say.
    fn package(&mut self, process: ProcessId, program: &Program) -> Option<Package>;
    /// True while the process lives.
    fn lives(&mut self, process: ProcessKey) -> bool;
    /// The id in the file that a client of a container service was asked to write it to.
    fn container_id_file(&mut self, process: ProcessId, path: &[u8]) -> Option<String>;
    /// The files of the program and script that the process runs are as they were at `moment`.
    fn unchanged_since(&mut self, process: ProcessKey, script: Option<&[u8]>, moment: BootNs) -> bool;
    /// The process holds both of these: pipes, or sockets. `None` when that cannot be seen.
    fn holds(&mut self, process: ProcessKey, ends: [Descriptor; 2]) -> Option<bool>;
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Step {
    /// The segment belongs to this instance.
    Assign {
        /// Which segment.
        segment: SegmentId,
        /// Whose.
        workload: Arc<Workload>,
    },
    /// Children that execute open segments of their own, or do not.
    Split(SegmentId, bool),
    /// The segment is nothing of ours.
    Drop(SegmentId),
    /// What happens in the segment is nothing of ours; what is started out of it may be.
    Mute(SegmentId),
    /// Somebody has to be asked about a container.
    Ask {
        /// Its id.
        container: String,
        /// Its first process.
        process: ProcessId,
    },
    /// The process runs the program of an agent that the inventory recognised, and owns what is the agent's.
    Own {
        /// Which process.
        process: ProcessKey,
        /// The program of `programs.yaml`.
        program: String,
    },
    /// More is known of an instance: container, labels.
    Described(Arc<str>),
    /// The segment has ended.
    Close(SegmentId),
    /// An instance began.
    Began(Arc<str>),
    /// An instance ended.
    Ended(Arc<str>),
}

/// Whose a segment is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    Instance(Arc<str>),
    /// A container of which it is not known yet who asked for it, by its id.
    Container(Arc<str>),
    /// A program that makes containers, in this mount namespace.
    Runtime(u32),
    Nobody,
}

#[derive(Debug)]
struct Segment {
    owner: Owner,
    /// The process whose exec opened it.
    root: Option<ProcessKey>,
    processes: u32,
    split: bool,
    empty_since: Option<BootNs>,
}

/// What is remembered of a workload when its instances are forgotten.
#[derive(Clone, Debug, Default)]
struct History {
    instances: u64,
    version: Option<String>,
}

/// What found no place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegistryCounts {
    /// Ended instances that were forgotten.
    pub forgotten: u64,
    /// Instances that were not kept, since too many live; their events belong to their parent.
    pub refused: u64,
    /// Segments that were dropped.
    pub dropped: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Registry {
    classifier: Classifier,
    segments: HashMap<SegmentId, Segment>,
    members: HashMap<ProcessId, (BootNs, SegmentId)>,
    instances: BTreeMap<Arc<str>, Instance>,
    histories: HashMap<String, History>,
    closing: VecDeque<(BootNs, SegmentId)>,
    suspects: Suspects,
    containers: Containers,
    configured: Configured,
    counts: RegistryCounts,
}

impl Registry {
    /// A registry that knows no process.
    #[must_use]
    pub fn new(classifier: Classifier, containers: Arc<ContainerData>) -> Self {
        Self {
            containers: Containers::new(containers),
            configured: Configured::default(),
            classifier,
            segments: HashMap::new(),
            members: HashMap::new(),
            instances: BTreeMap::new(),
            histories: HashMap::new(),
            closing: VecDeque::new(),
            suspects: Suspects::default(),
            counts: RegistryCounts::default(),
        }
    }

    /// Takes these declarations. What runs keeps the name under which it was recognised.
    pub fn declare(&mut self, declarations: &Declarations) {
        self.classifier.declare(declarations);
    }

    /// Takes what an administrator names.
    pub fn configure(&mut self, configured: Configured) {
        self.configured = configured;
    }

    /// Last names of programs that an administrator names.
    pub fn configured_names(&self) -> impl Iterator<Item = &[u8]> {
        self.configured.names()
    }

    /// What is known of programs.
    #[must_use]
    pub fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    /// A segment was opened out of another one, or out of none (0).
    pub fn open(&mut self, segment: SegmentId, parent: SegmentId) {
        let owner = self.segments.get(&parent).map_or(Owner::Nobody, |parent| parent.owner.clone());
        self.segments.entry(segment).or_insert(Segment {
            owner,
            root: None,
            processes: 0,
            split: true,
            empty_since: None,
        });
    }

    /// A segment that user space opened for a workload that the command line names.
    pub fn adopt(&mut self, segment: SegmentId, workload: &Arc<Workload>, root: ProcessKey, now: BootNs) {
        let instance: Arc<str> = workload.instance.as_str().into();
        let mut adopted = blank(Arc::clone(workload), Origin::Named, root, now);
        adopted.earlier = self.remember(&workload.id, None).0;
        self.instances.insert(Arc::clone(&instance), adopted);
        self.segments.insert(
            segment,
            Segment {
                owner: Owner::Instance(instance),
                root: None,
                processes: 0,
                split: false,
                empty_since: None,
            },
        );
    }

    /// An event of a process: only forks, execs and exits say something here.
    pub fn observe(&mut self, event: &Event, host: &mut dyn Host) -> Vec<Step> {
        let now = event.boot_ns;
        match &event.action {
            Action::Fork(child) => {
                self.join(*child, event.segment, now);
                Vec::new()
            }
            Action::Exit(_) => {
                let mut steps = Vec::new();
                self.leave(event.process.key, now, &mut steps);
                steps
            }
            Action::Exec(exec) => {
                let mut steps = Vec::new();
                let moved = self.join(event.process.key, event.segment, now);
                let place = Place { stdin: exec.stdin, stdout: exec.stdout, bootstrap: false };
                self.executed(event.segment, &event.process, place, host, &mut steps, now);
                self.note_run(event.segment, &event.process, now);
                if let Some(left) = moved {
                    self.emptied(left, now, &mut steps);
                }
                steps
            }
            _ => Vec::new(),
        }
    }

    /// A process that already ran when the monitor started. Its segment must have been opened.
    pub fn found(
        &mut self,
        segment: SegmentId,
        process: &Process,
        standard: (Descriptor, Descriptor),
        host: &mut dyn Host,
        now: BootNs,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        self.join(process.key, segment, now);
        let place = Place { stdin: standard.0, stdout: standard.1, bootstrap: true };
        self.executed(segment, process, place, host, &mut steps, now);
        self.note_run(segment, process, now);
        steps
    }

    /// What a process that already ran would be, below an instance or none; nothing is kept.
    #[must_use]
    pub fn would_be(
        &self,
        process: &Process,
        below: Option<&Instance>,
        standard: (Descriptor, Descriptor),
        host: &mut dyn Host,
    ) -> Class {
        let place = Place { stdin: standard.0, stdout: standard.1, bootstrap: true };
        self.classify(process, below, place, host).0
    }

    /// A process that already ran belongs to its parent's segment.
    pub fn inherit(&mut self, process: &Process, segment: SegmentId, now: BootNs) {
        self.join(process.key, segment, now);
    }

    /// The instance that a segment belongs to.
    #[must_use]
    pub fn owner(&self, segment: SegmentId) -> Option<&Instance> {
        match &self.segments.get(&segment)?.owner {
            Owner::Instance(id) => self.instances.get(id),
            Owner::Container(_) | Owner::Runtime(_) | Owner::Nobody => None,
        }
    }

    fn executed(
        &mut self,
        segment: SegmentId,
        process: &Process,
        place: Place,
        host: &mut dyn Host,
        steps: &mut Vec<Step>,
        now: BootNs,
    ) {
        let Some(known) = self.segments.get_mut(&segment) else { return };
        let root = *known.root.get_or_insert(process.key);
        let is_root = root.pid == process.key.pid && root.start == process.key.start;
        let owner = match known.owner.clone() {
            Owner::Instance(id) => self.instances.get(&id),
            Owner::Runtime(mount_namespace) => {
                if is_root {
                    self.below_runtime(segment, mount_namespace, process, now, host, steps);
                }
                return;
            }
            Owner::Container(id) => {
                if is_root {
                    self.contained(segment, &id, process, now, host, steps);
                }
                return;
            }
            Owner::Nobody => None,
        };
        if owner.is_none() && is_root && self.is_container_runtime(process) {
            self.mute(segment, process.mount_namespace, steps);
            return;
        }
        if let Some(owner) = owner
            && owner.workload.kind == WorkloadKind::Server
            && owner.origin != Origin::Named
        {
            let id = Arc::clone(&owner.id);
            if is_root {
                self.split(segment, false, steps);
            }
            self.learn(&id, process, host);
            return;
        }
        let (class, program, forebear) = self.classify(process, owner, place, host);
        let named = owner.is_some_and(|owner| {
            owner.origin == Origin::Named && owner.workload.kind == WorkloadKind::Server
        });
        let below_agent = owner.is_some_and(|owner| owner.workload.kind == WorkloadKind::Agent);
        let owner_id = owner.map(|owner| Arc::clone(&owner.id));
        match class {
            // What is not its segment's first process has no segment of its own and stays its parent's.
            Class::Agent(_) | Class::Declared(_) | Class::Configured(_) | Class::Undeclared if is_root => {
                // The named command is the instance; what it turns out to be is learnt, not added.
                if named
                    && owner_id
                        .as_ref()
                        .and_then(|id| self.instances.get(id))
                        .is_some_and(|named| same(named.root, process.key))
                {
                    if let Class::Agent(agent) = &class {
                        self.own(agent, None, process, host, steps);
                    }
                    self.name_is(segment, owner_id.as_ref(), &class, &program, steps);
                    return;
                }
                if named && matches!(class, Class::Undeclared) {
                    self.split(segment, false, steps);
                    return;
                }
                if let Class::Agent(agent) = &class {
                    self.own(agent, owner_id.as_ref(), process, host, steps);
                }
                self.begin(segment, &class, &program, process, owner_id, forebear, place, steps, now, host);
            }
            Class::SameAgent(agent) => {
                self.own(&agent, owner_id.as_ref(), process, host, steps);
                self.split(segment, true, steps);
            }
            Class::PassesOn if is_root && (below_agent || named) => self.split(segment, true, steps),
            Class::Suspect if is_root => {
                self.suspects.add(Suspect {
                    process: process.key,
                    parent: owner_id.clone(),
                    client: forebear.as_ref().map(|(client, _)| client.clone()),
                    name: Bytes::new(self.classifier.name(&program)),
                    program: process.executable.clone(),
                    arguments: process.arguments.clone(),
                    working_directory: process.working_directory.clone(),
                    uid: process.uid,
                    since: now,
                });
                self.settle(segment, owner_id.is_some(), steps);
            }
            _ if is_root => self.settle(segment, owner_id.is_some(), steps),
            _ => {}
        }
    }

    /// Nothing of its own: it belongs to its parent, or to nobody.
    fn settle(&mut self, segment: SegmentId, owned: bool, steps: &mut Vec<Step>) {
        if owned {
            self.split(segment, false, steps);
        } else {
            self.counts.dropped += 1;
            self.segments.remove(&segment);
            self.members.retain(|_, (_, of)| *of != segment);
            steps.push(Step::Drop(segment));
        }
    }

    fn split(&mut self, segment: SegmentId, split: bool, steps: &mut Vec<Step>) {
        if let Some(known) = self.segments.get_mut(&segment)
            && known.split != split
        {
            known.split = split;
            steps.push(Step::Split(segment, split));
        }
    }

    /// Takes note of what was told of an instance.
    pub fn count(&mut self, instance: &str, events: u64, findings: u64, now: BootNs) {
        if let Some(instance) = self.instances.get_mut(instance) {
            instance.events.add(events, now);
            instance.findings.add(findings, now);
        }
    }

    /// Takes note of what was not seen.
    pub fn note(&mut self, instance: &str, cause: &'static str, what: &str) {
        if let Some(instance) = self.instances.get_mut(instance) {
            instance.note(cause, what);
        }
    }

    /// The instance.
    #[must_use]
    pub fn instance(&self, id: &str) -> Option<&Instance> {
        self.instances.get(id)
    }

    /// Every instance, in the order of their starts.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values()
    }

    /// What looks like a server and is unknown.
    #[must_use]
    pub fn suspects(&self) -> &Suspects {
        &self.suspects
    }

    /// What found no place.
    #[must_use]
    pub fn counts(&self) -> RegistryCounts {
        self.counts
    }

    /// Where the work of an instance and its own files lie, for judging.
    #[must_use]
    pub fn places(&self, id: &str) -> (Vec<PathBuf>, Vec<PathBuf>) {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
        let Some(instance) = self.instances.get(id) else { return (Vec::new(), Vec::new()) };
        let path = |bytes: &Bytes| PathBuf::from(OsStr::from_bytes(bytes.as_slice()));
        let mut workspaces = vec![path(&instance.working_directory)];
        if let Origin::Declared(server) = &instance.origin {
            workspaces.extend(server.project.clone());
        }
        workspaces.dedup();
        (workspaces, Vec::new())
    }
}

/// How a process was executed.
#[derive(Clone, Copy, Debug)]
struct Place {
    stdin: Descriptor,
    stdout: Descriptor,
    bootstrap: bool,
}

fn same(one: ProcessKey, other: ProcessKey) -> bool {
    one.pid == other.pid && (one.start == other.start || one.start.0 == 0)
}

/// The state of a declaration that is worth a word.
#[must_use]
pub fn approval_note(state: ApprovalState) -> Option<&'static str> {
    match state {
        ApprovalState::Approved | ApprovalState::Unknown => None,
        ApprovalState::NotApproved => Some("not approved"),
        ApprovalState::Disabled => Some("disabled"),
    }
}

#[cfg(test)]
mod tests;
