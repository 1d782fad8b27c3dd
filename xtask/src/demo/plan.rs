//! What the client is to do: the servers, started as their users start them, and the calls.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
};

use serde_json::{Value, json};

/// Pinned, because a later release may want other arguments.
const FILESYSTEM: &str = "@modelcontextprotocol/server-filesystem@2026.8.31";
const FETCH: &str = "mcp-server-fetch@2026.10.24";

/// What changes from run to run.
pub(super) struct Plan {
    /// The home that the filesystem server serves.
    pub(super) home: PathBuf,
    /// The declared web server, on loopback.
    pub(super) near: SocketAddrV4,
    /// The undeclared one, in another network namespace.
    pub(super) far: SocketAddrV4,
}

impl Plan {
    /// The secret that is read.
    pub(super) fn secret(&self) -> PathBuf {
        self.home.join(".ssh/id_rsa")
    }

    /// The ordinary calls alone.
    pub(super) fn ordinary(&self) -> Value {
        self.with(&[], &[])
    }

    /// The ordinary calls, then the two bad ones.
    pub(super) fn with_bad_actions(&self) -> Value {
        let read = json!({"tool": "read_text_file", "arguments": {"path": self.secret()}});
        let fetch = json!({"tool": "fetch", "arguments": {"url": format!("http://{}/upload.txt", self.far)}});
        self.with(&[read], &[fetch])
    }

    /// In a sentence.
    pub(super) fn told(&self) -> String {
        format!(
            "the filesystem server will read documents and then {}; the fetch server will fetch from {} as \
             declared and then from {}",
            self.secret().display(),
            self.near,
            self.far
        )
    }

    fn with(&self, then_files: &[Value], then_fetches: &[Value]) -> Value {
        let documents = self.home.join("documents");
        let note = documents.join("note.txt");
        let mut files = vec![
            json!({"tool": "list_directory", "arguments": {"path": documents}}),
            json!({"tool": "read_text_file", "arguments": {"path": documents.join("ferry.txt")}}),
            json!({"tool": "write_file", "arguments": {"path": note, "content": "Bring bread.\n"}}),
            json!({"tool": "read_text_file", "arguments": {"path": note}, "times": 5, "together": true}),
            json!({"tool": "directory_tree", "arguments": {"path": documents}}),
        ];
        files.extend_from_slice(then_files);
        let mut fetches = vec![
            json!({"tool": "fetch", "arguments": {"url": format!("http://{}/timetable.txt", self.near)}}),
            json!({"tool": "fetch", "arguments": {"url": format!("http://{}/timetable.html", self.near)}}),
        ];
        fetches.extend_from_slice(then_fetches);
        // The fetch server refuses addresses that are not public unless told otherwise, and all of ours are not.
        let fetch = ["uvx", FETCH, "--ignore-robots-txt", "--allow-private-ips"];
        json!({"servers": [
            {"name": "filesystem", "command": ["npx", "-y", FILESYSTEM, self.home], "calls": files},
            {"name": "fetch", "command": fetch, "calls": fetches},
        ]})
    }
}

/// What the package caches have to hold; a change fills them again.
pub(super) fn pins() -> String {
    format!("{FILESYSTEM}\n{FETCH}\n")
}

/// A free block of four addresses for the two ends of a link, from those that documentation may use (RFC 5737):
/// `number` is below 64.
pub(super) fn block(number: u8) -> (Ipv4Addr, Ipv4Addr) {
    let base = (number % 64) * 4;
    (Ipv4Addr::new(192, 0, 2, base + 1), Ipv4Addr::new(192, 0, 2, base + 2))
}
