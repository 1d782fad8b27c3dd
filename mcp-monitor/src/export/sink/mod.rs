//! Sinks: one file for each kind of receiver. A sink makes one attempt and says what came of it; queueing, retrying
//! and quarantine are the delivery's ([`super::delivery`]).

pub mod elasticsearch;
pub mod file;
pub mod http;
pub mod journald;
pub mod kafka;
pub mod loki;
pub mod mail;
pub mod nats;
pub mod otlp;
pub mod slack;
pub mod splunk;
pub mod stdout;
pub mod syslog;
pub mod webhook;

use std::{fmt, io, time::Duration};

use super::{
    config::{Kind, SinkConfig},
    delivery::Digest,
    record::Record,
    secret::SecretError,
    tls::TlsError,
};

/// What came of a batch that the receiver took. Records that are not named are delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Records that it will never take, by their place in the batch, with its answer.
    pub rejected: Vec<(usize, String)>,
    /// Records to offer again.
    pub again: Vec<usize>,
    /// Not before this.
    pub after: Option<Duration>,
    /// So many that it did not keep and that must not be offered again; which ones, it does not say.
    pub refused: usize,
    /// What it said of those, in words.
    pub why: Option<String>,
}

/// What came of a batch that it did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Later it may: not reachable, busy, or set up wrongly, which somebody will repair.
    Later {
        /// Its answer.
        why: String,
        /// Not before this.
        after: Option<Duration>,
    },
    /// It never will: something in the batch is wrong, or all of it is too much at once.
    Never {
        /// Its answer.
        why: String,
    },
}

impl Failure {
    /// Try again in a while.
    pub(crate) fn later(why: impl fmt::Display) -> Self {
        Self::Later { why: why.to_string(), after: None }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::later(error)
    }
}

/// A receiver.
pub trait Sink: Send {
    /// Offers `records`, in their order, once.
    fn deliver(&mut self, records: &[Record]) -> Result<Taken, Failure>;

    /// Tells of what was put together over a day.
    fn digest(&mut self, _digest: &Digest) -> Result<(), Failure> {
        Err(Failure::Never { why: "this receiver takes no digest".into() })
    }
}

/// Why a sink cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Its certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Its file or socket.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Its settings.
    #[error("{0}")]
    Settings(String),
}

/// Opens the sink that `config` describes. Nothing is sent.
pub fn open(config: &SinkConfig) -> Result<Box<dyn Sink>, OpenError> {
    Ok(match &config.kind()? {
        Kind::File(settings) => Box::new(file::FileSink::open(settings)?),
        Kind::Stdout(settings) => Box::new(stdout::Stdout::open(settings)?),
        Kind::Syslog(settings) => Box::new(syslog::Syslog::open(settings)?),
        Kind::Webhook(settings) => Box::new(webhook::Webhook::open(settings)?),
        Kind::Slack(settings) => Box::new(slack::Slack::open(settings)?),
        Kind::Splunk(settings) => Box::new(splunk::Splunk::open(settings)?),
        Kind::Elasticsearch(settings) => Box::new(elasticsearch::Elasticsearch::open(settings)?),
        Kind::Loki(settings) => Box::new(loki::Loki::open(settings)?),
        Kind::Journald(settings) => Box::new(journald::Journald::open(settings)?),
        Kind::Mail(settings) => Box::new(mail::Mail::open(settings)?),
        Kind::Otlp(settings) => otlp::open(settings)?,
        Kind::Nats(settings) => Box::new(nats::Nats::open(settings)?),
        Kind::Kafka(settings) => kafka::open(settings)?,
    })
}

/// An answer of a receiver, short enough for a log and without what moves a terminal.
pub(crate) fn shortened(answer: &str) -> String {
    const CHARACTERS_MAX: usize = 500;
    let text: String = answer.trim().chars().take(CHARACTERS_MAX).collect();
    crate::event::escape(text.as_bytes())
}
