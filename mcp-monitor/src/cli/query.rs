//! Options of the commands that ask: of what, for what, and how the answer looks.

use super::{arguments::ColourOption, exit_code::Exit, say};
use crate::{
    control::{
        Filter, FilterError, Source,
        client::{Client, ClientError},
        moment,
        source::{Missed, SourceError},
    },
    render::{
        StreamError,
        output::{Format, Output},
        stream::Destination,
    },
    store::StoreError,
};
use clap::{Args, ValueEnum};
use jiff::Zoned;
use std::path::PathBuf;

/// How an answer looks.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum QueryFormat {
    /// For people, as wide as the terminal.
    Table,
    /// For people, everything, as wide as it gets.
    Wide,
    /// One JSON object a line.
    Json,
    /// The same as json.
    Jsonl,
    /// YAML documents.
    Yaml,
    /// Comma-separated values.
    Csv,
}

/// How the answer is printed.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputOptions {
    /// table on a terminal, json elsewhere, if not given.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<QueryFormat>,
    /// Colour, for people.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColourOption,
    /// Show times in UTC.
    #[arg(long)]
    utc: bool,
}

impl OutputOptions {
    /// Standard output in this format.
    pub(super) fn open(&self) -> Result<Output, StreamError> {
        let destination = Destination::standard_output().map_err(StreamError::Other)?;
        let format = self.output.map(|format| match format {
            QueryFormat::Table => Format::Table,
            QueryFormat::Wide => Format::Wide,
            QueryFormat::Json | QueryFormat::Jsonl => Format::Json,
            QueryFormat::Yaml => Format::Yaml,
            QueryFormat::Csv => Format::Csv,
        });
        Ok(Output::new(format, destination, self.color.into(), self.utc))
    }

    /// Standard output for an answer that is drawn: a table also where nobody looks.
    pub(super) fn open_drawn(&self) -> Result<Output, StreamError> {
        Self { output: self.output.or(Some(QueryFormat::Table)), ..self.clone() }.open()
    }
}

/// What is asked.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Which")]
pub(super) struct FilterOptions {
    /// Not before TIME: 10m, "2 days ago", 2026-11-20, "2026-11-20 10:00", @SECONDS, today, yesterday, boot.
    #[arg(long, short = 'S', value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Before TIME.
    #[arg(long, short = 'U', value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Workloads, by name, id or instance. Lists here and below are separated by commas.
    #[arg(long, short, value_name = "WORKLOAD", add = super::completing::workloads())]
    workload: Vec<String>,
    /// Kinds of events: exec, open, connect …
    #[arg(long, short, value_name = "KIND", add = super::completing::kinds())]
    kind: Vec<String>,
    /// expected, unexpected, forbidden, unjudged.
    #[arg(long, value_name = "VERDICT", add = super::completing::verdicts())]
    verdict: Vec<String>,
    /// Rules, e.g. secret-read.
    #[arg(long, short, value_name = "RULE", add = super::completing::rules())]
    rule: Vec<String>,
    /// Processes.
    #[arg(long, value_name = "PID")]
    pid: Vec<String>,
    /// Processes with their descendants.
    #[arg(long, value_name = "PID")]
    tree: Vec<String>,
    /// Containers, by id or its beginning.
    #[arg(long, value_name = "ID")]
    container: Vec<String>,
    /// Pods.
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    pod: Vec<String>,
    /// Users, by name or number.
    #[arg(long, value_name = "USER")]
    user: Vec<String>,
    /// A path; * stays in a directory, ** does not.
    #[arg(long, value_name = "GLOB")]
    path: Option<String>,
    /// Destinations: NAME, *.NAME, ADDRESS, NETWORK/PREFIX, with :PORT or without.
    #[arg(long, alias = "dst", value_name = "DEST")]
    destination: Vec<String>,
}

impl FilterOptions {
    /// As a filter.
    pub(super) fn filter(&self) -> Result<Filter, QueryError> {
        let now = Zoned::now();
        let time = |text: &Option<String>| {
            text.as_deref().map(|text| moment::parse(text, &now)).transpose().map_err(QueryError::Usage)
        };
        let list = |values: &Vec<String>| (!values.is_empty()).then(|| values.join(","));
        let filter = Filter {
            since: time(&self.since)?,
            until: time(&self.until)?,
            workload: list(&self.workload),
            kind: list(&self.kind),
            verdict: list(&self.verdict),
            rule: list(&self.rule),
            severity: None,
            state: None,
            id: None,
            pid: list(&self.pid),
            tree: list(&self.tree),
            container: list(&self.container),
            pod: list(&self.pod),
            user: list(&self.user),
            path: self.path.clone(),
            destination: list(&self.destination),
        };
        filter.matcher()?;
        Ok(filter)
    }
}

/// Of whom it is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct SourceOptions {
    /// A file of JSON lines as `watch -o json` prints them, or - for standard input [default: the monitor that runs]
    #[arg(value_name = "INPUT")]
    input: Option<PathBuf>,
    /// The monitor's socket [default: /run/mcp-monitor/control.sock]
    #[arg(long, value_name = "PATH", conflicts_with = "input")]
    socket: Option<PathBuf>,
    /// Ask a store's directory, or the file of one of its days, instead of the monitor.
    #[arg(long, value_name = "DIR|FILE", conflicts_with_all = ["input", "socket"])]
    store: Option<PathBuf>,
}

impl SourceOptions {
    /// The source.
    pub(super) fn source(&self) -> Source {
        if let Some(place) = &self.store {
            return Source::Store(place.clone());
        }
        match &self.input {
            Some(path) if path.as_os_str() == "-" => Source::StandardInput,
            Some(path) => Source::File(path.clone()),
            None => Source::Monitor(client(self.socket.as_ref())),
        }
    }
}

/// The monitor at `socket`, or where it usually is.
pub(super) fn client(socket: Option<&PathBuf>) -> Client {
    socket.map_or_else(Client::default, Client::new)
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is no such thing.
    #[error("{0}")]
    Unknown(String),
}

impl From<FilterError> for QueryError {
    fn from(error: FilterError) -> Self {
        Self::Usage(format!("--{error}"))
    }
}

impl From<ClientError> for QueryError {
    fn from(error: ClientError) -> Self {
        Self::Source(error.into())
    }
}

impl From<&QueryError> for Exit {
    fn from(error: &QueryError) -> Self {
        match error {
            QueryError::Usage(_)
            | QueryError::Source(
                SourceError::NotFollowed
                | SourceError::Store(StoreError::Usage(_))
                | SourceError::Filter(_)
                | SourceError::Client(ClientError::Wrong(_)),
            ) => Self::Usage,
            QueryError::Unknown(_) | QueryError::Source(SourceError::Client(ClientError::Unknown(_))) => {
                Self::Unknown
            }
            QueryError::Source(
                SourceError::Client(ClientError::Refused(_))
                | SourceError::Store(StoreError::NotPermitted { .. }),
            ) => Self::NotPermitted,
            QueryError::Source(SourceError::Client(ClientError::NoMonitor { reason, .. }))
                if reason.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Self::NotPermitted
            }
            QueryError::Source(SourceError::Client(ClientError::NoMonitor { .. })) => Self::NoMonitor,
            QueryError::Source(_) => Self::Failed,
        }
    }
}

/// Says what did not come with the rest.
pub(super) fn say_missed(missed: Missed) {
    let rows = [
        (missed.unreadable, "lines are not of mcp-monitor and were skipped"),
        (missed.dropped, "lines came faster than they were read and are missing"),
        (missed.older, "older lines are left out; narrow the question with --since or --workload"),
    ];
    if missed.cut {
        say(&"the answer was cut; narrow the question with --since, --until or --workload");
    }
    for (count, what) in rows {
        if count > 0 {
            say(&format_args!("{count} {what}"));
        }
    }
}
