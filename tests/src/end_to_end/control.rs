//! The control socket of a monitor that runs, asked through the command line and as any HTTP client asks.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::{net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    monitor::{Setup, wait},
    robustness::Check,
};

/// All checks of this file.
pub(crate) const CHECKS: &[Check] = &[
    ("a person asks what happened", asked_by_a_person),
    ("curl asks what happened", asked_by_curl),
    ("a slow reader is told what it missed and stalls nobody", slow_reader),
    ("a workload is frozen and goes on", frozen),
    ("a finding is acknowledged, suppressed and told again", handled),
    ("another user sees nothing of it and may do nothing", another_user),
    ("nobody answers when none runs", nobody),
    ("top shows it on a terminal of 80 columns", top),
];

/// Why these checks cannot be made here: what they watch are a shell and `cat`, which machines without a root have not.
/// They ask nothing of the kernel that the other checks do not.
pub(crate) fn lacking() -> Option<&'static str> {
    let is_there = |name: &str| Path::new(name).exists();
    if !is_there("/bin/sh") || !is_there(SECRET) {
        Some("no shell or no /etc/shadow here")
    } else if !["/bin/cat", "/usr/bin/cat"].into_iter().any(is_there) {
        Some("no cat here")
    } else {
        None
    }
}

/// A user that owns nothing.
const NOBODY: u32 = 65_534;

/// A shell that waits for a word before it does anything, and a monitor that watches it.
struct Running<'setup> {
    setup: &'setup Setup,
    directory: PathBuf,
    subject: Child,
    word: Option<ChildStdin>,
    monitor: Child,
}

impl<'setup> Running<'setup> {
    /// `None` when this machine has no shell.
    fn start(setup: &'setup Setup, name: &str, script: &str) -> Result<Option<Self>> {
        if !Path::new("/bin/sh").exists() {
            println!("control: {name}: not run: there is no /bin/sh here");
            return Ok(None);
        }
        let directory = setup.world.scratch.join(format!("control-{name}"));
        fs::create_dir_all(&directory)?;
        let mut subject = Command::new("/bin/sh")
            .args(["-c", &format!("read word; {script}; sleep 60")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let word = subject.stdin.take();
        let mut monitor = Command::new(&setup.monitor);
        monitor.args(["run", "-o", "json", "--pid", &subject.id().to_string()]);
        if setup.tier.name() != "auto" {
            monitor.args(["--tier", setup.tier.name()]);
        }
        let monitor = monitor
            .env("RUNTIME_DIRECTORY", &directory)
            .env("STATE_DIRECTORY", directory.join("store"))
            .env("HOME", setup.world.home())
            .stdin(Stdio::null())
            .stdout(File::create(directory.join("stream.jsonl"))?)
            .stderr(File::create(directory.join("talk"))?)
            .spawn()?;
        let running = Self { setup, directory, subject, word, monitor };
        running.until("it is ready", || Ok(running.http("GET /readyz")?.0 == 200))?;
        Ok(Some(running))
    }

    /// Lets the shell begin.
    fn go(&mut self) -> Result<()> {
        self.word.as_mut().context("it went already")?.write_all(b"go\n")?;
        Ok(())
    }

    /// Waits until something holds.
    fn until(&self, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
        let begin = Instant::now();
        loop {
            let last = match holds() {
                Ok(true) => return Ok(()),
                Ok(false) => String::new(),
                Err(error) => format!(": {error:#}"),
            };
            if begin.elapsed() > self.setup.seconds(30) {
                let talk = fs::read_to_string(self.directory.join("talk")).unwrap_or_default();
                bail!("never came true: {what}{last}\n{talk}");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.setup.monitor);
        command.args(arguments).env("RUNTIME_DIRECTORY", &self.directory).env("NO_COLOR", "1");
        command.stdin(Stdio::null());
        command
    }

    fn ask(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command(arguments).output()?)
    }

    /// Lines of an answer that went well.
    fn lines(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let output = self.ask(arguments)?;
        let talk = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?} ended with {:?}: {talk}", output.status.code());
        let text = String::from_utf8(output.stdout)?;
        text.lines().map(|line| serde_json::from_str(line).context(line.to_owned())).collect()
    }

    /// A command that ends with `status` and says `wanted`.
    fn does(&self, arguments: &[&str], status: i32, wanted: &str) -> Result<()> {
        let output = self.ask(arguments)?;
        let (told, talk) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(
            output.status.code() == Some(status) && (told.contains(wanted) || talk.contains(wanted)),
            "{arguments:?} ended with {:?}: {told}{talk}",
            output.status.code()
        );
        Ok(())
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    /// One request over the socket, by hand: status and body.
    fn http(&self, request: &str) -> Result<(u16, String)> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(self.setup.seconds(10)))?;
        write!(stream, "{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok((status, body.to_owned()))
    }

    /// Ends the monitor as a service manager does; it has to end well and take its socket away.
    fn finish(mut self) -> Result<()> {
        let pid = i32::try_from(self.monitor.id())?;
        // SAFETY: our own child.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let status = wait(&mut self.monitor, self.setup.seconds(20))?.context("the monitor did not end")?;
        ensure!(status.success(), "the monitor ended with {status}");
        ensure!(!self.socket().exists(), "its socket is left");
        Ok(())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        for child in [&mut self.subject, &mut self.monitor] {
            // Ended already, perhaps.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A secret that is one whatever homes there are.
const SECRET: &str = "/etc/shadow";

fn reads_a_secret() -> (String, String) {
    (format!("cat {SECRET} >/dev/null"), SECRET.to_owned())
}

fn asked_by_a_person(setup: &Setup) -> Result<()> {
    let (script, secret) = reads_a_secret();
    let Some(mut running) = Running::start(setup, "person", &script)? else { return Ok(()) };
    running.go()?;
    let asked = ["events", "-o", "json", "--path", &secret, "--verdict", "forbidden"];
    running.until("the secret's read is told", || Ok(!running.lines(&asked)?.is_empty()))?;
    let event = running.lines(&asked)?.remove(0);
    ensure!(event["rule"] == "secret-read" && event["file"]["path"] == *secret, "{event}");

    let status = running.lines(&["status", "-o", "json"])?.remove(0);
    ensure!(status["alive"] == true && status["instances_running"] == 1, "{status}");
    ensure!(status["findings"]["critical"].as_u64() >= Some(1), "{status}");
    let workloads = running.lines(&["workloads", "-o", "json"])?.remove(0);
    let name = format!("pid {}", running.subject.id());
    ensure!(workloads["workloads"][0]["name"] == name, "{workloads}");
    ensure!(running.lines(&["events", "-o", "json", "--workload", "nobody"])?.is_empty());
    ensure!(running.lines(&["events", "-o", "json", "-n", "2"])?.len() == 2);

    let found = running.ask(&["findings", "-o", "json", "--fail-on", "secret-read"])?;
    ensure!(found.status.code() == Some(10), "--fail-on ended with {:?}", found.status.code());
    let finding: Value =
        serde_json::from_slice(found.stdout.split(|byte| *byte == b'\n').next().context("none")?)?;
    let id = finding["id"].as_str().context("no id")?;
    for (arguments, wanted) in [
        (vec!["explain", id], "What to do"),
        (vec!["tree"], "[secret-read]"),
        (vec!["timeline"], "✗ open"),
        (vec!["coverage"], "started-before"),
        (vec!["findings", "-o", "table"], "secret-read"),
        (vec!["events", "-o", "csv", "-n", "1"], "time,workload"),
        (vec!["events", "-o", "yaml", "-n", "1"], "schema: mcp-monitor/event/v1"),
        (vec!["report", "--html", "-"], "<!DOCTYPE html>"),
        (vec!["workloads", "-o", "wide"], "instance "),
    ] {
        let output = running.ask(&arguments)?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success() && text.contains(wanted), "{arguments:?}: {text}");
    }
    let unknown = running.ask(&["explain", "00000000"])?;
    ensure!(unknown.status.code() == Some(8), "explain of nothing ended with {:?}", unknown.status.code());
    running.finish()
}

fn asked_by_curl(setup: &Setup) -> Result<()> {
    let (script, secret) = reads_a_secret();
    let Some(mut running) = Running::start(setup, "curl", &script)? else { return Ok(()) };
    running.go()?;
    let socket = running.socket().to_string_lossy().into_owned();
    let has_curl = Command::new("curl").arg("--version").output().is_ok();
    if !has_curl {
        println!("control: curl: asked by hand instead: there is no curl here");
    }
    let get = |path: &str| -> Result<(u16, String)> {
        if !has_curl {
            return running.http(&format!("GET {path}"));
        }
        let url = format!("http://localhost{path}");
        let output = Command::new("curl")
            .args(["-s", "-w", "\n%{http_code}", "--unix-socket", &socket, &url])
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let (body, status) = text.rsplit_once('\n').context("no status")?;
        Ok((status.parse()?, body.to_owned()))
    };
    let asked = "/v1/events?verdict=forbidden&last=5";
    running.until("the secret's read is told", || Ok(get(asked)?.1.contains(&secret)))?;
    for (path, status, wanted) in [
        ("/healthz", 200, "ok"),
        ("/v1/status", 200, "mcp-monitor/status/v1"),
        ("/v1/workloads", 200, "mcp-monitor/workloads/v1"),
        ("/v1/findings?severity=high", 200, "secret-read"),
        ("/v1/tree", 200, "mcp-monitor/tree/v1"),
        ("/v1/timeline?kind=exec", 200, "mcp-monitor/timeline/v1"),
        ("/v1/explain/secret-read", 200, "meaning"),
        ("/v1/coverage", 200, "started-before"),
        ("/v1/top", 200, "mcp-monitor/top/v1"),
        ("/v1/doctor", 200, "mcp-monitor/host/v1"),
        ("/v1/openapi.json", 200, "/v1/events"),
        ("/v1/events?kinds=open", 400, "unknown field"),
        ("/v1/events?verdict=bad", 400, "forbidden"),
        ("/v1/workloads/nothing", 404, "mcp-monitor workloads"),
        ("/v1/nothing", 404, "openapi.json"),
    ] {
        let (got, body) = get(path)?;
        ensure!(got == status && body.contains(wanted), "{path}: {got} {body:.300}");
    }
    running.finish()
}

fn slow_reader(setup: &Setup) -> Result<()> {
    let flood = "i=0; while [ $i -lt 700 ]; do cat /etc/passwd >/dev/null; i=$((i+1)); done";
    let Some(mut running) = Running::start(setup, "slow", flood)? else { return Ok(()) };
    let mut reader = UnixStream::connect(running.socket())?;
    write!(reader, "GET /v1/events?follow=true&last=0 HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    running.go()?;
    // It is not read from while thousands of events pass; others are answered all the time.
    let followed = running.http("GET /v1/status")?;
    ensure!(followed.0 == 200);
    let mut slowest = Duration::ZERO;
    running.until("many events passed", || {
        let begin = Instant::now();
        let (_, body) = running.http("GET /v1/status")?;
        slowest = slowest.max(begin.elapsed());
        let status: Value = serde_json::from_str(&body)?;
        Ok(status["events"]["expected"].as_u64() > Some(12_000))
    })?;
    ensure!(slowest < setup.seconds(5), "an answer took {slowest:?} in a flood");
    reader.set_read_timeout(Some(setup.seconds(5)))?;
    let mut text = Vec::new();
    let mut chunk = [0; 8 * 1024];
    while let Ok(count @ 1..) = reader.read(&mut chunk) {
        text.extend_from_slice(&chunk[..count]);
        if String::from_utf8_lossy(&text).contains("mcp-monitor/dropped/v1") {
            return running.finish();
        }
    }
    bail!("the slow reader was not told what it missed in {} bytes", text.len())
}

fn frozen(setup: &Setup) -> Result<()> {
    let Some(mut running) = Running::start(setup, "frozen", "sleep 50 & sleep 50")? else { return Ok(()) };
    running.go()?;
    let pid = running.subject.id();
    let state = || -> Result<char> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).context("no state")
    };
    let workload = format!("pid {pid}");
    let paused = running.ask(&["pause", &workload, "--reason", "looks odd"])?;
    ensure!(paused.status.success(), "pause: {}", String::from_utf8_lossy(&paused.stderr));
    running.until("it is stopped", || Ok(state()? == 'T'))?;
    let rows = running.lines(&["workloads", "-o", "json"])?.remove(0);
    ensure!(rows["workloads"][0]["paused"] == true, "{rows}");
    let noted = running.lines(&["events", "-o", "json", "--kind", "coverage"])?;
    let noted = noted.iter().find(|event| event["coverage"]["cause"] == "paused").context("not recorded")?;
    let what = noted["coverage"]["what"].as_str().unwrap_or_default();
    ensure!(what.contains("by uid 0: looks odd"), "{what}");
    ensure!(running.ask(&["resume", &workload, "--reason", "fine"])?.status.success());
    running.until("it goes on", || Ok(state()? != 'T'))?;
    let unknown = running.ask(&["pause", "nobody", "--reason", "x"])?;
    ensure!(unknown.status.code() == Some(8), "pause of nothing ended with {:?}", unknown.status.code());
    running.finish()
}

fn handled(setup: &Setup) -> Result<()> {
    let (script, secret) = reads_a_secret();
    let Some(mut running) = Running::start(setup, "handled", &format!("{script}; read word; {script}"))?
    else {
        return Ok(());
    };
    running.go()?;
    let found = ["findings", "-o", "json", "--rule", "secret-read"];
    running.until("the secret's read is found", || Ok(!running.lines(&found)?.is_empty()))?;
    let id = running.lines(&found)?[0]["id"].as_str().context("no id")?.to_owned();
    running.does(&["findings", "ack", &id[..18], "--reason", "mine"], 0, "acknowledged finding")?;
    let acknowledged = running.lines(&["findings", "-o", "json", "--state", "acknowledged"])?;
    ensure!(acknowledged.len() == 1 && acknowledged[0]["handling"]["reason"] == "mine", "{acknowledged:?}");
    let fails = ["findings", "--fail-on", "secret-read"];
    running.does(&fails, 10, "")?;
    running.does(
        &["findings", "suppress", &id, "--reason", "a test key", "--until", "2h"],
        0,
        "suppressed finding",
    )?;
    running.does(&fails, 0, "\"state\":\"suppressed\"")?;
    running.does(&["findings", "-o", "table"], 0, "suppressed until")?;
    running.does(&["status", "-o", "table"], 0, "1 suppressed")?;
    running.does(&["findings", "suppress", &id, "--reason", "x", "--until", "yesterday"], 2, "has passed")?;
    running.does(
        &["findings", "suppress", "no-rule+x", "--reason", "x", "--until", "1h"],
        2,
        "no rule is called",
    )?;
    running.does(
        &["findings", "suppress", "coverage-loss+x", "--reason", "x", "--until", "1h"],
        2,
        "cannot be suppressed",
    )?;
    running.does(&["findings", "ack", "00000000", "--reason", "x"], 8, "no finding")?;
    running.does(&["findings", "unsuppress", &id, "--reason", "looked at"], 0, "open again")?;
    running.does(&fails, 10, "")?;
    let workload = format!("pid {}", running.subject.id());
    let scope = format!("secret-read+{workload}");
    running.does(
        &["findings", "suppress", &scope, "--reason", "known", "--until", "2h"],
        0,
        "suppressed findings",
    )?;
    // What comes is suppressed, too, and counted all the same.
    running.go()?;
    let counted = |running: &Running<'_>| -> Result<u64> {
        let rows = running.lines(&["findings", "-o", "json", "--state", "suppressed", "--path", &secret])?;
        Ok(rows.iter().filter_map(|row| row["count"].as_u64()).sum())
    };
    running.until("the second read is counted", || Ok(counted(&running)? >= 2))?;
    running.does(&fails, 0, "")?;
    running.does(&["findings", "unsuppress", &scope, "--reason", "enough"], 0, "told again")?;
    running.does(&["findings", "unsuppress", &scope, "--reason", "enough"], 8, "is not suppressed")?;
    running.does(&fails, 10, "")?;
    let store = running.directory.join("store");
    running.finish()?;
    let verified = Command::new(&setup.monitor).arg("verify").arg("--store").arg(&store).output()?;
    ensure!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let evidence = setup.world.scratch.join("control-handled/evidence.jsonl");
    let exported =
        Command::new(&setup.monitor).arg("export").arg("--store").arg(&store).arg(&evidence).output()?;
    ensure!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    let journal = fs::read_to_string(&evidence)?;
    for act in ["acknowledge", "suppress", "reopen", "suppress-scope", "unsuppress-scope", "query"] {
        ensure!(journal.contains(&format!("\"act\":\"{act}\"")), "{act} is not in the journal");
    }
    Ok(())
}

fn another_user(setup: &Setup) -> Result<()> {
    let (script, secret) = reads_a_secret();
    let Some(mut running) = Running::start(setup, "user", &script)? else { return Ok(()) };
    running.go()?;
    let asked = ["events", "-o", "json", "--path", &secret];
    running.until("the secret's read is told", || Ok(!running.lines(&asked)?.is_empty()))?;
    // The program has to lie where that user can execute it.
    let program = PathBuf::from(format!("/tmp/mcp-monitor-control-{}", std::process::id()));
    fs::copy(&setup.monitor, &program)?;
    let as_nobody = |arguments: &[&str]| {
        Command::new(&program)
            .args(arguments)
            .args(["--socket", &running.socket().to_string_lossy()])
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
    };
    for directory in running.socket().ancestors().skip(1) {
        if directory.starts_with("/srv") && directory != Path::new("/srv") {
            fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        }
    }
    let result = (|| -> Result<()> {
        let workloads = as_nobody(&["workloads", "-o", "json"])?;
        let text = String::from_utf8_lossy(&workloads.stdout);
        ensure!(workloads.status.success(), "{}", String::from_utf8_lossy(&workloads.stderr));
        ensure!(text.contains("\"workloads\":[]"), "another user sees {text}");
        let events = as_nobody(&["events", "-o", "json"])?;
        ensure!(events.status.success() && events.stdout.is_empty(), "another user sees events");
        let pause = as_nobody(&["pause", "x", "--reason", "y"])?;
        ensure!(pause.status.code() == Some(3), "pause ended with {:?}", pause.status.code());
        ensure!(String::from_utf8_lossy(&pause.stderr).contains("only root may"));
        Ok(())
    })();
    fs::remove_file(&program)?;
    result?;
    running.finish()
}

fn nobody(setup: &Setup) -> Result<()> {
    let directory = setup.world.scratch.join("control-nobody");
    fs::create_dir_all(&directory)?;
    let output = Command::new(&setup.monitor).arg("status").env("RUNTIME_DIRECTORY", &directory).output()?;
    let talk = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(7), "ended with {:?}: {talk}", output.status.code());
    ensure!(talk.contains("mcp-monitor run") && output.stdout.is_empty(), "{talk}");
    Ok(())
}

fn top(setup: &Setup) -> Result<()> {
    if Command::new("tmux").arg("-V").output().is_err() {
        println!("control: top: not run: there is no tmux here");
        return Ok(());
    }
    let (script, _) = reads_a_secret();
    let Some(mut running) = Running::start(setup, "top", &script)? else { return Ok(()) };
    running.go()?;
    let server = format!("mcp-monitor-{}", std::process::id());
    let tmux = |arguments: &[&str]| -> Result<String> {
        let output = Command::new("tmux").args(["-L", &server]).args(arguments).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let program = format!("{} top --socket {}", setup.monitor.display(), running.socket().display());
    tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", &program])?;
    let screen = || tmux(&["capture-pane", "-p"]);
    let result = (|| -> Result<()> {
        let name = format!("pid {}", running.subject.id());
        running.until("it is on the screen", || {
            let screen = screen()?;
            Ok(screen.contains(&name) && screen.contains("running") && screen.contains("secret-read"))
        })?;
        ensure!(screen()?.lines().all(|line| line.chars().count() <= 80));
        tmux(&["send-keys", "zzz"])?;
        running.until("the filter leaves nothing", || Ok(screen()?.contains("workloads: 0 of 1")))?;
        tmux(&["send-keys", "Escape"])?;
        running.until("the filter is gone", || Ok(screen()?.contains("workloads: 1 of 1")))?;
        tmux(&["send-keys", "Enter"])?;
        running.until("the detail is shown", || Ok(screen()?.contains("instance ")))?;
        tmux(&["send-keys", "Escape"])?;
        running.until("the list is back", || Ok(screen()?.contains("workloads: 1 of 1")))?;
        tmux(&["send-keys", "q"])?;
        running.until("it has ended", || Ok(!tmux(&["list-sessions"])?.contains("1 windows")))
    })();
    let _ = tmux(&["kill-server"]);
    result?;
    running.finish()
}
