//! What the store's thread keeps: the file being written, the journal, and what to do when there is no room.

use std::{
    collections::HashMap,
    fs, io,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{Timestamp, tz::TimeZone};
use nix::fcntl::Flock;

use super::{
    super::{
        Act, ActReceipt, Actor, Recording, Settings, StoreError,
        chain::{Chain, Digest, Key},
        columns::{self, Columns},
        files::{self, DayFile},
        journal::{self, Journal, Word},
        pseudonym::Pseudonyms,
        queue::{Order, Queue, Taken},
        roll_up::{RollUp, Weighed},
        schema::database,
        segment::{Progress, Segment},
    },
    acts,
    opening::{begin_run, earlier_run, gap, lock, open_or_put_aside},
    seam::Seam,
    suppressions::Suppressions,
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
    pub(super) segment: Segment,
    pub(super) key: Arc<Key>,
    pub(super) pseudonyms: Option<Arc<Pseudonyms>>,
    suppressions: Arc<Suppressions>,
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
    pub(super) last_retention: Instant,
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
        let pseudonyms =
            settings.pseudonyms.then(|| Pseudonyms::open_or_make(directory)).transpose()?.map(Arc::new);
        let suppressions = Arc::new(Suppressions::new(origin.clone(), pseudonyms.clone()));
        suppressions.load(&journal)?;
        let mut keeper = Self {
            settings: settings.clone(),
            origin: origin.clone(),
            _lock: lock,
            journal,
            segment,
            key,
            pseudonyms,
            suppressions,
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

    /// What is not to be told, for those who tell.
    pub(super) fn suppressions(&self) -> Arc<Suppressions> {
        Arc::clone(&self.suppressions)
    }

    /// Grows with each change of any finding.
    pub(super) fn finding_changes(&self) -> u64 {
        self.journal.changes()
    }

    /// The number of this run.
    pub(super) fn run_number(&self) -> i64 {
        self.run
    }

    /// Writes until the queue is closed; `tell` is called after each turn.
    pub(super) fn run(&mut self, queue: &Queue, mut tell: impl FnMut(&Self)) {
        loop {
            let until = self.settings.flush_every.saturating_sub(self.last_flush.elapsed());
            let Taken { events, findings, orders, offered, closing } =
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
                self.order(order, offered);
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

    fn order(&mut self, order: Order, offered: u64) {
        let records = || match &self.recording {
            Recording::Stopped { .. } => Err(StoreError::NoAnswer("recording has stopped")),
            _ => Ok(()),
        };
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
                let _ = answer.send(records());
            }
            Order::Seam { waiting, answer } => {
                let seam = records().map(|()| Seam {
                    offered,
                    waiting: if waiting { self.roll_up.waiting() } else { Vec::new() },
                    pseudonyms: self.pseudonyms.clone(),
                });
                let _ = answer.send(seam);
            }
        }
    }

    fn act(&mut self, actor: Actor, act: Act) -> Result<ActReceipt, StoreError> {
        let time = Timestamp::now();
        let concerns_findings = act.concerns_findings();
        let entry = acts::act(&mut self.journal, time, actor, act)?;
        if concerns_findings {
            self.suppressions.load(&self.journal)?;
        }
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
