//! The service in a machine that systemd runs: installed from its package, catching a secret's read by a real server, killed,
//! reloaded, misconfigured, upgraded and purged. Changes the host it runs on: for virtual machines.
//!
//! `service --packages DIR`: the directory holds two Debian packages of different versions.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use serde_json::{Value, json};

#[derive(Parser)]
#[command(about = "Tests the service in a virtual machine that systemd runs")]
struct Arguments {
    /// Where the packages are
    #[arg(long, default_value = "/share")]
    packages: PathBuf,
    /// The tier that must be in use
    #[arg(long, default_value = "lsm")]
    tier: String,
    /// How long a step may take, in seconds
    #[arg(long, default_value_t = 240)]
    patience: u64,
}

/// The user whose server reads a secret.
const UID: u32 = 1000;
const HOME: &str = "/home/user";
const SECRET: &str = "/home/user/.ssh/id_rsa";
const SERVER: &str = "@modelcontextprotocol/server-filesystem@2026.8.31";
const CONFIGURATION: &str = "/etc/mcp-monitor/config.yaml";
/// What a process may keep after it is attached; the second where the kernel wants it for maps.
const KEPT: [&str; 4] = ["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_KILL", "CAP_BPF"];

struct Machine {
    older: PathBuf,
    newer: PathBuf,
    tier: String,
    patience: Duration,
}

/// One step: its name, and what is done. A later step needs those before.
type Step = (&'static str, fn(&Machine) -> Result<()>);

const STEPS: &[Step] = &[
    ("the package installs and starts the service", installed),
    ("the process has given away what it does not need", sandboxed),
    ("a secret read by a real server reaches journald and rsyslog", caught),
    ("a killed monitor is restarted and goes on catching", survives_a_kill),
    ("a reload takes what is right and refuses what is wrong", reloads),
    ("a start that fails explains itself in the journal", explains_itself),
    ("an upgrade in place restarts it and keeps the configuration", upgrades),
    ("a purge leaves nothing", purged),
];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            println!("FAILED: {error:#}\n0 passed, 1 failed, 0 skipped");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!(Path::new("/run/systemd/system").exists(), "systemd does not run this host");
    let mut packages: Vec<PathBuf> = fs::read_dir(&arguments.packages)
        .with_context(|| format!("list {}", arguments.packages.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    packages.sort();
    let [older, newer] = &packages[..] else { bail!("two packages are needed, there are {packages:?}") };
    let machine = Machine {
        older: older.clone(),
        newer: newer.clone(),
        tier: arguments.tier.clone(),
        patience: Duration::from_secs(arguments.patience),
    };
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (name, step) in STEPS {
        if failed > 0 {
            println!("not run: {name}: needs what failed before");
            skipped += 1;
            continue;
        }
        let begin = Instant::now();
        match step(&machine) {
            Ok(()) => {
                passed += 1;
                println!("ok      {name} ({:.0} s)", begin.elapsed().as_secs_f32());
            }
            Err(error) => {
                failed += 1;
                println!("FAILED  {name}: {error:#}");
                println!("{}", journal(&["-u", "mcp-monitor", "-n", "40"]).unwrap_or_default());
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn installed(machine: &Machine) -> Result<()> {
    // Debian leaves it to rsyslog to take from the journal, or not.
    write("/etc/systemd/journald.conf.d/forward.conf", "[Journal]\nForwardToSyslog=yes\n")?;
    call("systemctl", &["restart", "systemd-journald.service"])?;
    call("systemctl", &["restart", "rsyslog.service"])?;
    fs::create_dir_all(format!("{HOME}/.ssh"))?;
    write(SECRET, "-----BEGIN OPENSSH PRIVATE KEY-----\nnone\n-----END OPENSSH PRIVATE KEY-----\n")?;
    call("chown", &["-R", "1000:1000", HOME])?;

    call("dpkg", &["--install", &machine.older.display().to_string()])?;
    machine.active()?;
    let status = status()?;
    ensure!(status["tier"] == machine.tier.as_str(), "the tier is {}, not {}", status["tier"], machine.tier);
    let group = fs::read_to_string("/etc/group")?;
    ensure!(group.lines().any(|line| line.starts_with("mcp-monitor:")), "no group mcp-monitor");
    ensure!(Path::new("/usr/share/man/man1/mcp-monitor.1.gz").exists(), "no manual page");
    let shown = property("StatusText")?;
    ensure!(shown.contains(&machine.tier), "systemctl status shows {shown:?}");
    Ok(())
}

fn sandboxed(_: &Machine) -> Result<()> {
    let status = status()?;
    let sandbox = &status["sandbox"];
    println!("        {sandbox}");
    let kept: Vec<&str> =
        sandbox["capabilities"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    ensure!(kept.iter().all(|one| KEPT.contains(one)), "it keeps {kept:?}");
    let pid = property("MainPID")?;
    let mut threads = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("status"))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim).unwrap_or_default().to_owned()
        };
        let name = field("Name");
        ensure!(field("NoNewPrivs") == "1", "thread {name} may get new privileges");
        ensure!(field("Seccomp") == "2", "thread {name} has no filter");
        let held = u64::from_str_radix(&field("CapPrm"), 16)?;
        ensure!(held.count_ones() as usize == kept.len(), "thread {name} holds {held:x}, and not {kept:?}");
        threads += 1;
    }
    ensure!(threads > 3, "only {threads} threads were looked at");
    Ok(())
}

fn caught(machine: &Machine) -> Result<()> {
    read_by_server(SECRET, machine.patience)?;
    machine.until("journald has a finding", || {
        let found = journal(&["-t", "mcp-monitor", "MCP_MONITOR_RULE=secret-read", "-o", "json"])?;
        let line: Value = match found.lines().last() {
            Some(line) => serde_json::from_str(line)?,
            None => return Ok(false),
        };
        Ok(line["MCP_MONITOR_OBJECT"].as_str().is_some_and(|object| object.contains(SECRET))
            && line["MCP_MONITOR_SEVERITY"] == "critical")
    })?;
    machine.until("rsyslog has written it", || {
        let written = fs::read("/var/log/syslog").unwrap_or_default();
        let text = String::from_utf8_lossy(&written).into_owned();
        Ok(text.lines().any(|line| line.contains("mcp-monitor") && line.contains(SECRET)))
    })
}

fn survives_a_kill(machine: &Machine) -> Result<()> {
    let before = property("MainPID")?;
    let findings = findings()?;
    call("kill", &["-9", &before])?;
    machine.until("another process runs", || {
        let now = property("MainPID")?;
        Ok(now != before && now != "0" && property("ActiveState")? == "active")
    })?;
    let told = call("mcp-monitor", &["findings", "--store", "/var/lib/mcp-monitor", "-o", "json"])
        .unwrap_or_default();
    ensure!(told.contains("secret-read"), "the finding from before is gone: {told}");
    read_by_server(SECRET, machine.patience)?;
    machine.until("there is another finding", || Ok(self::findings()? > findings))
}

fn reloads(machine: &Machine) -> Result<()> {
    let pid = property("MainPID")?;
    let right = fs::read_to_string(CONFIGURATION)?;
    let more = right.replace(
        "    journald: {}\n",
        "    journald: {}\n  - name: file\n    file: {path: /var/log/mcp-monitor/findings.jsonl}\n",
    );
    ensure!(more != right, "the configuration has no journald sink");
    write(CONFIGURATION, &more)?;
    call("systemctl", &["reload", "mcp-monitor"])?;
    machine.until("it says that it gave up writing there", || {
        Ok(journal(&["-u", "mcp-monitor", "-n", "30"])?.contains("given up writing"))
    })?;
    call("systemctl", &["restart", "mcp-monitor"])?;
    machine.active()?;
    ensure!(pid != property("MainPID")?, "a restart keeps the process");
    let pid = property("MainPID")?;
    read_by_server(SECRET, machine.patience)?;
    machine.until("the new sink has a finding", || {
        Ok(fs::read_to_string("/var/log/mcp-monitor/findings.jsonl")
            .unwrap_or_default()
            .contains("secret-read"))
    })?;
    write(CONFIGURATION, "sinks:\n  - nmae: typo\n")?;
    call("systemctl", &["reload", "mcp-monitor"])?;
    machine.until("the mistake is told", || {
        let told = journal(&["-u", "mcp-monitor", "-n", "30"])?;
        Ok(told.contains("nmae") && told.contains("stay in force"))
    })?;
    write(CONFIGURATION, &right)?;
    call("systemctl", &["reload", "mcp-monitor"])?;
    machine.until("the configuration is taken", || {
        Ok(journal(&["-u", "mcp-monitor", "-n", "30"])?.contains("1 sink(s) in force"))
    })?;
    ensure!(property("MainPID")? == pid, "a reload must keep the process");
    machine.active()
}

fn explains_itself(machine: &Machine) -> Result<()> {
    let right = fs::read_to_string(CONFIGURATION)?;
    write(CONFIGURATION, "sinks:\n  - nmae: typo\n")?;
    let restarted = call("systemctl", &["restart", "mcp-monitor"]);
    ensure!(restarted.is_err(), "it starts with a wrong configuration");
    machine.until("it has failed for good", || Ok(property("ActiveState")? == "failed"))?;
    let told = journal(&["-u", "mcp-monitor", "-n", "30"])?;
    ensure!(told.contains("config.yaml") && told.contains("nmae") && told.contains("line 2"), "{told}");
    ensure!(property("StatusText")?.contains("nmae"), "systemctl status says {:?}", property("StatusText")?);
    write(CONFIGURATION, &right)?;
    call("systemctl", &["start", "mcp-monitor"])?;
    machine.active()
}

fn upgrades(machine: &Machine) -> Result<()> {
    let before = property("MainPID")?;
    let mine = format!("{}# mine\n", fs::read_to_string(CONFIGURATION)?);
    write(CONFIGURATION, &mine)?;
    let version = || call("dpkg-query", &["--show", "--showformat=${Version}", "mcp-monitor"]);
    let older = version()?;
    call("dpkg", &["--install", &machine.newer.display().to_string()])?;
    machine.active()?;
    ensure!(version()? != older, "the version is still {older}");
    ensure!(property("MainPID")? != before, "the old program still runs");
    ensure!(fs::read_to_string(CONFIGURATION)? == mine, "the changed configuration was not kept");
    Ok(())
}

fn purged(machine: &Machine) -> Result<()> {
    call("dpkg", &["--purge", "mcp-monitor"])?;
    machine.until("the service is gone", || Ok(property("LoadState")? == "not-found"))?;
    let left = call(
        "find",
        &[
            "/",
            "-xdev",
            "(",
            "-path",
            "/share",
            "-o",
            "-path",
            "/proc",
            "-o",
            "-path",
            "/run/vm",
            ")",
            "-prune",
            "-o",
            "-name",
            "*mcp-monitor*",
            "-print",
        ],
    )?;
    ensure!(left.trim().is_empty(), "left behind:\n{left}");
    let left = call("find", &["/run", "-name", "*mcp-monitor*", "-not", "-path", "/run/vm/*"])?;
    ensure!(left.trim().is_empty(), "left behind:\n{left}");
    ensure!(!fs::read_to_string("/etc/group")?.contains("mcp-monitor"), "the group is left");
    Ok(())
}

impl Machine {
    fn active(&self) -> Result<()> {
        self.until("the service is active", || Ok(property("ActiveState")? == "active"))
    }

    fn until(&self, what: &str, mut is: impl FnMut() -> Result<bool>) -> Result<()> {
        let end = Instant::now() + self.patience;
        while !is()? {
            ensure!(Instant::now() < end, "waited in vain: {what}");
            thread::sleep(Duration::from_secs(1));
        }
        Ok(())
    }
}

/// The filesystem server, as a client starts it, reads `path` for its client.
fn read_by_server(path: &str, patience: Duration) -> Result<()> {
    let mut server = Command::new("npx")
        .args(["-y", SERVER, HOME])
        .uid(UID)
        .gid(UID)
        .current_dir(HOME)
        .env_clear()
        .env("HOME", HOME)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("start npx")?;
    let mut input = server.stdin.take().context("its input")?;
    let output = BufReader::new(server.stdout.take().context("its output")?);
    let (sender, lines) = std::sync::mpsc::channel();
    thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut send = |message: Value| writeln!(input, "{message}");
    send(json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}}))?;
    let end = Instant::now() + patience;
    let outcome = loop {
        let Ok(line) = lines.recv_timeout(end.saturating_duration_since(Instant::now())) else {
            break Err(anyhow::anyhow!("the server does not answer"));
        };
        let Ok(answer) = serde_json::from_str::<Value>(&line) else { continue };
        if answer["id"] == 1 {
            send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
            send(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
                "name": "read_text_file", "arguments": {"path": path}}}))?;
        } else if answer["id"] == 2 {
            let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
            break if text.contains("PRIVATE KEY") {
                Ok(())
            } else {
                Err(anyhow::anyhow!("it answers {line}"))
            };
        }
    };
    drop(input);
    // It ends with its input; one that does not is no longer needed.
    thread::sleep(Duration::from_secs(1));
    let _ = server.kill();
    server.wait()?;
    outcome
}

fn status() -> Result<Value> {
    let text = call("mcp-monitor", &["status", "-o", "json"])?;
    serde_json::from_str(&text).with_context(|| format!("read the status {text:?}"))
}

/// Findings in the journal.
fn findings() -> Result<usize> {
    Ok(journal(&["-t", "mcp-monitor", "MCP_MONITOR_RULE=secret-read", "-o", "json"])?.lines().count())
}

fn property(name: &str) -> Result<String> {
    call("systemctl", &["show", "mcp-monitor.service", "--value", "--property", name])
        .map(|text| text.trim().to_owned())
}

fn journal(arguments: &[&str]) -> Result<String> {
    call("journalctl", &[&["--no-pager", "-q"], arguments].concat())
}

fn write(path: &str, text: &str) -> Result<()> {
    if let Some(parent) = Path::new(path).parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, text).with_context(|| format!("write {path}"))
}

fn call(program: &str, arguments: &[&str]) -> Result<String> {
    let shown = format!("{program} {}", arguments.join(" "));
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).output().with_context(|| shown.clone())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{shown}`: {}: {}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
