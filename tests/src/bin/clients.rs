//! Real MCP clients write their configurations with their own commands, and the monitor must find what they wrote.
//!
//! `clients --monitor M --cache DIR`: npm fetches the pinned clients into DIR; without npm or its registry they are
//! not run. Then 200 homes with 12 clients each are written and the time of a scan is measured.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use serde_json::Value;

/// Stands for every secret; the inventory must not show it.
const MARKER: &str = "marker-value-7d1";
/// Homes and clients of the measurement.
const HOMES: usize = 200;
/// The processor time that their scan may take; it is done by one thread.
const SCAN_MAX: Duration = Duration::from_secs(2);
/// How often it is measured; the quickest counts, since other work on the machine is not ours.
const ROUNDS: usize = 3;

#[derive(Parser)]
#[command(about = "Lets real MCP clients write configurations and checks that the monitor finds the servers")]
struct Arguments {
    /// The monitor's program
    #[arg(long, default_value = "mcp-monitor")]
    monitor: PathBuf,
    /// Where npm puts the clients
    #[arg(long)]
    cache: PathBuf,
    /// Run only this client, or `scan`; may be repeated
    #[arg(long)]
    only: Vec<String>,
    /// Taken like the other test programs do, and not used
    #[arg(long, hide = true)]
    attack: Option<PathBuf>,
}

/// A client with what it is told to write.
struct Client {
    name: &'static str,
    package: &'static str,
    program: &'static str,
    /// A script of the package that npm may not run by itself.
    prepare: Option<&'static str>,
    /// Command lines, run in the project's folder.
    adds: &'static [&'static [&'static str]],
    /// What must be found: scope, name, command or host, approval.
    found: &'static [(&'static str, &'static str, &'static str, &'static str)],
}

const CLIENTS: &[Client] = &[
    Client {
        name: "claude-code",
        package: "@anthropic-ai/claude-code@2.1.197",
        program: "claude",
        prepare: Some("@anthropic-ai/claude-code/install.cjs"),
        adds: &[
            &["mcp", "add", "-s", "user", "memory", "-e", "TOKEN=marker-value-7d1", "--", "npx", "-y", "pkg"],
            &["mcp", "add", "time", "--", "uvx", "mcp-server-time"],
            &["mcp", "add", "-s", "project", "files", "--", "node", "/opt/files.js", "${HOME}/x"],
            &[
                "mcp",
                "add",
                "-s",
                "user",
                "-t",
                "http",
                "remote",
                "https://mcp.example/mcp?key=marker-value-7d1",
            ],
        ],
        found: &[
            ("user", "memory", "npx", "approved"),
            ("local", "time", "uvx", "approved"),
            ("project", "files", "node", "not-approved"),
            ("user", "remote", "mcp.example", "approved"),
        ],
    },
    Client {
        name: "codex",
        package: "@openai/codex@0.169.0",
        program: "codex",
        prepare: None,
        adds: &[
            &["mcp", "add", "memory", "--env", "TOKEN=marker-value-7d1", "--", "npx", "-y", "pkg"],
            &["mcp", "add", "remote", "--url", "https://mcp.example/mcp", "--bearer-token-env-var", "TOKEN"],
        ],
        found: &[("user", "memory", "npx", "approved"), ("user", "remote", "mcp.example", "approved")],
    },
    Client {
        name: "gemini-cli",
        package: "@google/gemini-cli@0.61.0",
        program: "gemini",
        prepare: None,
        adds: &[
            &["mcp", "add", "-s", "user", "-e", "TOKEN=marker-value-7d1", "memory", "npx", "-y", "pkg"],
            &["mcp", "add", "-s", "project", "files", "node", "/opt/files.js"],
            &[
                "mcp",
                "add",
                "-s",
                "user",
                "-t",
                "http",
                "remote",
                "https://mcp.example/mcp",
                "-H",
                "X: marker-value-7d1",
            ],
        ],
        found: &[
            ("user", "memory", "npx", "approved"),
            ("project", "files", "node", "not-approved"),
            ("user", "remote", "mcp.example", "approved"),
        ],
    },
    Client {
        name: "opencode",
        package: "opencode-ai@1.18.33",
        program: "opencode",
        prepare: Some("opencode-ai/postinstall.mjs"),
        adds: &[
            &["mcp", "add", "memory", "--env", "TOKEN=marker-value-7d1", "--", "npx", "-y", "pkg"],
            &["mcp", "add", "remote", "--url", "https://mcp.example/mcp", "--header", "X=marker-value-7d1"],
        ],
        found: &[("user", "memory", "npx", "approved"), ("user", "remote", "mcp.example", "approved")],
    },
];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("clients: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let monitor = arguments.monitor.canonicalize().context("find the monitor")?;
    let scratch = arguments.cache.join(format!("homes.{}", std::process::id()));
    fs::create_dir_all(&scratch).with_context(|| format!("make {}", scratch.display()))?;
    let scratch = scratch.canonicalize()?;
    let chosen = |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == name);
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut tell = |name: &str, outcome: Result<String>| match outcome {
        Ok(line) => {
            passed += 1;
            println!("{name}: {line}");
        }
        Err(error) => {
            if let Some(NotRun(why)) = error.downcast_ref() {
                skipped += 1;
                println!("{name}: not run: {why}");
            } else {
                failed += 1;
                println!("{name}: FAILED: {error:#}");
            }
        }
    };
    for client in CLIENTS.iter().filter(|client| chosen(client.name)) {
        tell(client.name, client.check(&monitor, &arguments.cache, &scratch.join(client.name)));
    }
    if chosen("scan") {
        tell("scan", measure(&monitor, &scratch.join("many")));
    }
    fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}

/// Why something could not be tried here.
#[derive(Debug)]
struct NotRun(String);

impl std::fmt::Display for NotRun {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for NotRun {}

impl Client {
    fn check(&self, monitor: &Path, cache: &Path, home: &Path) -> Result<String> {
        let program = self.install(cache)?;
        let project = home.join("project");
        fs::create_dir_all(&project)?;
        for words in self.adds {
            let output = quiet(Command::new("timeout").arg("60").arg(&program).args(*words), home, &project)?;
            ensure!(output.status.success(), "{} {words:?}: {}", self.program, said(&output));
        }
        let (servers, talk) = inventory(monitor, &[home.to_owned()])?;
        ensure!(talk.is_empty(), "warnings: {talk}");
        let found: BTreeSet<_> = servers.iter().map(|server| Found::new(self.name, server)).collect();
        let wanted = self.found.iter().map(|(scope, name, what, approval)| Found {
            client: self.name.into(),
            scope: (*scope).into(),
            name: (*name).into(),
            what: (*what).into(),
            approval: (*approval).into(),
        });
        let wanted: BTreeSet<_> = wanted.collect();
        ensure!(found == wanted, "found {found:#?} instead of {wanted:#?}");
        Ok(format!("{}: {} servers found as it wrote them", self.package, found.len()))
    }

    /// The client's program; fetched if it is not there in the pinned version.
    fn install(&self, cache: &Path) -> Result<PathBuf> {
        let prefix = cache.join("clients").join(self.name);
        let program = prefix.join("node_modules/.bin").join(self.program);
        let mark = prefix.join(".installed");
        if fs::read_to_string(&mark).is_ok_and(|installed| installed == self.package) && program.exists() {
            return Ok(program);
        }
        fs::create_dir_all(&prefix)?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
            .arg(&prefix)
            .arg(self.package);
        let output = match npm.stdin(Stdio::null()).output() {
            Ok(output) => output,
            Err(error) => bail!(NotRun(format!("npm cannot be run: {error}"))),
        };
        if !output.status.success() {
            bail!(NotRun(format!("npm cannot fetch {}: {}", self.package, said(&output))));
        }
        if let Some(script) = self.prepare {
            let script = prefix.join("node_modules").join(script);
            let folder = script.parent().context("a script lies in a folder")?.to_owned();
            let output =
                Command::new("node").arg(&script).current_dir(folder).stdin(Stdio::null()).output()?;
            ensure!(output.status.success(), "{}: {}", script.display(), said(&output));
        }
        fs::write(&mark, self.package)?;
        Ok(program)
    }
}

/// What the inventory says of one server.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    client: String,
    scope: String,
    name: String,
    what: String,
    approval: String,
}

impl Found {
    fn new(client: &str, server: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let transport = &server["transport"];
        let what = if transport["kind"] == "stdio" { &transport["command"] } else { &transport["host"] };
        let named = text(&server["client"]);
        Self {
            client: if named.is_empty() { client.to_owned() } else { named },
            scope: text(&server["scope"]),
            name: text(&server["name"]),
            what: text(what),
            approval: text(&server["approval"]["state"]),
        }
    }
}

/// What `mcp-monitor inventory` says of these homes, and what it says on standard error.
fn inventory(monitor: &Path, homes: &[PathBuf]) -> Result<(Vec<Value>, String)> {
    let mut command = Command::new(monitor);
    command.args(["inventory", "-o", "json"]);
    for home in homes {
        command.arg("--home").arg(home);
    }
    let output = command.stdin(Stdio::null()).output().context("run the inventory")?;
    ensure!(output.status.success(), "inventory: {}", said(&output));
    let all = format!("{}{}", String::from_utf8_lossy(&output.stdout), said(&output));
    ensure!(!all.contains(MARKER), "the inventory shows a secret");
    let lines = String::from_utf8(output.stdout).context("JSON is UTF-8")?;
    let servers = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok((servers, String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn quiet(command: &mut Command, home: &Path, folder: &Path) -> Result<std::process::Output> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("HOME", home).env("TERM", "dumb").env("DISABLE_TELEMETRY", "1");
    command.env("DISABLE_AUTOUPDATER", "1").current_dir(folder).stdin(Stdio::null());
    command.output().with_context(|| format!("run a client in {}", home.display()))
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()
}

/// Homes in which twelve clients have three servers each, and what a scan of all of them costs.
fn measure(monitor: &Path, folder: &Path) -> Result<String> {
    let servers = r#"{"a": {"command": "npx", "args": ["-y", "x"]}, "b": {"command": "uvx", "args": ["y"]}, "c": {"url": "https://h/x"}}"#;
    let wrapped = format!("{{\"mcpServers\": {servers}}}");
    let history = "\"a line of what was typed before\",".repeat(20_000);
    let toml = "[mcp_servers.a]\ncommand = \"npx\"\n[mcp_servers.b]\ncommand = \"uvx\"\n[mcp_servers.c]\nurl = \"https://h/x\"\n";
    let yaml = "extensions:\n  a: {type: stdio, cmd: npx}\n  b: {type: stdio, cmd: uvx}\n  c: {type: streamable_http, uri: 'https://h/x'}\n";
    let mcp = r#"{"mcp": {"a": {"type": "local", "command": ["npx"]}, "b": {"type": "local", "command": ["uvx"]}, "c": {"type": "remote", "url": "https://h/x"}}}"#;
    let files = [
        (".claude.json", format!("{{\"history\": [{history}\"\"], \"mcpServers\": {servers}}}")),
        (".cursor/mcp.json", wrapped.clone()),
        (".config/Code/User/mcp.json", format!("{{\"servers\": {servers}}}")),
        (".codex/config.toml", toml.to_owned()),
        (".gemini/settings.json", wrapped.clone()),
        (".config/zed/settings.json", format!("// zed\n{{\"context_servers\": {servers}}}")),
        (".config/goose/config.yaml", yaml.to_owned()),
        (".config/opencode/opencode.json", mcp.to_owned()),
        (".codeium/windsurf/mcp_config.json", wrapped.clone()),
        (".kiro/settings/mcp.json", wrapped.clone()),
        (".lmstudio/mcp.json", wrapped.clone()),
        (".aws/amazonq/mcp.json", wrapped),
    ];
    let mut homes = Vec::new();
    for number in 0..HOMES {
        let home = folder.join(format!("u{number}"));
        for (name, text) in &files {
            let path = home.join(name);
            fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
            fs::write(path, text)?;
        }
        homes.push(home);
    }
    let bytes: usize = files.iter().map(|(_, text)| text.len()).sum();
    let (mut best, mut waited) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let (start, before) = (Instant::now(), spent_by_children());
        let (servers, talk) = inventory(monitor, &homes)?;
        best = best.min(spent_by_children().saturating_sub(before));
        waited = waited.min(start.elapsed());
        let all = HOMES * files.len() * 3;
        ensure!(servers.len() == all && talk.is_empty(), "{} servers of {all}: {talk}", servers.len());
    }
    ensure!(best < SCAN_MAX, "{best:?} for {HOMES} homes × {} clients", files.len());
    Ok(format!(
        "{HOMES} homes × {} clients, {} servers, {} KiB a home: {:.2} s of processor time, {:.2} s from start to end",
        files.len(),
        HOMES * files.len() * 3,
        bytes / 1024,
        best.as_secs_f64(),
        waited.as_secs_f64()
    ))
}

/// Processor time of the programs that were run and have ended: what others do on the machine is not in it.
fn spent_by_children() -> Duration {
    // SAFETY: all fields are integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is there to be written to.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    let time = |time: libc::timeval| {
        Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0))
            + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}
