//! Connections and packets that leave: at the security hooks of `connect` and `sendmsg`, or, where those are not to
//! be had, at the cgroup programs and the socket's change of state.

use aya_ebpf::{
    helpers,
    macros::{cgroup_sock_addr, kprobe, lsm, map},
    maps::LruHashMap,
    programs::{LsmContext, ProbeContext, SockAddrContext},
};
use mcp_monitor_common::{
    limits::SOCKETS_MAX,
    map::{ReliefKey, SocketOwner},
    mechanism,
    mechanism::Tier,
    record::{
        Direction, FileIdentity, HEADER_RELIEVED, NETWORK_FAST_OPEN, NETWORK_NO_ADDRESS, NetworkBody,
        PathSlice, RESULT_PERMITTED, RecordKind, Slice,
    },
};

use crate::{
    address,
    address::{AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, Internet, Memory},
    change::lsm,
    dns,
    file::argument,
    filter,
    filter::Repeat,
    kernel,
    kernel::Address,
    lineage,
    lineage::Process,
    record::{Weight, Writer},
};

/// Who connected or accepted a socket. LRU: what is forgotten loses its close event only.
#[map]
pub(crate) static SOCKETS: LruHashMap<u64, SocketOwner> = LruHashMap::with_max_entries(SOCKETS_MAX, 0);

pub(crate) const IPPROTO_TCP: u16 = 6;
pub(crate) const IPPROTO_MPTCP: u16 = 262;
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
const MSG_FASTOPEN: u32 = 0x2000_0000;

/// What is said of a socket beside its peer.
#[derive(Clone, Copy)]
pub(crate) struct Said {
    pub(crate) kind: RecordKind,
    pub(crate) mechanism: u32,
    pub(crate) direction: Direction,
    pub(crate) result: i32,
    /// `NETWORK_…`.
    pub(crate) flags: u32,
    /// Bytes sent and received, for a close.
    pub(crate) bytes: (u64, u64),
}

impl Said {
    #[inline(always)]
    pub(crate) fn new(kind: RecordKind, mechanism: u32, direction: Direction, result: i32) -> Self {
        Self { kind, mechanism, direction, result, flags: 0, bytes: (0, 0) }
    }
}

/// Sends a record about a socket, put together in place since the stack is small.
#[inline(always)]
pub(crate) fn emit(
    process: &Process,
    sock: Address,
    remote: &Internet,
    said: Said,
    header_flags: u16,
) -> bool {
    let Some(mut writer) = Writer::<NetworkBody>::new(process, said.kind) else { return false };
    let body = writer.body();
    // SAFETY: the body lies in the slot that the writer owns; every field is written.
    unsafe {
        (*body).socket = sock as u64;
        (*body).bytes_sent = said.bytes.0;
        (*body).bytes_received = said.bytes.1;
        (*body).remote_address = remote.address;
        (*body).remote_port = remote.port;
        (*body).local_address = address::local_address(sock);
        // skc_num is in host byte order already.
        (*body).local_port = kernel::get::<u16>(sock, &kernel::SOCK_LOCAL_PORT);
        (*body).family = kernel::get::<u16>(sock, &kernel::SOCK_FAMILY);
        (*body).socket_type = kernel::get::<u16>(sock, &kernel::SOCK_TYPE);
        (*body).protocol = kernel::get::<u16>(sock, &kernel::SOCK_PROTOCOL);
        (*body).direction = said.direction as u16;
        (*body).result = said.result;
        (*body).unix_path = PathSlice::default();
        (*body).unix_name = Slice::default();
        (*body).flags = said.flags;
        (*body).unix_file = FileIdentity::default();
    }
    writer.send(process, said.kind, said.mechanism, header_flags, Weight::Bulk)
}

/// Sends the first of a process and destination and counts the others.
#[inline(always)]
pub(crate) fn emit_first(process: &Process, sock: Address, remote: &Internet, said: Said) {
    let family = kernel::get::<u16>(sock, &kernel::SOCK_FAMILY);
    let protocol = kernel::get::<u16>(sock, &kernel::SOCK_PROTOCOL);
    let key = key(process, remote, said, family, protocol);
    match filter::repeat(&key) {
        Repeat::Counted => {}
        Repeat::Send => {
            emit(process, sock, remote, said, 0);
        }
        Repeat::First => {
            if !emit(process, sock, remote, said, HEADER_RELIEVED) {
                filter::forget(&key);
            }
        }
    }
}

#[inline(always)]
fn key(process: &Process, remote: &Internet, said: Said, family: u16, protocol: u16) -> ReliefKey {
    let bytes = &remote.address;
    let low = [bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]];
    let high = [bytes[8], bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15]];
    ReliefKey {
        start_boottime_ns: process.start_boottime_ns,
        tgid: process.tgid,
        exec_id: process.exec_id,
        kind: said.kind as u32,
        flags: u32::from(protocol) | u32::from(family) << 16,
        object: [
            u64::from_ne_bytes(low),
            u64::from_ne_bytes(high),
            u64::from(remote.port),
            u64::from(said.flags),
        ],
    }
}

/// Remembers who a socket belongs to.
#[inline(always)]
pub(crate) fn own(process: &Process, sock: Address, remote: &Internet, direction: Direction) {
    let owner = process.owner_of(remote, direction);
    let _ = SOCKETS.insert(&(sock as u64), &owner, 0);
}

/// A stream connection was asked for: once per socket and destination, since io_uring asks twice.
#[inline(always)]
pub(crate) fn stream(process: &Process, sock: Address, remote: &Internet, mechanism: u32, flags: u32) {
    if let Some(known) = SOCKETS.get_ptr(&(sock as u64)) {
        // SAFETY: points to a value of the map.
        let known = unsafe { &*known };
        if known.port == remote.port && known.address == remote.address && known.tgid == process.tgid {
            return;
        }
    }
    own(process, sock, remote, Direction::Out);
    let said = Said { flags, ..Said::new(RecordKind::Connect, mechanism, Direction::Out, RESULT_PERMITTED) };
    emit(process, sock, remote, said, 0);
}

#[inline(always)]
fn connect(socket: Address, sockaddr: Address, mechanism: u32) -> Option<()> {
    let process = lineage::current()?;
    let sock = kernel::pointer(socket, &kernel::SOCKET_SOCK);
    let family = address::family(sockaddr, Memory::Kernel);
    if family == AF_UNIX || family == AF_NETLINK || family == 0 {
        // AF_UNIX has hooks of its own; AF_UNSPEC takes a destination away.
        return None;
    }
    let remote = address::of_sockaddr(sockaddr, Memory::Kernel).unwrap_or_default();
    if kernel::get::<u16>(sock, &kernel::SOCK_TYPE) == SOCK_STREAM {
        stream(&process, sock, &remote, mechanism, 0);
    } else {
        let said = Said::new(RecordKind::Connect, mechanism, Direction::Out, RESULT_PERMITTED);
        emit_first(&process, sock, &remote, said);
    }
    Some(())
}

#[inline(always)]
fn send(socket: Address, message: Address, mechanism: u32) -> Option<()> {
    let process = lineage::current()?;
    let sock = kernel::pointer(socket, &kernel::SOCKET_SOCK);
    let family = kernel::get::<u16>(sock, &kernel::SOCK_FAMILY);
    if family == AF_UNIX || family == AF_NETLINK {
        return None;
    }
    let kind = kernel::get::<u16>(sock, &kernel::SOCK_TYPE);
    let name = kernel::pointer(message, &kernel::MSGHDR_NAME);
    let flags = kernel::get::<u32>(message, &kernel::MSGHDR_FLAGS);
    if kind == SOCK_STREAM {
        if flags & MSG_FASTOPEN != 0 && !name.is_null() {
            let remote = address::of_sockaddr(name, Memory::Kernel)?;
            stream(&process, sock, &remote, mechanism, NETWORK_FAST_OPEN);
        }
        return None;
    }
    let internet = family == AF_INET || family == AF_INET6;
    if name.is_null() && internet {
        // Connected earlier, which was reported then.
        return None;
    }
    let remote = address::of_sockaddr(name, Memory::Kernel);
    let mut said = Said::new(RecordKind::Send, mechanism, Direction::Out, RESULT_PERMITTED);
    if remote.is_none() {
        said.flags = NETWORK_NO_ADDRESS;
    }
    emit_first(&process, sock, &remote.unwrap_or_default(), said);
    Some(())
}

/// match-proto: include/linux/lsm_hook_defs.h:LSM_HOOK(int, 0, socket_connect, struct socket *sock,
/// struct sockaddr *address, int addrlen)
#[lsm(hook = "socket_connect")]
pub fn lsm_socket_connect(context: LsmContext) -> i32 {
    connect(lsm(&context, 0), lsm(&context, 1), mechanism::LSM_SOCKET_CONNECT);
    0
}

/// match-proto: LSM_HOOK(int, 0, socket_sendmsg, struct socket *sock, struct msghdr *msg, int size)
#[lsm(hook = "socket_sendmsg")]
pub fn lsm_socket_sendmsg(context: LsmContext) -> i32 {
    send(lsm(&context, 0), lsm(&context, 1), mechanism::LSM_SOCKET_SENDMSG);
    0
}

/// match-proto: security/security.c:int security_socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)
#[kprobe]
pub fn probe_socket_connect(context: ProbeContext) -> u32 {
    connect(argument(&context, 0), argument(&context, 1), mechanism::PROBE_SOCKET_CONNECT);
    0
}

/// match-proto: security/security.c:int security_socket_sendmsg(struct socket *sock, struct msghdr *msg, int size)
#[kprobe]
pub fn probe_socket_sendmsg(context: ProbeContext) -> u32 {
    send(argument(&context, 0), argument(&context, 1), mechanism::PROBE_SOCKET_SENDMSG);
    0
}

/// A destination at a cgroup program: the DNS witness in every tier, datagrams in the tracepoint tier.
#[inline(always)]
fn at_cgroup(context: &SockAddrContext, remote: Internet, kind: RecordKind, mechanism: u32) -> Option<()> {
    let process = lineage::current()?;
    if remote.port == dns::PORT {
        dns::asks(context, &process, remote);
    }
    if kernel::TIER.load() != Tier::Tracepoint as u32 {
        return None;
    }
    // SAFETY: the context is valid for the program's run; the verifier checks each field.
    let (family, protocol) = unsafe { ((*context.sock_addr).family, (*context.sock_addr).protocol) };
    if protocol as u16 == IPPROTO_TCP || protocol as u16 == IPPROTO_MPTCP {
        // Seen at the socket's change of state.
        return None;
    }
    let said = Said::new(kind, mechanism, Direction::Out, RESULT_PERMITTED);
    let key = key(&process, &remote, said, family as u16, protocol as u16);
    let repeat = filter::repeat(&key);
    if repeat == Repeat::Counted {
        return None;
    }
    let mut writer = Writer::<NetworkBody>::new(&process, kind)?;
    // The context's socket is no address that could be read here: what the context says is all there is.
    writer.set(NetworkBody {
        remote_address: remote.address,
        remote_port: remote.port,
        family: family as u16,
        socket_type: SOCK_DGRAM,
        protocol: protocol as u16,
        direction: Direction::Out as u16,
        result: RESULT_PERMITTED,
        ..NetworkBody::default()
    });
    let flags = if repeat == Repeat::First { HEADER_RELIEVED } else { 0 };
    if !writer.send(&process, kind, mechanism, flags, Weight::Bulk) && repeat == Repeat::First {
        filter::forget(&key);
    }
    Some(())
}

#[inline(always)]
fn ipv4(context: &SockAddrContext) -> Internet {
    // SAFETY: as above.
    unsafe {
        Internet {
            address: address::mapped((*context.sock_addr).user_ip4),
            port: u16::from_be((*context.sock_addr).user_port as u16),
        }
    }
}

#[inline(always)]
fn ipv6(context: &SockAddrContext) -> Internet {
    // SAFETY: as above. Four reads of one word each are what the verifier accepts for user_ip6.
    let words = unsafe {
        let words = &raw const (*context.sock_addr).user_ip6;
        [
            core::ptr::read_volatile(words.cast::<u32>()),
            core::ptr::read_volatile(words.cast::<u32>().add(1)),
            core::ptr::read_volatile(words.cast::<u32>().add(2)),
            core::ptr::read_volatile(words.cast::<u32>().add(3)),
        ]
    };
    let mut address = [0; 16];
    let mut at = 0;
    while at < 4 {
        let bytes = words[at].to_ne_bytes();
        address[at * 4] = bytes[0];
        address[at * 4 + 1] = bytes[1];
        address[at * 4 + 2] = bytes[2];
        address[at * 4 + 3] = bytes[3];
        at += 1;
    }
    // SAFETY: as above.
    Internet { address, port: u16::from_be(unsafe { (*context.sock_addr).user_port } as u16) }
}

/// `connect` to an IPv4 address. 1 lets it pass.
#[cgroup_sock_addr(connect4)]
pub fn cgroup_connect4(context: SockAddrContext) -> i32 {
    at_cgroup(&context, ipv4(&context), RecordKind::Connect, mechanism::CGROUP_CONNECT4);
    1
}

/// `connect` to an IPv6 address.
#[cgroup_sock_addr(connect6)]
pub fn cgroup_connect6(context: SockAddrContext) -> i32 {
    at_cgroup(&context, ipv6(&context), RecordKind::Connect, mechanism::CGROUP_CONNECT6);
    1
}

/// A datagram to an IPv4 address.
#[cgroup_sock_addr(sendmsg4)]
pub fn cgroup_sendmsg4(context: SockAddrContext) -> i32 {
    at_cgroup(&context, ipv4(&context), RecordKind::Send, mechanism::CGROUP_SENDMSG4);
    1
}

/// A datagram to an IPv6 address.
#[cgroup_sock_addr(sendmsg6)]
pub fn cgroup_sendmsg6(context: SockAddrContext) -> i32 {
    at_cgroup(&context, ipv6(&context), RecordKind::Send, mechanism::CGROUP_SENDMSG6);
    1
}

/// The cookie of the context's socket, for the DNS witness.
#[inline(always)]
pub(crate) fn cookie(context: &SockAddrContext) -> u64 {
    // SAFETY: the context is what this program type's form of the helper takes.
    unsafe { helpers::bpf_get_socket_cookie(context.sock_addr.cast()) }
}
