//! The container image, built by a docker daemon of our own: no registry, no network, nothing of the host's daemon.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{command, places};

/// How long the daemon may take to answer.
const START_WITHIN: Duration = Duration::from_mins(1);

/// Builds the image of `program` and saves it in `folder`.
pub(super) fn make(program: &Path, version: &str, folder: &Path) -> Result<PathBuf> {
    let engine = Engine::start(&folder.join("docker"))?;
    let name = engine.build(program, version, folder)?;
    let file = folder.join(format!("mcp-monitor-{version}.image.tar"));
    command::capture(engine.docker().args(["save", "--output"]).arg(&file).arg(&name))?;
    Ok(file)
}

/// A docker daemon with data and a socket of its own; gone with all it made when this is dropped.
pub(crate) struct Engine {
    folder: PathBuf,
    /// Short, since addresses of sockets are.
    socket: PathBuf,
    daemon: Child,
}

impl Engine {
    /// Starts a daemon that keeps everything in `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        if command::find("dockerd").is_none() {
            bail!("no dockerd; install it with `sudo apt-get install --no-install-recommends docker.io`");
        }
        if !command::is_root() {
            bail!("a docker daemon of our own needs root; call this with sudo");
        }
        places::make_empty(folder)?;
        let run = PathBuf::from(format!("/run/mcp-monitor-docker-{}", std::process::id()));
        places::make_empty(&run)?;
        let socket = run.join("docker.sock");
        let log = folder.join("dockerd.log");
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let daemon = Command::new("dockerd")
            // The build needs no network, and the host's rules stay as they are.
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"])
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(run.join("exec"))
            .arg("--pidfile")
            .arg(run.join("pid"))
            .arg("--host")
            .arg(format!("unix://{}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .context("cannot start dockerd")?;
        let mut this = Self { folder: folder.to_owned(), socket, daemon };
        let end = Instant::now() + START_WITHIN;
        while command::capture(this.docker().args(["version", "--format", "{{.Server.Version}}"])).is_err() {
            let ended = this.daemon.try_wait().context("cannot ask for dockerd")?.is_some();
            if ended || Instant::now() > end {
                let said = fs::read_to_string(&log).unwrap_or_default();
                let last: Vec<&str> = said.lines().rev().take(3).collect();
                bail!("dockerd does not answer: {}", last.join(" / "));
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(this)
    }

    /// The client, for this daemon.
    pub(crate) fn docker(&self) -> Command {
        let mut docker = Command::new("docker");
        docker.arg("--host").arg(format!("unix://{}", self.socket.display()));
        docker
    }

    /// Builds the image of `program`; gives its name.
    pub(crate) fn build(&self, program: &Path, version: &str, folder: &Path) -> Result<String> {
        let context = folder.join("image");
        places::make_empty(&context)?;
        command::capture(
            Command::new("strip")
                .arg("--strip-debug")
                .arg("-o")
                .arg(context.join("mcp-monitor"))
                .arg(program),
        )?;
        let file = places::workspace()?.join("deploy/container/Dockerfile");
        let name = format!("mcp-monitor:{version}");
        let mut build = self.docker();
        build.args(["build", "--quiet", "--network", "none", "--tag", &name]);
        build.args(["--build-arg", &format!("VERSION={version}"), "--file"]).arg(file).arg(&context);
        // The builder that needs no further program.
        command::capture(build.env("DOCKER_BUILDKIT", "0"))?;
        fs::remove_dir_all(&context).with_context(|| format!("cannot remove {}", context.display()))?;
        Ok(name)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SIGTERM, so that it ends its containers and takes its mounts away.
        if let Ok(pid) = libc::pid_t::try_from(self.daemon.id()) {
            // SAFETY: the call takes numbers only, and the child was not waited for, so its number is still its own.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end && matches!(self.daemon.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(100));
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = fs::remove_dir_all(&self.folder);
        if let Some(run) = self.socket.parent() {
            let _ = fs::remove_dir_all(run);
        }
    }
}
