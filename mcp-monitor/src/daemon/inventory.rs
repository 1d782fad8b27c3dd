//! The inventory as a stage: told of what happens to processes, it says whose a segment is before the event that
//! opened it goes on; what it wants done goes down as orders.
//!
//! Watching a host means that the kernel looks out for programs that may be agents or servers ([`Inventory::watch`]),
//! that what already runs is looked for once ([`Inventory::look`]) and from time to time again, and that client
//! configurations are read beside it.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::Write as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use mcp_monitor_common::map::{
    LINEAGE_BOOTSTRAP, LINEAGE_EXECUTED, SEGMENT_SPLIT, WATCH_ENTER, WATCH_SPLIT_ALWAYS,
};

use super::{expectations::subject_of_instance, histories::nature_of_instance, lineages};
use crate::{
    event::{Action, BootNs, Event, ProcessId, ProcessKey, SegmentId, Workload, WorkloadKind, escape},
    expectation::{Context, data::DataError, file::Subject},
    finding::changes::Nature,
    host::{
        clock::Clock,
        procfs::{ProcessSource as _, Procfs},
        users::Users,
    },
    inventory::{
        containers::{Asker, ContainerData, Question},
        declared::{Clients, DeclaredInventory, Home, Sources, WorkingFolder},
        live::{
            Classifier, Configured, Registry, Snapshot, Step,
            classify::Class,
            configured,
            instance::{Instance, Origin},
            procfs::{HostProcfs, standard},
            tools::ToolKind,
        },
    },
    sensor::orders::{Label, Orders},
};

/// Looks for what already runs until one finds nothing new, at most this often.
const LOOKS_MAX: usize = 8;
/// Folders in `/home` that are taken for homes.
const HOMES_MAX: usize = 4096;
/// Rates change all the time: workloads are told of this seldom when nothing else changes.
const TICKS_PER_SNAPSHOT: u64 = 4;
/// Nanoseconds of a clock tick as `/proc` counts them.
const TICK_NS: u64 = 10_000_000;
/// Names that the kernel is told of; its own table holds some more.
const NAMES_MAX: usize = 1000;
/// Minor versions of interpreters whose files carry them, `python3.6` …
const PYTHON_MINORS: std::ops::RangeInclusive<u32> = 6..=20;
/// Programs that so much begins with that they are not looked out for; what they start is.
const TOO_COMMON: [&[u8]; 14] = [
    b"sh", b"bash", b"dash", b"zsh", b"env", b"sudo", b"su", b"nice", b"timeout", b"setsid", b"busybox",
    b"git", b"cat", b"ssh",
];

/// See the module.
pub(super) struct Inventory {
    registry: Registry,
    host: HostProcfs,
    procfs: Procfs,
    declared: Option<DeclaredInventory>,
    containers: Arc<ContainerData>,
    asker: Option<Asker>,
    homes: Vec<PathBuf>,
    working: Option<WorkingFolder>,
    watches_host: bool,
    watched: HashSet<Vec<u8>>,
    seen: HashSet<(u32, u64)>,
    tier: &'static str,
    clock: Clock,
    ticks: u64,
    changed: bool,
}

/// What the wiring does with a step.
pub(super) enum Told {
    /// The segment belongs to the workload, which is judged like this.
    Assign(SegmentId, Arc<Workload>, Context),
    /// Events of the segment go nowhere.
    Drop(SegmentId),
    /// The process owns what this program owns.
    Own(ProcessKey, String),
    /// More is known of the instance: its expectation is looked for again.
    Described(Arc<Workload>),
    /// The segment is gone.
    Close(SegmentId),
    /// The instance is gone.
    Ended(Arc<str>),
}

impl Inventory {
    pub(super) fn new(tier: &'static str, clock: Clock) -> Result<Self, DataError> {
        let containers = Arc::new(ContainerData::embedded()?);
        let mut registry = Registry::new(Classifier::embedded()?, Arc::clone(&containers));
        let (configured, errors) = Configured::read(Path::new(configured::DEFAULT_DIRECTORY));
        for error in errors {
            say(&error.to_string());
        }
        registry.configure(configured);
        Ok(Self {
            registry,
            containers,
            asker: None,
            host: HostProcfs::default(),
            procfs: Procfs::default(),
            declared: None,
            homes: Vec::new(),
            working: None,
            watches_host: false,
            watched: HashSet::new(),
            seen: HashSet::new(),
            tier,
            clock,
            ticks: 0,
            changed: true,
        })
    }

    /// Begins to read the configurations of these users' clients. `working` are folders that are looked at beside.
    pub(super) fn read_declarations(&mut self, homes: &[PathBuf], working: Option<WorkingFolder>) {
        let mut sources = Sources::new(homes_of(homes));
        self.homes = homes.to_vec();
        self.working.clone_from(&working);
        sources.working.extend(working);
        let started = Clients::embedded().map_err(|error| error.to_string()).and_then(|clients| {
            DeclaredInventory::start(clients, sources).map_err(|error| error.to_string())
        });
        match started {
            Ok(declared) => self.declared = Some(declared),
            Err(error) => say(&format!("client configurations are not read: {error}")),
        }
    }

    /// Lets the kernel look out for programs that may be agents, servers or what starts them.
    pub(super) fn watch(&mut self, orders: &mut Orders) {
        self.watches_host = true;
        if self.asker.is_none() {
            match Asker::start(Arc::clone(&self.containers)) {
                Ok(asker) => self.asker = Some(asker),
                Err(error) => say(&format!("containers are known by their ids alone: {error}")),
            }
        }
        let classifier = self.registry.classifier();
        let mut wanted: HashMap<Vec<u8>, u32> = HashMap::new();
        let kinds = [ToolKind::Launcher, ToolKind::Interpreter, ToolKind::Container, ToolKind::ContainerExec];
        for name in classifier.tools().programs(&kinds) {
            wanted.insert(name.to_vec(), WATCH_ENTER);
        }
        for minor in PYTHON_MINORS {
            wanted.insert(format!("python3.{minor}").into_bytes(), WATCH_ENTER);
        }
        for name in ["python3", "python2", "pypy3", "nodejs"] {
            wanted.insert(name.into(), WATCH_ENTER);
        }
        for name in self.registry.configured_names() {
            wanted.insert(name.to_vec(), WATCH_ENTER);
        }
        for name in self.containers.runtime_names() {
            wanted.insert(name.to_vec(), WATCH_ENTER);
        }
        for name in classifier.server_programs() {
            wanted.insert(name.to_vec(), WATCH_ENTER);
        }
        let agents: HashSet<&str> = classifier.agents().ids().collect();
        for name in classifier.matcher().command_names(&agents) {
            wanted.entry(name.to_vec()).or_insert(WATCH_ENTER);
        }
        for name in TOO_COMMON {
            wanted.remove(name);
        }
        for name in classifier.agents().names().map(<[u8]>::to_vec).chain(self.versions()) {
            wanted.insert(name, WATCH_ENTER | WATCH_SPLIT_ALWAYS);
        }
        let gone: Vec<Vec<u8>> =
            self.watched.iter().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            if orders.forget_program(&name).is_ok() {
                self.watched.remove(&name);
            }
        }
        for (name, flags) in wanted.into_iter().take(NAMES_MAX) {
            if self.watched.contains(&name) {
                continue;
            }
            match orders.watch_program(&name, flags) {
                Ok(()) => {
                    self.watched.insert(name);
                }
                Err(error) => {
                    say(&format!("{} is not looked out for: {error}", escape(&name)));
                    break;
                }
            }
        }
    }

    /// File names of programs that are installed under their version.
    fn versions(&self) -> Vec<Vec<u8>> {
        let homes = homes_of(&[]);
        let mut names = Vec::new();
        for pattern in self.registry.classifier().agents().watched() {
            let folder = Path::new(pattern).parent().unwrap_or(Path::new(""));
            for home in &homes {
                let entries = fs::read_dir(home.path.join(folder)).into_iter().flatten().flatten();
                names.extend(entries.take(64).map(|entry| entry.file_name().as_bytes().to_vec()));
            }
        }
        names
    }

    /// The command line names a workload.
    pub(super) fn adopt(&mut self, segment: SegmentId, workload: &Arc<Workload>, root: Option<u32>) {
        let root = ProcessKey { pid: ProcessId(root.unwrap_or(0)), ..ProcessKey::default() };
        self.registry.adopt(segment, workload, root, Clock::now());
    }

    /// A segment was opened by the kernel.
    pub(super) fn open(&mut self, segment: SegmentId, parent: SegmentId) {
        self.registry.open(segment, parent);
    }

    /// What an event changes, before it goes on.
    pub(super) fn observe(&mut self, event: &Event, orders: &mut Orders) -> Vec<Told> {
        let steps = self.registry.observe(event, &mut self.host);
        self.carry_out(steps, orders)
    }

    /// Takes note of what is told of an instance.
    pub(super) fn count(&mut self, event: &Event, findings: u64) {
        self.registry.count(&event.workload.instance, event.count, findings, event.boot_ns);
        if let Action::Coverage(note) = &event.action {
            self.registry.note(&event.workload.instance, note.cause, &note.what);
        }
    }

    /// Takes note of what was not seen.
    pub(super) fn note(&mut self, instance: &str, cause: &'static str, what: &str) {
        self.registry.note(instance, cause, what);
    }

    /// What time brings. To be called about twice a second.
    pub(super) fn tick(&mut self, orders: &mut Orders) -> Vec<Told> {
        if let Some(declarations) = self.declared.as_mut().and_then(DeclaredInventory::poll) {
            self.registry.declare(&declarations);
            self.changed = true;
            if self.watches_host {
                self.watch(orders);
            }
        }
        let now = Clock::now();
        let mut steps = Vec::new();
        let told: Vec<_> = self.asker.iter().flat_map(Asker::answers).collect();
        for details in told {
            steps.extend(self.registry.container_known(details, now, &mut self.host));
        }
        steps.extend(self.registry.tick(now, &mut self.host));
        self.carry_out(steps, orders)
    }

    /// Compares with the labels of the kernel, looks at what came without an exec that was seen, and where agents
    /// work. To be called every few seconds.
    pub(super) fn sweep(&mut self, orders: &mut Orders, next_segment: &mut u64) -> Vec<Told> {
        let labels = orders
            .labels()
            .into_iter()
            .map(|(pid, entry)| (pid, (BootNs(entry.start_boottime_ns), SegmentId(entry.segment))))
            .collect();
        let steps = self.registry.reconcile(&labels, Clock::now());
        let mut told = self.carry_out(steps, orders);
        if self.watches_host {
            told.extend(self.look(orders, next_segment));
            self.watch(orders);
        }
        if let Some(declared) = &self.declared {
            let mut sources = Sources::new(homes_of(&self.homes));
            sources.working.extend(self.working.clone());
            let agents = self
                .registry
                .instances()
                .filter(|one| one.lives() && one.workload.kind == WorkloadKind::Agent);
            for agent in agents {
                let path = PathBuf::from(std::ffi::OsStr::from_bytes(agent.working_directory.as_slice()));
                if path.is_absolute() {
                    sources.working.push(WorkingFolder { path, uid: agent.uid });
                }
            }
            declared.look_at(sources);
        }
        told
    }

    /// Looks for agents and servers that already run and labels them with their descendants.
    pub(super) fn look(&mut self, orders: &mut Orders, next_segment: &mut u64) -> Vec<Told> {
        let mut told = Vec::new();
        for _ in 0..LOOKS_MAX {
            let (found, more) = self.look_once(orders, next_segment);
            told.extend(more);
            if found == 0 {
                break;
            }
        }
        told
    }

    /// One look. Gives how many processes were labelled.
    fn look_once(&mut self, orders: &mut Orders, next_segment: &mut u64) -> (usize, Vec<Told>) {
        let mut told = Vec::new();
        let all = lineages::processes();
        let mut order: Vec<_> = all.iter().collect();
        // A parent is older than its children, and of those born in one tick the lower number mostly is.
        order.sort_by_key(|(pid, seen)| (seen.start_ticks, pid.0));
        self.seen
            .retain(|(pid, start)| all.get(&ProcessId(*pid)).is_some_and(|seen| seen.start_ticks == *start));
        let mut labelled = 0;
        for (&pid, seen) in order {
            if pid.0 == std::process::id() || orders.label_of(pid).is_some() {
                continue;
            }
            let parent = orders.label_of(seen.parent).map(|entry| SegmentId(entry.segment));
            // Known to be nothing; below a labelled parent it was forked before that was labelled.
            if parent.is_none() && !self.seen.insert((pid.0, seen.start_ticks)) {
                continue;
            }
            let key = ProcessKey { pid, start: BootNs(seen.start_ticks * TICK_NS), exec_id: 0 };
            let Some(mut process) = self.procfs.process(key).filter(|process| !process.executable.is_empty())
            else {
                continue;
            };
            process.user = Users::default().name(process.uid).map(str::to_owned);
            let streams = standard(pid);
            let owner = parent.and_then(|segment| self.registry.owner(segment));
            let class = self.registry.would_be(&process, owner, streams, &mut self.host);
            let begins = matches!(
                class,
                Class::Agent(_) | Class::Declared(_) | Class::Configured(_) | Class::Undeclared
            );
            let segment = if begins {
                *next_segment += 1;
                let segment = SegmentId(*next_segment);
                let is_agent = match &class {
                    Class::Configured(one) => one.kind == WorkloadKind::Agent,
                    class => matches!(class, Class::Agent(_)),
                };
                let flags = if is_agent { SEGMENT_SPLIT } else { 0 };
                if orders.open_segment(segment, flags).is_err() {
                    continue;
                }
                self.registry.open(segment, parent.unwrap_or_default());
                segment
            } else if let Some(parent) = parent {
                parent
            } else {
                continue;
            };
            let label =
                Label { segment, start_ticks: seen.start_ticks, flags: LINEAGE_BOOTSTRAP | LINEAGE_EXECUTED };
            if orders.label(pid, label).is_err() {
                continue;
            }
            if self.procfs.process(key).is_none() {
                orders.unlabel(pid);
                continue;
            }
            labelled += 1;
            let steps = if begins {
                self.registry.found(segment, &process, streams, &mut self.host, Clock::now())
            } else {
                self.registry.inherit(&process, segment, Clock::now());
                Vec::new()
            };
            told.extend(self.carry_out(steps, orders));
        }
        (labelled, told)
    }

    fn carry_out(&mut self, steps: Vec<Step>, orders: &mut Orders) -> Vec<Told> {
        let mut told = Vec::new();
        for step in steps {
            match step {
                Step::Assign { segment, workload } => {
                    let context = self.context(&workload);
                    told.push(Told::Assign(segment, workload, context));
                }
                Step::Split(segment, split) => {
                    if let Err(error) = orders.set_split(segment, split) {
                        say(&error.to_string());
                    }
                }
                Step::Drop(segment) => {
                    if let Err(error) = orders.drop_segment(segment) {
                        say(&error.to_string());
                    }
                    told.push(Told::Drop(segment));
                }
                Step::Own { process, program } => told.push(Told::Own(process, program)),
                Step::Mute(segment) => told.push(Told::Drop(segment)),
                Step::Ask { container, process } => {
                    // One that cannot be asked about now is asked about again.
                    if let Some(asker) = &self.asker {
                        let _ = asker.ask(Question { id: container, process });
                    }
                }
                Step::Described(id) => {
                    self.changed = true;
                    if let Some(instance) = self.registry.instance(&id) {
                        told.push(Told::Described(Arc::clone(&instance.workload)));
                    }
                }
                Step::Close(segment) => {
                    orders.close_segment(segment);
                    told.push(Told::Close(segment));
                }
                Step::Began(id) => {
                    self.changed = true;
                    if let Some(instance) = self.registry.instance(&id).filter(|_| self.watches_host) {
                        say(&began(instance, &self.registry));
                    }
                }
                Step::Ended(id) => {
                    self.changed = true;
                    if let Some(instance) = self.registry.instance(&id).filter(|_| self.watches_host) {
                        say(&format!("{} ended: {}", instance.workload.kind.name(), name(instance)));
                    }
                    told.push(Told::Ended(id));
                }
            }
        }
        told
    }

    fn context(&self, workload: &Workload) -> Context {
        let (workspaces, own_directories) = self.registry.places(&workload.instance);
        Context {
            kind: workload.kind,
            client: workload.client.clone(),
            home: None,
            workspaces,
            own_directories,
            declared: Vec::new(),
        }
    }

    /// What an expectation may know an instance by; nothing for one that the command line names.
    pub(super) fn subject(&self, instance: &str) -> Option<Subject> {
        let instance = self.registry.instance(instance).filter(|one| one.origin != Origin::Named)?;
        let parent = instance.parent.as_ref().and_then(|id| self.registry.instance(id));
        let executable =
            self.procfs.process(instance.root).map(|process| process.executable.as_slice().to_vec());
        let mut users = Users::default();
        let home =
            users.all().into_iter().find(|user| user.uid == instance.uid).map(|user| user.home.clone());
        let (workspaces, _) = self.registry.places(&instance.id);
        Some(subject_of_instance(instance, parent, executable, workspaces, home))
    }

    /// What an instance is, apart from what it does; nothing for one that the command line names.
    pub(super) fn nature(&self, instance: &str) -> Option<Nature> {
        let instance = self.registry.instance(instance).filter(|one| one.origin != Origin::Named)?;
        Some(nature_of_instance(instance))
    }

    /// What is to be told of the workloads, when that changed or is old.
    pub(super) fn snapshot(&mut self) -> Option<Arc<Snapshot>> {
        self.ticks += 1;
        if !self.changed && !self.ticks.is_multiple_of(TICKS_PER_SNAPSHOT) {
            return None;
        }
        self.changed = false;
        let declarations = self.declared.as_ref().map(DeclaredInventory::current).unwrap_or_default();
        Some(Arc::new(Snapshot::of(&self.registry, &declarations.servers, self.clock, self.tier)))
    }
}

/// Where a process works.
pub(super) fn working_folder(pid: u32) -> Option<WorkingFolder> {
    use std::os::unix::fs::MetadataExt as _;
    let path = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    let uid = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    Some(WorkingFolder { path, uid })
}

/// Home directories with their owners.
fn homes_of(more: &[PathBuf]) -> Vec<Home> {
    use std::os::unix::fs::MetadataExt as _;
    let mut homes: Vec<Home> = Users::default()
        .all()
        .into_iter()
        .filter(|user| user.home.as_os_str().len() > 1)
        .map(|user| Home { path: user.home.clone(), uid: user.uid })
        .collect();
    // Not every user stands in the passwd file: those of a directory service have their homes here, too.
    let elsewhere =
        fs::read_dir("/home").into_iter().flatten().flatten().take(HOMES_MAX).map(|entry| entry.path());
    for home in more.iter().cloned().chain(elsewhere) {
        if let Ok(metadata) = fs::symlink_metadata(&home)
            && metadata.is_dir()
        {
            homes.push(Home { path: home, uid: metadata.uid() });
        }
    }
    homes.sort_by(|a, b| (&a.path, a.uid).cmp(&(&b.path, b.uid)));
    homes.dedup();
    homes
}

fn name(instance: &Instance) -> String {
    escape(instance.workload.name.as_bytes())
}

/// One line about an instance that was recognised.
fn began(instance: &Instance, registry: &Registry) -> String {
    let mut words = vec![format!("{} {}", instance.workload.kind.name(), name(instance))];
    if let Some(package) = &instance.package {
        words.push(package.to_string());
    }
    if let Some(parent) = instance.parent.as_ref().and_then(|id| registry.instance(id)) {
        words.push(format!("below {}", name(parent)));
    } else if let (WorkloadKind::Server, Some(client)) = (instance.workload.kind, &instance.workload.client) {
        words.push(format!("of {client}"));
    }
    match &instance.origin {
        Origin::Declared(server) => {
            words.push(format!("declared ({})", server.scope.word()));
            words.extend(
                crate::inventory::live::registry::approval_note(server.approval.state).map(str::to_owned),
            );
        }
        Origin::Undeclared => words.push("undeclared".to_owned()),
        Origin::Configured => words.push("configured".to_owned()),
        Origin::Agent | Origin::Named => {}
    }
    words.push(format!("pid {}", instance.root.pid.0));
    if instance.bootstrap {
        words.push("it ran already".to_owned());
    }
    words.join(", ")
}

/// Talk: standard error, one line.
fn say(message: &str) {
    // Nobody to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "mcp-monitor: {message}");
}
