//! Unix sockets, by every kind of name: what is reached is the socket, not what the caller called it.

use std::{
    io::{Read, Write},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::symlink,
            net::{SocketAddr, UnixDatagram, UnixStream},
        },
    },
    time::Duration,
};

use anyhow::{Result, bail};
use mcp_monitor_tests::act::Act;

use crate::case::{Case, Context, case};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    case("unix-stream", unix_stream),
    case("unix-stream-symlink", unix_stream_symlink),
    case("unix-abstract", unix_abstract),
    case("unix-datagram", unix_datagram),
];

fn echo(mut socket: UnixStream) -> Result<()> {
    socket.write_all(b"hello")?;
    let mut heard = [0; 5];
    socket.read_exact(&mut heard)?;
    if &heard == b"hello" { Ok(()) } else { bail!("the outside world did not answer") }
}

fn unix_stream(context: &Context) -> Result<Vec<Act>> {
    let path = context.world.stream();
    echo(UnixStream::connect(&path)?)?;
    Ok(vec![Act::mine()?.kind("connect").with("network.path", path.to_string_lossy())])
}

fn unix_stream_symlink(context: &Context) -> Result<Vec<Act>> {
    let (path, link) = (context.world.stream(), context.at("l.sock"));
    symlink(&path, &link)?;
    echo(UnixStream::connect(&link)?)?;
    Ok(vec![Act::mine()?.kind("connect").with("network.path", path.to_string_lossy())])
}

fn unix_abstract(context: &Context) -> Result<Vec<Act>> {
    let name = context.world.abstract_name();
    echo(UnixStream::connect_addr(&SocketAddr::from_abstract_name(&name)?)?)?;
    Ok(vec![Act::mine()?.kind("connect").with("network.abstract", name)])
}

fn unix_datagram(context: &Context) -> Result<Vec<Act>> {
    let socket = UnixDatagram::bind(context.at("mine.sock"))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let path = context.world.datagram();
    socket.send_to(b"hello", &path)?;
    let mut heard = [0; 5];
    socket.recv(&mut heard)?;
    Ok(vec![Act::mine()?.kind("send").with("network.path", path.to_string_lossy())])
}
