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
        Direction, HEADER_RELIEVED, NETWORK_FAST_OPEN, NETWORK_NO_ADDRESS, NetworkBody, RESULT_PERMITTED, RecordKind,
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

/// A socket as it stands in a record.
#[inline(always)]
pub(crate) fn body(sock: Address, remote: Internet, direction: Direction, result: i32) -> NetworkBody {
    let local = address::local(sock);
    NetworkBody {
        socket: sock as u64,
        remote_address: remote.address,
        local_address: local.address,
        remote_port: remote.port,
        local_port: local.port,
        family: kernel::get::<u16>(sock, &kernel::SOCK_FAMILY),
        socket_type: kernel::get::<u16>(sock, &kernel::SOCK_TYPE),
        protocol: kernel::get::<u16>(sock, &kernel::SOCK_PROTOCOL),
        direction: direction as u16,
        result,
        ..NetworkBody::default()
    }
}

/// Sends a finished network record.
#[inline(always)]
pub(crate) fn emit(process: &Process, kind: RecordKind, mechanism: u32, body: NetworkBody, flags: u16) -> bool {
    let Some(mut writer) = Writer::<NetworkBody>::new(process, kind) else { return false };
    writer.set(body);
    writer.send(process, kind, mechanism, flags, Weight::Bulk)
}

/// Sends the first of a process and destination and counts the others.
#[inline(always)]
pub(crate) fn emit_first(process: &Process, kind: RecordKind, mechanism: u32, body: NetworkBody) {
    let low = u64::from_ne_bytes(first_half(&body.remote_address));
    let high = u64::from_ne_bytes(second_half(&body.remote_address));
    let key = ReliefKey {
        start_boottime_ns: process.start_boottime_ns,
        tgid: process.tgid,
        exec_id: process.exec_id,
        kind: kind as u32,
        flags: u32::from(body.protocol) | u32::from(body.family) << 16,
        object: [low, high, u64::from(body.remote_port), u64::from(body.flags)],
    };
    match filter::repeat(&key) {
        Repeat::Counted => {}
        Repeat::Send => {
            emit(process, kind, mechanism, body, 0);
        }
        Repeat::First => {
            if !emit(process, kind, mechanism, body, HEADER_RELIEVED) {
                filter::forget(&key);
            }
        }
    }
}

#[inline(always)]
fn first_half(bytes: &[u8; 16]) -> [u8; 8] {
    [bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]]
}

#[inline(always)]
fn second_half(bytes: &[u8; 16]) -> [u8; 8] {
    [bytes[8], bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15]]
}

/// Remembers who a socket belongs to.
#[inline(always)]
pub(crate) fn own(process: &Process, sock: Address, remote: Internet, direction: Direction) {
    let owner = SocketOwner {
        segment: process.segment,
        start_boottime_ns: process.start_boottime_ns,
        tgid: process.tgid,
        exec_id: process.exec_id,
        address: remote.address,
        port: remote.port,
        direction: direction as u16,
        tid: process.tid,
    };
    let _ = SOCKETS.insert(&(sock as u64), &owner, 0);
}

/// A stream connection was asked for: once per socket and destination, since io_uring asks twice.
#[inline(always)]
pub(crate) fn stream(process: &Process, sock: Address, remote: Internet, mechanism: u32, flags: u32) {
    if let Some(known) = SOCKETS.get_ptr(&(sock as u64)) {
        // SAFETY: points to a value of the map.
        let known = unsafe { &*known };
        if known.port == remote.port && known.address == remote.address && known.tgid == process.tgid {
            return;
        }
    }
    own(process, sock, remote, Direction::Out);
    let body = NetworkBody { flags, ..body(sock, remote, Direction::Out, RESULT_PERMITTED) };
    emit(process, RecordKind::Connect, mechanism, body, 0);
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
        stream(&process, sock, remote, mechanism, 0);
    } else {
        let body = body(sock, remote, Direction::Out, RESULT_PERMITTED);
        emit_first(&process, RecordKind::Connect, mechanism, body);
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
            stream(&process, sock, remote, mechanism, NETWORK_FAST_OPEN);
        }
        return None;
    }
    let internet = family == AF_INET || family == AF_INET6;
    if name.is_null() && internet {
        // Connected earlier, which was reported then.
        return None;
    }
    let remote = address::of_sockaddr(name, Memory::Kernel);
    let mut body = body(sock, remote.unwrap_or_default(), Direction::Out, RESULT_PERMITTED);
    if remote.is_none() {
        body.flags = NETWORK_NO_ADDRESS;
    }
    emit_first(&process, RecordKind::Send, mechanism, body);
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
    let body = NetworkBody {
        remote_address: remote.address,
        remote_port: remote.port,
        family: family as u16,
        socket_type: SOCK_DGRAM,
        protocol: protocol as u16,
        direction: Direction::Out as u16,
        result: RESULT_PERMITTED,
        ..NetworkBody::default()
    };
    emit_first(&process, kind, mechanism, body);
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
