//! Records as log records of OpenTelemetry, with attributes as its semantic conventions name them.

use jiff::Timestamp;
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource,
};

use crate::{
    event::Severity,
    export::{
        format::{Format, snake_case},
        record::{Body, Record},
    },
};

/// A request with `records` in their order.
pub(super) fn request(records: &[Record], format: Format) -> ExportLogsServiceRequest {
    let observed = nanoseconds(Timestamp::now());
    let mut resource_logs: Vec<ResourceLogs> = Vec::new();
    for record in records {
        let resource = resource(record);
        let log = log(record, format, observed);
        match resource_logs.last_mut() {
            // Records of several hosts are met in replays alone.
            Some(last) if last.resource.as_ref() == Some(&resource) => {
                if let Some(scope) = last.scope_logs.first_mut() {
                    scope.log_records.push(log);
                }
            }
            _ => resource_logs.push(ResourceLogs {
                resource: Some(resource),
                scope_logs: vec![ScopeLogs {
                    scope: Some(InstrumentationScope {
                        name: "mcp-monitor".into(),
                        version: record.parts().monitor.version.to_string(),
                        ..InstrumentationScope::default()
                    }),
                    log_records: vec![log],
                    ..ScopeLogs::default()
                }],
                ..ResourceLogs::default()
            }),
        }
    }
    ExportLogsServiceRequest { resource_logs }
}

fn resource(record: &Record) -> Resource {
    let parts = record.parts();
    let mut attributes = Attributes::default();
    attributes.put("service.name", "mcp-monitor");
    attributes.put("service.version", &parts.monitor.version);
    attributes.put("host.id", &parts.host.id);
    attributes.put("host.name", &parts.host.name);
    attributes.put("os.type", "linux");
    Resource { attributes: attributes.0, ..Resource::default() }
}

fn nanoseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or(0)
}

fn severity(record: &Record) -> (SeverityNumber, &'static str) {
    match record.severity() {
        None => (SeverityNumber::Info, "INFO"),
        Some(Severity::Low) => (SeverityNumber::Info2, "INFO2"),
        Some(Severity::Medium) => (SeverityNumber::Warn, "WARN"),
        Some(Severity::High) => (SeverityNumber::Error, "ERROR"),
        Some(Severity::Critical) => (SeverityNumber::Fatal, "FATAL"),
    }
}

fn log(record: &Record, format: Format, observed: u64) -> LogRecord {
    let (severity, text) = severity(record);
    LogRecord {
        time_unix_nano: nanoseconds(record.time()),
        observed_time_unix_nano: observed,
        severity_number: severity as i32,
        severity_text: text.into(),
        body: Some(AnyValue { value: Some(Value::StringValue(format.line(record))) }),
        attributes: attributes(record),
        event_name: if record.is_finding() { "mcp_monitor.finding" } else { "mcp_monitor.event" }.into(),
        ..LogRecord::default()
    }
}

fn attributes(record: &Record) -> Vec<KeyValue> {
    let parts = record.parts();
    let mut all = Attributes::default();
    // The convention's own name for an id by which duplicates are told.
    all.put("log.record.uid", record.delivery_id());
    all.put("mcp_monitor.id", parts.id);
    all.put("mcp_monitor.kind", parts.kind);
    all.put("mcp_monitor.message", parts.sentence());
    all.put("mcp_monitor.object", parts.object());
    all.put("mcp_monitor.result", parts.result);
    all.put("mcp_monitor.workload.id", &parts.workload.id);
    all.put("mcp_monitor.workload.instance", &parts.workload.instance);
    all.put("mcp_monitor.workload.kind", &parts.workload.kind);
    all.put("mcp_monitor.workload.name", &parts.workload.name);
    all.number("mcp_monitor.count", parts.count);
    if let Some(rule) = parts.rule {
        all.put("mcp_monitor.rule", rule);
    }
    match record.body() {
        Body::Event(event) => all.put("mcp_monitor.verdict", &event.verdict),
        Body::Finding(finding) => {
            all.put("mcp_monitor.severity", &finding.severity);
            all.put("mcp_monitor.state", &finding.state);
            all.put("mcp_monitor.technique", &finding.attack.technique);
        }
    }
    if let Some(beat) = parts.heartbeat {
        for (name, value) in beat.pairs() {
            all.put(&format!("mcp_monitor.{}", snake_case(name)), value);
        }
    }
    if parts.test {
        all.push("mcp_monitor.test", Value::BoolValue(true));
    }
    if parts.workload.kind == *"agent" {
        all.put("gen_ai.agent.id", &parts.workload.id);
        all.put("gen_ai.agent.name", &parts.workload.name);
    }
    let process = parts.process;
    all.number("process.pid", u64::from(process.pid));
    if let Some(executable) = &process.exe {
        all.put("process.executable.path", executable);
    }
    all.texts("process.command_args", process.args.iter().map(ToString::to_string));
    all.number("process.user.id", u64::from(process.uid));
    if let Some(user) = &process.user {
        all.put("process.user.name", user);
    }
    if let Some(container) = &process.container {
        all.put("container.id", &container.id);
        if let Some(image) = &container.image {
            all.put("container.image.name", image);
        }
        if let Some(pod) = &container.pod {
            all.put("k8s.pod.name", pod);
        }
        if let Some(namespace) = &container.namespace {
            all.put("k8s.namespace.name", namespace);
        }
    }
    if let Some(file) = parts.file {
        all.put("file.path", &file.path);
    }
    if let Some(network) = parts.network {
        all.put("network.transport", &network.transport);
        if let Some(address) = network.address {
            all.put("network.peer.address", address);
        }
        if let Some(port) = network.port {
            all.number("network.peer.port", u64::from(port));
        }
        if let Some(name) = &network.name {
            all.put("server.address", name);
        }
    }
    if let Some(dns) = parts.dns {
        all.put("dns.question.name", &dns.question);
    }
    all.0
}

/// Attributes; an empty text is none.
#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn push(&mut self, key: &str, value: Value) {
        let value = Some(AnyValue { value: Some(value) });
        self.0.push(KeyValue { key: key.into(), value, ..KeyValue::default() });
    }

    fn put(&mut self, key: &str, value: impl std::fmt::Display) {
        let value = value.to_string();
        if !value.is_empty() {
            self.push(key, Value::StringValue(value));
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        self.push(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn texts(&mut self, key: &str, values: impl Iterator<Item = String>) {
        let values: Vec<_> =
            values.map(|value| AnyValue { value: Some(Value::StringValue(value)) }).collect();
        if !values.is_empty() {
            self.push(key, Value::ArrayValue(ArrayValue { values }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;

    use super::*;
    use crate::export::testing;

    #[test]
    fn what_is_encoded_reads_back_with_ids_times_and_severities_and_no_key_twice() {
        let mut records = testing::events(2);
        records.extend(testing::findings(1));
        records.push(testing::opened(b"/tmp/\xff\n\x1b[31m"));
        let bytes = request(&records, Format::Ecs).encode_to_vec();
        let read = ExportLogsServiceRequest::decode(&bytes[..]).unwrap();
        assert_eq!(read.resource_logs.len(), 1, "one host");
        let logs = &read.resource_logs[0].scope_logs[0].log_records;
        assert_eq!(logs.len(), records.len());
        for (log, record) in logs.iter().zip(&records) {
            assert_eq!(i128::from(log.time_unix_nano), record.time().as_nanosecond());
            let keys: BTreeSet<_> = log.attributes.iter().map(|one| &one.key).collect();
            assert_eq!(keys.len(), log.attributes.len());
            let text = |key: &str| {
                let found = log.attributes.iter().find(|one| one.key == key)?;
                match found.value.as_ref()?.value.as_ref()? {
                    Value::StringValue(text) => Some(text.clone()),
                    _ => None,
                }
            };
            assert_eq!(text("log.record.uid").as_deref(), Some(record.delivery_id()));
            assert!(!text("mcp_monitor.object").unwrap_or_default().chars().any(char::is_control));
        }
        assert_eq!(logs[0].severity_number, SeverityNumber::Info as i32);
        assert_eq!(logs[2].severity_number, SeverityNumber::Fatal as i32);
        assert_eq!(logs[2].event_name, "mcp_monitor.finding");
    }
}
