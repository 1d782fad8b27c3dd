//! The tables, their versions, and how databases are opened.

use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};

use super::StoreError;

/// `mcpm`, so that `file(1)` and we can tell our databases from others.
const APPLICATION_ID: i32 = 0x6d63_706d;
/// Pages that one connection keeps, in KiB.
const CACHE_KIB: i64 = 8 * 1024;

/// A kind of database: what made it what it is, one step a version.
#[derive(Debug)]
pub(super) struct Schema {
    migrations: &'static [&'static str],
}

impl Schema {
    pub(super) const fn version(&self) -> u32 {
        // There are not 2^32 migrations.
        #[allow(clippy::cast_possible_truncation, reason = "a handful")]
        let version = self.migrations.len() as u32;
        version
    }
}

/// The events of a day. Numbers stand for texts; lines are kept in compressed batches.
pub(super) const EVENTS: Schema = Schema {
    migrations: &[
        "CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
         CREATE TABLE words(id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
         CREATE TABLE paths(id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
         CREATE TABLE destinations(id INTEGER PRIMARY KEY, text TEXT NOT NULL, address TEXT NOT NULL, name TEXT NOT NULL,
             port INTEGER NOT NULL, UNIQUE(address, name, port));
         CREATE TABLE instances(id INTEGER PRIMARY KEY, workload TEXT NOT NULL, instance TEXT NOT NULL,
             kind TEXT NOT NULL, name TEXT NOT NULL, client TEXT, parent TEXT, UNIQUE(instance, workload));
         CREATE TABLE processes(id INTEGER PRIMARY KEY, instance INTEGER NOT NULL, boot INTEGER NOT NULL,
             pid INTEGER NOT NULL, start INTEGER NOT NULL, exec_id INTEGER NOT NULL, exe TEXT NOT NULL, args TEXT,
             uid INTEGER NOT NULL, user TEXT, container TEXT, parent_pid INTEGER, parent_start INTEGER,
             UNIQUE(pid, start, exec_id, uid, instance, boot));
         CREATE TABLE lineage(pid INTEGER NOT NULL, start INTEGER NOT NULL, boot INTEGER NOT NULL,
             parent_pid INTEGER NOT NULL, parent_start INTEGER NOT NULL, PRIMARY KEY(pid, start, boot)) WITHOUT ROWID;
         CREATE INDEX lineage_children ON lineage(parent_pid, parent_start, boot);
         CREATE TABLE dictionaries(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
         CREATE TABLE batches(first_row INTEGER PRIMARY KEY, last_row INTEGER NOT NULL, min_time INTEGER NOT NULL,
             max_time INTEGER NOT NULL, previous BLOB NOT NULL, hash BLOB NOT NULL, dictionary INTEGER,
             marks BLOB NOT NULL, data BLOB NOT NULL);
         CREATE INDEX batches_time ON batches(max_time, min_time);
         CREATE TABLE checkpoints(row INTEGER PRIMARY KEY, time INTEGER NOT NULL, hash BLOB NOT NULL,
             signature BLOB NOT NULL);
         CREATE TABLE progress(run INTEGER PRIMARY KEY, time INTEGER NOT NULL, durable INTEGER NOT NULL,
             lanes BLOB NOT NULL);
         CREATE TABLE events(row INTEGER PRIMARY KEY, time INTEGER NOT NULL, instance INTEGER NOT NULL,
             process INTEGER NOT NULL, kind INTEGER NOT NULL, verdict INTEGER NOT NULL, rule INTEGER, path INTEGER,
             target INTEGER, destination INTEGER, count INTEGER NOT NULL, bytes_sent INTEGER, bytes_received INTEGER);
         CREATE INDEX events_instance ON events(instance);
         CREATE INDEX events_process ON events(process);
         CREATE INDEX events_verdict ON events(verdict) WHERE verdict >= 2;
         CREATE INDEX events_rule ON events(rule) WHERE rule IS NOT NULL;
         CREATE INDEX events_path ON events(path) WHERE path IS NOT NULL;
         CREATE INDEX events_target ON events(target) WHERE target IS NOT NULL;
         CREATE INDEX events_destination ON events(destination) WHERE destination IS NOT NULL;",
        "CREATE INDEX events_bytes ON events(destination, instance, bytes_sent, bytes_received)
             WHERE bytes_sent IS NOT NULL;",
    ],
};

/// Findings, journal, anchors of the days, cursors of sinks.
pub(super) const FINDINGS: Schema = Schema {
    migrations: &[
        "CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
         CREATE TABLE journal(entry INTEGER PRIMARY KEY, time INTEGER NOT NULL, line TEXT NOT NULL, hash BLOB NOT NULL);
         CREATE TABLE checkpoints(entry INTEGER PRIMARY KEY, time INTEGER NOT NULL, hash BLOB NOT NULL,
             signature BLOB NOT NULL);
         CREATE TABLE heads(chain TEXT PRIMARY KEY, row INTEGER NOT NULL, time INTEGER NOT NULL, hash BLOB NOT NULL,
             signature BLOB NOT NULL) WITHOUT ROWID;
         CREATE TABLE findings(id TEXT PRIMARY KEY, change INTEGER NOT NULL, entry INTEGER NOT NULL, rule TEXT NOT NULL,
             severity INTEGER NOT NULL, state TEXT NOT NULL, workload TEXT NOT NULL, workload_name TEXT NOT NULL,
             instance TEXT NOT NULL, uid INTEGER NOT NULL, first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL,
             count INTEGER NOT NULL, likeness TEXT NOT NULL, line TEXT NOT NULL, handling TEXT) WITHOUT ROWID;
         CREATE INDEX findings_change ON findings(change);
         CREATE INDEX findings_last ON findings(last_seen);
         CREATE INDEX findings_workload ON findings(workload, last_seen);
         CREATE TABLE suppressions(likeness TEXT PRIMARY KEY, finding TEXT NOT NULL, until INTEGER NOT NULL,
             handling TEXT NOT NULL) WITHOUT ROWID;
         CREATE TABLE files(first_row INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, previous BLOB NOT NULL);
         CREATE TABLE runs(id INTEGER PRIMARY KEY, boot TEXT NOT NULL, started INTEGER NOT NULL, ended INTEGER);
         CREATE TABLE cursors(sink TEXT NOT NULL, stream TEXT NOT NULL, position INTEGER NOT NULL, time INTEGER NOT NULL,
             PRIMARY KEY(sink, stream)) WITHOUT ROWID;",
    ],
};

/// Opens the database at `path` for writing, makes it if it is not there, and brings an older one up to date.
pub(super) fn open(path: &Path, schema: &Schema, durable: bool) -> Result<Connection, StoreError> {
    // Made here and not by SQLite, so that its mode is right from the first moment; the log and the shared memory
    // get the mode of the database.
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(|source| StoreError::File { what: "open the database", path: path.into(), source })?;
    let failed = database("open the database", path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(&failed)?;
    prepare(&connection).map_err(|error| not_a_store(path, error))?;
    let found = check(&connection, path, schema)?;
    // `FULL` waits for the disk at each commit: for what must outlive a loss of power.
    let synchronous = if durable { "FULL" } else { "NORMAL" };
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; PRAGMA wal_autocheckpoint=2000;
             PRAGMA journal_size_limit=67108864;"
        ))
        .map_err(&failed)?;
    if found < schema.version() {
        migrate(&mut connection, schema, found).map_err(database("bring the database up to date", path))?;
    }
    Ok(connection)
}

fn migrate(connection: &mut Connection, schema: &Schema, found: u32) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for step in schema.migrations.iter().skip(found as usize) {
        transaction.execute_batch(step)?;
    }
    transaction.execute_batch(&format!(
        "PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={};",
        schema.version()
    ))?;
    transaction.commit()
}

/// Opens the database at `path` for reading, while somebody may write to it.
pub(super) fn open_read(path: &Path, schema: &Schema) -> Result<Connection, StoreError> {
    match std::fs::File::open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::Missing { path: path.into() });
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(StoreError::NotPermitted { path: path.into() });
        }
        Err(source) => {
            return Err(StoreError::File { what: "open the database", path: path.into(), source });
        }
    }
    let failed = database("open the database", path);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(&failed)?;
    let usable = prepare(&connection)
        .and_then(|()| connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())));
    let connection = match usable {
        Ok(()) => connection,
        // A database in WAL mode needs its log beside it, which a read-only place refuses: nobody writes there.
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen) => {
            let uri = format!("file:{}?immutable=1", percent(path));
            let connection =
                Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI).map_err(&failed)?;
            prepare(&connection).map_err(&failed)?;
            connection
        }
        Err(error) => return Err(not_a_store(path, error)),
    };
    let found = check(&connection, path, schema)?;
    if found == 0 {
        return Err(StoreError::NotAStore { path: path.into() });
    }
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // The schema of a foreign file must not make functions run.
    connection.pragma_update(None, "trusted_schema", false)
}

fn check(connection: &Connection, path: &Path, schema: &Schema) -> Result<u32, StoreError> {
    let number = |pragma: &str| {
        connection
            .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0))
            .map_err(|error| not_a_store(path, error))
    };
    let found = u32::try_from(number("user_version")?).unwrap_or(u32::MAX);
    let application = number("application_id")?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| not_a_store(path, error))?;
    if tables > 0 && application != i64::from(APPLICATION_ID) {
        return Err(StoreError::NotAStore { path: path.into() });
    }
    if found > schema.version() {
        return Err(StoreError::Newer { path: path.into(), found, known: schema.version() });
    }
    Ok(found)
}

fn not_a_store(path: &Path, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => StoreError::NotAStore { path: path.into() },
        _ => database("open the database", path)(error),
    }
}

fn percent(path: &Path) -> String {
    use std::{fmt::Write as _, os::unix::ffi::OsStrExt as _};
    let mut text = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// For `map_err`.
pub(super) fn database(what: &'static str, path: &Path) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Database { what, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn an_older_schema_is_brought_up_to_date() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events-2026-11-20.db");
        let older = Schema { migrations: &EVENTS.migrations[..1] };
        open(&path, &older, false).unwrap().execute("INSERT INTO words(text) VALUES ('open')", []).unwrap();
        let connection = open(&path, &EVENTS, false).unwrap();
        let index = "SELECT count(*) FROM sqlite_schema WHERE name = 'events_bytes'";
        assert_eq!(connection.query_row(index, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
        let word: String = connection.query_row("SELECT text FROM words", [], |row| row.get(0)).unwrap();
        assert_eq!(word, "open");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_newer_schema_is_refused_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("findings.db");
        let connection = open(&path, &FINDINGS, true).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        let message = open(&path, &FINDINGS, true).unwrap_err().to_string();
        assert!(message.contains("schema 99") && message.contains("up to 1"), "{message}");
        assert!(matches!(open_read(&path, &FINDINGS), Err(StoreError::Newer { found: 99, .. })));
    }

    #[test]
    fn what_is_not_ours_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let text = directory.path().join("text.db");
        std::fs::write(&text, "this is no database at all, but long enough to look at ".repeat(40)).unwrap();
        assert!(matches!(open(&text, &EVENTS, false), Err(StoreError::NotAStore { .. })));
        let other = directory.path().join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
        assert!(matches!(open(&other, &EVENTS, false), Err(StoreError::NotAStore { .. })));
        assert!(matches!(open_read(&other, &EVENTS), Err(StoreError::NotAStore { .. })));
        let missing = directory.path().join("missing.db");
        assert!(matches!(open_read(&missing, &EVENTS), Err(StoreError::Missing { .. })));
        assert!(!missing.exists());
    }
}
