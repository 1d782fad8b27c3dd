//! journald's own protocol: a datagram of fields, so that `journalctl MCP_MONITOR_WORKLOAD=github` finds them.
//!
//! Each field is written with its length, in which nothing needs escaping and no value can forge another field.

use std::{fmt::Display, os::unix::net::UnixDatagram, path::PathBuf};

use serde::Deserialize;

use super::{Failure, Sink, Taken};
use crate::{
    event::Severity,
    export::{
        format::snake_case,
        record::{Body, Record},
    },
    render::read::Heartbeat,
};

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Id of messages about findings, for `journalctl MESSAGE_ID=`.
pub const FINDING_MESSAGE_ID: &str = "b3c9d0c1e4f54c1c9a3f6b6f0b8f6a51";
/// Id of messages about events.
pub const EVENT_MESSAGE_ID: &str = "5f0a3f5d0e7a4d0f8f4f7c9b1a2e6d33";

/// Settings of `journald`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournaldSettings {
    /// The socket, when journald listens elsewhere.
    pub socket: Option<PathBuf>,
}

/// See the module.
pub(super) struct Journald {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Journald {
    pub(super) fn open(settings: &JournaldSettings) -> std::io::Result<Self> {
        let path = settings.socket.clone().unwrap_or_else(|| SOCKET.into());
        Ok(Self { path, socket: UnixDatagram::unbound()? })
    }
}

fn put(datagram: &mut Vec<u8>, name: &str, value: &dyn Display) {
    let value = value.to_string();
    datagram.extend_from_slice(name.as_bytes());
    datagram.push(b'\n');
    datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
    datagram.extend_from_slice(value.as_bytes());
    datagram.push(b'\n');
}

fn datagram(record: &Record) -> Vec<u8> {
    let parts = record.parts();
    let priority = match record.severity() {
        Some(Severity::Critical) => 2,
        Some(Severity::High) => 3,
        Some(Severity::Medium) => 4,
        Some(Severity::Low) => 5,
        None => 6,
    };
    let mut bytes = Vec::with_capacity(record.line().len() + 1024);
    let mut field = |name: &str, value: &dyn Display| put(&mut bytes, name, value);
    let message = match record.body() {
        Body::Finding(finding) => format!("{}: {}", finding.title, finding.message),
        Body::Event(_) => parts.sentence(),
    };
    field("MESSAGE", &message);
    field("MESSAGE_ID", if record.is_finding() { &FINDING_MESSAGE_ID } else { &EVENT_MESSAGE_ID });
    field("PRIORITY", &priority);
    field("SYSLOG_IDENTIFIER", &"mcp-monitor");
    field("SYSLOG_FACILITY", &13);
    field("MCP_MONITOR_ID", parts.id);
    field("MCP_MONITOR_DELIVERY_ID", &record.delivery_id());
    field("MCP_MONITOR_KIND", parts.kind);
    field("MCP_MONITOR_WORKLOAD", &parts.workload.name);
    field("MCP_MONITOR_WORKLOAD_ID", &parts.workload.id);
    field("MCP_MONITOR_INSTANCE", &parts.workload.instance);
    field("MCP_MONITOR_OBJECT", &parts.object());
    field("MCP_MONITOR_RESULT", parts.result);
    field("MCP_MONITOR_COUNT", &parts.count);
    field("OBJECT_PID", &parts.process.pid);
    if let Some(rule) = parts.rule {
        field("MCP_MONITOR_RULE", rule);
    }
    match record.body() {
        Body::Finding(finding) => {
            field("MCP_MONITOR_SEVERITY", &finding.severity);
            field("MCP_MONITOR_STATE", &finding.state);
            field("MCP_MONITOR_TECHNIQUE", &finding.attack.technique);
        }
        Body::Event(event) => field("MCP_MONITOR_VERDICT", &event.verdict),
    }
    for (name, value) in parts.heartbeat.map(Heartbeat::pairs).unwrap_or_default() {
        field(&format!("MCP_MONITOR_{}", snake_case(name).to_uppercase()), &value);
    }
    if parts.test {
        field("MCP_MONITOR_TEST", &1);
    }
    field("MCP_MONITOR_LINE", &record.line());
    bytes
}

impl Sink for Journald {
    fn deliver(&mut self, records: &[Record]) -> Result<Taken, Failure> {
        let mut taken = Taken::default();
        let told = |error: std::io::Error| format!("{}: {error}", self.path.display());
        for (place, record) in records.iter().enumerate() {
            match self.socket.send_to(&datagram(record), &self.path) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                    taken.rejected.push((place, told(error)));
                }
                Err(error) if place > 0 => {
                    taken.again = (place..records.len()).collect();
                    taken.why = Some(told(error));
                    break;
                }
                Err(error) => return Err(Failure::later(told(error))),
            }
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::export::testing;

    /// Reads as the protocol's description has it.
    fn read(mut bytes: &[u8]) -> HashMap<String, String> {
        let mut fields = HashMap::new();
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
            let name = String::from_utf8(bytes[..end].to_vec()).unwrap();
            assert!(!name.contains('='), "every value has its length");
            let length = u64::from_le_bytes(bytes[end + 1..end + 9].try_into().unwrap());
            let length = usize::try_from(length).unwrap();
            let value = String::from_utf8(bytes[end + 9..end + 9 + length].to_vec()).unwrap();
            assert_eq!(bytes[end + 9 + length], b'\n');
            assert!(fields.insert(name, value).is_none());
            bytes = &bytes[end + 10 + length..];
        }
        fields
    }

    #[test]
    fn fields_arrive_as_they_are_and_forge_none() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("socket");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let mut sink = Journald::open(&JournaldSettings { socket: Some(path) }).unwrap();
        let record = testing::opened(b"/tmp/x\nPRIORITY=0\nMCP_MONITOR_RULE=forged");
        sink.deliver(&[record, testing::findings(1).remove(0)]).unwrap();
        let mut buffer = vec![0; 1 << 16];
        let size = receiver.recv(&mut buffer).unwrap();
        let fields = read(&buffer[..size]);
        assert_eq!(fields["PRIORITY"], "6");
        assert!(!fields.contains_key("MCP_MONITOR_RULE"));
        assert_eq!(fields["MCP_MONITOR_OBJECT"], "/tmp/x\\x0aPRIORITY=0\\x0aMCP_MONITOR_RULE=forged");
        let size = receiver.recv(&mut buffer).unwrap();
        let fields = read(&buffer[..size]);
        assert_eq!((&fields["PRIORITY"][..], &fields["MCP_MONITOR_RULE"][..]), ("2", "secret-read"));
    }
}
