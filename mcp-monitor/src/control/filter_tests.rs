//! Filters against lines as they are written.

use super::*;
use crate::render::read::{Event, Finding};
use serde_json::{Value, json};

fn event(fields: &Value) -> Event {
    let mut line = json!({
        "schema": "mcp-monitor/event/v1", "id": "e1", "time": "2026-11-20T10:00:00Z", "kind": "open",
        "workload": {"id": "aaaa1111", "instance": "inst-1", "kind": "server", "name": "github"},
        "process": {"pid": 40, "start": 1, "exec_id": 1, "uid": 1000, "user": "ann",
            "container": {"id": "c0ffee", "pod": "web", "namespace": "prod"},
            "ancestors": [{"pid": 30}, {"pid": 20}]},
        "verdict": "forbidden", "rule": "secret-read", "result": "ok",
    });
    for (name, value) in fields.as_object().unwrap() {
        line[name] = value.clone();
    }
    serde_json::from_value(line).unwrap()
}

fn matches(filter: &Filter, fields: &Value) -> bool {
    filter.matcher().unwrap().event(&event(fields))
}

fn condition(name: &str, value: &str) -> Filter {
    serde_json::from_value(json!({ name: value })).unwrap()
}

#[test]
fn each_condition_keeps_what_it_names_and_nothing_else() {
    let file = json!({"file": {"path": "/home/ann/.ssh/id_rsa"}});
    let connect = json!({"kind": "connect", "network":
        {"direction": "out", "transport": "tcp", "address": "203.0.113.7", "port": 443, "name": "api.example.com"}});
    for (name, value, subject, wanted) in [
        ("workload", "github", &file, true),
        ("workload", "other,aaaa", &file, true),
        ("workload", "a", &file, false),
        ("kind", "open,exec", &file, true),
        ("kind", "exec", &file, false),
        ("verdict", "unexpected,forbidden", &file, true),
        ("verdict", "expected", &file, false),
        ("rule", "secret-read", &file, true),
        ("rule", "unknown-egress", &file, false),
        ("pid", "40", &file, true),
        ("pid", "30", &file, false),
        ("tree", "20", &file, true),
        ("tree", "21", &file, false),
        ("container", "c0f", &file, true),
        ("container", "beef", &file, false),
        ("pod", "prod/web", &file, true),
        ("pod", "web", &file, true),
        ("pod", "test/web", &file, false),
        ("user", "ann", &file, true),
        ("user", "1000", &file, true),
        ("user", "bob", &file, false),
        ("path", "/home/*/.ssh/**", &file, true),
        ("path", "/home/*", &file, false),
        ("path", "/home/{ann,bob}/.ssh/id_*", &file, true),
        ("destination", "api.example.com", &connect, true),
        ("destination", "*.example.com:443", &connect, true),
        ("destination", "*.ample.com", &connect, false),
        ("destination", "203.0.113.0/24", &connect, true),
        ("destination", "203.0.113.7:80", &connect, false),
        ("destination", "0.0.0.0/0", &connect, true),
        ("destination", "2001:db8::1", &connect, false),
        ("destination", "api.example.com", &file, false),
    ] {
        assert_eq!(matches(&condition(name, value), subject), wanted, "{name}={value}");
    }
}

#[test]
fn several_conditions_all_have_to_hold() {
    let file = json!({"file": {"path": "/x"}});
    let both = Filter { kind: Some("open".into()), verdict: Some("forbidden".into()), ..Filter::default() };
    assert!(matches(&both, &file));
    assert!(!matches(&Filter { kind: Some("exec".into()), ..both }, &file));
}

#[test]
fn since_is_part_of_the_time_and_until_is_not() {
    let at = |text: &str| Some(text.parse().unwrap());
    let since = |text| Filter { since: at(text), ..Filter::default() };
    let until = |text| Filter { until: at(text), ..Filter::default() };
    assert!(matches(&since("2026-11-20T10:00:00Z"), &json!({})));
    assert!(!matches(&since("2026-11-20T10:00:01Z"), &json!({})));
    assert!(matches(&until("2026-11-20T10:00:01Z"), &json!({})));
    assert!(!matches(&until("2026-11-20T10:00:00Z"), &json!({})));
}

#[test]
fn severity_asks_for_findings_at_least_that_bad() {
    let finding: Finding = serde_json::from_value(json!({
        "id": "f", "rule": "secret-read", "severity": "high",
        "first_seen": "2026-11-20T10:00:00Z", "last_seen": "2026-11-20T10:05:00Z",
        "workload": {"id": "aaaa", "instance": "i", "name": "github"}, "process": {"pid": 1},
    }))
    .unwrap();
    let keeps = |severity: &str| condition("severity", severity).matcher().unwrap().finding(&finding);
    assert!(keeps("medium") && keeps("high") && !keeps("critical"));
}

#[test]
fn what_is_no_condition_is_refused_with_what_it_has_to_be() {
    for (name, value, told) in [
        ("verdict", "bad", "forbidden"),
        ("rule", "secret", "secret-read"),
        ("pid", "-1", "process id"),
        ("path", "/a[", "glob"),
        ("destination", "host:http", "NAME"),
        ("destination", "10.0.0.0/33", "NETWORK/PREFIX"),
        ("severity", "worst", "critical"),
    ] {
        let error = condition(name, value).matcher().unwrap_err().to_string();
        assert!(error.contains(told) && error.contains(name), "{error}");
    }
    assert!(serde_json::from_value::<Filter>(json!({"workloads": "x"})).is_err());
    let many = vec!["1"; 100].join(",");
    assert!(matches!(condition("pid", &many).matcher(), Err(FilterError::TooMuch("pid"))));
}
