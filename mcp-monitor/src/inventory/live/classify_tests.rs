use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::{
    event::Bytes,
    inventory::{declared::Scope, live::testing::declared},
};

static CLASSIFIER: LazyLock<Classifier> = LazyLock::new(|| {
    let mut classifier = Classifier::embedded().unwrap();
    let servers = vec![
        declared("claude-code", Scope::User, Some(1000), "files", &["npx", "-y", "@s/files", "/data"]),
        declared("claude-code", Scope::User, Some(1000), "odd", &["/srv/run-odd.sh"]),
        declared("vscode", Scope::User, Some(1000), "weather", &["uv", "run", "weather.py"]),
    ];
    classifier.declare(&Declarations { servers, ..Declarations::default() });
    classifier
});

fn pipe(inode: u64) -> Descriptor {
    Descriptor { kind: DescriptorKind::Pipe, inode, ..Descriptor::default() }
}

fn scene(below: Below<'static>, pair: bool) -> Scene<'static> {
    let nothing = Descriptor { kind: DescriptorKind::CharacterDevice, ..Descriptor::default() };
    Scene {
        below,
        uid: 1000,
        client_uid: None,
        terminal: false,
        stdin: if pair { pipe(1) } else { nothing },
        stdout: pipe(2),
        mount_namespace: None,
    }
}

fn class(below: Below<'static>, pair: bool, executable: &str, words: &[&str]) -> String {
    let arguments: Vec<Bytes> = words.iter().map(|word| Bytes::from(*word)).collect();
    let execution = Execution {
        executable: executable.as_bytes(),
        script: None,
        arguments: &arguments,
        working_directory: b"/home/u",
    };
    let program = CLASSIFIER.program(&execution);
    match CLASSIFIER.classify(&execution, &program, &scene(below, pair)) {
        Class::Configured(one) => format!("configured {}", one.name),
        Class::SameAgent(_) => "same agent".into(),
        Class::Agent(agent) => format!("agent {}", agent.id),
        Class::Declared(server) => format!("server {}", server.name),
        Class::Undeclared => format!("undeclared {}", Bytes::new(CLASSIFIER.name(&program)).escaped()),
        Class::Suspect => "suspect".into(),
        Class::PassesOn => "passes on".into(),
        Class::Ordinary => "ordinary".into(),
    }
}

const CLAUDE: Below<'static> = Below::Agent("claude-code");
const CODE: Below<'static> = Below::Client("vscode");

#[test]
fn what_an_agent_starts() {
    let claude = "/home/u/.local/share/claude/versions/2.1.328";
    for (pair, executable, words, expected) in [
        (true, "/usr/bin/node", &["node", "/usr/bin/npx", "-y", "@s/files", "/data"][..], "server files"),
        (
            true,
            "/usr/bin/env",
            &["/usr/bin/env", "node", "/usr/bin/npx", "-y", "@s/files", "/data"],
            "server files",
        ),
        (true, "/usr/bin/bash", &["bash", "/srv/run-odd.sh"], "server odd"),
        (true, "/usr/bin/node", &["node", "/usr/bin/npx", "-y", "@playwright/mcp"], "undeclared mcp"),
        (true, "/usr/bin/python3", &["python3", "/home/u/mcp/weather.py"], "undeclared weather.py"),
        (true, "/usr/bin/python3", &["python3", "/home/u/thing.py"], "suspect"),
        (true, "/opt/thing", &["thing"], "suspect"),
        (true, "/usr/bin/bash", &["bash", "/home/u/start.sh"], "passes on"),
        (true, "/usr/bin/gopls", &["gopls"], "ordinary"),
        (true, "/usr/bin/gopls", &["gopls", "mcp"], "ordinary"),
        (true, "/usr/bin/git", &["git", "status"], "ordinary"),
        (
            true,
            "/usr/bin/bash",
            &["bash", "-c", "source x && eval 'npx -y @s/files /data' | cat"],
            "ordinary",
        ),
        (false, "/usr/bin/bash", &["bash", "-c", "npx -y @s/files /data"], "ordinary"),
        (false, "/usr/bin/node", &["node", "/usr/bin/npx", "@modelcontextprotocol/inspector"], "ordinary"),
        (false, "/usr/bin/python3", &["python3", "test_mcp.py"], "ordinary"),
        (false, claude, &["claude", "-p", "x"], "same agent"),
        (true, claude, &["claude", "mcp", "serve"], "undeclared 2.1.328"),
        (
            false,
            "/usr/bin/node",
            &["node", "/usr/lib/node_modules/@openai/codex/bin/codex.js"],
            "agent codex",
        ),
    ] {
        assert_eq!(class(CLAUDE, pair, executable, words), expected, "{words:?}");
    }
}

#[test]
fn what_an_editor_starts() {
    for (pair, executable, words, expected) in [
        (true, "/usr/bin/uv", &["uv", "run", "weather.py"][..], "server weather"),
        (true, "/usr/bin/node", &["node", "/x/node_modules/typescript/lib/tsserver.js"], "ordinary"),
        (false, "/usr/bin/bash", &["bash", "--init-file", "x", "-i"], "ordinary"),
        (true, "/usr/bin/docker", &["docker", "run", "-i", "mcp/time"], "undeclared time"),
    ] {
        assert_eq!(class(CODE, pair, executable, words), expected, "{words:?}");
    }
}

#[test]
fn what_runs_below_nobody() {
    for (pair, executable, words, expected) in [
        (false, "/usr/lib/node_modules/opencode-ai/bin/opencode.exe", &["opencode"][..], "agent opencode"),
        (true, "/usr/bin/python3", &["python3", "-m", "mcp_server_time"], "undeclared mcp_server_time"),
        (false, "/usr/bin/python3", &["python3", "-m", "mcp_server_time"], "undeclared mcp_server_time"),
        (true, "/usr/bin/python3", &["python3", "/usr/bin/thing"], "ordinary"),
        (true, "/usr/bin/python3", &["python3", "/srv/mcp/x.py"], "ordinary"),
        (false, "/usr/bin/node", &["node", "app.js"], "ordinary"),
    ] {
        assert_eq!(class(Below::Nobody, pair, executable, words), expected, "{words:?}");
    }
}

#[test]
fn a_person_at_a_terminal_runs_no_server() {
    let arguments: Vec<Bytes> = ["python3", "-m", "mcp_server_time"].map(Bytes::from).to_vec();
    let execution = Execution {
        executable: b"/usr/bin/python3",
        script: None,
        arguments: &arguments,
        working_directory: b"/",
    };
    let program = CLASSIFIER.program(&execution);
    let scene = Scene { terminal: true, ..scene(Below::Nobody, false) };
    assert_eq!(CLASSIFIER.classify(&execution, &program, &scene), Class::Ordinary);
}

proptest! {
    #[test]
    fn whatever_is_below_a_server_is_that_server(words in prop::collection::vec("[a-z/@.-]{0,12}", 0..6), pair: bool) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        prop_assert_eq!(class(Below::Server, pair, "/home/u/.local/share/claude/versions/1", &words), "ordinary");
    }
}
