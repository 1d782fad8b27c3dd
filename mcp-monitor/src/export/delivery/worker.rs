//! One sink's thread: read, filter, offer, retry, quarantine, commit.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use jiff::{SignedDuration, Timestamp};

use super::{
    Board, DeadLetters, DeliveryError, Letter, SinkStatus, State, Stop, Talk, dead_letter_path,
    digest::Collector, state_path,
};
use crate::{
    event::{Severity, escape},
    export::{
        config::{self, SinkConfig},
        filter::Limit,
        heartbeat::{self, Beat, Pulse},
        record::Record,
        redact::Redactor,
        sink::{self, Failure, Sink, Taken, shortened},
        source::{Row, Source},
    },
};

/// Rows that are read at once.
const ROWS: usize = 1000;
/// Records of one request unless configured.
const BATCH_RECORDS: usize = 500;
/// Bytes of lines in one request.
const BATCH_BYTES: usize = 2 << 20;
/// How long to wait when there is nothing.
const IDLE: Duration = Duration::from_millis(500);
/// What is remembered is on the disk this long after it came true, at most.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// The first wait after a failure; the longest is a minute.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_mins(1);
/// How the sink is, is told this often, and when something changed that soon.
const TELL_EVERY: Duration = Duration::from_secs(5);
const TELL_SOON: Duration = Duration::from_secs(1);
/// What is delivered at the end takes this long at most.
const LAST_ROUNDS_WITHIN: Duration = Duration::from_secs(3);
/// Between two digests.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// What came of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// Everything was taken or quarantined.
    Done,
    /// It is the end: the rest comes again later.
    Stopped,
}

/// See the module.
pub struct Worker {
    config: SinkConfig,
    kind: config::Kind,
    sink: Option<Box<dyn Sink>>,
    source: Box<dyn Source>,
    redactor: Redactor,
    limit: Limit,
    pub(super) state: State,
    /// `None` for a replay, which remembers nothing.
    state_path: Option<PathBuf>,
    committed: Instant,
    changed: bool,
    dead: DeadLetters,
    stop: Stop,
    talk: Talk,
    board: Board,
    pulse: Option<Pulse>,
    next_beat: Instant,
    /// When the first record of what is under way was made.
    oldest: Option<Timestamp>,
    told: Option<Instant>,
}

fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(RETRY_FIRST)
        .with_max_delay(RETRY_LONGEST)
        .without_max_times()
        .with_jitter()
        .build()
}

impl Worker {
    /// A worker that goes on where it was, or at the end of the source when it never was.
    pub fn new(
        config: SinkConfig,
        directory: &Path,
        mut source: Box<dyn Source>,
        stop: Stop,
        talk: Talk,
    ) -> Result<Self, DeliveryError> {
        let path = state_path(directory, &config.name);
        let mut state = State::read(&path)?;
        let end = source.end()?;
        // A store that was made anew counts from the beginning.
        if state.findings.is_none_or(|findings| findings > end.findings) {
            state.findings = Some(end.findings);
            state.digested = end.findings;
        }
        if state.events.is_none_or(|events| events > end.events) {
            state.events = Some(end.events);
        }
        state.digest_time.get_or_insert(Timestamp::now());
        state.write(&path)?;
        Self::with(config, directory, source, stop, talk, state, Some(path))
    }

    /// A worker that sends all of `source` again and remembers nothing, so that it disturbs none that runs.
    pub fn replay(
        config: SinkConfig,
        directory: &Path,
        source: Box<dyn Source>,
        stop: Stop,
        talk: Talk,
    ) -> Result<Self, DeliveryError> {
        let state = State {
            findings: Some(0),
            events: Some(0),
            digest_time: Some(Timestamp::now()),
            ..State::default()
        };
        Self::with(config, directory, source, stop, talk, state, None)
    }

    fn with(
        config: SinkConfig,
        directory: &Path,
        source: Box<dyn Source>,
        stop: Stop,
        talk: Talk,
        state: State,
        state_path: Option<PathBuf>,
    ) -> Result<Self, DeliveryError> {
        let wrong = |message: String| DeliveryError::Sink { sink: config.name.clone(), message };
        let kind = config.kind().map_err(|error| wrong(error.to_string()))?;
        let redactor = config.redact.compile().map_err(wrong)?;
        Ok(Self {
            limit: Limit::new(config.events_per_second),
            dead: DeadLetters::new(dead_letter_path(directory, &config.name)),
            config,
            kind,
            sink: None,
            source,
            redactor,
            state,
            state_path,
            committed: Instant::now(),
            changed: false,
            stop,
            talk,
            board: Board::default(),
            pulse: None,
            next_beat: Instant::now(),
            oldest: None,
            told: None,
        })
    }

    /// The same, telling how it is on `board`, and giving signs of life as long as `pulse` says that there is one.
    #[must_use]
    pub fn watched(self, board: Board, pulse: Option<Pulse>) -> Self {
        Self { board, pulse, ..self }
    }

    /// The sink's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// What it remembers.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Runs until it is stopped.
    pub fn run(mut self) {
        loop {
            self.beat();
            match self.round() {
                Ok(more) => {
                    self.commit(!more);
                    self.tell(!more);
                    if self.stop.wait(if more { Duration::ZERO } else { IDLE }) {
                        break;
                    }
                }
                Err(Interrupted::Stopped) => break,
                Err(Interrupted::Source(why)) => {
                    self.note_failure(&format!("the store cannot be read: {why}"));
                    if self.stop.wait(RETRY_LONGEST.min(Duration::from_secs(5))) {
                        break;
                    }
                }
            }
        }
        self.last_rounds();
        self.commit(true);
    }

    /// What the store wrote at its own end goes now, unless the receiver is away: then it comes at the next start.
    fn last_rounds(&mut self) {
        let end = Instant::now() + LAST_ROUNDS_WITHIN;
        while self.state.failing_since.is_none() && Instant::now() < end && matches!(self.round(), Ok(true)) {
        }
    }

    /// Delivers until the source has nothing more; for a replay and for tests.
    pub fn drain(&mut self) -> Delivered {
        loop {
            match self.round() {
                Ok(true) => {}
                Ok(false) => {
                    self.commit(true);
                    return Delivered::Done;
                }
                Err(_) => {
                    self.commit(true);
                    return Delivered::Stopped;
                }
            }
        }
    }

    /// Findings first, then events, then the digest. True when there may be more.
    pub(super) fn round(&mut self) -> Result<bool, Interrupted> {
        let after = self.state.findings.unwrap_or(0);
        let rows = self.source.findings(after, ROWS).map_err(|error| Interrupted::Source(error.0))?;
        if let Some(last) = rows.last().map(|row| row.position) {
            let records = self.records(rows)?;
            self.offer(records)?;
            self.state.findings = Some(last);
            self.changed = true;
            return Ok(true);
        }
        if self.config.events {
            let after = self.state.events.unwrap_or(0);
            // Fewer at once than of findings, so that a finding never waits for long.
            let rows = self.source.events(after, ROWS).map_err(|error| Interrupted::Source(error.0))?;
            if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
                if self.source.events_are_dense() {
                    self.state.dropped_age += first.position.saturating_sub(after + 1);
                }
                let last = last.position;
                let records = self.records(rows)?;
                self.offer(records)?;
                self.state.events = Some(last);
                self.changed = true;
                return Ok(true);
            }
        }
        self.digest()?;
        Ok(false)
    }

    /// Reads, filters and redacts rows.
    fn records(&mut self, rows: Vec<Row>) -> Result<Vec<Record>, Interrupted> {
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let read = self
                .redactor
                .line(&row.line)
                .ok_or_else(|| "not JSON".to_owned())
                .and_then(|line| Record::parse(&line).map_err(|error| error.to_string()));
            match read {
                Ok(record) => {
                    if self.passes(&record) {
                        records.push(record);
                    }
                }
                Err(why) => self.quarantine("", "", &format!("row {}: {why}", row.position))?,
            }
        }
        Ok(records)
    }

    fn least(&self) -> Option<Severity> {
        self.kind.is_for_people().then_some(Severity::High)
    }

    fn passes(&mut self, record: &Record) -> bool {
        if !self.config.filter.concerns(record) {
            return false;
        }
        if self.config.filter.is_below(record, self.least()) {
            self.state.below += 1;
            return false;
        }
        if !record.is_finding() && !self.limit.admits(record.time()) {
            self.state.dropped_rate += 1;
            return false;
        }
        true
    }

    /// Offers records until each is taken or quarantined.
    fn offer(&mut self, records: Vec<Record>) -> Result<(), Interrupted> {
        self.oldest = records.first().map(Record::time);
        let most = self.config.batch.unwrap_or(BATCH_RECORDS);
        let mut batches = VecDeque::new();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for record in records {
            if !batch.is_empty() && (batch.len() >= most || bytes + record.line().len() > BATCH_BYTES) {
                batches.push_back(std::mem::take(&mut batch));
                bytes = 0;
            }
            bytes += record.line().len();
            batch.push(record);
        }
        if !batch.is_empty() {
            batches.push_back(batch);
        }
        let mut waits = backoff();
        while let Some(batch) = batches.pop_front() {
            self.oldest = batch.first().map(Record::time);
            match self.attempt(&batch) {
                Ok(taken) => {
                    let Taken { rejected, again, after, refused, why } = taken;
                    let sent = batch.len().saturating_sub(rejected.len() + again.len() + refused);
                    if refused > 0 {
                        let ids: Vec<_> = batch.iter().map(Record::delivery_id).collect();
                        let answer = why.as_deref().unwrap_or("a part was not kept");
                        self.quarantine_some(refused as u64, &ids.join(" "), answer)?;
                    }
                    self.state.sent += sent as u64;
                    self.changed = true;
                    for (place, answer) in &rejected {
                        if let Some(record) = batch.get(*place) {
                            self.quarantine(record.delivery_id(), record.line(), answer)?;
                        }
                    }
                    let rest: Vec<_> = again.iter().filter_map(|place| batch.get(*place).cloned()).collect();
                    if rest.is_empty() {
                        self.note_success();
                        waits = backoff();
                        continue;
                    }
                    if sent > 0 || !rejected.is_empty() {
                        waits = backoff();
                    }
                    batches.push_front(rest);
                    // A wrong one was taken out: the others may come at once.
                    if rejected.is_empty() || after.is_some() {
                        self.pause(&mut waits, after, why.as_deref().unwrap_or("took a part"))?;
                    } else {
                        self.state.retried += 1;
                    }
                }
                Err(Failure::Later { why, after }) => {
                    // Opened anew for the next attempt: a token or certificate may have been replaced.
                    self.sink = None;
                    batches.push_front(batch);
                    self.pause(&mut waits, after, &why)?;
                }
                Err(Failure::Never { why }) if batch.len() == 1 => {
                    self.quarantine(batch[0].delivery_id(), batch[0].line(), &why)?;
                }
                Err(Failure::Never { .. }) => {
                    // Which one is wrong, or whether they are too many, shows by halves.
                    let (first, second) = batch.split_at(batch.len() / 2);
                    batches.push_front(second.to_vec());
                    batches.push_front(first.to_vec());
                    self.state.retried += 1;
                }
            }
        }
        self.oldest = None;
        Ok(())
    }

    fn attempt(&mut self, batch: &[Record]) -> Result<Taken, Failure> {
        if self.sink.is_none() {
            self.sink = Some(sink::open(&self.config).map_err(Failure::later)?);
        }
        match &mut self.sink {
            Some(sink) => sink.deliver(batch),
            None => Err(Failure::later("not open")),
        }
    }

    fn pause(
        &mut self,
        waits: &mut ExponentialBackoff,
        after: Option<Duration>,
        why: &str,
    ) -> Result<(), Interrupted> {
        self.state.retried += 1;
        self.note_failure(why);
        self.commit(true);
        let wait = waits.next().unwrap_or(RETRY_LONGEST).max(after.unwrap_or_default());
        let end = Instant::now() + wait;
        loop {
            self.tell(true);
            let left = end.saturating_duration_since(Instant::now());
            if self.stop.wait(left.min(TELL_EVERY)) {
                return Err(Interrupted::Stopped);
            }
            if left <= TELL_EVERY {
                return Ok(());
            }
        }
    }

    /// Tells how the sink is: at once when `now`, else from time to time, since it asks the source for its end.
    fn tell(&mut self, now: bool) {
        if self.told.is_some_and(|told| told.elapsed() < if now { TELL_SOON } else { TELL_EVERY }) {
            return;
        }
        self.told = Some(Instant::now());
        // A source that cannot be read is told as a failure where records are read.
        let end = self.source.end().unwrap_or_default();
        let waits = |end: u64, done: Option<u64>| end.saturating_sub(done.unwrap_or(end));
        self.board.tell(
            &self.config.name,
            SinkStatus {
                kind: self.kind.name(),
                state: self.state.clone(),
                waiting_findings: waits(end.findings, self.state.findings),
                waiting_events: if self.config.events { waits(end.events, self.state.events) } else { 0 },
                oldest: self.oldest,
            },
        );
    }

    /// A sign of life, when it is time and the monitor lives. One that is not taken is not made up for.
    fn beat(&mut self) {
        let (Some(interval), Some(pulse)) = (self.config.heartbeat(), &self.pulse) else { return };
        if Instant::now() < self.next_beat {
            return;
        }
        let Some(life) = pulse() else {
            self.next_beat = Instant::now() + IDLE;
            return;
        };
        self.next_beat = Instant::now() + interval;
        self.state.heartbeats += 1;
        self.changed = true;
        let beat = Beat {
            number: self.state.heartbeats,
            interval_seconds: interval.as_secs(),
            life,
            end: self.source.end().unwrap_or_default(),
            // The first second of a store has none.
            checkpoint: self.source.checkpoint().unwrap_or_default(),
        };
        let record = heartbeat::record(&beat).map_err(|error| error.to_string());
        let checked = record.and_then(|record| {
            let redacted = self.redactor.line(record.line()).ok_or_else(|| "not JSON".to_owned())?;
            Record::parse(&redacted).map_err(|error| error.to_string())
        });
        match checked.map(|record| self.attempt(&[record])) {
            Ok(Ok(taken)) if taken.rejected.is_empty() && taken.again.is_empty() => self.note_success(),
            Ok(Ok(taken)) => {
                let answer = taken.rejected.into_iter().map(|(_, answer)| answer).next();
                self.note_failure(&answer.or(taken.why).unwrap_or_default());
            }
            Ok(Err(Failure::Later { why, .. })) => {
                self.sink = None;
                self.note_failure(&why);
            }
            Ok(Err(Failure::Never { why })) | Err(why) => self.note_failure(&why),
        }
    }

    fn quarantine(&mut self, delivery_id: &str, line: &str, answer: &str) -> Result<(), Interrupted> {
        let letter =
            Letter { sink: &self.config.name, delivery_id, line, among: "", answer: &shortened(answer) };
        bury(&self.dead, &letter, &self.stop)?;
        self.note_rejected(1, answer);
        Ok(())
    }

    /// So many of the batch `ids`, of which nobody knows which.
    fn quarantine_some(&mut self, count: u64, ids: &str, answer: &str) -> Result<(), Interrupted> {
        let letter = Letter {
            sink: &self.config.name,
            delivery_id: "",
            line: "",
            among: ids,
            answer: &shortened(answer),
        };
        bury(&self.dead, &letter, &self.stop)?;
        self.note_rejected(count, answer);
        Ok(())
    }

    fn note_rejected(&mut self, count: u64, answer: &str) {
        self.state.rejected += count;
        self.state.last_error = Some(shortened(answer));
        self.changed = true;
    }

    fn note_success(&mut self) {
        self.state.last_success = Some(Timestamp::now());
        if self.state.failing_since.take().is_some() {
            (self.talk)(&format!("sink {}: works again", self.config.name));
        }
    }

    fn note_failure(&mut self, why: &str) {
        let first = self.state.failing_since.is_none();
        self.state.failing_since.get_or_insert(Timestamp::now());
        let why = shortened(why);
        if first {
            (self.talk)(&format!(
                "sink {}: cannot deliver, tries again: {}",
                self.config.name,
                escape(why.as_bytes())
            ));
        }
        self.state.last_error = Some(why);
        self.changed = true;
    }

    fn commit(&mut self, now: bool) {
        if self.changed && (now || self.committed.elapsed() >= COMMIT_EVERY) {
            let written = self.state_path.as_ref().map_or(Ok(()), |path| self.state.write(path));
            match written {
                Ok(()) => (self.changed, self.committed) = (false, Instant::now()),
                // What is not remembered comes again: told, and tried again at the next commit.
                Err(error) => self.state.last_error = Some(shortened(&error.to_string())),
            }
        }
    }

    /// Tells what waited for it, once a day.
    fn digest(&mut self) -> Result<(), Interrupted> {
        let wanted = match self.config.digest {
            Some(config::Digest::Daily) => true,
            Some(config::Digest::Off) => false,
            None => self.kind.is_for_people(),
        };
        let now = Timestamp::now();
        let due = self.state.digest_time.is_none_or(|last| now.duration_since(last) >= DAY);
        if !wanted || !due {
            return Ok(());
        }
        let mut collector = Collector::default();
        let until = self.state.findings.unwrap_or(0);
        let mut after = self.state.digested;
        loop {
            let rows = self.source.findings(after, ROWS).map_err(|error| Interrupted::Source(error.0))?;
            let Some(last) = rows.last().map(|row| row.position) else { break };
            for row in rows.into_iter().filter(|row| row.position <= until) {
                let line = self.redactor.line(&row.line);
                if let Some(record) = line.and_then(|line| Record::parse(&line).ok())
                    && self.config.filter.concerns(&record)
                    && self.config.filter.is_below(&record, self.least())
                {
                    collector.add(&record);
                }
            }
            after = last;
            if after >= until {
                break;
            }
        }
        if let Some(digest) = collector.finish() {
            let mut waits = backoff();
            while let Err(failure) = self.attempt_digest(&digest) {
                self.sink = None;
                match failure {
                    Failure::Later { why, after } => self.pause(&mut waits, after, &why)?,
                    Failure::Never { why } => {
                        self.quarantine("", &digest.text(), &why)?;
                        break;
                    }
                }
            }
            self.note_success();
        }
        (self.state.digested, self.state.digest_time) = (until, Some(now));
        self.changed = true;
        Ok(())
    }

    fn attempt_digest(&mut self, digest: &super::Digest) -> Result<(), Failure> {
        if self.sink.is_none() {
            self.sink = Some(sink::open(&self.config).map_err(Failure::later)?);
        }
        match &mut self.sink {
            Some(sink) => sink.digest(digest),
            None => Err(Failure::later("not open")),
        }
    }
}

/// Where even the dead letter cannot be written, nothing is passed over: it is tried until it can.
fn bury(dead: &DeadLetters, letter: &Letter<'_>, stop: &Stop) -> Result<(), Interrupted> {
    while dead.add(letter).is_err() {
        if stop.wait(Duration::from_secs(5)) {
            return Err(Interrupted::Stopped);
        }
    }
    Ok(())
}

/// Why a round did not end.
pub(super) enum Interrupted {
    Stopped,
    Source(String),
}
