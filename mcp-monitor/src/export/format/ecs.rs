//! Elastic Common Schema 9.4. Tests check every key against the published list of fields.
//!
//! The workload stands in `service.*` (a server) or `gen_ai.agent.*` (an agent), and in `labels.*`, since the schema has no
//! fields for MCP yet.

use serde_json::{Map, Value, json};

use super::{command_line, directory_of, failure, name_of, pruned, snake_case};
use crate::{
    event::Severity,
    export::record::{Body, Parts, Record},
    render::read::{Network, ProcessReference, Text},
};

/// The version of the schema.
pub const VERSION: &str = "9.4.0";

/// `record` as an ECS document.
#[must_use]
pub fn object(record: &Record) -> Value {
    let parts = record.parts();
    let mut document = json!({
        "@timestamp": record.time().to_string(),
        "ecs": {"version": VERSION},
        "message": match record.body() {
            Body::Finding(finding) if !finding.message.is_empty() => finding.message.to_string(),
            _ => parts.sentence(),
        },
        "event": event(record, &parts),
        "agent": {"type": "mcp-monitor", "id": parts.host.id.to_string(), "version": parts.monitor.version.to_string()},
        "observer": {"vendor": "mcp-monitor", "product": "mcp-monitor", "type": "sensor", "version": parts.monitor.version.to_string()},
        "host": {
            "id": parts.host.id.to_string(),
            "name": parts.host.name.to_string(),
            "hostname": parts.host.name.to_string(),
            "boot": {"id": parts.host.boot.to_string()},
            "os": {"type": "linux"},
        },
        "user": {"id": parts.process.uid.to_string(), "name": parts.process.user.as_ref().map(ToString::to_string)},
        "process": process(&parts),
        "labels": labels(record, &parts),
        "tags": parts.test.then_some(["test"]),
        "related": related(&parts),
    });
    let mut more = Map::new();
    workload(&mut more, &parts);
    container(&mut more, &parts);
    file(&mut more, &parts);
    if let Some(network) = parts.network {
        self::network(&mut more, network);
    }
    dns(&mut more, &parts);
    rule(&mut more, record, &parts);
    if let Some(document) = document.as_object_mut() {
        document.extend(more);
    }
    pruned(document)
}

fn workload(more: &mut Map<String, Value>, parts: &Parts<'_>) {
    let server = parts.workload.kind == *"server";
    if server {
        more.insert(
            "service".into(),
            json!({
                "id": parts.workload.id.to_string(),
                "name": parts.workload.name.to_string(),
                "type": "mcp",
                "node": {"name": parts.workload.instance.to_string()},
            }),
        );
    }
    let agent = if server { parts.workload.client.as_ref() } else { Some(&parts.workload.name) };
    let agent_id = if server { parts.workload.parent.as_ref() } else { Some(&parts.workload.id) };
    if agent.is_some() || agent_id.is_some() {
        more.insert(
            "gen_ai".into(),
            json!({"agent": {"name": agent.map(ToString::to_string), "id": agent_id.map(ToString::to_string)}}),
        );
    }
}

fn container(more: &mut Map<String, Value>, parts: &Parts<'_>) {
    if let Some(container) = &parts.process.container {
        more.insert(
            "container".into(),
            json!({
                "id": container.id.to_string(),
                "image": {"name": container.image.as_ref().map(ToString::to_string)},
                "name": container.pod.as_ref().map(ToString::to_string),
            }),
        );
        if let Some(namespace) = &container.namespace {
            more.insert(
                "orchestrator".into(),
                json!({
                    "type": "kubernetes",
                    "namespace": namespace.to_string(),
                    "resource": {"type": "pod", "name": container.pod.as_ref().map(ToString::to_string)},
                }),
            );
        }
    }
}

fn file(more: &mut Map<String, Value>, parts: &Parts<'_>) {
    if let Some(file) = parts.file.or(parts.exec.map(|exec| exec.script.as_ref().unwrap_or(&exec.executable)))
    {
        more.insert(
            "file".into(),
            json!({
                "path": file.path.to_string(),
                "name": name_of(&file.path),
                "directory": directory_of(&file.path),
                "extension": extension(&file.path),
                "inode": file.inode.map(|inode| inode.to_string()),
                "device": file.device.as_ref().map(ToString::to_string),
                "mode": file.mode.as_ref().map(|mode| permissions(&mode.to_string())),
                "target_path": file.target.as_ref().map(ToString::to_string),
            }),
        );
    }
}

fn dns(more: &mut Map<String, Value>, parts: &Parts<'_>) {
    if let Some(dns) = parts.dns {
        let answers: Vec<_> = dns
            .answers
            .iter()
            .map(|answer| {
                json!({
                    "data": answer.address.to_string(),
                    "type": if answer.address.is_ipv4() { "A" } else { "AAAA" },
                    "ttl": answer.ttl,
                })
            })
            .collect();
        more.insert(
            "dns".into(),
            json!({
                "type": "answer",
                "question": {"name": dns.question.to_string()},
                "answers": answers,
                "resolved_ip": dns.answers.iter().map(|answer| answer.address.to_string()).collect::<Vec<_>>(),
                "response_code": response_code(dns.response_code),
            }),
        );
        more.insert(
            "destination".into(),
            json!({"ip": dns.server.map(|server| server.to_string()), "port": dns.server_port}),
        );
    }
}

fn rule(more: &mut Map<String, Value>, record: &Record, parts: &Parts<'_>) {
    if let Some(rule) = parts.rule {
        more.insert(
            "rule".into(),
            json!({
                "id": rule.to_string(),
                "name": match record.body() {
                    Body::Finding(finding) => finding.title.to_string(),
                    Body::Event(_) => rule.to_string(),
                },
                "ruleset": "mcp-monitor",
            }),
        );
    }
    if let Body::Finding(finding) = record.body() {
        let technique = finding.attack.technique.to_string();
        let parent = technique.split('.').next().unwrap_or_default();
        let sub = technique.contains('.').then(|| json!({"id": [technique]}));
        more.insert(
            "threat".into(),
            json!({
                "framework": "MITRE ATT&CK",
                "tactic": {"name": [finding.attack.tactic.to_string()]},
                "technique": {"id": [parent], "subtechnique": sub},
            }),
        );
    }
}

fn event(record: &Record, parts: &Parts<'_>) -> Value {
    let (category, kinds, action) = classify(&parts.kind.to_string(), parts.succeeded() == Some(false));
    let severity = match record.severity() {
        None => 0,
        Some(Severity::Low) => 21,
        Some(Severity::Medium) => 47,
        Some(Severity::High) => 73,
        Some(Severity::Critical) => 99,
    };
    let finding = match record.body() {
        Body::Finding(finding) => Some(finding),
        Body::Event(_) => None,
    };
    json!({
        "id": record.delivery_id(),
        "kind": match (finding, parts.kind.as_bytes()) {
            (Some(_), _) => "alert",
            (None, b"coverage") => "pipeline_error",
            (None, b"heartbeat") => "state",
            (None, _) => "event",
        },
        "category": category,
        "type": kinds,
        "action": action,
        "outcome": match parts.succeeded() {
            Some(true) => "success",
            Some(false) => "failure",
            None => "unknown",
        },
        "module": "mcp-monitor",
        "dataset": if finding.is_some() { "mcp-monitor.finding" } else { "mcp-monitor.event" },
        "provider": "mcp-monitor",
        "severity": severity,
        "risk_score": severity,
        "sequence": parts.sequence,
        "reason": parts.decision.reason.to_string(),
        "start": finding.map(|finding| finding.first_seen.to_string()),
        "end": finding.map(|finding| finding.last_seen.to_string()),
    })
}

/// Category, types and action of a kind.
fn classify(kind: &str, failed: bool) -> (Option<&'static str>, Vec<&'static str>, String) {
    let (category, kind_of, action) = match kind {
        "open" => (Some("file"), "access", "file-open"),
        "rename" => (Some("file"), "change", "file-rename"),
        "link" => (Some("file"), "creation", "file-link"),
        "symlink" => (Some("file"), "creation", "file-symlink"),
        "unlink" => (Some("file"), "deletion", "file-unlink"),
        "truncate" => (Some("file"), "change", "file-truncate"),
        "chmod" => (Some("file"), "change", "file-chmod"),
        "receive" => (Some("file"), "access", "file-receive"),
        "map" => (Some("library"), "start", "file-map"),
        "fork" => (Some("process"), "start", "process-fork"),
        "exec" => (Some("process"), "start", "process-exec"),
        "exit" => (Some("process"), "end", "process-exit"),
        "snoop" => (Some("process"), "access", "process-access"),
        "connect" => (Some("network"), "connection", "network-connect"),
        "send" => (Some("network"), "connection", "network-send"),
        "accept" => (Some("network"), "connection", "network-accept"),
        "listen" => (Some("network"), "start", "network-listen"),
        "close" => (Some("network"), "end", "network-close"),
        "dns" => (Some("network"), "protocol", "dns-answer"),
        "coverage" => (Some("host"), "error", "coverage"),
        "heartbeat" => (Some("host"), "info", "heartbeat"),
        other => (None, "info", other),
    };
    let mut kinds = vec![kind_of];
    if failed && kind != "coverage" {
        kinds.push(if category == Some("network") { "denied" } else { "error" });
    }
    (category, kinds, action.to_owned())
}

fn entity(pid: u32, start: u64, exec_id: u32) -> String {
    format!("{pid}-{start}-{exec_id}")
}

fn process(parts: &Parts<'_>) -> Value {
    let process = parts.process;
    json!({
        "pid": process.pid,
        "entity_id": entity(process.pid, process.start, process.exec_id),
        "executable": process.exe.as_ref().map(ToString::to_string),
        "name": process.exe.as_ref().map(name_of),
        "args": process.args.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "args_count": process.args.len(),
        "command_line": command_line(&process.args),
        "working_directory": process.cwd.as_ref().map(ToString::to_string),
        "interactive": process.tty.as_ref().map(|_| true),
        "user": {"id": process.uid.to_string(), "name": process.user.as_ref().map(ToString::to_string)},
        "parent": process.ancestors.first().map(parent),
    })
}

fn parent(process: &ProcessReference) -> Value {
    json!({
        "pid": process.pid,
        "entity_id": entity(process.pid, process.start, process.exec_id),
        "executable": process.exe.as_ref().map(ToString::to_string),
        "name": process.exe.as_ref().map(name_of),
    })
}

fn network(more: &mut Map<String, Value>, network: &Network) {
    let inbound = network.direction == *"in";
    let transport = match network.transport.as_bytes() {
        b"tcp" | b"udp" => Some(network.transport.to_string()),
        b"raw" => network.protocol.map(|protocol| protocol.to_string()),
        _ => None,
    };
    more.insert(
        "network".into(),
        json!({
            "transport": transport,
            "iana_number": match network.transport.as_bytes() {
                b"tcp" => Some("6".to_owned()),
                b"udp" => Some("17".to_owned()),
                _ => network.protocol.map(|protocol| protocol.to_string()),
            },
            "type": network.address.map(|address| if address.is_ipv4() { "ipv4" } else { "ipv6" }),
            "direction": if inbound { "ingress" } else { "egress" },
            "bytes": network.bytes_sent.zip(network.bytes_received).map(|(sent, received)| sent.saturating_add(received)),
        }),
    );
    let place = network.address.map(|address| address.to_string());
    let socket = network.path.as_ref().or(network.abstract_name.as_ref()).map(ToString::to_string);
    let remote = json!({
        "ip": place,
        "port": network.port,
        "domain": network.name.as_ref().map(ToString::to_string),
        "address": network.name.as_ref().map(ToString::to_string).or(place).or(socket),
        "bytes": network.bytes_received,
    });
    let local = json!({
        "ip": network.local_address.map(|address| address.to_string()),
        "port": network.local_port,
        "bytes": network.bytes_sent,
    });
    let (source, destination) = if inbound { (remote, local) } else { (local, remote) };
    more.insert("source".into(), source);
    more.insert("destination".into(), destination);
}

fn labels(record: &Record, parts: &Parts<'_>) -> Value {
    let (verdict, finding) = match record.body() {
        Body::Event(event) => (Some(event.verdict.to_string()), None),
        Body::Finding(finding) => (None, Some(finding)),
    };
    let result = parts.result.to_string();
    let mut labels = json!({
        "mcp_workload": parts.workload.name.to_string(),
        "mcp_workload_id": parts.workload.id.to_string(),
        "mcp_workload_kind": parts.workload.kind.to_string(),
        "mcp_instance": parts.workload.instance.to_string(),
        "mcp_client": parts.workload.client.as_ref().map(ToString::to_string),
        "verdict": verdict,
        "decision": parts.decision.action.to_string(),
        "decided_by": parts.decision.source.to_string(),
        "errno": failure(&result),
        "count": parts.count.to_string(),
        "finding_id": finding.map(|finding| finding.id.to_string()),
        "finding_state": finding.map(|finding| finding.state.to_string()),
        "tier": parts.monitor.tier.to_string(),
    });
    if let (Some(labels), Some(beat)) = (labels.as_object_mut(), parts.heartbeat) {
        labels.extend(beat.pairs().into_iter().map(|(name, value)| (snake_case(name), value.into())));
    }
    labels
}

fn related(parts: &Parts<'_>) -> Value {
    let mut addresses: Vec<_> = parts
        .network
        .into_iter()
        .flat_map(|network| [network.address, network.local_address])
        .flatten()
        .collect();
    addresses.extend(parts.dns.into_iter().flat_map(|dns| dns.answers.iter().map(|answer| answer.address)));
    addresses.sort_unstable();
    addresses.dedup();
    let hosts = [parts.network.and_then(|network| network.name.as_ref()), parts.dns.map(|dns| &dns.question)];
    json!({
        "ip": addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "hosts": hosts.into_iter().flatten().map(ToString::to_string).collect::<Vec<_>>(),
        "user": parts.process.user.as_ref().map(|user| [user.to_string()]),
    })
}

fn extension(path: &Text) -> Option<String> {
    let name = name_of(path);
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty() && !extension.is_empty()).then(|| extension.to_owned())
}

/// The last four octal digits, as ECS has `file.mode`.
fn permissions(mode: &str) -> String {
    let digits = mode.len().min(4);
    format!("{:0>4}", mode.get(mode.len() - digits..).unwrap_or(mode))
}

fn response_code(code: u16) -> String {
    match code {
        0 => "NOERROR".into(),
        1 => "FORMERR".into(),
        2 => "SERVFAIL".into(),
        3 => "NXDOMAIN".into(),
        4 => "NOTIMP".into(),
        5 => "REFUSED".into(),
        other => other.to_string(),
    }
}
