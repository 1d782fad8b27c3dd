//! The store as a whole: what goes in comes out, beside a writer, after its end, and after it was killed.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::{
    event::{Event, FindingState, Process, ProcessId, ProcessKey, Verdict, Workload},
    render::{Origin, json, sample},
};

pub(super) fn settings(directory: &Path) -> Settings {
    Settings { reserve_bytes: 0, flush_every: Duration::from_millis(20), ..Settings::new(directory) }
}

pub(super) fn origin() -> Origin {
    Origin::of_this_host(mcp_monitor_common::mechanism::Tier::Tracepoint)
}

/// An event of now, with an id and a sequence of its own.
pub(super) fn event(number: u64, event: Event) -> Event {
    let now = crate::host::clock::Clock::now();
    Event {
        id: uuid::Uuid::now_v7().to_string(),
        boot_ns: now,
        lane: u32::try_from(number % 4).unwrap(),
        sequence: number / 4 + 1,
        ..event
    }
}

pub(super) fn open_of(number: u64) -> Event {
    event(number, Event { verdict: Verdict::Unjudged, ..sample::open(format!("/data/{number}").as_bytes()) })
}

fn line(event: &Event, origin: &Origin) -> String {
    let mut line = Vec::new();
    json::event(&mut line, origin, event);
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

/// A store with `count` rows that has ended.
pub(super) fn filled(count: u64) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(directory.path()), &origin()).unwrap();
    for number in 0..count {
        store.writer().event(open_of(number));
        if number % 100 == 99 {
            store.writer().flush().unwrap();
        }
    }
    drop(store);
    directory
}

#[test]
fn what_goes_in_comes_out_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let origin = origin();
    let store = Store::open(&settings(directory.path()), &origin).unwrap();
    let events: Vec<Event> =
        sample::events().into_iter().enumerate().map(|(number, one)| event(number as u64, one)).collect();
    for event in &events {
        store.writer().event(event.clone());
    }
    store.writer().flush().unwrap();
    let mut reader = Reader::open(directory.path()).unwrap();
    let query = Query { order: Order::OldestFirst, limit: 1000, ..Query::default() };
    let page = reader.events(&query).unwrap();
    assert!(page.complete);
    let mut expected: Vec<String> = events.iter().map(|event| line(event, &origin)).collect();
    let mut found: Vec<String> = page.rows.iter().map(|row| row.line.clone()).collect();
    // The second of two alike is a row when its minute ends.
    drop(store);
    let rest = reader.events(&Query { after: page.next, ..query }).unwrap();
    found.extend(rest.rows.into_iter().map(|row| row.line));
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let id = &events[7].id;
    assert_eq!(reader.event(id).unwrap().unwrap().line, line(&events[7], &origin));
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        let public = entry.file_name() == "signing.pub";
        assert!(mode == 0o600 || public, "{:?} has mode {mode:o}", entry.file_name());
    }
    assert_eq!(fs::metadata(directory.path()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn pages_join_without_gap_or_overlap_in_both_directions() {
    let directory = filled(1000);
    let mut reader = Reader::open(directory.path()).unwrap();
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let mut query = Query { order, limit: 77, ..Query::default() };
        let mut seen = Vec::new();
        loop {
            let page = reader.events(&query).unwrap();
            seen.extend(page.rows.iter().map(|row| row.cursor.0));
            query.after = page.next;
            if page.complete {
                break;
            }
        }
        if order == Order::NewestFirst {
            seen.reverse();
        }
        assert_eq!(seen, (1..=1000).collect::<Vec<_>>(), "{order:?}");
    }
}

#[test]
fn a_reader_follows_a_writer() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(directory.path()), &origin()).unwrap();
    store.writer().event(open_of(0));
    store.writer().flush().unwrap();
    let mut reader = Reader::open(directory.path()).unwrap();
    let mut query = Query {
        order: Order::OldestFirst,
        after: Some(reader.end().unwrap()),
        filter: Filter { path: vec!["/data/*".into()], ..Filter::default() },
        ..Query::default()
    };
    assert!(reader.events(&query).unwrap().rows.is_empty());
    for number in 1..50 {
        store.writer().event(open_of(number));
        store.writer().flush().unwrap();
        let page = reader.events(&query).unwrap();
        assert_eq!(page.rows.len(), 1);
        assert!(page.rows[0].line.contains(&format!("\"/data/{number}\"")));
        query.after = page.next;
    }
}

#[test]
fn the_database_finds_what_the_matcher_finds() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(directory.path()), &origin()).unwrap();
    for (number, one) in sample::events().into_iter().enumerate() {
        let mut one = event(number as u64, one);
        let process = Process {
            key: ProcessKey { pid: ProcessId(5000 + u32::try_from(number).unwrap() % 3), ..one.process.key },
            uid: 1000 + u32::try_from(number).unwrap() % 2,
            ..(*one.process).clone()
        };
        one.process = Arc::new(process);
        one.workload = Arc::new(Workload {
            instance: format!("inst-{}", number % 2),
            name: format!("w{}", number % 2),
            ..(*one.workload).clone()
        });
        store.writer().event(one);
    }
    drop(store);
    let mut reader = Reader::open(directory.path()).unwrap();
    let all = Query { limit: 1000, ..Query::default() };
    let lines: Vec<String> = reader.events(&all).unwrap().rows.into_iter().map(|row| row.line).collect();
    let texts = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let none = Filter::default;
    let filters = [
        none(),
        Filter { workload: texts(&["w1"]), ..none() },
        Filter { workload: texts(&["inst-0"]), kind: texts(&["open", "exec"]), ..none() },
        Filter { verdict: vec![Verdict::Forbidden, Verdict::Unexpected], ..none() },
        Filter { verdict: vec![Verdict::Expected], ..none() },
        Filter { rule: texts(&["secret-read"]), ..none() },
        Filter { pid: vec![5001], ..none() },
        Filter { tree: vec![ProcessFilter { pid: 4600, start: None }], ..none() },
        Filter { tree: vec![ProcessFilter { pid: 5002, start: Some(5_000_000_000) }], ..none() },
        Filter { tree: vec![ProcessFilter { pid: 5002, start: Some(1) }], ..none() },
        Filter { container: texts(&["c0"]), user: texts(&["user"]), ..none() },
        Filter { user: texts(&["1001"]), ..none() },
        Filter { only_uid: Some(1000), ..none() },
        Filter { path: texts(&["/a/*"]), ..none() },
        Filter { path: texts(&["/a/c"]), ..none() },
        Filter { path: texts(&["**"]), destination: texts(&["10.0.0.0/8"]), ..none() },
        Filter { destination: texts(&["203.0.113.0/24", "2001:db8::1"]), ..none() },
        Filter { destination: texts(&["*.example.com"]), ..none() },
        Filter { text: Some("given_name".into()), ..none() },
        Filter { since: Some(Timestamp::now()), ..none() },
        Filter { until: Some(Timestamp::now()), ..none() },
    ];
    let mut some = 0;
    for filter in filters {
        let matcher = Matcher::new(&filter).unwrap();
        let expected: Vec<&String> = lines.iter().filter(|line| matcher.matches(line)).collect();
        let page = reader.events(&Query { filter: filter.clone(), ..all.clone() }).unwrap();
        let found: Vec<&String> = page.rows.iter().map(|row| &row.line).collect();
        assert_eq!(found, expected, "{filter:?}");
        some += usize::from(!found.is_empty());
        if filter.text.is_none() {
            let counted: u64 =
                reader.counts(&filter, CountBy::Kind).unwrap().iter().map(|one| one.rows).sum();
            assert_eq!(counted, found.len() as u64, "{filter:?}");
        }
    }
    assert!(some > 14);
}

#[test]
fn counts_traffic_touches_processes_and_workloads_add_up() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(directory.path()), &origin()).unwrap();
    for round in 0..3 {
        for (number, one) in sample::events().into_iter().enumerate() {
            store.writer().event(event(round * 100 + number as u64, one));
        }
    }
    drop(store);
    let mut reader = Reader::open(directory.path()).unwrap();
    let given: u64 = 3 * sample::events().iter().map(|event| event.count).sum::<u64>();
    let all = Filter::default();
    for by in [
        CountBy::Workload,
        CountBy::Instance,
        CountBy::Kind,
        CountBy::Verdict,
        CountBy::Program,
        CountBy::Hour,
    ] {
        let counts = reader.counts(&all, by).unwrap();
        assert_eq!(counts.iter().map(|count| count.events).sum::<u64>(), given, "{by:?} {counts:?}");
    }
    let secrets = reader.counts(&all, CountBy::Rule).unwrap();
    assert!(secrets.iter().any(|count| count.key == "secret-read" && count.events == 3), "{secrets:?}");
    let traffic = reader.traffic(&all).unwrap();
    assert_eq!(traffic.len(), 1);
    assert_eq!((traffic[0].connections, traffic[0].bytes_sent), (3, 3 * 2048));
    assert_eq!(traffic[0].destination, "api.example.com:443");
    let key = Filter { path: vec!["/home/user/.ssh/id_rsa".into()], ..Filter::default() };
    let touches = reader.touches(&key).unwrap();
    assert_eq!((touches.len(), touches[0].events), (1, 3));
    assert_eq!(touches[0].verdict, "forbidden");
    let processes = reader.processes(&all).unwrap();
    assert_eq!(processes.len(), 1);
    assert_eq!(processes[0].args[1], "mcp-server-filesystem");
    let verdicts = processes[0].verdicts;
    assert_eq!(verdicts.expected + verdicts.unjudged + verdicts.unexpected + verdicts.forbidden, given);
    assert_eq!(reader.workloads(&all).unwrap()[0].verdicts, verdicts);
}

#[test]
fn a_finding_is_told_handled_and_suppressed() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(directory.path()), &origin()).unwrap();
    let writer = store.writer();
    let mut finding = sample::findings().remove(1);
    finding.id = uuid::Uuid::now_v7().to_string();
    writer.finding(&finding);
    writer.flush().unwrap();
    let mut reader = Reader::open(directory.path()).unwrap();
    let only = |reader: &mut Reader| reader.findings(&FindingFilter::default()).unwrap().pop().unwrap();
    assert_eq!(only(&mut reader).state, FindingState::Open);
    let root = Actor { uid: 0, pid: Some(1) };
    let id = finding.id[..13].to_owned();
    writer.act(root, Act::Acknowledge { finding: id.clone(), note: Some("mine".into()) }).unwrap();
    let row = only(&mut reader);
    assert_eq!(row.state, FindingState::Acknowledged);
    assert!(
        row.line.contains("\"handling\":{\"uid\":0") && row.line.contains("\"reason\":\"mine\""),
        "{}",
        row.line
    );
    let until = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let suppress = |reason: &str| Act::Suppress { finding: id.clone(), reason: reason.into(), until };
    assert!(writer.act(root, suppress(" ")).is_err(), "a reason is needed");
    writer.act(root, suppress("a test key")).unwrap();
    assert_eq!(only(&mut reader).state, FindingState::Suppressed);
    // The same again in another instance is suppressed from the beginning.
    let mut again = finding.clone();
    again.id = uuid::Uuid::now_v7().to_string();
    again.workload = Arc::new(Workload { instance: "another".into(), ..(*again.workload).clone() });
    writer.finding(&again);
    writer.flush().unwrap();
    assert_eq!(reader.finding(&again.id).unwrap().unwrap().state, FindingState::Suppressed);
    writer.act(root, Act::Reopen { finding: id.clone(), note: None }).unwrap();
    assert_eq!(reader.finding(&again.id).unwrap().unwrap().state, FindingState::Open);
    assert!(matches!(
        writer.act(root, Act::Close { finding: "nothing".into(), note: None }),
        Err(StoreError::NoFinding(_))
    ));
    // Closed and seen again is open again.
    writer.act(root, Act::Close { finding: finding.id.clone(), note: None }).unwrap();
    finding.count += 1;
    writer.finding(&finding);
    writer.flush().unwrap();
    let row = reader.finding(&finding.id).unwrap().unwrap();
    assert_eq!(row.state, FindingState::Open);
    assert!(row.line.contains(&format!("\"count\":{}", finding.count)));
}

#[test]
fn a_rule_of_a_workload_is_suppressed_across_restarts_and_never_what_tells_of_blindness() {
    let directory = tempfile::tempdir().unwrap();
    let root = Actor { uid: 0, pid: Some(1) };
    let told = |writer: &Writer, name: &str| {
        let mut finding = sample::findings().remove(0);
        finding.id = uuid::Uuid::now_v7().to_string();
        finding.workload = Arc::new(Workload { name: name.into(), ..(*finding.workload).clone() });
        writer.finding(&finding);
        writer.flush().unwrap();
        finding
    };
    let scope = |rule: &str, workload: &str| Act::SuppressScope {
        rule: rule.into(),
        workload: workload.into(),
        reason: "known".into(),
        until: Timestamp::now() + jiff::SignedDuration::from_hours(1),
    };
    let state = |id: &str| {
        let mut reader = Reader::open(directory.path()).unwrap();
        reader.finding(id).unwrap().unwrap().state
    };
    let store = Store::open(&settings(directory.path()), &origin()).unwrap();
    let writer = store.writer();
    let (before, other) = (told(&writer, "github"), told(&writer, "other"));
    let rule = before.rule.id();
    assert!(!writer.suppresses(&before));
    writer.act(root, scope(rule, "github")).unwrap();
    assert_eq!(state(&before.id), FindingState::Suppressed, "those that are there");
    assert_eq!(state(&other.id), FindingState::Open);
    assert!(writer.suppresses(&before) && !writer.suppresses(&other));
    for blind in ["coverage-loss", "monitor-tamper"] {
        assert!(matches!(writer.act(root, scope(blind, "github")), Err(StoreError::Usage(_))), "{blind}");
    }
    drop(store);
    let store = Store::open(&settings(directory.path()), &origin()).unwrap();
    let writer = store.writer();
    let after = told(&writer, "github");
    assert_eq!(state(&after.id), FindingState::Suppressed, "those that come, after a restart");
    assert!(writer.suppresses(&after));
    let end =
        |workload: &str| Act::UnsuppressScope { rule: rule.into(), workload: workload.into(), note: None };
    assert!(matches!(writer.act(root, end("nobody")), Err(StoreError::NoSuppression(_))));
    writer.act(root, end("github")).unwrap();
    assert_eq!((state(&before.id), state(&after.id)), (FindingState::Open, FindingState::Open));
    assert!(!writer.suppresses(&after));
    drop((writer, store));
    let verified = verify::store(directory.path(), None, None).unwrap();
    assert!(verified.is_good(), "{verified}");
}

#[test]
fn a_second_writer_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = Store::open(&settings(directory.path()), &origin()).unwrap();
    assert!(matches!(Store::open(&settings(directory.path()), &origin()), Err(StoreError::InUse { .. })));
    drop(first);
    Store::open(&settings(directory.path()), &origin()).unwrap();
}

#[test]
fn a_day_is_read_by_its_path_alone() {
    let directory = filled(300);
    let day = files::list(directory.path()).unwrap()[0].path(directory.path());
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("copy.db");
    fs::copy(day, &copy).unwrap();
    let mut reader = Reader::open(&copy).unwrap();
    assert_eq!(reader.events(&Query { limit: 1000, ..Query::default() }).unwrap().rows.len(), 300);
    assert!(reader.findings(&FindingFilter::default()).unwrap().is_empty());
}
