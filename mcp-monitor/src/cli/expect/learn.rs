//! `expect learn`, `propose`, `test` and `diff`: from recorded events to an expectation, and back.

use super::{
    DirectoryOption,
    check::loaded,
    recorded::{Gaps, Recorded, length},
};
use crate::{
    cli::{exit_code::Exit, say},
    event::escape,
    expectation::{
        file::{Compiled, Expectation, Set, Subject, set::SetError},
        glob::Homes,
        learn::{
            Observation, Thoroughness, propose,
            replay::{Change, Ground, Replay},
        },
    },
    host::users::Users,
    render::read::Event,
};
use clap::Args;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{self, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// Instances whose expectations are held at once.
const INSTANCES_MAX: usize = 4096;
/// Workloads that are told apart at once.
const WORKLOADS_MAX: usize = 4096;

/// Options of `learn`.
#[derive(Clone, Debug, Args)]
pub(super) struct Learn {
    /// The workload, by name, id, or the begin of an id.
    #[arg(value_name = "WORKLOAD")]
    workload: String,
    /// For how long: 90s, 30m, 2h, 1d.
    #[arg(long = "for", value_name = "TIME", value_parser = length)]
    time: Duration,
    /// The monitor's socket [default: /run/mcp-monitor/control.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    thorough: Thorough,
}

/// Options of `propose`.
#[derive(Clone, Debug, Args)]
pub(super) struct Propose {
    /// The workload, by name, id, or the begin of an id [default: every one, each in a document of its own]
    #[arg(value_name = "WORKLOAD")]
    workload: Option<String>,
    #[command(flatten)]
    recorded: Recorded,
    #[command(flatten)]
    thorough: Thorough,
}

/// How much must have been seen.
#[derive(Clone, Copy, Debug, Args)]
struct Thorough {
    /// A proposal from fewer instances is marked incomplete.
    #[arg(long, value_name = "N", default_value_t = 3)]
    instances: usize,
}

/// What was seen, by workload.
#[derive(Default)]
struct Observations {
    by_workload: BTreeMap<String, Observation>,
    left_out: u64,
}

impl Observations {
    fn note(&mut self, event: &Event) {
        let id = event.workload.id.escaped().into_owned();
        if self.by_workload.len() >= WORKLOADS_MAX && !self.by_workload.contains_key(&id) {
            self.left_out += 1;
            return;
        }
        let observation = self.by_workload.entry(id).or_insert_with(|| Observation {
            name: String::from_utf8_lossy(event.workload.name.as_bytes()).into_owned(),
            client: event.workload.client.as_ref().map(|client| client.escaped().into_owned()),
            ..Observation::default()
        });
        observation.note(event);
    }

    /// Prints the proposals. What did not come with the events is a gap of each.
    fn propose(mut self, gaps: &Gaps, thorough: Thorough) -> anyhow::Result<Exit> {
        if self.left_out > 0 {
            say(&format_args!(
                "{} events are of more than {WORKLOADS_MAX} workloads and were left out",
                self.left_out
            ));
        }
        if self.by_workload.is_empty() {
            say(
                &"no events of such a workload; `mcp-monitor workloads` lists them, `expect draft` needs no events",
            );
            return Ok(Exit::Unknown);
        }
        let thoroughness = Thoroughness { instances: thorough.instances };
        let texts: Vec<_> = self
            .by_workload
            .values_mut()
            .map(|observation| {
                observation.unseen.extend(gaps.0.iter().cloned());
                propose(observation, thoroughness)
            })
            .collect();
        io::stdout().write_all(texts.join("---\n").as_bytes())?;
        Ok(Exit::Ok)
    }
}

impl Learn {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let mut observations = Observations::default();
        let recorded = Recorded::of_monitor(self.socket.clone());
        let gaps = recorded.follow(&self.workload, self.time, |event| observations.note(event))?;
        observations.propose(&gaps, self.thorough)
    }
}

impl Propose {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let mut observations = Observations::default();
        let gaps = self.recorded.each(self.workload.as_ref(), |event| observations.note(event))?;
        observations.propose(&gaps, self.thorough)
    }
}

/// Options of `test`.
#[derive(Clone, Debug, Args)]
pub(super) struct Test {
    /// The candidate.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only this workload, by name, id, or the begin of an id.
    #[arg(long, short, value_name = "WORKLOAD")]
    workload: Option<String>,
    #[command(flatten)]
    recorded: Recorded,
}

impl Test {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let set = match Set::of_files(std::slice::from_ref(&self.file)) {
            Ok(set) => set,
            Err(SetError::Load(mistakes)) => {
                say(&mistakes);
                return Ok(Exit::Found);
            }
            Err(error @ SetError::Data(_)) => return Err(error.into()),
        };
        // Of a file that was recorded of one command, and of a named workload, it is clear who is meant.
        let only = matches!(set.all(), [_]) && (self.workload.is_some() || self.recorded.is_of_files());
        let replay = replayed(&self.recorded, self.workload.as_ref(), &set, only, false)?;
        let mut output = io::stdout().lock();
        told(&mut output, "would be found", &replay.found)?;
        told(&mut output, "would still be found", &replay.kept)?;
        told(&mut output, "would no longer be found", &replay.silent)?;
        writeln!(
            output,
            "{} events: {} new, {} kept, {} gone",
            replay.events,
            replay.found.len(),
            replay.kept.len(),
            replay.silent.len()
        )?;
        Ok(if replay.found.is_empty() && replay.kept.is_empty() { Exit::Ok } else { Exit::Found })
    }
}

/// Options of `diff`.
#[derive(Clone, Debug, Args)]
pub(super) struct Diff {
    /// The workload, by name, id, or the begin of an id [default: every one]
    #[arg(value_name = "WORKLOAD")]
    workload: Option<String>,
    #[command(flatten)]
    recorded: Recorded,
    #[command(flatten)]
    directory: DirectoryOption,
}

impl Diff {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let Some(set) = loaded(&self.directory)? else { return Ok(Exit::Found) };
        let replay = replayed(&self.recorded, self.workload.as_ref(), &set, false, false)?;
        let mut output = io::stdout().lock();
        told(&mut output, "beyond the expectation", &replay.found)?;
        told(&mut output, "beyond the expectation, and found before", &replay.kept)?;
        Ok(if replay.found.is_empty() && replay.kept.is_empty() { Exit::Ok } else { Exit::Found })
    }
}

pub(super) fn told(
    output: &mut impl io::Write,
    what: &str,
    changes: &BTreeMap<(String, String), Change>,
) -> io::Result<()> {
    for ((rule, object), Change { count, event }) in changes {
        writeln!(output, "{what}: {rule} x{count}: {} (event {event})", escape(object.as_bytes()))?;
    }
    Ok(())
}

/// Replays every event against the expectation that means its workload; against the `only` one whomever it means where
/// none is named as meant. What `unmeant` workloads were found for counts as it was, when that is asked for.
pub(super) fn replayed(
    recorded: &Recorded,
    workload: Option<&String>,
    set: &Set,
    only: bool,
    unmeant: bool,
) -> anyhow::Result<Replay> {
    let homes: Vec<_> = Users::default().all().into_iter().map(|user| user.home.clone()).collect();
    let ground = Ground::new(Homes::new(&homes))?;
    let mut subjects: BTreeMap<Vec<u8>, Option<Compiled>> = BTreeMap::new();
    let mut replay = Replay::default();
    let mut failed = None;
    let mut left_out = 0_u64;
    let gaps = recorded.each(workload, |event| {
        let instance = event.workload.instance.as_bytes().to_vec();
        if subjects.len() >= INSTANCES_MAX && !subjects.contains_key(&instance) {
            left_out += 1;
            return;
        }
        let candidate = subjects.entry(instance).or_insert_with(|| {
            let subject = subject(event);
            let first = set.all().first().filter(|_| only);
            let expectation: Option<&Arc<Expectation>> = set.select(&subject).or(first);
            expectation.and_then(|expectation| {
                Compiled::new(expectation, &subject).map_err(|error| failed = Some(error)).ok()
            })
        });
        match candidate {
            Some(candidate) => replay.note(event, candidate, &ground),
            None if unmeant => replay.note_unmeant(event),
            None => {}
        }
    })?;
    if left_out > 0 {
        say(&format_args!("{left_out} events are of more than {INSTANCES_MAX} instances and were left out"));
    }
    for gap in gaps.0 {
        say(&gap);
    }
    failed.map_or(Ok(replay), |error| Err(error.into()))
}

/// What the first event of an instance says of its workload.
pub(super) fn subject(event: &Event) -> Subject {
    let text = |text: &crate::render::read::Text| String::from_utf8_lossy(text.as_bytes()).into_owned();
    let process = &event.process;
    Subject {
        name: text(&event.workload.name),
        client: event.workload.client.as_ref().map(text),
        packages: propose::packages(event),
        command: process.args.first().map(|first| first.as_bytes().to_vec()),
        executable: process.exe.as_ref().map(|exe| exe.as_bytes().to_vec()),
        image: process.container.as_ref().and_then(|container| container.image.as_ref()).map(text),
        user: process.user.as_ref().map(text),
        workspaces: process.cwd.iter().map(|cwd| PathBuf::from(OsStr::from_bytes(cwd.as_bytes()))).collect(),
        ..Subject::default()
    }
}
