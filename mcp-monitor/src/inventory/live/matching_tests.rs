use std::sync::LazyLock;

use super::*;
use crate::inventory::{declared::Scope, live::testing::declared};

static TOOLS: LazyLock<Tools> = LazyLock::new(|| Tools::embedded().unwrap());

fn matcher(servers: Vec<DeclaredServer>) -> Matcher {
    Matcher::new(&Declarations { servers, ..Declarations::default() }, &TOOLS)
}

fn found(
    matcher: &Matcher,
    executable: &str,
    script: Option<&str>,
    words: &[&str],
    setting: &Setting<'_>,
) -> Option<String> {
    let arguments: Vec<Bytes> = words.iter().map(|word| Bytes::from(*word)).collect();
    let execution = Execution {
        executable: executable.as_bytes(),
        script: script.map(str::as_bytes),
        arguments: &arguments,
        working_directory: setting.working_directory,
    };
    let program = identify(&TOOLS, &execution);
    matcher.find(executable.as_bytes(), &program, setting).map(|server| server.name.clone())
}

const SETTING: Setting<'static> = Setting {
    client: Some("claude-code"),
    uid: 1000,
    client_uid: None,
    working_directory: b"/work/app",
    mount_namespace: None,
};

#[test]
fn a_declaration_is_found_through_every_rewriting() {
    let server =
        |words: &[&str]| matcher(vec![declared("claude-code", Scope::User, Some(1000), "it", words)]);
    let npx = server(&["npx", "-y", "@s/files@1", "/data", "${EXTRA}"]);
    let here = |executable: &str, words: &[&str]| found(&npx, executable, None, words, &SETTING);
    for (executable, words) in [
        ("/usr/bin/env", &["/usr/bin/env", "node", "/usr/bin/npx", "-y", "@s/files@1", "/data", "x"][..]),
        ("/usr/bin/node", &["node", "/usr/bin/npx", "-y", "@s/files@1", "/data", "x"]),
        ("/usr/bin/node", &["npm exec @s/files@1 /data x"]),
        ("/usr/bin/node", &["node", "/u/.npm/_npx/1/node_modules/@s/files/dist/index.js", "/data", "x"]),
        ("/usr/bin/bash", &["bash", "-lc", "exec npx -y @s/files@1 /data x"]),
        ("/usr/bin/sudo", &["sudo", "-u", "svc", "npx", "-y", "@s/files@1", "/data", "x"]),
    ] {
        assert_eq!(here(executable, words).as_deref(), Some("it"), "{words:?}");
    }
    assert_eq!(here("/usr/bin/node", &["node", "/usr/bin/npx", "-y", "@s/other", "/data", "x"]), None);
    assert_eq!(here("/usr/bin/node", &["node", "/usr/bin/npx", "-y", "eslint"]), None);

    let uvx = server(&["uvx", "mcp-server-git", "--repository", "/r"]);
    assert!(
        found(
            &uvx,
            "/srv/bin/uv",
            None,
            &["/srv/bin/uv", "tool", "uvx", "mcp-server-git", "--repository", "/r"],
            &SETTING
        )
        .is_some()
    );
    let script = server(&["python", "tools/server.py"]);
    assert!(
        found(&script, "/usr/bin/python3.11", None, &["python", "/home/u/tools/server.py"], &SETTING)
            .is_some()
    );
    assert!(found(&script, "/usr/bin/python3.11", None, &["python", "/tmp/server.py"], &SETTING).is_none());
    let native = server(&["github-mcp-server", "stdio"]);
    assert!(
        found(&native, "/usr/local/bin/github-mcp-server", None, &["anything", "stdio"], &SETTING).is_some()
    );
    assert!(
        found(&native, "/usr/local/bin/github-mcp-server", None, &["github-mcp-server", "http"], &SETTING)
            .is_none()
    );
    let shell = server(&["bash", "-c", "cd /x && source env; npx -y y | tee log"]);
    assert!(
        found(
            &shell,
            "/usr/bin/bash",
            None,
            &["bash", "-c", "cd /x && source env; npx -y y | tee log"],
            &SETTING
        )
        .is_some()
    );
    assert!(found(&shell, "/usr/bin/bash", None, &["bash", "-c", "ls | cat"], &SETTING).is_none());
    let docker = server(&["docker", "run", "-i", "--rm", "-e", "TOKEN", "ghcr.io/github/github-mcp-server"]);
    assert!(
        found(
            &docker,
            "/usr/bin/docker",
            None,
            &["docker", "run", "-i", "--rm", "-e", "TOKEN", "ghcr.io/github/github-mcp-server"],
            &SETTING
        )
        .is_some()
    );
}

#[test]
fn the_most_specific_declaration_wins() {
    let words = &["npx", "-y", "pkg"];
    let project = |path: &str| Scope::Project { path: path.into() };
    let all = matcher(vec![
        declared("claude-code", Scope::User, Some(1000), "user", words),
        declared("claude-code", project("/work"), Some(1000), "folder", words),
        declared("claude-code", project("/work/app"), Some(1000), "nearest", words),
        declared("codex", Scope::User, Some(1000), "codex", words),
        declared("claude-code", Scope::User, Some(7), "somebody else's", words),
        declared("claude-code", Scope::User, Some(1000), "arguments", &["npx", "-y", "pkg", "--more"]),
    ]);
    let at = |setting: &Setting<'_>, words: &[&str]| {
        found(
            &all,
            "/usr/bin/node",
            Some("/usr/bin/npx"),
            &[&["node", "/usr/bin/npx", "-y", "pkg"], words].concat(),
            setting,
        )
    };
    assert_eq!(at(&SETTING, &[]).as_deref(), Some("nearest"));
    assert_eq!(at(&Setting { working_directory: b"/elsewhere", ..SETTING }, &[]).as_deref(), Some("user"));
    assert_eq!(at(&Setting { client: Some("codex"), ..SETTING }, &[]).as_deref(), Some("codex"));
    assert_eq!(at(&SETTING, &["--more"]).as_deref(), Some("arguments"));
    assert_eq!(at(&Setting { uid: 8, ..SETTING }, &[]), None, "another user's");
    assert_eq!(
        at(&Setting { uid: 8, client_uid: Some(1000), ..SETTING }, &[]).as_deref(),
        Some("nearest"),
        "through sudo"
    );
}

#[test]
fn ten_thousand_declarations_do_not_slow_an_execution_down() {
    let servers = (0..10_000)
        .map(|number| {
            declared(
                "codex",
                Scope::User,
                Some(1000),
                &format!("s{number}"),
                &["npx", "-y", &format!("pkg-{number}")],
            )
        })
        .collect();
    let all = matcher(servers);
    let begin = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(found(&all, "/usr/bin/gcc", None, &["gcc", "-c", "x.c"], &SETTING), None);
    }
    assert!(begin.elapsed() < std::time::Duration::from_millis(200), "{:?}", begin.elapsed());
    assert_eq!(found(&all, "/usr/bin/npx", None, &["npx", "-y", "pkg-77"], &SETTING).as_deref(), Some("s77"));
}
