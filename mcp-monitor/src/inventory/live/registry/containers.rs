//! Containers: which instance started the one that a process is in.
//!
//! `docker run` only asks: the container's processes descend from a service. So what an instance asked for is kept
//! ([`Run`]), and the first program of a container, which the kernel puts into a segment of its own below its runtime's,
//! waits ([`Waiting`]) until it is known whose it is: by the file that the id was written to, by name, or by image, command,
//! labels and variables of what was asked for. What an engine knows of a container may come later than its first events,
//! which are held that long. A container that nobody here asked for concerns nobody, unless a label says that it is an MCP
//! server.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use super::{Host, Instance, Owner, Registry, Step, keeping::blank};
use crate::{
    event::{BootNs, Bytes, Process, ProcessKey, SegmentId, Workload, WorkloadKind},
    inventory::{
        containers::{ContainerData, ContainerDetails},
        live::{
            instance::{Origin, configured_id, labelled_id, new_instance_id},
            package::{Package, last_name},
            program::{ContainerRun, Execution},
            tools::{Runtime, ToolKind},
        },
    },
};

/// Containers that were asked for and are kept.
const RUNS_MAX: usize = 256;
/// Containers that wait for their instance.
const WAITING_MAX: usize = 256;
/// Segments of one container that wait.
const SEGMENTS_MAX: usize = 64;
/// Containers that are known to be nobody's.
const STRANGERS_MAX: usize = 4096;
/// How long a container waits: shorter than its events are held.
const WAIT_NS: u64 = 4_000_000_000;
/// When it is asked again.
const ASK_AGAIN_NS: u64 = 700_000_000;
/// How long what was asked for is kept when its client has gone.
const RUN_KEPT_NS: u64 = 10_000_000_000;
/// When it is said that a container which was asked for did not come: an image may have to be fetched.
const MISSING_NS: u64 = 15_000_000_000;
/// By how much wall clock and clock of events may disagree.
const CLOCKS_NS: u64 = 2_000_000_000;
/// The note of a container that did not come.
const MISSING: &str = "container-not-seen";

/// A container that an instance asked for.
#[derive(Debug)]
struct Run {
    owner: Arc<str>,
    /// The client program that asked.
    process: ProcessKey,
    uid: u32,
    /// The container that the client itself is in.
    inside: Option<String>,
    started: BootNs,
    ended: Option<BootNs>,
    asked: ContainerRun,
    image: Option<Package>,
    arguments: Vec<Bytes>,
    joined: bool,
}

/// How a container was recognised as the one that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    /// Nothing else says so than what it runs.
    Command,
    /// By its name, or the name of the container that it was started in.
    Name,
    /// The id stands in the file that was asked for.
    IdFile,
}

/// A container that nobody is known to have asked for yet.
#[derive(Debug)]
struct Waiting {
    segments: Vec<SegmentId>,
    process: ProcessKey,
    arguments: Vec<Bytes>,
    since: BootNs,
    asked: BootNs,
    details: Option<ContainerDetails>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Containers {
    data: Arc<ContainerData>,
    runs: VecDeque<Run>,
    waiting: HashMap<String, Waiting>,
    joined: HashMap<String, Arc<str>>,
    strangers: HashSet<String>,
}

impl Containers {
    pub(super) fn new(data: Arc<ContainerData>) -> Self {
        Self {
            data,
            runs: VecDeque::new(),
            waiting: HashMap::new(),
            joined: HashMap::new(),
            strangers: HashSet::new(),
        }
    }

    /// The instance is no longer kept.
    pub(super) fn forget(&mut self, instance: &str) {
        self.runs.retain(|run| &*run.owner != instance);
        self.joined.retain(|_, of| &**of != instance);
    }

    /// Forgets the containers of instances that are no longer kept.
    pub(super) fn keep_only(&mut self, instances: &BTreeMap<Arc<str>, Instance>) {
        self.joined.retain(|_, of| instances.contains_key(of));
    }
}

impl Registry {
    /// A program that makes containers, outside of every lineage: what it does itself is nobody's, and what it starts is
    /// looked at.
    pub(super) fn is_container_runtime(&self, process: &Process) -> bool {
        self.containers.data.is_runtime(process.executable.as_slice())
    }

    /// See [`Self::is_container_runtime`].
    pub(super) fn mute(&mut self, segment: SegmentId, mount_namespace: u32, steps: &mut Vec<Step>) {
        if let Some(known) = self.segments.get_mut(&segment) {
            known.owner = Owner::Runtime(mount_namespace);
            steps.push(Step::Mute(segment));
        }
    }

    /// The first program of a segment below a runtime's: the runtime once more, a hook of it, or, where it is in another
    /// mount namespace, what the container is there for. The runtime goes on as a copy of itself that may have any path,
    /// and enters the container's cgroup before its namespaces.
    pub(super) fn below_runtime(
        &mut self,
        segment: SegmentId,
        mount_namespace: u32,
        process: &Process,
        now: BootNs,
        host: &mut dyn Host,
        steps: &mut Vec<Step>,
    ) {
        if process.mount_namespace == mount_namespace {
            self.mute(segment, mount_namespace, steps);
        } else if let Some(id) = process.container.clone() {
            self.contained(segment, &id, process, now, host, steps);
        } else {
            self.settle(segment, false, steps);
        }
    }

    /// The first program of a segment in a container.
    pub(super) fn contained(
        &mut self,
        segment: SegmentId,
        id: &str,
        process: &Process,
        now: BootNs,
        host: &mut dyn Host,
        steps: &mut Vec<Step>,
    ) {
        let is_asked_for = self.containers.runs.iter().any(|run| run.asked.running && !run.joined);
        if !is_asked_for {
            if let Some(instance) = self.containers.joined.get(id).cloned() {
                self.give(segment, &instance, steps);
                return;
            }
            if self.containers.strangers.contains(id) {
                self.settle(segment, false, steps);
                return;
            }
        }
        let waiting = &mut self.containers.waiting;
        let is_new = !waiting.contains_key(id);
        if is_new && waiting.len() >= WAITING_MAX {
            self.settle(segment, false, steps);
            return;
        }
        let one = waiting.entry(id.to_owned()).or_insert_with(|| Waiting {
            segments: Vec::new(),
            process: process.key,
            arguments: process.arguments.clone(),
            since: now,
            asked: now,
            details: None,
        });
        if one.segments.len() >= SEGMENTS_MAX {
            self.settle(segment, false, steps);
            return;
        }
        one.segments.push(segment);
        if let Some(known) = self.segments.get_mut(&segment) {
            known.owner = Owner::Container(id.into());
        }
        if is_new {
            steps.push(Step::Ask { container: id.to_owned(), process: process.key.pid });
        }
        self.decide(id, false, host, now, steps);
    }

    /// What was told of a container.
    pub fn container_known(
        &mut self,
        details: ContainerDetails,
        now: BootNs,
        host: &mut dyn Host,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        let id = details.id.clone();
        if let Some(waiting) = self.containers.waiting.get_mut(&id) {
            waiting.details = Some(details);
            self.decide(&id, true, host, now, &mut steps);
        } else if let Some(instance) = self.containers.joined.get(&id).cloned() {
            self.describe(&instance, &details, &mut steps);
        }
        steps
    }

    /// Keeps what an instance asks for.
    pub(super) fn note_run(&mut self, segment: SegmentId, process: &Process, now: BootNs) {
        let Some(Owner::Instance(owner)) = self.segments.get(&segment).map(|known| known.owner.clone())
        else {
            return;
        };
        self.note_inside(&owner, process);
        let name = last_name(process.executable.as_slice());
        let is_client = self
            .classifier
            .tools()
            .of(name)
            .any(|tool| matches!(tool.kind, ToolKind::Container | ToolKind::ContainerExec));
        if !is_client {
            return;
        }
        let program = self.classifier.program(&Execution {
            executable: process.executable.as_slice(),
            script: None,
            arguments: &process.arguments,
            working_directory: process.working_directory.as_slice(),
        });
        let Some(asked) = program.container else { return };
        if self.containers.runs.len() >= RUNS_MAX {
            self.containers.runs.pop_front();
        }
        self.containers.runs.push_back(Run {
            owner,
            process: process.key,
            uid: process.uid,
            inside: process.container.clone(),
            started: now,
            ended: None,
            asked,
            image: program.package,
            arguments: program.arguments,
            joined: false,
        });
    }

    /// A client that is no client of a service, such as Podman, has its container's processes below itself.
    fn note_inside(&mut self, owner: &Arc<str>, process: &Process) {
        let Some(id) = &process.container else { return };
        let run = self
            .containers
            .runs
            .iter_mut()
            .find(|run| run.owner == *owner && !run.joined && run.inside.as_ref() != Some(id));
        let Some(run) = run else { return };
        run.joined = true;
        if let Some(instance) = self.instances.get_mut(owner) {
            instance.container = Some(id.clone());
            if instance.container_name.is_none() {
                instance.container_name = run.asked.name.as_ref().map(Bytes::escaped);
            }
        }
        if self.containers.joined.len() < super::INSTANCES_MAX {
            self.containers.joined.insert(id.clone(), Arc::clone(owner));
        }
    }

    /// Gives a waiting container to whoever asked for it. When nobody did and what can be known is known, or it is the
    /// `last` time, it is a server by its label or nobody's.
    fn decide(&mut self, id: &str, last: bool, host: &mut dyn Host, now: BootNs, steps: &mut Vec<Step>) {
        if let Some((index, likeness, alike)) = self.run_of(id, host) {
            let Some(waiting) = self.containers.waiting.remove(id) else { return };
            let Some(run) = self.containers.runs.get_mut(index) else { return };
            run.joined = true;
            let (owner, is_running) = (Arc::clone(&run.owner), run.asked.running);
            for segment in &waiting.segments {
                self.give(*segment, &owner, steps);
            }
            if !is_running && self.containers.joined.len() < super::INSTANCES_MAX {
                self.containers.joined.insert(id.to_owned(), Arc::clone(&owner));
            }
            let details = waiting
                .details
                .unwrap_or_else(|| ContainerDetails { id: id.to_owned(), ..ContainerDetails::default() });
            if details.source.is_empty() {
                // Joined by the file with its id: the rest is still to be asked for.
                steps.push(Step::Ask { container: id.to_owned(), process: waiting.process.pid });
            }
            self.describe(&owner, &details, steps);
            if let Some(instance) = self.instances.get_mut(&owner) {
                instance.coverage.retain(|(cause, _)| *cause != MISSING);
                if likeness == Likeness::Command && alike > 1 {
                    instance.note(
                        "container-likely",
                        "several containers alike were asked for at once: this one was joined by their order",
                    );
                }
            }
            return;
        }
        let is_known = self.containers.waiting.get(id).is_some_and(|waiting| waiting.details.is_some());
        if !last && !is_known {
            return;
        }
        let Some(waiting) = self.containers.waiting.remove(id) else { return };
        if let (Some(details), Some((first, rest))) = (&waiting.details, waiting.segments.split_first())
            && let Some(named) = self.named_by(details)
            && let Some(instance) = self.begin_named(*first, named, details, waiting.process, now, steps)
        {
            for segment in rest {
                self.give(*segment, &instance, steps);
            }
            return;
        }
        if self.containers.strangers.len() >= STRANGERS_MAX {
            self.containers.strangers.clear();
        }
        if waiting.details.is_some() {
            self.containers.strangers.insert(id.to_owned());
        }
        for segment in waiting.segments {
            self.settle(segment, false, steps);
        }
    }

    /// What asked for the waiting container, how that is known, and how many would do as well.
    fn run_of(&self, id: &str, host: &mut dyn Host) -> Option<(usize, Likeness, usize)> {
        let waiting = self.containers.waiting.get(id)?;
        let mut best: Option<(usize, Likeness, usize)> = None;
        for (index, run) in self.containers.runs.iter().enumerate() {
            if run.joined || !self.instances.get(&run.owner).is_some_and(Instance::lives) {
                continue;
            }
            let Some(likeness) = run.likeness(id, waiting, host) else { continue };
            best = match best {
                // The one that asked first is served first.
                Some((first, known, alike)) if known == likeness => Some((first, known, alike + 1)),
                Some(better) if better.1 > likeness => Some(better),
                _ => Some((index, likeness, 1)),
            };
        }
        best
    }

    /// The segment belongs to the instance, which is known already.
    fn give(&mut self, segment: SegmentId, id: &Arc<str>, steps: &mut Vec<Step>) {
        let Some(instance) = self.instances.get_mut(id).filter(|instance| instance.lives()) else {
            self.settle(segment, false, steps);
            return;
        };
        let Some(known) = self.segments.get_mut(&segment) else { return };
        known.owner = Owner::Instance(Arc::clone(id));
        instance.processes += known.processes;
        let workload = Arc::clone(&instance.workload);
        let is_agent = workload.kind == WorkloadKind::Agent;
        steps.push(Step::Assign { segment, workload });
        self.split(segment, is_agent, steps);
    }

    /// Keeps what is known of a container with the server that it is. An agent may start many.
    fn describe(&mut self, id: &Arc<str>, details: &ContainerDetails, steps: &mut Vec<Step>) {
        let Some(instance) = self.instances.get_mut(id) else { return };
        if instance.workload.kind == WorkloadKind::Agent {
            return;
        }
        instance.container = Some(details.id.clone());
        if details.source.is_empty() {
            return;
        }
        instance.container_name.clone_from(&details.name);
        instance.labels.clone_from(&details.labels);
        if details.image.is_some() {
            instance.image.clone_from(&details.image);
        }
        steps.push(Step::Described(Arc::clone(id)));
    }

    /// The workload that a container is by its image and labels: one that an administrator names, or the server that a
    /// label names.
    fn named_by(&self, details: &ContainerDetails) -> Option<Workload> {
        let configured = self.configured.container(details).map(|one| Workload {
            id: configured_id(&one.name),
            kind: one.kind,
            name: one.name.clone(),
            ..Workload::default()
        });
        configured.or_else(|| {
            let name = details.label(&self.containers.data.server_labels)?;
            let id = labelled_id(name, package_of(details).as_ref());
            Some(Workload { id, kind: WorkloadKind::Server, name: name.to_owned(), ..Workload::default() })
        })
    }

    /// A workload that its container alone names.
    fn begin_named(
        &mut self,
        segment: SegmentId,
        workload: Workload,
        details: &ContainerDetails,
        root: ProcessKey,
        now: BootNs,
        steps: &mut Vec<Step>,
    ) -> Option<Arc<str>> {
        if !self.make_room() {
            self.counts.refused += 1;
            return None;
        }
        let is_configured = workload.id == configured_id(&workload.name);
        let origin = if is_configured { Origin::Configured } else { Origin::Undeclared };
        let workload = Arc::new(Workload { instance: new_instance_id(), ..workload });
        let mut instance = blank(Arc::clone(&workload), origin, root, now);
        instance.runtime = Runtime::Container;
        instance.package = package_of(details);
        let version = instance.package.as_ref().and_then(|package| package.version.clone());
        (instance.earlier, instance.version_before) = self.remember(&workload.id, version);
        let id = Arc::clone(&instance.id);
        self.install(segment, instance, steps);
        self.containers.joined.insert(details.id.clone(), Arc::clone(&id));
        self.describe(&id, details, steps);
        Some(id)
    }

    /// Takes note of the time.
    pub(super) fn tick_containers(&mut self, now: BootNs, host: &mut dyn Host, steps: &mut Vec<Step>) {
        let mut overdue = Vec::new();
        for (id, waiting) in &mut self.containers.waiting {
            if now.0.saturating_sub(waiting.since.0) > WAIT_NS {
                overdue.push(id.clone());
            } else if waiting.details.is_none() && now.0.saturating_sub(waiting.asked.0) > ASK_AGAIN_NS {
                waiting.asked = now;
                steps.push(Step::Ask { container: id.clone(), process: waiting.process.pid });
            }
        }
        for id in overdue {
            self.decide(&id, true, host, now, steps);
        }
        for run in &mut self.containers.runs {
            if run.ended.is_none() && !host.lives(run.process) {
                run.ended = Some(now);
            }
            let is_missing =
                !run.joined && run.ended.is_none() && now.0.saturating_sub(run.started.0) > MISSING_NS;
            if is_missing && let Some(instance) = self.instances.get_mut(&run.owner) {
                instance.note(MISSING, "the container that it asked for: what runs in there is not seen");
            }
        }
        self.containers
            .runs
            .retain(|run| run.ended.is_none_or(|ended| now.0.saturating_sub(ended.0) <= RUN_KEPT_NS));
    }
}

impl Run {
    /// How the waiting container is known to be the one that was asked for, if it is.
    fn likeness(&self, id: &str, waiting: &Waiting, host: &mut dyn Host) -> Option<Likeness> {
        let details = waiting.details.as_ref();
        // A user's own service says nothing about what another user asked for.
        let details = details.filter(|details| details.told_by == 0 || details.told_by == self.uid);
        let name = self.asked.name.as_ref().map(Bytes::as_slice);
        if self.asked.running {
            let is_meant = name.is_some_and(|name| {
                let by_id = name.len() >= 12 && id.as_bytes().starts_with(name);
                by_id || details.is_some_and(|details| is(details.name.as_deref(), name))
            });
            return (is_meant && waiting.arguments == self.arguments).then_some(Likeness::Name);
        }
        if let Some(path) = &self.asked.id_file {
            let written = host.container_id_file(self.process.pid, path.as_slice());
            return (written? == id).then_some(Likeness::IdFile);
        }
        let details = details?;
        let is_older =
            details.created.is_some_and(|created| created.0.saturating_add(CLOCKS_NS) < self.started.0);
        if is_older {
            return None;
        }
        if let Some(name) = name {
            return is(details.name.as_deref(), name).then_some(Likeness::Name);
        }
        (self.is_same_image(details) && self.is_same_command(details)).then_some(Likeness::Command)
    }

    /// A bundle that names no image does not speak against one.
    fn is_same_image(&self, details: &ContainerDetails) -> bool {
        let Some(image) = &details.image else { return details.source == "bundle" };
        let other = Package::parse("oci", image.as_bytes());
        matches!((&self.image, other), (Some(asked), Some(other)) if asked.key() == other.key() && asked.version == other.version)
    }

    fn is_same_command(&self, details: &ContainerDetails) -> bool {
        let arguments = self.arguments.is_empty() || details.arguments.ends_with(&self.arguments);
        let variables =
            self.asked.environment_names.iter().all(|name| {
                details.environment_names.iter().any(|known| known.as_bytes() == name.as_slice())
            });
        // A bundle has annotations in place of labels.
        let labels = details.source == "bundle"
            || self.asked.labels.iter().all(|label| {
                let text = label.escaped();
                let key = text.split('=').next().unwrap_or_default();
                details.labels.iter().any(|(known, _)| known == key)
            });
        arguments && variables && labels
    }
}

fn package_of(details: &ContainerDetails) -> Option<Package> {
    details.image.as_ref().and_then(|image| Package::parse("oci", image.as_bytes()))
}

fn is(name: Option<&str>, other: &[u8]) -> bool {
    name.is_some_and(|name| name.as_bytes() == other)
}
