//! What the judge remembers of processes: which programs they are, which phase they are in, whom they descend
//! from. Told by forks, execs and exits in the order in which they happened.
//!
//! The launch phase goes one way: it begins with the instance's first process, lasts while only shells and one
//! launcher run, and ends for a process and all its children with the first program that is neither. What a
//! launcher starts by a shell (a package's install script, a server) is past it. A shell with a script of its own may
//! go on to a launcher, but what it does itself is judged as the server's work: it may well be the server.

use std::{collections::HashMap, sync::Arc};

use super::{
    glob::{Homes, normalise},
    profile::{ProfileIndex, Profiles},
    program::{Installs, ProgramIndex, ProgramKind, Programs},
};
use crate::event::{Action, Bytes, Descriptor, DescriptorKind, Event, Process, ProcessId, ProcessKey};

/// Processes that are remembered: `PID_MAX_LIMIT` of the kernel.
const PROCESSES_MAX: usize = 4 * 1024 * 1024;
/// Processes that were recognised and whose first event is still to come.
const RECOGNISED_MAX: usize = 4096;
/// Forebears that are remembered of each process.
const FOREBEARS_MAX: usize = 64;

/// How far a process is from the server's own work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing but shells so far.
    Start,
    /// A launcher is at work.
    Launch,
    /// The server, or anything that is no launcher.
    Serve,
}

/// What is remembered of a process.
#[derive(Clone, Debug)]
pub struct Image {
    /// The process and which of its programs.
    pub key: ProcessKey,
    /// Which phase.
    pub phase: Phase,
    /// Which known programs it is.
    pub programs: Arc<[ProgramIndex]>,
    /// Its runtime.
    pub runtime: Option<ProfileIndex>,
    /// Its instance.
    pub instance: Arc<str>,
    /// Which known programs started it.
    pub starters: Arc<[ProgramIndex]>,
    /// It installs packages or was started, over whatever steps, by what does.
    pub installing: Option<Installs>,
    /// An installer started it, over whatever steps; it is not the installer itself.
    pub below_installer: Option<Installs>,
    /// It is the instance's first program that is neither shell nor launcher.
    pub begins: bool,
    /// A shell that runs a script of its own: what it does is the server's work, and so are the programs that it starts
    /// beside itself, whatever it may hand over to in the end.
    pub scripted: bool,
    /// A shell with a script started it and goes on itself.
    pub beside_script: bool,
    /// Effective user.
    pub euid: u32,
    /// Effective user of the program that started it, if that was seen.
    pub euid_before: Option<u32>,
    /// The pipes at its standard input and output.
    pub pipes: [Option<PipeIdentity>; 2],
    forebears: Arc<[ProcessKey]>,
    script: Option<Bytes>,
    passes_script_on: bool,
    /// A copy of the program that forked it, which goes on.
    forked: bool,
}

/// A pipe: device and inode number.
pub type PipeIdentity = (u32, u64);

impl Image {
    /// The processes that it descends from, nearest first.
    #[must_use]
    pub fn forebears(&self) -> Arc<[ProcessKey]> {
        Arc::clone(&self.forebears)
    }
}

/// The processes of all instances.
#[derive(Debug, Default)]
pub struct Lineage {
    images: HashMap<ProcessId, Image>,
    members: HashMap<Arc<str>, usize>,
    recognised: HashMap<ProcessId, (ProcessKey, ProgramIndex)>,
    refused: u64,
}

impl Lineage {
    /// Processes that could not be remembered.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The process is this program, whatever its path says. To be told before the first event of the program's run.
    pub fn own(&mut self, process: ProcessKey, program: ProgramIndex) {
        let is_one = |key: &ProcessKey| key.start == process.start && key.exec_id == process.exec_id;
        if let Some(image) = self.images.get_mut(&process.pid).filter(|image| is_one(&image.key)) {
            image.programs = with_program(&image.programs, program);
        } else if self.recognised.len() < RECOGNISED_MAX || self.recognised.contains_key(&process.pid) {
            self.recognised.insert(process.pid, (process, program));
        } else {
            self.refused += 1;
        }
    }

    /// The image that did `event`, remembered from now on.
    pub fn image(&mut self, event: &Event, programs: &Programs, profiles: &Profiles, homes: &Homes) -> Image {
        let (process, key) = (&event.process, event.process.key);
        let known = self.images.get(&key.pid).filter(|image| image.key.start == key.start);
        if let Some(known) = known
            && known.key.exec_id == key.exec_id
        {
            return known.clone();
        }
        let before = known.cloned().or_else(|| self.nearest_forebear(process));
        let mut image =
            next_image(process, &event.workload.instance, before.as_ref(), programs, profiles, homes);
        if let Some((recognised, program)) = self.recognised.remove(&key.pid)
            && is_recognised(recognised, event)
        {
            image.programs = with_program(&image.programs, program);
        }
        if let Action::Exec(exec) = &event.action {
            image.pipes = [pipe(&exec.stdin), pipe(&exec.stdout)];
        }
        // A connection may end after its process, which is not to be remembered again.
        if !matches!(event.action, Action::Close(_)) {
            self.remember(image.clone());
        }
        image
    }

    /// True while a process of the instance is remembered.
    #[must_use]
    pub fn has_members(&self, instance: &str) -> bool {
        self.members.contains_key(instance)
    }

    fn nearest_forebear(&self, process: &Process) -> Option<Image> {
        let (position, image) =
            process.ancestors.iter().take(FOREBEARS_MAX).enumerate().find_map(|(position, (key, _))| {
                self.images
                    .get(&key.pid)
                    .filter(|image| image.key.start == key.start)
                    .map(|image| (position, image))
            })?;
        let mut image = image.clone();
        // Programs in between were not seen; what they were is unknown.
        if position > 0 {
            image.phase = Phase::Serve;
        }
        image.forebears = with(&image.key, &image.forebears);
        image.script = None;
        image.passes_script_on = false;
        image.forked = true;
        Some(image)
    }

    fn remember(&mut self, image: Image) {
        if self.images.len() >= PROCESSES_MAX && !self.images.contains_key(&image.key.pid) {
            self.refused += 1;
            return;
        }
        *self.members.entry(Arc::clone(&image.instance)).or_default() += 1;
        if let Some(old) = self.images.insert(image.key.pid, image) {
            self.leave(&old.instance);
        }
    }

    fn leave(&mut self, instance: &Arc<str>) -> bool {
        let Some(count) = self.members.get_mut(instance) else { return false };
        *count = count.saturating_sub(1);
        let last = *count == 0;
        if last {
            self.members.remove(instance);
        }
        last
    }

    /// Keeps up with what happened. To be called after the event was judged. Returns the instance that has no
    /// process left.
    pub fn note_change(&mut self, event: &Event) -> Option<Arc<str>> {
        let key = event.process.key;
        match &event.action {
            Action::Fork(child) => {
                let mut image =
                    self.images.get(&key.pid).filter(|image| image.key.start == key.start)?.clone();
                image.forebears = with(&image.key, &image.forebears);
                image.key = *child;
                image.forked = true;
                self.remember(image);
                None
            }
            Action::Exit(_) => {
                let ended = self.images.get(&key.pid).is_some_and(|image| image.key.start == key.start);
                let image = if ended { self.images.remove(&key.pid)? } else { return None };
                self.leave(&image.instance).then_some(image.instance)
            }
            _ => None,
        }
    }

    /// `target` descends from `process`, as far as was seen.
    #[must_use]
    pub fn descends(&self, target: ProcessId, process: ProcessKey) -> bool {
        self.images.get(&target).is_some_and(|image| {
            image
                .forebears
                .iter()
                .any(|forebear| forebear.pid == process.pid && forebear.start == process.start)
        })
    }

    /// Descends from `process`, or is the process itself.
    #[must_use]
    pub fn is_or_descends(image: &Image, process: ProcessKey) -> bool {
        let same = |key: &ProcessKey| key.pid == process.pid && key.start == process.start;
        same(&image.key) || image.forebears.iter().any(same)
    }

    /// The instance that `process` belongs to.
    #[must_use]
    pub fn instance_of(&self, process: ProcessId) -> Option<&str> {
        self.images.get(&process).map(|image| image.instance.as_ref())
    }
}

/// What was recognised is what did `event`. A process that ran already was recognised by what `/proc` says of it: its start
/// in ticks, and no count of its programs.
fn is_recognised(recognised: ProcessKey, event: &Event) -> bool {
    const TICK_NS: u64 = 10_000_000;
    let key = event.process.key;
    if recognised.exec_id == 0 {
        let is_same = recognised.start.0 / TICK_NS == key.start.0 / TICK_NS;
        return is_same && !matches!(event.action, Action::Exec(_));
    }
    recognised == key
}

fn with_program(programs: &[ProgramIndex], one: ProgramIndex) -> Arc<[ProgramIndex]> {
    let mut all = programs.to_vec();
    all.push(one);
    all.sort_unstable();
    all.dedup();
    all.into()
}

fn with(first: &ProcessKey, rest: &[ProcessKey]) -> Arc<[ProcessKey]> {
    std::iter::once(first).chain(rest).take(FOREBEARS_MAX).copied().collect()
}

/// What a process is after an exec, or when it is seen for the first time.
fn next_image(
    process: &Process,
    instance: &str,
    before: Option<&Image>,
    programs: &Programs,
    profiles: &Profiles,
    homes: &Homes,
) -> Image {
    let given = process
        .script
        .as_ref()
        .map(|script| Bytes::new(&normalise(script.as_slice(), process.working_directory.as_slice())));
    // `#!/usr/bin/env node`: the script was resolved when env was executed; the next program is given it by name.
    let carried = before.filter(|image| image.passes_script_on).and_then(|image| image.script.clone());
    let script = carried.or(given);
    let executable = process.executable.as_slice();
    let found = programs.identify(executable, script.as_ref().map(Bytes::as_slice), homes);
    let kind = programs.kind(&found);
    let installs = programs.installs(&found, &process.arguments);
    let below_installer = before.and_then(|before| before.installing);
    let phase = match before {
        // Labelled while it ran: nobody saw how it came to be.
        None if process.bootstrap || !process.ancestors.is_empty() => Phase::Serve,
        None => next_phase(Phase::Start, kind),
        Some(before) => next_phase(before.phase, kind),
    };
    let beside_script = before.is_some_and(|before| before.scripted && before.forked);
    Image {
        key: process.key,
        scripted: phase == Phase::Start && kind == ProgramKind::Shell && script.is_some(),
        beside_script,
        forked: false,
        phase,
        runtime: profiles.runtime(executable),
        instance: match before {
            Some(before) if before.instance.as_ref() == instance => Arc::clone(&before.instance),
            _ => instance.into(),
        },
        forebears: before.map_or_else(
            || process.ancestors.iter().map(|(key, _)| *key).take(FOREBEARS_MAX).collect(),
            |before| Arc::clone(&before.forebears),
        ),
        passes_script_on: executable.rsplit(|&byte| byte == b'/').next() == Some(b"env")
            || (kind == ProgramKind::Shell && script.is_some() && executable.ends_with(b"/coreutils")),
        starters: before.map_or_else(|| [].into(), |before| Arc::clone(&before.programs)),
        installing: installs.max(below_installer),
        below_installer,
        begins: phase == Phase::Serve
            && !beside_script
            && before.is_none_or(|before| before.phase != Phase::Serve),
        euid: process.euid,
        euid_before: before.map(|before| before.euid),
        pipes: before.map_or([None; 2], |before| before.pipes),
        programs: found.into(),
        script,
    }
}

fn pipe(descriptor: &Descriptor) -> Option<PipeIdentity> {
    let is_pipe = descriptor.kind == DescriptorKind::Pipe && descriptor.inode != 0;
    is_pipe.then_some((descriptor.device, descriptor.inode))
}

const fn next_phase(before: Phase, kind: ProgramKind) -> Phase {
    match (before, kind) {
        (Phase::Start, ProgramKind::Shell) => Phase::Start,
        (Phase::Start | Phase::Launch, ProgramKind::Launcher) => Phase::Launch,
        _ => Phase::Serve,
    }
}
