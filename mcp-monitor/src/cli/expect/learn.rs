//! `expect learn`, `test` and `diff`: from recorded events, and back.

use super::{DirectoryOption, check::loaded};
use crate::{
    cli::{
        exit_code::Exit,
        query::{QueryError, say_missed},
        say,
    },
    control::{
        Filter, Source,
        source::{Span, What},
    },
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
    render::read::{Event, Line},
};
use clap::Args;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{self, Write as _},
    ops::ControlFlow,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    sync::Arc,
};

/// Workloads that are told apart at once.
const WORKLOADS_MAX: usize = 4096;

/// Recorded events.
#[derive(Clone, Debug, Args)]
struct Recorded {
    /// Files of JSON lines as `watch -o json` prints them, or - for standard input.
    #[arg(value_name = "INPUT", required = true)]
    inputs: Vec<PathBuf>,
    /// Only this workload, by name or id.
    #[arg(long, short, value_name = "WORKLOAD")]
    workload: Option<String>,
}

impl Recorded {
    fn each(&self, mut take: impl FnMut(&Event)) -> Result<(), QueryError> {
        for input in &self.inputs {
            let source =
                if input.as_os_str() == "-" { Source::StandardInput } else { Source::File(input.clone()) };
            let missed = source.each(What::Events, &Filter::default(), Span::default(), |line, _| {
                if let Line::Event(event) = &line
                    && self.workload.as_ref().is_none_or(|wanted| {
                        event.workload.name.as_bytes() == wanted.as_bytes()
                            || event.workload.id.as_bytes() == wanted.as_bytes()
                    })
                {
                    take(event);
                }
                ControlFlow::Continue(())
            })?;
            say_missed(missed);
        }
        Ok(())
    }
}

/// Options of `learn`.
#[derive(Clone, Debug, Args)]
pub(super) struct Learn {
    #[command(flatten)]
    recorded: Recorded,
    /// A proposal from fewer instances is marked incomplete.
    #[arg(long, value_name = "N", default_value_t = 3)]
    instances: usize,
}

impl Learn {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let mut observations: BTreeMap<String, Observation> = BTreeMap::new();
        let mut too_many = 0_u64;
        self.recorded.each(|event| {
            let id = event.workload.id.escaped().into_owned();
            if observations.len() >= WORKLOADS_MAX && !observations.contains_key(&id) {
                too_many += 1;
                return;
            }
            let observation = observations.entry(id).or_insert_with(|| Observation {
                name: String::from_utf8_lossy(event.workload.name.as_bytes()).into_owned(),
                client: event.workload.client.as_ref().map(|client| client.escaped().into_owned()),
                ..Observation::default()
            });
            observation.note(event);
        })?;
        if too_many > 0 {
            say(&format_args!(
                "{too_many} events are of more than {WORKLOADS_MAX} workloads and were left out"
            ));
        }
        if observations.is_empty() {
            say(&"no events of such a workload");
            return Ok(Exit::Unknown);
        }
        let thoroughness = Thoroughness { instances: self.instances };
        let texts: Vec<_> =
            observations.values().map(|observation| propose(observation, thoroughness)).collect();
        io::stdout().write_all(texts.join("---\n").as_bytes())?;
        Ok(Exit::Ok)
    }
}

/// Options of `test`.
#[derive(Clone, Debug, Args)]
pub(super) struct Test {
    /// The candidate.
    #[arg(value_name = "FILE")]
    file: PathBuf,
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
        let only = matches!(set.all(), [_]);
        let replay = replayed(&self.recorded, &set, only)?;
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
    #[command(flatten)]
    recorded: Recorded,
    #[command(flatten)]
    directory: DirectoryOption,
}

impl Diff {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let Some(set) = loaded(&self.directory)? else { return Ok(Exit::Found) };
        let replay = replayed(&self.recorded, &set, false)?;
        let mut output = io::stdout().lock();
        told(&mut output, "beyond the expectation", &replay.found)?;
        told(&mut output, "beyond the expectation, and found before", &replay.kept)?;
        Ok(if replay.found.is_empty() && replay.kept.is_empty() { Exit::Ok } else { Exit::Found })
    }
}

fn told(
    output: &mut impl io::Write,
    what: &str,
    changes: &BTreeMap<(String, String), Change>,
) -> io::Result<()> {
    for ((rule, object), Change { count, event }) in changes {
        writeln!(output, "{what}: {rule} x{count}: {} (event {event})", escape(object.as_bytes()))?;
    }
    Ok(())
}

/// Replays every event against the expectation that means its workload; against the `only` one whomever it means.
fn replayed(recorded: &Recorded, set: &Set, only: bool) -> anyhow::Result<Replay> {
    let homes: Vec<_> = Users::default().all().into_iter().map(|user| user.home.clone()).collect();
    let ground = Ground::new(Homes::new(&homes))?;
    let mut subjects: BTreeMap<Vec<u8>, Option<Compiled>> = BTreeMap::new();
    let mut replay = Replay::default();
    let mut failed = None;
    recorded.each(|event| {
        let instance = event.workload.instance.as_bytes().to_vec();
        if subjects.len() >= WORKLOADS_MAX && !subjects.contains_key(&instance) {
            return;
        }
        let candidate = subjects.entry(instance).or_insert_with(|| {
            let subject = subject(event);
            let expectation: Option<&Arc<Expectation>> =
                if only { set.all().first() } else { set.select(&subject) };
            expectation.and_then(|expectation| {
                Compiled::new(expectation, &subject).map_err(|error| failed = Some(error)).ok()
            })
        });
        if let Some(candidate) = candidate {
            replay.note(event, candidate, &ground);
        }
    })?;
    failed.map_or(Ok(replay), |error| Err(error.into()))
}

/// What the first event of an instance says of its workload.
fn subject(event: &Event) -> Subject {
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
