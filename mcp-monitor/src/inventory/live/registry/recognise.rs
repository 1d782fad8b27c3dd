//! What an executed program is where it was executed, and the begin of an instance.

use std::sync::Arc;

use super::{FOREBEARS_MAX, Host, Owner, Place, Registry, Step, keeping::blank};
use crate::{
    event::{BootNs, Bytes, Process, ProcessKey, SegmentId, Workload, WorkloadKind},
    host::unit::service_of,
    inventory::live::{
        agents::Agent,
        classify::{Below, Class, Scene},
        instance::{Instance, Origin, agent_id, configured_id, declared_id, new_instance_id, undeclared_id},
        package::Package,
        program::{Execution, Program},
    },
};

impl Registry {
    /// The command that the monitor was asked to run turns out to be an agent or a server.
    pub(super) fn name_is(
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
    pub(super) fn begin(
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
            Class::Configured(one) => {
                (configured_id(&one.name), one.name.clone(), one.kind, None, Origin::Configured)
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
        instance.unit = service_of(process.cgroup.as_slice());
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
        self.install(segment, instance, steps);
    }

    /// Keeps an instance that begins, and gives it the segment.
    pub(super) fn install(&mut self, segment: SegmentId, mut instance: Instance, steps: &mut Vec<Step>) {
        let id = Arc::clone(&instance.id);
        let workload = Arc::clone(&instance.workload);
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
        let is_agent = workload.kind == WorkloadKind::Agent;
        steps.push(Step::Assign { segment, workload });
        self.split(segment, is_agent, steps);
        steps.push(Step::Began(id));
    }

    /// The process runs an agent's own program. Below a lineage that counts only if the program is older than the
    /// lineage: else whoever runs in it could write a program in an agent's place and read what is the agent's.
    pub(super) fn own(
        &self,
        agent: &Agent,
        below: Option<&Arc<str>>,
        process: &Process,
        host: &mut dyn Host,
        steps: &mut Vec<Step>,
    ) {
        let Some(program) = agent.owns.clone() else { return };
        let script = process.script.as_ref().map(Bytes::as_slice);
        let since = below.and_then(|id| self.outermost_start(id));
        if since.is_none_or(|since| host.unchanged_since(process.key, script, since)) {
            steps.push(Step::Own { process: process.key, program });
        }
    }

    /// When the first instance of the lineage began that this one belongs to.
    fn outermost_start(&self, id: &Arc<str>) -> Option<BootNs> {
        let mut at = self.instances.get(id)?;
        for _ in 0..FOREBEARS_MAX {
            let Some(above) = at.parent.as_ref().and_then(|parent| self.instances.get(parent)) else { break };
            at = above;
        }
        Some(at.started)
    }

    /// More of a server's program becomes known when its launcher starts it.
    pub(super) fn learn(&mut self, id: &Arc<str>, process: &Process, host: &mut dyn Host) {
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

    pub(super) fn classify(
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
        if owner.is_none()
            && let Some(configured) = self.configured.find(process, &program, || {
                let above = host.forebears(process.key);
                above.into_iter().map(|one| one.executable.as_slice().to_vec()).collect()
            })
        {
            return (Class::Configured(configured), program, None);
        }
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
        let is_guess = matches!(class, Class::Undeclared | Class::Suspect) && below.client().is_some();
        let class = if is_guess && !self.talks_to_client(process, owner, forebear.as_ref(), place, host) {
            Class::Ordinary
        } else {
            class
        };
        (class, program, forebear.map(|(client, key, _)| (client, key)))
    }

    /// What is at the other end of standard input and output is the client itself, and not a tool of it that has a
    /// server of its own, or the next program of a pipeline. Where that cannot be seen it is taken to be.
    fn talks_to_client(
        &self,
        process: &Process,
        owner: Option<&Instance>,
        client: Option<&(String, ProcessKey, u32)>,
        place: Place,
        host: &mut dyn Host,
    ) -> bool {
        let mut is_open = true;
        for forebear in host.forebears(process.key) {
            let is_own = match (owner, client) {
                (Some(agent), _) => self.is_agents_own(agent, forebear.key),
                (None, Some((_, client, _))) => forebear.key.pid == client.pid,
                (None, None) => return true,
            };
            if !is_own {
                continue;
            }
            match host.holds(forebear.key, [place.stdin, place.stdout]) {
                Some(true) | None => return true,
                Some(false) => is_open = false,
            }
        }
        // Who has ended already may have been let go by its client.
        is_open || !host.lives(process.key)
    }

    /// The process runs the agent's own program, and not a tool of it: those open no segments.
    fn is_agents_own(&self, agent: &Instance, process: ProcessKey) -> bool {
        let member = self.members.get(&process.pid);
        let segment = member.and_then(|(_, segment)| self.segments.get(segment));
        segment
            .is_some_and(|segment| segment.split && segment.owner == Owner::Instance(Arc::clone(&agent.id)))
    }

    /// The nearest client above a process that is in no instance.
    pub(super) fn client_above(
        &self,
        process: ProcessKey,
        host: &mut dyn Host,
    ) -> Option<(String, ProcessKey, u32)> {
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
}

/// A program in a word.
fn shown(program: &Program) -> Bytes {
    match (&program.script, &program.module) {
        (Some(script), _) => script.clone(),
        (None, Some(module)) => module.clone(),
        (None, None) => program.executable.clone(),
    }
}
