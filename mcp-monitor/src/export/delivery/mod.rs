//! At-least-once delivery: one thread for each sink, with a cursor of its own in the source.
//!
//! - What a receiver took is committed afterwards, never before: a crash repeats a batch, with the same ids.
//! - Memory is one batch for each sink, however long a receiver is away: what waits, waits in the source.
//! - Findings come before events, each round.
//! - What a receiver will never take goes with its answer into the sink's dead-letter file, and the rest goes on.
//! - What is set up wrongly (a token, a certificate, a path) waits and is told; nothing is thrown away for it.

mod board;
mod dead_letter;
mod digest;
mod state;
#[cfg(test)]
mod tests;
mod worker;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

pub use board::{Board, SinkStatus};
pub use dead_letter::{DeadLetters, Letter};
pub use digest::{Digest, DigestRow};
pub use state::{State, StateError};
pub use worker::{Delivered, Worker};

use super::{
    config::{Config, SinkConfig},
    heartbeat::Pulse,
    source::{Source, SourceError},
};

/// The directory of sinks within that of the store.
pub const DIRECTORY: &str = "sinks";

/// Tells threads to end, and lets them wait for it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Everybody ends.
    pub fn stop(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Waits for `time` or the end; true when it is the end.
    pub fn wait(&self, time: Duration) -> bool {
        let stopped = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (stopped, _) = self
            .0
            .1
            .wait_timeout_while(stopped, time, |stopped| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        *stopped
    }
}

/// Where a sink's talk goes: a line about a receiver that fails or works again.
pub type Talk = Arc<dyn Fn(&str) + Send + Sync>;

/// Why delivery does not begin.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// What sinks remember.
    #[error(transparent)]
    State(#[from] StateError),
    /// The source.
    #[error("what is to be delivered cannot be read: {0}")]
    Source(#[from] SourceError),
    /// A sink's settings.
    #[error("sink {sink:?}: {message}")]
    Sink {
        /// Which sink.
        sink: String,
        /// What is wrong.
        message: String,
    },
    /// A thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// The running threads.
pub struct Delivery {
    stop: Stop,
    board: Board,
    threads: Vec<JoinHandle<()>>,
}

impl Delivery {
    /// Starts a thread for each sink of `config`. `directory` holds what they remember; `pulse` is asked before each sign
    /// of life, and without it there is none.
    pub fn start(
        config: &Config,
        directory: &Path,
        mut source: impl FnMut() -> Result<Box<dyn Source>, SourceError>,
        talk: &Talk,
        pulse: Option<&Pulse>,
    ) -> Result<Self, DeliveryError> {
        let (stop, board) = (Stop::default(), Board::default());
        let mut threads = Vec::new();
        let workers = config
            .sinks
            .iter()
            .map(|sink| {
                let worker = worker(sink, directory, source()?, &stop, talk)?;
                Ok(worker.watched(board.clone(), pulse.cloned()))
            })
            .collect::<Result<Vec<_>, DeliveryError>>()?;
        for worker in workers {
            let name = format!("sink {}", worker.name());
            let thread = std::thread::Builder::new()
                .name(name)
                .spawn(move || worker.run())
                .map_err(DeliveryError::Thread)?;
            threads.push(thread);
        }
        Ok(Self { stop, board, threads })
    }

    /// How the sinks are.
    #[must_use]
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Ends within `time`: what is under way may finish, the rest comes at the next start.
    pub fn stop(mut self, time: Duration) {
        self.stop.stop();
        let end = Instant::now() + time;
        for thread in self.threads.drain(..) {
            while !thread.is_finished() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(10));
            }
            if thread.is_finished() {
                // A panic in the thread has been told on standard error.
                let _ = thread.join();
            }
        }
    }
}

fn worker(
    sink: &SinkConfig,
    directory: &Path,
    source: Box<dyn Source>,
    stop: &Stop,
    talk: &Talk,
) -> Result<Worker, DeliveryError> {
    Worker::new(sink.clone(), directory, source, stop.clone(), Arc::clone(talk))
}

/// Where the sink called `name` remembers how far it is.
#[must_use]
pub fn state_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.state.json"))
}

/// Where what the sink called `name` could not deliver is kept.
#[must_use]
pub fn dead_letter_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.dead.jsonl"))
}
