//! The other end: addresses, sockets, names.

use super::{Bytes, FileIdentity, FilePath};
use std::net::IpAddr;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the watched process.
    Out,
    /// To the watched process.
    In,
}

/// How bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP, MPTCP included.
    Tcp,
    /// UDP.
    Udp,
    /// A raw socket, with its IP protocol.
    Raw(u16),
    /// `AF_UNIX` stream or seqpacket.
    UnixStream,
    /// `AF_UNIX` datagram.
    UnixDatagram,
    /// Anything else: address family and protocol.
    Other(u16, u16),
}

/// The other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Address (IPv4-mapped IPv6 folded into IPv4) and port.
    Internet(IpAddr, u16),
    /// A socket in the file system.
    UnixPath(FilePath, Option<FileIdentity>),
    /// An abstract socket, without the leading NUL.
    UnixAbstract(Bytes),
    /// A name as user memory gave it.
    UnixGiven(Bytes),
    /// A socket pair, an unbound peer, or a family that is not decoded.
    Unnamed,
}

/// How sure the name of an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameConfidence {
    /// The workload itself resolved the name to this address.
    WorkloadDns,
    /// The host's `/etc/hosts` says so.
    Host,
    /// Several names resolved to it.
    SharedAddress,
    /// No name is known.
    Unresolved,
}

/// A network event's object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkObject {
    /// Which way.
    pub direction: Direction,
    /// How.
    pub transport: Transport,
    /// The peer; for a listener our own address.
    pub remote: Endpoint,
    /// Our side, when known.
    pub local: Option<(IpAddr, u16)>,
    /// Name of the remote address.
    pub name: Option<Bytes>,
    /// How sure that is.
    pub name_confidence: NameConfidence,
    /// Close: bytes sent.
    pub bytes_sent: Option<u64>,
    /// Close: bytes received.
    pub bytes_received: Option<u64>,
    /// Tells sockets apart; never shown.
    pub socket: u64,
    /// Opened by `MSG_FASTOPEN`.
    pub fast_open: bool,
}

/// One record of a DNS answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsObject {
    /// The resolver.
    pub server: (IpAddr, u16),
    /// The name that was asked for, lower case, without the last dot. Masked.
    pub question: Bytes,
    /// Addresses it resolved to, with their time to live.
    pub addresses: Vec<(IpAddr, u32)>,
    /// `NOERROR`, `NXDOMAIN` …
    pub response_code: u16,
    /// Tells questions apart whose masked names are the same, within one run of the monitor; never shown.
    pub digest: u64,
}
