//! Each kind of tampering, told exactly: the row, the file, the entry.

use std::{fs, io::Write as _, path::Path};

use rusqlite::Connection;
use tempfile::TempDir;

use super::{
    chain::{Chain, public_key},
    tests::{filled, open_of, origin, settings},
    *,
};
use crate::render::{json, sample};

fn day(directory: &Path) -> std::path::PathBuf {
    files::list(directory).unwrap()[0].path(directory)
}

fn change(path: &Path, sql: &str) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(sql).unwrap();
}

/// What is told, with the names of days and keys made the same on every day.
fn told(directory: &TempDir) -> String {
    let result = verify::store(directory.path(), None, None).unwrap();
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date().to_string();
    // How many checkpoints there are depends on how long the test took.
    let signatures = format!("{} signatures", result.signatures);
    assert!(result.signatures > 0);
    result
        .to_string()
        .replace(&today, "DAY")
        .replace(&result.public_key, "KEY")
        .replace(&signatures, "N signatures")
}

#[test]
fn an_untouched_store_is_good() {
    let directory = filled(1000);
    insta::assert_snapshot!(told(&directory), @r"
    checked 1000 events, 3 journal entries, N signatures
    key     KEY
    good    nothing was changed, cut off or taken out
    ");
}

#[test]
fn a_flipped_byte_is_told_with_its_row() {
    let directory = filled(100);
    // The row is rewritten within its batch, as somebody would who knows how batches are made.
    let path = day(directory.path());
    let connection = Connection::open(&path).unwrap();
    let data: Vec<u8> =
        connection.query_row("SELECT data FROM batches WHERE first_row = 1", [], |row| row.get(0)).unwrap();
    let mut text = zstd::bulk::decompress(&data, 1 << 24).unwrap();
    let at = text.windows(9).position(|window| window == b"/data/41\"").unwrap();
    text[at + 7] = b'9';
    connection
        .execute("UPDATE batches SET data = ? WHERE first_row = 1", [zstd::bulk::compress(&text, 3).unwrap()])
        .unwrap();
    drop(connection);
    insta::assert_snapshot!(told(&directory), @r"
    broken  events-DAY.db: row 42 is the first that is not what was recorded
    checked 41 events, 3 journal entries, N signatures
    key     KEY
    broken  1 problems
    ");
}

#[test]
fn damaged_bytes_are_told_with_the_first_row_that_cannot_be_read() {
    let directory = filled(1000);
    change(
        &day(directory.path()),
        "UPDATE batches SET data = CAST(substr(data, 1, length(data) / 2) || x'00ff00ff00ff' ||
             substr(data, length(data) / 2 + 7) AS BLOB) WHERE first_row = (SELECT min(first_row) FROM batches
             WHERE first_row > 400)",
    );
    let result = verify::store(directory.path(), None, None).unwrap();
    let row = result.problems[0].row.unwrap();
    assert_eq!(result.problems.len(), 1, "{result}");
    assert!((401..=600).contains(&row), "{result}");
}

#[test]
fn deleted_rows_are_told() {
    let directory = filled(1000);
    let path = day(directory.path());
    let connection = Connection::open(&path).unwrap();
    let (first, last): (i64, i64) = connection
        .query_row(
            "SELECT first_row, last_row FROM batches WHERE first_row > 300 ORDER BY first_row LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    connection.execute("DELETE FROM batches WHERE first_row = ?", [first]).unwrap();
    drop(connection);
    let text = told(&directory);
    let expected = format!("broken  events-DAY.db: row {first} and all up to {last} are missing\n");
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
fn an_event_hidden_from_searches_is_told() {
    let directory = filled(100);
    let path = day(directory.path());
    change(&path, "DELETE FROM events WHERE row = 7; UPDATE events SET verdict = 0, path = 1 WHERE row = 9");
    insta::assert_snapshot!(told(&directory), @r"
    broken  events-DAY.db: row 7 is not in the index: no search finds it
    broken  events-DAY.db: row 9 is found by another verdict and path than its line says
    checked 100 events, 3 journal entries, N signatures
    key     KEY
    broken  2 problems
    ");
}

#[test]
fn a_cut_tail_is_told() {
    let directory = filled(1000);
    let path = day(directory.path());
    let connection = Connection::open(&path).unwrap();
    let from: i64 = connection
        .query_row("SELECT min(first_row) FROM batches WHERE first_row > 900", [], |row| row.get(0))
        .unwrap();
    connection
        .execute_batch(&format!(
            "DELETE FROM batches WHERE first_row >= {from}; DELETE FROM events WHERE row >= {from};
             DELETE FROM checkpoints WHERE row >= {from};"
        ))
        .unwrap();
    drop(connection);
    let text = told(&directory);
    assert!(
        text.starts_with(&format!(
            "broken  events-DAY.db: row {from} and all up to 1000 were signed and are cut off\n"
        )),
        "{text}"
    );
    // And still when a monitor went on from there: no number is used twice.
    let store = Store::open(&settings(directory.path()), &origin()).unwrap();
    store.writer().event(open_of(1));
    drop(store);
    let text = told(&directory);
    assert!(text.contains(&format!("row {from} and all up to 1000 were signed and were gone")), "{text}");
    let rows =
        Reader::open(directory.path()).unwrap().events(&Query { limit: 1, ..Query::default() }).unwrap().rows;
    assert_eq!(rows[0].cursor, Cursor(1001));
}

#[test]
fn a_day_that_is_gone_is_told() {
    let directory = filled(100);
    // A second day, so that the first one is in the middle of the chain.
    let path = day(directory.path());
    files::unlink(&path).unwrap();
    insta::assert_snapshot!(told(&directory), @r"
    broken  events-DAY.db: is gone, with the events from 1 on; it had not expired
    broken  events-DAY.db: row 1 and all up to 100 were signed and are cut off
    checked 0 events, 3 journal entries, N signatures
    key     KEY
    broken  2 problems
    ");
}

#[test]
fn a_changed_journal_and_a_changed_finding_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(directory.path()), &origin()).unwrap();
    let mut finding = sample::findings().remove(0);
    finding.id = "01997d5e-0000-7000-8000-0000000000aa".into();
    store.writer().finding(&finding);
    store.writer().flush().unwrap();
    let act = Act::Query { what: "findings".into(), times: 1 };
    store.writer().act(Actor { uid: 1000, pid: None }, act).unwrap();
    drop(store);
    let findings = directory.path().join(files::FINDINGS_FILE);
    assert!(verify::store(directory.path(), None, None).unwrap().is_good());
    change(&findings, "UPDATE findings SET state = 'closed'");
    assert!(told(&directory).contains("is said to be closed, and by the journal it is open"));
    change(&findings, "UPDATE findings SET state = 'open', line = replace(line, 'medium', 'low')");
    assert!(told(&directory).contains("is not what journal entry 3 told of it"));
    change(&findings, "DELETE FROM findings");
    assert!(told(&directory).contains("told in journal entry 3, is gone"));
    change(&findings, "UPDATE journal SET line = replace(line, '1000', '0') WHERE entry = 4");
    assert!(told(&directory).contains("journal entry 4 is not what was recorded"), "{}", told(&directory));
    change(&findings, "DELETE FROM journal WHERE entry >= 4");
    assert!(told(&directory).contains("journal entry 4 and all up to 5 were signed and are cut off"));
}

#[test]
fn another_key_proves_nothing() {
    let directory = filled(10);
    let other = filled(1);
    let key = public_key(other.path()).unwrap();
    let result = verify::store(directory.path(), Some(key), None).unwrap();
    assert!(result.to_string().contains("is the end by a signature that is not of this key"), "{result}");
}

#[test]
fn what_a_sink_has_received_shows_a_rewritten_store() {
    let directory = filled(200);
    let sent = directory.path().join("sent.jsonl");
    let mut reader = Reader::open(directory.path()).unwrap();
    let page = reader.events(&Query { order: Order::OldestFirst, limit: 200, ..Query::default() }).unwrap();
    let mut file = fs::File::create(&sent).unwrap();
    for row in &page.rows {
        writeln!(file, "{}", row.line).unwrap();
    }
    let findings = Connection::open(directory.path().join(files::FINDINGS_FILE)).unwrap();
    let head = journal::head(&findings, Chain::Events).unwrap().unwrap();
    writeln!(file, "{}", serde_json::to_string(&head).unwrap()).unwrap();
    let good = verify::store(directory.path(), None, Some(&sent)).unwrap();
    assert!(good.is_good() && good.sent == 201, "{good}");
    // Another store whose key the forger has: all is right in itself, and yet not what was sent.
    let forged = filled(150);
    for name in ["signing.key", "signing.pub"] {
        fs::copy(directory.path().join(name), forged.path().join(name)).unwrap();
    }
    let against =
        verify::store(forged.path(), Some(public_key(directory.path()).unwrap()), Some(&sent)).unwrap();
    assert!(against.to_string().contains("was sent and is not in the store"), "{against}");
    drop(findings);
    let mut line = Vec::new();
    json::event(&mut line, &origin(), &open_of(7));
    fs::OpenOptions::new().append(true).open(&sent).unwrap().write_all(&line).unwrap();
    let result = verify::store(directory.path(), None, Some(&sent)).unwrap();
    assert_eq!(result.problems.len(), 1, "{result}");
}

#[test]
fn evidence_proves_itself_and_each_change_to_it_shows() {
    let directory = filled(600);
    let path = directory.path().join("evidence.jsonl");
    let key = public_key(directory.path()).unwrap();
    assert_eq!(verify::export(directory.path(), &Filter::default(), &path).unwrap(), 600);
    let good = verify::evidence(&path, Some(key)).unwrap();
    assert!(good.is_good() && good.rows == 600, "{good}");
    let text = fs::read_to_string(&path).unwrap();
    let check = |text: &str| verify::check(text.as_bytes(), "evidence", Some(key)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let without = |index: usize| {
        let mut lines = lines.clone();
        lines.remove(index);
        lines.join("\n")
    };
    assert!(
        check(&without(50)).to_string().contains("row 50 and all up to 50 are missing"),
        "{}",
        check(&without(50))
    );
    assert!(
        check(&text.replace("/data/41\"", "/data/91\""))
            .to_string()
            .contains("something before it was changed")
    );
    assert!(check(&lines[..300].join("\n")).to_string().contains("is cut off"));
    let other = public_key(filled(1).path()).unwrap();
    assert!(!verify::check(text.as_bytes(), "evidence", Some(other)).unwrap().is_good());
    assert!(!check("").is_good() && !check("{}\n{}").is_good());
    // A part is shown, and that nothing between was left out is proven all the same.
    let part = directory.path().join("part.jsonl");
    let filter = Filter { path: vec!["/data/1?".into()], ..Filter::default() };
    assert_eq!(verify::export(directory.path(), &filter, &part).unwrap(), 10);
    let result = verify::evidence(&part, Some(key)).unwrap();
    assert!(result.is_good() && result.rows == 10, "{result}");
    assert!(!fs::read_to_string(&part).unwrap().contains("/data/20\""));
    assert!(verify::export(directory.path(), &filter, &part).is_err(), "never over a file that is there");
}

#[test]
fn no_damage_to_evidence_makes_the_reader_panic() {
    let directory = filled(3);
    let path = directory.path().join("evidence.jsonl");
    verify::export(directory.path(), &Filter::default(), &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(proptest::test_runner::Config::with_cases(300));
    runner
        .run(&(0..bytes.len(), proptest::num::u8::ANY, proptest::bool::ANY), |(at, byte, cut)| {
            let mut bytes = bytes.clone();
            let same = bytes[at] == byte;
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
            let result = verify::check(bytes.as_slice(), "evidence", None).unwrap();
            // What a reader of JSON takes for the same is the same; what is signed is not touched by it.
            let meaningless = !cut && result.is_good();
            proptest::prop_assert!(same || !meaningless || result.rows == 3);
            Ok(())
        })
        .unwrap();
}
