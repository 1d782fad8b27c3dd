//! The workloads that run: which segment belongs to which instance, and what becomes of both.
//!
//! Told of segments, forks, execs and exits in the order in which they happened, it says what is to be done
//! ([`Step`]): whose a segment is, whether its children open segments of their own, whether it concerns nobody. What
//! it has to know of the host it asks of a [`Host`]. Everything is bounded; what found no place is counted.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::PathBuf,
    sync::Arc,
};

use super::{
    classify::{Below, Class, Classifier, Scene},
    instance::{Instance, Origin, Rate, State, agent_id, declared_id, new_instance_id, undeclared_id},
    package::Package,
    program::{Execution, Program},
    suspects::{Suspect, Suspects},
};
use crate::{
    event::{
        Action, BootNs, Bytes, Descriptor, Event, Process, ProcessId, ProcessKey, SegmentId, Workload,
        WorkloadKind,
    },
    inventory::declared::{ApprovalState, Declarations},
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
    counts: RegistryCounts,
}

impl Registry {
    /// A registry that knows no process.
    #[must_use]
    pub fn new(classifier: Classifier) -> Self {
        Self {
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
            Owner::Nobody => None,
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
        let owner = known.owner.clone();
        let owner = match &owner {
            Owner::Instance(id) => self.instances.get(id),
            Owner::Nobody => None,
        };
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
            Class::Agent(_) | Class::Declared(_) | Class::Undeclared if is_root => {
                // The named command is the instance; what it turns out to be is learnt, not added.
                if named
                    && owner_id
                        .as_ref()
                        .and_then(|id| self.instances.get(id))
                        .is_some_and(|named| same(named.root, process.key))
                {
                    self.name_is(segment, owner_id.as_ref(), &class, &program, steps);
                    return;
                }
                if named && matches!(class, Class::Undeclared) {
                    self.split(segment, false, steps);
                    return;
                }
                self.begin(segment, &class, &program, process, owner_id, forebear, place, steps, now, host);
            }
            Class::SameAgent => self.split(segment, true, steps),
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

    /// The command that the monitor was asked to run turns out to be an agent or a server.
    fn name_is(
        &mut self,
        segment: SegmentId,
        id: Option<&Arc<str>>,
        class: &Class,
        program: &Program,
        steps: &mut Vec<Step>,
    ) {
        let Some(instance) = id.and_then(|id| self.instances.get_mut(id)) else { return };
        let mut workload = (*instance.workload).clone();
        let is_agent = matches!(class, Class::Agent(_));
        if let Class::Agent(agent) = class {
            workload.kind = WorkloadKind::Agent;
            workload.client = Some(agent.id.clone());
        }
        instance.package.clone_from(&program.package);
        instance.runtime = program.runtime;
        instance.launcher.clone_from(&program.launcher);
        instance.workload = Arc::new(workload);
        steps.push(Step::Assign { segment, workload: Arc::clone(&instance.workload) });
        self.split(segment, is_agent, steps);
    }

    #[allow(clippy::too_many_arguments, reason = "what is known at one moment")]
    fn begin(
        &mut self,
        segment: SegmentId,
        class: &Class,
        program: &Program,
        process: &Process,
        parent: Option<Arc<str>>,
        forebear: Option<(String, ProcessKey)>,
        place: Place,
        steps: &mut Vec<Step>,
        now: BootNs,
        host: &mut dyn Host,
    ) {
        if !self.make_room() {
            self.counts.refused += 1;
            self.settle(segment, parent.is_some(), steps);
            return;
        }
        let above = parent.as_ref().and_then(|id| self.instances.get(id));
        let client = above
            .and_then(|above| above.workload.client.clone())
            .or_else(|| forebear.as_ref().map(|(client, _)| client.clone()));
        let (id, name, kind, client, origin) = match class {
            Class::Agent(agent) => {
                let id = agent_id(&agent.id, process.uid);
                (id, agent.id.clone(), WorkloadKind::Agent, Some(agent.id.clone()), Origin::Agent)
            }
            Class::Declared(server) => {
                let client = Some(server.client.to_string());
                let origin = Origin::Declared(Arc::clone(server));
                (declared_id(server), server.name.clone(), WorkloadKind::Server, client, origin)
            }
            _ => {
                let name = Bytes::new(self.classifier.name(program)).escaped();
                let id = undeclared_id(program, client.as_deref(), process.uid);
                (id, name, WorkloadKind::Server, client, Origin::Undeclared)
            }
        };
        let workload = Arc::new(Workload {
            id,
            instance: new_instance_id(),
            kind,
            name,
            client,
            parent: above.map(|above| above.workload.id.clone()),
        });
        let mut instance = blank(Arc::clone(&workload), origin, process.key, now);
        instance.parent = parent;
        instance.client_process = forebear.map(|(_, key)| key);
        instance.runtime = program.runtime;
        instance.launcher.clone_from(&program.launcher);
        instance.program = shown(program);
        instance.address.clone_from(&program.address);
        instance.working_directory = process.working_directory.clone();
        instance.uid = process.uid;
        instance.user.clone_from(&process.user);
        instance.container.clone_from(&process.container);
        instance.image = program.container.as_ref().and(program.package.as_ref()).map(ToString::to_string);
        instance.bootstrap = place.bootstrap;
        if place.bootstrap {
            instance
                .note("started-before", "what it did, opened and connected to before the monitor started");
        }
        let package = program.package.clone();
        instance.package = match host.package(process.key.pid, program) {
            Some(found) if package.as_ref().is_none_or(|package| package.key() == found.key()) => Some(found),
            _ => package,
        };
        let version = instance.package.as_ref().and_then(|package| package.version.clone());
        let (earlier, before) = self.remember(&workload.id, version);
        instance.earlier = earlier;
        instance.version_before = before;
        let id: Arc<str> = workload.instance.as_str().into();
        if let Some(known) = self.segments.get_mut(&segment) {
            instance.processes = known.processes;
            // The segment's processes were counted to whom it belonged before.
            if let Owner::Instance(before) =
                std::mem::replace(&mut known.owner, Owner::Instance(Arc::clone(&id)))
                && let Some(before) = self.instances.get_mut(&before)
            {
                before.processes = before.processes.saturating_sub(instance.processes);
            }
        }
        self.instances.insert(Arc::clone(&id), instance);
        steps.push(Step::Assign { segment, workload });
        self.split(segment, kind == WorkloadKind::Agent, steps);
        steps.push(Step::Began(id));
    }

    /// More of a server's program becomes known when its launcher starts it.
    fn learn(&mut self, id: &Arc<str>, process: &Process, host: &mut dyn Host) {
        let Some(instance) = self.instances.get_mut(id) else { return };
        let exact = |package: &Package| {
            package
                .version
                .as_ref()
                .is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit()))
        };
        if instance.package.as_ref().is_some_and(exact)
            || instance.launcher.is_none() && instance.package.is_some()
        {
            return;
        }
        let script = process.script.as_ref().map(|script| {
            host.follow(process.key.pid, script.as_slice())
                .map_or_else(|| script.clone(), |path| Bytes(path.into()))
        });
        let execution = Execution {
            executable: process.executable.as_slice(),
            script: script.as_ref().map(Bytes::as_slice),
            arguments: &process.arguments,
            working_directory: process.working_directory.as_slice(),
        };
        let program = self.classifier.program(&execution);
        let Some(found) = host.package(process.key.pid, &program) else { return };
        if instance.package.as_ref().is_none_or(|package| package.key() == found.key()) && exact(&found) {
            let before = self
                .histories
                .get_mut(&instance.workload.id)
                .map(|history| std::mem::replace(&mut history.version, found.version.clone()));
            if instance.earlier > 0 {
                instance.version_before = before
                    .flatten()
                    .filter(|before| Some(before) != found.version.as_ref())
                    .or(instance.version_before.take());
            }
            instance.package = Some(found);
        }
    }

    fn classify(
        &self,
        process: &Process,
        owner: Option<&Instance>,
        place: Place,
        host: &mut dyn Host,
    ) -> (Class, Program, Option<(String, ProcessKey)>) {
        let script = process.script.as_ref().map(|script| {
            host.follow(process.key.pid, script.as_slice())
                .map_or_else(|| script.clone(), |path| Bytes(path.into()))
        });
        let execution = Execution {
            executable: process.executable.as_slice(),
            script: script.as_ref().map(Bytes::as_slice),
            arguments: &process.arguments,
            working_directory: process.working_directory.as_slice(),
        };
        let program = self.classifier.program(&execution);
        let forebear = if owner.is_some() { None } else { self.client_above(process.key, host) };
        let below = match (owner, &forebear) {
            (Some(owner), _) => match (owner.workload.kind, &owner.workload.client) {
                (WorkloadKind::Agent, client) => Below::Agent(client.as_deref().unwrap_or_default()),
                (WorkloadKind::Server, _) if owner.origin == Origin::Named => Below::Nobody,
                (WorkloadKind::Server, _) => Below::Server,
            },
            (None, Some((client, _, _))) => Below::Client(client),
            (None, None) => Below::Nobody,
        };
        let scene = Scene {
            below,
            uid: process.uid,
            client_uid: owner.map(|owner| owner.uid).or_else(|| forebear.as_ref().map(|(_, _, uid)| *uid)),
            terminal: process.tty.is_some(),
            stdin: place.stdin,
            stdout: place.stdout,
            mount_namespace: Some(u64::from(process.mount_namespace)),
        };
        let class = self.classifier.classify(&execution, &program, &scene);
        (class, program, forebear.map(|(client, key, _)| (client, key)))
    }

    /// The nearest client above a process that is in no instance.
    fn client_above(&self, process: ProcessKey, host: &mut dyn Host) -> Option<(String, ProcessKey, u32)> {
        host.forebears(process).into_iter().take(FOREBEARS_MAX).find_map(|forebear| {
            let execution = Execution {
                executable: forebear.executable.as_slice(),
                script: None,
                arguments: &forebear.arguments,
                working_directory: forebear.working_directory.as_slice(),
            };
            let client = self.classifier.client(&execution)?;
            Some((client.id.clone(), forebear.key, forebear.uid))
        })
    }

    /// The process is in `segment` from now on. Gives the segment that it left.
    fn join(&mut self, process: ProcessKey, segment: SegmentId, now: BootNs) -> Option<SegmentId> {
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

    fn uncount(&mut self, segment: SegmentId, now: BootNs) {
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

    fn leave(&mut self, process: ProcessKey, now: BootNs, steps: &mut Vec<Step>) {
        if self.members.get(&process.pid).is_some_and(|(start, _)| *start == process.start)
            && let Some((_, segment)) = self.members.remove(&process.pid)
        {
            self.uncount(segment, now);
            self.emptied(segment, now, steps);
        }
        self.suspects.leave(process);
    }

    /// The end of an instance, if this was its last process.
    fn emptied(&mut self, segment: SegmentId, now: BootNs, steps: &mut Vec<Step>) {
        let Some(Segment { owner: Owner::Instance(id), .. }) = self.segments.get(&segment) else { return };
        let id = Arc::clone(id);
        let Some(instance) = self.instances.get(&id) else { return };
        // Of what the command line names not every process came by an event; the labels tell.
        if instance.processes == 0 && instance.lives() && instance.origin != Origin::Named {
            self.end(id, now, steps);
        }
    }

    fn end(&mut self, id: Arc<str>, now: BootNs, steps: &mut Vec<Step>) {
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

    /// Takes note of the time: segments that ended, clients that have gone, what looks like a server for long enough.
    /// To be called about once a second.
    pub fn tick(&mut self, now: BootNs, host: &mut dyn Host) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some((since, segment)) = self.closing.front().copied()
            && now.0.saturating_sub(since.0) > CLOSING_NS
        {
            self.closing.pop_front();
            if self
                .segments
                .get(&segment)
                .is_some_and(|known| known.empty_since == Some(since) && known.processes == 0)
            {
                self.segments.remove(&segment);
                steps.push(Step::Close(segment));
            }
        }
        for instance in self.instances.values_mut() {
            if instance.state == State::Running
                && let Some(client) = instance.client_process
                && !host.lives(client)
            {
                instance.state = State::Orphan;
            }
        }
        self.suspects.tick(now, host);
        self.forget(now);
        steps
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

    /// How many instances of the workload there were, and the version of the last one if it was another.
    fn remember(&mut self, workload: &str, version: Option<String>) -> (u64, Option<String>) {
        if self.histories.len() >= HISTORY_MAX && !self.histories.contains_key(workload) {
            return (0, None);
        }
        let history = self.histories.entry(workload.to_owned()).or_default();
        let earlier = history.instances;
        history.instances += 1;
        let before =
            history.version.clone().filter(|before| version.as_ref().is_some_and(|now| now != before));
        if version.is_some() {
            history.version = version;
        }
        (earlier, before)
    }

    /// Room for one more instance: the one that ended first goes. `false` when all live.
    fn make_room(&mut self) -> bool {
        if self.instances.len() < INSTANCES_MAX {
            return true;
        }
        let oldest = self
            .instances
            .iter()
            .filter_map(|(id, instance)| instance.ended.map(|ended| (ended, Arc::clone(id))))
            .min();
        let Some((_, id)) = oldest else { return false };
        self.instances.remove(&id);
        self.counts.forgotten += 1;
        true
    }

    fn forget(&mut self, now: BootNs) {
        let before = self.instances.len();
        self.instances.retain(|_, instance| {
            instance.ended.is_none_or(|ended| now.0.saturating_sub(ended.0) <= KEPT_NS)
        });
        self.counts.forgotten += (before - self.instances.len()) as u64;
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

fn blank(workload: Arc<Workload>, origin: Origin, root: ProcessKey, now: BootNs) -> Instance {
    Instance {
        id: workload.instance.as_str().into(),
        workload,
        origin,
        parent: None,
        client_process: None,
        root,
        runtime: super::tools::Runtime::default(),
        launcher: None,
        package: None,
        program: Bytes::default(),
        address: None,
        working_directory: Bytes::default(),
        uid: 0,
        user: None,
        container: None,
        image: None,
        state: State::Running,
        started: now,
        ended: None,
        bootstrap: false,
        processes: 0,
        earlier: 0,
        version_before: None,
        events: Rate::default(),
        findings: Rate::default(),
        coverage: VecDeque::new(),
    }
}

/// A program in a word.
fn shown(program: &Program) -> Bytes {
    match (&program.script, &program.module) {
        (Some(script), _) => script.clone(),
        (None, Some(module)) => module.clone(),
        (None, None) => program.executable.clone(),
    }
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
#[path = "registry_tests.rs"]
mod tests;
