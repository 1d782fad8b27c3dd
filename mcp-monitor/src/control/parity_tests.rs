//! The same question has the same answer, whoever is asked: the monitor over its socket, the store's directory, the file
//! of its day, and JSON lines. With the real server, the real store and the real client.

use super::{
    Filter, Publisher, Server, Source,
    client::Client,
    server::Settings,
    source::{Span, What},
};
use crate::{
    event::{Action, BootNs, CoverageNote, Event, Finding, Process, ProcessId, ProcessKey, Workload},
    host::clock::Clock,
    render::{Origin, json, read::Line, sample},
    store::{self, Store, Writer},
};
use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

/// A monitor without a sensor: what it is given is published and recorded as the pipeline does it.
struct Monitor {
    directory: tempfile::TempDir,
    origin: Origin,
    publisher: Publisher,
    writer: Writer,
    lines: Vec<u8>,
    // Dropped in this order.
    _server: Server,
    store: Option<Store>,
}

impl Monitor {
    fn start(roll_up: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let origin = Origin::of_this_host(mcp_monitor_common::mechanism::Tier::Tracepoint);
        let settings = store::Settings { roll_up, ..store::Settings::new(directory.path().join("store")) };
        let store = Store::open(&settings, &origin).unwrap();
        let socket = directory.path().join("control.sock");
        let server =
            Server::start(Settings { socket, metrics: None, program_stats: false }, origin.clone()).unwrap();
        let (publisher, writer) = (server.publisher.clone(), store.writer());
        publisher.recorded_by(writer.clone());
        Self { directory, origin, publisher, writer, lines: Vec::new(), _server: server, store: Some(store) }
    }

    fn tell(&mut self, event: Event) {
        json::event(&mut self.lines, &self.origin, &event);
        self.writer.event(event.clone());
        self.publisher.event(event);
    }

    fn tell_finding(&mut self, finding: &Finding) {
        json::finding(&mut self.lines, &self.origin, finding);
        self.writer.finding(finding);
        self.publisher.finding(finding);
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    fn monitor(&self) -> Source {
        Source::Monitor(Client::new(self.socket()))
    }

    /// Everybody who can be asked, once all is written: for events the file of the day as well.
    fn sources(&self) -> Vec<(&'static str, Source)> {
        let file = self.directory.path().join("lines.jsonl");
        std::fs::write(&file, &self.lines).unwrap();
        vec![
            ("the monitor", self.monitor()),
            ("its store", Source::Store(self.store())),
            ("the lines", Source::File(file)),
        ]
    }

    fn day(&self) -> Source {
        let entries = std::fs::read_dir(self.store()).unwrap().map(|entry| entry.unwrap().path());
        let is_day = |path: &Path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with("events-") && path.extension().is_some_and(|extension| extension == "db")
        };
        Source::Store(entries.into_iter().find(|path| is_day(path)).unwrap())
    }
}

/// Who runs the test, and so sees what that user's processes did, root or not.
fn uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

fn mine(process: &Process) -> Arc<Process> {
    Arc::new(Process { uid: uid(), euid: uid(), ..process.clone() })
}

/// Many different events: all kinds, several workloads, processes and users.
fn events(rounds: u32) -> Vec<Event> {
    let mut events = Vec::new();
    for round in 0..rounds {
        for (number, one) in sample::events().into_iter().enumerate() {
            let number = u32::try_from(number).unwrap();
            let process = Process {
                key: ProcessKey { pid: ProcessId(5000 + (round + number) % 7), ..one.process.key },
                user: Some(format!("user{}", (round + number) % 7 % 2)),
                ..(*mine(&one.process)).clone()
            };
            let workload = Workload {
                instance: format!("{:08x}-instance", round % 3),
                name: ["github", "files\u{1b}[2J", "memory"][round as usize % 3].into(),
                ..(*one.workload).clone()
            };
            // A note is by the monitor and of nobody, so only root and the group would see it everywhere.
            let action = match one.action.clone() {
                Action::Coverage(note) if uid() != 0 => Action::Coverage(CoverageNote { count: 1, ..note }),
                other => other,
            };
            events.push(Event {
                id: uuid::Uuid::now_v7().to_string(),
                boot_ns: BootNs(Clock::now().0),
                sequence: u64::from(round * 100 + number),
                process: Arc::new(process),
                workload: Arc::new(workload),
                action,
                ..one
            });
        }
    }
    for name in sample::hostile_names() {
        let one = sample::open(&name);
        events.push(Event {
            id: uuid::Uuid::now_v7().to_string(),
            boot_ns: Clock::now(),
            process: mine(&one.process),
            ..one
        });
    }
    events
}

fn ids(source: &Source, what: What, filter: &Filter, last: Option<usize>) -> Vec<String> {
    let mut ids = Vec::new();
    let span = Span { last, follow: false };
    let missed = source
        .each(what, filter, span, |line, _| {
            match line {
                Line::Event(event) => ids.push(event.id.to_string()),
                Line::Finding(finding) => ids.push(finding.id.to_string()),
                _ => {}
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(!missed.cut, "{filter:?} of {}", source.name());
    ids
}

fn condition(name: &str, value: &str) -> Filter {
    serde_json::from_value(serde_json::json!({ name: value })).unwrap()
}

#[test]
fn every_filter_has_the_same_answer_from_all_who_can_be_asked() {
    let mut monitor = Monitor::start(false);
    let all = events(6);
    let (early, late) = (all[all.len() / 3].boot_ns, all[all.len() / 2].boot_ns);
    let time = |at: BootNs| monitor.origin.time(at);
    let (early, late) = (time(early), time(late));
    let an_id = all[100].id.clone();
    for event in all {
        monitor.tell(event);
    }
    let filters = [
        ("workload", "github"),
        ("workload", "github,memory"),
        ("workload", "files\u{1b}[2J"),
        ("workload", "00000001"),
        ("workload", "000"),
        ("kind", "open,connect"),
        ("kind", "coverage"),
        ("verdict", "forbidden,unexpected"),
        ("verdict", "expected"),
        ("rule", "secret-read"),
        ("pid", "5003"),
        ("pid", "1"),
        ("tree", "4600"),
        ("tree", "5001,5002"),
        ("container", "c0f"),
        ("pod", "web"),
        ("pod", "nothing"),
        ("user", "user1"),
        ("user", "77777"),
        ("path", "/home/**"),
        ("path", "/home/user/.ssh/id_rsa"),
        ("path", "**/*"),
        ("path", "**/*\u{1b}*"),
        ("path", "/home/{user,other}/.ssh/id_*"),
        ("path", "@*"),
        ("destination", "203.0.113.7"),
        ("destination", "203.0.113.0/24:443"),
        ("destination", "*.example.com"),
        ("destination", "api.example.com"),
        ("severity", "high"),
        ("state", "open"),
        ("id", &an_id),
        ("id", &an_id[..9]),
    ]
    .map(|(name, value)| condition(name, value));
    let more = [
        Filter::default(),
        Filter { since: Some(early), ..Filter::default() },
        Filter { since: Some(early), until: Some(late), ..Filter::default() },
        Filter { until: Some(late), ..condition("kind", "open") },
        Filter { pod: Some("default/web".into()), ..condition("workload", "github") },
        Filter { path: Some("/home/**".into()), ..condition("verdict", "forbidden") },
    ];
    let mut sources = monitor.sources();
    // The first question has everything written, which the day's file then holds.
    ids(&sources[0].1, What::Events, &Filter::default(), None);
    sources.push(("the day's file", monitor.day()));
    let mut meaningful = 0;
    for (number, filter) in filters.iter().chain(&more).enumerate() {
        let lasts: &[Option<usize>] = if number % 3 == 0 { &[None, Some(5)] } else { &[None] };
        for &last in lasts {
            let wanted = ids(&sources[2].1, What::Events, filter, last);
            meaningful += usize::from(!wanted.is_empty());
            for (name, source) in &sources {
                let got = ids(source, What::Events, filter, last);
                let same = got.iter().zip(&wanted).take_while(|(got, wanted)| got == wanted).count();
                assert!(
                    got == wanted,
                    "{name}: {filter:?}, last {last:?}: {} lines and not {}; the first {same} are the same",
                    got.len(),
                    wanted.len()
                );
            }
        }
    }
    assert!(meaningful > 30, "only {meaningful} filters mean anything");
}

#[test]
fn findings_have_the_same_answer_and_say_where_they_stand() {
    let mut monitor = Monitor::start(false);
    let mut told = Vec::new();
    for (number, one) in sample::findings().into_iter().cycle().take(40).enumerate() {
        let workload = Workload { name: format!("w{}", number % 2), ..(*one.workload).clone() };
        let finding = Finding {
            id: uuid::Uuid::now_v7().to_string(),
            workload: Arc::new(workload),
            process: mine(&one.process),
            first_seen: Clock::now(),
            last_seen: Clock::now(),
            ..one
        };
        monitor.tell_finding(&finding);
        told.push(finding);
    }
    for (name, value) in [
        ("workload", "w1"),
        ("kind", "open"),
        ("rule", "secret-read"),
        ("severity", "critical"),
        ("path", "/home/**"),
        ("state", "open"),
        ("state", "suppressed"),
        ("id", &told[3].id),
    ] {
        let filter = condition(name, value);
        let sources = monitor.sources();
        let wanted = ids(&sources[2].1, What::Findings, &filter, None);
        for (who, source) in &sources {
            assert_eq!(ids(source, What::Findings, &filter, None), wanted, "{who}: {filter:?}");
        }
    }
    let rules = crate::finding::rules::RuleBook::embedded().unwrap();
    for (who, source) in monitor.sources() {
        let (explanation, _) = source.explain(&told[5].id, &rules).unwrap();
        assert_eq!(explanation.expect(who).id, told[5].id, "{who}");
    }
}

#[test]
fn expected_repeats_are_counted_once_whoever_is_asked() {
    let mut monitor = Monitor::start(true);
    for _ in 0..500 {
        for one in sample::events().into_iter().take(6) {
            let event = Event {
                id: uuid::Uuid::now_v7().to_string(),
                boot_ns: Clock::now(),
                process: mine(&one.process),
                ..one
            };
            monitor.tell(event);
        }
    }
    let count = |source: &Source| {
        let mut count = 0;
        let span = Span { last: None, follow: false };
        source
            .each(What::Events, &Filter::default(), span, |line, _| {
                if let Line::Event(event) = line {
                    count += event.count;
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        count
    };
    let lines = count(&monitor.sources()[2].1);
    assert_eq!(count(&monitor.monitor()), lines, "with what waits to be put together");
    drop(monitor.store.take());
    assert_eq!(count(&Source::Store(monitor.store())), lines, "once all of it is written");
}

#[test]
fn who_follows_gets_each_event_once_where_history_and_present_meet() {
    let mut monitor = Monitor::start(true);
    let mut wanted = Vec::new();
    for number in 0..400 {
        let event = numbered(number);
        wanted.push(event.id.clone());
        monitor.tell(event);
    }
    let (sender, receiver) = mpsc::channel();
    let source = monitor.monitor();
    std::thread::spawn(move || {
        let span = Span { last: Some(100_000), follow: true };
        // It ends with the monitor.
        let _ = source.each(What::Events, &Filter::default(), span, |line, _| {
            let Line::Event(event) = line else { return ControlFlow::Continue(()) };
            match sender.send(event.id.to_string()) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
    });
    // While the answer begins, at any moment of it.
    for number in 400..2000 {
        let event = numbered(number);
        wanted.push(event.id.clone());
        monitor.tell(event);
        std::thread::sleep(Duration::from_micros(100));
    }
    let mut got = Vec::new();
    while got.len() < wanted.len()
        && let Ok(id) = receiver.recv_timeout(Duration::from_secs(20))
    {
        got.push(id);
    }
    assert_eq!(got.len(), wanted.len());
    assert_eq!(got, wanted);
}

/// An event that is put together with no other.
fn numbered(number: u32) -> Event {
    let one = sample::open(format!("/data/{number}").as_bytes());
    Event { id: uuid::Uuid::now_v7().to_string(), boot_ns: Clock::now(), process: mine(&one.process), ..one }
}

#[test]
fn what_was_asked_is_in_the_journal_with_who_asked() {
    let mut monitor = Monitor::start(false);
    monitor.tell(numbered(1));
    for _ in 0..3 {
        ids(&monitor.monitor(), What::Events, &condition("path", "/data/*"), None);
    }
    monitor.publisher.ending();
    drop(monitor.store.take());
    let mut reader = store::Reader::open(&monitor.store()).unwrap();
    let entries = reader.journal(0, 1000).unwrap();
    let queries: Vec<serde_json::Value> = entries
        .iter()
        .map(|(_, line)| serde_json::from_str(line).unwrap())
        .filter(|entry: &serde_json::Value| entry["act"] == "query")
        .collect();
    assert_eq!(queries.len(), 2, "{queries:?}");
    assert_eq!(queries[0]["what"], "events?path=%2Fdata%2F*");
    assert_eq!((&queries[0]["actor"]["uid"], &queries[1]["times"]), (&uid().into(), &2.into()));
}
