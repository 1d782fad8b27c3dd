//! The web servers that the fetch server fetches from; each ends with us, whatever becomes of us.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddrV4},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result, bail};

use super::servers::Servers;
use crate::command;

/// A running `tests/servers/web.py`.
pub(super) struct Web {
    child: Child,
    /// Its process id on this host.
    pub(super) pid: u32,
    port: u16,
    log: Arc<Mutex<Vec<String>>>,
}

impl Web {
    /// One on loopback, as the user.
    pub(super) fn near(servers: &Servers) -> Result<Self> {
        let mut command = Command::new(servers.python());
        command.arg("-I").arg(servers.script("web.py")?).args(["127.0.0.1", "0"]);
        Self::start(command)
    }

    /// Starts `command`, which is or becomes `web.py`.
    pub(super) fn start(mut command: Command) -> Result<Self> {
        let shown = command::shown(&command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{shown}`"))?;
        let Some(output) = child.stdout.take() else { bail!("`{shown}` was started without a pipe") };
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line).with_context(|| format!("cannot read from `{shown}`"))?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let (["ready", pid, port], log) = (words.as_slice(), Arc::default()) else {
            let status = child.wait()?;
            bail!("`{shown}` did not get ready ({status}); what it said is above");
        };
        let web = Self { pid: pid.parse()?, port: port.parse()?, child, log };
        let log = Arc::clone(&web.log);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Ok(web)
    }

    /// Where it listens on loopback.
    pub(super) fn address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port)
    }

    /// Its port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// What it has answered so far.
    pub(super) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        // It ends when its stdin does; as root's process it could not be killed by us anyway.
        drop(self.child.stdin.take());
        if let Err(error) = self.child.wait() {
            eprintln!("demo: cannot wait for the web server, process {}: {error}", self.pid);
        }
    }
}

/// The lines of a log that tell of requests.
pub(super) fn requests(log: &[String]) -> Vec<String> {
    log.iter().filter(|line| line.contains("'GET ")).cloned().collect()
}
