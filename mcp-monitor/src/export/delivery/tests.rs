//! Delivery against a receiver that is away, half wrong, or killed in between.

use std::{
    fs,
    io::{Cursor, Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
    thread,
};

use jiff::Timestamp;

use super::*;
use crate::export::{
    source::{Memory, Replay},
    testing::{events, findings},
};

fn config(text: &str) -> SinkConfig {
    Config::parse("test", text).unwrap().sinks.remove(0)
}

fn memory(findings_count: usize, events_count: usize) -> Memory {
    let memory = Memory::default();
    for record in findings(findings_count) {
        memory.finding(record.line());
    }
    for record in events(events_count) {
        memory.event(record.line());
    }
    memory
}

fn quiet() -> Talk {
    Arc::new(|_| {})
}

fn worker(text: &str, place: &Path, source: &Memory) -> Worker {
    Worker::new(config(text), place, Box::new(source.clone()), Stop::default(), quiet()).unwrap()
}

/// Answers each request with the next of `answers`, the last one for ever, and keeps the bodies.
fn receiver(answers: Vec<&'static str>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&bodies);
    thread::spawn(move || {
        let mut answers = answers.into_iter().peekable();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut text = Vec::new();
            let mut buffer = [0; 8192];
            loop {
                let read = stream.read(&mut buffer).unwrap();
                if read == 0 {
                    break;
                }
                text.extend_from_slice(&buffer[..read]);
                let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
                let head = String::from_utf8_lossy(&text[..end]).to_lowercase();
                let length: usize = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .map_or(0, |length| length.parse().unwrap());
                if text.len() >= end + 4 + length {
                    kept.lock().unwrap().push(String::from_utf8_lossy(&text[end + 4..]).into_owned());
                    break;
                }
            }
            let answer = if answers.len() > 1 { answers.next().unwrap() } else { *answers.peek().unwrap() };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (url, bodies)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const LATER: &str = "HTTP/1.1 429 Slow\r\nretry-after: 2\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const WRONG: &str = "HTTP/1.1 422 Wrong\r\ncontent-length: 5\r\nconnection: close\r\n\r\nno: x";

fn webhook(url: &str, more: &str) -> String {
    format!("sinks:\n  - {{name: hook, {more} webhook: {{url: '{url}', http: {{gzip: false}}}}}}\n")
}

#[test]
fn everything_arrives_once_the_receiver_is_back_and_findings_first() {
    let place = tempfile::tempdir().unwrap();
    let (url, bodies) = receiver(vec![BUSY, BUSY, OK]);
    let source = Memory::default();
    let mut worker = worker(&webhook(&url, "events: true, batch: 10,"), place.path(), &source);
    for record in events(25) {
        source.event(record.line());
    }
    for record in findings(5) {
        source.finding(record.line());
    }
    assert_eq!(worker.drain(), Delivered::Done);
    let state = State::read(&state_path(place.path(), "hook")).unwrap();
    assert_eq!((state.sent, state.retried, state.rejected), (30, 2, 0));
    assert_eq!((state.findings, state.events, state.failing_since), (Some(5), Some(25), None));
    let bodies = bodies.lock().unwrap();
    assert_eq!(bodies.len(), 2 + 1 + 3);
    assert!(bodies[0].contains("finding-0") && bodies[0] == bodies[2], "the same batch again");
    assert!(bodies[3].contains("event-0") && bodies[5].contains("event-24"));
}

#[test]
fn retry_after_is_waited_for() {
    let place = tempfile::tempdir().unwrap();
    let (url, _) = receiver(vec![LATER, OK]);
    let source = Memory::default();
    let mut worker = worker(&webhook(&url, ""), place.path(), &source);
    for record in findings(1) {
        source.finding(record.line());
    }
    let start = Instant::now();
    worker.drain();
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn what_is_refused_is_quarantined_with_the_answer_and_the_rest_goes_on() {
    let place = tempfile::tempdir().unwrap();
    // The batch of two is refused, its first half too; the second half is taken.
    let (url, bodies) = receiver(vec![WRONG, WRONG, OK]);
    let source = Memory::default();
    let mut worker = worker(&webhook(&url, ""), place.path(), &source);
    for record in findings(2) {
        source.finding(record.line());
    }
    assert_eq!(worker.drain(), Delivered::Done);
    assert_eq!((worker.state().sent, worker.state().rejected), (1, 1));
    assert!(bodies.lock().unwrap()[2].contains("finding-1"));
    let path = dead_letter_path(place.path(), "hook");
    let letter: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert!(letter["answer"].as_str().unwrap().contains("422: no: x"), "{letter}");
    assert!(letter["line"].as_str().unwrap().contains("finding-0"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_killed_worker_repeats_and_loses_nothing() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out.jsonl");
    let text = format!("sinks:\n  - {{name: f, events: true, file: {{path: '{}'}}}}\n", out.display());
    let source = Memory::default();
    let mut first = worker(&text, place.path(), &source);
    for record in events(10) {
        source.event(record.line());
    }
    // Delivered, and killed before it could remember.
    assert!(first.round().is_ok_and(|more| more));
    drop(first);
    let mut second = worker(&text, place.path(), &source);
    assert_eq!(second.drain(), Delivered::Done);
    let lines = fs::read_to_string(&out).unwrap();
    assert_eq!(lines.lines().count(), 20, "all of it again");
    let ids: std::collections::BTreeSet<_> = lines.lines().collect();
    assert_eq!(ids.len(), 10, "under the same ids");
    // And from then on nothing again.
    assert_eq!(worker(&text, place.path(), &source).drain(), Delivered::Done);
    assert_eq!(fs::read_to_string(&out).unwrap().lines().count(), 20);
}

#[test]
fn a_new_sink_begins_at_the_end_and_a_replay_does_not() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out.jsonl");
    let text = format!("sinks:\n  - {{name: f, file: {{path: '{}'}}}}\n", out.display());
    let source = memory(3, 3);
    let mut worker = worker(&text, place.path(), &source);
    assert_eq!(worker.drain(), Delivered::Done);
    assert_eq!(worker.state().sent, 0);
    let remembered = fs::read(state_path(place.path(), "f")).unwrap();

    let lines: Vec<u8> = findings(3)
        .iter()
        .chain(&events(3))
        .flat_map(|one| format!("{}\n", one.line()).into_bytes())
        .collect();
    let replay = Replay::new(Cursor::new(lines), None, false);
    let mut again =
        Worker::replay(config(&text), place.path(), Box::new(replay), Stop::default(), quiet()).unwrap();
    assert_eq!(again.drain(), Delivered::Done);
    assert_eq!(again.state().sent, 3, "findings; events were not asked for");
    assert_eq!(fs::read(state_path(place.path(), "f")).unwrap(), remembered, "who runs is not disturbed");
}

#[test]
fn rates_and_filters_drop_events_and_count_them() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out.jsonl");
    let text = format!(
        "sinks:\n  - {{name: f, events: true, events_per_second: 4, filter: {{severity: critical}}, file: {{path: '{}'}}}}\n",
        out.display()
    );
    let source = Memory::default();
    let mut worker = worker(&text, place.path(), &source);
    for record in events(10) {
        source.event(record.line());
    }
    for record in findings(10) {
        source.finding(record.line());
    }
    source.finding("{\"schema\":\"mcp-monitor/finding/v1\"");
    assert_eq!(worker.drain(), Delivered::Done);
    let state = worker.state();
    assert_eq!((state.sent, state.dropped_rate, state.rejected), (14, 6, 1), "a damaged line stops nothing");
}

#[test]
fn an_ended_worker_stops_in_the_middle_of_a_wait() {
    let place = tempfile::tempdir().unwrap();
    let source = Memory::default();
    let text = "sinks:\n  - {name: away, syslog: {unix: /nonexistent/log}}\n";
    let told = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&told);
    let talk: Talk = Arc::new(move |line: &str| kept.lock().unwrap().push(line.to_owned()));
    let config = Config::parse("test", text).unwrap();
    let delivery =
        Delivery::start(&config, place.path(), || Ok(Box::new(source.clone())), &talk, None).unwrap();
    for record in findings(1) {
        source.finding(record.line());
    }
    thread::sleep(Duration::from_millis(1500));
    let start = Instant::now();
    delivery.stop(Duration::from_secs(5));
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(told.lock().unwrap().len(), 1, "told once, not at each attempt");
    let state = State::read(&state_path(place.path(), "away")).unwrap();
    assert_eq!((state.sent, state.findings), (0, Some(0)));
    assert!(state.failing_since.is_some() && state.last_error.unwrap().contains("/nonexistent/log"));
}

#[test]
fn people_are_told_of_the_rest_once_a_day() {
    let place = tempfile::tempdir().unwrap();
    let (url, bodies) = receiver(vec![OK]);
    let secret = place.path().join("url");
    fs::write(&secret, &url).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!("sinks:\n  - {{name: team, slack: {{url: {{file: '{}'}}}}}}\n", secret.display());
    let source = Memory::default();
    let mut worker = worker(&text, place.path(), &source);
    for record in findings(4) {
        source.finding(record.line());
        source.finding(&record.line().replace("\"critical\"", "\"low\"").replace("finding-", "low-"));
    }
    assert_eq!(worker.drain(), Delivered::Done);
    assert_eq!((worker.state().sent, worker.state().below), (4, 4));
    assert_eq!(bodies.lock().unwrap().len(), 4);
    worker.state.digest_time = Some(Timestamp::now() - jiff::SignedDuration::from_hours(25));
    assert_eq!(worker.drain(), Delivered::Done);
    {
        let bodies = bodies.lock().unwrap();
        assert_eq!(bodies.len(), 5);
        assert!(bodies[4].contains("daily digest: 4 findings"), "{}", bodies[4]);
    }
    assert_eq!(worker.drain(), Delivered::Done);
    assert_eq!(bodies.lock().unwrap().len(), 5, "not twice");
}

#[test]
fn a_sign_of_life_needs_a_life_and_passes_every_filter() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out.jsonl");
    let text = format!(
        "sinks:\n  - {{name: f, filter: {{rules: [exfiltration]}}, file: {{path: '{}'}}}}\n",
        out.display()
    );
    let config = Config::parse("test", &text).unwrap();
    let alive = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asked = Arc::clone(&alive);
    let pulse: Pulse = Arc::new(move || {
        let life = crate::export::heartbeat::Life {
            tier: mcp_monitor_common::mechanism::Tier::Lsm,
            uptime_seconds: 7,
            lost: 0,
        };
        asked.load(std::sync::atomic::Ordering::Relaxed).then_some(life)
    });
    let source = memory(2, 2);
    let directory = place.path().join("sinks");
    let delivery =
        Delivery::start(&config, &directory, || Ok(Box::new(source.clone())), &quiet(), Some(&pulse))
            .unwrap();
    thread::sleep(Duration::from_millis(1200));
    assert!(!out.exists() || fs::read_to_string(&out).unwrap().is_empty(), "silence, while nothing lives");
    alive.store(true, std::sync::atomic::Ordering::Relaxed);
    thread::sleep(Duration::from_millis(1500));
    let lines = fs::read_to_string(&out).unwrap();
    assert_eq!(lines.lines().count(), 1, "{lines}");
    assert!(lines.contains("\"kind\":\"heartbeat\"") && lines.contains("\"last_event\":2"), "{lines}");
    let board = delivery.board();
    delivery.stop(Duration::from_secs(5));
    let (name, status) = board.read().remove(0);
    assert_eq!((name.as_str(), status.kind, status.state.heartbeats), ("f", "file", 1));
    assert_eq!((status.waiting_findings, status.waiting_events), (0, 0));
}
