//! `mcp-monitor sinks`: where findings and events go, whether they arrive, and sending them again.

use super::exit_code::Exit;
use crate::{
    control::moment,
    export::{
        Config, SinkConfig,
        delivery::{Delivered, State, Stop, Talk, Worker, dead_letter_path, state_path},
        sink::{self, Failure},
        source::{Replay, Source},
        stored::Stored,
        synthetic,
    },
    store::settings::DEFAULT_DIRECTORY,
};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use comfy_table::{Table, presets::NOTHING};
use jiff::{Timestamp, Zoned};
use serde::Serialize;
use std::{
    fs::File,
    io::{self, BufReader, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Options of `sinks`.
#[derive(Clone, Debug, Args)]
pub(super) struct Sinks {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = crate::export::config::DEFAULT_PATH, global = true)]
    config: PathBuf,
    /// Where sinks remember how far they are [default: the store's directory, /var/lib/mcp-monitor]
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIRECTORY, hide_default_value = true, global = true)]
    state: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Name the sinks of the configuration.
    List,
    /// Send one finding that is marked as a test, and say what the receiver answered.
    Test {
        /// The sink's name.
        name: String,
    },
    /// Send again what was recorded; receivers tell duplicates by the id.
    Replay {
        /// The sink's name.
        name: String,
        /// JSON lines of mcp-monitor to send instead of the store's; `-` for standard input.
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// Not before: 2h, 30m, 2026-11-20, 2026-11-20T12:00:00Z …
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
    /// Say how far each sink is, what was dropped and why, and what failed.
    Status {
        /// As JSON, one object a line.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Serialize)]
struct StatusLine<'a> {
    schema: &'static str,
    name: &'a str,
    kind: &'static str,
    #[serde(flatten)]
    state: State,
}

impl Sinks {
    /// Does what was asked for.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let config = Config::read(&self.config)?;
        let directory = self.state.join(crate::export::delivery::DIRECTORY);
        match &self.command {
            Command::List => list(&config),
            Command::Test { name } => match named(&config, name) {
                Some(sink) => test(sink),
                None => Ok(unknown(&config, name)),
            },
            Command::Replay { name, from, since } => match named(&config, name) {
                Some(sink) => self.replay(sink, &directory, from.as_deref(), since.as_deref()),
                None => Ok(unknown(&config, name)),
            },
            Command::Status { json } => status(&config, &directory, *json),
        }
    }

    fn replay(
        &self,
        config: &SinkConfig,
        directory: &Path,
        from: Option<&Path>,
        since: Option<&str>,
    ) -> anyhow::Result<Exit> {
        let since: Option<Timestamp> = since
            .map(|text| moment::parse(text, &Zoned::now()).map_err(anyhow::Error::msg))
            .transpose()
            .context("--since")?;
        let source: Box<dyn Source> = match from {
            None => Box::new(Stored::new(self.state.clone()).since(since)),
            Some(path) if path == Path::new("-") => {
                Box::new(Replay::new(BufReader::new(io::stdin()), since, config.events))
            }
            Some(path) => {
                let file = File::open(path).with_context(|| path.display().to_string())?;
                Box::new(Replay::new(BufReader::new(file), since, config.events))
            }
        };
        let talk: Talk = Arc::new(|line: &str| super::say(&line));
        let mut worker = Worker::replay(config.clone(), directory, source, Stop::default(), talk)?;
        let done = worker.drain();
        let state = worker.state();
        writeln!(
            io::stdout(),
            "{}: sent {}, quarantined {}, held back by rate {}, left to the digest {}",
            config.name,
            state.sent,
            state.rejected,
            state.dropped_rate,
            state.below
        )?;
        if state.rejected > 0 {
            super::say(&format_args!(
                "the answers stand in {}",
                dead_letter_path(directory, &config.name).display()
            ));
        }
        Ok(if done == Delivered::Done { Exit::Ok } else { Exit::Failed })
    }
}

fn named<'a>(config: &'a Config, name: &str) -> Option<&'a SinkConfig> {
    config.sinks.iter().find(|sink| sink.name == name)
}

fn unknown(config: &Config, name: &str) -> Exit {
    let names: Vec<_> = config.sinks.iter().map(|sink| sink.name.as_str()).collect();
    super::say(&format_args!("no sink is called {name:?}; there are: {}", names.join(", ")));
    Exit::Unknown
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    table
}

fn print(table: &Table) -> anyhow::Result<()> {
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    Ok(writeln!(io::stdout(), "{}", lines.join("\n"))?)
}

fn list(config: &Config) -> anyhow::Result<Exit> {
    let mut table = table(&["NAME", "KIND", "SENDS"]);
    for sink in &config.sinks {
        let kind = sink.kind()?;
        let sends = match (sink.events, kind.is_for_people()) {
            (true, _) => "findings and events",
            (false, true) => "findings, high and critical at once",
            (false, false) => "findings",
        };
        table.add_row([&sink.name, kind.name(), sends]);
    }
    print(&table)?;
    Ok(Exit::Ok)
}

fn test(config: &SinkConfig) -> anyhow::Result<Exit> {
    let record = synthetic::finding()?;
    let mut sink = sink::open(config).with_context(|| format!("sink {:?} cannot be opened", config.name))?;
    let problem = match sink.deliver(std::slice::from_ref(&record)) {
        Ok(taken) if taken.rejected.is_empty() && taken.again.is_empty() => None,
        Ok(taken) => Some(
            taken.rejected.into_iter().map(|(_, answer)| answer).next().or(taken.why).unwrap_or_default(),
        ),
        Err(Failure::Later { why, .. } | Failure::Never { why }) => Some(why),
    };
    match problem {
        None => {
            writeln!(io::stdout(), "{}: took the test finding {}", config.name, record.delivery_id())?;
            Ok(Exit::Ok)
        }
        Some(why) => {
            super::say(&format_args!("{}: did not take the test finding: {why}", config.name));
            Ok(Exit::Failed)
        }
    }
}

fn status(config: &Config, directory: &Path, json: bool) -> anyhow::Result<Exit> {
    let mut table = table(&[
        "NAME",
        "KIND",
        "STATE",
        "SENT",
        "RETRIED",
        "REJECTED",
        "DROPPED",
        "LAST SUCCESS",
        "LAST ERROR",
    ]);
    for sink in &config.sinks {
        let kind = sink.kind()?.name();
        let state = State::read(&state_path(directory, &sink.name))?;
        if json {
            let line = StatusLine { schema: "mcp-monitor/sink/v1", name: &sink.name, kind, state };
            writeln!(io::stdout(), "{}", serde_json::to_string(&line)?)?;
            continue;
        }
        let word = match (&state.failing_since, &state.findings) {
            (_, None) => "never started".to_owned(),
            (Some(since), _) => format!("failing since {since:.0}"),
            (None, Some(_)) => "works".to_owned(),
        };
        table.add_row([
            sink.name.clone(),
            kind.to_owned(),
            word,
            state.sent.to_string(),
            state.retried.to_string(),
            state.rejected.to_string(),
            (state.dropped_rate + state.dropped_age).to_string(),
            state.last_success.map_or_else(|| "-".to_owned(), |time| format!("{time:.0}")),
            state.last_error.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    if !json {
        print(&table)?;
    }
    Ok(Exit::Ok)
}
