//! The monitor under test, a home of our own, and what is asked of the monitor.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{
    docker::{self, Docker},
    plan,
    talk::{Server, own_server},
};

/// How long the monitor may take to begin, and to tell what it saw.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of a shape.
pub enum Outcome {
    /// In a line.
    Passed(String),
    /// What was wrong.
    Failed(String),
    /// It does not run here; why.
    NotRun(String),
}

/// A shape: everything that has to be done and asked.
pub(super) type Shape = fn(&Bench) -> Result<Outcome>;

/// See the module.
pub struct Bench {
    /// Where everything is put.
    pub(super) scratch: PathBuf,
    /// A home, one that the monitor takes for a person's.
    pub(super) home: PathBuf,
    /// Packages.
    pub(super) cache: PathBuf,
    /// A server that ran before the monitor did.
    pub(super) early: Server,
    docker: OnceLock<std::result::Result<Docker, String>>,
    monitor: Child,
    program: PathBuf,
}

impl Bench {
    /// Starts the monitor on the whole host.
    pub fn start(monitor: &Path, tier: Option<&str>, cache: &Path) -> Result<Self> {
        fs::create_dir_all(cache).with_context(|| format!("make {}", cache.display()))?;
        let cache = cache.canonicalize()?;
        // In /home, where every folder is a person's home; not below /tmp, where programs are findings of their own.
        let home = PathBuf::from(format!("/home/mcp-monitor-shapes-{}", std::process::id()));
        let scratch = home.join("scratch");
        fs::create_dir_all(&scratch).with_context(|| format!("make {}", scratch.display()))?;
        fs::create_dir_all(home.join(".ssh"))?;
        for name in ["id_a", "id_b", "id_c"] {
            fs::write(home.join(".ssh").join(name), "no key, but it lies where one would\n")?;
        }
        let script = own_server(&scratch, "early-mcp", "")?;
        let mut early = Command::new("python3");
        early.args(["-I", &script]).current_dir(&home);
        let early = Server::start(early, &scratch.join("early.log"), PATIENCE)?;
        let mut run = Command::new(monitor);
        run.args(["run", "-o", "json", "--output-file"]).arg(scratch.join("events.jsonl"));
        if let Some(tier) = tier {
            run.args(["--tier", tier]);
        }
        let talk = fs::File::create(scratch.join("monitor.talk"))?;
        let run = run
            .env("RUNTIME_DIRECTORY", scratch.join("run"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(talk);
        let child = run.spawn().with_context(|| format!("start {}", monitor.display()))?;
        let mut bench = Self {
            scratch,
            home,
            cache,
            early,
            monitor: child,
            program: monitor.to_owned(),
            docker: OnceLock::new(),
        };
        let begin = Instant::now();
        while !bench.workloads(&[]).is_ok_and(|all| all["schema"] == "mcp-monitor/inventory/v1") {
            if let Some(status) = bench.monitor.try_wait()? {
                bail!("the monitor ended with {status}: {}", bench.said());
            }
            ensure!(begin.elapsed() < PATIENCE, "the monitor does not get ready: {}", bench.said());
            thread::sleep(Duration::from_millis(100));
        }
        Ok(bench)
    }

    /// Every shape.
    pub fn shapes(&self) -> impl Iterator<Item = (&'static str, fn(&Self) -> Result<Outcome>)> + use<> {
        plan::SHAPES.iter().chain(docker::SHAPES).copied()
    }

    /// Ends the monitor; what it wrote is kept when something failed.
    pub fn end(mut self, keep: bool) -> Result<()> {
        drop(self.early);
        drop(self.docker);
        // SAFETY: our own child, not waited for yet.
        unsafe { libc::kill(i32::try_from(self.monitor.id())?, libc::SIGTERM) };
        let status = self.monitor.wait()?;
        if keep {
            println!("outputs are kept in {}", self.home.display());
        } else {
            fs::remove_dir_all(&self.home).with_context(|| format!("remove {}", self.home.display()))?;
        }
        ensure!(status.success(), "the monitor ended with {status}");
        Ok(())
    }

    /// What `mcp-monitor workloads` says.
    pub(super) fn workloads(&self, more: &[&str]) -> Result<Value> {
        let mut ask = Command::new(&self.program);
        ask.args(["workloads", "--inventory"]).args(more).env("RUNTIME_DIRECTORY", self.scratch.join("run"));
        let answer = ask.output().context("ask for workloads")?;
        ensure!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        Ok(serde_json::from_slice(&answer.stdout)?)
    }

    /// The first instance that fits, as soon as there is one.
    pub(super) fn instance(&self, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let begin = Instant::now();
        loop {
            let all = self.workloads(&[])?;
            let found = all["instances"].as_array().and_then(|all| all.iter().find(|one| fits(one)).cloned());
            if let Some(found) = found {
                return Ok(found);
            }
            if begin.elapsed() > PATIENCE {
                let seen: Vec<String> = all["instances"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|one| format!("{} {} {} pid {}", one["kind"], one["name"], one["state"], one["pid"]))
                    .collect();
                bail!("no such instance; there are: {}", seen.join("; "));
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Every event so far that fits.
    pub(super) fn events(&self, fits: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
        let text = fs::read(self.scratch.join("events.jsonl"))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|event| fits(event))
            .collect())
    }

    /// A command with our home, our caches and the programs that were fetched.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.find(words[0]).unwrap_or_else(|| words[0].into()));
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{0}/npm/bin:{0}/venv/bin:{path}", self.cache.display());
        command.args(&words[1..]).current_dir(&self.home).env("HOME", &self.home).env("PATH", path);
        for (name, folder) in [
            ("npm_config_cache", "npm-cache"),
            ("UV_CACHE_DIR", "uv-cache"),
            ("UV_TOOL_DIR", "uv-tools"),
            ("DENO_DIR", "deno"),
            ("BUN_INSTALL", "bun"),
            ("PIPX_HOME", "pipx"),
        ] {
            command.env(name, self.cache.join(folder));
        }
        command.env("UV_PYTHON_DOWNLOADS", "never").env("npm_config_update_notifier", "false");
        command
    }

    /// A program among those that were fetched, or on the path.
    pub(super) fn find(&self, name: &str) -> Option<PathBuf> {
        let own = ["npm/bin", "venv/bin"].map(|folder| self.cache.join(folder));
        let path = std::env::var("PATH").unwrap_or_default();
        own.into_iter()
            .chain(path.split(':').map(PathBuf::from))
            .map(|folder| folder.join(name))
            .find(|file| file.exists())
    }

    /// Fetches programs from npm unless they are there.
    pub(super) fn npm(&self, program: &str, package: &str) -> Result<(), String> {
        if self.find(program).is_some() {
            return Ok(());
        }
        let prefix = self.cache.join("npm");
        let mut install = self.command(&["npm", "install", "--silent", "--global", "--prefix"]);
        install.arg(prefix).arg(package);
        quiet(install, package)
    }

    /// Fetches a Python package into the environment of ours unless it is there.
    pub(super) fn pip(&self, program: &str, package: &str) -> Result<(), String> {
        if self.find(program).is_some() {
            return Ok(());
        }
        let environment = self.cache.join("venv");
        if !environment.join("bin/pip").exists() {
            let mut make = self.command(&["python3", "-m", "venv"]);
            make.arg(&environment);
            quiet(make, "a Python environment")?;
        }
        let mut install = self.command(&["pip", "install", "--quiet", package]);
        install.env_remove("PIP_USER");
        quiet(install, package)
    }

    /// A Docker daemon of our own; why there is none.
    pub(super) fn docker(&self) -> std::result::Result<&Docker, &str> {
        Docker::of(&self.docker, &self.scratch.join("docker"))
    }

    fn said(&self) -> String {
        fs::read_to_string(self.scratch.join("monitor.talk")).unwrap_or_default()
    }
}

fn quiet(mut command: Command, what: &str) -> Result<(), String> {
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(format!("{what} cannot be had: {}", text.lines().last().unwrap_or_default()))
        }
        Err(error) => Err(format!("{what} cannot be had: {error}")),
    }
}
