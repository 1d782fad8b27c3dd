//! Events as activities.

use serde_json::{Map, Value, json};

use super::{Class, objects, product, status, with_base};
use crate::{
    export::record::{Parts, Record},
    render::read::{Event, Network},
};

pub(super) fn fields(record: &Record, event: &Event) -> Value {
    let parts = record.parts();
    let boot = objects::Boot(
        i64::try_from(event.boot_ns / 1_000_000)
            .ok()
            .filter(|since_boot| *since_boot > 0)
            .map(|since_boot| event.time.as_millisecond().saturating_sub(since_boot)),
    );
    let actor = json!({
        "process": objects::process(parts.process, boot),
        "user": {"uid": parts.process.uid.to_string(), "name": parts.process.user.as_ref().map(ToString::to_string)},
        "app_name": parts.workload.name.to_string(),
        "app_uid": parts.workload.id.to_string(),
    });
    let (class, mut more) = match parts.kind.as_bytes() {
        b"coverage" | b"heartbeat" => application(&parts),
        b"fork" | b"exec" | b"exit" | b"snoop" => process(event, &parts, boot),
        b"dns" => dns(event),
        _ => match (&event.network, &event.file) {
            (Some(network), _) => self::network(event, network, &parts),
            (None, Some(_)) => file(event),
            // A kind of a newer version, of which only the process is known.
            (None, None) => {
                let mut more = Map::new();
                more.insert("process".into(), objects::process(parts.process, boot));
                (Class::process(99, "Other"), more)
            }
        },
    };
    more.insert("actor".into(), actor);
    more.extend(status(&parts));
    if class.activity == 99 {
        more.insert("activity_name".into(), parts.kind.to_string().into());
    }
    with_base(record, class, Value::Object(more))
}

fn application(parts: &Parts<'_>) -> (Class, Map<String, Value>) {
    let mut more = Map::new();
    more.insert("app".into(), product(parts));
    (Class::application(99, "Other"), more)
}

fn process(event: &Event, parts: &Parts<'_>, boot: objects::Boot) -> (Class, Map<String, Value>) {
    let mut more = Map::new();
    let target = parts.target_process.map(|target| objects::reference(target, boot));
    let own = || objects::process(parts.process, boot);
    let class = match event.kind.as_bytes() {
        b"fork" => {
            more.insert("launch_type_id".into(), 2.into());
            more.insert("launch_type".into(), "Fork".into());
            more.insert("process".into(), target.unwrap_or_else(own));
            Class::process(1, "Launch")
        }
        b"exec" => {
            more.insert("launch_type_id".into(), 3.into());
            more.insert("launch_type".into(), "Exec".into());
            more.insert("process".into(), own());
            Class::process(1, "Launch")
        }
        b"exit" => {
            more.insert("process".into(), own());
            if let Some(code) = event.exit.as_ref().and_then(|exit| exit.code) {
                more.insert("exit_code".into(), code.into());
            }
            Class::process(2, "Terminate")
        }
        _ => {
            more.insert("process".into(), target.unwrap_or_else(own));
            Class::process(3, "Open")
        }
    };
    (class, more)
}

fn file(event: &Event) -> (Class, Map<String, Value>) {
    let mut more = Map::new();
    let Some(file) = &event.file else { return (Class::file(0, "Unknown"), more) };
    let class = match event.kind.as_bytes() {
        b"open" => Class::file(14, "Open"),
        b"rename" => Class::file(5, "Rename"),
        b"link" | b"symlink" => Class::file(1, "Create"),
        b"unlink" => Class::file(4, "Delete"),
        b"truncate" => Class::file(3, "Update"),
        b"chmod" => Class::file(7, "Set Security"),
        _ => Class::file(99, "Other"),
    };
    more.insert("file".into(), objects::file(file, None));
    if let (Some(target), b"rename" | b"link") = (&file.target, event.kind.as_bytes()) {
        more.insert("file_result".into(), objects::file(file, Some(target)));
    }
    (class, more)
}

fn network(event: &Event, network: &Network, parts: &Parts<'_>) -> (Class, Map<String, Value>) {
    let class = match (event.kind.as_bytes(), parts.succeeded()) {
        (b"listen", _) => Class::network(7, "Listen"),
        (b"close", _) => Class::network(2, "Close"),
        (b"send", _) => Class::network(6, "Traffic"),
        (_, Some(false)) if event.result == *"failed:ECONNREFUSED" => Class::network(5, "Refuse"),
        (_, Some(false)) => Class::network(4, "Fail"),
        (b"connect" | b"accept", _) => Class::network(1, "Open"),
        _ => Class::network(99, "Other"),
    };
    let mut more = Map::new();
    let (remote, local) = (objects::remote(network), objects::local(network, parts));
    // A listener has one end: its own.
    let (source, destination) = match event.kind.as_bytes() {
        b"listen" => (None, remote.or(Some(local))),
        _ if network.direction == *"in" => (remote, Some(local)),
        _ => (Some(local), remote),
    };
    more.insert("src_endpoint".into(), source.unwrap_or_default());
    more.insert("dst_endpoint".into(), destination.unwrap_or_default());
    more.insert("connection_info".into(), objects::connection(network));
    if network.bytes_sent.is_some() || network.bytes_received.is_some() {
        more.insert(
            "traffic".into(),
            json!({"bytes_out": network.bytes_sent, "bytes_in": network.bytes_received}),
        );
    }
    (class, more)
}

fn dns(event: &Event) -> (Class, Map<String, Value>) {
    let mut more = Map::new();
    if let Some(dns) = &event.dns {
        more.insert("query".into(), json!({"hostname": dns.question.to_string()}));
        let answers = dns.answers.iter().map(|answer| {
            json!({
                "rdata": answer.address.to_string(),
                "type": if answer.address.is_ipv4() { "A" } else { "AAAA" },
                "ttl": answer.ttl,
            })
        });
        more.insert("answers".into(), answers.collect());
        if matches!(dns.response_code, 0..=11 | 16..=24) {
            more.insert("rcode_id".into(), dns.response_code.into());
        }
        let server = dns.server.map_or_else(|| "resolver".to_owned(), |server| server.to_string());
        more.insert(
            "dst_endpoint".into(),
            json!({"ip": dns.server.map(|server| server.to_string()), "port": dns.server_port, "name": server}),
        );
    }
    (Class::dns(2, "Response"), more)
}
