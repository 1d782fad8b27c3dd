//! Reads what the monitor wrote: occurrences by process id and object, and findings.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use serde_json::Value;

use super::strace::Peer;

/// What the monitor said, in the terms of [`super::strace::Trace`].
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Opens, by path.
    pub(super) opens: HashMap<(u32, Vec<u8>), u64>,
    /// Programs executed, by the file that the kernel ran and by what it was asked to run.
    pub(super) execs: HashMap<(u32, Vec<u8>), u64>,
    /// Connects, and for datagrams first sends.
    pub(super) connects: HashMap<(u32, Peer), u64>,
    /// The last line of each finding, by id.
    pub(super) findings: BTreeMap<String, Value>,
    /// The closing line.
    pub(super) summary: Option<Value>,
    /// Lines that are no objects.
    pub(super) odd: Vec<String>,
}

impl Said {
    /// Reads the whole output.
    pub(super) fn read(text: &str) -> Self {
        let mut said = Self::default();
        for line in text.lines() {
            match serde_json::from_str::<Value>(line) {
                Ok(object) => said.take(object),
                Err(_) => said.odd.push(line.to_owned()),
            }
        }
        said
    }

    fn take(&mut self, object: Value) {
        match object["schema"].as_str().unwrap_or_default() {
            "mcp-monitor/event/v1" => self.event(&object),
            "mcp-monitor/finding/v1" => {
                self.findings.insert(object["id"].as_str().unwrap_or_default().to_owned(), object);
            }
            "mcp-monitor/summary/v1" => self.summary = Some(object),
            other => self.odd.push(format!("schema {other:?}")),
        }
    }

    fn event(&mut self, event: &Value) {
        let pid = event["process"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
        let count = event["count"].as_u64().unwrap_or(1);
        let failed = event["result"].as_str().is_some_and(|result| result.starts_with("failed"));
        let at = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).map(unescaped);
        match event["kind"].as_str().unwrap_or_default() {
            "open" if !failed => {
                if let Some(path) = at("/file/path") {
                    *self.opens.entry((pid, without_mark(&path))).or_default() += count;
                }
            }
            "exec" if !failed => {
                let executable = at("/exec/executable/path").or_else(|| at("/process/exe"));
                let mut names = [executable.map(|path| without_mark(&path)), at("/exec/given_name")];
                if names[0] == names[1] {
                    names[1] = None;
                }
                for name in names.into_iter().flatten() {
                    *self.execs.entry((pid, name)).or_default() += count;
                }
            }
            "connect" | "send" => {
                if let Some(peer) = peer(&event["network"]) {
                    *self.connects.entry((pid, peer)).or_default() += count;
                }
            }
            _ => {}
        }
    }
}

fn peer(network: &Value) -> Option<Peer> {
    if let Some(address) = network["address"].as_str() {
        let address: IpAddr = address.parse().ok()?;
        return Some(Peer::Internet(address, u16::try_from(network["port"].as_u64()?).ok()?));
    }
    if let Some(name) = network["abstract"].as_str() {
        return Some(Peer::Unix([b"@".to_vec(), unescaped(name)].concat()));
    }
    network["path"].as_str().map(|path| Peer::Unix(unescaped(path)))
}

fn without_mark(path: &[u8]) -> Vec<u8> {
    path.strip_suffix(b" (deleted)").unwrap_or(path).to_vec()
}

/// Undoes the contract's escapes: `\xNN` and `\\`.
fn unescaped(text: &str) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let hex = (*byte == b'\\')
            .then(|| after.strip_prefix(b"x")?.get(..2))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        if let Some(value) = hex {
            plain.push(value);
            rest = &after[3..];
        } else if *byte == b'\\' && after.first() == Some(&b'\\') {
            plain.push(b'\\');
            rest = &after[1..];
        } else {
            plain.push(*byte);
            rest = after;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{Peer, Said, unescaped};

    #[test]
    fn undoes_escapes() {
        assert_eq!(unescaped(r"/a\x0ab\\x\xff"), b"/a\nb\\x\xff");
        assert_eq!(unescaped(r"\"), b"\\");
    }

    #[test]
    fn sums_counts() {
        let output = r#"{"schema":"mcp-monitor/event/v1","kind":"open","process":{"pid":7},"file":{"path":"/a"},"count":1}
{"schema":"mcp-monitor/event/v1","kind":"open","process":{"pid":7},"file":{"path":"/a"},"count":4}
{"schema":"mcp-monitor/event/v1","kind":"connect","process":{"pid":7},"network":{"address":"10.0.0.1","port":53},"count":1}
{"schema":"mcp-monitor/finding/v1","id":"x","rule":"secret-read"}
{"schema":"mcp-monitor/summary/v1"}
"#;
        let said = Said::read(output);
        assert_eq!(said.opens[&(7, b"/a".to_vec())], 5);
        assert_eq!(said.connects[&(7, Peer::Internet([10, 0, 0, 1].into(), 53))], 1);
        assert_eq!((said.findings.len(), said.summary.is_some(), said.odd.len()), (1, true, 0));
    }
}
