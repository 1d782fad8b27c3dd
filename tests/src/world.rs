//! The world the attacks run in: fake secrets in a scratch home, and a network of its own with "public" addresses on
//! its loopback device, so that a connection to the outside is real and nothing leaves the machine.

use std::{
    io,
    mem::{size_of, zeroed},
    net::{Ipv4Addr, Ipv6Addr, UdpSocket},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// What every fake secret contains, and no output of the monitor may.
pub const MARKER: &str = "MCP-MONITOR-FAKE-SECRET-d41d8cd98f00";
/// What every harmless file contains.
pub const ORDINARY: &str = "an ordinary file of no interest";
/// The public address that nobody declared.
pub const PUBLIC4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The same for IPv6.
pub const PUBLIC6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
/// The cloud's metadata service.
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The port the outside world answers on, TCP and UDP.
pub const PORT: u16 = 4433;
/// The daemon whose socket hands out root.
pub const DOCKER_SOCKET: &str = "/run/docker.sock";
/// The socket of pid 1, which starts services.
pub const SYSTEMD_SOCKET: &str = "/run/systemd/private";

/// Removes the sockets of daemons that the outside world stood in for; a real daemon's is left alone.
pub fn tidy() {
    for path in [DOCKER_SOCKET, SYSTEMD_SOCKET] {
        let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        if UnixStream::connect(path).is_err_and(refused) {
            drop(std::fs::remove_file(path));
        }
    }
}

/// The files of one run.
#[derive(Clone, Debug)]
pub struct World {
    /// The directory that holds all of it.
    pub scratch: PathBuf,
}

impl World {
    /// The world in this directory.
    #[must_use]
    pub fn at(scratch: &Path) -> Self {
        Self { scratch: scratch.to_owned() }
    }

    /// The scratch home, with the fake secrets.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.scratch.join("home")
    }

    /// The secret that belongs to one case: destructive cases must not take the others' away.
    #[must_use]
    pub fn secret(&self, case: &str) -> PathBuf {
        self.home().join(".ssh").join(format!("id_{case}"))
    }

    /// The directory a case may write in.
    #[must_use]
    pub fn desk(&self, case: &str, benign: bool) -> PathBuf {
        self.scratch.join(if benign { format!("{case}.benign") } else { case.to_owned() })
    }

    /// The socket at which the outside helper opens files on request and passes them.
    #[must_use]
    pub fn helper(&self) -> PathBuf {
        self.scratch.join("outside/helper.sock")
    }

    /// What the outside helper tells of itself.
    #[must_use]
    pub fn helper_card(&self) -> PathBuf {
        self.scratch.join("outside/card.json")
    }

    /// The unix stream socket of the outside world.
    #[must_use]
    pub fn stream(&self) -> PathBuf {
        self.scratch.join("outside/stream.sock")
    }

    /// The unix datagram socket of the outside world.
    #[must_use]
    pub fn datagram(&self) -> PathBuf {
        self.scratch.join("outside/datagram.sock")
    }

    /// The name of its abstract unix socket.
    #[must_use]
    pub fn abstract_name(&self) -> String {
        format!("mcp-monitor-tests{}", self.scratch.display())
    }

    /// A socket that looks like an ssh agent's.
    #[must_use]
    pub fn ssh_agent(&self) -> PathBuf {
        self.home().join(".ssh/agent/s.attack.77")
    }

    /// Makes the home with the secrets of these cases, and the two that every infostealer looks for first.
    pub fn furnish(&self, cases: &[&str]) -> Result<()> {
        let ssh = self.home().join(".ssh");
        let aws = self.home().join(".aws");
        for directory in [&ssh, &aws, &self.scratch.join("outside")] {
            std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        }
        std::fs::write(ssh.join("id_rsa"), secret_text())?;
        std::fs::write(aws.join("credentials"), format!("[default]\naws_secret_access_key = {MARKER}\n"))?;
        for case in cases {
            std::fs::write(self.secret(case), secret_text())?;
        }
        Ok(())
    }
}

/// What a fake key looks like.
#[must_use]
pub fn secret_text() -> String {
    format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{MARKER}\n-----END OPENSSH PRIVATE KEY-----\n")
}

/// Whether this network already has the public address on its loopback device.
#[must_use]
pub fn is_isolated() -> bool {
    UdpSocket::bind((PUBLIC4, 0)).is_ok()
}

/// Moves this process into a network namespace of its own and puts the "public" addresses on its loopback device.
pub fn isolate() -> Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).context("unshare the network")?;
    // SAFETY: plain sockets; the descriptors live until the end of this function.
    let (four, six) = unsafe {
        (libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0), libc::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0))
    };
    check(four).context("make an IPv4 socket")?;
    let mut request: libc::ifreq = named("lo");
    // The flags' width differs between platforms' headers; both values fit.
    #[allow(clippy::cast_possible_truncation, reason = "IFF_UP and IFF_RUNNING are small")]
    let up = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    request.ifr_ifru.ifru_flags = up;
    // SAFETY: the request is a filled ifreq.
    check(unsafe { libc::ioctl(four, libc::SIOCSIFFLAGS as _, &raw const request) })
        .context("loopback up")?;
    for (label, address) in [("lo:1", PUBLIC4), ("lo:2", METADATA)] {
        for (call, value) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, Ipv4Addr::BROADCAST)] {
            let mut request: libc::ifreq = named(label);
            // SAFETY: zero is a valid sockaddr_in, and it fits in the request's union.
            let mut socket: libc::sockaddr_in = unsafe { zeroed() };
            socket.sin_family = libc::sa_family_t::try_from(libc::AF_INET)?;
            socket.sin_addr.s_addr = u32::from(value).to_be();
            // SAFETY: both are 16 bytes of plain data.
            request.ifr_ifru.ifru_addr =
                unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(socket) };
            // SAFETY: the request is a filled ifreq.
            check(unsafe { libc::ioctl(four, call as _, &raw const request) })
                .with_context(|| format!("address {address} on {label}"))?;
        }
    }
    if six >= 0 {
        // SAFETY: zero is a valid in6_ifreq.
        let mut request: libc::in6_ifreq = unsafe { zeroed() };
        request.ifr6_addr.s6_addr = PUBLIC6.octets();
        request.ifr6_prefixlen = 128;
        request.ifr6_ifindex = 1;
        // SAFETY: the request is a filled in6_ifreq. Failure means a kernel without IPv6: its cases say so.
        unsafe { libc::ioctl(six, libc::SIOCSIFADDR as _, &raw const request) };
        // SAFETY: our own descriptor.
        unsafe { libc::close(six) };
    }
    // SAFETY: our own descriptor.
    unsafe { libc::close(four) };
    Ok(())
}

/// Turns a call's -1 into the error it left.
pub fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn named(interface: &str) -> libc::ifreq {
    debug_assert!(interface.len() < size_of::<[libc::c_char; libc::IFNAMSIZ]>());
    // SAFETY: zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    request
}
