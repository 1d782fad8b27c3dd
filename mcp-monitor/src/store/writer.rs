//! The way in: a handle that puts things into the queue, and the thread that writes them.

mod acts;
mod findings;
mod keeper;
mod likeness;
mod opening;
mod pages;
mod seam;
mod suppressions;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::Duration,
};

use jiff::Timestamp;

pub use keeper::Gap;
use keeper::Keeper;
pub use seam::Seam;
use suppressions::Suppressions;

use super::{
    Act, ActReceipt, Actor, Recording, Settings, Status, StoreError, files,
    journal::{Flight, InFlight},
    queue::{Order, Queue},
};
use crate::{
    event::{Event, Finding},
    render::Origin,
};

/// How long an operator waits for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What the thread tells of itself.
#[derive(Debug)]
struct Told {
    recording: Recording,
    last_row: u64,
    written: u64,
    rolled_up: u64,
    unwritten: u64,
    findings_lost: u64,
    finding_changes: u64,
    last_checkpoint: Option<Timestamp>,
}

/// What was lost on the way into the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreLosses {
    /// Events that did not fit into the queue.
    pub queue: u64,
    /// Events that could not be written.
    pub unwritten: u64,
    /// Findings that did not fit into the queue.
    pub findings: u64,
}

struct Shared {
    queue: Queue,
    told: Mutex<Told>,
    taken: Mutex<StoreLosses>,
    suppressions: Arc<Suppressions>,
    directory: PathBuf,
    public_key: String,
}

/// A handle for writing; clones write to the same store.
#[derive(Clone)]
pub struct Writer {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Writer").field("directory", &self.shared.directory).finish_non_exhaustive()
    }
}

/// Ends the writing when it is dropped: what was given before is written.
pub struct Store {
    writer: Writer,
    thread: Option<JoinHandle<()>>,
    in_flight: InFlight,
    flight: Flight,
    /// What an earlier run that was killed did not store.
    pub gap: Option<Gap>,
}

impl Store {
    /// Opens the store for writing, makes it if there is none, and starts its thread.
    pub fn open(settings: &Settings, origin: &Origin) -> Result<Self, StoreError> {
        let (mut keeper, gap) = Keeper::open(settings, origin)?;
        let shared = Arc::new(Shared {
            queue: Queue::default(),
            told: Mutex::new(Told {
                recording: Recording::On,
                last_row: keeper.last_row(),
                written: 0,
                rolled_up: 0,
                unwritten: 0,
                findings_lost: 0,
                finding_changes: keeper.finding_changes(),
                last_checkpoint: None,
            }),
            taken: Mutex::default(),
            suppressions: keeper.suppressions(),
            directory: settings.directory.clone(),
            public_key: keeper.public_key(),
        });
        let writer = Writer { shared };
        let in_flight = InFlight::create(&settings.directory)?;
        let flight = Flight { boot: origin.boot_id.clone(), run: keeper.run_number(), ..Flight::default() };
        let of_thread = writer.clone();
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || {
                keeper.run(&of_thread.shared.queue, |keeper| of_thread.tell(keeper));
                of_thread.shared.queue.shut();
            })
            .map_err(|source| StoreError::File {
                what: "start a thread for",
                path: settings.directory.clone(),
                source,
            })?;
        Ok(Self { writer, thread: Some(thread), in_flight, flight, gap })
    }

    /// A handle for writing.
    #[must_use]
    pub fn writer(&self) -> Writer {
        self.writer.clone()
    }

    /// Notes how far things are, so that the gap can be counted should this process be killed: `lanes` are the last
    /// sequences that were read. One small write, without waiting for the disk.
    pub fn note_progress(&mut self, lanes: impl IntoIterator<Item = (u32, u64)>) -> Result<(), StoreError> {
        self.flight.given = self.writer.given();
        self.flight.lanes.clear();
        self.flight.lanes.extend(lanes);
        self.in_flight.note(&self.flight)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.writer.shared.queue.close();
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has been told on standard error.
            let _ = thread.join();
        }
    }
}

impl Writer {
    /// Records an event. Never blocks; what does not fit is counted.
    pub fn event(&self, event: Event) {
        self.shared.queue.event(event);
    }

    /// Records a finding, new or repeated. Never blocks.
    pub fn finding(&self, finding: &Finding) {
        self.shared.queue.finding(finding);
    }

    /// Records what an operator did and carries out what concerns findings. Blocks until it is on the disk, or for
    /// some seconds.
    pub fn act(&self, actor: Actor, act: Act) -> Result<ActReceipt, StoreError> {
        let (answer, answers) = mpsc::sync_channel(1);
        self.shared.queue.order(Order::Act(actor, act, answer))?;
        wait(&answers)
    }

    /// Records what an operator did, in its turn; nobody waits. For what is too frequent to be waited for.
    pub fn note(&self, actor: Actor, act: Act) -> Result<(), StoreError> {
        let (answer, _) = mpsc::sync_channel(1);
        self.shared.queue.order(Order::Act(actor, act, answer))
    }

    /// Writes everything that was given before and says where it ends. `waiting`: with the repeats that are no rows
    /// yet.
    pub fn seam(&self, waiting: bool) -> Result<Seam, StoreError> {
        let (answer, answers) = mpsc::sync_channel(1);
        self.shared.queue.order(Order::Seam { waiting, answer })?;
        wait(&answers)
    }

    /// True when an operator does not want `finding` told now.
    #[must_use]
    pub fn suppresses(&self, finding: &Finding) -> bool {
        self.shared.suppressions.hold(finding)
    }

    /// Grows with each change of any finding: what is to be told to who follows.
    #[must_use]
    pub fn finding_changes(&self) -> u64 {
        self.shared.told.lock().unwrap_or_else(PoisonError::into_inner).finding_changes
    }

    /// Notes how far `sink` has read `stream` (`events`: a row; `findings`: a change; `journal`: an entry).
    pub fn advance(&self, sink: &str, stream: &str, position: u64) -> Result<(), StoreError> {
        let (answer, answers) = mpsc::sync_channel(1);
        let (sink, stream) = (sink.to_owned(), stream.to_owned());
        self.shared.queue.order(Order::Cursor { sink, stream, position, answer })?;
        wait(&answers)
    }

    /// Waits until everything that was given before is written.
    pub fn flush(&self) -> Result<(), StoreError> {
        let (answer, answers) = mpsc::sync_channel(1);
        self.shared.queue.order(Order::Flush(answer))?;
        wait(&answers)
    }

    /// Events given so far, those that did not fit left out.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.shared.queue.level().given
    }

    /// What was lost since this was asked last.
    #[must_use]
    pub fn take_losses(&self) -> StoreLosses {
        let level = self.shared.queue.level();
        let (unwritten, findings) = {
            let told = self.shared.told.lock().unwrap_or_else(PoisonError::into_inner);
            (told.unwritten, told.findings_lost)
        };
        let now =
            StoreLosses { queue: level.overflow, unwritten, findings: level.findings_overflow + findings };
        let mut taken = self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = StoreLosses {
            queue: now.queue - taken.queue,
            unwritten: now.unwritten - taken.unwritten,
            findings: now.findings - taken.findings,
        };
        *taken = now;
        fresh
    }

    /// Where the store is, for [`super::Reader::open`].
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.shared.directory
    }

    /// What the store says of itself.
    #[must_use]
    pub fn status(&self) -> Status {
        let level = self.shared.queue.level();
        let days = files::days(&self.shared.directory).unwrap_or_default();
        let findings = files::bytes(&self.shared.directory.join(files::FINDINGS_FILE));
        let told = self.shared.told.lock().unwrap_or_else(PoisonError::into_inner);
        Status {
            directory: self.shared.directory.display().to_string(),
            recording: told.recording.clone(),
            bytes: days.iter().map(|day| day.bytes).sum::<u64>() + findings,
            days,
            last_row: told.last_row,
            queue_events: level.events,
            queue_bytes: level.bytes,
            written: told.written,
            rolled_up: told.rolled_up,
            overflow: level.overflow,
            unwritten: told.unwritten,
            last_checkpoint: told.last_checkpoint,
            public_key: self.shared.public_key.clone(),
        }
    }

    fn tell(&self, keeper: &Keeper) {
        let mut told = self.shared.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told = Told {
            recording: keeper.recording(),
            last_row: keeper.last_row(),
            written: keeper.written(),
            rolled_up: keeper.rolled_up(),
            unwritten: keeper.unwritten(),
            findings_lost: keeper.findings_lost,
            finding_changes: keeper.finding_changes(),
            last_checkpoint: keeper.last_checkpoint(),
        };
    }
}

fn wait<T>(answers: &mpsc::Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
    match answers.recv_timeout(ANSWER_WITHIN) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => Err(StoreError::NoAnswer("it is too busy. Try again")),
        Err(RecvTimeoutError::Disconnected) => Err(StoreError::NoAnswer("it has ended")),
    }
}
