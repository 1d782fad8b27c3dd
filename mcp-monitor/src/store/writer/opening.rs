//! What is found out and noted when a store is opened: who else writes, where to go on, and how the last run ended.

use std::{fs, io, os::unix::fs::OpenOptionsExt as _};

use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};

use super::{
    super::{
        Settings, StoreError,
        chain::Digest,
        columns,
        files::{self, DayFile},
        journal::{InFlight, Journal, Word},
        schema::{self, database},
        segment::{Progress, Segment},
    },
    keeper::Gap,
};
use crate::render::Origin;

/// Who writes here: one process at a time.
pub(super) fn lock(settings: &Settings) -> Result<Flock<fs::File>, StoreError> {
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
pub(super) fn open_or_put_aside(
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
pub(super) fn earlier_run(journal: &Journal) -> Result<Option<(i64, String)>, StoreError> {
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
pub(super) fn gap(
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

pub(super) fn begin_run(journal: &mut Journal, origin: &Origin, now: Timestamp) -> Result<i64, StoreError> {
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
