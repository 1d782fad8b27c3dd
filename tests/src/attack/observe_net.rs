//! Plain observations of sockets: addresses, results, bytes.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixListener,
};

use anyhow::{Result, bail};
use mcp_monitor_tests::{
    act::Act,
    world::{PORT, PUBLIC4},
};

use crate::case::{Case, Context, case};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    case("see-connect", see_connect),
    case("see-connect-failed", see_connect_failed),
    case("see-listen", see_listen),
    case("see-listen-unix", see_listen_unix),
    case("see-accept", see_accept),
    case("see-close", see_close),
    case("exposed-listener", exposed_listener),
];

fn see_connect(_: &Context) -> Result<Vec<Act>> {
    drop(TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?);
    Ok(vec![Act::mine()?.kind("connect").towards("tcp", "127.0.0.1", PORT).with("network.direction", "out")])
}

/// Port 1 of loopback has no listener.
fn see_connect_failed(context: &Context) -> Result<Vec<Act>> {
    if context.benign {
        return see_connect(context);
    }
    if TcpStream::connect((Ipv4Addr::LOCALHOST, 1)).is_ok() {
        bail!("somebody listens there");
    }
    let act = Act::mine()?.kind("connect").towards("tcp", "127.0.0.1", 1);
    Ok(vec![act.with("result", "failed:ECONNREFUSED")])
}

fn see_listen(_: &Context) -> Result<Vec<Act>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    Ok(vec![Act::mine()?.kind("listen").towards("tcp", "127.0.0.1", port)])
}

fn see_listen_unix(context: &Context) -> Result<Vec<Act>> {
    let path = context.at("l.sock");
    let _listener = UnixListener::bind(&path)?;
    Ok(vec![Act::mine()?.kind("listen").with("network.path", path.to_string_lossy())])
}

fn see_accept(_: &Context) -> Result<Vec<Act>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (_server, peer) = listener.accept()?;
    let SocketAddr::V4(peer) = peer else { bail!("an IPv4 listener has IPv4 clients") };
    drop(client);
    Ok(vec![
        Act::mine()?
            .kind("accept")
            .towards("tcp", &peer.ip().to_string(), peer.port())
            .with("network.direction", "in"),
    ])
}

/// Sends 100,000 bytes, gets as many back, and closes.
fn see_close(_: &Context) -> Result<Vec<Act>> {
    const BYTES: usize = 100_000;
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
    let mut reader = socket.try_clone()?;
    let heard = std::thread::spawn(move || {
        let mut heard = Vec::new();
        reader.read_to_end(&mut heard).map(|_| heard.len())
    });
    socket.write_all(&vec![7; BYTES])?;
    socket.shutdown(Shutdown::Write)?;
    match heard.join() {
        Ok(Ok(BYTES)) => {}
        other => bail!("not everything came back: {other:?}"),
    }
    drop(socket);
    Ok(vec![
        Act::mine()?
            .kind("close")
            .towards("tcp", "127.0.0.1", PORT)
            .with("network.bytes_sent", BYTES)
            .with("network.bytes_received", BYTES),
    ])
}

/// A listener that other hosts reach; the twin's is on loopback.
fn exposed_listener(context: &Context) -> Result<Vec<Act>> {
    let address = if context.benign { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
    let listener = TcpListener::bind((address, 0))?;
    let port = listener.local_addr()?.port();
    if !context.benign {
        drop(TcpStream::connect((PUBLIC4, port))?);
    }
    Ok(vec![Act::mine()?.towards("tcp", &address.to_string(), port)])
}
