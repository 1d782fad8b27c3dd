//! The shapes.

use std::{fs, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    bench::{Bench, Outcome, Shape},
    talk::{Server, own_server},
};

/// The server that comes from npm.
const NODE_SERVER: &str = "@modelcontextprotocol/server-filesystem@2026.8.31";
/// The server that comes from `PyPI`.
const PYTHON_SERVER: &str = "mcp-server-time@2026.10.19";
/// Packages may have to be fetched on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// Every shape.
pub(super) const SHAPES: &[(&str, Shape)] = &[
    ("npx", |bench| node(bench, &["npx", "-y", NODE_SERVER, "."])),
    ("npm exec", |bench| {
        node(
            bench,
            &[
                "npm",
                "exec",
                "-y",
                "--package=@modelcontextprotocol/server-filesystem@2026.8.31",
                "--",
                "mcp-server-filesystem",
                ".",
            ],
        )
    }),
    ("npx -c", |bench| node(bench, &["npx", "-y", "-p", NODE_SERVER, "-c", "mcp-server-filesystem ."])),
    ("pnpm dlx", |bench| fetched(bench, "pnpm", "pnpm", &["pnpm", "dlx", NODE_SERVER, "."])),
    ("bunx", |bench| fetched(bench, "bunx", "bun", &["bunx", "-y", NODE_SERVER, "."])),
    ("bunx --bun", |bench| fetched(bench, "bunx", "bun", &["bunx", "--bun", NODE_SERVER, "."])),
    ("bun x", |bench| fetched(bench, "bun", "bun", &["bun", "x", NODE_SERVER, "."])),
    ("deno", |bench| {
        fetched(
            bench,
            "deno",
            "deno",
            &["deno", "run", "-A", "npm:@modelcontextprotocol/server-filesystem@2026.8.31", "."],
        )
    }),
    ("bash -lc", |bench| {
        node(bench, &["bash", "-lc", "exec npx -y @modelcontextprotocol/server-filesystem@2026.8.31 ."])
    }),
    ("env nice", |bench| node(bench, &["env", "A=b", "nice", "-n", "5", "npx", "-y", NODE_SERVER, "."])),
    ("timeout setsid", |bench| {
        node(bench, &["timeout", "600", "setsid", "-w", "npx", "-y", NODE_SERVER, "."])
    }),
    ("uvx", |bench| python(bench, "uv", &["uvx", PYTHON_SERVER, "--local-timezone", "Etc/UTC"])),
    ("uvx --from", |bench| {
        python(bench, "uv", &["uvx", "--from", "mcp-server-time==2026.10.19", "mcp-server-time"])
    }),
    ("uv tool run", |bench| python(bench, "uv", &["uv", "tool", "run", PYTHON_SERVER])),
    ("uv run --with", |bench| {
        named(
            bench,
            "uv",
            &["uv", "run", "--no-project", "--with", "mcp-server-time", "mcp-server-time"],
            "mcp-server-time",
            None,
        )
    }),
    ("pipx run", |bench| python(bench, "pipx", &["pipx", "run", "mcp-server-time"])),
    ("python -m", |bench| {
        if let Err(why) = bench.pip("mcp-server-time", "mcp-server-time") {
            return Ok(Outcome::NotRun(why));
        }
        let program = bench.cache.join("venv/bin/python").display().to_string();
        recognised(bench, &[&program, "-m", "mcp_server_time"], "mcp_server_time", None)
    }),
    ("console script", |bench| {
        if let Err(why) = bench.pip("mcp-server-time", "mcp-server-time") {
            return Ok(Outcome::NotRun(why));
        }
        let program = bench.cache.join("venv/bin/mcp-server-time").display().to_string();
        recognised(bench, &[&program], "mcp-server-time", Some("pypi:mcp-server-time"))
    }),
    ("shell script", |bench| {
        let script = bench.scratch.join("run-server.sh");
        fs::write(&script, format!("#!/bin/bash\ncd /\nexport A=b\nexec npx -y {NODE_SERVER} .\n"))?;
        let script = script.display().to_string();
        node(bench, &["bash", &script])
    }),
    ("claude-code", |bench| {
        agent(bench, "claude", "@anthropic-ai/claude-code", "claude-code", declare_claude)
    }),
    ("gemini-cli", |bench| agent(bench, "gemini", "@google/gemini-cli", "gemini-cli", declare_gemini)),
    ("opencode", |bench| agent(bench, "opencode", "opencode-ai", "opencode", declare_opencode)),
    ("codex", codex),
    ("first millisecond", first_millisecond),
    ("already running", already_running),
    ("no server", no_server),
];

fn node(bench: &Bench, words: &[&str]) -> Result<Outcome> {
    recognised(bench, words, "server-filesystem", Some("npm:@modelcontextprotocol/server-filesystem"))
}

fn fetched(bench: &Bench, program: &str, package: &str, words: &[&str]) -> Result<Outcome> {
    if let Err(why) = bench.npm(program, package) {
        return Ok(Outcome::NotRun(why));
    }
    node(bench, words)
}

fn python(bench: &Bench, program: &str, words: &[&str]) -> Result<Outcome> {
    named(bench, program, words, "mcp-server-time", Some("pypi:mcp-server-time"))
}

fn named(bench: &Bench, program: &str, words: &[&str], name: &str, package: Option<&str>) -> Result<Outcome> {
    if let Err(why) = bench.pip(program, program) {
        return Ok(Outcome::NotRun(why));
    }
    recognised(bench, words, name, package)
}

/// Starts a server that nobody declares and asks what it is; then ends it and asks again.
fn recognised(bench: &Bench, words: &[&str], name: &str, package: Option<&str>) -> Result<Outcome> {
    let log = bench.scratch.join("server.log");
    let server = match Server::start(bench.command(words), &log, PATIENCE) {
        Ok(server) => server,
        Err(error) => {
            let said = fs::read_to_string(&log).unwrap_or_default();
            return Ok(Outcome::NotRun(format!("{error:#}: {}", said.lines().last().unwrap_or_default())));
        }
    };
    let pid = server.pid();
    let begins = |one: &Value| one["state"] == "running" && one["name"] == name && descends(one, pid);
    let found = bench.instance(begins)?;
    ensure!(found["kind"] == "server" && found["origin"] == "undeclared", "{found}");
    if let Some(package) = package {
        ensure!(found["package"] == package, "its package is {}", found["package"]);
    }
    let version = found["version"].as_str().unwrap_or("-").to_owned();
    drop(server);
    let id = found["instance"].clone();
    let ended = bench.instance(|one| one["instance"] == id && one["state"] == "ended")?;
    ensure!(ended["processes"] == 0, "{} processes are left", ended["processes"]);
    Ok(Outcome::Passed(format!(
        "server {name}, {} {version}, {}",
        found["package"].as_str().unwrap_or("-"),
        found["launcher"].as_str().unwrap_or("no launcher")
    )))
}

/// The instance's first process is `pid` or below it: wrappers may come before what is labelled.
fn descends(one: &Value, pid: u32) -> bool {
    let mut at = one["pid"].as_u64().unwrap_or(0);
    for _ in 0..16 {
        if at == u64::from(pid) {
            return true;
        }
        let Ok(stat) = fs::read_to_string(format!("/proc/{at}/stat")) else { return false };
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        let Some(parent) = parent else { return false };
        at = parent;
    }
    false
}

fn declare_claude(bench: &Bench, script: &str) -> Result<Vec<&'static str>> {
    let servers = json!({"weather": {"command": "python3", "args": [script]}});
    fs::write(bench.home.join(".claude.json"), json!({"mcpServers": servers}).to_string())?;
    Ok(vec!["mcp", "list"])
}

fn declare_gemini(bench: &Bench, script: &str) -> Result<Vec<&'static str>> {
    let folder = bench.home.join(".gemini");
    fs::create_dir_all(&folder)?;
    let servers = json!({"weather": {"command": "python3", "args": [script]}});
    fs::write(folder.join("settings.json"), json!({"mcpServers": servers}).to_string())?;
    let trusted = json!({bench.home.display().to_string(): "TRUST_FOLDER"});
    fs::write(folder.join("trustedFolders.json"), trusted.to_string())?;
    Ok(vec!["mcp", "list"])
}

fn declare_opencode(bench: &Bench, script: &str) -> Result<Vec<&'static str>> {
    let folder = bench.home.join(".config/opencode");
    fs::create_dir_all(&folder)?;
    let servers = json!({"weather": {"type": "local", "command": ["python3", script], "enabled": true}});
    fs::write(folder.join("opencode.json"), json!({"mcp": servers}).to_string())?;
    Ok(vec!["mcp", "list"])
}

/// A real agent checks a server that it was told of.
fn agent(
    bench: &Bench,
    program: &str,
    package: &str,
    id: &str,
    declare: fn(&Bench, &str) -> Result<Vec<&'static str>>,
) -> Result<Outcome> {
    if let Err(why) = bench.npm(program, package) {
        return Ok(Outcome::NotRun(why));
    }
    let script = own_server(&bench.scratch, &format!("weather-{id}"), "")?;
    let words = declare(bench, &script)?;
    // The monitor reads the declaration when it sees it change.
    std::thread::sleep(Duration::from_secs(1));
    let mut command = bench.command(&[program]);
    let output = command.args(words).stdin(Stdio::null()).output().context("run it")?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // Somebody else may run the same agent on this host: ours is the one above the server with our script.
    let ours = |one: &Value| {
        one["kind"] == "server" && one["program"].as_str().is_some_and(|program| program == script)
    };
    let Ok(server) = bench.instance(ours) else {
        return Ok(Outcome::Failed(format!(
            "its server is not seen; it said: {}",
            said.lines().last().unwrap_or_default()
        )));
    };
    let agent = bench.instance(|one| one["instance"] == server["parent"])?;
    ensure!(
        agent["kind"] == "agent" && agent["name"] == id,
        "its parent is {} {}",
        agent["kind"],
        agent["name"]
    );
    let name = server["name"].as_str().unwrap_or_default();
    let declared = server["origin"] == "declared" && name == "weather" && server["declared"]["client"] == id;
    ensure!(declared, "its server is {} {name} of {}", server["origin"], server["client"]);
    Ok(Outcome::Passed(format!("agent {id}, below it the declared server {name}")))
}

/// Codex checks no server by itself.
fn codex(bench: &Bench) -> Result<Outcome> {
    if let Err(why) = bench.npm("codex", "@openai/codex") {
        return Ok(Outcome::NotRun(why));
    }
    bench.command(&["codex", "mcp", "list"]).stdin(Stdio::null()).output().context("run it")?;
    let agent = bench.instance(|one| one["kind"] == "agent" && one["name"] == "codex")?;
    ensure!(agent["parent"].is_null(), "its parent is {}", agent["parent"]);
    Ok(Outcome::Passed("agent codex".into()))
}

/// Three servers start at once; each reads a secret of its own as its first act.
fn first_millisecond(bench: &Bench) -> Result<Outcome> {
    let names = ["first-mcp-a", "first-mcp-b", "first-mcp-c"];
    let mut scripts = Vec::new();
    for (name, key) in names.iter().zip(["id_a", "id_b", "id_c"]) {
        let key = bench.home.join(".ssh").join(key);
        scripts.push((
            own_server(&bench.scratch, name, &format!("open({:?}).read()", key.display().to_string()))?,
            key,
            *name,
        ));
    }
    let started: Vec<Result<Server>> = std::thread::scope(|scope| {
        let starts: Vec<_> = scripts
            .iter()
            .map(|(script, _, name)| {
                scope.spawn(move || {
                    let command = bench.command(&["python3", "-I", script]);
                    Server::start(command, &bench.scratch.join(format!("{name}.log")), PATIENCE)
                })
            })
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a start panicked"))))
            .collect()
    });
    let servers = started.into_iter().collect::<Result<Vec<_>>>()?;
    for ((_, key, name), server) in scripts.iter().zip(&servers) {
        let pid = server.pid();
        bench.instance(|one| one["pid"] == pid && one["name"] == format!("{name}.py"))?;
        let key = key.display().to_string();
        let mut seen = Vec::new();
        for _ in 0..50 {
            seen = bench.events(|event| event["kind"] == "open" && event["file"]["path"] == key)?;
            if !seen.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let event = seen.first().with_context(|| format!("nobody told that {key} was read"))?;
        let workload = event["workload"]["name"].as_str().unwrap_or_default();
        ensure!(workload == format!("{name}.py"), "{key} was read by {name}, and told of {workload}");
        ensure!(event["rule"] == "secret-read", "{key} is no finding: {}", event["rule"]);
    }
    Ok(Outcome::Passed("three first reads, each told of its own server".into()))
}

/// A server that ran before the monitor did is found by looking, and says that its begin was not seen.
fn already_running(bench: &Bench) -> Result<Outcome> {
    let pid = bench.early.pid();
    let found = bench.instance(|one| one["pid"] == pid)?;
    ensure!(found["kind"] == "server" && found["name"] == "early-mcp.py", "{found}");
    let notes = found["coverage"].as_array().cloned().unwrap_or_default();
    ensure!(
        notes.iter().any(|note| note["cause"] == "started-before"),
        "nothing says that its begin was not seen: {found}"
    );
    Ok(Outcome::Passed(format!("found by looking: {}", found["name"])))
}

/// Ordinary programs with the same interpreters are nobody's and leave no record.
fn no_server(bench: &Bench) -> Result<Outcome> {
    let script = bench.scratch.join("build.js");
    fs::write(&script, "require('fs').readFileSync('/etc/hostname')\n")?;
    let script = script.display().to_string();
    bench.command(&["node", &script]).stdin(Stdio::null()).output()?;
    bench.command(&["python3", "-c", "open('/etc/hostname').read()"]).stdin(Stdio::null()).output()?;
    std::thread::sleep(Duration::from_secs(1));
    let told = bench.events(|event| {
        let arguments = event["process"]["args"].as_array().cloned().unwrap_or_default();
        arguments.iter().any(|word| *word == script || word == "open('/etc/hostname').read()")
    })?;
    ensure!(told.is_empty(), "{} events of a person's programs, the first: {}", told.len(), told[0]);
    Ok(Outcome::Passed("no record of a person's programs".into()))
}
