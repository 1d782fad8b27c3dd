//! A small story as lines, for the tests of pictures: an agent's server that runs a shell, reads a key and calls home.

use super::read::{Event, Finding, Line, Text};
use indexmap::IndexMap;
use serde_json::{Value, json};

fn process(pid: u32, exe: &str, args: &[&str], ancestors: &[(u32, &str)]) -> Value {
    json!({"pid": pid, "start": u64::from(pid) * 1000, "exec_id": 1, "exe": exe, "args": args, "uid": 1000, "euid": 1000,
        "user": "ann", "mount_namespace": 1, "pid_namespace": 1, "net_namespace": 1,
        "ancestors": ancestors.iter().map(|(pid, exe)|
            json!({"pid": pid, "start": u64::from(*pid) * 1000, "exec_id": 1, "exe": exe})).collect::<Vec<_>>()})
}

fn line(number: u32, kind: &str, process: &Value, more: &Value) -> String {
    let mut event = json!({
        "schema": "mcp-monitor/event/v1", "id": format!("event-{number:04}"),
        "time": format!("2026-11-20T10:00:{:02}.{:03}000000Z", number / 10, number % 10 * 100),
        "boot_ns": number, "sequence": number, "lane": 0, "kind": kind,
        "host": {"id": "h", "name": "example", "boot": "b"}, "monitor": {"version": "0.1.0", "tier": "lsm"},
        "workload": {"id": "aaaa1111", "instance": "inst-0001", "kind": "server", "name": "github",
            "client": "claude-code"},
        "segment": 1, "process": process, "thread": 1, "result": "ok", "verdict": "expected",
        "decision": {"source": "profile:node", "reason": "the runtime reads it", "action": "observed"},
        "mechanism": "file_open", "count": 1,
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        event[name] = value.clone();
    }
    event.to_string()
}

/// The story; `name` stands wherever a monitored process chooses a name.
pub(crate) fn lines(name: &str) -> Vec<String> {
    let npx = process(100, "/usr/bin/npx", &["npx", "-y", "server-github"], &[]);
    let node = process(101, "/usr/bin/node", &["node", "server.js", name], &[(100, "/usr/bin/npx")]);
    let shell =
        process(102, "/usr/bin/dash", &["sh", "-c", name], &[(101, "/usr/bin/node"), (100, "/usr/bin/npx")]);
    let path = format!("/home/ann/.ssh/{name}");
    let secret = json!({"file": {"path": path, "access": ["read"]}, "verdict": "forbidden", "rule": "secret-read",
        "decision": {"source": "catalogue:ssh", "reason": format!("read a secret: {name}"), "action": "observed"}});
    let home = json!({"network": {"direction": "out", "transport": "tcp", "address": "203.0.113.7", "port": 443,
        "name": name, "name_confidence": "workload-dns"}, "verdict": "unexpected", "rule": "unknown-egress",
        "decision": {"source": "default", "reason": "not expected", "action": "observed"}});
    let api = json!({"network": {"direction": "out", "transport": "tcp", "address": "192.0.2.9", "port": 443,
        "name": "api.github.com", "name_confidence": "workload-dns"},
        "decision": {"source": "command-line", "reason": "declared", "action": "observed"}});
    let mut closed = api.clone();
    closed["network"]["bytes_sent"] = 5120.into();
    closed["network"]["bytes_received"] = 90_000.into();
    let open = |path: &str| json!({"file": {"path": path, "access": ["read"]}});
    let exec = |path: &str, args: &[&str]| json!({"exec": {"executable": {"path": path, "access": []}, "args": args}});
    let finding = json!({
        "schema": "mcp-monitor/finding/v1", "id": "finding-0001", "rule": "secret-read", "severity": "critical",
        "state": "open", "first_seen": "2026-11-20T10:00:00.700000000Z",
        "last_seen": "2026-11-20T10:00:00.700000000Z", "count": 1, "kind": "open",
        "host": {"id": "h", "name": "example", "boot": "b"}, "monitor": {"version": "0.1.0", "tier": "lsm"},
        "workload": {"id": "aaaa1111", "instance": "inst-0001", "kind": "server", "name": "github"},
        "process": shell, "file": secret["file"], "result": "ok", "decision": secret["decision"],
        "attack": {"technique": "T1552.001", "tactic": "credential-access"},
        "title": "A secret was read by somebody who does not own it", "message": format!("sh read {path}"),
        "advice": "Replace the secret.", "events": ["event-0007"],
    });
    let coverage =
        json!({"coverage": {"cause": "weaker-mechanism", "what": name, "count": 3}, "verdict": "unjudged"});
    vec![
        line(0, "exec", &npx, &exec("/usr/bin/npx", &["npx", "-y", "server-github"])),
        line(1, "exec", &node, &exec("/usr/bin/node", &["node", "server.js", name])),
        line(2, "open", &node, &open("/usr/lib/node_modules/a.js")),
        line(3, "open", &node, &open("/usr/lib/node_modules/b.js")),
        line(4, "connect", &node, &api),
        line(5, "fork", &node, &json!({"target_process": {"pid": 102, "start": 102_000, "exec_id": 0}})),
        line(6, "exec", &shell, &exec("/usr/bin/dash", &["sh", "-c", name])),
        line(7, "open", &shell, &secret),
        finding.to_string(),
        line(12, "connect", &shell, &home),
        line(13, "exit", &shell, &json!({"exit": {"code": 0}})),
        line(30, "close", &node, &closed),
        line(31, "coverage", &node, &coverage),
    ]
}

/// The events and findings of [`lines`].
pub(crate) fn read(name: &str) -> (Vec<Event>, IndexMap<Text, Finding>) {
    let (mut events, mut findings) = (Vec::new(), IndexMap::new());
    for line in lines(name) {
        match Line::parse(&line).unwrap() {
            Line::Event(event) => events.push(*event),
            Line::Finding(finding) => {
                findings.insert(finding.id.clone(), *finding);
            }
            other => panic!("{other:?}"),
        }
    }
    (events, findings)
}

/// Names that want to forge a line, move a terminal, or be taken for markup.
pub(crate) const HOSTILE: [&str; 6] = [
    "a\n└─ 1 init [expected 9]\n",
    "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m",
    "\u{202e}txt\u{2066}\u{200b}\u{2028}",
    "</title></style><script>alert(1)</script><img src=x onerror=alert(2)>",
    "\"' onmouseover=alert(3) x='&#x3c;script&#x3e;",
    "\\x1b[2J \\ %s ${jndi:x} =cmd|' /C calc'!A0",
];
