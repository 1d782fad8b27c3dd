//! A network namespace with a web server in it, reachable over a pair of virtual devices.
//!
//! The namespace has no name: it lives as long as the web server, and the devices live as long as it does.

use std::{net::SocketAddrV4, process::Command};

use anyhow::{Result, bail};

use super::{plan, servers::Servers, web::Web};
use crate::command;

/// Where the web server listens in its namespace.
const PORT: u16 = 8080;

/// The web server on the far side.
pub(super) struct Far {
    web: Web,
    address: SocketAddrV4,
}

/// That the programs are there which set up the link.
pub(super) fn tools() -> Result<()> {
    for (program, package) in
        [("ip", "iproute2"), ("unshare", "util-linux"), ("nsenter", "util-linux"), ("setpriv", "util-linux")]
    {
        if command::find(program).is_none() {
            let sudo = if command::is_root() { "" } else { "sudo " };
            bail!("the demo needs `{program}`; install it with `{sudo}apt-get install {package}`");
        }
    }
    Ok(())
}

impl Far {
    /// Makes namespace and link and starts the web server.
    pub(super) fn start(servers: &Servers) -> Result<Self> {
        let mut start = command::as_root("unshare");
        start.arg("--net");
        if !command::is_root() {
            // Root makes the namespace; the web server in it is the user's, like the program it runs.
            let ids = command::capture(Command::new("sh").args(["-c", "id -u; id -g"]))?;
            let ids: Vec<&str> = ids.split_whitespace().collect();
            let [uid, gid] = ids.as_slice() else { bail!("`id` says neither user nor group") };
            start.args(["setpriv", "--reuid", uid, "--regid", gid, "--clear-groups"]);
        }
        start.arg(servers.python()).arg("-I").arg(servers.script("web.py")?);
        start.args(["0.0.0.0", &PORT.to_string()]);
        let web = Web::start(start)?;

        let (here, there) = free_block()?;
        let device = format!("mcpdemo{}", web.pid);
        let pid = web.pid.to_string();
        root("ip", &["link", "add", &device, "type", "veth", "peer", "name", "far", "netns", &pid])?;
        root("ip", &["addr", "add", &format!("{here}/30"), "dev", &device])?;
        root("ip", &["link", "set", &device, "up"])?;
        let inside = format!("--net=/proc/{pid}/ns/net");
        root("nsenter", &[&inside, "ip", "addr", "add", &format!("{there}/30"), "dev", "far"])?;
        root("nsenter", &[&inside, "ip", "link", "set", "far", "up"])?;
        Ok(Self { address: SocketAddrV4::new(there, web.port()), web })
    }

    /// Where the web server listens, as seen from here.
    pub(super) fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// What it has answered so far.
    pub(super) fn log(&self) -> Vec<String> {
        self.web.log()
    }
}

fn root(program: &str, arguments: &[&str]) -> Result<()> {
    command::capture(command::as_root(program).args(arguments)).map(drop)
}

/// Addresses for both ends that this host does not use, so that two demos can run side by side.
fn free_block() -> Result<(std::net::Ipv4Addr, std::net::Ipv4Addr)> {
    let used = command::capture(Command::new("ip").args(["-4", "-o", "addr"]))?;
    let first = std::process::id().to_le_bytes()[0];
    for step in 0..64u8 {
        let (here, there) = plan::block(first.wrapping_add(step));
        if !used.contains(&format!(" {here}/")) {
            return Ok((here, there));
        }
    }
    bail!("all of 192.0.2.0/24 is in use on this host; see `ip -4 addr`")
}
