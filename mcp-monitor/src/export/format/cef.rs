//! `ArcSight` Common Event Format, version 0.
//!
//! In the header `\` and `|` are escaped, in the extension `\` and `=`; a line end cannot stand in either, since texts
//! arrive escaped. An unescaped `=` in a path would forge a field.

use std::fmt::{Display, Write as _};

use super::{command_line, name_of};
use crate::{
    event::Severity,
    export::record::{Body, Record},
};

/// Longest value of `msg`, in bytes.
const MESSAGE_BYTES_MAX: usize = 1023;
/// Longest value of any other text, in bytes.
const TEXT_BYTES_MAX: usize = 4000;

/// CEF severity: 0 to 3 low, 4 to 6 medium, 7 and 8 high, 9 and 10 very high.
fn severity(record: &Record) -> u8 {
    match record.severity() {
        None => 0,
        Some(Severity::Low) => 3,
        Some(Severity::Medium) => 5,
        Some(Severity::High) => 8,
        Some(Severity::Critical) => 10,
    }
}

/// One line.
#[must_use]
pub fn line(record: &Record) -> String {
    let parts = record.parts();
    let (signature, name) = match record.body() {
        Body::Finding(finding) => (finding.rule.to_string(), finding.title.to_string()),
        Body::Event(event) => (event.kind.to_string(), format!("{} {}", event.kind, event.verdict)),
    };
    let mut text = format!(
        "CEF:0|mcp-monitor|mcp-monitor|{}|{}|{}|{}|",
        header(&parts.monitor.version.to_string()),
        header(&signature),
        header(&name),
        severity(record),
    );
    let mut extension = Extension(&mut text, true);
    extension.put("rt", record.time().as_millisecond());
    extension.put("externalId", parts.id);
    extension.put("deviceExternalId", &parts.host.id);
    extension.put("dvchost", &parts.host.name);
    extension.put("cat", if record.is_finding() { "finding" } else { "event" });
    extension.put("act", parts.kind);
    extension.put(
        "outcome",
        match parts.succeeded() {
            Some(true) => "success",
            Some(false) => "failure",
            None => "unknown",
        },
    );
    extension.put("reason", &parts.decision.reason);
    extension.put("app", &parts.workload.name);
    extension.some("suser", parts.process.user.as_ref());
    extension.put("suid", parts.process.uid);
    extension.put("spid", parts.process.pid);
    extension.some("sproc", parts.process.exe.as_ref());
    extension.some("request", command_line(&parts.process.args).as_ref());
    if let Some(file) = parts.file.or(parts.exec.map(|exec| &exec.executable)) {
        extension.put("filePath", &file.path);
        extension.put("fname", name_of(&file.path));
        extension.some("fileId", file.inode);
        if let Some(target) = &file.target {
            // CEF has the old place in a field of its own, and the new one in `filePath`.
            extension.put("oldFilePath", &file.path);
            extension.put("cs5Label", "target");
            extension.put("cs5", target);
        }
    }
    if let Some(network) = parts.network {
        let (remote, local) = if network.direction == *"in" {
            (["src", "spt"], ["dst", "dpt"])
        } else {
            (["dst", "dpt"], ["src", "spt"])
        };
        extension.address(remote, network.address, network.port);
        extension.address(local, network.local_address, network.local_port);
        extension.some("dhost", network.name.as_ref());
        extension.put("proto", network.transport.to_string().to_uppercase());
        extension.some("out", network.bytes_sent);
        extension.some("in", network.bytes_received);
        extension.put("deviceDirection", u8::from(network.direction != *"in"));
        if let Some(path) = network.path.as_ref().or(network.abstract_name.as_ref()) {
            extension.put("filePath", path);
        }
    }
    if let Some(dns) = parts.dns {
        extension.put("dhost", &dns.question);
    }
    if let Some(target) = parts.target_process {
        extension.put("dpid", target.pid);
        extension.some("dproc", target.exe.as_ref());
    }
    extension.put("cnt", parts.count);
    extension.put("cs1Label", "workload");
    extension.put("cs1", &parts.workload.id);
    extension.put("cs2Label", "instance");
    extension.put("cs2", &parts.workload.instance);
    extension.put("cs3Label", "decision");
    extension.put("cs3", &parts.decision.action);
    if let Some(rule) = parts.rule {
        extension.put("cs4Label", "rule");
        extension.put("cs4", rule);
    }
    if let Some(beat) = parts.heartbeat {
        for (name, value) in beat.pairs() {
            extension.put(name, value);
        }
    }
    if let Body::Finding(finding) = record.body() {
        extension.put("start", finding.first_seen.as_millisecond());
        extension.put("end", finding.last_seen.as_millisecond());
        extension.put("cs6Label", "attack");
        extension.put("cs6", format!("{} {}", finding.attack.tactic, finding.attack.technique));
        extension.put("msg", &finding.message);
    } else {
        extension.put("msg", parts.sentence());
    }
    if parts.test {
        extension.put("flexString1Label", "test");
        extension.put("flexString1", "true");
    }
    text
}

/// The part after the seventh bar.
struct Extension<'a>(&'a mut String, bool);

impl Extension<'_> {
    #[allow(
        clippy::needless_pass_by_value,
        reason = "numbers and texts alike, without a reference at each call"
    )]
    fn put(&mut self, key: &str, value: impl Display) {
        let value = format!("{value}");
        if value.is_empty() {
            return;
        }
        let most = if key == "msg" { MESSAGE_BYTES_MAX } else { TEXT_BYTES_MAX };
        let begin = if std::mem::take(&mut self.1) { "" } else { " " };
        // Writing into a String cannot fail.
        let _ = write!(self.0, "{begin}{key}={}", extension(&value, most));
    }

    fn some(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    fn address(
        &mut self,
        [address_key, port_key]: [&str; 2],
        address: Option<std::net::IpAddr>,
        port: Option<u16>,
    ) {
        match address {
            Some(std::net::IpAddr::V4(address)) => self.put(address_key, address),
            // Version 0 has IPv6 in a field of its own.
            Some(std::net::IpAddr::V6(address)) => {
                let (label, field) =
                    if address_key == "src" { ("c6a2Label", "c6a2") } else { ("c6a3Label", "c6a3") };
                self.put(
                    label,
                    if address_key == "src" { "Source IPv6 Address" } else { "Destination IPv6 Address" },
                );
                self.put(field, address);
            }
            None => return,
        }
        self.some(port_key, port);
    }
}

/// A value of the header. Control characters have been escaped before; what is left of them becomes a space.
fn header(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in cut(value, MESSAGE_BYTES_MAX).chars() {
        match character {
            '\\' | '|' => text.extend(['\\', character]),
            other if other.is_control() => text.push(' '),
            other => text.push(other),
        }
    }
    text
}

/// A value of the extension.
fn extension(value: &str, most: usize) -> String {
    let mut text = String::with_capacity(value.len());
    for character in cut(value, most).chars() {
        match character {
            '\\' | '=' => text.extend(['\\', character]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            other if other.is_control() => text.push(' '),
            other => text.push(other),
        }
    }
    // Spaces at the end would belong to the next field's delimiter.
    text.trim_end_matches(' ').to_owned()
}

/// The first `most` bytes, whole characters only.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
