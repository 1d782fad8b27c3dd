//! One server's run: rehearsed unwatched where packages may have to be fetched, then under the monitor and strace at once.
//!
//! strace runs below the monitor and starts the client itself: only then can it leave all other system calls alone
//! (`--seccomp-bpf`), without which an emulated machine takes minutes for each start. It is thus a process of the
//! lineage that looks into others, and what is found of strace itself is left out.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    compare::Report,
    events::Said,
    plan::{self, SERVERS, Server, World},
    strace::{self, Trace},
};

/// The client's library.
const SDK: &str = "mcp==2.3.0";
/// Where npx and uvx look for packages, even for those they have.
const REGISTRIES: &[&str] = &["registry.npmjs.org:443", "pypi.org:443", "files.pythonhosted.org:443"];
/// After this a run is given up: it may have to fetch packages, and strace, a loaded or an emulated machine slow it.
const DEADLINE: Duration = Duration::from_mins(6);
/// Where things are.
pub struct Place {
    /// The monitor's program.
    pub monitor: PathBuf,
    /// The tier to force; none: the monitor's choice.
    pub tier: Option<String>,
    /// `client.py` and `web.py`.
    pub scripts: PathBuf,
    /// Caches of npx and uvx. None: the machine's own settings say where they are.
    pub cache: Option<PathBuf>,
    /// Homes, plans, traces, outputs.
    pub scratch: PathBuf,
}

/// What came of a server's run.
pub enum Verdict {
    /// All was told of and nothing found; in a line.
    Passed(String),
    /// In a line, and what was wrong.
    Failed(String, Vec<String>),
    /// The server does not run here even unwatched; why.
    NotRun(String),
}

/// All runs, with the web server that the fetch server fetches from.
pub struct Session {
    place: Place,
    web: Child,
    port: u16,
}

impl Session {
    /// Starts the web server.
    pub fn start(place: Place) -> Result<Self> {
        let script = place.scripts.join("web.py");
        let mut web = Command::new("python3")
            .arg("-I")
            .arg(&script)
            .args(["127.0.0.1", "0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start python3 {}", script.display()))?;
        let mut line = String::new();
        let output = web.stdout.take().context("the web server has no output")?;
        let mut output = BufReader::new(output);
        output.read_line(&mut line)?;
        let port = line.split_whitespace().nth(2).and_then(|port| port.parse().ok());
        let port = port.with_context(|| format!("{} did not get ready: {line:?}", script.display()))?;
        // Its log has to be read, or it would block.
        thread::spawn(move || output.lines().map_while(Result::ok).for_each(drop));
        Ok(Self { place, web, port })
    }

    /// The servers' names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SERVERS.iter().map(|server| server.name)
    }

    /// Runs one server.
    pub fn run(&self, name: &str) -> Result<Verdict> {
        let server = SERVERS.iter().find(|server| server.name == name);
        let server = server.with_context(|| format!("no server is called {name:?}"))?;
        let folder = self.place.scratch.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        // Without a network there is nothing to fetch, and a server that does not start is a failure.
        if self.place.cache.is_some()
            && let Err(why) = self.rehearse(server, &folder)
        {
            return Ok(Verdict::NotRun(format!("{why:#}")));
        }
        self.watch(server, &folder)
    }

    /// The client with its plan for `server`, in a home of its own.
    fn client(&self, server: &Server, folder: &Path, run: &str) -> Result<Client> {
        let home = folder.join(run);
        plan::furnish(&home)?;
        let world = World { home: &home, port: self.port };
        let file = folder.join(format!("{run}.plan.json"));
        fs::write(&file, server.plan(&world).to_string())
            .with_context(|| format!("write {}", file.display()))?;
        let script = self.place.scripts.join("client.py").display().to_string();
        let words = ["uv", "run", "--quiet", "--no-project", "--with", SDK, "python3", "-I", &script];
        let mut words: Vec<String> = words.map(str::to_owned).to_vec();
        words.push(file.display().to_string());
        Ok(Client { home, words })
    }

    /// Runs the client unwatched, which fetches what is not in the caches yet.
    fn rehearse(&self, server: &Server, folder: &Path) -> Result<()> {
        let client = self.client(server, folder, "rehearsal")?;
        let talk = folder.join("rehearsal.talk");
        let mut command = Command::new(&client.words[0]);
        command.args(&client.words[1..]);
        self.prepare(&mut command, &client.home, &talk)?;
        let mut child = command.spawn().context("start uv")?;
        let status = wait(&mut child, DEADLINE)?;
        ensure!(status.is_some_and(|status| status.success()), "unwatched it fails: {}", last_words(&talk));
        Ok(())
    }

    fn watch(&self, server: &Server, folder: &Path) -> Result<Verdict> {
        let client = self.client(server, folder, "home")?;
        let [output, talk, trace] = ["events.jsonl", "talk", "strace"].map(|name| folder.join(name));
        let mut watch = Command::new(&self.place.monitor);
        watch.args(["watch", "-o", "json", "--as-root", "--output-file"]).arg(&output);
        if let Some(tier) = &self.place.tier {
            watch.args(["--tier", tier]);
        }
        watch.args(["--allow-egress", &format!("127.0.0.1:{}", self.port)]);
        // strace stands before the launchers, so to the monitor this is no launch.
        for registry in REGISTRIES {
            watch.args(["--allow-egress", registry]);
        }
        watch.arg("--allow-read").arg(client.home.join("**"));
        watch.args(["--", "strace", "-f", "--seccomp-bpf", "-qq", "-yy", "--columns=0", "-s", "256"]);
        watch.args(["-e", "signal=none", "-e", &format!("trace={}", strace::CALLS), "-o"]).arg(&trace);
        watch.arg("--").args(&client.words);
        self.prepare(&mut watch, &client.home, &talk)?;
        let mut watch = watch.spawn().with_context(|| format!("start {}", self.place.monitor.display()))?;
        let ended = wait(&mut watch, DEADLINE)?;

        // A run that was cut off leaves either file out; what is missing then is said below.
        let read = |file: &Path| String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned();
        let said = Said::read(&read(&output));
        let seen = Trace::read(&read(&trace));
        let report = Report::of(&seen, &said);
        let findings: Vec<&Value> = said.findings.values().filter(|finding| !of_strace(finding)).collect();
        let line = format!("{report}; findings {}", findings.len());
        let mut wrong: Vec<String> = report.examples().collect();
        wrong.extend(findings.into_iter().map(finding));
        wrong.extend(said.odd.iter().map(|odd| format!("the monitor's line is no JSON of ours: {odd:.200}")));
        wrong.extend(seen.odd.iter().map(|odd| format!("strace's line is not understood: {odd:.200}")));
        if !ended.is_some_and(|status| status.success()) {
            let how = ended.map_or("did not end".to_owned(), |status| status.to_string());
            wrong.push(format!("the watched run: {how}: {}", last_words(&talk)));
        }
        if seen.opens.is_empty() || seen.execs.is_empty() {
            wrong.push("strace saw no opens or no execs, so nothing was compared".into());
        }
        match &said.summary {
            None => wrong.push("the monitor wrote no summary".into()),
            Some(summary) if !wrong.is_empty() => wrong.push(format!("losses {}", summary["losses"])),
            Some(_) => {}
        }
        Ok(if report.good() && wrong.is_empty() {
            Verdict::Passed(line)
        } else {
            Verdict::Failed(line, wrong)
        })
    }

    /// The environment of clients and servers, and where their talk goes.
    fn prepare(&self, command: &mut Command, home: &Path, talk: &Path) -> Result<()> {
        command.env("HOME", home).env("NO_COLOR", "1").current_dir(home);
        if let Some(cache) = &self.place.cache {
            command.env("npm_config_cache", cache.join("npm"));
            command.env("UV_CACHE_DIR", cache.join("uv"));
            command.env("UV_TOOL_DIR", cache.join("uv-tools"));
            command.env("UV_PYTHON_DOWNLOADS", "never");
        }
        let talk = File::create(talk).with_context(|| format!("make {}", talk.display()))?;
        command.stdin(Stdio::null()).stdout(talk.try_clone()?).stderr(talk);
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It ends when its input does.
        drop(self.web.stdin.take());
        if let Err(error) = self.web.wait() {
            eprintln!("cannot wait for the web server: {error}");
        }
    }
}

/// A client's command line and the home it runs in.
struct Client {
    home: PathBuf,
    words: Vec<String>,
}

/// Whether `finding` tells of our own tool.
fn of_strace(finding: &Value) -> bool {
    finding["process"]["exe"].as_str().is_some_and(|exe| exe.ends_with("/strace"))
}

fn finding(finding: &Value) -> String {
    let object = ["file", "network", "exec"].iter().find_map(|kind| finding.get(*kind));
    format!(
        "finding {}: {} by process {} {}: {}",
        finding["rule"],
        finding["message"],
        finding["process"]["pid"],
        finding["process"]["exe"],
        object.unwrap_or(&Value::Null)
    )
}

/// The end of what a program said.
fn last_words(talk: &Path) -> String {
    let talk = fs::read(talk).unwrap_or_default();
    let talk = String::from_utf8_lossy(&talk).into_owned();
    let mut lines: Vec<&str> = talk.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
    lines.reverse();
    lines.join(" / ")
}

/// Waits for a child; at the deadline it is asked to end, and then made to.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<std::process::ExitStatus>> {
    let begin = Instant::now();
    let mut asked = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(if asked { None } else { Some(status) });
        }
        if begin.elapsed() > limit && !asked {
            asked = true;
            // SAFETY: our own child, not waited for yet.
            unsafe { libc::kill(i32::try_from(child.id())?, libc::SIGINT) };
        }
        if begin.elapsed() > limit + Duration::from_secs(10) {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
}
