//! Sockets by hand: protocols and calls that the standard library does not offer.

use std::{
    fs::File,
    io::{Read, Write},
    mem::zeroed,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use anyhow::{Result, bail};
use mcp_monitor_tests::{act::Act, world::PORT};

use crate::{
    case::{Case, Context, case, not_run, sent_to},
    int80,
    outside::ask,
};

/// The cases of this file: TCP that is not simply `connect`.
pub(crate) const CASES: &[Case] = &[
    case("tcp-fast-open", fast_open),
    case("mptcp", mptcp),
    case("int80-socketcall", socketcall),
    case("inherited-socket", inherited_socket),
    case("raw-icmp", raw_icmp),
];

/// A socket address as the kernel wants it.
pub(crate) struct Address {
    bytes: [u8; 28],
    length: u32,
}

impl<T: Into<IpAddr>> From<(T, u16)> for Address {
    fn from((address, port): (T, u16)) -> Self {
        let mut bytes = [0; 28];
        bytes[2..4].copy_from_slice(&port.to_be_bytes());
        let (family, length) = match address.into() {
            IpAddr::V4(address) => {
                bytes[4..8].copy_from_slice(&address.octets());
                (libc::AF_INET, 16)
            }
            IpAddr::V6(address) => {
                bytes[8..24].copy_from_slice(&address.octets());
                (libc::AF_INET6, 28)
            }
        };
        bytes[..2].copy_from_slice(&u16::try_from(family).expect("families are small").to_ne_bytes());
        Self { bytes, length }
    }
}

impl Address {
    /// For a raw call.
    pub(crate) fn pointer(&self) -> *const libc::sockaddr {
        self.bytes.as_ptr().cast()
    }

    /// For a raw call.
    pub(crate) fn length(&self) -> u32 {
        self.length
    }
}

/// A new socket that no exec keeps.
pub(crate) fn socket(family: i32, kind: i32, protocol: i32) -> std::io::Result<OwnedFd> {
    // SAFETY: a plain call; the descriptor is new.
    unsafe {
        let socket = libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol);
        if socket < 0 { Err(std::io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(socket)) }
    }
}

/// Its number.
pub(crate) fn number(socket: &OwnedFd) -> i32 {
    socket.as_raw_fd()
}

/// Turns a transfer's -1 into the error it left.
pub(crate) fn done(result: isize) -> std::io::Result<usize> {
    usize::try_from(result).map_err(|_| std::io::Error::last_os_error())
}

/// Connects, by the plain call.
pub(crate) fn connect(socket: &OwnedFd, address: &Address) -> std::io::Result<()> {
    // SAFETY: the address is as long as it says.
    done(unsafe { libc::connect(number(socket), address.pointer(), address.length()) } as isize).map(|_| ())
}

/// Proves a connection: what is sent comes back.
pub(crate) fn echo(socket: &OwnedFd) -> Result<()> {
    let mut socket = File::from(socket.try_clone()?);
    socket.write_all(b"hello, outside")?;
    hear(&mut socket)
}

/// Waits for what was sent.
pub(crate) fn hear(socket: &mut File) -> Result<()> {
    let mut heard = [0; 14];
    socket.read_exact(&mut heard)?;
    if &heard != b"hello, outside" {
        bail!("the outside world did not answer");
    }
    Ok(())
}

fn fast_open(context: &Context) -> Result<Vec<Act>> {
    let address = Address::from((context.four(), PORT));
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let message = b"hello, outside";
    // SAFETY: message and address are as long as they say.
    let sent = unsafe {
        libc::sendto(
            number(&socket),
            message.as_ptr().cast(),
            message.len(),
            libc::MSG_FASTOPEN,
            address.pointer(),
            address.length(),
        )
    };
    if let Err(error) = done(sent) {
        return not_run(format!("fast open: {error}"));
    }
    hear(&mut File::from(socket))?;
    sent_to("tcp", context.four(), PORT)
}

fn mptcp(context: &Context) -> Result<Vec<Act>> {
    let Ok(socket) = socket(libc::AF_INET, libc::SOCK_STREAM, 262) else { return not_run("no MPTCP here") };
    connect(&socket, &Address::from((context.four(), PORT)))?;
    echo(&socket)?;
    sent_to("tcp", context.four(), PORT)
}

fn socketcall(context: &Context) -> Result<Vec<Act>> {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let address = Address::from((context.four(), PORT));
    let Some(low_address) = int80::Low::new(&address.bytes) else { return not_run("no memory below 4 GiB") };
    let arguments: Vec<u8> = [u32::try_from(number(&socket))?, low_address.address(), address.length()]
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
    let Some(low_arguments) = int80::Low::new(&arguments) else { return not_run("no memory below 4 GiB") };
    // 3 is SYS_CONNECT.
    match int80::call(int80::SOCKETCALL, [3, low_arguments.address(), 0]) {
        0 => {}
        error if error == -libc::ENOSYS => return not_run("this kernel has no 32-bit calls"),
        error => return Err(std::io::Error::from_raw_os_error(-error).into()),
    }
    echo(&socket)?;
    sent_to("tcp", context.four(), PORT)
}

/// A process outside connects and passes the socket: the lineage never does.
fn inherited_socket(context: &Context) -> Result<Vec<Act>> {
    let address = SocketAddr::from((context.four(), PORT));
    let helper = ask(&context.world, &format!("connect {address}"))?;
    let socket = crate::handed::receive_descriptor(&helper)?;
    echo(&socket)?;
    // The connection was made outside, so no event here can name its address: the socket itself must be told.
    Ok(vec![Act::mine()?.kind("receive").about(&File::from(socket).metadata()?)])
}

/// One echo request; the kernel of the other side answers.
fn raw_icmp(context: &Context) -> Result<Vec<Act>> {
    let Ok(socket) = socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP) else {
        return not_run("no raw sockets for us");
    };
    let address = Address::from((context.four(), 0));
    // Type 8, code 0, its checksum, id 0, sequence 1.
    let request: [u8; 8] = [8, 0, 0xf7, 0xfe, 0, 0, 0, 1];
    // SAFETY: request and address are as long as they say.
    done(unsafe {
        libc::sendto(
            number(&socket),
            request.as_ptr().cast(),
            request.len(),
            0,
            address.pointer(),
            address.length(),
        )
    })?;
    let mut socket = File::from(socket);
    let mut packet = [0; 128];
    for _ in 0..4 {
        let length = socket.read(&mut packet)?;
        // An IP header of 20 bytes, then type 0: the answer.
        if length >= 28 && packet[20] == 0 {
            return sent_to("raw", context.four(), 0);
        }
    }
    bail!("no answer to the echo request")
}

/// A zeroed message header.
pub(crate) fn message() -> libc::msghdr {
    // SAFETY: zero is a valid empty message.
    unsafe { zeroed() }
}
