//! What the store's thread keeps: the file being written, the journal, and what to do when there is no room.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use nix::fcntl::{Flock, FlockArg};

use super::super::{
    Act, ActReceipt, Actor, Recording, Settings, StoreError,
    chain::{Chain, Digest, Key},
    columns::{self, Columns},
    files::{self, DayFile},
    journal::{self, InFlight, Journal, Word},
    pseudonym::Pseudonyms,
    queue::{Order, Queue, Taken},
    roll_up::{RollUp, Weighed},
    schema::{self, database},
    segment::{Progress, Segment, store_checkpoint},
};
use crate::{
    event::{Event, Finding},
    host::clock::Clock,
    render::{Origin, json},
};

/// Rows of one transaction at most.
const ROWS_PER_TRANSACTION: usize = 4096;
/// Signed ends of the rows are kept this seldom; the very last end is always signed.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);
/// How soon a store that had to stop tries again.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How often too old files are looked for.
const RETAIN_EVERY: Duration = Duration::from_mins(10);
/// A file this much of the bound on all files is followed by another one of the same day.
const PARTS: u64 = 8;

/// What an earlier run had taken in and did not store since it was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Events that were given to the store.
    pub events: u64,
    /// Records that were read from the kernel after the last one that was stored.
    pub records: u64,
    /// When it stored the last time. What happened between then and now was not seen, or was lost.
    pub last_stored: Timestamp,
}

/// See the module.
pub(super) struct Keeper {
    pub(super) settings: Settings,
    pub(super) origin: Origin,
    _lock: Flock<fs::File>,
    pub(super) journal: Journal,
    segment: Segment,
    key: Arc<Key>,
    pub(super) pseudonyms: Option<Pseudonyms>,
    run: i64,
    roll_up: RollUp,
    rows: Vec<Weighed>,
    lines: Vec<String>,
    /// Of `lines`: how many given events they stand for, and the records they came from.
    weights: Vec<(u64, u32, u64)>,
    progress: Progress,
    pub(super) findings: HashMap<String, Finding>,
    pub(super) findings_lost: u64,
    recording: Recording,
    stopped_unwritten: u64,
    retry_at: Instant,
    pub(super) last_flush: Instant,
    last_checkpoint: Option<(Instant, Timestamp)>,
    last_retention: Instant,
    written: u64,
    unwritten: u64,
}

impl Keeper {
    /// Opens everything, and finds out how an earlier run ended.
    pub(super) fn open(settings: &Settings, origin: &Origin) -> Result<(Self, Option<Gap>), StoreError> {
        let directory = &settings.directory;
        files::make_directory(directory)?;
        let lock = lock(settings)?;
        let mut journal = Journal::open(directory)?;
        let key = Arc::clone(&journal.key);
        let now = Timestamp::now();
        let head = journal::head(&journal.connection, Chain::Events)
            .map_err(database("read the end of the rows", &journal.path))?;
        let (head_row, head_hash) = head.map_or((0, Digest::default()), |head| (head.row, head.hash));
        let earlier = earlier_run(&journal)?;
        let file = files::list(directory)?.pop();
        let today = DayFile { date: now.to_zoned(TimeZone::UTC).date(), part: 1 };
        let file = file.map_or(today, |newest| newest.max(today));
        let mut segment = open_or_put_aside(settings, &mut journal, file, head_row, head_hash)?;
        if segment.last_row() < head_row {
            let power = earlier.as_ref().is_some_and(|(_, boot)| *boot != origin.boot_id);
            let from = segment.last_row() + 1;
            journal.say(now, Word::Lost { from, through: head_row, power })?;
            segment.skip_to(head_row);
        }
        let gap = match earlier {
            Some((run, boot)) => Some(gap(settings, &mut journal, run, &boot, now)?),
            None => None,
        };
        let run = begin_run(&mut journal, origin, now)?;
        let pseudonyms = settings.pseudonyms.then(|| Pseudonyms::open_or_make(directory)).transpose()?;
        let mut keeper = Self {
            settings: settings.clone(),
            origin: origin.clone(),
            _lock: lock,
            journal,
            segment,
            key,
            pseudonyms,
            run,
            roll_up: RollUp::default(),
            rows: Vec::new(),
            lines: Vec::new(),
            weights: Vec::new(),
            progress: Progress::default(),
            findings: HashMap::new(),
            findings_lost: 0,
            recording: Recording::On,
            stopped_unwritten: 0,
            retry_at: Instant::now(),
            last_flush: Instant::now(),
            last_checkpoint: None,
            last_retention: Instant::now(),
            written: 0,
            unwritten: 0,
        };
        keeper.register_file(now)?;
        keeper.retain(now);
        Ok((keeper, gap))
    }

    pub(super) fn last_row(&self) -> u64 {
        self.segment.last_row()
    }

    pub(super) fn public_key(&self) -> String {
        self.key.public().to_string()
    }

    pub(super) fn recording(&self) -> Recording {
        self.recording.clone()
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn rolled_up(&self) -> u64 {
        self.roll_up.rolled_up()
    }

    pub(super) fn unwritten(&self) -> u64 {
        self.unwritten
    }

    pub(super) fn last_checkpoint(&self) -> Option<Timestamp> {
        self.last_checkpoint.map(|(_, time)| time)
    }

    /// The number of this run.
    pub(super) fn run_number(&self) -> i64 {
        self.run
    }

    /// Writes until the queue is closed; `tell` is called after each turn.
    pub(super) fn run(&mut self, queue: &Queue, mut tell: impl FnMut(&Self)) {
        loop {
            let until = self.settings.flush_every.saturating_sub(self.last_flush.elapsed());
            let Taken { events, findings, orders, closing } =
                queue.take(until.max(Duration::from_millis(1)), ROWS_PER_TRANSACTION);
            for event in events {
                self.take(event);
            }
            self.roll_up.advance(Clock::now(), &mut self.rows);
            self.render();
            if closing {
                self.roll_up.end(&mut self.rows);
                self.render();
            }
            self.take_findings(findings);
            let due = self.last_flush.elapsed() >= self.settings.flush_every;
            if due || closing || !orders.is_empty() || self.lines.len() >= ROWS_PER_TRANSACTION / 2 {
                self.flush(Timestamp::now(), closing);
            }
            for order in orders {
                self.order(order);
            }
            tell(self);
            if closing {
                self.end(Timestamp::now());
                return;
            }
        }
    }

    fn take(&mut self, event: Event) {
        if self.settings.roll_up {
            self.roll_up.take(event, &mut self.rows);
        } else {
            self.rows.push(Weighed { event, given: 1 });
        }
    }

    fn render(&mut self) {
        let mut line = Vec::with_capacity(2048);
        for Weighed { event, given } in self.rows.drain(..) {
            line.clear();
            json::event(&mut line, &self.origin, &event);
            line.pop();
            // JSON is UTF-8 always.
            let text = String::from_utf8_lossy(&line);
            let text = match &self.pseudonyms {
                Some(pseudonyms) => pseudonyms.replace(&text),
                None => text.into_owned(),
            };
            debug_assert!(Columns::of(&text).is_some(), "{text}");
            self.lines.push(text);
            self.weights.push((given, event.lane, event.sequence));
        }
    }

    /// Events, then findings: a finding names events, which then are there.
    fn flush(&mut self, now: Timestamp, last: bool) {
        self.last_flush = Instant::now();
        if self.recording != Recording::On && self.retry_at > Instant::now() && !last {
            self.drop_lines();
            return;
        }
        let result = self.room().and_then(|()| {
            self.turn_page(now)?;
            self.store_lines(now, last)?;
            if self.recording != Recording::On {
                self.resume(now)?;
            }
            self.store_findings(now)
        });
        if let Err(error) = result {
            // Findings are small and matter most: they may still fit.
            let _ = self.store_findings(now);
            self.stop(now, &error);
            self.drop_lines();
        }
        if self.last_retention.elapsed() >= RETAIN_EVERY {
            self.retain(now);
        }
    }

    /// An error when the file system has too little room left.
    fn room(&self) -> Result<(), StoreError> {
        let directory = &self.settings.directory;
        let file_system = nix::sys::statvfs::statvfs(directory).map_err(|errno| StoreError::File {
            what: "ask for the free space of",
            path: directory.clone(),
            source: errno.into(),
        })?;
        let free = file_system.blocks_available().saturating_mul(file_system.fragment_size());
        // Going on needs a little more than stopping, so that it does not flutter.
        let needed = match self.recording {
            Recording::On => self.settings.reserve_bytes,
            _ => self.settings.reserve_bytes + self.settings.reserve_bytes / 8,
        };
        if free >= needed {
            return Ok(());
        }
        Err(StoreError::File {
            what: "record events in",
            path: directory.clone(),
            source: io::Error::new(
                io::ErrorKind::StorageFull,
                format!("only {free} bytes are free and {needed} are kept for findings. Free some space"),
            ),
        })
    }

    fn store_lines(&mut self, now: Timestamp, last: bool) -> Result<(), StoreError> {
        while !self.lines.is_empty() {
            let count = self.lines.len().min(ROWS_PER_TRANSACTION);
            let mut progress = self.progress.clone();
            for &(given, lane, sequence) in &self.weights[..count] {
                progress.durable += given;
                let known = progress.lanes.entry(lane).or_default();
                *known = (*known).max(sequence);
            }
            let due = last || self.last_checkpoint.is_none_or(|(at, _)| at.elapsed() >= CHECKPOINT_EVERY);
            let key = &self.key;
            let mut head = None;
            let before = self.segment.last_row();
            let path = self.segment.file.path(&self.settings.directory);
            self.segment
                .store(&self.lines[..count], self.run, columns::nanoseconds(now), &progress, |row, hash| {
                    let checkpoint = key.sign(Chain::Events, row, hash, now);
                    head = Some(checkpoint.clone());
                    due.then_some(checkpoint)
                })
                .map_err(database("record events", &path))?;
            self.written += self.segment.last_row() - before;
            self.progress = progress;
            self.lines.drain(..count);
            self.weights.drain(..count);
            if let Some(head) = head {
                self.journal.head(&head)?;
            }
            if due {
                self.last_checkpoint = Some((Instant::now(), now));
            }
        }
        Ok(())
    }

    fn drop_lines(&mut self) {
        let given: u64 = self.weights.iter().map(|(given, _, _)| given).sum();
        // Told as lost, and so not a gap when we are killed.
        self.progress.durable += given;
        self.unwritten += given;
        self.stopped_unwritten += given;
        self.lines.clear();
        self.weights.clear();
    }

    fn stop(&mut self, now: Timestamp, error: &StoreError) {
        self.retry_at = Instant::now() + RETRY_AFTER;
        if self.recording == Recording::On {
            let reason = error.to_string();
            // May fail for the same reason; it is told as a finding in any case.
            let _ = self.journal.say(now, Word::Stopped { reason: reason.clone() });
            self.recording = Recording::Stopped { reason, since: now };
        }
    }

    fn resume(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.journal.say(now, Word::Resumed { events_lost: self.stopped_unwritten })?;
        self.stopped_unwritten = 0;
        self.recording = Recording::On;
        Ok(())
    }

    /// Goes on to the next file when the day is over or the file is large. A clock that is set back turns no page.
    fn turn_page(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let today = now.to_zoned(TimeZone::UTC).date();
        let file = self.segment.file;
        let next = if today > file.date {
            DayFile { date: today, part: 1 }
        } else if files::bytes(&file.path(&self.settings.directory)) > self.settings.bytes / PARTS {
            DayFile { part: file.part + 1, ..file }
        } else {
            return Ok(());
        };
        self.close_file(now)?;
        let (row, hash) = (self.segment.last_row(), self.segment.hash());
        self.segment = Segment::open(&self.settings.directory, next, row, hash)?;
        self.register_file(now)?;
        self.retain(now);
        Ok(())
    }

    fn close_file(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let path = self.segment.file.path(&self.settings.directory);
        if self.segment.last_row() > 0 {
            let head = self.key.sign(Chain::Events, self.segment.last_row(), self.segment.hash(), now);
            store_checkpoint(&self.segment.connection, &head).map_err(database("sign the end of", &path))?;
            self.journal.head(&head)?;
        }
        // The log goes into the file; what cannot be done now is done by whoever opens it next.
        let _ = self.segment.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        Ok(())
    }

    /// Notes in the journal that the file belongs to the store.
    fn register_file(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let name = self.segment.file.name();
        let (first_row, previous) = (self.segment.last_row() + 1, self.segment.hash());
        let failed = database("note a file of events", &self.journal.path);
        self.journal.write(now, |draft| {
            let known = draft
                .connection
                .prepare_cached("SELECT 1 FROM files WHERE name = ?")
                .and_then(|mut statement| statement.exists([&name]))
                .map_err(&failed)?;
            if !known {
                // A part that held no row yet makes way for the one that goes on from the same row.
                draft
                    .connection
                    .execute(
                        "INSERT OR REPLACE INTO files(first_row, name, previous) VALUES (?, ?, ?)",
                        (columns::signed(first_row), &name, previous.0),
                    )
                    .map_err(&failed)?;
                draft.say(now, Word::File { name, first_row, previous }).map_err(&failed)?;
            }
            Ok(())
        })
    }

    /// Unlinks files that are too old or too many, each with an entry that says where the chain goes on.
    fn retain(&mut self, now: Timestamp) {
        self.last_retention = Instant::now();
        // What fails is tried again the next time; events are recorded meanwhile.
        let _ = self.unlink_old(now);
        if let Ok(before) = now.checked_sub(i64::from(self.settings.finding_days).saturating_mul(24).hours())
        {
            let _ = self.journal.prune(now, before);
        }
    }

    fn unlink_old(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let directory = self.settings.directory.clone();
        let today = now.to_zoned(TimeZone::UTC).date();
        let oldest = today.saturating_sub(i64::from(self.settings.days.saturating_sub(1)).days());
        let list = files::list(&directory)?;
        let mut total: u64 = list.iter().map(|file| files::bytes(&file.path(&directory))).sum();
        for file in list {
            let reason = if file == self.segment.file {
                continue;
            } else if file.date < oldest {
                format!("older than {} days", self.settings.days)
            } else if total > self.settings.bytes {
                format!("more than {} bytes", self.settings.bytes)
            } else {
                continue;
            };
            let path = file.path(&directory);
            total = total.saturating_sub(files::bytes(&path));
            let (first_row, last_row, previous, hash) = ends(&path)?;
            let name = file.name();
            // Said first: a file that is gone was announced, whenever we are killed.
            let failed = database("note that a file goes", &self.journal.path);
            self.journal.write(now, |draft| {
                draft.connection.execute("DELETE FROM files WHERE name = ?", [&name]).map_err(&failed)?;
                draft
                    .say(
                        now,
                        Word::Expired { name: name.clone(), first_row, last_row, previous, hash, reason },
                    )
                    .map_err(&failed)
            })?;
            files::unlink(&path)?;
        }
        Ok(())
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Act(actor, act, answer) => {
                let _ = answer.send(self.act(actor, act));
            }
            Order::Cursor { sink, stream, position, answer } => {
                let result = self
                    .journal
                    .connection
                    .execute(
                        "INSERT OR REPLACE INTO cursors(sink, stream, position, time) VALUES (?, ?, ?, ?)",
                        (sink, stream, columns::signed(position), columns::nanoseconds(Timestamp::now())),
                    )
                    .map(|_| ())
                    .map_err(database("note how far a sink is", &self.journal.path));
                let _ = answer.send(result);
            }
            Order::Flush(answer) => {
                let result = match &self.recording {
                    Recording::Stopped { .. } => Err(StoreError::NoAnswer("recording has stopped")),
                    _ => Ok(()),
                };
                let _ = answer.send(result);
            }
        }
    }

    fn act(&mut self, actor: Actor, act: Act) -> Result<ActReceipt, StoreError> {
        let time = Timestamp::now();
        let entry = super::findings::act(&mut self.journal, time, actor, act)?;
        Ok(ActReceipt { entry, time })
    }

    fn end(&mut self, now: Timestamp) {
        let _ = self.close_file(now);
        let run = self.run;
        let failed = database("end the run", &self.journal.path);
        let _ = self.journal.write(now, |draft| {
            draft
                .connection
                .execute("UPDATE runs SET ended = ? WHERE id = ?", (columns::nanoseconds(now), run))
                .map_err(&failed)?;
            draft.say(now, Word::Ended { run }).map_err(&failed)
        });
    }
}

/// Who writes here: one process at a time.
fn lock(settings: &Settings) -> Result<Flock<fs::File>, StoreError> {
    use io::{Read as _, Seek as _, Write as _};
    let path = settings.directory.join("lock");
    let failed = |source| StoreError::File { what: "lock", path: path.clone(), source };
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut file) => {
            // A help for people; the lock is what counts.
            let _ = file.set_len(0).and_then(|()| file.rewind());
            let _ = writeln!(file, "{}", std::process::id());
            Ok(file)
        }
        Err((mut file, _)) => {
            let mut pid = String::new();
            let _ = io::Read::by_ref(&mut file).take(20).read_to_string(&mut pid);
            let pid = pid.trim().parse::<u32>().map_or("unknown".into(), |pid| pid.to_string());
            Err(StoreError::InUse { path: settings.directory.clone(), pid })
        }
    }
}

/// Opens the file to go on in. One that cannot be read any more is put aside, with an entry, and another begun.
fn open_or_put_aside(
    settings: &Settings,
    journal: &mut Journal,
    file: DayFile,
    last_row: u64,
    hash: Digest,
) -> Result<Segment, StoreError> {
    let directory = &settings.directory;
    let error = match Segment::open(directory, file, last_row, hash) {
        Ok(segment) => return Ok(segment),
        Err(error @ (StoreError::NotAStore { .. } | StoreError::Damaged { .. })) => error,
        Err(StoreError::Database { what, path, source })
            if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt) =>
        {
            StoreError::Database { what, path, source }
        }
        Err(error) => return Err(error),
    };
    let path = file.path(directory);
    let now = Timestamp::now();
    let aside = files::beside(&path, &format!(".damaged-{}", now.as_second()));
    fs::rename(&path, &aside).map_err(|source| StoreError::File {
        what: "put aside",
        path: path.clone(),
        source,
    })?;
    // A log without its database would be taken for the next one's.
    for suffix in ["-wal", "-shm"] {
        let _ = fs::rename(files::beside(&path, suffix), files::beside(&aside, suffix));
    }
    journal.say(now, Word::Damaged { name: file.name(), what: error.to_string() })?;
    Segment::open(directory, DayFile { part: file.part + 1, ..file }, last_row, hash)
}

/// The last run, if it was not ended: its number and boot id.
fn earlier_run(journal: &Journal) -> Result<Option<(i64, String)>, StoreError> {
    use rusqlite::OptionalExtension as _;
    let last: Option<(i64, String, Option<i64>)> = journal
        .connection
        .query_row("SELECT id, boot, ended FROM runs ORDER BY id DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()
        .map_err(database("read how the last run ended", &journal.path))?;
    Ok(last.and_then(|(run, boot, ended)| ended.is_none().then_some((run, boot))))
}

/// What `run` had taken in and not stored.
fn gap(
    settings: &Settings,
    journal: &mut Journal,
    run: i64,
    boot: &str,
    now: Timestamp,
) -> Result<Gap, StoreError> {
    let mut stored = None;
    for file in files::list(&settings.directory)?.into_iter().rev().take(3) {
        let path = file.path(&settings.directory);
        let Ok(connection) = schema::open_read(&path, &schema::EVENTS) else { continue };
        stored = Segment::progress(&connection, run).map_err(database("read how far it came", &path))?;
        if stored.is_some() {
            break;
        }
    }
    let (last_stored, progress) = if let Some((time, progress)) = stored {
        (columns::timestamp(time), progress)
    } else {
        let started: i64 = journal
            .connection
            .query_row("SELECT started FROM runs WHERE id = ?", [run], |row| row.get(0))
            .map_err(database("read how far it came", &journal.path))?;
        (columns::timestamp(started), Progress::default())
    };
    let flight =
        InFlight::read(&settings.directory).filter(|flight| flight.run == run && flight.boot == boot);
    let (events, records) = flight.map_or((0, 0), |flight| {
        let records = flight
            .lanes
            .iter()
            .map(|(lane, sequence)| sequence.saturating_sub(progress.lanes.get(lane).copied().unwrap_or(0)));
        (flight.given.saturating_sub(progress.durable), records.sum())
    });
    journal.say(now, Word::Killed { run, last_stored, events_lost: events, records_lost: records })?;
    Ok(Gap { events, records, last_stored })
}

fn begin_run(journal: &mut Journal, origin: &Origin, now: Timestamp) -> Result<i64, StoreError> {
    let failed = database("begin a run", &journal.path);
    journal.write(now, |draft| {
        draft
            .connection
            .execute(
                "INSERT INTO runs(boot, started) VALUES (?, ?)",
                (&origin.boot_id, columns::nanoseconds(now)),
            )
            .map_err(&failed)?;
        let run = draft.connection.last_insert_rowid();
        let word = Word::Started { run, boot: origin.boot_id.clone(), version: origin.version.to_owned() };
        draft.say(now, word).map_err(&failed)?;
        Ok(run)
    })
}

/// First and last row of a file, the link before the first and that of the last.
fn ends(path: &std::path::Path) -> Result<(u64, u64, Digest, Digest), StoreError> {
    use rusqlite::OptionalExtension as _;
    let connection = schema::open_read(path, &schema::EVENTS)?;
    let end = |sql: &str| {
        connection
            .query_row(sql, [], |row| Ok((columns::unsigned(row.get(0)?), row.get::<_, Vec<u8>>(1)?)))
            .optional()
            .map_err(database("read its ends", path))
    };
    let first = end("SELECT first_row, previous FROM batches ORDER BY first_row LIMIT 1")?;
    let last = end("SELECT last_row, hash FROM batches ORDER BY first_row DESC LIMIT 1")?;
    let digest = |bytes: Vec<u8>| Digest::from_slice(&bytes).unwrap_or_default();
    Ok(match (first, last) {
        (Some((first_row, previous)), Some((last_row, hash))) => {
            (first_row, last_row, digest(previous), digest(hash))
        }
        _ => (0, 0, Digest::default(), Digest::default()),
    })
}
