//! The outside world: started beside the monitored lineage, never inside it. It answers on every address by TCP and UDP,
//! on unix sockets by path and by abstract name, opens files on request and passes them, and holds a secret in memory.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv6Addr, TcpListener, UdpSocket},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream},
    },
    path::Path,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result};
use mcp_monitor_tests::{
    identity::Identity,
    world::{DOCKER_SOCKET, MARKER, PORT, SYSTEMD_SOCKET, World, check},
};
use serde::{Deserialize, Serialize};

use crate::{handed::send_descriptor, process::myself};

/// Who the outside world is and where its secret lies.
#[derive(Serialize, Deserialize)]
pub(crate) struct Card {
    pub(crate) process: Identity,
    pub(crate) address: u64,
    pub(crate) length: usize,
}

/// Starts it for a case that is performed by itself; it ends with this process.
pub(crate) fn start(world: &World) -> Result<()> {
    drop(fs::remove_file(world.helper_card()));
    let mut child = Command::new(myself()?)
        .arg("--scratch")
        .arg(&world.scratch)
        .arg("outside")
        .env("SECRET_TOKEN", MARKER)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    // It says one line when everything listens.
    BufReader::new(child.stdout.take().context("no output")?).read_line(&mut String::new())?;
    Ok(())
}

/// Reads the card.
pub(crate) fn card(world: &World) -> Result<Card> {
    Ok(serde_json::from_slice(&fs::read(world.helper_card()).context("the outside world is not there")?)?)
}

/// Is the outside world, until its parent ends.
pub(crate) fn run(world: &World) -> Result<()> {
    // SAFETY: plain calls without memory.
    unsafe {
        // A victim may be looked at by any tracer (Yama).
        libc::prctl(libc::PR_SET_PTRACER, libc::c_ulong::MAX);
        // Enough threads come and go here that a dead peer must not end it.
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
    end_with_parent();
    let secret = MARKER.repeat(4).into_bytes();
    let card =
        Card { process: Identity::mine()?, address: secret.as_ptr().addr() as u64, length: secret.len() };
    let tcp =
        TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)).or_else(|_| TcpListener::bind(("0.0.0.0", PORT)));
    let tcp = tcp.context("listen for TCP")?;
    let queue = 16_i32;
    // SAFETY: the option's value is an int. A kernel without fast open refuses, and its case says so.
    unsafe {
        libc::setsockopt(
            tcp.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_FASTOPEN,
            (&raw const queue).cast(),
            4,
        );
    }
    thread::spawn(move || tcp.incoming().flatten().for_each(|peer| answer(peer.try_clone().unwrap(), peer)));
    let udp =
        UdpSocket::bind((Ipv6Addr::UNSPECIFIED, PORT)).or_else(|_| UdpSocket::bind(("0.0.0.0", PORT)))?;
    thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((length, peer)) = udp.recv_from(&mut datagram) {
            drop(udp.send_to(&datagram[..length], peer));
        }
    });
    // A real daemon is left alone; where there is none the outside world stands in for it.
    let daemons = [DOCKER_SOCKET, SYSTEMD_SOCKET].map(Path::new);
    let own =
        OWN.get_or_init(|| daemons.into_iter().filter(|path| UnixStream::connect(path).is_err()).collect());
    for path in [world.stream(), world.ssh_agent()].iter().map(AsRef::as_ref).chain(own.iter().copied()) {
        fs::create_dir_all(path.parent().context("no parent")?)?;
        drop(fs::remove_file(path));
        serve(UnixListener::bind(path).with_context(|| format!("listen at {}", path.display()))?);
    }
    serve(UnixListener::bind_addr(&SocketAddr::from_abstract_name(world.abstract_name())?)?);
    drop(fs::remove_file(world.datagram()));
    let datagrams = UnixDatagram::bind(world.datagram())?;
    thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((length, peer)) = datagrams.recv_from(&mut datagram) {
            if let Some(path) = peer.as_pathname() {
                drop(datagrams.send_to(&datagram[..length], path));
            }
        }
    });
    drop(fs::remove_file(world.helper()));
    let helper = UnixListener::bind(world.helper())?;
    fs::write(world.helper_card(), serde_json::to_vec(&card)?)?;
    println!("ready");
    for client in helper.incoming().flatten() {
        thread::spawn(move || drop(help(client)));
    }
    drop(secret);
    Ok(())
}

/// Ends this process when its parent is gone, and leaves no socket of a daemon behind.
fn end_with_parent() {
    // SAFETY: a plain call.
    let parent = || unsafe { libc::getppid() };
    let first = parent();
    thread::spawn(move || {
        while parent() == first {
            thread::sleep(std::time::Duration::from_millis(50));
        }
        tidy_own();
        std::process::exit(0);
    });
}

/// Removes the sockets that this process is in place of a daemon at.
fn tidy_own() {
    for path in OWN.get().into_iter().flatten() {
        drop(fs::remove_file(path));
    }
}

/// The sockets bound in place of daemons.
static OWN: std::sync::OnceLock<Vec<&'static Path>> = std::sync::OnceLock::new();

fn serve(listener: UnixListener) {
    thread::spawn(move || {
        listener.incoming().flatten().for_each(|peer| answer(peer.try_clone().unwrap(), peer));
    });
}

/// Echoes until the other side has said everything.
fn answer(mut from: impl Read + Send + 'static, mut to: impl Write + Send + 'static) {
    thread::spawn(move || std::io::copy(&mut from, &mut to));
}

/// Serves one client: `open PATH` passes the file, `hold PATH` says the descriptor's number here, `connect` passes a
/// socket that is connected to the outside world.
fn help(client: UnixStream) -> Result<()> {
    let mut writer = client.try_clone()?;
    let mut held = Vec::new();
    for line in BufReader::new(client).lines() {
        let line = line?;
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("open", path) => send_descriptor(&writer, File::open(path)?.as_raw_fd())?,
            ("hold", path) => {
                let file = File::open(path)?;
                writeln!(writer, "{}", file.as_raw_fd())?;
                held.push(file);
            }
            ("connect", address) => {
                let socket = std::net::TcpStream::connect(address)?;
                send_descriptor(&writer, socket.as_raw_fd())?;
            }
            _ => writeln!(writer, "what?")?,
        }
    }
    Ok(())
}

/// Asks the outside world for something.
pub(crate) fn ask(world: &World, request: &str) -> Result<UnixStream> {
    let mut helper = UnixStream::connect(world.helper()).context("connect to the outside helper")?;
    writeln!(helper, "{request}")?;
    Ok(helper)
}

/// Takes over a raw descriptor after checking it.
pub(crate) fn adopt(descriptor: i32) -> Result<OwnedFd> {
    check(descriptor)?;
    // SAFETY: the kernel just returned it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
