//! The servers, how their users start them, and what they are asked to do.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// One server.
pub(super) struct Server {
    /// Its name in reports.
    pub(super) name: &'static str,
    launcher: Launcher,
    package: &'static str,
    /// Pinned: a newer one may have other tools. `xtask/src/vm/servers.rs` puts the same into machines.
    version: &'static str,
    arguments: fn(&World) -> Vec<String>,
    calls: fn(&World) -> Value,
}

#[derive(Clone, Copy)]
enum Launcher {
    Npx,
    Uvx,
}

/// What calls refer to.
pub(super) struct World<'a> {
    /// The user's home.
    pub(super) home: &'a Path,
    /// The port of the web server on loopback.
    pub(super) port: u16,
}

impl World<'_> {
    fn path(&self, below: &str) -> String {
        self.home.join(below).display().to_string()
    }

    fn url(&self, page: &str) -> String {
        format!("http://127.0.0.1:{}/{page}", self.port)
    }
}

/// All of them.
pub(super) const SERVERS: &[Server] = &[
    Server {
        name: "filesystem",
        launcher: Launcher::Npx,
        package: "@modelcontextprotocol/server-filesystem",
        version: "2026.8.31",
        arguments: |world| vec![world.path("")],
        calls: |world| {
            let (documents, note) = (world.path("documents"), world.path("documents/note.txt"));
            json!([
                {"tool": "list_directory", "arguments": {"path": documents}},
                {"tool": "write_file", "arguments": {"path": note, "content": "Bring bread.\n"}},
                {"tool": "read_text_file", "arguments": {"path": note}, "times": 50, "together": true},
                {"tool": "directory_tree", "arguments": {"path": world.path("")}},
                {"tool": "search_files", "arguments": {"path": documents, "pattern": "**/*.txt"}},
                {"tool": "move_file", "arguments": {"source": note, "destination": world.path("documents/old.txt")}},
            ])
        },
    },
    Server {
        name: "everything",
        launcher: Launcher::Npx,
        package: "@modelcontextprotocol/server-everything",
        version: "2026.8.31",
        arguments: |_| Vec::new(),
        calls: |_| {
            json!([
                {"tool": "echo", "arguments": {"message": "hello"}, "times": 50, "together": true},
                {"tool": "get-sum", "arguments": {"a": 2, "b": 3}},
                {"tool": "get-tiny-image"},
                {"tool": "trigger-long-running-operation", "arguments": {"duration": 1, "steps": 4}},
            ])
        },
    },
    Server {
        name: "memory",
        launcher: Launcher::Npx,
        package: "@modelcontextprotocol/server-memory",
        version: "2026.8.31",
        arguments: |_| Vec::new(),
        calls: |_| {
            let ferry = json!({"name": "ferry", "entityType": "ship", "observations": ["leaves at nine"]});
            json!([
                {"tool": "create_entities", "arguments": {"entities": [ferry]}},
                {"tool": "search_nodes", "arguments": {"query": "ferry"}, "times": 20, "together": true},
                {"tool": "read_graph"},
                {"tool": "delete_entities", "arguments": {"entityNames": ["ferry"]}},
            ])
        },
    },
    Server {
        name: "git",
        launcher: Launcher::Uvx,
        package: "mcp-server-git",
        version: "2026.10.19",
        arguments: |world| vec!["--repository".into(), world.path("project")],
        calls: |world| {
            let project = world.path("project");
            json!([
                {"tool": "git_status", "arguments": {"repo_path": project}, "times": 5, "together": true},
                {"tool": "git_diff_unstaged", "arguments": {"repo_path": project}},
                {"tool": "git_add", "arguments": {"repo_path": project, "files": ["plan.txt"]}},
                {"tool": "git_commit", "arguments": {"repo_path": project, "message": "Plan more"}},
                {"tool": "git_log", "arguments": {"repo_path": project}},
            ])
        },
    },
    Server {
        name: "fetch",
        launcher: Launcher::Uvx,
        package: "mcp-server-fetch",
        version: "2026.10.24",
        // It refuses addresses that are not public unless told otherwise.
        arguments: |_| vec!["--ignore-robots-txt".into(), "--allow-private-ips".into()],
        calls: |world| {
            json!([
                {"tool": "fetch", "arguments": {"url": world.url("timetable.txt")}, "times": 10, "together": true},
                {"tool": "fetch", "arguments": {"url": world.url("timetable.html")}},
            ])
        },
    },
    Server {
        name: "time",
        launcher: Launcher::Uvx,
        package: "mcp-server-time",
        version: "2026.10.19",
        arguments: |_| vec!["--local-timezone".into(), "Etc/UTC".into()],
        calls: |_| {
            let convert =
                json!({"source_timezone": "Etc/UTC", "time": "09:00", "target_timezone": "Asia/Tokyo"});
            json!([
                {"tool": "get_current_time", "arguments": {"timezone": "Europe/Oslo"}, "times": 20, "together": true},
                {"tool": "convert_time", "arguments": convert},
            ])
        },
    },
];

impl Server {
    /// The client's plan: the server started, left idle, then kept busy.
    pub(super) fn plan(&self, world: &World) -> Value {
        let package = format!("{}@{}", self.package, self.version);
        let mut command = match self.launcher {
            Launcher::Npx => vec!["npx".to_owned(), "-y".to_owned()],
            Launcher::Uvx => vec!["uvx".to_owned()],
        };
        command.push(package);
        command.extend((self.arguments)(world));
        // The memory server would otherwise keep its memory inside its package.
        let environment = json!({"MEMORY_FILE_PATH": world.path("memory.json")});
        let server = json!({"name": self.name, "command": command, "directory": world.home, "idle": 2,
                            "calls": (self.calls)(world), "environment": environment});
        json!({"servers": [server]})
    }
}

/// Puts into `home` what the calls refer to.
pub(super) fn furnish(home: &Path) -> Result<()> {
    let files = [
        ("documents/ferry.txt", "The ferry leaves at nine.\n"),
        ("documents/recipes/bread.md", "# Bread\n"),
        ("project/plan.txt", "Leave at eight.\n"),
    ];
    for (name, text) in files {
        let file = home.join(name);
        std::fs::create_dir_all(file.parent().context("a file has a folder")?)?;
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    let project = home.join("project");
    let person = ["-c", "user.name=Demo", "-c", "user.email=demo@example.org"];
    let steps: [&[&str]; 5] = [
        &["init", "--quiet"],
        &["config", "user.name", "Demo"],
        &["config", "user.email", "demo@example.org"],
        &["add", "plan.txt"],
        &["commit", "--quiet", "--message", "Plan"],
    ];
    for step in steps {
        let mut git = std::process::Command::new("git");
        let done = git.args(person).args(step).current_dir(&project).env("HOME", home).output();
        let done = done.context("start git")?;
        anyhow::ensure!(
            done.status.success(),
            "git {}: {}",
            step.join(" "),
            String::from_utf8_lossy(&done.stderr)
        );
    }
    std::fs::write(project.join("plan.txt"), "Leave at eight, with bread.\n").context("write the plan")
}
