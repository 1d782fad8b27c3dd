//! From events to proposals, and back to verdicts.

use std::{path::PathBuf, sync::Arc};

use super::{
    observe::Seen,
    replay::{Ground, Replay},
    *,
};
use crate::{
    expectation::{
        file::{Compiled, Set, Subject, read::Source},
        glob::Homes,
    },
    render::read::{Event, Line},
};

/// An event as a monitor writes it.
fn event(instance: &str, kind: &str, object: &str, decision: &str) -> Event {
    let line = format!(
        r#"{{"schema":"mcp-monitor/event/v1","id":"e","time":"2026-11-20T10:00:00Z","kind":"{kind}","workload":{{"id":"w","instance":"{instance}","name":"demo"}},"process":{{"pid":7,"exe":"/usr/bin/python3","args":["python3","server.py","/srv/data"],"cwd":"/home/u/work"}},{object},"result":"ok",{decision},"count":1}}"#
    );
    match Line::parse(&line).expect(&line) {
        Line::Event(event) => *event,
        other => panic!("{other:?}"),
    }
}

const UNJUDGED: &str = r#""verdict":"unjudged","decision":{"source":"default","reason":"no rule is broken"}"#;

fn read(instance: &str, path: &str) -> Event {
    event(
        instance,
        "open",
        &format!(r#""file":{{"path":"{path}","access":["read"],"mode":"100644"}}"#),
        UNJUDGED,
    )
}

fn connect(instance: &str, name: &str, address: &str) -> Event {
    let object = format!(
        r#""network":{{"direction":"out","transport":"tcp","address":"{address}","port":443,"name":"{name}","name_confidence":"workload-dns"}}"#
    );
    event(
        instance,
        "connect",
        &object,
        r#""verdict":"unexpected","rule":"unknown-egress","decision":{"source":"default","reason":"not declared"}"#,
    )
}

fn secret(instance: &str) -> Event {
    event(
        instance,
        "open",
        r#""file":{"path":"/home/u/.ssh/id_rsa","access":["read"],"mode":"100600"}"#,
        r#""verdict":"forbidden","rule":"secret-read","decision":{"source":"catalogue:ssh-private-key","reason":"read a secret"}"#,
    )
}

fn observe(events: &[Event]) -> Observation {
    let mut observation = Observation { name: "demo".into(), ..Observation::default() };
    for event in events {
        observation.note(event);
    }
    observation
}

fn candidate(text: &str) -> Compiled {
    let set = Set::of_sources(&[Source { path: PathBuf::from("p.yaml"), text: text.into() }]).expect(text);
    let subject = Subject { workspaces: vec!["/home/u/work".into()], ..Subject::default() };
    Compiled::new(&Arc::clone(&set.all()[0]), &subject).unwrap()
}

fn replay(events: &[Event], text: &str) -> Replay {
    let ground = Ground::new(Homes::new::<&str>(&[])).unwrap();
    let candidate = candidate(text);
    let mut replay = Replay::default();
    for event in events {
        replay.note(event, &candidate, &ground);
    }
    replay
}

fn patterns(paths: &[String], roots: &[&str]) -> Vec<String> {
    let mut seen = Seen::new();
    for path in paths {
        seen.entry(path.clone().into_bytes()).or_default().count += 1;
    }
    let places = generalise::Places {
        workspaces: [b"/home/u/work".to_vec()].into(),
        roots: roots.iter().map(|root| root.as_bytes().to_vec()).collect(),
    };
    generalise::patterns(&seen, &places).into_iter().map(|pattern| pattern.text).collect()
}

#[test]
fn a_directory_opens_up_only_after_enough_children() {
    let some = |count: usize| {
        (0..count)
            .map(|index| format!("/srv/app/f{}", "abcdefghijkl".as_bytes()[index] as char))
            .collect::<Vec<_>>()
    };
    assert_eq!(patterns(&some(7), &[]).len(), 7);
    assert_eq!(patterns(&some(8), &[]), ["/srv/app/*"]);
    let deep: Vec<_> = some(8).iter().map(|path| format!("{path}/x")).collect();
    assert_eq!(patterns(&deep, &[]), ["/srv/app/**"]);
}

#[test]
fn what_belongs_to_everybody_never_opens_up() {
    for directory in ["/etc", "/home/u", "/home/u/.config", "/tmp", "/var/lib"] {
        let paths: Vec<_> = "abcdefghijklm".chars().map(|name| format!("{directory}/{name}{name}")).collect();
        assert_eq!(patterns(&paths, &[directory]).len(), 13, "{directory}");
    }
}

#[test]
fn what_changes_from_run_to_run_becomes_a_wildcard() {
    let one = |path: &str| patterns(&[path.to_owned()], &[]);
    assert_eq!(one("/proc/4711/oom_score"), ["/proc/*/oom_score"]);
    assert_eq!(one("/srv/cache/9f86d081884c7d65/x"), ["/srv/cache/*/x"]);
    assert_eq!(one("/srv/x/1.2.3/lib"), ["/srv/x/*/lib"]);
    assert_eq!(one("/tmp/tmpab12cd34"), ["/tmp/tmp*"]);
    assert_eq!(one("/srv/550e8400-e29b-41d4-a716-446655440000"), ["/srv/*"]);
    assert_eq!(one("/srv/app/deadbeef"), ["/srv/app/deadbeef"], "a word, though of hexadecimal digits");
    assert_eq!(one("/srv/a*b"), ["/srv/a\\*b"], "a file's own star is no wildcard");
}

#[test]
fn folders_of_the_arguments_and_variables() {
    let paths = ["/srv/data/a", "/srv/data/b/c", "/home/u/work/x", "/home/v/.toolrc"].map(str::to_owned);
    assert_eq!(patterns(&paths, &["/srv/data"]), ["${home}/.toolrc", "${workspace}/x", "/srv/data/**"]);
}

#[test]
fn a_proposal_is_deterministic_understood_and_silences_what_it_was_learnt_from() {
    let mut events = vec![secret("i1")];
    for instance in ["i1", "i2", "i3"] {
        events.push(read(instance, "/home/u/work/notes.txt"));
        events.push(connect(instance, "api.example.com", "192.0.2.1"));
    }
    let text = propose(&observe(&events), Thoroughness::default());
    insta::assert_snapshot!(text);
    events.reverse();
    assert_eq!(propose(&observe(&events), Thoroughness::default()), text, "whatever the order of events");
    let replay = replay(&events, &text);
    assert!(replay.found.is_empty(), "{:?}", replay.found);
    assert_eq!(replay.silent.values().map(|change| change.count).sum::<u64>(), 3, "{replay:?}");
    assert_eq!(replay.kept.keys().map(|(rule, _)| rule.as_str()).collect::<Vec<_>>(), ["secret-read"]);
}

#[test]
fn a_replay_tells_what_would_be_found() {
    let text = propose(&observe(&[read("i", "/home/u/work/a")]), Thoroughness::default());
    let replay = replay(&[read("i", "/home/u/other/b"), connect("i", "paste.example", "192.0.2.9")], &text);
    let rules: Vec<_> = replay.found.keys().map(|(rule, _)| rule.as_str()).collect();
    assert_eq!(rules, ["unexpected-read"]);
    assert_eq!(replay.kept.len(), 1);
}

#[test]
fn losses_and_few_instances_are_gaps() {
    let mut lost = read("i", "/x");
    lost.file = None;
    lost.coverage =
        serde_json::from_str(r#"{"cause":"ring-full","what":"open records","count":12}"#).unwrap();
    let text = propose(&observe(&[read("i", "/home/u/work/a"), lost]), Thoroughness::default());
    let set = Set::of_sources(&[Source { path: PathBuf::from("p.yaml"), text }]).unwrap();
    assert_eq!(
        set.all()[0].gaps,
        ["12 event(s) were not seen: ring-full", "seen in 1 instance(s), fewer than 3"]
    );
}

#[test]
fn hostile_names_make_a_text_that_is_still_understood() {
    let paths = [
        "/srv/a\\\"b",
        "/srv/#x: y",
        "/srv/\\\\x0anew: line",
        "/srv/\\\\xff\\\\xfe",
        "/srv/${home}",
        "/srv/[a]{b}*?",
    ];
    let events: Vec<_> = paths.iter().map(|path| read("i", path)).collect();
    let text = propose(&observe(&events), Thoroughness::default());
    let candidate = Set::of_sources(&[Source { path: PathBuf::from("p.yaml"), text: text.clone() }]);
    assert!(candidate.is_ok(), "{}\n{text}", candidate.unwrap_err());
    let replay = replay(&events, &text);
    assert!(replay.found.is_empty(), "{:?}\n{text}", replay.found);
}
