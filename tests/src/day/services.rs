//! What agents work with beside their own tools: an SSH server and a Docker daemon, both of our own and on this machine
//! alone.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::shapes::Docker;

/// The services; ended when they are dropped.
pub(super) struct Services {
    ssh: Option<(Child, u16)>,
    docker: Option<Docker>,
}

impl Services {
    /// Starts what can be had here. The SSH server takes the key of each of `homes`.
    pub(super) fn start(folder: &Path, homes: &[std::path::PathBuf]) -> Self {
        let ssh = ssh(&folder.join("ssh"), homes);
        let docker = Docker::start(&folder.join("docker"));
        for (name, why) in [("ssh push", ssh.as_ref().err()), ("docker build", docker.as_ref().err())] {
            if let Some(why) = why {
                println!("   not run {name}: {why:#}");
            }
        }
        Self { ssh: ssh.ok(), docker: docker.ok() }
    }

    /// Variables by which the work knows of them.
    pub(super) fn variables(&self) -> Vec<(&'static str, String)> {
        let ssh = self.ssh.as_ref().map(|(_, port)| ("DAY_SSH_PORT", port.to_string()));
        let docker = self.docker.as_ref().map(|docker| ("DOCKER_HOST", docker.host()));
        ssh.into_iter().chain(docker).collect()
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.ssh {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An SSH server on loopback with a key of its own.
fn ssh(folder: &Path, homes: &[std::path::PathBuf]) -> Result<(Child, u16)> {
    let program =
        ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].into_iter().find(|file| Path::new(file).exists());
    let program = program.context("no sshd here")?;
    fs::create_dir_all(folder)?;
    let host_key = folder.join("host_key");
    let _ = fs::remove_file(&host_key);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&host_key)
        .stdin(Stdio::null())
        .status()?;
    ensure!(made.success(), "ssh-keygen ended with {made}");
    let keys = homes.iter().map(|home| fs::read_to_string(home.join(".ssh/id_ed25519.pub")));
    let authorized = folder.join("authorized_keys");
    fs::write(&authorized, keys.collect::<std::io::Result<Vec<_>>>()?.concat())?;
    fs::set_permissions(&authorized, fs::Permissions::from_mode(0o600))?;
    // Where sshd puts what it does without its rights.
    fs::create_dir_all("/run/sshd")?;
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let config = folder.join("config");
    fs::write(
        &config,
        format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n",
            host_key.display(),
            authorized.display()
        ),
    )?;
    let log = fs::File::create(folder.join("log"))?;
    let mut child = Command::new(program)
        .args(["-D", "-e", "-f"])
        .arg(&config)
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()?;
    for _ in 0..100 {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok((child, port));
        }
        thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
    bail!("sshd does not listen: {}", fs::read_to_string(folder.join("log")).unwrap_or_default())
}
