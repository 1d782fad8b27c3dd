//! The store over time: days, retention, a full disk, a kill.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use jiff::{Timestamp, ToSpan as _};

use super::{
    tests::{event, filled, open_of, origin, settings},
    *,
};
use crate::{
    event::{Event, Verdict},
    render::sample,
};

fn rows(directory: &Path) -> usize {
    let query = Query { limit: 100_000, ..Query::default() };
    Reader::open(directory).unwrap().events(&query).unwrap().rows.len()
}

/// Makes the day's file that of an earlier day, in the journal too.
fn age(directory: &Path, days: i64) {
    let today = files::list(directory).unwrap().pop().unwrap();
    let date = today.date.checked_sub(days.days()).unwrap();
    let old = files::DayFile { date, part: 1 };
    fs::rename(today.path(directory), old.path(directory)).unwrap();
    let connection = rusqlite::Connection::open(directory.join(files::FINDINGS_FILE)).unwrap();
    connection.execute("UPDATE files SET name = ? WHERE name = ?", [old.name(), today.name()]).unwrap();
}

#[test]
fn a_new_day_goes_on_in_the_same_chain_and_old_days_go() {
    let directory = filled(100);
    age(directory.path(), 20);
    let store = Store::open(&settings(directory.path()), &origin()).unwrap();
    for number in 0..50 {
        store.writer().event(open_of(number));
    }
    drop(store);
    // The old day was older than two weeks.
    let names: Vec<_> = files::list(directory.path()).unwrap();
    assert_eq!(names.len(), 1);
    assert_eq!(rows(directory.path()), 50);
    let journal = Reader::open(directory.path()).unwrap().journal(0, 100).unwrap();
    let expired = journal.iter().find(|(_, line)| line.contains("\"expired\"")).unwrap();
    assert!(expired.1.contains("\"first_row\":1,\"last_row\":100"), "{}", expired.1);
    let page = Reader::open(directory.path())
        .unwrap()
        .events(&Query { order: Order::OldestFirst, limit: 1, ..Query::default() })
        .unwrap();
    assert_eq!(page.rows[0].cursor, Cursor(101));
}

#[test]
fn retention_leaves_a_store_that_is_still_proven() {
    let directory = tempfile::tempdir().unwrap();
    // Parts are small, so that files go for their size.
    let small = Settings { bytes: 4 << 20, ..settings(directory.path()) };
    let store = Store::open(&small, &origin()).unwrap();
    for number in 0..40_000 {
        store.writer().event(open_of(number));
        if number % 2000 == 0 {
            store.writer().flush().unwrap();
        }
    }
    drop(store);
    Store::open(&small, &origin()).unwrap();
    let status = Reader::open(directory.path()).unwrap().status().unwrap();
    assert!(status.days.len() > 2, "{status:?}");
    assert!(status.bytes < 6 << 20, "{status:?}");
    let result = verify::store(directory.path(), None, None).unwrap();
    assert!(result.is_good(), "{result}");
    assert!(result.notes.iter().any(|note| note.contains("expired: events 1 to")), "{result}");
    assert!(result.rows < 40_000 && result.rows > 1000, "{result}");
}

#[test]
fn a_full_disk_stops_recording_keeps_findings_and_ends_by_itself() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().to_str().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=6m", "tmpfs", path])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        eprintln!("not run: a small file system can be mounted by root only");
        return;
    }
    let outcome = std::panic::catch_unwind(|| full_disk(place.path()));
    Command::new("umount").args(["-l", path]).status().unwrap();
    outcome.unwrap();
}

fn full_disk(place: &Path) {
    let directory = place.join("store");
    let settings = Settings { reserve_bytes: 1 << 20, ..settings(&directory) };
    let store = Store::open(&settings, &origin()).unwrap();
    let writer = store.writer();
    let ballast = place.join("ballast");
    fs::write(&ballast, vec![0; 4 << 20]).unwrap();
    let mut number = 0;
    let until = Instant::now() + Duration::from_mins(1);
    while writer.status().recording == Recording::On {
        assert!(Instant::now() < until, "it never got full: {:?}", writer.status());
        for _ in 0..500 {
            number += 1;
            writer.event(open_of(number));
        }
        let _ = writer.flush();
    }
    let Recording::Stopped { reason, .. } = writer.status().recording else {
        panic!("stopped for no reason")
    };
    assert!(reason.contains("bytes are free"), "{reason}");
    assert!(writer.take_losses().unwritten > 0);
    // A finding still fits, or waits.
    let mut finding = sample::findings().remove(0);
    finding.id = uuid::Uuid::now_v7().to_string();
    writer.finding(&finding);
    fs::remove_file(&ballast).unwrap();
    while writer.status().recording != Recording::On {
        assert!(Instant::now() < until, "it did not go on: {:?}", writer.status());
        writer.event(open_of(number));
        number += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    let before = writer.status().last_row;
    writer.event(open_of(number));
    writer.flush().unwrap();
    // The status is published a moment after the answer to a flush.
    while writer.status().last_row <= before {
        assert!(Instant::now() < until, "nothing was recorded again: {:?}", writer.status());
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(store);
    let found = Reader::open(&directory).unwrap().finding(&finding.id).unwrap();
    assert!(found.is_some(), "the finding is there");
    let result = verify::store(&directory, None, None).unwrap();
    assert!(result.is_good(), "{result}");
}

/// What the killed process does: it records, and says of each finding that it is on the disk.
#[test]
#[ignore = "run by the test that kills it"]
fn child_that_is_killed() {
    let Some(directory) = std::env::var_os("STORE_OF_THE_KILLED") else { return };
    let mut store = Store::open(&settings(Path::new(&directory)), &origin()).unwrap();
    let writer = store.writer();
    println!("gap {}", store.gap.as_ref().map_or(0, |gap| gap.events));
    for number in 0.. {
        writer.event(open_of(number));
        if number % 50 == 0 {
            let expected = Event { verdict: Verdict::Expected, ..sample::open(b"/usr/lib/x.so") };
            writer.event(event(number, expected));
            store.note_progress([(0, number)]).unwrap();
        }
        if number % 500 == 0 {
            let mut finding = sample::findings().remove(0);
            finding.id = uuid::Uuid::now_v7().to_string();
            writer.finding(&finding);
            writer.flush().unwrap();
            println!("finding {}", finding.id);
        }
    }
}

#[test]
fn a_kill_at_any_moment_loses_no_committed_finding() {
    use std::io::BufRead as _;
    let rounds =
        std::env::var("MCP_MONITOR_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let directory = tempfile::tempdir().unwrap();
    let mut committed = Vec::new();
    for round in 0_u64..rounds {
        let started = Instant::now();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "store::life_tests::child_that_is_killed", "--ignored", "--nocapture"])
            .env("STORE_OF_THE_KILLED", directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        let mut child = command.spawn().unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        while !lines.next().unwrap().unwrap().contains("gap ") {}
        let opened = started.elapsed();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20 + round * 137 % 400));
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        });
        let told = lines.map_while(Result::ok);
        committed.extend(told.filter_map(|line| line.strip_prefix("finding ").map(str::to_owned)));
        child.wait().unwrap();
        // The start of the process is in it, and this machine may be busy.
        assert!(opened < Duration::from_secs(5), "{opened:?}");
        let result = verify::store(directory.path(), None, None).unwrap();
        assert!(result.is_good(), "round {round}: {result}");
    }
    let mut reader = Reader::open(directory.path()).unwrap();
    for id in &committed {
        assert!(reader.finding(id).unwrap().is_some(), "finding {id} is lost");
    }
    assert!(!committed.is_empty());
}

#[test]
fn the_gap_of_a_kill_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let slow = Settings { flush_every: Duration::from_hours(1), ..settings(directory.path()) };
    let mut store = Store::open(&slow, &origin()).unwrap();
    for number in 0..100 {
        store.writer().event(open_of(number));
    }
    store.writer().flush().unwrap();
    for number in 100..123 {
        store.writer().event(open_of(number));
    }
    store.note_progress([(0, 40), (1, 31)]).unwrap();
    // What a kill leaves: the files as they are now.
    let killed = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), killed.path().join(entry.file_name())).unwrap();
    }
    drop(store);
    let store = Store::open(&settings(killed.path()), &origin()).unwrap();
    let gap = store.gap.clone().unwrap();
    assert_eq!(gap.events, 23);
    // Lanes count from 1; 100 events in 4 lanes are 25 each.
    assert_eq!(gap.records, (40 - 25) + (31 - 25));
    assert!(gap.last_stored <= Timestamp::now());
    drop(store);
    assert_eq!(Store::open(&settings(killed.path()), &origin()).unwrap().gap, None);
}

#[test]
fn a_damaged_day_is_put_aside_and_recording_goes_on() {
    let directory = filled(10);
    let day = files::list(directory.path()).unwrap()[0].path(directory.path());
    fs::write(&day, "this was a database once".repeat(1000)).unwrap();
    let store = Store::open(&settings(directory.path()), &origin()).unwrap();
    store.writer().event(open_of(1));
    drop(store);
    assert_eq!(rows(directory.path()), 1);
    let aside = fs::read_dir(directory.path())
        .unwrap()
        .any(|entry| entry.unwrap().file_name().to_string_lossy().contains(".damaged-"));
    assert!(aside);
}
